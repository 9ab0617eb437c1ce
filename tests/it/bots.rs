//! Deciding and scheduling (numbers 4 and 5 of the main job): P4 and P11, in the simulator's words.

use chrono::TimeDelta;
use rollcall::sim::{Endpoint, Fault, NewCalendar, NewEvent};

use crate::world::{LINK, World};

#[tokio::test]
async fn a_meeting_gets_one_bot_with_our_key_and_ids() {
    let world = World::with(&[("BOT_CONFIG", r#"{"bot_name":"Notes","metadata":{"tenant":"acme"}}"#)]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;

    let bot = world.bot(event);
    assert_eq!(bot.key, format!("2026-01-20T10:00:00Z-{LINK}"));
    assert_eq!(bot.config["bot_name"], "Notes");
    assert_eq!(
        bot.config["metadata"],
        serde_json::json!({
            "tenant": "acme", "rollcall_calendar_id": calendar.to_string(), "rollcall_event_id": event.to_string(),
        })
    );
    assert_eq!(world.count_bot_calls(), 1);
    world.finish().await;
}

#[tokio::test]
async fn a_moved_or_relinked_event_moves_its_bot() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;

    world.sim.move_event(event, world.in_minutes(120));
    world.settle().await;
    assert_eq!(world.bot(event).key, format!("2026-01-20T11:00:00Z-{LINK}"));

    world.sim.relink_event(event, Some("https://acme.zoom.us/j/1"));
    world.settle().await;
    assert_eq!(world.bot(event).key, "2026-01-20T11:00:00Z-https://acme.zoom.us/j/1");
    assert_eq!(world.count_bot_calls(), 3);
    world.finish().await;
}

#[tokio::test]
async fn a_deleted_event_loses_its_bot_and_needs_no_call_of_ours() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;

    world.sim.delete_event(event);
    world.settle().await;
    world.assert_no_bot(event);
    assert_eq!(world.count_calls(Endpoint::DeleteBot), 0);

    world.sim.restore_event(event);
    world.settle().await;
    world.bot(event);
    world.finish().await;
}
