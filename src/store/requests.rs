//! Requests of many keys at once, for what the mirror knows of: by the sweep, and by a configuration that is new.
//!
//! Rows are locked in the order of their keys, as by [`queue::request`], and few at a time: each step is a transaction of its own
//! (but for [`hand_over`]), so neither ingest nor turns wait for a sweep of all calendars. What a sweep that died in between
//! has not requested, the next one does: the sweep's key stays in the queue until it is done.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Error,
    queue::{self, Key, Request, notify, request_keys},
};
use crate::domain::{
    Fingerprint,
    event::EventId,
    plan::{Kept, Plan},
};

/// Rows that one step looks at, and so the most keys that it locks. Statements have the number itself: see [`super::pool`].
pub const STEP: i64 = 1000;

/// What the sweep gives as the cause of its requests.
pub const SWEEP: &str = "the sweep";

/// Requests every upcoming event that the configuration `generation` has not decided on yet, or keeps the bot of until it is
/// confirmed. Goes on step by step, so not in a transaction. Returns how many.
///
/// # Errors
/// The database's.
pub async fn request_undecided(db: &mut PgConnection, generation: i64, now: DateTime<Utc>) -> Result<u64, Error> {
    let (mut after, mut requested) = (Uuid::nil(), 0);
    loop {
        let step = request_keys!(
            "step as materialized (
                 select id, calendar_id, start_time, greatest(start_time, end_time) as ends_at,
                     is_deleted or gone_at is not null as is_gone
                 from events
                 where id > $4
                 order by id
                 limit 1000
             ),",
            "select 'event', step.id, null::timestamptz, start_time, $2::timestamptz, $2::timestamptz,
                 'configuration ' || $1::int8, false
             from step
             join calendars on calendars.id = calendar_id and calendars.status = 'connected'
                 and calendars.gone_at is null
             left join decisions on decisions.event_id = step.id
             where ends_at > $2 and not is_gone
               and (coalesce(decisions.configuration, 0) < $1 or decisions.reason = $3)
             order by step.id",
            "true",
            r#"select (select count(*) from requested) as "requested!",
                 (select id from step order by id desc limit 1) as last"#,
            generation,
            now,
            Plan::Keep(Kept::HeldBack).reason(),
            after,
        )
        .fetch_one(&mut *db)
        .await?;
        if step.requested > 0 {
            notify(&mut *db).await?;
        }
        requested += step.requested.unsigned_abs();
        let Some(last) = step.last else { return Ok(requested) };
        after = last;
    }
}

/// Where the next step begins; `None` after the last.
fn last_of_full(step: Vec<Uuid>) -> Option<Uuid> {
    if step.len() as i64 == STEP { step.into_iter().max() } else { None }
}

/// When the event that a shared bot was made for last lets go of its key, before that is recorded, another one takes it over: it is
/// requested, and its bot counts as made from another configuration. Otherwise the bot would go on to name an event that it has
/// left. Events that have no bot because this one had are requested as well.
///
/// # Errors
/// The database's.
pub async fn hand_over(db: &mut PgConnection, let_go: &[(&str, EventId)], now: DateTime<Utc>) -> Result<(), Error> {
    let mut heirs: Vec<(Uuid, DateTime<Utc>, String)> = vec![];
    for (key, from) in let_go {
        let cause = format!("event {from}, which shared its bot");
        let found = find_heirs(db, key, *from, now).await?;
        heirs.extend(found.into_iter().map(|(id, start)| (id, start, cause.clone())));
    }
    let requests: Vec<Request> = heirs
        .iter()
        .map(|(id, start, cause)| {
            let key = Key::Event(EventId(*id));
            Request { key, since: None, deadline: *start, cause, events_only: false }
        })
        .collect();
    queue::request(db, &requests, now).await
}

async fn find_heirs(
    db: &mut PgConnection,
    scheduled_key: &str,
    from: EventId,
    now: DateTime<Utc>,
) -> Result<Vec<(Uuid, DateTime<Utc>)>, Error> {
    let successor = sqlx::query!(
        "with successor as (
             select events.id, events.start_time
             from decisions
             join events on events.id = decisions.event_id
             where decisions.scheduled_key = $1 and events.id <> $2 and events.start_time > $3
               and not events.is_deleted and not events.is_cancelled and events.gone_at is null
               and not exists (
                   select from decisions as later
                   where later.scheduled_key = $1 and later.event_id <> $2
                     and later.scheduled_at > (select scheduled_at from decisions where event_id = $2)
               )
             order by events.id
             limit 1
         )
         update decisions set scheduled_config = $4 from successor where event_id = successor.id
         returning successor.id, successor.start_time",
        scheduled_key,
        from.0,
        now,
        &Fingerprint::UNKNOWN.0[..],
    )
    .fetch_optional(&mut *db)
    .await?;
    let covered = sqlx::query!(
        "select events.id, events.start_time
         from decisions
         join events on events.id = decisions.event_id
         where decisions.covered_key = $1 and events.id <> $2 and events.end_time > $3",
        scheduled_key,
        from.0,
        now,
    )
    .fetch_all(&mut *db)
    .await?;
    let successor = successor.into_iter().map(|event| (event.id, event.start_time));
    Ok(successor.chain(covered.into_iter().map(|event| (event.id, event.start_time))).collect())
}

/// Wakes what is parked, so that what was mended outside is noticed, and what is over leaves the queue: events, and calendars
/// that are not connected too, for which a sweep requests nothing else. Goes on step by step, so not in a transaction. Returns
/// how many.
///
/// # Errors
/// The database's.
pub async fn wake_parked(db: &mut PgConnection, now: DateTime<Utc>) -> Result<u64, Error> {
    let mut woken = 0;
    for kind in ["calendar", "event", "workspace"] {
        // What is parked anew meanwhile lies behind, but for the last. The workspace's key is nil.
        let mut after = Uuid::nil();
        loop {
            let step = sqlx::query_scalar!(
                "update reconcile_queue as queue set
                     generation = nextval('reconcile_generation'), attempt = 0, due_at = $1, is_due = true
                 from (
                     -- Locked in the order in which requests lock, so that the two cannot deadlock.
                     select kind, key from reconcile_queue
                     where kind = $2 and due_at = 'infinity' and key >= $3
                     order by key
                     limit 1000
                     for update
                 ) as parked
                 where queue.kind = parked.kind and queue.key = parked.key
                 returning queue.key",
                now,
                kind,
                after,
            )
            .fetch_all(&mut *db)
            .await?;
            woken += step.len() as u64;
            let Some(last) = last_of_full(step) else { break };
            after = last;
        }
    }
    Ok(woken)
}

/// The sweep's request for every connected calendar but those whose events were listed since it began, or will be: for its
/// events, if it was listed or read since then, or `are_there` says so of all; else it may be gone, and has to be looked at
/// itself. For a full sync where the last one is older than `full_before`, which is spread over the calendars by up to `spread` so
/// that they do not all fall due
/// at once. Goes on step by step, so not in a transaction. Returns how many.
///
/// # Errors
/// The database's.
pub async fn request_calendars(
    db: &mut PgConnection,
    sweep_started_at: DateTime<Utc>,
    full_before: DateTime<Utc>,
    spread: Duration,
    are_there: bool,
    deadline: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<u64, Error> {
    let (mut after, mut requested) = (Uuid::nil(), 0);
    loop {
        let step = request_keys!(
            "step as (
                 select id, full_synced_at is null
                     or full_synced_at < $1::timestamptz + $2::float8 * (abs(hashtext(id::text)::bigint) / 2147483648.0) * interval '1 second'
                     as is_stale,
                     $8 or coalesce(listed_at >= $7 or observed_at > $7, false) as is_there,
                     coalesce(synced_at > $7, false) as is_fresh
                 from calendars
                 where status = 'connected' and gone_at is null and id > $6
                 order by id
                 limit 1000
             ),",
            "select 'calendar', id, case when is_stale then 'epoch'::timestamptz end,
                 $3::timestamptz, $4::timestamptz, $4::timestamptz, $5, is_there and not is_stale
             from step
             where is_stale or not is_there or not is_fresh
             order by id",
            // What waits for its first try will be listed, by a turn that has yet to begin or a list of the workspace: unless
            // that began before the sweep.
            "not excluded.events_only or queue.attempt > 0 or queue.lease_token is not null
             or queue.progress is not null
             or exists (select from reconcile_queue as listing
                        where listing.kind = 'workspace' and (listing.progress->>'started_at')::timestamptz <= $7)",
            r#"select (select count(*) from requested) as "requested!",
                 (select id from step order by id desc limit 1) as last"#,
            full_before,
            spread.as_secs_f64(),
            deadline,
            now,
            SWEEP,
            after,
            sweep_started_at,
            are_there,
        )
        .fetch_one(&mut *db)
        .await?;
        if step.requested > 0 {
            notify(&mut *db).await?;
        }
        requested += step.requested.unsigned_abs();
        let Some(last) = step.last else { return Ok(requested) };
        after = last;
    }
}
