//! What is not known of a bot for a while: an answer was lost, or Recall was cut off from its calendar. P4.

use chrono::TimeDelta;
use reqwest::{Client, Method};
use rollcall::{
    domain::event::EventId,
    sim::{self, BotState, Endpoint, Fault, NewEvent},
    store::{
        events,
        queue::{self, Key, Request},
    },
};
use serde_json::json;

use crate::{
    policy::{ADMIN, ask, take_back},
    world::{LINK, World},
};

#[tokio::test]
async fn a_cut_off_that_is_noticed_after_a_meetings_start_took_its_bot() {
    for is_noticed_in_between in [false, true] {
        let world = World::new().await;
        let calendar = world.calendar("ada@acme.test").await;
        let event = world.meeting(calendar);
        world.settle().await;
        world.advance(TimeDelta::minutes(50));
        world.sim.disconnect_calendar(calendar);
        world.sim.lose_pending_webhooks();
        world.advance(TimeDelta::minutes(13));
        if is_noticed_in_between {
            world.request_sweep().await;
            world.settle().await;
        }
        world.sim.reconnect_calendar(calendar);
        world.sim.lose_pending_webhooks();
        world.advance(TimeDelta::minutes(1));
        world.request_sweep().await;
        world.settle().await;
        assert!(world.bot(event).is_live(), "nobody has sent the first one away");
        world.finish().await;
    }
}

#[tokio::test]
async fn a_copy_gets_a_bot_when_the_one_that_covered_it_turns_out_to_be_gone() {
    let world = World::new().await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    let meeting = NewEvent::new("Board", world.in_minutes(60), 30).at(LINK);
    world.sim.create_event(calendars[0], meeting.clone());
    world.settle().await;
    world.advance(TimeDelta::minutes(50));
    world.settle().await;
    world.sim.disconnect_calendar(calendars[0]);
    world.sim.lose_pending_webhooks();
    world.advance(TimeDelta::minutes(13));
    let copy = world.sim.create_event(calendars[1], meeting);
    world.settle().await;
    world.assert_no_bot(copy);
    world.request_sweep().await;
    world.settle().await;
    assert!(world.bot(copy).is_live());
    world.finish().await;
}

#[tokio::test]
async fn a_calendar_that_is_cut_off_hands_its_shared_bots_over() {
    let world = World::with(&[("BOT_CONFIG", r#"{"bot_name":"{{ calendar.email }}"}"#)]).await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    let meeting = NewEvent::new("Board", world.in_minutes(60), 30).at(LINK);
    let copy = world.sim.create_event(calendars[1], meeting.clone());
    world.settle().await;
    world.advance(TimeDelta::seconds(1));
    world.sim.create_event(calendars[0], meeting);
    world.settle().await;
    assert_eq!(world.bot(copy).config["bot_name"], "ada@acme.test", "whose event was the last");
    world.sim.disconnect_calendar(calendars[0]);
    world.settle().await;
    assert_eq!(world.bot(copy).config["bot_name"], "bob@acme.test");
    world.finish().await;
}

#[tokio::test]
async fn a_calendar_that_is_cut_off_leaves_shared_bots_alone_that_others_made_last() {
    let world = World::new().await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    let meeting = NewEvent::new("Board", world.in_minutes(60), 30).at(LINK);
    world.sim.create_event(calendars[0], meeting.clone());
    world.settle().await;
    world.advance(TimeDelta::seconds(1));
    let copy = world.sim.create_event(calendars[1], meeting);
    world.settle().await;
    world.sim.clear_calls();
    world.sim.disconnect_calendar(calendars[0]);
    world.settle().await;
    assert_eq!((world.count_bot_calls(), world.bot(copy).is_live()), (0, true));
    world.finish().await;
}

/// A covered copy loses its own bot of another time, and is still looked at when the bot that covers it is gone.
#[tokio::test]
async fn a_copy_that_had_another_bot_gets_one_when_the_one_that_covered_it_turns_out_to_be_gone() {
    let world = World::new().await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    let start = world.in_minutes(60);
    world.sim.create_event(calendars[0], NewEvent::new("Board", start, 30).at(LINK));
    let later = NewEvent::new("Board", world.in_minutes(120), 30).at(LINK);
    let copy = world.sim.create_event(calendars[1], later);
    world.settle().await;
    world.advance(TimeDelta::minutes(50));
    world.settle().await;
    world.sim.disconnect_calendar(calendars[0]);
    world.sim.lose_pending_webhooks();
    world.advance(TimeDelta::minutes(13));
    world.sim.move_event(copy, start);
    world.settle().await;
    world.assert_no_bot(copy);
    world.request_sweep().await;
    world.settle().await;
    assert!(world.bot(copy).is_live());
    world.finish().await;
}

/// Its event had moved before the cut-off, and its bot could not follow.
#[tokio::test]
async fn a_bot_that_could_not_follow_its_event_goes_with_its_calendar() {
    let mut world = World::new().await;
    world.expect_errors();
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    let meeting = NewEvent::new("Board", world.in_minutes(60), 60).at(LINK);
    let event = world.sim.create_event(calendars[0], meeting.clone());
    world.settle().await;
    world.advance(TimeDelta::minutes(20));
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Status(400), 10);
    world.sim.move_event(event, world.in_minutes(10));
    world.settle().await;
    world.advance(TimeDelta::minutes(20));
    world.settle().await;
    world.sim.clear_faults();
    world.sim.disconnect_calendar(calendars[0]);
    world.sim.lose_pending_webhooks();
    world.advance(TimeDelta::minutes(11));
    world.settle().await;
    world.advance(TimeDelta::minutes(11));
    let copy = world.sim.create_event(calendars[1], meeting);
    world.settle().await;
    world.request_sweep().await;
    world.settle().await;
    assert!(world.bot(copy).is_live());
    world.finish_as_it_is().await;
}

/// An earlier cut says nothing of bots that were scheduled since.
#[tokio::test]
async fn a_cut_off_of_long_ago_takes_no_bot_from_a_meeting_under_way() {
    for is_gone in [true, false] {
        let mut world = World::new().await;
        world.expect_errors();
        let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
        world.settle().await;
        world.advance(TimeDelta::minutes(1));
        world.sim.disconnect_calendar(calendars[0]);
        if is_gone {
            // Heard of, and over.
            world.settle().await;
            world.sim.reconnect_calendar(calendars[0]);
            world.settle().await;
        } else {
            world.sim.reconnect_calendar(calendars[0]);
            world.sim.lose_pending_webhooks();
        }
        world.advance(TimeDelta::minutes(1));
        let meeting = NewEvent::new("Board", world.in_minutes(5), 30).at(LINK);
        let event = world.sim.create_event(calendars[0], meeting.clone());
        world.settle().await;
        world.bot(event);
        world.advance(TimeDelta::minutes(6));
        world.sim.create_event(calendars[1], meeting);
        world.settle().await;
        if is_gone {
            world.sim.fail_next(Endpoint::RetrieveCalendar, Fault::Status(404), 1);
            let update = json!({ "event": "calendar.update", "data": { "calendar_id": calendars[0] } });
            world.sim.send_webhook("calendar.update", &update.to_string());
            world.settle().await;
        }
        world.request_sweep().await;
        // The copy's turn comes before the list of the calendar shows the bot.
        world.sim.fail_next(Endpoint::ListEvents, Fault::Status(503), 1);
        world.settle().await;
        world.advance(TimeDelta::seconds(10));
        world.settle().await;
        assert_eq!(world.sim.all_bots().len(), 1, "gone by mistake: {is_gone}");
        world.finish().await;
    }
}

#[tokio::test]
async fn a_bot_that_joined_early_stays_known_when_its_event_goes() {
    for is_cut_off in [false, true] {
        let world = World::with(&[("JOIN_EARLY", "5m")]).await;
        let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
        let meeting = NewEvent::new("Board", world.in_minutes(60), 30).at(LINK);
        let event = world.sim.create_event(calendars[0], meeting.clone());
        world.settle().await;
        world.advance(TimeDelta::minutes(57));
        assert_eq!(world.bot(event).state, BotState::InCall);
        if is_cut_off {
            world.sim.disconnect_calendar(calendars[0]);
        } else {
            world.sim.delete_event(event);
        }
        world.settle().await;
        world.sim.create_event(calendars[1], meeting);
        world.settle().await;
        world.advance(TimeDelta::minutes(4));
        world.settle().await;
        assert_eq!(world.sim.all_bots().len(), 1, "cut off: {is_cut_off}");
        world.finish_as_it_is().await;
    }
}

#[tokio::test]
async fn a_bot_stays_known_whose_event_the_api_knows_no_longer() {
    let world = World::new().await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    let meeting = NewEvent::new("Board", world.in_minutes(60), 30).at(LINK);
    let event = world.sim.create_event(calendars[0], meeting.clone());
    world.settle().await;
    world.advance(TimeDelta::minutes(65));
    world.settle().await;
    let (id, now) = (EventId(event), world.now());
    events::mirror_gone(&world.db, id, now).await.unwrap();
    let (key, cause) = (Key::Event(id), "a test");
    let look = Request { key, since: None, deadline: now, cause, events_only: false };
    queue::request(&mut world.db.acquire().await.unwrap(), &[look], now).await.unwrap();
    world.take_turns().await;
    assert_eq!(world.query("select reason from decisions").await, "the event is deleted");
    world.sim.create_event(calendars[1], meeting);
    world.settle().await;
    assert_eq!(world.sim.all_bots().len(), 1, "when it went nobody can tell");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_bot_that_joined_early_and_was_sent_away_stays_away() {
    let world = World::with(&[("JOIN_EARLY", "5m")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.advance(TimeDelta::minutes(57));
    assert!(world.sim.kick_bot(event));
    // Whether Recall lists bots that have left is not documented; the simulator does.
    world.sim.override_event_json(event, |event| event["bots"] = json!([]));
    world.request_full_sync(calendar).await;
    world.settle().await;
    world.assert_no_bot(event);
    world.finish().await;
}

#[tokio::test]
async fn a_bot_that_could_not_be_scheduled_in_time_was_not_sent_away() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.advance(TimeDelta::minutes(57));
    // Somebody else deletes it, and then there is no capacity until after the start.
    let url = format!("{}/api/v2/calendar-events/{event}/bot/", world.sim.base_url());
    let token = format!("Token {}", sim::DEFAULT_API_KEY);
    let deleted = Client::new().delete(url).header("authorization", token).send().await.unwrap();
    assert!(deleted.status().is_success());
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::RetryAfter { status: 507, secs: 30 }, 10);
    world.request_full_sync(calendar).await;
    for _ in 0..12 {
        world.settle().await;
        world.advance(TimeDelta::seconds(31));
    }
    assert!(world.bot(event).is_live());
    world.finish().await;
}

/// The bot was given another meeting's key by a call whose answer was lost, and its event is moved back.
#[tokio::test]
async fn a_bot_that_was_moved_by_a_lost_call_follows_its_meeting_back() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    let start = world.in_minutes(60);
    world.settle().await;
    world.advance(TimeDelta::minutes(58));
    world.sim.move_event(event, world.in_minutes(120));
    world.sim.deliver_due().await;
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::LoseAnswer, 1);
    world.take_turns_until(Endpoint::ScheduleBot).await;
    world.sim.move_event(event, start);
    world.sim.deliver_due().await;
    world.advance(TimeDelta::minutes(3));
    world.settle().await;
    assert_eq!(world.sim.live_bots().len(), 1);
    assert_eq!(world.bot(event).state, BotState::InCall);
    world.finish().await;
}

/// The answer to Delete Bot was lost, and it is noticed after the start.
#[tokio::test]
async fn a_bot_that_may_have_been_deleted_is_asked_for_after_the_start() {
    for has_copy in [false, true] {
        let world = World::with(&[ADMIN]).await;
        let calendar = world.calendar("ada@acme.test").await;
        let event = world.meeting(calendar);
        world.settle().await;
        world.advance(TimeDelta::seconds(3595));
        world.sim.fail_next(Endpoint::DeleteBot, Fault::LoseAnswer, 1);
        let path = format!("events/{event}/override");
        let skip = json!({ "value": "skip", "who": "ann", "why": "a mistake" });
        assert_eq!(ask(&world, Method::PUT, &path, skip).await.0, 200);
        world.take_turns_until(Endpoint::DeleteBot).await;
        world.advance(TimeDelta::minutes(1));
        let wanted = if has_copy {
            let other = world.calendar("bob@acme.test").await;
            let meeting = NewEvent::new("Board", world.in_minutes(0) - TimeDelta::seconds(55), 30).at(LINK);
            world.sim.create_event(other, meeting)
        } else {
            take_back(&world, &path).await;
            event
        };
        world.settle().await;
        assert!(world.bot(wanted).is_live(), "{has_copy}");
        world.finish().await;
    }
}

#[tokio::test]
async fn a_call_that_was_found_to_have_sent_a_bot_leaves_none_behind_before_the_start() {
    let world = World::new().await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    let events = world.sim.same_meeting_on(&calendars, &NewEvent::new("Board", world.in_minutes(1), 60).at(LINK));
    world.sim.deliver_due().await;
    world.advance(TimeDelta::seconds(10));
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::LoseAnswer, 1);
    world.take_turns_until(Endpoint::ScheduleBot).await;
    // The copy finds that there is a bot. Then both are called off, and back on when it is too late for that bot.
    world.take_turns().await;
    assert!(world.count_calls(Endpoint::RetrieveEvent) > 0, "the copy's turn asks what became of the call");
    assert_eq!(world.query("select count(*) from bots_left_behind").await, "0");
    events.iter().for_each(|event| world.sim.cancel_event(*event));
    world.settle().await;
    assert!(world.sim.live_bots().is_empty());
    world.advance(TimeDelta::minutes(2));
    world.settle().await;
    events.iter().for_each(|event| world.sim.edit_event(*event, |event| event.cancelled = false));
    world.settle().await;
    assert_eq!(world.sim.live_bots().len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn an_event_is_not_gone_because_schedule_bot_says_so_once() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    // It is read before the call, since it has begun.
    let event = world.sim.create_event(calendar, NewEvent::new("Now", world.in_minutes(-5), 60).at(LINK));
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Status(404), 1);
    world.settle().await;
    world.advance(TimeDelta::seconds(10));
    world.settle().await;
    assert!(world.bot(event).is_live());
    world.finish().await;
}

#[tokio::test]
async fn a_meeting_that_is_about_to_begin_is_tried_again_soon_after_the_key_was_refused() {
    let mut world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.sim.create_event(calendar, NewEvent::new("Soon", world.in_minutes(2), 60).at(LINK));
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Status(401), 1);
    world.expect_errors();
    world.settle().await;
    world.assert_no_bot(event);
    world.advance(TimeDelta::seconds(31));
    world.settle().await;
    world.bot(event);
    world.finish().await;
}
