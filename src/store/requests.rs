//! Requests of many keys at once, for what the mirror knows of: by the sweep, and by a configuration that is new.
//!
//! Rows are locked in the order of their keys, as by [`queue::request`](super::queue::request).

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::{Error, queue::notify};

/// Requests every upcoming event that the configuration `generation` has not decided on yet. Returns how many.
///
/// # Errors
/// The database's.
pub async fn request_undecided(db: &mut PgConnection, generation: i64, now: DateTime<Utc>) -> Result<u64, Error> {
    let requested = sqlx::query!(
        "insert into reconcile_queue as queue (kind, key, deadline, requested_at, due_at)
         select 'event', events.id, events.start_time, $2::timestamptz, $2::timestamptz
         from events
         join calendars on calendars.id = events.calendar_id and calendars.status = 'connected'
             and calendars.gone_at is null
         left join decisions on decisions.event_id = events.id
         where events.end_time > $2 and not events.is_deleted and events.gone_at is null
           and coalesce(decisions.configuration, 0) < $1
         order by events.id
         on conflict (kind, key) do update set
             generation = nextval('reconcile_generation'),
             attempt = case when isfinite(queue.due_at) then queue.attempt else 0 end,
             due_at = least(queue.due_at, excluded.due_at)",
        generation,
        now,
    )
    .execute(&mut *db)
    .await?;
    notify(db).await?;
    Ok(requested.rows_affected())
}

/// Wakes what is parked, so that what was mended outside is noticed, and what is over leaves the queue: events, and calendars
/// that are not connected too, for which a sweep requests nothing else. Returns how many.
///
/// # Errors
/// The database's.
pub async fn wake_parked(db: impl PgExecutor<'_>, now: DateTime<Utc>) -> Result<u64, Error> {
    let woken = sqlx::query!(
        "update reconcile_queue as queue set
             generation = nextval('reconcile_generation'), attempt = 0, due_at = $1
         from (
             -- Locked in the order in which requests lock, so that the two cannot deadlock.
             select kind, key from reconcile_queue
             where kind <> 'sweep' and due_at = 'infinity'
             order by kind, key
             for update
         ) as parked
         where queue.kind = parked.kind and queue.key = parked.key",
        now,
    )
    .execute(db)
    .await?;
    Ok(woken.rows_affected())
}

/// The sweep's request for every connected calendar; for a full sync where the last one is older than `full_before`, which is
/// spread over the calendars by up to `spread` so that they do not all fall due at once. Returns how many.
///
/// # Errors
/// The database's.
pub async fn request_calendars(
    db: &mut PgConnection,
    full_before: DateTime<Utc>,
    spread: Duration,
    deadline: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<u64, Error> {
    let requested = sqlx::query!(
        "insert into reconcile_queue as queue (kind, key, since, deadline, requested_at, due_at)
         select 'calendar', id,
             case when full_synced_at is null
                    or full_synced_at < $1::timestamptz + $2::float8 * (abs(hashtext(id::text)::bigint) / 2147483648.0) * interval '1 second'
                  then 'epoch'::timestamptz end,
             $3::timestamptz, $4::timestamptz, $4::timestamptz
         from calendars
         where status = 'connected' and gone_at is null
         order by id
         on conflict (kind, key) do update set
             generation = nextval('reconcile_generation'),
             since = least(queue.since, excluded.since),
             deadline = least(queue.deadline, excluded.deadline),
             attempt = case when isfinite(queue.due_at) then queue.attempt else 0 end,
             due_at = least(queue.due_at, excluded.due_at)",
        full_before,
        spread.as_secs_f64(),
        deadline,
        now,
    )
    .execute(&mut *db)
    .await?;
    notify(db).await?;
    Ok(requested.rows_affected())
}
