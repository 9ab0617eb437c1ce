//! Deciding and scheduling (numbers 4 and 5 of the main job): P4 and P11, in the simulator's words.

use chrono::TimeDelta;
use rollcall::sim::{BotState, Endpoint, Fault, NewCalendar, NewEvent};

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

#[tokio::test]
async fn no_bot_for_events_without_link_cancelled_ended_or_not_wanted() {
    let world = World::new().await;
    let (google, outlook) = (world.calendar("ada@acme.test").await, outlook(&world).await);
    let in_an_hour = world.in_minutes(60);
    let without_link = world.sim.create_event(google, NewEvent::new("Lunch", in_an_hour, 30));
    let ended = world.sim.create_event(google, NewEvent::new("Breakfast", world.in_minutes(-60), 30).at(LINK));
    let cancelled = [google, outlook].map(|calendar| {
        let event = world.sim.create_event(calendar, NewEvent::new("Called off", in_an_hour, 30).at(LINK));
        world.sim.cancel_event(event);
        event
    });
    world.settle().await;

    for event in [without_link, ended, cancelled[0], cancelled[1]] {
        world.assert_no_bot(event);
    }
    assert_eq!(world.count_bot_calls(), 0, "and no call is made for them");
    world.finish().await;
}

#[tokio::test]
async fn record_when_none_wants_no_bot() {
    let world = World::with(&[("RECORD_WHEN", "none")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    world.meeting(calendar);
    world.settle().await;
    assert_eq!(world.count_bot_calls(), 0);
    assert_eq!(world.query("select reason from decisions").await, "the rule does not want it");
    world.finish().await;
}

#[tokio::test]
async fn a_bot_goes_when_its_meeting_is_cancelled_loses_its_link_or_moves_into_the_past() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let at = |minutes: i64, link: &str| {
        world.sim.create_event(calendar, NewEvent::new("Meeting", world.in_minutes(minutes), 30).at(link))
    };
    let events = [at(60, LINK), at(120, "https://acme.zoom.us/j/1"), at(180, "https://acme.zoom.us/j/2")];
    world.settle().await;
    assert_eq!(world.sim.live_bots().len(), 3);

    world.sim.cancel_event(events[0]);
    world.sim.relink_event(events[1], None);
    world.sim.move_event(events[2], world.in_minutes(-60));
    world.settle().await;
    assert_eq!(world.sim.live_bots(), []);
    assert_eq!(world.count_calls(Endpoint::DeleteBot), 3);
    let still_asked_for = "select count(*) from decisions where num_nonnulls(scheduled_key, scheduled_config) > 0";
    assert_eq!(world.query(still_asked_for).await, "0");

    // One that takes place after all, once it has begun: nobody sent its bot away.
    world.advance(TimeDelta::minutes(65));
    world.sim.restore_event(events[0]);
    world.settle().await;
    world.bot(events[0]);
    world.finish().await;
}

#[tokio::test]
async fn a_meeting_on_several_calendars_shares_one_bot_until_the_last_is_gone() {
    let world = World::new().await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    let meeting = NewEvent::new("Board", world.in_minutes(60), 60).at(LINK);
    let events = world.sim.same_meeting_on(&calendars, &meeting);
    world.settle().await;
    assert_eq!(world.sim.live_bots().len(), 1);
    assert_eq!(world.bot(events[0]).id, world.bot(events[1]).id);

    world.sim.delete_event(events[0]);
    world.settle().await;
    world.bot(events[1]);
    world.sim.delete_event(events[1]);
    world.settle().await;
    assert_eq!(world.sim.live_bots(), []);
    world.finish().await;
}

#[tokio::test]
async fn a_copy_that_changes_while_its_call_is_on_the_way_does_not_take_the_shared_bot_along() {
    const OTHER: &str = "https://meet.google.com/ddd-eeee-fff";
    for is_moved in [false, true] {
        let world = World::new().await;
        let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
        let meeting = NewEvent::new("Board", world.in_minutes(60), 60).at(LINK);
        let events = world.sim.same_meeting_on(&calendars, &meeting);
        world.sim.deliver_due().await;
        world.take_turns_until(Endpoint::ScheduleBot).await;
        let (stays, changes) = if world.sim.bots_of(events[0]).is_empty() { (1, 0) } else { (0, 1) };
        let later = world.in_minutes(90);
        // Its own turn knows nothing of this yet.
        if is_moved {
            world.sim.move_event(events[changes], later);
        } else {
            world.sim.relink_event(events[changes], Some(OTHER));
        }
        world.take_turns().await;
        world.settle().await;
        let [stays, changes] = [stays, changes].map(|copy| world.bot(events[copy]));
        assert_eq!((stays.meeting_url.as_str(), stays.join_at), (LINK, meeting.start));
        let changed = if is_moved { (LINK, later) } else { (OTHER, meeting.start) };
        assert_eq!((changes.meeting_url.as_str(), changes.join_at), changed);
        world.finish().await;
    }
}

#[tokio::test]
async fn deduplication_decides_who_shares_a_bot() {
    for (scheme, bots, key_end) in [("meeting", 1, LINK), ("company", 2, "-acme.test"), ("event", 3, "")] {
        let world = World::with(&[("DEDUPLICATION", scheme)]).await;
        let mut calendars = vec![];
        for email in ["ada@acme.test", "bob@Acme.test", "eve@other.test"] {
            calendars.push(world.calendar(email).await);
        }
        let meeting = NewEvent::new("Board", world.in_minutes(60), 60).at(LINK);
        let events = world.sim.same_meeting_on(&calendars, &meeting);
        world.settle().await;
        assert_eq!(world.sim.live_bots().len(), bots, "{scheme}");
        let key = world.bot(events[0]).key;
        let key_end = if scheme == "event" { format!("-{}", events[0]) } else { key_end.to_owned() };
        assert!(key.starts_with("2026-01-20T10:00:00Z-https://") && key.ends_with(&key_end), "{key}");
        world.finish().await;
    }
}

#[tokio::test]
async fn two_meetings_in_one_standing_room_get_two_bots() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let daily = |minutes| NewEvent::new("Daily", world.in_minutes(minutes), 15).at(LINK).in_series("daily");
    let events = world.sim.create_events(calendar, vec![daily(60), daily(60 + 24 * 60)]);
    world.settle().await;
    assert_ne!(world.bot(events[0]).id, world.bot(events[1]).id);
    world.finish().await;
}

#[tokio::test]
async fn the_soonest_meetings_are_scheduled_first() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let starts = [300, 60, 1200, 5, 90];
    let link = |n: usize| format!("https://acme.zoom.us/j/{n}");
    let meetings = starts.iter().enumerate();
    let meetings = meetings.map(|(n, minutes)| NewEvent::new("Meeting", world.in_minutes(*minutes), 30).at(&link(n)));
    let events = world.sim.create_events(calendar, meetings.collect());
    world.settle().await;

    let calls = world.sim.calls();
    let order: Vec<_> =
        calls.iter().filter(|call| call.endpoint == Endpoint::ScheduleBot).filter_map(|call| call.id).collect();
    assert_eq!(order, [3, 1, 4, 0, 2].map(|n: usize| events[n]));
    world.finish().await;
}

#[tokio::test]
async fn scheduling_that_touches_the_event_ends_there() {
    let world = World::new().await;
    world.sim.knobs(|knobs| knobs.sync_on_bot_change = true);
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.sim.move_event(event, world.in_minutes(90));
    world.settle().await;
    assert_eq!(world.count_bot_calls(), 2, "one for the meeting, one for its move, none for our own echo");
    world.finish().await;
}

#[tokio::test]
async fn recall_that_answers_otherwise_where_it_is_undocumented_is_borne() {
    let world = World::new().await;
    world.sim.knobs(|knobs| {
        knobs.descending = true;
        knobs.new_bot_id = true;
        knobs.move_bots = true;
        knobs.bot_start_is_event_start = true;
        knobs.strict_trailing_slash = true;
        knobs.webhooks_per_change = 3;
        knobs.page_size = 2;
    });
    let calendar = world.calendar("ada@acme.test").await;
    let link = |n: i64| format!("https://acme.zoom.us/j/{n}");
    let meetings = (0..5).map(|n| NewEvent::new("Meeting", world.in_minutes(60 + n), 30).at(&link(n)));
    let events = world.sim.create_events(calendar, meetings.collect());
    world.settle().await;
    world.sim.move_event(events[2], world.in_minutes(200));
    world.settle().await;
    assert_eq!(world.bot(events[2]).key, format!("2026-01-20T12:20:00Z-{}", link(2)));
    assert_eq!(world.sim.live_bots().len(), 5);
    world.finish().await;
}

#[tokio::test]
async fn a_meeting_that_has_begun_gets_its_bot_at_once() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.sim.create_event(calendar, NewEvent::new("Ad hoc", world.in_minutes(-5), 30).at(LINK));
    world.settle().await;
    assert_eq!(world.bot(event).state, BotState::InCall);
    world.finish().await;
}

#[tokio::test]
async fn a_bot_that_a_person_sent_away_stays_away() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.advance(TimeDelta::minutes(65));
    world.settle().await;
    assert_eq!(world.bot(event).state, BotState::InCall);

    assert!(world.sim.kick_bot(event));
    world.sim.edit_event(event, |event| event.title = "Weekly sync, without a bot".into());
    world.settle().await;
    world.assert_no_bot(event);
    world.finish().await;
}

#[tokio::test]
async fn copies_of_a_meeting_that_has_begun_send_one_bot() {
    let world = World::new().await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    let meeting = NewEvent::new("Now", world.in_minutes(-1), 60).at(LINK);
    world.sim.same_meeting_on(&calendars, &meeting);
    world.settle().await;
    assert_eq!(world.sim.all_bots().len(), 1);

    let eve = world.calendar("eve@acme.test").await;
    world.sim.create_event(eve, meeting);
    world.settle().await;
    assert_eq!(world.sim.all_bots().len(), 1, "somebody who joins later brings no second one");
    world.finish().await;
}

/// By a mistake of the API a calendar seemed gone while its meeting began: what was scheduled on it is forgotten, and a copy is
/// looked at before the event that the list shows with its bot.
#[tokio::test]
async fn a_bot_that_the_list_shows_on_another_event_is_not_sent_for_again() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let meeting = NewEvent::new("Board", world.in_minutes(15), 60).at(LINK);
    let first = world.sim.create_event(calendar, meeting.clone());
    world.settle().await;
    world.sim.fail_next(Endpoint::RetrieveCalendar, Fault::Status(404), 1);
    world.request_full_sync(calendar).await;
    world.settle().await;
    let scheduled = "select count(*) from decisions where scheduled_key is not null";
    assert_eq!(world.query(scheduled).await, "0", "the calendar is gone, and so are its bots");

    world.advance(TimeDelta::minutes(16));
    let copy = world.sim.create_event(calendar, meeting);
    world.request_full_sync(calendar).await;
    world.take_turns_until(Endpoint::ListEvents).await;
    let later = format!("update reconcile_queue set deadline = deadline + interval '1 hour' where key = '{first}'");
    world.execute(&later).await;
    world.settle().await;
    assert_eq!(world.sim.all_bots().len(), 1, "the first event's: {first}, not {copy}'s as well");
    world.finish().await;
}

#[tokio::test]
async fn copies_whose_bot_was_late_send_one_bot() {
    let world = World::new().await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    world.sim.same_meeting_on(&calendars, &NewEvent::new("Board", world.in_minutes(3), 60).at(LINK));
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Status(507), 8);
    for _ in 0..12 {
        world.settle().await;
        world.advance(TimeDelta::seconds(31));
    }
    assert_eq!(world.sim.live_bots().len(), 1);
    assert_eq!(world.sim.all_bots().len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn a_key_that_changes_during_the_meeting_sends_no_second_bot() {
    let mut world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.advance(TimeDelta::minutes(65));
    world.settle().await;
    world.sim.move_event(event, world.in_minutes(-10));
    world.settle().await;
    world.restart(&[("DEDUPLICATION", "company"), ("ALLOW_DEDUPLICATION_CHANGE", "true")]).await;
    world.settle().await;
    assert_eq!(world.sim.all_bots().len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn an_event_that_comes_back_after_its_start_gets_a_bot() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.sim.delete_event(event);
    world.settle().await;
    world.advance(TimeDelta::minutes(65));
    world.sim.restore_event(event);
    world.settle().await;
    assert_eq!(world.bot(event).state, BotState::InCall);
    world.finish().await;
}

#[tokio::test]
async fn a_bot_that_vanished_before_the_meeting_comes_back() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    let url = format!("{}/api/v2/calendar-events/{event}/bot/", world.sim.base_url());
    reqwest::Client::new().delete(url).header("authorization", rollcall::sim::DEFAULT_API_KEY).send().await.unwrap();
    world.assert_no_bot(event);

    world.request_full_sync(calendar).await;
    world.settle().await;
    world.bot(event);
    world.finish().await;
}

#[tokio::test]
async fn a_lost_answer_makes_no_twin() {
    for minutes in [60, -5] {
        let world = World::new().await;
        let calendar = world.calendar("ada@acme.test").await;
        world.sim.fail_next(Endpoint::ScheduleBot, Fault::LoseAnswer, 1);
        let event = world.sim.create_event(calendar, NewEvent::new("Meeting", world.in_minutes(minutes), 90).at(LINK));
        world.settle().await;
        world.advance(TimeDelta::minutes(5));
        world.settle().await;
        world.bot(event);
        assert_eq!(world.sim.all_bots().len(), 1, "{minutes} minutes to the start");
        world.finish().await;
    }
}

#[tokio::test]
async fn an_answer_lost_across_the_start_makes_no_twin() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::LoseAnswer, 1);
    world.sim.fail_next(Endpoint::RetrieveEvent, Fault::Status(500), 1);
    let event = world.sim.create_event(calendar, NewEvent::new("Meeting", world.in_minutes(5), 90).at(LINK));
    world.settle().await;
    world.advance(TimeDelta::minutes(6));
    world.settle().await;
    world.advance(TimeDelta::minutes(6));
    world.settle().await;
    assert_eq!(world.bot(event).state, BotState::InCall);
    assert_eq!(world.sim.all_bots().len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn an_answer_that_one_copy_lost_sends_no_second_bot_for_another_after_the_start() {
    let world = World::new().await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    world.sim.same_meeting_on(&calendars, &NewEvent::new("Board", world.in_minutes(60), 60).at(LINK));
    world.sim.deliver_due().await;
    for _ in calendars {
        world.take_turns_until(Endpoint::ListEvents).await;
    }
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::LoseAnswer, 1);
    assert!(world.replica.worker.take_one_turn().await.unwrap());
    assert_eq!(world.sim.all_bots().len(), 1);
    world.advance(TimeDelta::minutes(61));
    world.settle().await;
    assert_eq!(world.sim.all_bots().len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn an_answer_that_is_still_lost_after_another_failure_sends_no_second_bot_either() {
    let world = World::new().await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    world.sim.same_meeting_on(&calendars, &NewEvent::new("Board", world.in_minutes(-10), 180).at(LINK));
    world.sim.deliver_due().await;
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::LoseAnswer, 1);
    world.take_turns_until(Endpoint::ScheduleBot).await;
    // The turn that could find out what became of the call cannot read the event; the other copy comes next.
    world.execute("update reconcile_queue set due_at = now() + interval '10 years' where kind = 'event' and last_error is null").await;
    world.advance(TimeDelta::minutes(2));
    world.sim.fail_next(Endpoint::RetrieveEvent, Fault::Truncate, 1);
    world.take_turns_until(Endpoint::RetrieveEvent).await;
    world.execute("update reconcile_queue set due_at = requested_at where kind = 'event' and last_error is null").await;
    world.settle().await;
    world.advance(TimeDelta::minutes(6));
    world.settle().await;
    assert_eq!(world.sim.all_bots().len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn a_lost_answer_about_an_event_that_is_gone_since_sends_no_second_bot() {
    let world = World::new().await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    world.sim.same_meeting_on(&calendars, &NewEvent::new("Board", world.in_minutes(-10), 180).at(LINK));
    world.sim.deliver_due().await;
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::LoseAnswer, 1);
    world.take_turns_until(Endpoint::ScheduleBot).await;
    let first = world.sim.all_bots()[0].events.first().copied().unwrap();
    let calendar = world.sim.event(first).unwrap()["calendar_id"].as_str().unwrap().parse().unwrap();
    world.sim.delete_calendar(calendar);
    world.advance(TimeDelta::minutes(6));
    world.settle().await;
    assert_eq!(world.sim.all_bots().len(), 1);
    world.finish().await;
}

/// The process dies during a call, which the API goes on with; to all that have the same key it answers 409 meanwhile.
#[tokio::test]
async fn a_call_that_the_api_is_still_at_sends_no_second_bot() {
    for is_tried_again_first in [true, false] {
        let world = World::new().await;
        let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
        world.sim.same_meeting_on(&calendars, &NewEvent::new("Board", world.in_minutes(11), 180).at(LINK));
        world.sim.deliver_due().await;
        for _ in calendars {
            world.take_turns_until(Endpoint::ListEvents).await;
        }
        // It has begun, and no sweep is due.
        world.advance(TimeDelta::seconds(690));
        world.sim.fail_next(Endpoint::ScheduleBot, Fault::Hang, 1);
        let worker = world.replica.worker.clone();
        let turn = tokio::spawn(async move { worker.take_one_turn().await });
        world.until(|| world.sim.hanging() == 1).await;
        turn.abort();
        world.advance(TimeDelta::seconds(95));
        // Which of the two comes next.
        let put_off = if is_tried_again_first {
            "deadline = deadline + interval '1 hour' where kind = 'event' and lease_token is null".to_owned()
        } else {
            let later = world.in_minutes(10);
            format!(
                "due_at = '{later}', is_due = false, leased_until = null where kind = 'event' and lease_token is not null"
            )
        };
        world.execute(&format!("update reconcile_queue set {put_off}")).await;
        world.take_turns_until(Endpoint::ScheduleBot).await;
        let refused = world.sim.calls().into_iter().rfind(|call| call.endpoint == Endpoint::ScheduleBot).unwrap();
        assert_eq!(refused.status, 409);
        world.sim.release();
        world.until(|| world.sim.all_bots().len() == 1).await;
        world.settle().await;
        for seconds in [3, 3, 700] {
            world.advance(TimeDelta::seconds(seconds));
            world.settle().await;
        }
        assert_eq!(world.sim.all_bots().len(), 1);
        world.finish().await;
    }
}

#[tokio::test]
async fn a_bot_in_a_call_that_is_listed_with_a_start_to_come_is_deleted_once() {
    let world = World::new().await;
    world.sim.knobs(|knobs| (knobs.bot_start_is_event_start, knobs.move_bots) = (true, true));
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.sim.create_event(calendar, NewEvent::new("Board", world.in_minutes(10), 180).at(LINK));
    world.settle().await;
    world.sim.move_event(event, world.in_minutes(180));
    world.sim.cancel_event(event);
    world.advance(TimeDelta::minutes(20));
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::DeleteBot), 1);
    assert_eq!(world.bot(event).state, BotState::InCall, "nobody can tell it to leave");
    world.finish().await;
}

#[tokio::test]
async fn a_bot_that_joined_while_its_event_moved_to_and_fro_is_kept_though_keys_change() {
    let mut world = World::new().await;
    world.sim.knobs(|knobs| (knobs.bot_start_is_event_start, knobs.move_bots) = (true, true));
    let calendar = world.calendar("ada@acme.test").await;
    let start = world.in_minutes(60);
    let event = world.sim.create_event(calendar, NewEvent::new("Board", start, 180).at(LINK));
    world.settle().await;
    world.sim.move_event(event, world.in_minutes(180));
    world.advance(TimeDelta::minutes(65));
    world.sim.move_event(event, start);
    world.restart(&[("DEDUPLICATION", "company"), ("ALLOW_DEDUPLICATION_CHANGE", "true")]).await;
    world.settle().await;
    assert_eq!(world.sim.live_bots().len(), 1);
    assert_eq!(world.count_calls(Endpoint::DeleteBot), 0, "it has joined, whatever start is listed");
    world.finish().await;
}

#[tokio::test]
async fn a_bot_that_is_listed_with_its_events_start_is_removed_all_the_same() {
    let world = World::new().await;
    world.sim.knobs(|knobs| (knobs.bot_start_is_event_start, knobs.move_bots) = (true, true));
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.sim.create_event(calendar, NewEvent::new("Board", world.in_minutes(60), 180).at(LINK));
    world.settle().await;
    world.sim.move_event(event, world.in_minutes(-30));
    world.sim.cancel_event(event);
    world.settle().await;
    assert_eq!(world.sim.live_bots(), []);
    world.finish().await;
}

#[tokio::test]
async fn an_event_that_moved_while_its_bot_was_scheduled_gets_it_moved() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.sim.deliver_due().await;
    world.take_turns_until(Endpoint::ListEvents).await;
    // It moves after it was mirrored and before its bot is scheduled; the webhook of the move comes late.
    world.sim.delay_next_webhooks(1, TimeDelta::hours(3));
    world.sim.move_event(event, world.in_minutes(120));
    world.settle().await;
    assert_eq!(world.bot(event).key, format!("2026-01-20T11:00:00Z-{LINK}"));
    world.finish().await;
}

async fn outlook(world: &World) -> uuid::Uuid {
    let calendar = world.sim.connect_calendar(NewCalendar::outlook("bob@acme.test"));
    world.settle().await;
    calendar
}

#[tokio::test]
async fn a_bot_that_was_replaced_before_it_joined_is_not_taken_for_one_in_the_meeting() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let start = world.in_minutes(15);
    let event = world.sim.create_event(calendar, NewEvent::new("Weekly", start, 60).at(LINK));
    world.settle().await;
    world.sim.relink_event(event, Some("https://acme.zoom.us/j/1"));
    world.sim.deliver_due().await;
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::LoseAnswer, 1);
    world.take_turns_until(Endpoint::ScheduleBot).await;
    // The list shows what came of it, and then the meeting begins.
    world.execute("delete from reconcile_queue where kind = 'event'").await;
    world.request_full_sync(calendar).await;
    world.take_turns_until(Endpoint::ListEvents).await;
    world.execute("delete from reconcile_queue where kind = 'event'").await;
    world.advance(TimeDelta::minutes(16));
    world.sim.edit_event(event, |event| event.title = "Weekly, at last".into());
    world.settle().await;
    let copy = world.sim.create_event(calendar, NewEvent::new("Another", start, 60).at(LINK));
    world.settle().await;
    assert_eq!(world.bot(copy).meeting_url, LINK);
    assert_eq!(world.sim.all_bots().len(), 2);
    world.finish().await;
}
