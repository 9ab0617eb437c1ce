//! What people said about bots; see [`Settings`].

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{
    Error,
    queue::{CHANNEL, request_keys},
};
use crate::domain::{
    calendar::CalendarId,
    event::{Event, EventId},
    settings::{Said, Scope, Setting, Settings},
};

/// What a setting is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All calendars.
    All,
    /// A calendar.
    Calendar(CalendarId),
    /// The occurrences of a series on a calendar, by the provider's id.
    Series(CalendarId, String),
    /// An event.
    Event(EventId),
}

impl Subject {
    /// How wide it is.
    pub fn scope(&self) -> Scope {
        match self {
            Self::All => Scope::All,
            Self::Calendar(_) => Scope::Calendar,
            Self::Series(..) => Scope::Series,
            Self::Event(_) => Scope::Event,
        }
    }

    fn id(&self) -> Uuid {
        match self {
            Self::All => Uuid::nil(),
            Self::Calendar(id) | Self::Series(id, _) => id.0,
            Self::Event(id) => id.0,
        }
    }

    fn series(&self) -> &str {
        match self {
            Self::Series(_, series) => series,
            Self::All | Self::Calendar(_) | Self::Event(_) => "",
        }
    }
}

/// All that was said which concerns `event`.
///
/// # Errors
/// The database's.
pub async fn load(db: impl PgExecutor<'_>, event: &Event) -> Result<Settings, Error> {
    Ok(load_several(db, std::slice::from_ref(event)).await?.remove(&event.id).unwrap_or_default())
}

/// All that was said which concerns any of `events`, by event.
///
/// # Errors
/// The database's.
pub async fn load_several(db: impl PgExecutor<'_>, events: &[Event]) -> Result<HashMap<EventId, Settings>, Error> {
    let ids: Vec<Uuid> = events.iter().map(|event| event.id.0).collect();
    let calendars: Vec<Uuid> = events.iter().map(|event| event.calendar_id.0).collect();
    let series: Vec<&str> = events.iter().map(|event| event.series_id.as_deref().unwrap_or_default()).collect();
    let rows = sqlx::query!(
        r#"select events.id as "event!", scope, aspect, value, who, why, set_at
         from unnest($1::uuid[], $2::uuid[], $3::text[]) as events (id, calendar_id, series)
         join settings on (scope, settings.id, settings.series) in (
             ('event', events.id, ''), ('series', events.calendar_id, events.series), ('calendar', events.calendar_id, ''),
             ('all', '00000000-0000-0000-0000-000000000000', ''))"#,
        &ids,
        &calendars,
        &series as &[&str],
    )
    .fetch_all(db)
    .await?;
    let mut found: HashMap<EventId, Settings> = HashMap::new();
    for row in rows {
        let setting = setting(&row.scope, &row.aspect, row.value, row.who, row.why, row.set_at);
        found.entry(EventId(row.event)).or_default().0.extend(setting);
    }
    Ok(found)
}

/// A setting as it is stored; `None` for what a later release has written.
pub(super) fn setting(
    scope: &str,
    aspect: &str,
    value: String,
    who: String,
    why: String,
    set_at: DateTime<Utc>,
) -> Option<Setting> {
    let scope =
        [Scope::All, Scope::Calendar, Scope::Series, Scope::Event].into_iter().find(|at| at.as_str() == scope)?;
    Some(Setting { scope, said: Said::from_table(aspect, value)?, who, why, set_at })
}

/// A setting, and what it is about.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// The calendar's or the event's id; nil for all.
    pub id: Uuid,
    /// The provider's id of the series.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub series: String,
    /// What is said.
    #[serde(flatten)]
    pub setting: Setting,
}

/// All settings, widest first, and then the latest first.
///
/// # Errors
/// The database's.
pub async fn list(db: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Listed>, Error> {
    let rows = sqlx::query!(
        "select scope, id, series, aspect, value, who, why, set_at
         from settings
         order by array_position(array['all', 'calendar', 'series', 'event'], scope), set_at desc
         limit $1",
        limit,
    )
    .fetch_all(db)
    .await?;
    let listed = rows.into_iter().filter_map(|row| {
        let setting = setting(&row.scope, &row.aspect, row.value, row.who, row.why, row.set_at)?;
        Some(Listed { id: row.id, series: row.series, setting })
    });
    Ok(listed.collect())
}

/// Says something about a subject, in place of what was said about that aspect of it before, and requests the events that it
/// concerns. Call it in a transaction. Returns how many those are.
///
/// # Errors
/// The database's.
pub async fn set(
    db: &mut PgConnection,
    subject: &Subject,
    said: &Said,
    who: &str,
    why: &str,
    now: DateTime<Utc>,
) -> Result<u64, Error> {
    sqlx::query!(
        "insert into settings (scope, id, series, aspect, value, who, why, set_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (scope, id, series, aspect) do update set
             value = excluded.value, who = excluded.who, why = excluded.why, set_at = excluded.set_at",
        subject.scope().as_str(),
        subject.id(),
        subject.series(),
        said.aspect(),
        said.value(),
        who,
        why,
        now,
    )
    .execute(&mut *db)
    .await?;
    request_concerned(db, subject, &format!("a setting by {who}"), now).await
}

/// Takes back what was said about an aspect of a subject, and requests the events that it concerned. Call it in a transaction.
/// Returns how many those are; `None` if nothing was said.
///
/// # Errors
/// The database's.
pub async fn clear(
    db: &mut PgConnection,
    subject: &Subject,
    aspect: &str,
    who: &str,
    now: DateTime<Utc>,
) -> Result<Option<u64>, Error> {
    let cleared = sqlx::query!(
        "delete from settings where scope = $1 and id = $2 and series = $3 and aspect = $4",
        subject.scope().as_str(),
        subject.id(),
        subject.series(),
        aspect,
    )
    .execute(&mut *db)
    .await?;
    if cleared.rows_affected() == 0 {
        return Ok(None);
    }
    request_concerned(db, subject, &format!("a setting taken back by {who}"), now).await.map(Some)
}

/// Requests the events of a subject that are not over.
async fn request_concerned(
    db: &mut PgConnection,
    subject: &Subject,
    cause: &str,
    now: DateTime<Utc>,
) -> Result<u64, Error> {
    let told = request_keys!(
        "",
        "select 'event', id, null::timestamptz, start_time, $1::timestamptz, $1::timestamptz, $2, false
         -- Each by its own index; those that the scope does not name are not looked at.
         from (
             select id, start_time, end_time, is_deleted, gone_at from events where $3 = 'all' and end_time > $1
             union all
             select id, start_time, end_time, is_deleted, gone_at from events
             where $3 = 'all' and end_time <= $1 and end_time < start_time and start_time > $1
             union all
             select id, start_time, end_time, is_deleted, gone_at from events where $3 = 'calendar' and calendar_id = $4
             union all
             select id, start_time, end_time, is_deleted, gone_at from events
             where $3 = 'series' and calendar_id = $4 and series_id = $5
             union all
             select id, start_time, end_time, is_deleted, gone_at from events where $3 = 'event' and id = $4
         ) as concerned
         where greatest(start_time, end_time) > $1 and not is_deleted and gone_at is null
         order by id",
        "true",
        r#"select count(*) as "requested!", (select pg_notify($6, '')::text) as told from requested"#,
        now,
        cause,
        subject.scope().as_str(),
        subject.id(),
        subject.series(),
        CHANNEL,
    )
    .fetch_one(&mut *db)
    .await?;
    Ok(told.requested.unsigned_abs())
}

/// An event that is mirrored.
///
/// # Errors
/// The database's.
pub async fn find_event(db: impl PgExecutor<'_>, id: EventId) -> Result<Option<Subject>, Error> {
    let found = sqlx::query_scalar!("select id from events where id = $1", id.0).fetch_optional(db).await?;
    Ok(found.map(|_| Subject::Event(id)))
}

/// The series, on its calendar, that a mirrored event is an occurrence of.
///
/// # Errors
/// The database's.
pub async fn find_series(db: impl PgExecutor<'_>, id: EventId) -> Result<Option<Subject>, Error> {
    let found =
        sqlx::query!("select calendar_id, series_id from events where id = $1", id.0).fetch_optional(db).await?;
    Ok(found.and_then(|event| Some(Subject::Series(CalendarId(event.calendar_id), event.series_id?))))
}

/// A calendar that is mirrored.
///
/// # Errors
/// The database's.
pub async fn find_calendar(db: impl PgExecutor<'_>, id: CalendarId) -> Result<Option<Subject>, Error> {
    let found = sqlx::query_scalar!("select id from calendars where id = $1", id.0).fetch_optional(db).await?;
    Ok(found.map(|_| Subject::Calendar(id)))
}
