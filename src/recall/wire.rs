//! What the API writes, as its documents print it. Unknown fields pass; enums are strings until the domain reads them.
//!
//! Text that Postgres cannot store (NUL) is replaced here, so that one odd title stops nothing (P9).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::domain::{
    Fingerprint,
    calendar::{Calendar, CalendarId, CalendarStatus},
    event::{Event, EventId, ObservedBot},
    facts::{self, Outline},
    time,
};

/// A cursor page. Items stay text until each is read on its own, so that one bad item does not hide the others.
#[derive(Debug, Deserialize)]
pub(super) struct Page<'a> {
    pub(super) next: Option<String>,
    #[serde(borrow)]
    pub(super) results: Vec<&'a RawValue>,
}

/// A calendar, less its OAuth fields: what has no field here is never read (P10).
#[derive(Debug, Deserialize)]
struct WireCalendar {
    id: Uuid,
    platform: String,
    #[serde(default)]
    platform_email: Option<String>,
    status: String,
    #[serde(default)]
    status_changes: Option<Box<RawValue>>,
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
    #[serde(with = "time")]
    created_at: DateTime<Utc>,
    #[serde(with = "time")]
    updated_at: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
struct StatusChange {
    status: String,
    #[serde(with = "time")]
    created_at: DateTime<Utc>,
}

/// Reads one calendar.
pub(super) fn read_calendar(text: &str) -> Result<Calendar, serde_json::Error> {
    let wire: WireCalendar = serde_json::from_str(text)?;
    Ok(Calendar {
        id: CalendarId(wire.id),
        platform: storable(wire.platform),
        email: wire.platform_email.map(storable),
        status: CalendarStatus::from(storable(wire.status).as_str()),
        disconnected_at: wire.status_changes.as_deref().and_then(latest_disconnection),
        metadata: wire.metadata,
        created_at: wire.created_at,
        updated_at: wire.updated_at,
    })
}

/// `status_changes` is untyped in the documents, and its order differs between samples: anything else than a list of
/// `{status, created_at}` tells nothing.
fn latest_disconnection(status_changes: &RawValue) -> Option<DateTime<Utc>> {
    let changes: Vec<StatusChange> = serde_json::from_str(status_changes.get()).ok()?;
    changes.into_iter().filter(|change| change.status == "disconnected").map(|change| change.created_at).max()
}

#[derive(Debug, Deserialize)]
struct WireEvent<'a> {
    id: Uuid,
    calendar_id: Uuid,
    #[serde(default, deserialize_with = "lenient")]
    platform: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    platform_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    ical_uid: Option<String>,
    #[serde(with = "time")]
    start_time: DateTime<Utc>,
    #[serde(with = "time")]
    end_time: DateTime<Utc>,
    #[serde(default, deserialize_with = "lenient")]
    meeting_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    meeting_platform: Option<String>,
    is_deleted: bool,
    #[serde(borrow, default, deserialize_with = "lenient")]
    bots: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    raw: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "lenient")]
    created_at: Option<Time>,
    #[serde(with = "time")]
    updated_at: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
struct Time(#[serde(with = "time")] DateTime<Utc>);

/// Reads one event. It has to have what its bot depends on; the rest is read as far as it makes sense.
pub(super) fn read_event(text: &str) -> Result<Event, serde_json::Error> {
    let wire: WireEvent<'_> = serde_json::from_str(text)?;
    let raw = match wire.raw {
        Some(raw) => raw,
        None => serde_json::value::to_raw_value(&())?,
    };
    let Outline { series_id, is_cancelled } = facts::outline(&raw);
    Ok(Event {
        id: EventId(wire.id),
        calendar_id: CalendarId(wire.calendar_id),
        platform: storable(wire.platform.unwrap_or_default()),
        platform_id: storable(wire.platform_id.unwrap_or_default()),
        ical_uid: storable(wire.ical_uid.unwrap_or_default()),
        start_time: wire.start_time,
        end_time: wire.end_time,
        meeting_url: wire.meeting_url.filter(|link| !link.trim().is_empty()).map(storable),
        meeting_platform: wire.meeting_platform.map(storable),
        series_id: series_id.map(storable),
        is_deleted: wire.is_deleted,
        is_cancelled,
        // An entry that is not as documented tells of no bot that could be kept or moved.
        bots: wire.bots.iter().flatten().filter_map(|bot| read_bot(bot)).collect(),
        raw,
        created_at: wire.created_at.map_or(wire.updated_at, |Time(at)| at),
        updated_at: wire.updated_at,
        fingerprint: Some(Fingerprint::of(text.as_bytes())),
    })
}

fn read_bot(text: &RawValue) -> Option<ObservedBot> {
    let ObservedBot { bot_id, start_time, deduplication_key, meeting_url } = serde_json::from_str(text.get()).ok()?;
    Some(ObservedBot {
        bot_id: storable(bot_id),
        start_time,
        deduplication_key: storable(deduplication_key),
        meeting_url: meeting_url.map(storable),
    })
}

/// The id of an item that could not be read as an event, as far as it has one.
pub(super) fn read_id(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Identified {
        id: Uuid,
    }
    serde_json::from_str::<Identified>(text).ok().map(|item| item.id.to_string())
}

/// The calendar of an item that could not be read as an event, as far as it names one.
pub(super) fn read_calendar_id(text: &str) -> Option<CalendarId> {
    #[derive(Deserialize)]
    struct Owned {
        calendar_id: Uuid,
    }
    serde_json::from_str::<Owned>(text).ok().map(|item| CalendarId(item.calendar_id))
}

/// What has another type than documented tells nothing, and stops nothing.
fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(text.get()).ok())
}

fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_a_bot_can_be_stored() {
        let bot = r#"{"bot_id":"a\u0000","start_time":"2026-01-20T10:00:00Z","deduplication_key":"b\u0000","meeting_url":"c\u0000"}"#;
        let bot = read_bot(&RawValue::from_string(bot.into()).unwrap()).unwrap();
        let texts = [bot.bot_id, bot.deduplication_key, bot.meeting_url.unwrap()];
        assert_eq!(texts, ["a\u{FFFD}", "b\u{FFFD}", "c\u{FFFD}"]);
    }

    #[test]
    fn the_latest_disconnection_is_found_in_whatever_order() {
        let latest = |changes: &str| latest_disconnection(&RawValue::from_string(changes.into()).unwrap());
        let change =
            |status: &str, day: u8| format!(r#"{{"status":"{status}","created_at":"2026-01-0{day}T00:00:00Z"}}"#);
        let [first, second] = [change("disconnected", 1), change("disconnected", 3)];
        let [between, last] = [change("connected", 2), change("connected", 4)];
        let third_of_january = Some("2026-01-03T00:00:00Z".parse().unwrap());
        assert_eq!(latest(&format!("[{first},{between},{second},{last}]")), third_of_january);
        assert_eq!(latest(&format!("[{last},{second},{between},{first}]")), third_of_january);
        assert_eq!(latest(&format!("[{between},{last}]")), None);
        assert_eq!(latest(r#"{"disconnected":1}"#), None, "what is not as the samples tells nothing");
    }
}
