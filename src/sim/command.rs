//! `rollcall sim`: the simulator as a program.

use clap::Args;

use super::StartError;

/// Arguments of `rollcall sim`.
#[derive(Args, Clone, Debug)]
pub struct SimArgs {
    /// Port on 127.0.0.1.
    #[arg(long, default_value_t = 4010)]
    pub port: u16,
}

/// Serves until interrupted.
///
/// # Errors
///
/// When the address cannot be listened on.
pub async fn run(args: SimArgs) -> Result<(), StartError> {
    let _ = args.port;
    unimplemented!()
}
