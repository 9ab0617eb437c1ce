//! `rollcall plan`: what a policy would change, before it does.

use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::connect_to;
use crate::{
    clock::Clock,
    config::PlanConfig,
    domain::calendar::CalendarId,
    reconcile::preview::{Effect, Kind, preview},
};

/// Which policy, and how to tell.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// A rule in place of RECORD_WHEN
    #[arg(long, value_name = "RULE")]
    record_when: Option<String>,
    /// A JSON object in place of BOT_CONFIG
    #[arg(long, value_name = "JSON")]
    bot_config: Option<String>,
    /// The events of this calendar alone
    #[arg(long, value_name = "ID")]
    calendar: Option<Uuid>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Tells what the configured policy, or another one, would change: each event whose bot it would touch, and how many. Nothing
/// is called, and nothing written.
///
/// # Errors
/// The policy cannot be read, the database cannot be asked.
pub async fn plan(args: &PlanArgs) -> anyhow::Result<()> {
    let config = PlanConfig::from_env(&|name| match name {
        "RECORD_WHEN" => args.record_when.clone(),
        "BOT_CONFIG" => args.bot_config.clone(),
        // Not both.
        "BOT_CONFIG_FILE" => args.bot_config.as_ref().map(|_| String::new()),
        _ => None,
    })?;
    let db = connect_to(&config.database_url)?;
    let mut effects: Vec<Effect> = vec![];
    let calendar = args.calendar.map(CalendarId);
    let tell = |effect: Effect| {
        if effect.effect != Kind::Keeps {
            effects.push(effect);
        }
    };
    let summary = preview(&db, &config.policy, calendar, Clock::system().now(), tell).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&json!({ "summary": summary, "effects": effects }))?);
        return Ok(());
    }
    effects.sort_by_key(|effect| effect.start_time);
    for effect in &effects {
        let sign = match effect.effect {
            Kind::Adds => '+',
            Kind::Removes => '-',
            Kind::Changes => '~',
            Kind::Keeps => ' ',
            Kind::Fails => '!',
        };
        let whose = effect.calendar_email.as_deref().unwrap_or("unknown account");
        let start = effect.start_time.format("%Y-%m-%d %H:%M");
        println!("{sign} {start} {} {whose}: {} ({})", effect.event_id, effect.reason, effect.decided_by);
    }
    println!("This policy {summary}.");
    Ok(())
}
