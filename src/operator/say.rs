//! `rollcall override`, `pause`, `resume`, `set` and `settings`: what people say about bots.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use sqlx::PgPool;
use uuid::Uuid;

use super::connect;
use crate::{
    clock::Clock,
    domain::{calendar::CalendarId, event::EventId, settings::Said},
    store::{
        self,
        settings::{self, Subject},
    },
};

/// Settings that are listed at most.
const MAX_LISTED: i64 = 10_000;

/// Who says something, and why.
#[derive(Debug, Args)]
struct Saying {
    /// Who says so
    #[arg(long, default_value_t = std::env::var("USER").unwrap_or_else(|_| "the command line".to_owned()))]
    who: String,
    /// Why
    #[arg(long, default_value = "")]
    why: String,
}

/// What an override is about.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum About {
    /// One event
    Event,
    /// All occurrences of the series that the event is one of, on its calendar
    Series,
    /// All events of a calendar
    Calendar,
}

/// Whether there is a bot, whatever the rule says.
#[derive(Debug, Args)]
pub struct OverrideArgs {
    /// What it is about
    about: About,
    /// Recall's id of the event or the calendar
    id: Uuid,
    #[command(flatten)]
    verdict: VerdictArgs,
    #[command(flatten)]
    saying: Saying,
}

/// One of the three.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct VerdictArgs {
    /// There is a bot
    #[arg(long)]
    record: bool,
    /// There is none
    #[arg(long)]
    skip: bool,
    /// The rule decides again
    #[arg(long)]
    clear: bool,
}

/// What is paused.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// Recall's id of a calendar; everything, if it is not given
    calendar: Option<Uuid>,
    #[command(flatten)]
    saying: Saying,
}

/// A rule or a bot of a calendar's own.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Recall's id of the calendar
    calendar: Uuid,
    /// A rule in place of RECORD_WHEN; empty: RECORD_WHEN again
    #[arg(long, value_name = "RULE", required_unless_present = "bot_config")]
    record_when: Option<String>,
    /// A JSON object in place of BOT_CONFIG; empty: BOT_CONFIG again
    #[arg(long, value_name = "JSON")]
    bot_config: Option<String>,
    #[command(flatten)]
    saying: Saying,
}

/// Says whether there is a bot.
///
/// # Errors
/// What it is about is not mirrored, the database cannot be asked.
pub async fn say(args: &OverrideArgs) -> anyhow::Result<()> {
    let db = connect()?;
    let found = match args.about {
        About::Event => settings::find_event(&db, EventId(args.id)).await?,
        About::Series => settings::find_series(&db, EventId(args.id)).await?,
        About::Calendar => settings::find_calendar(&db, CalendarId(args.id)).await?,
    };
    let subject = found.with_context(|| match args.about {
        About::Event => format!("no event {} is mirrored", args.id),
        About::Series => format!("no event {} is mirrored that is an occurrence of a series", args.id),
        About::Calendar => format!("no calendar {} is mirrored", args.id),
    })?;
    let value = if args.verdict.record { "record" } else { "skip" };
    let said = (!args.verdict.clear).then_some(value);
    carry_out(&db, &subject, "override", read("override", said)?, &args.saying).await
}

/// Pauses a calendar, or everything.
///
/// # Errors
/// The calendar is not mirrored, the database cannot be asked.
pub async fn pause(args: &PauseArgs) -> anyhow::Result<()> {
    let (db, subject) = find_paused(args).await?;
    carry_out(&db, &subject, "pause", Some(Said::Pause), &args.saying).await
}

/// Ends a pause.
///
/// # Errors
/// The calendar is not mirrored, the database cannot be asked.
pub async fn resume(args: &PauseArgs) -> anyhow::Result<()> {
    let (db, subject) = find_paused(args).await?;
    carry_out(&db, &subject, "pause", None, &args.saying).await
}

async fn find_paused(args: &PauseArgs) -> anyhow::Result<(PgPool, Subject)> {
    let db = connect()?;
    let subject = match args.calendar {
        None => Subject::All,
        Some(id) => {
            let found = settings::find_calendar(&db, CalendarId(id)).await?;
            found.with_context(|| format!("no calendar {id} is mirrored"))?
        }
    };
    Ok((db, subject))
}

/// Gives a calendar a rule or a bot of its own.
///
/// # Errors
/// They cannot be read, the calendar is not mirrored, the database cannot be asked.
pub async fn set(args: &SetArgs) -> anyhow::Result<()> {
    let db = connect()?;
    let found = settings::find_calendar(&db, CalendarId(args.calendar)).await?;
    let subject = found.with_context(|| format!("no calendar {} is mirrored", args.calendar))?;
    let mut sayings = vec![];
    for (aspect, value) in [("record_when", &args.record_when), ("bot_config", &args.bot_config)] {
        if let Some(value) = value {
            let said = Some(value.as_str()).filter(|value| !value.trim().is_empty());
            sayings.push((aspect, read(aspect, said)?));
        }
    }
    // Neither is said if one of them cannot be.
    for (aspect, said) in sayings {
        carry_out(&db, &subject, aspect, said, &args.saying).await?;
    }
    Ok(())
}

/// Prints all that was said, as JSON.
///
/// # Errors
/// The database cannot be asked.
pub async fn list() -> anyhow::Result<()> {
    let db = connect()?;
    println!("{}", serde_json::to_string_pretty(&settings::list(&db, MAX_LISTED).await?)?);
    Ok(())
}

fn read(aspect: &str, said: Option<&str>) -> anyhow::Result<Option<Said>> {
    match said.map(|value| Said::read(aspect, value)).transpose() {
        Ok(said) => Ok(said),
        Err(problem) => bail!("--{} {problem}", aspect.replace('_', "-")),
    }
}

/// Says something, or takes it back.
async fn carry_out(
    db: &PgPool,
    subject: &Subject,
    aspect: &str,
    said: Option<Said>,
    saying: &Saying,
) -> anyhow::Result<()> {
    let Saying { who, why } = saying;
    let now = Clock::system().now();
    let mut tx = store::begin(db).await?;
    let concerned = match &said {
        Some(said) => Some(settings::set(&mut tx, subject, said, who, why, now).await?),
        None => settings::clear(&mut tx, subject, aspect, who, now).await?,
    };
    tx.commit().await?;
    match concerned {
        Some(events) => println!("{events} events are looked at again"),
        None => println!("nothing had been said"),
    }
    Ok(())
}
