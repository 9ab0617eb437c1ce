//! What is forgotten, by age. Each function is one small step: a statement of its own that deletes no more than [`STEP`] rows of
//! its table, found by an index, and what hangs on them. It passes rows that others hold, so that it waits for nobody, and
//! several replicas may do it at once.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::Error;

/// Rows that one step deletes. Statements have the number itself: see [`super::pool`].
pub const STEP: i64 = 1000;

/// Deliveries received before this time.
///
/// # Errors
/// The database's.
pub async fn forget_deliveries(db: impl PgExecutor<'_>, before: DateTime<Utc>) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        "delete from deliveries
         where id in (
             select id from deliveries where received_at < $1 order by received_at limit 1000 for update skip locked
         )",
        before,
    )
    .execute(db)
    .await?;
    Ok(forgotten.rows_affected())
}

/// Events that were over before this time, with what was decided and said about them.
///
/// One that the API has shown anew since stays for as long again: were it still listed, it would come and go with each full
/// sync. One that is in the queue stays too, since a turn may have it in hand.
///
/// # Errors
/// The database's.
pub async fn forget_ended_events(db: impl PgExecutor<'_>, before: DateTime<Utc>) -> Result<u64, Error> {
    let forgotten = sqlx::query_scalar!(
        r#"with old as (
             select id from events
             where end_time < $1 and start_time < $1 and observed_at < $1
               and not exists (select from reconcile_queue where kind = 'event' and key = events.id)
             order by end_time
             limit 1000
             for update skip locked
         ), unsaid as (
             delete from settings where scope = 'event' and id = any (array(select id from old))
         ), forgotten as (
             delete from events using old where events.id = old.id returning events.id
         )
         select count(*) as "forgotten!" from forgotten"#,
        before,
    )
    .fetch_one(db)
    .await?;
    Ok(forgotten.unsigned_abs())
}

/// Events that were deleted, or gone from the API, before this time, whenever they would have ended; as
/// [`forget_ended_events`] does.
///
/// # Errors
/// The database's.
pub async fn forget_deleted_events(db: impl PgExecutor<'_>, before: DateTime<Utc>) -> Result<u64, Error> {
    let forgotten = sqlx::query_scalar!(
        r#"with old as (
             select id from events
             where (is_deleted or gone_at is not null) and observed_at < $1 and coalesce(gone_at, observed_at) < $1
               and not exists (select from reconcile_queue where kind = 'event' and key = events.id)
             order by observed_at
             limit 1000
             for update skip locked
         ), unsaid as (
             delete from settings where scope = 'event' and id = any (array(select id from old))
         ), forgotten as (
             delete from events using old where events.id = old.id returning events.id
         )
         select count(*) as "forgotten!" from forgotten"#,
        before,
    )
    .fetch_one(db)
    .await?;
    Ok(forgotten.unsigned_abs())
}

/// Events of calendars that were gone before this time; as [`forget_ended_events`] does.
///
/// # Errors
/// The database's.
pub async fn forget_events_of_gone_calendars(db: impl PgExecutor<'_>, before: DateTime<Utc>) -> Result<u64, Error> {
    let forgotten = sqlx::query_scalar!(
        r#"with old as (
             select events.id
             from calendars
             join events on events.calendar_id = calendars.id
             where calendars.gone_at < $1 and events.observed_at < $1
               and not exists (select from reconcile_queue where kind = 'event' and key = events.id)
             limit 1000
             for update of events skip locked
         ), unsaid as (
             delete from settings where scope = 'event' and id = any (array(select id from old))
         ), forgotten as (
             delete from events using old where events.id = old.id returning events.id
         )
         select count(*) as "forgotten!" from forgotten"#,
        before,
    )
    .fetch_one(db)
    .await?;
    Ok(forgotten.unsigned_abs())
}

/// Calendars that were gone before this time and have no events left, with what was said about them and their series. What
/// was said about a series goes with nothing else: one that meets each quarter has no event in the mirror for most of the time.
///
/// # Errors
/// The database's.
pub async fn forget_gone_calendars(db: impl PgExecutor<'_>, before: DateTime<Utc>) -> Result<u64, Error> {
    let forgotten = sqlx::query_scalar!(
        r#"with old as (
             select id from calendars
             where gone_at < $1
               and not exists (select from events where calendar_id = calendars.id)
               and not exists (select from reconcile_queue where kind = 'calendar' and key = calendars.id)
             limit 1000
             for update skip locked
         ), unsaid as (
             delete from settings where scope in ('calendar', 'series') and id = any (array(select id from old))
         ), forgotten as (
             delete from calendars using old where calendars.id = old.id returning calendars.id
         )
         select count(*) as "forgotten!" from forgotten"#,
        before,
    )
    .fetch_one(db)
    .await?;
    Ok(forgotten.unsigned_abs())
}

/// Decisions made before this time that a later one followed; an event's last goes with the event. No index tells the two
/// apart, so a time that is longer ago than events are known keeps the last ones from being passed again and again.
///
/// # Errors
/// The database's.
pub async fn forget_decisions(db: impl PgExecutor<'_>, before: DateTime<Utc>) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        "delete from decision_history
         where (event_id, number) in (
             select event_id, number from decision_history as past
             where decided_at < $1
               and exists (select from decision_history as later
                           where later.event_id = past.event_id and later.number > past.number)
             order by decided_at
             limit 1000
             for update skip locked
         )",
        before,
    )
    .execute(db)
    .await?;
    Ok(forgotten.rows_affected())
}

/// Unreadable events that were seen last before this time. Each full sync sees those again that are still there (P9).
///
/// # Errors
/// The database's.
pub async fn forget_unreadable(db: impl PgExecutor<'_>, before: DateTime<Utc>) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        "delete from unreadable_events
         -- By place: they are locked, so they stay there, and the planner knows no better way to a thousand of them.
         where ctid = any (array(
             select ctid from unreadable_events where last_seen < $1 order by last_seen limit 1000 for update skip locked
         ))",
        before,
    )
    .execute(db)
    .await?;
    Ok(forgotten.rows_affected())
}

/// Configurations that ran last before this time; never the newest, which decides even while nothing runs.
///
/// # Errors
/// The database's.
pub async fn forget_configurations(db: impl PgExecutor<'_>, before: DateTime<Utc>) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        "delete from configurations
         where generation in (
             select generation from configurations
             where runs_until < $1 and generation < (select max(generation) from configurations)
             limit 1000
             for update skip locked
         )",
        before,
    )
    .execute(db)
    .await?;
    Ok(forgotten.rows_affected())
}
