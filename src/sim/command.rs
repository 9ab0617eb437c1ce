//! `rollcall sim`: the simulator as a program, for demos and for tests written in any language.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::config::{DEFAULT_API_KEY, DEFAULT_SECRET};
use super::{Delivery, Knobs, Life, Sim, SimConfig, StartError, WebhookEndpoint};

/// Arguments of `rollcall sim`.
#[derive(Args, Clone, Debug)]
pub struct SimArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:4010")]
    pub listen: SocketAddr,
    /// The API key that callers must send
    #[arg(long, default_value = DEFAULT_API_KEY)]
    pub api_key: String,
    /// Where webhooks go; without it they wait for `PUT /sim/endpoint`
    #[arg(long)]
    pub webhook_url: Option<String>,
    /// `whsec_…` that webhooks are signed with; repeat it to sign with several
    #[arg(long, default_value = DEFAULT_SECRET)]
    pub webhook_secret: Vec<String>,
    /// Ids, faults and happenings follow from it
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Divides the waits between attempts at a webhook
    #[arg(long, default_value_t = 1.0)]
    pub speed: f64,
    /// Rows per page
    #[arg(long, default_value_t = 100)]
    pub page_size: usize,
    /// Connects this many calendars, with meetings in which things happen
    #[arg(long, default_value_t = 0)]
    pub populate: usize,
    /// Seconds between happenings in the populated calendars; 0 for none
    #[arg(long, default_value_t = 5)]
    pub happening_secs: u64,
}

impl SimArgs {
    fn config(&self) -> SimConfig {
        let secrets: Vec<_> = self.webhook_secret.iter().map(String::as_str).collect();
        SimConfig {
            api_key: self.api_key.clone(),
            endpoints: vec![WebhookEndpoint::new(self.webhook_url.as_deref(), &secrets)],
            listen: self.listen,
            knobs: Knobs { page_size: self.page_size, ..Knobs::default() },
            seed: self.seed,
            delivery: Delivery::Live,
            speed: self.speed,
            ..SimConfig::default()
        }
    }
}

/// Serves until interrupted, telling what happens in the log.
///
/// # Errors
///
/// When the address cannot be listened on, or a secret cannot sign.
pub async fn run(args: SimArgs) -> Result<(), StartError> {
    let sim = Sim::start(args.config()).await?;
    tracing::info!(url = sim.base_url(), "the simulated Recall listens; GET /sim/ lists what it can be told");
    tokio::select! {
        () = live(&sim, &args) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    sim.stop().await;
    Ok(())
}

async fn live(sim: &Sim, args: &SimArgs) {
    if args.populate == 0 {
        return std::future::pending().await;
    }
    let mut life = Life::start(sim, args.populate, args.seed, sim.clock().now());
    if args.happening_secs == 0 {
        return std::future::pending().await;
    }
    let mut pace = tokio::time::interval(Duration::from_secs(args.happening_secs));
    loop {
        pace.tick().await;
        let happening = life.step(sim, sim.clock().now());
        tracing::info!(calendar.id = %happening.calendar_id, "{}", happening.sentence);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: SimArgs,
    }

    #[test]
    fn arguments_become_the_configuration() {
        let program = Program::parse_from(["sim", "--page-size", "2", "--webhook-url", "http://127.0.0.1:1/hook"]);
        let config = program.args.config();
        assert_eq!((config.listen.port(), config.knobs.page_size), (4010, 2));
        assert_eq!(config.endpoints[0], WebhookEndpoint::new(Some("http://127.0.0.1:1/hook"), &[DEFAULT_SECRET]));
    }
}
