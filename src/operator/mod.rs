//! The operator's commands: what is said about bots, why an event has its bot or none, and what a policy would change. They
//! look at the database alone, so they work while no replica runs, and call nothing.

mod plan;
mod say;

use anyhow::Context;
use clap::{Args, Subcommand};
use secrecy::SecretString;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    config,
    domain::{event::EventId, rule::PRESETS},
    explain::explain,
    store::{self, configurations},
};
pub use plan::PlanArgs;
pub use say::{OverrideArgs, PauseArgs, SetArgs};

/// Connections of a command.
const CONNECTIONS: u32 = 2;

/// Which event to explain.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Recall's id of the event
    event: Uuid,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What to do about the rules.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Print the names that a rule may use for expressions, and what they stand for.
    Presets,
    /// Let a configuration remove its bots that was held back by POLICY_MAX_CHANGES.
    Confirm,
}

/// Tells why an event has its bot, or none.
///
/// # Errors
/// The event is not mirrored, the database cannot be asked.
pub async fn explain_event(args: &ExplainArgs) -> anyhow::Result<()> {
    let db = connect()?;
    let explanation = explain(&db, EventId(args.event)).await?;
    let explanation = explanation.with_context(|| format!("no event {} is mirrored", args.event))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&explanation)?);
    } else {
        print!("{explanation}");
    }
    Ok(())
}

/// Does something about the rules.
///
/// # Errors
/// The database cannot be asked.
pub async fn policy(command: &PolicyCommand) -> anyhow::Result<()> {
    match command {
        PolicyCommand::Presets => {
            for preset in &PRESETS {
                println!("{:<10} {:<50} {}", preset.name, preset.expression, preset.meaning);
            }
        }
        PolicyCommand::Confirm => {
            let db = connect()?;
            match configurations::confirm(&db).await? {
                Some(generation) => {
                    println!("configuration {generation} is confirmed; its replicas notice within a minute");
                }
                None => println!("nothing is held back"),
            }
        }
    }
    Ok(())
}

pub use plan::plan;
pub use say::{list, pause, resume, say, set};

fn connect() -> anyhow::Result<PgPool> {
    connect_to(&config::database_url_from_env()?)
}

fn connect_to(database_url: &SecretString) -> anyhow::Result<PgPool> {
    store::pool(database_url, CONNECTIONS).context("DATABASE_URL")
}
