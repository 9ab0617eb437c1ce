//! What was decided last about each event's bot, and what was asked of the API.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::Error;
use crate::domain::{
    Fingerprint,
    event::EventId,
    plan::{Plan, Scheduled},
};

/// The last decision about an event.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The plan's name.
    pub plan: String,
    /// Its reason.
    pub reason: String,
    /// The generation of the configuration that decided.
    pub configuration: i64,
    /// The version of the event that was looked at.
    pub event_updated_at: DateTime<Utc>,
    /// When it was decided.
    pub decided_at: DateTime<Utc>,
    /// The last Schedule Bot that the API accepted, unless its bot was removed since.
    pub scheduled: Option<Scheduled>,
    /// The version of the event that the last Delete Bot answered, if nothing was scheduled since.
    pub unscheduled_version: Option<DateTime<Utc>>,
}

/// The last decision about an event; `None` if there was none yet.
///
/// # Errors
/// The database's.
pub async fn load(db: impl PgExecutor<'_>, id: EventId) -> Result<Option<Decision>, Error> {
    let row = sqlx::query!(
        "select plan, reason, configuration, event_updated_at, decided_at, scheduled_key, scheduled_config,
             unscheduled_version
         from decisions where event_id = $1",
        id.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| {
        let config = row.scheduled_config.and_then(|bytes| bytes.try_into().ok()).map(Fingerprint);
        Decision {
            plan: row.plan,
            reason: row.reason,
            configuration: row.configuration,
            event_updated_at: row.event_updated_at,
            decided_at: row.decided_at,
            scheduled: row.scheduled_key.zip(config).map(|(key, config)| Scheduled { key, config }),
            unscheduled_version: row.unscheduled_version,
        }
    }))
}

/// Whether a bot was scheduled with this key for another event than `id`, or stayed behind in its meeting.
///
/// # Errors
/// The database's.
pub async fn is_scheduled_elsewhere(db: impl PgExecutor<'_>, key: &str, id: EventId) -> Result<bool, Error> {
    let is_elsewhere = sqlx::query_scalar!(
        r#"select exists (select from decisions where scheduled_key = $1 and event_id <> $2)
               or exists (select from bots_left_behind where key = $1) as "is_elsewhere!""#,
        key,
        id.0,
    )
    .fetch_one(db)
    .await?;
    Ok(is_elsewhere)
}

/// Remembers the bots with these keys, which are in meetings that their event has moved away from.
///
/// # Errors
/// The database's.
pub async fn leave_behind(db: impl PgExecutor<'_>, keys: &[&str], now: DateTime<Utc>) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into bots_left_behind (key, left_at)
         select distinct key, $2::timestamptz from unnest($1::text[]) as key order by key
         on conflict do nothing",
        keys as &[&str],
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets bots that stayed behind before `left_before`: their meetings are over.
///
/// # Errors
/// The database's.
pub async fn forget_left_behind(db: impl PgExecutor<'_>, left_before: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!("delete from bots_left_behind where left_at < $1", left_before).execute(db).await?;
    Ok(())
}

/// A decision to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct NewDecision<'a> {
    /// What about.
    pub event: EventId,
    /// What was decided.
    pub plan: &'a Plan,
    /// The generation of the configuration that decided.
    pub configuration: i64,
    /// The version of the event that was looked at.
    pub event_updated_at: DateTime<Utc>,
    /// What Schedule Bot was asked for last; `None` once the bot was removed.
    pub scheduled: Option<&'a Scheduled>,
    /// The version of the event that the last Delete Bot answered, if nothing was scheduled since.
    pub unscheduled_version: Option<DateTime<Utc>>,
}

/// Records a decision.
///
/// # Errors
/// The database's.
pub async fn record(db: impl PgExecutor<'_>, decision: &NewDecision<'_>, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "insert into decisions as last
             (event_id, plan, reason, configuration, event_updated_at, decided_at,
              scheduled_key, scheduled_config, scheduled_at, unscheduled_version)
         values ($1, $2, $3, $4, $5, $6, $7, $8, case when $7::text is not null then $6::timestamptz end, $9)
         on conflict (event_id) do update set
             plan = excluded.plan,
             reason = excluded.reason,
             configuration = excluded.configuration,
             event_updated_at = excluded.event_updated_at,
             decided_at = excluded.decided_at,
             scheduled_key = excluded.scheduled_key,
             scheduled_config = excluded.scheduled_config,
             scheduled_at = case
                 when (last.scheduled_key, last.scheduled_config)
                      is not distinct from (excluded.scheduled_key, excluded.scheduled_config)
                 then last.scheduled_at else excluded.scheduled_at end,
             unscheduled_version = excluded.unscheduled_version",
        decision.event.0,
        decision.plan.as_str(),
        decision.plan.reason(),
        decision.configuration,
        decision.event_updated_at,
        now,
        decision.scheduled.map(|scheduled| scheduled.key.as_str()),
        decision.scheduled.map(|scheduled| scheduled.config.0.as_slice()),
        decision.unscheduled_version,
    )
    .execute(db)
    .await?;
    Ok(())
}
