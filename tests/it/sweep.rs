//! The sweep (number 7 of the main job): P3, when webhooks are lost.

use chrono::TimeDelta;
use rollcall::sim::{Endpoint, Fault, NewCalendar, NewEvent};

use crate::world::{LINK, World};

#[tokio::test]
async fn a_lost_webhook_is_a_delay_and_not_a_lost_meeting() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.sim.lose_pending_webhooks();
    world.settle().await;
    world.assert_no_bot(event);
    world.advance(TimeDelta::minutes(17)); // SWEEP_INTERVAL and its jitter
    world.settle().await;
    world.bot(event);
    world.finish().await;
}

#[tokio::test]
async fn the_sweep_at_the_start_adopts_what_was_connected_before() {
    let mut world = World::new().await;
    let calendars = ["ada@acme.test", "bob@acme.test"].map(|email| world.sim.connect_calendar(NewCalendar::google(email)));
    let events = calendars.map(|calendar| world.sim.create_event(calendar, NewEvent::new("Old", world.in_minutes(60), 30).at(LINK)));
    world.sim.lose_pending_webhooks();
    world.restart(&[]).await;
    world.settle().await;
    for event in events {
        world.bot(event);
    }
    world.finish().await;
}

#[tokio::test]
async fn a_sweep_reads_all_pages_of_calendars() {
    let world = World::new().await;
    world.sim.knobs(|knobs| knobs.page_size = 2);
    let emails = (0..7).map(|n| format!("person{n}@acme.test"));
    emails.for_each(|email| _ = world.sim.connect_calendar(NewCalendar::google(&email)));
    world.sim.lose_pending_webhooks();
    world.settle().await;
    assert_eq!(world.query("select count(*) from calendars").await, "7");
    world.finish().await;
}

#[tokio::test]
async fn a_sweep_goes_on_where_it_was_interrupted() {
    let world = World::new().await;
    world.sim.knobs(|knobs| knobs.page_size = 2);
    let emails = (0..7).map(|n| format!("person{n}@acme.test"));
    emails.for_each(|email| _ = world.sim.connect_calendar(NewCalendar::google(&email)));
    world.sim.lose_pending_webhooks();
    world.sim.fail_next(Endpoint::ListCalendars, Fault::Latency(0), 2);
    world.sim.fail_next(Endpoint::ListCalendars, Fault::Status(503), 1);
    world.settle().await;
    world.sim.clear_calls();
    world.advance(TimeDelta::minutes(1));
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::ListCalendars), 2, "the third page and the fourth");
    assert_eq!(world.query("select count(*) from calendars").await, "7");
    world.finish().await;
}

#[tokio::test]
async fn one_replica_at_a_time_sweeps() {
    let world = World::new().await;
    let other = world.another_replica().await;
    world.request_sweep().await;
    let (first, second) = tokio::join!(world.replica.take_turns(), other.take_turns());
    assert_eq!(first + second, 1);
    assert_eq!(world.count_calls(Endpoint::ListCalendars), 1);
    world.finish().await;
}

#[tokio::test]
async fn a_full_sync_counts_and_repairs_drift() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    // The cursor moves on, and then the row is lost from the mirror without any version moving.
    world.advance(TimeDelta::minutes(5));
    world.sim.create_event(calendar, NewEvent::new("Lunch", world.in_minutes(60), 30));
    world.settle().await;
    world.execute(&format!("delete from events where id = '{event}'")).await;
    world.advance(TimeDelta::minutes(17));
    world.settle().await;
    let lost = format!("select count(*) from events where id = '{event}'");
    assert_eq!(world.query(&lost).await, "0", "an incremental list does not find it");
    assert!(!world.logs().contains("drift"));

    world.advance(TimeDelta::hours(7) - TimeDelta::minutes(17)); // FULL_SYNC_INTERVAL
    let later = world.sim.create_event(calendar, NewEvent::new("Later", world.in_minutes(60), 30).at(LINK));
    world.settle().await;
    assert_eq!(world.query(&lost).await, "1");
    assert!(world.logs().contains("drift: a full sync found changes"));
    world.bot(later);
    world.finish().await;
}

#[tokio::test]
async fn full_syncs_are_rare() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.meeting(calendar);
    world.settle().await;
    let fulls = || world.sim.calls().iter().filter(|call| call.endpoint == Endpoint::ListEvents && !call.query.contains("updated_at__gte")).count();
    world.sim.clear_calls();
    for _ in 0..16 {
        world.advance(TimeDelta::minutes(17));
        world.settle().await;
    }
    assert_eq!(fulls(), 0, "in the first four and a half hours");
    for _ in 0..8 {
        world.advance(TimeDelta::minutes(17));
        world.settle().await;
    }
    assert_eq!(fulls(), 1, "after FULL_SYNC_INTERVAL less its spread");
    world.finish().await;
}
