//! Why an event has its bot, or none, as a person would tell it.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    domain::{event::EventId, rule::PRESETS, settings::Setting},
    store::{
        self, calendars, decisions,
        decisions::Past,
        events,
        queue::{Key, NEWEST_CONFIGURATION},
        queue_state::{self, Waiting},
        settings,
    },
};

/// The most decisions that are told.
const MAX_PAST: i64 = 50;
/// How a time is written.
const TIME: &str = "%Y-%m-%d %H:%M:%S UTC";

/// All that is known about an event's bot.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The event.
    pub event_id: Uuid,
    /// Its calendar.
    pub calendar_id: Uuid,
    /// The calendar's address.
    pub calendar_email: Option<String>,
    /// When it begins.
    pub start_time: DateTime<Utc>,
    /// When it ends.
    pub end_time: DateTime<Utc>,
    /// Whether a bot was scheduled that still stands.
    pub has_bot: bool,
    /// When the last decision was made that holds.
    pub decided_at: Option<DateTime<Utc>>,
    /// Why there is a bot, or none.
    pub reason: Option<String>,
    /// The rule or the setting that decided.
    pub decided_by: Option<String>,
    /// What people said that concerns the event.
    pub settings: Vec<Setting>,
    /// When its calendar was read last.
    pub synced_at: Option<DateTime<Utc>>,
    /// What led to that.
    pub synced_after: Option<String>,
    /// What it waits for, if it is about to be looked at or in trouble.
    pub waiting: Option<Waiting>,
    /// What was decided, latest first.
    pub history: Vec<Past>,
}

/// Explains an event; `None` if it is not mirrored.
///
/// # Errors
/// The database's.
pub async fn explain(db: &PgPool, id: EventId) -> Result<Option<Explanation>, store::Error> {
    let Some(event) = events::load(db, id).await? else { return Ok(None) };
    let calendar = calendars::load(db, event.calendar_id).await?;
    let decision = decisions::load(db, id).await?;
    let last_sync = calendars::last_sync(db, event.calendar_id).await?;
    Ok(Some(Explanation {
        event_id: id.0,
        calendar_id: event.calendar_id.0,
        calendar_email: calendar.and_then(|calendar| calendar.email),
        start_time: event.start_time,
        end_time: event.end_time,
        has_bot: decision.as_ref().is_some_and(|decision| decision.scheduled.is_some()),
        decided_at: decision.as_ref().map(|decision| decision.decided_at),
        reason: decision.as_ref().map(|decision| decision.reason.clone()),
        decided_by: decision.map(|decision| decision.decided_by),
        settings: settings::load(db, &event).await?.0,
        synced_at: last_sync.as_ref().map(|(at, _)| *at),
        synced_after: last_sync.and_then(|(_, cause)| cause),
        waiting: queue_state::find_waiting(db, Key::Event(id)).await?,
        history: decisions::history(db, id, MAX_PAST).await?,
    }))
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = self.calendar_email.as_deref().unwrap_or("an unknown account");
        writeln!(f, "Event {} of {whose}, {}", self.event_id, self.start_time.format(TIME))?;
        match self.history.first() {
            Some(last) => {
                let what = match last.plan.as_str() {
                    "schedule" => "A bot was scheduled",
                    "unschedule" => "The bot was removed",
                    "keep" => "There is a bot",
                    _ => "No bot",
                };
                writeln!(f, "{what}: {} ({}).", last.reason, last.decided_at.format(TIME))?;
                writeln!(f, "Decided by {}, after {}.", last.decided_by, last.cause)?;
                write_parts(f, last)?;
                if let Some(answer) = &last.answer {
                    writeln!(f, "The API answered: {answer}.")?;
                }
            }
            None => writeln!(f, "Nothing was decided about it yet.")?,
        }
        if let (Some(at), Some(after)) = (self.synced_at, &self.synced_after) {
            writeln!(f, "Its calendar was read last at {}, after {after}.", at.format(TIME))?;
        }
        for setting in &self.settings {
            writeln!(f, "Said at {}: {setting}.", setting.set_at.format(TIME))?;
        }
        if let Some(waiting) = &self.waiting {
            match (waiting.due_at, &waiting.last_error) {
                (None, Some(error)) => writeln!(f, "Parked until it changes: {error}.")?,
                (_, Some(error)) => writeln!(f, "It is tried again: {error}.")?,
                (_, None) if waiting.waits_for.as_deref() == Some(NEWEST_CONFIGURATION) => {
                    writeln!(f, "It waits for a replica with the newest configuration.")?;
                }
                (_, None) => writeln!(f, "It is about to be looked at.")?,
            }
        }
        if self.history.len() > 1 {
            writeln!(f, "Before that:")?;
        }
        for past in self.history.iter().skip(1) {
            let Past { decided_at, plan, reason, decided_by, cause, .. } = past;
            write!(f, "  {} {plan}: {reason}, by {decided_by}, after {cause}", decided_at.format(TIME))?;
            past.answer.as_ref().map_or(Ok(()), |answer| write!(f, "; {answer}"))?;
            writeln!(f, ".")?;
        }
        Ok(())
    }
}

/// Of the rule that decided, each part.
fn write_parts(f: &mut fmt::Formatter<'_>, past: &Past) -> fmt::Result {
    for part in past.parts.as_array().into_iter().flatten() {
        let text = part["part"].as_str().unwrap_or_default();
        let verdict = match part["is_true"].as_bool() {
            Some(true) => "true",
            Some(false) => "false",
            None => "fails",
        };
        write!(f, "  {verdict}: {text}")?;
        match PRESETS.iter().find(|preset| preset.name == text) {
            Some(preset) => writeln!(f, " ({})", preset.meaning)?,
            None => writeln!(f)?,
        }
    }
    Ok(())
}
