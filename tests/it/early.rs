//! Bots that join before their meetings begin, and meetings that change between the two.

use chrono::TimeDelta;
use rollcall::sim::{BotState, Endpoint, Fault, NewEvent};
use uuid::Uuid;

use crate::world::{LINK, World};

/// Bots join ten minutes early, and there are two calendars.
async fn early_world() -> (World, [Uuid; 2]) {
    let world = World::with(&[("JOIN_EARLY", "10m")]).await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    (world, calendars)
}

/// Those that joined or are to.
fn live(world: &World) -> usize {
    world.sim.live_bots().len()
}

#[tokio::test]
async fn a_move_that_is_taken_back_after_the_bot_joined_leaves_no_second_one() {
    for is_answer_lost in [false, true] {
        let (world, [calendar, _]) = early_world().await;
        let event = world.meeting(calendar);
        world.settle().await;
        world.advance(TimeDelta::minutes(51));
        let start = world.in_minutes(9);
        world.sim.move_event(event, world.in_minutes(55));
        if is_answer_lost {
            world.sim.fail_next(Endpoint::ScheduleBot, Fault::LoseAnswer, 1);
        }
        world.settle().await;
        assert_eq!(live(&world), 2, "one is in the call, and one for the new time");
        world.sim.move_event(event, start);
        world.settle().await;
        assert_eq!((live(&world), world.bot(event).state), (1, BotState::InCall));
        world.finish().await;
    }
}

#[tokio::test]
async fn a_bot_that_was_scheduled_too_late_to_be_early_follows_a_meeting_that_is_brought_forward() {
    let (world, [calendar, _]) = early_world().await;
    let event = world.sim.create_event(calendar, NewEvent::new("Board", world.in_minutes(9), 30).at(LINK));
    world.settle().await;
    assert_eq!(world.bot(event).join_at, world.in_minutes(9));
    let start = world.in_minutes(2);
    world.sim.move_event(event, start);
    world.settle().await;
    assert_eq!((live(&world), world.bot(event).join_at), (1, start));
    world.finish().await;
}

#[tokio::test]
async fn a_bot_that_joined_is_known_to_copies_when_its_meeting_moves_a_little() {
    for is_covered_before in [false, true] {
        let (world, calendars) = early_world().await;
        let meeting = NewEvent::new("Board", world.in_minutes(60), 30).at(LINK);
        let event = world.sim.create_event(calendars[0], meeting.clone());
        world.settle().await;
        world.advance(TimeDelta::minutes(51));
        if is_covered_before {
            world.sim.create_event(calendars[1], meeting.clone());
            world.settle().await;
        }
        world.sim.move_event(event, world.in_minutes(6));
        world.settle().await;
        if !is_covered_before {
            world.sim.create_event(calendars[1], meeting);
            world.settle().await;
        }
        assert_eq!(world.sim.all_bots().len(), 1);
        world.advance(TimeDelta::minutes(10));
        world.finish().await;
    }
}

#[tokio::test]
async fn a_call_that_was_sent_in_time_for_its_bot_to_be_early_counts_as_that() {
    let (world, calendars) = early_world().await;
    let start = world.in_minutes(10) + TimeDelta::seconds(10);
    let meeting = NewEvent::new("Board", start, 30).at(LINK);
    let event = world.sim.create_event(calendars[0], meeting.clone());
    world.sim.deliver_due().await;
    world.take_turns_until_slow(Endpoint::ScheduleBot).await;
    world.settle().await;
    assert_eq!(world.bot(event).state, BotState::InCall);
    world.sim.create_event(calendars[1], meeting);
    world.settle().await;
    assert_eq!(world.sim.all_bots().len(), 1);
    world.advance(TimeDelta::minutes(10));
    world.finish().await;
}

/// Who finds out about it first: its event, a copy that comes after it has gone, or one from before.
#[tokio::test]
async fn a_bot_whose_answer_was_lost_stays_known_when_it_has_joined_and_its_event_goes() {
    for (is_copy_first, is_copied_before) in [(false, false), (true, false), (false, true)] {
        let (world, calendars) = early_world().await;
        let meeting = NewEvent::new("Board", world.in_minutes(11), 30).at(LINK);
        let event = world.sim.create_event(calendars[0], meeting.clone());
        world.sim.fail_next(Endpoint::ScheduleBot, Fault::LoseAnswer, 1);
        world.settle().await;
        world.advance(TimeDelta::seconds(30));
        world.settle().await;
        world.advance(TimeDelta::minutes(2));
        assert_eq!(world.bot(event).state, BotState::InCall);
        if is_copied_before {
            world.sim.create_event(calendars[1], meeting.clone());
            world.settle().await;
        }
        world.sim.delete_event(event);
        if is_copy_first {
            world.sim.lose_pending_webhooks();
        }
        world.settle().await;
        world.sim.create_event(calendars[1], meeting);
        world.settle().await;
        assert_eq!(world.sim.all_bots().len(), 1, "{is_copy_first} {is_copied_before}");
        world.finish_as_it_is().await;
    }
}

/// The answer to its call was lost, so nobody knows when it joins, but that it is there.
#[tokio::test]
async fn a_copy_that_relied_on_a_bot_that_goes_before_the_start_gets_one_then() {
    for has_moved in [false, true] {
        let (world, calendars) = early_world().await;
        let meeting = NewEvent::new("Board", world.in_minutes(8), 30).at(LINK);
        let event = world.sim.create_event(calendars[0], meeting.clone());
        world.sim.fail_next(Endpoint::ScheduleBot, Fault::LoseAnswer, 1);
        world.settle().await;
        if has_moved {
            world.sim.move_event(event, world.in_minutes(45));
            world.sim.lose_pending_webhooks();
        }
        let copy = world.sim.create_event(calendars[1], meeting);
        world.settle().await;
        world.assert_no_bot(copy);
        if !has_moved {
            world.sim.delete_event(event);
        }
        world.settle().await;
        world.advance(TimeDelta::minutes(8));
        world.settle().await;
        assert_eq!(world.bot(copy).state, BotState::InCall, "{has_moved}");
        assert_eq!(live(&world), if has_moved { 2 } else { 1 });
        world.finish().await;
    }
}
