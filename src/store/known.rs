//! What is known of an event, in one round trip: a turn that finds all well does little else than read this.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::{PgExecutor, types::Json};

use super::{Error, calendars, decisions::Decision, events, settings};
use crate::domain::{
    Fingerprint,
    calendar::Calendar,
    event::{Event, EventId, ObservedBot},
    plan::Scheduled,
    settings::Settings,
};

/// An event, and what its plan depends on.
#[derive(Debug)]
pub struct Known {
    /// As mirrored. What is gone counts as deleted.
    pub event: Event,
    /// The API does not know it any more, so its version says nothing of when it went.
    pub is_gone: bool,
    /// Its calendar; `None` if that is not mirrored, or gone.
    pub calendar: Option<Calendar>,
    /// What people said that concerns the event.
    pub settings: Settings,
    /// The last decision; `None` if there was none yet.
    pub decision: Option<Decision>,
    /// The generation of the newest configuration.
    pub newest: i64,
}

/// A setting as it is stored.
#[derive(Debug, Deserialize)]
struct Said {
    scope: String,
    aspect: String,
    value: String,
    who: String,
    why: String,
    set_at: DateTime<Utc>,
}

/// What is known of an event; `None` if it was never mirrored.
///
/// # Errors
/// The database's.
pub async fn load(db: impl PgExecutor<'_>, id: EventId) -> Result<Option<Known>, Error> {
    let row = sqlx::query!(
        r#"select event.calendar_id, event.platform, event.platform_id, event.ical_uid, event.start_time, event.end_time,
             event.meeting_url, event.meeting_platform, event.series_id,
             event.is_deleted or event.gone_at is not null as "is_deleted!", event.gone_at is not null as "is_gone!",
             event.is_cancelled,
             event.bots as "bots: Json<Vec<ObservedBot>>", event.raw as "raw: Json<Box<RawValue>>",
             event.created_at, event.updated_at, event.fingerprint,
             calendar.platform as "calendar_platform?", calendar.email as calendar_email,
             calendar.status as "calendar_status?", calendar.disconnected_at,
             calendar.metadata as "metadata: Json<Box<RawValue>>",
             calendar.created_at as "calendar_created_at?", calendar.updated_at as "calendar_updated_at?",
             decision.plan as "plan?", decision.reason as "reason?", decision.configuration as "configuration?",
             decision.event_updated_at as "event_updated_at?", decision.decided_at as "decided_at?",
             decision.scheduled_key, decision.scheduled_config, decision.decided_by as "decided_by?",
             decision.scheduled_at, decision.unscheduled_version,
             coalesce(decision.is_deletion_open, false) as "is_deletion_open!",
             (select json_agg(settings) from settings
              where (scope, settings.id, series) in (
                  ('event', event.id, ''), ('series', event.calendar_id, coalesce(event.series_id, '')),
                  ('calendar', event.calendar_id, ''), ('all', '00000000-0000-0000-0000-000000000000', ''))
             ) as "said: Json<Vec<Said>>",
             coalesce((select max(generation) from configurations), 0) as "newest!"
         from events as event
         left join calendars as calendar on calendar.id = event.calendar_id and calendar.gone_at is null
         left join decisions as decision on decision.event_id = event.id
         where event.id = $1"#,
        id.0,
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let calendar = match (row.calendar_platform, row.calendar_status, row.calendar_created_at, row.calendar_updated_at)
    {
        (Some(platform), Some(status), Some(created_at), Some(updated_at)) => Some(calendars::Row {
            id: row.calendar_id,
            platform,
            email: row.calendar_email,
            status,
            disconnected_at: row.disconnected_at,
            metadata: row.metadata,
            created_at,
            updated_at,
        }),
        _ => None,
    };
    let decision = match (row.plan, row.reason, row.configuration, row.event_updated_at, row.decided_at, row.decided_by)
    {
        (Some(plan), Some(reason), Some(configuration), Some(event_updated_at), Some(decided_at), Some(decided_by)) => {
            let config = row.scheduled_config.and_then(|bytes| bytes.try_into().ok()).map(Fingerprint);
            Some(Decision {
                plan,
                reason,
                configuration,
                event_updated_at,
                decided_at,
                scheduled: row.scheduled_key.zip(config).map(|(key, config)| Scheduled {
                    key,
                    config,
                    at: row.scheduled_at,
                }),
                decided_by,
                unscheduled_version: row.unscheduled_version,
                is_deletion_open: row.is_deletion_open,
            })
        }
        _ => None,
    };
    let event = events::Row {
        id: id.0,
        calendar_id: row.calendar_id,
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
        bots: row.bots,
        raw: row.raw,
        created_at: row.created_at,
        updated_at: row.updated_at,
        fingerprint: row.fingerprint,
    };
    let said = row.said.map(|Json(said)| said).unwrap_or_default();
    let said = said
        .into_iter()
        .filter_map(|said| settings::setting(&said.scope, &said.aspect, said.value, said.who, said.why, said.set_at));
    Ok(Some(Known {
        event: event.into(),
        is_gone: row.is_gone,
        calendar: calendar.map(Calendar::from),
        settings: Settings(said.collect()),
        decision,
        newest: row.newest,
    }))
}
