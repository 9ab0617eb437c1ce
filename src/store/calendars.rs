//! The mirror of calendars.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{PgConnection, PgExecutor, types::Json};
use uuid::Uuid;

use super::{Error, decisions, requests};
use crate::domain::{
    calendar::{Calendar, CalendarId, CalendarStatus},
    dedup::start_in,
    event::EventId,
    plan::{NoBot, Plan, has_joined},
};

/// How far an event may have moved whose bot has yet to join: Recall shows 28 days of them.
const MOVED_AT_MOST: TimeDelta = TimeDelta::days(35);

/// How far the events of a calendar have been read, and what was believed of the calendar itself.
#[derive(Clone, Debug)]
pub struct SyncState {
    /// The status as mirrored; `None` if the API did not know the calendar.
    pub status: Option<CalendarStatus>,
    /// When it was disconnected last, as mirrored.
    pub disconnected_at: Option<DateTime<Utc>>,
    /// The address as mirrored.
    pub email: Option<String>,
    /// The metadata as mirrored.
    pub metadata: Option<Box<RawValue>>,
    /// Events up to here have been seen; `None`: never read whole.
    pub cursor: Option<DateTime<Utc>>,
    /// The last run, if it took several pages.
    pub paged: Option<PagedRun>,
    /// How often in a row its list was read again because it had changed while it was read.
    pub repeats: i16,
    /// How far any calendar has been read.
    pub reached: Option<DateTime<Utc>>,
}

impl SyncState {
    /// Whether Recall can read the calendar, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.status == Some(CalendarStatus::Connected)
    }
}

/// A run that took several pages, between which the list may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagedRun {
    /// It listed what had changed since; the Unix epoch for a full run.
    pub since: DateTime<Utc>,
    /// When it began.
    pub from: DateTime<Utc>,
    /// When its last page came.
    pub until: DateTime<Utc>,
}

/// A run whose last page is mirrored.
#[derive(Clone, Copy, Debug)]
pub struct EndedRun {
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// The greatest version seen.
    pub seen_until: Option<DateTime<Utc>>,
    /// It listed all events.
    pub is_full: bool,
    /// If it took several pages.
    pub paged: Option<PagedRun>,
    /// See [`SyncState::repeats`].
    pub repeats: i16,
}

/// The state of a calendar; `None` if it is not mirrored.
///
/// # Errors
/// The database's.
pub async fn sync_state(db: impl PgExecutor<'_>, id: CalendarId) -> Result<Option<SyncState>, Error> {
    let row = sqlx::query!(
        r#"select status, disconnected_at, email, metadata as "metadata: Json<Box<RawValue>>", gone_at, cursor, synced_at,
             paged_since, paged_until, repeats, (select max(cursor) from calendars) as reached
         from calendars
         where id = $1"#,
        id.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| SyncState {
        status: row.gone_at.is_none().then(|| CalendarStatus::from(row.status.as_str())),
        disconnected_at: row.disconnected_at,
        email: row.email,
        metadata: row.metadata.map(|Json(metadata)| metadata),
        cursor: row.cursor,
        paged: match (row.paged_since, row.synced_at, row.paged_until) {
            (Some(since), Some(from), Some(until)) => Some(PagedRun { since, from, until }),
            _ => None,
        },
        repeats: row.repeats,
        reached: row.reached,
    }))
}

/// A calendar as it is stored.
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) platform: String,
    pub(super) email: Option<String>,
    pub(super) status: String,
    pub(super) disconnected_at: Option<DateTime<Utc>>,
    pub(super) metadata: Option<Json<Box<RawValue>>>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
}

impl From<Row> for Calendar {
    fn from(row: Row) -> Self {
        Self {
            id: CalendarId(row.id),
            platform: row.platform,
            email: row.email,
            status: CalendarStatus::from(row.status.as_str()),
            disconnected_at: row.disconnected_at,
            metadata: row.metadata.map(|Json(metadata)| metadata),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A calendar as mirrored; `None` if it never was, or is gone.
///
/// # Errors
/// The database's.
pub async fn load(db: impl PgExecutor<'_>, id: CalendarId) -> Result<Option<Calendar>, Error> {
    Ok(load_several(db, &[id]).await?.pop())
}

/// Those of these calendars that are mirrored and not gone.
///
/// # Errors
/// The database's.
pub async fn load_several(db: impl PgExecutor<'_>, ids: &[CalendarId]) -> Result<Vec<Calendar>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select id, platform, email, status, disconnected_at, metadata as "metadata: Json<Box<RawValue>>",
             created_at, updated_at
         from calendars
         where id = any ($1) and gone_at is null"#,
        &ids,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Calendar::from).collect())
}

/// When a calendar was synced last, and what led to it.
///
/// # Errors
/// The database's.
pub async fn last_sync(
    db: impl PgExecutor<'_>,
    id: CalendarId,
) -> Result<Option<(DateTime<Utc>, Option<String>)>, Error> {
    let row =
        sqlx::query!(r#"select synced_at, synced_after from calendars where id = $1"#, id.0).fetch_optional(db).await?;
    Ok(row.and_then(|row| Some((row.synced_at?, row.synced_after))))
}

/// Mirrors a calendar that was read with a request sent at `observed_at`, unless a newer version is mirrored (P5). Returns
/// whether it was.
///
/// # Errors
/// The database's.
pub async fn mirror(db: impl PgExecutor<'_>, calendar: &Calendar, observed_at: DateTime<Utc>) -> Result<bool, Error> {
    let mirrored = sqlx::query!(
        "insert into calendars as mirror
             (id, platform, email, status, disconnected_at, metadata, created_at, updated_at, observed_at)
         -- As text, so that it is kept as it was sent, and the same again is seen to be the same.
         values ($1, $2, $3, $4, $5, $6::text::json, $7, $8, $9)
         on conflict (id) do update set
             platform = excluded.platform,
             email = excluded.email,
             status = excluded.status,
             gone_at = null,
             disconnected_at = excluded.disconnected_at,
             metadata = excluded.metadata,
             updated_at = excluded.updated_at,
             observed_at = excluded.observed_at
         where (excluded.updated_at, excluded.observed_at) >= (mirror.updated_at, mirror.observed_at)",
        calendar.id.0,
        calendar.platform,
        calendar.email,
        calendar.status.as_str(),
        calendar.disconnected_at,
        calendar.metadata.as_ref().map(|metadata| metadata.get()) as Option<&str>,
        calendar.created_at,
        calendar.updated_at,
        observed_at,
    )
    .execute(db)
    .await?;
    Ok(mirrored.rows_affected() == 1)
}

/// Of the calendars in a list, those that are not mirrored, are mirrored as gone, or are another than is mirrored in what
/// matters for bots.
///
/// # Errors
/// The database's.
pub async fn find_changed(db: impl PgExecutor<'_>, listed: &[Calendar]) -> Result<Vec<CalendarId>, Error> {
    let ids: Vec<Uuid> = listed.iter().map(|calendar| calendar.id.0).collect();
    let statuses: Vec<&str> = listed.iter().map(|calendar| calendar.status.as_str()).collect();
    let emails: Vec<Option<&str>> = listed.iter().map(|calendar| calendar.email.as_deref()).collect();
    let metadata: Vec<Option<&str>> =
        listed.iter().map(|calendar| calendar.metadata.as_ref().map(|metadata| metadata.get())).collect();
    let disconnections: Vec<Option<DateTime<Utc>>> = listed.iter().map(|calendar| calendar.disconnected_at).collect();
    let changed = sqlx::query_scalar!(
        r#"select listed.id as "id!"
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
             as listed (id, status, email, metadata, disconnected_at)
         left join calendars on calendars.id = listed.id and calendars.gone_at is null
         where (calendars.status, calendars.email, calendars.metadata::text, calendars.disconnected_at)
             is distinct from (listed.status, listed.email, listed.metadata, listed.disconnected_at)"#,
        &ids,
        &statuses as &[&str],
        &emails as &[Option<&str>],
        &metadata as &[Option<&str>],
        &disconnections as &[Option<DateTime<Utc>>],
    )
    .fetch_all(db)
    .await?;
    Ok(changed.into_iter().map(CalendarId).collect())
}

/// Notes that the sweep which began at `sweep_started_at` was shown these calendars. If that is lost, a calendar is looked at by
/// itself.
///
/// # Errors
/// The database's.
pub async fn note_listed(
    db: impl PgExecutor<'_>,
    listed: &[Calendar],
    sweep_started_at: DateTime<Utc>,
) -> Result<(), Error> {
    let ids: Vec<Uuid> = listed.iter().map(|calendar| calendar.id.0).collect();
    sqlx::query!(
        "update calendars set listed_at = $2
         -- Whoever has one locked is reading it.
         where id = any (array(select id from calendars where id = any ($1) order by id for update skip locked))",
        &ids,
        sweep_started_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Mirrors that the API does not know a calendar (any more). One that was never mirrored leaves no trace.
///
/// # Errors
/// The database's.
pub async fn mirror_gone(
    db: &mut PgConnection,
    id: CalendarId,
    join_early: TimeDelta,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "update calendars set gone_at = $2, cursor = null, full_synced_at = null where id = $1 and gone_at is null",
        id.0,
        now,
    )
    .execute(&mut *db)
    .await?;
    forget_events(db, id, now, join_early, now).await
}

/// Mirrors that Recall has removed the bots of a calendar that it cannot read: those that had yet to join when it was
/// `cut_off_at`. The events lose their fingerprints, so that each is taken for changed when it is read again, and the calendar
/// its cursor, so that it will be read whole.
///
/// # Errors
/// The database's.
pub async fn mirror_disconnected(
    db: &mut PgConnection,
    id: CalendarId,
    cut_off_at: DateTime<Utc>,
    join_early: TimeDelta,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!("update calendars set cursor = null, full_synced_at = null where id = $1", id.0)
        .execute(&mut *db)
        .await?;
    forget_events(db, id, cut_off_at, join_early, now).await
}

/// Has a calendar read whole, and each event that starts after `from` looked at, though nothing is new in it. Whatever becomes of the
/// run that was to do so.
///
/// # Errors
/// The database's.
pub async fn forget_read(db: &mut PgConnection, id: CalendarId, from: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!("update calendars set cursor = null where id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!(
        "update events set fingerprint = null where calendar_id = $1 and start_time > $2 and fingerprint is not null",
        id.0,
        from,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What no longer holds of a calendar that Recall is cut off from: its events are not read, and their bots are gone, unless other
/// events share them. Those of an earlier time of an event have joined, and stay; so do those that joined early.
async fn forget_events(
    db: &mut PgConnection,
    id: CalendarId,
    cut_off_at: DateTime<Utc>,
    join_early: TimeDelta,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let scheduled = sqlx::query!(
        r#"select events.id, events.start_time, decisions.scheduled_key as "key!", decisions.scheduled_at,
             exists (
                 select from decisions as other
                 where other.scheduled_key = decisions.scheduled_key and other.event_id <> decisions.event_id
             ) as "is_shared!"
         from events join decisions on decisions.event_id = events.id
         where events.calendar_id = $1 and events.start_time > $2 and decisions.scheduled_key is not null
           -- What was scheduled after the cut was not removed by it.
           and (decisions.scheduled_at <= $3 or events.start_time > $4)"#,
        id.0,
        cut_off_at - MOVED_AT_MOST,
        cut_off_at,
        now,
    )
    .fetch_all(&mut *db)
    .await?;
    // By the bot's own start: its event may have moved, and the bot not with it.
    let (joined, removed): (Vec<_>, Vec<_>) = scheduled.into_iter().partition(|row| {
        has_joined(start_in(&row.key).unwrap_or(row.start_time), row.scheduled_at, join_early, cut_off_at)
    });
    let moved_away = joined.iter().filter(|row| row.start_time > cut_off_at);
    let moved_away: Vec<&str> = moved_away.map(|row| row.key.as_str()).collect();
    decisions::leave_behind(&mut *db, &moved_away, now).await?;
    let keys: Vec<String> = removed.iter().map(|row| row.key.clone()).collect();
    // Calendars that share meetings are cut off together: in one order, so that they wait for each other, and do not deadlock.
    sqlx::query!("select from decisions where scheduled_key = any ($1) order by event_id for update", &keys)
        .execute(&mut *db)
        .await?;
    let may_cover = |key: &str| start_in(key).is_some_and(|start| start <= now + join_early);
    let let_go: Vec<(&str, EventId)> = removed
        .iter()
        .filter(|row| row.is_shared || may_cover(&row.key))
        .map(|row| (row.key.as_str(), EventId(row.id)))
        .collect();
    requests::hand_over(&mut *db, &let_go, now).await?;
    sqlx::query!("delete from unreadable_events where calendar_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!(
        "with upcoming as (
             update events set bots = '[]', fingerprint = null
             where calendar_id = $1 and (start_time > $5 or id = any ($6))
               and (bots::text <> '[]' or fingerprint is not null)
               and not exists (
                   select from decisions
                   where event_id = events.id and scheduled_at > $5 and events.start_time <= $2
               )
             returning id
         ), forgotten as (
             update decisions set
                 scheduled_key = null, scheduled_config = null, scheduled_at = null,
                 plan = 'nothing', reason = $3, decided_by = $4, decided_at = $2
             from upcoming
             where decisions.event_id = upcoming.id and decisions.scheduled_key is not null
             returning event_id, configuration
         )
         insert into decision_history (event_id, decided_at, plan, reason, decided_by, parts, configuration, cause)
         select event_id, $2, 'nothing', $3, $4, '[]', configuration, 'a look at the calendar' from forgotten",
        id.0,
        now,
        Plan::Nothing(NoBot::CalendarNotConnected).reason(),
        "Recall, which removes the bots of a calendar that it is cut off from",
        cut_off_at,
        &removed.iter().map(|row| row.id).collect::<Vec<_>>(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How fresh the mirror is, over all connected calendars.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// How many there are.
    pub connected: i64,
    /// How many of them were never synced.
    pub never_synced: i64,
    /// Seconds since the least recent of their last syncs; 0 if there was none.
    pub oldest_sync_secs: f64,
}

/// How fresh the mirror is.
///
/// # Errors
/// The database's.
pub async fn freshness(db: impl PgExecutor<'_>, now: DateTime<Utc>) -> Result<Freshness, Error> {
    let freshness = sqlx::query_as!(
        Freshness,
        r#"select count(*) as "connected!", count(*) filter (where synced_at is null) as "never_synced!",
             coalesce(greatest(extract(epoch from $1 - min(synced_at)), 0), 0)::float8 as "oldest_sync_secs!"
         from calendars
         where status = 'connected' and gone_at is null"#,
        now,
    )
    .fetch_one(db)
    .await?;
    Ok(freshness)
}
