//! The reconcile queue: request, claim, settle, retry, park — and put off, for a key that waits for budget, or leave it to the
//! newest configuration.
//!
//! Rows are keys, not jobs: "look at calendar C, back to T". What must hold:
//!
//! - **No lost update.** A request moves `generation`; settling deletes the row only if the generation is still the one that
//!   was claimed. A request that arrives during a turn so causes one more turn (P7), however many arrive. A delivery alone may
//!   leave a key as it is that waits to be claimed, since whoever claims it looks later: see `deliveries::accept`.
//! - **No two turns at once.** A claim takes a lease; all that end a turn match its token. A turn is cut off before its lease
//!   ends (see `worker`), and a lease that has run out anyway counts as a failed attempt.
//! - **No hint forgotten.** A claim moves `since` to `claimed_since`. Only settling forgets that; after a failure or a crash
//!   the next claim takes the lesser of both.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgExecutor, PgPool, types::Json};
use tokio::sync::Notify;
use uuid::Uuid;

use super::Error;
use crate::domain::{budget::CallClass, calendar::CalendarId, event::EventId};

/// Within this time of its start a meeting's bot goes before all else. Recall promises bots in time only to those who schedule
/// them more than ten minutes ahead.
pub const URGENT: TimeDelta = TimeDelta::minutes(10);
/// What a key waits for that is left to the newest configuration.
pub const NEWEST_CONFIGURATION: &str = "newest configuration";
/// Keys that one statement of [`wake_due`] finds of a kind. It has the number itself: see [`super::pool`].
const WAKES_AT_ONCE: u64 = 1000;
/// The channel on which a commit that made keys due is told.
pub const CHANNEL: &str = "rollcall_queue";

/// What a turn looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A calendar and its events.
    Calendar(CalendarId),
    /// One event and its bot.
    Event(EventId),
    /// All calendars of the workspace.
    Sweep,
    /// The events of all calendars.
    Workspace,
}

impl Key {
    /// Its kind, as in the table.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Calendar(_) => "calendar",
            Self::Event(_) => "event",
            Self::Sweep => "sweep",
            Self::Workspace => "workspace",
        }
    }

    /// Its id; nil for those of which there is one.
    pub fn id(self) -> Uuid {
        match self {
            Self::Calendar(id) => id.0,
            Self::Event(id) => id.0,
            Self::Sweep | Self::Workspace => Uuid::nil(),
        }
    }

    /// Whether its turn pages through lists.
    pub fn is_listing(self) -> bool {
        !matches!(self, Self::Event(_))
    }

    fn new(kind: &str, id: Uuid) -> Self {
        match kind {
            "calendar" => Self::Calendar(CalendarId(id)),
            "event" => Self::Event(EventId(id)),
            "workspace" => Self::Workspace,
            // The table's check constraint admits no fifth kind.
            _ => Self::Sweep,
        }
    }
}

/// A wish that a key be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What to look at.
    pub key: Key,
    /// Calendars: how far back; the Unix epoch for a full sync.
    pub since: Option<DateTime<Utc>>,
    /// Claims go in this order: a meeting's start, or the time by which the look matters.
    pub deadline: DateTime<Utc>,
    /// What led to it, such as `delivery msg_…`, for whoever asks why a bot was scheduled.
    pub cause: &'a str,
    /// Calendars: their events are to be looked at, and nothing hints that they changed themselves.
    pub events_only: bool,
}

/// A key that this turn, and no other, looks at.
#[derive(Debug)]
pub struct Claimed {
    /// What to look at.
    pub key: Key,
    /// The generation that this turn answers.
    pub generation: i64,
    /// How far back to look.
    pub since: Option<DateTime<Utc>>,
    /// Failed turns before this one.
    pub attempt: i32,
    /// A meeting's start, or the time by which the look matters.
    pub deadline: DateTime<Utc>,
    /// Proof of the lease.
    pub token: Uuid,
    /// How far an earlier turn came.
    pub progress: Option<serde_json::Value>,
    /// What led to the latest request.
    pub cause: String,
    /// All requests were for the calendar's events.
    pub events_only: bool,
}

/// A statement that requests keys, as `query!` takes it. `$rows` selects them: kind, key, since, deadline, requested_at, due_at,
/// cause and events_only, one row per key and in the order of their keys: a row cannot be hit twice, and concurrent requests
/// cannot deadlock. Of the keys that are in the queue only those are changed for which `$only` holds. `$with` comes before it,
/// and `$answer` may read `requested`.
macro_rules! request_keys {
    ($with:tt, $rows:tt, $only:tt, $answer:tt, $($argument:expr),* $(,)?) => {
        ::sqlx::query!(
            "with " + $with + " requested as (
                 insert into reconcile_queue as queue
                     (kind, key, since, deadline, requested_at, due_at, cause, events_only)
             " + $rows + "
                 on conflict (kind, key) do update set
                     generation = nextval('reconcile_generation'),
                     since = least(queue.since, excluded.since),
                     -- An event's deadline is its start, which may have moved back; a calendar's only gets nearer.
                     deadline = case when queue.kind = 'event' then excluded.deadline
                                     else least(queue.deadline, excluded.deadline) end,
                     attempt = case when isfinite(queue.due_at) then queue.attempt else 0 end,
                     due_at = least(queue.due_at, excluded.due_at),
                     is_due = true,
                     -- What has changed concerns all configurations. Where a new one asks, an older replica may take the turn first,
                     -- and leaves the key to it again.
                     waits_for = nullif(queue.waits_for, 'newest configuration'),
                     cause = excluded.cause,
                     events_only = queue.events_only and excluded.events_only
                 where " + $only + "
                 returning queue.kind, queue.key
             ) " + $answer,
            $($argument),*
        )
    };
}
pub(super) use request_keys;

/// Wakes this process's worker at once. Others hear of what became due by a NOTIFY; so does it itself, only later, and leaves alone
/// what [`Wake::name`] says that it was woken for.
#[derive(Clone, Debug)]
pub struct Wake {
    notify: Arc<Notify>,
    name: String,
}

impl Default for Wake {
    fn default() -> Self {
        Self { notify: Arc::default(), name: Uuid::new_v4().to_string() }
    }
}

impl Wake {
    /// Something that is due at once is committed.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Waits until it is woken, or has been since the last time.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }

    /// What a NOTIFY says if this process is woken without it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Requests keys, all due at once; wakes parked ones and whoever waits for work.
///
/// # Errors
/// The database's.
pub async fn request(db: &mut PgConnection, requests: &[Request<'_>], now: DateTime<Utc>) -> Result<(), Error> {
    if requests.is_empty() {
        return Ok(());
    }
    let kinds: Vec<&str> = requests.iter().map(|request| request.key.kind()).collect();
    let ids: Vec<Uuid> = requests.iter().map(|request| request.key.id()).collect();
    let since: Vec<Option<DateTime<Utc>>> = requests.iter().map(|request| request.since).collect();
    let deadlines: Vec<DateTime<Utc>> = requests.iter().map(|request| request.deadline).collect();
    let causes: Vec<&str> = requests.iter().map(|request| request.cause).collect();
    let events_only: Vec<bool> = requests.iter().map(|request| request.events_only).collect();
    request_keys!(
        "",
        "select kind, key, min(since), min(deadline), $5::timestamptz, $5::timestamptz, max(cause), bool_and(events_only)
         from unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $6::text[], $8::boolean[])
             as wish (kind, key, since, deadline, cause, events_only)
         group by kind, key
         order by kind, key",
        "true",
        // As `notify` does it, without another round trip.
        "select pg_notify($7, '')::text as told from requested limit 1",
        &kinds as &[&str],
        &ids,
        &since as &[Option<DateTime<Utc>>],
        &deadlines,
        now,
        &causes as &[&str],
        CHANNEL,
        &events_only,
    )
    .fetch_one(&mut *db)
    .await?;
    Ok(())
}

/// Tells all workers, at commit, that keys are due.
///
/// # Errors
/// The database's.
pub async fn notify(db: impl PgExecutor<'_>) -> Result<(), Error> {
    sqlx::query!("select pg_notify($1, '')", CHANNEL).fetch_one(db).await?;
    Ok(())
}

/// How many keys a claim may take, and which.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Keys of all kinds.
    pub keys: usize,
    /// Calendars and the sweep among them.
    pub listings: usize,
    /// Keys that wait for one of these are skipped.
    pub blocked: &'a [CallClass],
    /// Whether the configuration is the newest. An older one leaves it the events that wait for it, or for budget.
    pub is_newest: bool,
}

/// Claims keys that are due: first the events that start within [`URGENT`] or have begun, whatever else waits, then all in the
/// order of their deadlines.
///
/// However many keys wait for budget, rest or are leased, it passes none of them: it looks at the head of what is due for each
/// class of calls that is not blocked. What has come due by itself it sees once [`wake_due`] has.
///
/// # Errors
/// The database's.
pub async fn claim(
    db: impl PgExecutor<'_>,
    wanted: Wanted<'_>,
    now: DateTime<Utc>,
    lease: Duration,
) -> Result<Vec<Claimed>, Error> {
    // What waits for nothing is under the empty name.
    let mut listings = vec![""];
    listings.extend(CallClass::ALL.iter().filter(|class| !wanted.blocked.contains(class)).map(|class| class.as_str()));
    let events = if wanted.is_newest { [&listings[..], &[NEWEST_CONFIGURATION]].concat() } else { vec![""] };
    let limit = |keys: usize| i64::try_from(keys).unwrap_or(i64::MAX);
    let rows = sqlx::query!(
        r#"with events as (
             select head.*
             from unnest($4::text[]) as class
             cross join lateral (
                 select kind, key, deadline, due_at
                 from reconcile_queue
                 where kind = 'event' and is_due and leased_until is null and coalesce(waits_for, '') = class
                   and due_at <= $1
                 order by deadline, due_at
                 limit $2
                 for update skip locked
             ) as head
         ), listings as (
             select head.*
             from unnest($7::text[]) as class
             cross join lateral (
                 select kind, key, deadline, due_at
                 from reconcile_queue
                 where kind <> 'event' and is_due and leased_until is null and coalesce(waits_for, '') = class
                   and due_at <= $1
                 order by deadline, due_at
                 limit $5
                 for update skip locked
             ) as head
             order by deadline, due_at
             limit $5
         ), picked as (
             select kind, key
             from (select * from events union all select * from listings) as candidates
             order by (kind = 'event' and deadline <= $6) desc, deadline, due_at
             limit $2
         )
         update reconcile_queue as queue set
             leased_until = $3,
             lease_token = gen_random_uuid(),
             waits_for = null,
             claimed_since = least(queue.claimed_since, queue.since),
             since = null,
             -- A token that is still there is of a turn that died.
             attempt = queue.attempt + (queue.lease_token is not null)::int
         from picked
         where queue.kind = picked.kind and queue.key = picked.key
         returning queue.kind, queue.key, queue.generation, queue.claimed_since, queue.attempt,
             queue.lease_token as "token!", queue.progress as "progress: Json<serde_json::Value>",
             queue.deadline, queue.cause, queue.events_only"#,
        now,
        limit(wanted.keys),
        now + lease,
        &events as &[&str],
        limit(wanted.listings.min(wanted.keys)),
        now + URGENT,
        &listings as &[&str],
    )
    .fetch_all(db)
    .await?;
    let mut claimed: Vec<_> = rows
        .into_iter()
        .map(|row| Claimed {
            key: Key::new(&row.kind, row.key),
            generation: row.generation,
            since: row.claimed_since,
            attempt: row.attempt,
            deadline: row.deadline,
            token: row.token,
            progress: row.progress.map(|Json(progress)| progress),
            cause: row.cause,
            events_only: row.events_only,
        })
        .collect();
    claimed.sort_by_key(|claimed| {
        let is_urgent = matches!(claimed.key, Key::Event(_)) && claimed.deadline <= now + URGENT;
        (!is_urgent, claimed.deadline)
    });
    Ok(claimed)
}

/// Brings what has come due by itself, and what a turn that died has left leased, to where claims look. Workers have to call it
/// now and then; what is requested is there at once.
///
/// # Errors
/// The database's.
pub async fn wake_due(db: &PgPool, now: DateTime<Utc>) -> Result<(), Error> {
    let mut db = db.acquire().await?;
    loop {
        let woken = sqlx::query!(
            "with rested as (
                 select ctid from reconcile_queue
                 where not is_due and due_at <= $1 and leased_until is null
                 order by due_at
                 limit 1000
                 for update skip locked
             ), left_leased as (
                 select ctid from reconcile_queue
                 where leased_until <= $1
                 order by leased_until
                 limit 1000
                 for update skip locked
             )
             -- By place: they are locked, so they stay there, and the planner knows no better way to a thousand of them.
             update reconcile_queue set is_due = true, leased_until = null
             where ctid = any (array(select ctid from rested union all select ctid from left_leased))",
            now,
        )
        .execute(&mut *db)
        .await?;
        if woken.rows_affected() < WAKES_AT_ONCE {
            return Ok(());
        }
    }
}

/// Ends a turn that has done all that was asked up to the generation `answered`: the key leaves the queue, unless it was
/// requested again meanwhile: then it is due at `again_at`. A turn that finished a run of an older generation than it claimed
/// has not answered the hints that it claimed, so they stay. Returns whether it has left.
///
/// # Errors
/// `LeaseLost`, or the database's.
pub async fn settle(
    db: &mut PgConnection,
    claimed: &Claimed,
    answered: i64,
    again_at: DateTime<Utc>,
) -> Result<bool, Error> {
    // Two statements: one that did both would judge the second half by a snapshot in which a concurrent request is not
    // there yet, and leave the row leased.
    let deleted = sqlx::query!(
        "delete from reconcile_queue where kind = $1 and key = $2 and lease_token = $3 and generation = $4",
        claimed.key.kind(),
        claimed.key.id(),
        claimed.token,
        answered,
    )
    .execute(&mut *db)
    .await?;
    if deleted.rows_affected() == 1 {
        return Ok(true);
    }
    let again = sqlx::query!(
        "update reconcile_queue set
             leased_until = null, lease_token = null, progress = null,
             claimed_since = case when $5 then null else claimed_since end,
             attempt = 0, rests_until = null, last_error = null, requested_at = $4, due_at = $4
         where kind = $1 and key = $2 and lease_token = $3",
        claimed.key.kind(),
        claimed.key.id(),
        claimed.token,
        again_at,
        answered == claimed.generation,
    )
    .execute(db)
    .await?;
    owned(again.rows_affected()).map(|()| false)
}

/// Ends a turn that has done all, and has the key come back at `due_at`, or now if it was requested meanwhile.
///
/// # Errors
/// `LeaseLost`, or the database's.
pub async fn come_back(
    db: impl PgExecutor<'_>,
    claimed: &Claimed,
    due_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let updated = sqlx::query!(
        "update reconcile_queue set
             leased_until = null, lease_token = null, claimed_since = null, progress = null,
             attempt = 0, rests_until = null, last_error = null,
             requested_at = case when generation = $4 then $5::timestamptz else $6::timestamptz end,
             due_at = case when generation = $4 then $5::timestamptz else $6::timestamptz end,
             is_due = generation <> $4,
             deadline = case when generation = $4 then $5::timestamptz else $6::timestamptz end
         where kind = $1 and key = $2 and lease_token = $3",
        claimed.key.kind(),
        claimed.key.id(),
        claimed.token,
        claimed.generation,
        due_at,
        now,
    )
    .execute(db)
    .await?;
    owned(updated.rows_affected())
}

/// Ends a turn that failed for now: it is tried again at `due_at`. A turn that a request brought forward, and that failed as
/// well, costs no attempt and does not lengthen the pause that it interrupted: webhooks during an outage must not add up. What
/// is requested while the turn is taken is due at once, but once in a pause. A calendar's list that has come no further in five
/// turns is begun anew: what fails may be the place where it was left.
///
/// # Errors
/// `LeaseLost`, or the database's.
pub async fn retry(
    db: impl PgExecutor<'_>,
    claimed: &Claimed,
    due_at: DateTime<Utc>,
    last_error: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let updated = sqlx::query!(
        "update reconcile_queue set
             leased_until = null, lease_token = null, last_error = $4,
             is_due = generation <> $7 and not coalesce(rests_until > $6, false),
             attempt = attempt + case when rests_until > $6 then 0 else 1 end,
             progress = case when kind = 'calendar' and attempt % 5 = 4 and not coalesce(rests_until > $6, false)
                             then null else progress end,
             due_at = case when rests_until > $6 then least(rests_until, $5) when generation <> $7 then $6 else $5 end,
             rests_until = case when rests_until > $6 then least(rests_until, $5) else $5 end
         where kind = $1 and key = $2 and lease_token = $3",
        claimed.key.kind(),
        claimed.key.id(),
        claimed.token,
        last_error,
        due_at,
        now,
        claimed.generation,
    )
    .execute(db)
    .await?;
    owned(updated.rows_affected())
}

/// Forgets how far a run has come, so that the next turn begins anew.
///
/// # Errors
/// `LeaseLost`, or the database's.
pub async fn forget_progress(db: impl PgExecutor<'_>, claimed: &Claimed) -> Result<(), Error> {
    let updated = sqlx::query!(
        "update reconcile_queue set progress = null where kind = $1 and key = $2 and lease_token = $3",
        claimed.key.kind(),
        claimed.key.id(),
        claimed.token,
    )
    .execute(db)
    .await?;
    owned(updated.rows_affected())
}

/// Ends a turn that could not go on, through no fault of the key: it costs no attempt. With `waits_for` the key is skipped
/// by those who know that this class has no budget; it is due otherwise. One that was requested meanwhile is due at once.
///
/// # Errors
/// `LeaseLost`, or the database's.
pub async fn put_off(
    db: impl PgExecutor<'_>,
    claimed: &Claimed,
    due_at: DateTime<Utc>,
    waits_for: Option<CallClass>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let updated = sqlx::query!(
        "update reconcile_queue set
             leased_until = null, lease_token = null, waits_for = $4,
             due_at = case when generation = $7 then $5 else least($5, $6::timestamptz) end,
             is_due = generation <> $7 or $5 <= $6
         where kind = $1 and key = $2 and lease_token = $3",
        claimed.key.kind(),
        claimed.key.id(),
        claimed.token,
        waits_for.map(CallClass::as_str),
        due_at,
        now,
        claimed.generation,
    )
    .execute(db)
    .await?;
    owned(updated.rows_affected())
}

/// Ends a turn of an event that a replica with the newest configuration has to look at as well: others skip the key, until it is
/// requested again. With `last_error` if the turn failed.
///
/// # Errors
/// `LeaseLost`, or the database's.
pub async fn leave_to_newest(
    db: impl PgExecutor<'_>,
    claimed: &Claimed,
    last_error: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let updated = sqlx::query!(
        "update reconcile_queue set
             leased_until = null, lease_token = null, attempt = 0, rests_until = null, last_error = $4,
             waits_for = case when generation = $5 then $6 end, due_at = $7, is_due = true
         where kind = $1 and key = $2 and lease_token = $3",
        claimed.key.kind(),
        claimed.key.id(),
        claimed.token,
        last_error,
        claimed.generation,
        NEWEST_CONFIGURATION,
        now,
    )
    .execute(db)
    .await?;
    owned(updated.rows_affected())
}

/// Has all replicas look at the events that wait for budget. Those with the newest configuration alone would otherwise: call it
/// when there is a newer one. Goes on step by step, so not in a transaction.
///
/// # Errors
/// The database's.
pub async fn release_events(db: &PgPool) -> Result<(), Error> {
    let mut db = db.acquire().await?;
    let mut after = Uuid::nil();
    loop {
        let step = sqlx::query_scalar!(
            r#"with step as materialized (
                 select key, waits_for from reconcile_queue where kind = 'event' and key > $1 order by key limit 1000 for update
             ), released as (
                 update reconcile_queue as queue set waits_for = null
                 from step
                 where queue.kind = 'event' and queue.key = step.key and step.waits_for <> $2
             )
             select key as "key!" from step order by key desc limit 1"#,
            after,
            NEWEST_CONFIGURATION,
        )
        .fetch_optional(&mut *db)
        .await?;
        let Some(last) = step else { return Ok(()) };
        after = last;
    }
}

/// Ends a turn that will not succeed by being repeated: the key stays, visible, until the next request wakes it. If it was
/// requested meanwhile, it is due at once.
///
/// # Errors
/// `LeaseLost`, or the database's.
pub async fn park(
    db: impl PgExecutor<'_>,
    claimed: &Claimed,
    last_error: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let updated = sqlx::query!(
        "update reconcile_queue set
             leased_until = null, lease_token = null, attempt = attempt + 1, rests_until = null, last_error = $4,
             progress = null, is_due = generation <> $5,
             due_at = case when generation = $5 then 'infinity'::timestamptz else $6::timestamptz end
         where kind = $1 and key = $2 and lease_token = $3",
        claimed.key.kind(),
        claimed.key.id(),
        claimed.token,
        last_error,
        claimed.generation,
        now,
    )
    .execute(db)
    .await?;
    owned(updated.rows_affected())
}

/// Keeps how far a run has come, together with what it did so far.
///
/// # Errors
/// `LeaseLost`, or the database's.
pub async fn save_progress(
    db: impl PgExecutor<'_>,
    claimed: &Claimed,
    progress: &serde_json::Value,
) -> Result<(), Error> {
    let updated = sqlx::query!(
        "update reconcile_queue set progress = $4 where kind = $1 and key = $2 and lease_token = $3",
        claimed.key.kind(),
        claimed.key.id(),
        claimed.token,
        progress,
    )
    .execute(db)
    .await?;
    owned(updated.rows_affected())
}

fn owned(rows_affected: u64) -> Result<(), Error> {
    if rows_affected == 1 { Ok(()) } else { Err(Error::LeaseLost) }
}
