//! The mirror of events.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{PgConnection, PgExecutor, types::Json};
use uuid::Uuid;

use super::Error;
use crate::domain::{
    Fingerprint,
    calendar::CalendarId,
    event::{Event, EventId, ObservedBot},
};

/// Payloads of one statement, in bytes: more than a thousand usual ones. All that it sends is in memory twice.
const STATEMENT_BYTES: usize = 2 * 1024 * 1024;

/// Mirrors events, each unless a newer version is mirrored or nothing differs (P5). Returns those written. None of them counts
/// as unreadable any more. One statement, unless they are very large: together only in a transaction.
///
/// `observed_at`: for a list or a retrieval, when the request was sent; for the answer to a bot call, when it was received. So
/// an answer that has the bot is not undone by a list that was read before it.
///
/// # Errors
/// The database's. `Refused` if one of the events cannot be stored; then none is.
pub async fn mirror(
    db: &mut PgConnection,
    events: &[Event],
    observed_at: DateTime<Utc>,
) -> Result<Vec<EventId>, Error> {
    // A page may repeat an event; a statement cannot write a row twice. And one order of ids, so that none deadlocks.
    let mut latest: BTreeMap<EventId, &Event> = BTreeMap::new();
    for event in events {
        let kept = latest.entry(event.id).or_insert(event);
        if event.updated_at >= kept.updated_at {
            *kept = event;
        }
    }
    let events: Vec<&Event> = latest.into_values().collect();
    let mut written = vec![];
    let mut bytes = 0;
    let fits = |last: &&Event, next: &&Event| {
        bytes += last.raw.get().len();
        let fits = bytes + next.raw.get().len() <= STATEMENT_BYTES;
        bytes = if fits { bytes } else { 0 };
        fits
    };
    for events in events.chunk_by(fits) {
        written.append(&mut mirror_at_once(db, events, observed_at).await?);
    }
    Ok(written)
}

/// Distinct events, in the order of their ids.
async fn mirror_at_once(
    db: &mut PgConnection,
    events: &[&Event],
    observed_at: DateTime<Utc>,
) -> Result<Vec<EventId>, Error> {
    let bots = events.iter().map(|event| serde_json::to_string(&event.bots)).collect::<Result<Vec<_>, _>>();
    let bots = bots.map_err(|error| Error::Refused(sqlx::Error::Encode(error.into())))?;
    let written = sqlx::query_scalar!(
        "with readable as (
             delete from unreadable_events using unnest($1::uuid[], $2::uuid[]) as read (event_id, calendar_id)
             where unreadable_events.calendar_id = read.calendar_id and unreadable_events.event_id = read.event_id::text
         )
         insert into events as mirror
             (id, calendar_id, platform, platform_id, ical_uid, start_time, end_time, meeting_url, meeting_platform,
              is_deleted, is_cancelled, bots, raw, created_at, updated_at, observed_at, fingerprint, series_id)
         select id, calendar_id, platform, platform_id, ical_uid, start_time, end_time, meeting_url, meeting_platform,
             is_deleted, is_cancelled, bots::json, raw::json, created_at, updated_at, $17::timestamptz, fingerprint, series_id
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],
             $8::text[], $9::text[], $10::boolean[], $11::boolean[], $12::text[], $13::text[], $14::timestamptz[],
             $15::timestamptz[], $16::bytea[], $18::text[])
             as page (id, calendar_id, platform, platform_id, ical_uid, start_time, end_time, meeting_url,
                 meeting_platform, is_deleted, is_cancelled, bots, raw, created_at, updated_at, fingerprint, series_id)
         on conflict (id) do update set
             calendar_id = excluded.calendar_id,
             platform = excluded.platform,
             platform_id = excluded.platform_id,
             ical_uid = excluded.ical_uid,
             start_time = excluded.start_time,
             end_time = excluded.end_time,
             meeting_url = excluded.meeting_url,
             meeting_platform = excluded.meeting_platform,
             is_deleted = excluded.is_deleted,
             is_cancelled = excluded.is_cancelled,
             gone_at = null,
             bots = excluded.bots,
             raw = excluded.raw,
             updated_at = excluded.updated_at,
             observed_at = excluded.observed_at,
             fingerprint = excluded.fingerprint,
             series_id = excluded.series_id
         where (excluded.updated_at, excluded.observed_at) >= (mirror.updated_at, mirror.observed_at)
           and mirror.fingerprint is distinct from excluded.fingerprint
         returning id",
        &column(events, |event| event.id.0),
        &column(events, |event| event.calendar_id.0),
        &column(events, |event| event.platform.as_str()) as &[&str],
        &column(events, |event| event.platform_id.as_str()) as &[&str],
        &column(events, |event| event.ical_uid.as_str()) as &[&str],
        &column(events, |event| event.start_time),
        &column(events, |event| event.end_time),
        &column(events, |event| event.meeting_url.as_deref()) as &[Option<&str>],
        &column(events, |event| event.meeting_platform.as_deref()) as &[Option<&str>],
        &column(events, |event| event.is_deleted),
        &column(events, |event| event.is_cancelled),
        &bots,
        &column(events, |event| event.raw.get()) as &[&str],
        &column(events, |event| event.created_at),
        &column(events, |event| event.updated_at),
        &column(events, |event| event.fingerprint.as_ref().map(|print| print.0.as_slice())) as &[Option<&[u8]>],
        observed_at,
        &column(events, |event| event.series_id.as_deref()) as &[Option<&str>],
    )
    .fetch_all(db)
    .await?;
    Ok(written.into_iter().map(EventId).collect())
}

fn column<'a, T>(events: &[&'a Event], field: impl Fn(&'a Event) -> T) -> Vec<T> {
    events.iter().map(|event| field(event)).collect()
}

/// An event as it is stored.
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) calendar_id: Uuid,
    pub(super) platform: String,
    pub(super) platform_id: String,
    pub(super) ical_uid: String,
    pub(super) start_time: DateTime<Utc>,
    pub(super) end_time: DateTime<Utc>,
    pub(super) meeting_url: Option<String>,
    pub(super) meeting_platform: Option<String>,
    pub(super) series_id: Option<String>,
    pub(super) is_deleted: bool,
    pub(super) is_cancelled: bool,
    pub(super) bots: Json<Vec<ObservedBot>>,
    pub(super) raw: Json<Box<RawValue>>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) fingerprint: Option<Vec<u8>>,
}

impl From<Row> for Event {
    fn from(row: Row) -> Self {
        Self {
            id: EventId(row.id),
            calendar_id: CalendarId(row.calendar_id),
            platform: row.platform,
            platform_id: row.platform_id,
            ical_uid: row.ical_uid,
            start_time: row.start_time,
            end_time: row.end_time,
            meeting_url: row.meeting_url,
            meeting_platform: row.meeting_platform,
            series_id: row.series_id,
            is_deleted: row.is_deleted,
            is_cancelled: row.is_cancelled,
            bots: row.bots.0,
            raw: row.raw.0,
            created_at: row.created_at,
            updated_at: row.updated_at,
            fingerprint: row.fingerprint.and_then(|bytes| bytes.try_into().ok()).map(Fingerprint),
        }
    }
}

/// An event as mirrored; `None` if it never was. What is gone counts as deleted.
///
/// # Errors
/// The database's.
pub async fn load(db: impl PgExecutor<'_>, id: EventId) -> Result<Option<Event>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select id, calendar_id, platform, platform_id, ical_uid, start_time, end_time, meeting_url, meeting_platform,
             series_id, is_deleted or gone_at is not null as "is_deleted!", is_cancelled,
             bots as "bots: Json<Vec<ObservedBot>>", raw as "raw: Json<Box<RawValue>>",
             created_at, updated_at, fingerprint
         from events
         where id = $1"#,
        id.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Event::from))
}

/// Events that have yet to begin, in the order of their ids, from after `after`.
///
/// # Errors
/// The database's.
pub async fn list_upcoming(
    db: impl PgExecutor<'_>,
    calendar: Option<CalendarId>,
    after: EventId,
    limit: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Event>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id, calendar_id, platform, platform_id, ical_uid, start_time, end_time, meeting_url, meeting_platform,
             series_id, is_deleted or gone_at is not null as "is_deleted!", is_cancelled,
             bots as "bots: Json<Vec<ObservedBot>>", raw as "raw: Json<Box<RawValue>>",
             created_at, updated_at, fingerprint
         from events
         where id in (
             -- Each by its own index: one of a calendar's events, one of all.
             (select id from events where $3::uuid is not null and calendar_id = $3 and start_time > $2 and id > $1
              order by id limit $4)
             union all
             (select id from events where $3::uuid is null and start_time > $2 and id > $1 order by id limit $4)
         )
         order by id"#,
        after.0,
        now,
        calendar.map(|id| id.0),
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Event::from).collect())
}

/// Mirrors that the API does not know an event (any more). The next read of it, if there is one, brings it back.
///
/// # Errors
/// The database's.
pub async fn mirror_gone(db: impl PgExecutor<'_>, id: EventId, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "update events set gone_at = $2, bots = '[]', fingerprint = null where id = $1 and gone_at is null",
        id.0,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Records that an event of a calendar cannot be read or stored, and why.
///
/// # Errors
/// The database's.
pub async fn record_unreadable(
    db: impl PgExecutor<'_>,
    calendar: CalendarId,
    event_id: &str,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into unreadable_events (calendar_id, event_id, reason, first_seen, last_seen)
         -- A calendar that is not read would keep it for ever.
         select $1, $2, $3, $4, $4 where exists (select from calendars where id = $1 and status = 'connected' and gone_at is null)
         on conflict (calendar_id, event_id) do update set reason = excluded.reason, last_seen = excluded.last_seen",
        calendar.0,
        event_id,
        reason,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// An event that could not be read or stored.
#[derive(Clone, Debug, Serialize)]
pub struct Unreadable {
    /// The calendar that was listed.
    pub calendar_id: Uuid,
    /// The event's id, as far as it could be read.
    pub event_id: String,
    /// What is wrong with it.
    pub reason: String,
    /// Since when.
    pub first_seen: DateTime<Utc>,
    /// When it was tried last.
    pub last_seen: DateTime<Utc>,
}

/// The events that could not be read or stored, latest first.
///
/// # Errors
/// The database's.
pub async fn list_unreadable(db: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Unreadable>, Error> {
    let unreadable = sqlx::query_as!(
        Unreadable,
        "select calendar_id, event_id, reason, first_seen, last_seen
         from unreadable_events
         order by last_seen desc
         limit $1",
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(unreadable)
}

/// Forgets what a full sync, begun at `run_started_at`, did not find unreadable any more.
///
/// # Errors
/// The database's.
pub async fn clear_unreadable_before(
    db: impl PgExecutor<'_>,
    calendar: CalendarId,
    run_started_at: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "delete from unreadable_events where calendar_id = $1 and last_seen < $2",
        calendar.0,
        run_started_at,
    )
    .execute(db)
    .await?;
    Ok(())
}
