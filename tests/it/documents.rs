//! The payloads that the API's documents print, of both platforms, through the whole way.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::{receive::Post, world::World};

/// The printed Google event, with its bot.
fn google() -> Value {
    serde_json::from_str(include_str!("documents/google.json")).unwrap()
}

/// The printed Outlook `raw`, in the same envelope.
fn outlook() -> Value {
    let mut event = google();
    let raw: Value = serde_json::from_str(include_str!("documents/outlook_raw.json")).unwrap();
    event["id"] = json!("7c1f5a0e-2d6b-4f0c-9f0a-6c0d8d5b1e02");
    event["platform"] = json!("microsoft_outlook");
    event["platform_id"] = raw["id"].clone();
    event["ical_uid"] = raw["iCalUId"].clone();
    event["start_time"] = json!("2026-01-20T05:00:00Z");
    event["end_time"] = json!("2026-01-20T05:30:00Z");
    event["meeting_url"] = json!("https://teams.microsoft.com/l/meetup-join/19%3ameeting_x%40thread.v2/0");
    event["meeting_platform"] = json!("microsoft_teams");
    event["bots"] = json!([]);
    event["raw"] = raw;
    event
}

#[tokio::test]
async fn the_printed_google_event_keeps_its_one_bot() {
    let world = World::new().await;
    let event = world.sim.insert_raw_event(google());
    world.settle().await;
    let bot = world.bot(event);
    assert_eq!(bot.key, "2026-01-20T21:30:00Z-https://meet.google.com/aaa-bbbb-ccc");
    assert_eq!(bot.config["metadata"]["rollcall_event_id"], event.to_string(), "taken over with our configuration");
    assert_eq!(
        world.query("select concat_ws(' ', platform, platform_id, ical_uid, meeting_platform, is_deleted, is_cancelled, raw->>'summary') from events").await,
        "google_calendar 4s0m3b4s3id0000000000000aa_20260120T213000Z \
         4s0m3b4s3id0000000000000aa_R20260113T213000@google.com google_meet f f Weekly sync"
    );
    world.finish().await;
}

#[tokio::test]
async fn the_printed_outlook_event_gets_a_bot() {
    let world = World::new().await;
    world.advance(TimeDelta::hours(-6)); // it is at five in the morning
    let event = world.sim.insert_raw_event(outlook());
    world.settle().await;
    assert_eq!(
        world.bot(event).key,
        "2026-01-20T05:00:00Z-https://teams.microsoft.com/l/meetup-join/19%3ameeting_x%40thread.v2/0"
    );
    world.finish().await;
}

#[tokio::test]
async fn the_printed_events_get_no_bot_once_their_platform_says_cancelled() {
    let world = World::new().await;
    world.advance(TimeDelta::hours(-6));
    let mut events = [google(), outlook()];
    events[0]["bots"] = json!([]);
    events[0]["raw"]["status"] = json!("cancelled");
    events[1]["raw"]["isCancelled"] = json!(true);
    for event in events {
        world.sim.insert_raw_event(event);
    }
    world.settle().await;
    assert_eq!(world.query("select count(*) from decisions where reason = 'the meeting is cancelled'").await, "2");
    assert_eq!(world.count_bot_calls(), 0);
    world.finish().await;
}

fn event_calendar() -> uuid::Uuid {
    google()["calendar_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_printed_webhooks_are_accepted() {
    let world = World::new().await;
    let calendar = event_calendar();
    for (number, body) in [
        format!(r#"{{"event":"calendar.update","data":{{"calendar_id":"{calendar}"}}}}"#),
        format!(r#"{{"event":"calendar.sync_events","data":{{"calendar_id":"{calendar}","last_updated_ts":"2025-01-29T23:49:58.570998+00:00"}}}}"#),
        r#"{"event":"bot.done","data":{"bot":{"id":"e1d9c6b2-5a4f-4b0f-8f58-1f0f2f3a4b5c","metadata":{}},"data":{"code":"done","sub_code":null,"updated_at":"2026-01-20T22:00:00Z"}}}"#.into(),
        r#"{"event":"bot.status_change","data":{"bot_id":"1","status":{"code":"done","sub_code":null,"message":null,"created_at":"2026-01-20T22:00:00Z"}}}"#.into(),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(Post::signed(&world, &format!("msg_{number}"), body).status(&world).await, 204, "{body}");
    }
    world.finish().await;
}
