//! Made-up events of both providers, to try rules and templates on before there is a real one.

use chrono::{DateTime, TimeDelta};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::super::{
    calendar::{Calendar, CalendarId, CalendarStatus},
    event::{Event, EventId},
};

const GOOGLE: &str = include_str!("google.json");
const OUTLOOK: &str = include_str!("outlook.json");

/// An event of each provider that says much, and one that says nothing, each with its calendar.
pub fn samples() -> Vec<(Event, Calendar)> {
    let payloads = [
        ("google_calendar", GOOGLE),
        ("microsoft_outlook", OUTLOOK),
        ("google_calendar", "{}"),
        ("microsoft_outlook", "{}"),
    ];
    payloads.map(|(platform, raw)| sample(platform, raw)).into()
}

fn sample(platform: &str, raw: &str) -> (Event, Calendar) {
    let is_full = raw != "{}";
    let start_time = DateTime::from_timestamp(1_768_944_600, 0).unwrap_or_default();
    let calendar = Calendar {
        id: CalendarId(Uuid::from_u128(1)),
        platform: platform.to_owned(),
        email: is_full.then(|| "user@acme.test".to_owned()),
        status: CalendarStatus::Connected,
        disconnected_at: None,
        metadata: is_full.then(|| json(r#"{"plan": "pro"}"#)),
        created_at: start_time - TimeDelta::days(30),
        updated_at: start_time - TimeDelta::days(30),
    };
    let event = Event {
        id: EventId(Uuid::from_u128(2)),
        calendar_id: calendar.id,
        platform: platform.to_owned(),
        platform_id: "platform-id".to_owned(),
        ical_uid: "ical-uid".to_owned(),
        start_time,
        end_time: start_time + TimeDelta::minutes(30),
        meeting_url: is_full.then(|| "https://meet.google.com/aaa-bbbb-ccc".to_owned()),
        meeting_platform: is_full.then(|| "google_meet".to_owned()),
        series_id: None,
        is_deleted: false,
        is_cancelled: false,
        bots: Vec::new(),
        raw: json(raw),
        created_at: start_time - TimeDelta::days(7),
        updated_at: start_time - TimeDelta::days(7),
        fingerprint: None,
    };
    (event, calendar)
}

fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.trim().to_owned()).unwrap_or_default()
}
