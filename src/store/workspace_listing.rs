//! Lists of the events of the whole workspace: what is known of them, and the calendars' keys that one answers.
//!
//! The keys are those in the view `waiting_for_events`. What touches many of them goes in steps of a thousand, each
//! a short transaction, so that no delivery waits for it.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgExecutor, PgPool, postgres::types::PgInterval, types::Json};
use uuid::Uuid;

use super::Error;
use crate::domain::calendar::CalendarId;

/// Of the keys that wait, so many look back further than a list that serves the others well.
const OUTLIERS: f64 = 0.05;

/// What is known of such lists.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Whether one showed the events of all calendars when it was tested; `None`: no test has shown anything.
    pub spans: Option<bool>,
    /// When it was tested.
    pub tested_at: Option<DateTime<Utc>>,
    /// The last one came to nothing; until then there is none.
    pub rests_until: Option<DateTime<Utc>>,
    /// The list changed while it was read page by page: the next begins here.
    pub read_again_since: Option<DateTime<Utc>>,
}

/// What is known; nothing, if there was no list yet.
///
/// # Errors
/// The database's.
pub async fn load(db: impl PgExecutor<'_>) -> Result<Known, Error> {
    let known = sqlx::query_as!(Known, "select spans, tested_at, rests_until, read_again_since from workspace_listing")
        .fetch_optional(db)
        .await?;
    Ok(known.unwrap_or_default())
}

/// Keeps what is known.
///
/// # Errors
/// The database's.
pub async fn save(db: impl PgExecutor<'_>, known: &Known) -> Result<(), Error> {
    sqlx::query!(
        "insert into workspace_listing (spans, tested_at, rests_until, read_again_since) values ($1, $2, $3, $4)
         on conflict (singleton) do update set
             spans = excluded.spans,
             tested_at = excluded.tested_at,
             rests_until = excluded.rests_until,
             read_again_since = excluded.read_again_since",
        known.spans,
        known.tested_at,
        known.rests_until,
        known.read_again_since,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a calendar's turn has to know of the workspace's.
#[derive(Debug)]
pub struct Outlook {
    /// Failed turns of the workspace's key; `None` if it is not in the queue.
    pub attempt: Option<i32>,
    /// How far its turns have come.
    pub progress: Option<Json<serde_json::Value>>,
    /// How many keys wait for events, or will soon. Those whose turns have yet to begin their lists count.
    pub waiting: i64,
}

/// What there is to know of the workspace's turn. Of the keys that are due by `soon`, those that rest, those that are due and
/// those that are leased are counted up to `limit` each.
///
/// # Errors
/// The database's.
pub async fn outlook(
    db: impl PgExecutor<'_>,
    limit: i64,
    soon: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Outlook, Error> {
    let outlook = sqlx::query_as!(
        Outlook,
        r#"select queue.attempt as "attempt?", queue.progress as "progress?: Json<serde_json::Value>",
             (select count(*) from (
                 (select from waiting_for_events where is_due and leased_until is null and due_at <= $1 limit $2)
                 union all
                 (select from waiting_for_events where not is_due and leased_until is null and due_at <= $3 limit $2)
                 union all
                 (select from waiting_for_events where leased_until is not null limit $2)
             ) as waiting) as "waiting!"
         from (select) as one left join reconcile_queue as queue on queue.kind = 'workspace'"#,
        now,
        limit,
        soon,
    )
    .fetch_one(db)
    .await?;
    Ok(outlook)
}

/// The keys that a list answers which begins at `since`.
#[derive(Clone, Copy, Debug)]
pub struct Answerable {
    /// Events that changed at or after this time are listed.
    pub since: DateTime<Utc>,
    /// The greatest generation there is: what is requested later is not answered.
    pub generation: i64,
}

/// Where a list has to begin, and how many keys that are due by `due_until` it then answers; `None` if there are none. A few
/// that look back twice as far as all others are left to themselves.
///
/// # Errors
/// The database's.
pub async fn survey(
    db: impl PgExecutor<'_>,
    overlap: TimeDelta,
    due_until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Option<(DateTime<Utc>, i64)>, Error> {
    let row = sqlx::query!(
        r#"with due as (
             select least(cursor - $2::interval, hint) as since from waiting_for_events where is_due or due_at <= $4
         ), bounds as (
             select min(since) as least, percentile_disc($3::float8) within group (order by since) as usual from due
         ), chosen as (
             select case when $1 - least > 2 * ($1 - usual) then usual else least end as since from bounds
         )
         select chosen.since, (select count(*) from due where due.since >= chosen.since) as "keys!" from chosen"#,
        now,
        interval(overlap),
        OUTLIERS,
        due_until,
    )
    .fetch_one(db)
    .await?;
    Ok(row.since.map(|since| (since, row.keys)))
}

/// The greatest generation that was given out.
///
/// # Errors
/// The database's.
pub async fn greatest_generation(db: impl PgExecutor<'_>) -> Result<i64, Error> {
    let generation = sqlx::query_scalar!("select last_value from reconcile_generation").fetch_one(db).await?;
    Ok(generation)
}

/// Some of the calendars whose keys are due by `due_until`, for a test: those with the latest changes among `among`, each with
/// the time of its latest.
///
/// # Errors
/// The database's.
pub async fn latest_changed(
    db: impl PgExecutor<'_>,
    among: i64,
    limit: i64,
    due_until: DateTime<Utc>,
) -> Result<Vec<(CalendarId, DateTime<Utc>)>, Error> {
    let rows = sqlx::query!(
        r#"select candidate.key as "key!", max(events.updated_at) as "changed_at!"
         from (select key from waiting_for_events where is_due or due_at <= $1 limit $2) as candidate
         join events on events.calendar_id = candidate.key and events.gone_at is null
         group by candidate.key
         order by max(events.updated_at) desc
         limit $3"#,
        due_until,
        among,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (CalendarId(row.key), row.changed_at)).collect())
}

/// What led to the keys of these calendars, where they wait.
///
/// # Errors
/// The database's.
pub async fn causes(db: impl PgExecutor<'_>, calendars: &[Uuid]) -> Result<HashMap<Uuid, String>, Error> {
    let rows = sqlx::query!(
        "select key, cause from reconcile_queue where kind = 'calendar' and key = any ($1) and events_only",
        calendars,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.key, row.cause)).collect())
}

/// Has the keys wait until `until`, which are answered meanwhile. If that fails, they are due then.
///
/// # Errors
/// The database's.
pub async fn defer(db: &PgPool, answerable: Answerable, overlap: TimeDelta, until: DateTime<Utc>) -> Result<(), Error> {
    let mut after = Uuid::nil();
    loop {
        let last = sqlx::query_scalar!(
            "with step as materialized (
                 select key from reconcile_queue where kind = 'calendar' and key > $5 order by key limit 1000
             ), answered as (
                 select queue.key
                 from step
                 join waiting_for_events as waiting on waiting.key = step.key
                 join reconcile_queue as queue on queue.kind = 'calendar' and queue.key = step.key
                 where least(waiting.cursor - $3::interval, waiting.hint) >= $1 and waiting.generation <= $2
                   and waiting.due_at < $4 and waiting.leased_until is null
                 order by queue.key
                 -- Who has it claims it, or asks for more; never wait for ingest, nor have it wait for long.
                 for update of queue skip locked
             ), deferred as (
                 update reconcile_queue set due_at = $4, is_due = false from answered
                 where kind = 'calendar' and reconcile_queue.key = answered.key and lease_token is null
             )
             select key from step order by key desc limit 1",
            answerable.since,
            answerable.generation,
            interval(overlap),
            until,
            after,
        )
        .fetch_optional(db)
        .await?;
        match last {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

/// Has the keys that wait until `until`, and are not answered, be due now, for turns of their own.
///
/// # Errors
/// The database's.
pub async fn release(db: &PgPool, until: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Error> {
    loop {
        let found = sqlx::query_scalar!(
            r#"with step as materialized (
                 select key from reconcile_queue where kind = 'calendar' and due_at = $1 and not is_due limit 1000
             ), unanswered as (
                 select queue.key
                 from step
                 join reconcile_queue as queue on queue.kind = 'calendar' and queue.key = step.key
                 where queue.due_at = $1 and not queue.is_due
                 order by queue.key
                 for update of queue
             ), released as (
                 update reconcile_queue set due_at = $2, is_due = true, events_only = false from unanswered
                 where kind = 'calendar' and reconcile_queue.key = unanswered.key
             )
             select count(*) as "found!" from step"#,
            until,
            now,
        )
        .fetch_one(db)
        .await?;
        if found == 0 {
            return Ok(());
        }
    }
}

/// Notes what a page of the list that began at `started_at` has shown: of each calendar, the latest version.
///
/// # Errors
/// The database's.
pub async fn note_shown(
    db: impl PgExecutor<'_>,
    shown: &HashMap<Uuid, DateTime<Utc>>,
    started_at: DateTime<Utc>,
) -> Result<(), Error> {
    let (calendars, until): (Vec<Uuid>, Vec<DateTime<Utc>>) = shown.iter().map(|(id, until)| (*id, *until)).unzip();
    sqlx::query!(
        "update calendars set
             shown_until = case when shown_at = $3 then greatest(shown_until, page.until) else page.until end,
             shown_at = $3
         from unnest($1::uuid[], $2::timestamptz[]) as page (id, until)
         where calendars.id = page.id",
        &calendars,
        &until,
        started_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Settles the keys that the list which began at `started_at` has answered. It has answered a hint only if it showed a change
/// of the calendar since. Returns how many.
///
/// # Errors
/// The database's.
pub async fn settle(
    db: &PgPool,
    answerable: Answerable,
    overlap: TimeDelta,
    started_at: DateTime<Utc>,
) -> Result<u64, Error> {
    let (mut after, mut settled) = (Uuid::nil(), 0);
    loop {
        let step = sqlx::query!(
            r#"with step as materialized (
                 select key from reconcile_queue where kind = 'calendar' and key > $4 order by key limit 1000
             ), answered as (
                 select queue.key, waiting.hint
                 from step
                 join waiting_for_events as waiting on waiting.key = step.key
                 join reconcile_queue as queue on queue.kind = 'calendar' and queue.key = step.key
                 where least(waiting.cursor - $3::interval, waiting.hint) >= $1 and waiting.generation <= $2
                   and waiting.leased_until is null
                 order by queue.key
                 -- Waits for whoever has one, which is never long; passed over, it would be listed singly.
                 for update of queue
             ), gone as (
                 delete from reconcile_queue as queue using answered
                 where queue.kind = 'calendar' and queue.key = answered.key
                   and queue.generation <= $2 and queue.lease_token is null
                   and (answered.hint is null
                        or exists (select from calendars
                                   where id = answered.key and shown_at = $5 and shown_until >= answered.hint))
                 returning queue.key
             )
             select (select key from step order by key desc limit 1) as last, (select count(*) from gone) as "gone!""#,
            answerable.since,
            answerable.generation,
            interval(overlap),
            after,
            started_at,
        )
        .fetch_one(db)
        .await?;
        let Some(last) = step.last else { return Ok(settled) };
        (after, settled) = (last, settled + u64::try_from(step.gone).unwrap_or_default());
    }
}

/// A list whose last page is mirrored.
#[derive(Clone, Copy, Debug)]
pub struct EndedListing {
    /// It listed what had changed since.
    pub since: DateTime<Utc>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// The greatest version seen.
    pub seen_until: DateTime<Utc>,
}

/// Moves the cursors of the calendars for which the list began early enough (P6).
///
/// # Errors
/// The database's.
pub async fn advance_cursors(
    db: &PgPool,
    listing: &EndedListing,
    overlap: TimeDelta,
    cause: &str,
) -> Result<(), Error> {
    let mut after = Uuid::nil();
    loop {
        let last = sqlx::query_scalar!(
            r#"with step as (
                 select id from calendars
                 where status = 'connected' and gone_at is null and paged_since is null
                   and cursor - $4::interval >= $1 and synced_at < $2 and id > $5
                 order by id
                 limit 1000
                 for update skip locked
             ), moved as (
                 update calendars set
                     cursor = greatest(cursor, least($3, $2::timestamptz)), synced_at = $2, synced_after = $6
                 from step
                 where calendars.id = step.id
                 returning calendars.id
             )
             select max(id::text)::uuid from moved"#,
            listing.since,
            listing.started_at,
            listing.seen_until,
            interval(overlap),
            after,
            cause,
        )
        .fetch_one(db)
        .await?;
        match last {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

fn interval(delta: TimeDelta) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: delta.num_microseconds().unwrap_or(i64::MAX) }
}
