//! What must hold of an event and a calendar once they are read: Postgres can store them, and every decision can be made.

use std::sync::LazyLock;

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use rollcall::domain::{
    Fingerprint,
    bot_config::BotConfig,
    calendar::{Calendar, CalendarStatus},
    dedup::Deduplication,
    event::{Event, ObservedBot},
    plan::{Plan, Scheduled, Situation, plan_bot},
    policy::{Known, Policy, read_bot_config},
    rule::Rule,
    settings::Settings,
};
use serde_json::{Value, value::RawValue};

use super::receiver;

/// Postgres begins in 4713 BC, and RFC 3339 with the year 0.
pub fn is_storable(time: DateTime<Utc>) -> bool {
    time.year() >= 0
}

/// That an event which was read from so many bytes can be stored, read back and planned.
pub fn assert_sound(event: &Event, bytes: usize) {
    for time in [event.start_time, event.end_time, event.created_at, event.updated_at] {
        assert!(is_storable(time), "{time}");
    }
    let texts = [&event.platform, &event.platform_id, &event.ical_uid].map(Some);
    let texts = texts.into_iter().chain([event.meeting_url.as_ref(), event.meeting_platform.as_ref()]).flatten();
    assert_storable(texts, bytes);
    assert!(event.raw.get().len() <= bytes);
    assert!(event.meeting_url.as_ref().is_none_or(|link| !link.trim().is_empty()));
    let stored = serde_json::to_string(&event.bots).expect("bots are stored as JSON");
    assert_eq!(serde_json::from_str::<Vec<ObservedBot>>(&stored).ok().as_ref(), Some(&event.bots), "read back");
    assert!(event.ends_at() >= event.start_time);
    for now in [receiver::now(), event.start_time, event.ends_at(), event.updated_at] {
        for deduplication in [Deduplication::Meeting, Deduplication::Company, Deduplication::Event] {
            assert_plan_is_stable(event, deduplication, now);
        }
    }
}

/// P11: what was just scheduled is not scheduled again.
fn assert_plan_is_stable(event: &Event, deduplication: Deduplication, now: DateTime<Utc>) {
    static CONFIGURED: LazyLock<(Rule, BotConfig)> = LazyLock::new(|| {
        let bot_config = r#"{"bot_name":"{{ event.title }} {{ event.attendees | length }}"}"#;
        (Rule::parse("event.external_count >= 0").unwrap(), read_bot_config(bot_config).unwrap())
    });
    let (record_when, bot_config) = CONFIGURED.clone();
    let known = Known::default();
    let policy = Policy { record_when, deduplication, bot_config, join_early: TimeDelta::zero(), known };
    let calendar = calendar_of(event);
    let wish = policy.wish(event, &calendar, &Settings::default()).expect("whatever the event says");
    let situation = Situation {
        event,
        calendar: Some(&calendar),
        scheduled: None,
        covered_key: None,
        is_unscheduled: false,
        is_left_to_newer: false,
        is_held_back: false,
        policy: &policy,
        wish: Some(&wish),
        now,
    };
    let Plan::Schedule { key, .. } = plan_bot(&situation) else { return };
    let made = wish.bot.as_ref().expect("whatever the event says");
    let config = policy.bot_config_for(made, event, now);
    assert_eq!(config["meeting_url"].as_str(), event.meeting_url.as_deref());
    let bot = ObservedBot {
        bot_id: String::new(),
        start_time: event.start_time,
        deduplication_key: key.clone(),
        meeting_url: event.meeting_url.clone(),
    };
    let event = Event { bots: vec![bot], ..event.clone() };
    let scheduled = Scheduled { key, config: made.fingerprint, at: Some(now) };
    let again = plan_bot(&Situation { event: &event, scheduled: Some(&scheduled), ..situation });
    assert!(matches!(again, Plan::Keep(_)), "{again:?}");
}

fn calendar_of(event: &Event) -> Calendar {
    Calendar {
        id: event.calendar_id,
        platform: event.platform.clone(),
        email: Some(event.ical_uid.clone()),
        status: CalendarStatus::Connected,
        disconnected_at: None,
        metadata: None,
        created_at: event.created_at,
        updated_at: event.updated_at,
    }
}

/// That a calendar which was read from so many bytes can be stored.
pub fn assert_calendar_sound(calendar: &Calendar, bytes: usize) {
    for time in [Some(calendar.created_at), Some(calendar.updated_at), calendar.disconnected_at].into_iter().flatten() {
        assert!(is_storable(time), "{time}");
    }
    let status = calendar.status.as_str().to_owned();
    assert_storable([Some(&calendar.platform), calendar.email.as_ref(), Some(&status)].into_iter().flatten(), bytes);
    assert!(calendar.metadata.as_ref().is_none_or(|metadata| metadata.get().len() <= bytes));
}

fn assert_storable<'a>(texts: impl Iterator<Item = &'a String>, bytes: usize) {
    for text in texts {
        assert!(text.len() <= bytes && !text.contains('\0'), "{text:?}");
    }
}

/// Whether the provider says that an event is called off, read without sparing.
pub fn is_called_off(event: &Value) -> bool {
    event["raw"]["status"] == "cancelled" || event["raw"]["isCancelled"] == true
}

/// That an event is read the same from another JSON library's text of it. That names no field twice, so an entry of its bots
/// may be readable there alone.
pub fn assert_same(event: &Event, again: &Event) {
    let essence = |event: &Event| {
        let event = Event { raw: RawValue::NULL.to_owned(), bots: vec![], fingerprint: None, ..event.clone() };
        format!("{event:?}")
    };
    assert_eq!(essence(event), essence(again));
    assert!(event.bots.iter().all(|bot| again.bots.contains(bot)), "{:?} {:?}", event.bots, again.bots);
}

/// That an event carries the fingerprint of the text that it was read from.
pub fn assert_fingerprint(event: &Event, text: &str) {
    assert_eq!(event.fingerprint, Some(Fingerprint::of(text.as_bytes())));
}
