//! What was decided about each event's bot, and what was asked of the API.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::Error;
use crate::domain::{
    Fingerprint,
    dedup::start_in,
    event::EventId,
    plan::{Kept, Plan, Scheduled},
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
    /// The rule or the setting that decided.
    pub decided_by: String,
    /// The version of the event that the last Delete Bot answered, if nothing was scheduled since.
    pub unscheduled_version: Option<DateTime<Utc>>,
    /// Nobody knows what became of the last Delete Bot.
    pub is_deletion_open: bool,
}

/// The last decision about an event; `None` if there was none yet.
///
/// # Errors
/// The database's.
pub async fn load(db: impl PgExecutor<'_>, id: EventId) -> Result<Option<Decision>, Error> {
    let row = sqlx::query!(
        "select plan, reason, configuration, event_updated_at, decided_at, scheduled_key, scheduled_config,
             scheduled_at, decided_by, unscheduled_version, is_deletion_open
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
            scheduled: row.scheduled_key.zip(config).map(|(key, config)| Scheduled {
                key,
                config,
                at: row.scheduled_at,
            }),
            decided_by: row.decided_by,
            unscheduled_version: row.unscheduled_version,
            is_deletion_open: row.is_deletion_open,
        }
    }))
}

/// What Schedule Bot was last asked for on each of these events, where that still stands.
///
/// # Errors
/// The database's.
pub async fn load_scheduled(db: impl PgExecutor<'_>, ids: &[EventId]) -> Result<HashMap<EventId, Scheduled>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"select event_id, scheduled_key as "key!", scheduled_config as "config!", scheduled_at
         from decisions
         where event_id = any ($1) and scheduled_key is not null and scheduled_config is not null"#,
        &ids,
    )
    .fetch_all(db)
    .await?;
    let scheduled = rows.into_iter().filter_map(|row| {
        let config = Fingerprint(row.config.try_into().ok()?);
        Some((EventId(row.event_id), Scheduled { key: row.key, config, at: row.scheduled_at }))
    });
    Ok(scheduled.collect())
}

/// How many bots are scheduled for meetings that are still to begin.
///
/// # Errors
/// The database's.
pub async fn count_upcoming_bots(db: impl PgExecutor<'_>, now: DateTime<Utc>) -> Result<i64, Error> {
    let bots = sqlx::query_scalar!(
        r#"select count(distinct scheduled_key) as "bots!"
           from decisions join events on events.id = decisions.event_id
           where events.start_time > $1"#,
        now,
    )
    .fetch_one(db)
    .await?;
    Ok(bots)
}

/// Whether a bot was scheduled with this key for another event than `id`, is listed with one, or stayed behind in its meeting.
/// What was scheduled is forgotten where Recall seemed cut off from a calendar; what its lists show since is not. Bots that were
/// to join before the start do not count if they were scheduled when it was too late for that, from `too_late_from` on.
///
/// # Errors
/// The database's.
pub async fn is_scheduled_elsewhere(
    db: impl PgExecutor<'_>,
    key: &str,
    id: EventId,
    too_late_from: Option<DateTime<Utc>>,
) -> Result<bool, Error> {
    let is_elsewhere = sqlx::query_scalar!(
        r#"select exists (
                   select from decisions
                   where scheduled_key = $1 and event_id <> $2 and coalesce(scheduled_at < $4, true)
               )
               or exists (select from bots_left_behind where key = $1)
               or exists (
                   select from events
                   where start_time = $3 and json_array_length(bots) > 0 and id <> $2
                     and not is_deleted and gone_at is null
                     and exists (select from json_array_elements(bots) as bot where bot->>'deduplication_key' = $1)
                     and not exists (
                         select from decisions
                         where event_id = events.id and scheduled_key = $1 and scheduled_at >= $4
                     )
               ) as "is_elsewhere!""#,
        key,
        id.0,
        start_in(key),
        too_late_from,
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
    /// The rule or the setting that decided.
    pub decided_by: &'a str,
    /// Of the rule's expression, each part and whether it was true.
    pub parts: &'a serde_json::Value,
    /// The generation of the configuration that decided.
    pub configuration: i64,
    /// The version of the event that was looked at.
    pub event_updated_at: DateTime<Utc>,
    /// What Schedule Bot was asked for last; `None` once the bot was removed.
    pub scheduled: Option<&'a Scheduled>,
    /// The key of another event's bot, if that is why the event has none.
    pub covered_key: Option<&'a str>,
    /// The version of the event that the last Delete Bot answered, if nothing was scheduled since.
    pub unscheduled_version: Option<DateTime<Utc>>,
    /// What led to the turn.
    pub cause: &'a str,
    /// The API's answer, if it was called.
    pub answer: Option<&'a str>,
}

/// Records a decision, of somebody who knows what became of all calls; and keeps it in the event's history, unless it is the last
/// one again, or finds no more than that what the last one asked for is there.
///
/// # Errors
/// The database's.
pub async fn record(db: impl PgExecutor<'_>, decision: &NewDecision<'_>, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "with last as (
             select plan, reason, decided_by, scheduled_key from decisions where event_id = $1
         ), history as (
             insert into decision_history
                 (event_id, decided_at, plan, reason, decided_by, parts, configuration, cause, scheduled_key, answer)
             select $1, $6, $2, $3, $9, $10, $4, $11, $7, $12
             where not exists (
                 select from last
                 where last.decided_by = $9
                   and ($13 or (last.reason, last.scheduled_key) is not distinct from ($3, $7) and $12::text is null
                               and (last.plan = $2 or (last.plan, $2) = ('unschedule', 'nothing')))
             )
         )
         insert into decisions as last
             (event_id, plan, reason, configuration, event_updated_at, decided_at,
              scheduled_key, scheduled_config, scheduled_at, decided_by, unscheduled_version, covered_key)
         values ($1, $2, $3, $4, $5, $6, $7, $8, case when $7::text is not null then coalesce($16, $6::timestamptz) end, $9, $14, $15)
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
             decided_by = excluded.decided_by,
             unscheduled_version = excluded.unscheduled_version,
             covered_key = excluded.covered_key,
             is_deletion_open = false",
        decision.event.0,
        decision.plan.as_str(),
        decision.plan.reason(),
        decision.configuration,
        decision.event_updated_at,
        now,
        decision.scheduled.map(|scheduled| scheduled.key.as_str()),
        decision.scheduled.map(|scheduled| scheduled.config.0.as_slice()),
        decision.decided_by,
        decision.parts,
        decision.cause,
        decision.answer,
        matches!(decision.plan, Plan::Keep(Kept::AsWanted | Kept::InMeeting)),
        decision.unscheduled_version,
        decision.covered_key,
        decision.scheduled.and_then(|scheduled| scheduled.at),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that the bot of an event may be made from another configuration than the last one that was asked for.
///
/// # Errors
/// The database's.
pub async fn doubt_config(db: impl PgExecutor<'_>, id: EventId) -> Result<(), Error> {
    sqlx::query!("update decisions set scheduled_config = $2 where event_id = $1", id.0, &Fingerprint::UNKNOWN.0[..],)
        .execute(db)
        .await?;
    Ok(())
}

/// Notes that Delete Bot is about to be called for an event: until it is answered, or the event is read, nobody knows whether it
/// has a bot.
///
/// # Errors
/// The database's.
pub async fn open_deletion(db: impl PgExecutor<'_>, id: EventId) -> Result<(), Error> {
    sqlx::query!(
        "update decisions set is_deletion_open = true, scheduled_config = case when scheduled_key is not null then $2::bytea end
         where event_id = $1",
        id.0,
        &Fingerprint::UNKNOWN.0[..],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets what was scheduled for an event: its bot is not there.
///
/// # Errors
/// The database's.
pub async fn forget_scheduled(db: impl PgExecutor<'_>, id: EventId) -> Result<(), Error> {
    sqlx::query!(
        "update decisions set scheduled_key = null, scheduled_config = null, scheduled_at = null where event_id = $1",
        id.0,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A decision in an event's history.
#[derive(Clone, Debug, Serialize)]
pub struct Past {
    /// When it was decided.
    pub decided_at: DateTime<Utc>,
    /// `nothing`, `keep`, `schedule` or `unschedule`.
    pub plan: String,
    /// Why.
    pub reason: String,
    /// The rule or the setting that decided.
    pub decided_by: String,
    /// Of the rule's expression, each part and whether it was true.
    pub parts: serde_json::Value,
    /// The generation of the configuration that decided.
    pub configuration: i64,
    /// What led to it, such as a delivery.
    pub cause: String,
    /// The deduplication key of the bot that there is since.
    pub scheduled_key: Option<String>,
    /// The API's answer, if it was called.
    pub answer: Option<String>,
}

/// What was decided about an event, latest first.
///
/// # Errors
/// The database's.
pub async fn history(db: impl PgExecutor<'_>, id: EventId, limit: i64) -> Result<Vec<Past>, Error> {
    let history = sqlx::query_as!(
        Past,
        r#"select decided_at, plan, reason, decided_by, parts as "parts: serde_json::Value", configuration, cause,
             scheduled_key, answer
         from decision_history
         where event_id = $1
         order by number desc
         limit $2"#,
        id.0,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(history)
}
