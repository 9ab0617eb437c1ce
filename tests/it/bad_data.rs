//! Bad data (P9): what is odd but usable gets its bot; what cannot be read or stored hides no other, and is visible until it is
//! well again.

use chrono::TimeDelta;
use rollcall::sim::{Endpoint, Fault, NewEvent};
use serde_json::{Value, json};

use crate::{sync::create_meetings, world::World};

/// What is done to the text of an event as the API shows it.
type Spoil = fn(&str) -> String;

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} in {text}");
    text.replacen(from, to, 1)
}

fn with(text: &str, field: &str, value: Value) -> String {
    let mut event: Value = serde_json::from_str(text).unwrap();
    event[field] = value;
    event.to_string()
}

fn without(text: &str, field: &str) -> String {
    let mut event: Value = serde_json::from_str(text).unwrap();
    assert!(event.as_object_mut().unwrap().remove(field).is_some());
    event.to_string()
}

const USABLE: [(&str, Spoil); 21] = [
    ("NUL in its title", |text| replaced(text, r#""summary":""#, r#""summary":"NUL \u0000 "#)),
    ("half a surrogate pair in its title", |text| replaced(text, r#""summary":""#, r#""summary":"\ud800 "#)),
    ("nesting 1,000 deep", |text| {
        let deep = format!(r#""raw":{{"deep":{}1{},"#, "[".repeat(1000), "]".repeat(1000));
        replaced(text, r#""raw":{"#, &deep)
    }),
    ("numbers out of range", |text| {
        replaced(text, r#""raw":{"#, &format!(r#""raw":{{"n":[1e999,-{}],"#, "9".repeat(400)))
    }),
    ("a raw of 5 MB", |text| replaced(text, r#""raw":{"#, &format!(r#""raw":{{"x":"{}","#, "x".repeat(5_000_000)))),
    ("a raw that names its fields twice", |text| replaced(text, r#""raw":{"#, r#""raw":{"status":1,"status":2,"#)),
    ("a raw that is no object", |text| with(text, "raw", json!("text"))),
    ("an odd status in raw", |text| replaced(text, r#""raw":{"#, r#""raw":{"isCancelled":"true","#)),
    ("no raw", |text| without(text, "raw")),
    ("NUL in its id at the platform", |text| with(text, "platform_id", json!("NUL \0"))),
    ("a number as its id at the platform", |text| with(text, "platform_id", json!(7))),
    ("no ical_uid", |text| without(text, "ical_uid")),
    ("an unknown platform", |text| with(text, "platform", json!("carrier_pigeon"))),
    ("null as its platform", |text| with(text, "platform", Value::Null)),
    ("an unknown meeting platform", |text| with(text, "meeting_platform", json!("hologram"))),
    ("an object as its meeting platform", |text| with(text, "meeting_platform", json!({}))),
    ("bots that are no list", |text| with(text, "bots", json!("none"))),
    ("null as its creation", |text| with(text, "created_at", Value::Null)),
    ("an end before its start", |text| with(text, "end_time", json!("2026-01-01T00:00:00Z"))),
    ("an end in the year 9999", |text| with(text, "end_time", json!("9999-12-31T23:59:59Z"))),
    ("a field that nobody knows", |text| with(text, "surprise", json!([1, {"a": null}]))),
];

const UNREADABLE: [(&str, Spoil); 10] = [
    ("null as its start", |text| with(text, "start_time", Value::Null)),
    ("no start", |text| without(text, "start_time")),
    ("a number as its end", |text| with(text, "end_time", json!(1_768_900_000))),
    ("an end in the year 10000", |text| with(text, "end_time", json!("10000-01-01T00:00:00Z"))),
    ("a start on a day that is not", |text| with(text, "start_time", json!("2026-02-30T00:00:00Z"))),
    ("no version", |text| without(text, "updated_at")),
    ("text instead of whether it is deleted", |text| with(text, "is_deleted", json!("perhaps"))),
    ("no calendar", |text| without(text, "calendar_id")),
    ("an odd id", |text| with(text, "id", json!("none"))),
    ("no object", |_| "[1e300]".into()),
];

#[tokio::test]
async fn what_is_odd_but_usable_gets_its_bot() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let events = create_meetings(&world, calendar, USABLE.len() as i64);
    for (event, (_, spoil)) in events.iter().zip(USABLE) {
        let shown = world.sim.event(*event).unwrap().to_string();
        world.sim.override_event(*event, Some(spoil(&shown)));
    }
    world.settle().await;
    for (event, (oddity, _)) in events.iter().zip(USABLE) {
        let bots = world.sim.live_bots().iter().filter(|bot| bot.events.contains(event)).count();
        assert_eq!(bots, 1, "an event with {oddity}");
    }
    assert_eq!(world.query("select count(*) from unreadable_events").await, "0");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn each_event_that_cannot_be_read_is_visible_until_its_next_version() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let events = create_meetings(&world, calendar, UNREADABLE.len() as i64 + 1);
    for (event, (_, spoil)) in events.iter().zip(UNREADABLE) {
        let shown = world.sim.event(*event).unwrap().to_string();
        world.sim.override_event(*event, Some(spoil(&shown)));
    }
    world.settle().await;
    world.bot(*events.last().unwrap());
    assert_eq!(world.sim.live_bots().len(), 1);
    assert_eq!(world.query("select count(*) from unreadable_events").await, "10");
    for event in &events {
        world.sim.override_event(*event, None);
        world.sim.edit_event(*event, |event| event.title = "Well again".into());
    }
    world.settle().await;
    assert_eq!(world.sim.live_bots().len(), events.len());
    assert_eq!(world.query("select count(*) from unreadable_events").await, "2", "those without an id");
    world.advance(TimeDelta::seconds(1));
    world.request_full_sync(calendar).await;
    world.finish().await;
}

#[tokio::test]
async fn what_was_unreadable_on_a_calendar_is_forgotten_with_its_connection() {
    let world = World::new().await;
    for is_removed in [false, true] {
        let calendar = world.calendar("ada@acme.test").await;
        let event = world.meeting(calendar);
        world.sim.override_event_json(event, |event| event["start_time"] = Value::Null);
        world.settle().await;
        assert_eq!(world.query("select count(*) from unreadable_events").await, "1");
        match is_removed {
            true => world.sim.delete_calendar(calendar),
            false => world.sim.disconnect_calendar(calendar),
        }
        world.request_sweep().await;
        world.settle().await;
        assert_eq!(world.query("select count(*) from unreadable_events").await, "0", "removed: {is_removed}");
    }
    world.finish().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_read_hides_no_other_and_is_visible_until_it_is_well() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let events = create_meetings(&world, calendar, 4);
    world.sim.override_event_json(events[0], |event| event["start_time"] = Value::Null);
    world.sim.override_event_json(events[1], |event| event["is_deleted"] = json!("secret-value"));
    world.sim.override_event_json(events[2], |event| event["id"] = json!("not an id"));
    world.settle().await;
    world.bot(events[3]);
    assert_eq!(world.sim.live_bots().len(), 1);
    let reasons =
        world.query("select string_agg(event_id || ': ' || reason, '; ' order by reason) from unreadable_events").await;
    assert!(reasons.contains(&events[0].to_string()) && reasons.contains(&events[1].to_string()), "{reasons}");
    assert!(!reasons.contains("secret-value"), "the reason quotes no value: {reasons}");

    for event in &events {
        world.sim.override_event(*event, None);
    }
    world.advance(TimeDelta::seconds(1));
    world.request_full_sync(calendar).await;
    world.settle().await;
    assert_eq!(world.sim.live_bots().len(), 4);
    world.finish().await;
}

#[tokio::test]
async fn an_unreadable_event_stays_visible_while_others_are_read() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let events = create_meetings(&world, calendar, 2);
    world.sim.override_event_json(events[0], |event| event["start_time"] = Value::Null);
    world.settle().await;
    let unreadable = "select string_agg(event_id, ' ') from unreadable_events";
    assert_eq!(world.query(unreadable).await, events[0].to_string());

    // Incremental lists; in the second it does not stand any more.
    for _ in 0..2 {
        world.advance(TimeDelta::minutes(10));
        world.meeting(calendar);
        world.settle().await;
        assert_eq!(world.query(unreadable).await, events[0].to_string());
    }
    world.request_full_sync(calendar).await;
    world.settle().await;
    assert_eq!(world.query(unreadable).await, events[0].to_string());

    world.sim.override_event(events[0], None);
    world.sim.edit_event(events[0], |event| event.title = "Well again".into());
    world.settle().await;
    assert_eq!(world.query(unreadable).await, "null");
    world.bot(events[0]);
    world.finish().await;
}

#[tokio::test]
async fn an_event_whose_bots_are_oddly_listed_gets_its_bot() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let events = create_meetings(&world, calendar, 3);
    world.sim.override_event_json(events[0], |event| event["bots"] = Value::Null);
    world.sim.override_event_json(events[1], |event| event["bots"] = json!([{"bot_id": "1", "state": "new"}]));
    world.sim.override_event_json(events[2], |event| event["platform"] = Value::Null);
    world.sim.deliver_due().await;
    world.take_turns_until(Endpoint::ListEvents).await;
    for event in &events {
        world.sim.override_event(*event, None);
    }
    world.settle().await;
    assert_eq!(world.sim.live_bots().len(), 3);
    world.finish().await;
}

#[tokio::test]
async fn an_event_that_the_database_refuses_hides_no_other() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.sim.create_event(calendar, NewEvent::new("Lunch", world.in_minutes(60), 30)); // so that there is a cursor
    world.settle().await;
    let events = create_meetings(&world, calendar, 3);
    world.execute("alter table events add constraint no_poison check (meeting_url not like '%/j/1')").await;
    world.settle().await;
    world.assert_no_bot(events[1]);
    assert_eq!(world.sim.live_bots().len(), 2);
    assert!(world.query("select reason from unreadable_events").await.starts_with("cannot be stored"));
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_page_that_repeats_an_event_is_mirrored() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    let shown = world.sim.event(event).unwrap();
    let page = json!({"next": null, "previous": null, "results": [shown, shown, shown]});
    world.sim.fail_next(Endpoint::ListEvents, Fault::Body { status: 200, body: page.to_string() }, 1);
    world.settle().await;
    world.bot(event);
    world.finish().await;
}

#[tokio::test]
async fn an_event_whose_id_has_an_odd_character_hides_no_other() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let events = create_meetings(&world, calendar, 2);
    // The reason names the character, and Postgres stores no NUL.
    world.sim.override_event_json(events[0], |event| event["calendar_id"] = json!("0b9f8f6e-\0"));
    world.settle().await;
    world.bot(events[1]);
    assert_eq!(world.query("select string_agg(event_id, ' ') from unreadable_events").await, events[0].to_string());
    world.sim.override_event(events[0], None);
    world.request_full_sync(calendar).await;
    world.settle().await;
    world.finish().await;
}

#[tokio::test]
async fn an_event_from_before_postgres_began_does_not_hold_its_calendar() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.sim.override_event_json(event, |event| event["updated_at"] = json!("-5000-01-01T00:00:00Z"));
    world.settle().await;
    assert_eq!(world.query("select event_id from unreadable_events").await, event.to_string());
    assert_eq!(world.query("select count(*) from reconcile_queue where kind = 'calendar'").await, "0");
    world.sim.override_event(event, None);
    world.request_full_sync(calendar).await;
    world.settle().await;
    world.finish().await;
}
