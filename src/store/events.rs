//! The mirror of events.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{PgExecutor, types::Json};
use uuid::Uuid;

use super::Error;
use crate::domain::{
    Fingerprint,
    calendar::CalendarId,
    event::{Event, EventId, ObservedBot},
};

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
