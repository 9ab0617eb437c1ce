//! The budget (P8): all replicas together stay within the API's limits, use them, and spend them where it is most urgent.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall::{
    domain::{
        budget::{CallClass, Limits},
        event::EventId,
    },
    sim::{self, Endpoint, Fault, NewCalendar, NewEvent},
    store::{bot_keys, budget, budget::Grant},
};
use sqlx::{Executor, PgConnection};
use uuid::Uuid;

use crate::{life::until, world::World};

/// No window of a minute with more calls than the API allows, which the simulator would answer 429; and between the first
/// burst, which an idle system may spend at once, and the last full one, 95 % of what it allows in that time.
#[tokio::test]
async fn five_hundred_calendars_due_at_once_use_the_budget_and_never_exceed_it() {
    let world = World::with(&[("RECALL_LIMITS", "list=60,read=300,bot=600")]).await;
    world.sim.limits(sim::Limits { lists_shared: true, ..sim::Limits::default() });
    for n in 0..500 {
        let calendar = world.sim.connect_calendar(NewCalendar::google(&format!("person{n}@acme.test")));
        let meeting = NewEvent::new("Weekly", world.in_minutes(60), 30).at(&format!("https://acme.zoom.us/j/{n}"));
        world.sim.create_event(calendar, meeting);
    }
    // The sweep of the start is older than all webhooks, and goes first.
    world.advance(TimeDelta::seconds(1));
    world.sim.deliver_due().await;
    let other = world.another_replica().await;
    while world.count_calls(Endpoint::ListEvents) < 500 {
        assert!(world.now() < world.in_minutes(0) + TimeDelta::minutes(15), "far too slow");
        tokio::join!(world.take_turns(), other.take_turns());
        world.advance(TimeDelta::seconds(2));
    }
    let calls = world.sim.calls();
    assert_eq!(calls.iter().filter(|call| call.status == 429).count(), 0);
    let lists = calls.iter().filter(|call| matches!(call.endpoint, Endpoint::ListCalendars | Endpoint::ListEvents));
    let times: Vec<_> = lists.map(|call| call.at).collect();
    let (burst, all) = (60, times.len() / 60 * 60);
    let minutes = (times[all - 1] - times[0]).as_seconds_f64() / 60.0;
    let used = (all - burst) as f64 / (60.0 * minutes);
    assert!(used > 0.95, "{used:.3} of the budget");
    world.finish().await;
}

#[tokio::test]
async fn a_429_holds_its_class_for_all_replicas_and_costs_no_attempt() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::RetryAfter { status: 429, secs: 30 }, 1);
    world.settle().await;
    assert_eq!(
        world.query("select attempt || ' ' || waits_for from reconcile_queue where kind = 'event'").await,
        "0 schedule_bot"
    );
    let other = world.another_replica().await;
    other.take_turns().await;
    world.advance(TimeDelta::seconds(29));
    other.take_turns().await;
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::ScheduleBot), 1);
    world.advance(TimeDelta::seconds(1));
    world.settle().await;
    world.bot(event);
    world.finish().await;
}

#[tokio::test]
async fn the_budget_is_kept_by_all_replicas_together_and_goes_to_the_soonest_meetings() {
    let world = World::with(&[("RECALL_LIMITS", "list=1000,read=1000,bot=10")]).await;
    world.sim.limits(sim::Limits { schedule: 10, ..sim::Limits::unlimited() });
    let calendar = world.calendar("ada@acme.test").await;
    let meetings = (0..25)
        .rev()
        .map(|n| NewEvent::new("Meeting", world.in_minutes(60 + n), 30).at(&format!("https://acme.zoom.us/j/{n}")));
    world.sim.create_events(calendar, meetings.collect());
    let first_start = world.in_minutes(60);
    let other = world.another_replica().await;
    let mut scheduled = vec![];
    for _ in 0..6 {
        world.settle().await;
        other.take_turns().await;
        scheduled.push(world.sim.live_bots().len());
        let latest = world.sim.live_bots().iter().map(|bot| bot.join_at).max().unwrap();
        assert_eq!(latest, first_start + TimeDelta::minutes(world.sim.live_bots().len() as i64 - 1));
        world.advance(TimeDelta::seconds(31));
    }
    assert_eq!(scheduled, [10, 10, 20, 20, 25, 25], "ten in each minute, the soonest first");
    let refused = world.sim.calls().iter().filter(|call| call.status == 429).count();
    assert_eq!(refused, 0);
    world.finish().await;
}

#[tokio::test]
async fn calendars_that_wait_for_list_budget_spend_no_other() {
    let world = World::with(&[("RECALL_LIMITS", "list=5,read=1000,bot=1000")]).await;
    world.sim.limits(sim::Limits { list_events: 5, lists_shared: true, ..sim::Limits::unlimited() });
    for n in 0..12 {
        world.sim.connect_calendar(sim::NewCalendar::google(&format!("person{n}@acme.test")));
    }
    let mut minutes = 0;
    while world.query("select count(*) from calendars where synced_at is not null").await != "12" {
        world.settle().await;
        world.advance(TimeDelta::seconds(62));
        minutes += 1;
        assert!(minutes < 5);
    }
    assert_eq!(minutes, 3, "a sweep and twelve lists at five a minute");
    assert_eq!(world.count_calls(Endpoint::RetrieveCalendar), 12);
    assert!(world.sim.calls().iter().all(|call| call.status == 200));
    world.advance(TimeDelta::minutes(2));
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn each_page_of_a_long_list_is_paid_for() {
    let world = World::with(&[("RECALL_LIMITS", "list=5,read=1000,bot=1000")]).await;
    world.sim.limits(sim::Limits { list_events: 5, lists_shared: true, ..sim::Limits::unlimited() });
    world.sim.knobs(|knobs| knobs.page_size = 2);
    let calendar = world.calendar("ada@acme.test").await; // two lists: the sweep's and the calendar's
    let meetings = (0..30)
        .map(|n| NewEvent::new("Meeting", world.in_minutes(60 + n), 30).at(&format!("https://acme.zoom.us/j/{n}")));
    world.sim.create_events(calendar, meetings.collect());
    for lists in [5, 10, 15, 17] {
        world.settle().await;
        assert_eq!(world.count_calls(Endpoint::ListEvents) + world.count_calls(Endpoint::ListCalendars), lists);
        world.advance(TimeDelta::seconds(62));
    }
    assert!(world.sim.calls().iter().all(|call| call.status != 429));
    assert_eq!(world.sim.live_bots().len(), 30);
    world.finish().await;
}

#[tokio::test]
async fn a_call_that_another_replica_is_about_to_pay_for_is_not_paid_for_twice() {
    let world = World::with(&[("RECALL_LIMITS", "list=1000,read=1000,bot=1")]).await;
    let mut tx = world.db.begin().await.unwrap();
    assert!(matches!(budget::take(&mut tx, CallClass::ScheduleBot, world.now()).await.unwrap(), Grant::Now(_)));
    let mut other = world.db.acquire().await.unwrap();
    let second = budget::take(&mut other, CallClass::ScheduleBot, world.now());
    let second = tokio::time::timeout(Duration::from_secs(10), second).await.expect("it waits for the other").unwrap();
    assert_eq!(
        second,
        Grant::NotBefore(world.now() + TimeDelta::milliseconds(100)),
        "soon, since it may not be committed"
    );
    tx.commit().await.unwrap();
    let third = budget::take(&mut other, CallClass::ScheduleBot, world.now()).await.unwrap();
    assert_eq!(third, Grant::NotBefore(world.now() + TimeDelta::seconds(62)));
    drop(other);
    world.finish().await;
}

/// A call is paid for with the key that it is for, before a meeting's start, and only once.
#[tokio::test]
async fn a_key_is_taken_with_its_call_and_costs_nothing_where_another_turn_holds_it() {
    let world = World::with(&[("RECALL_LIMITS", "list=1000,read=1000,bot=1")]).await;
    let (first, second, event) = (Uuid::new_v4(), Uuid::new_v4(), EventId(Uuid::new_v4()));
    let hold = async |key, holder, pays_for| {
        let (now, until) = (world.now(), world.now() + TimeDelta::seconds(45));
        let held = bot_keys::hold(&world.db, key, event, holder, pays_for, now, until).await.unwrap();
        held.map(|held| held.paid.is_some())
    };
    let schedule = Some(CallClass::ScheduleBot);
    assert_eq!(hold("a", first, None).await, Some(false), "nothing is paid for unasked");
    assert_eq!(hold("a", second, schedule).await, None);
    assert_eq!(hold("b", second, schedule).await, Some(true), "so the budget is still there");
    assert_eq!(hold("c", second, schedule).await, Some(false), "and now it is spent");
    world.advance(TimeDelta::seconds(62));
    assert_eq!(hold("c", second, schedule).await, Some(true));
    world.execute("delete from bot_keys").await;
    world.finish().await;
}

#[tokio::test]
async fn each_bot_is_paid_for_once_before_its_meeting_and_in_it() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let spent = async || {
        world.query("select count(*) from api_slots where class = 'schedule_bot' and taken_at > 'epoch'").await
    };
    for (minutes, bots) in [(60, "1"), (-5, "2")] {
        let link = format!("https://acme.zoom.us/j/{bots}");
        world.sim.create_event(calendar, NewEvent::new("Meeting", world.in_minutes(minutes), 30).at(&link));
        world.settle().await;
        assert_eq!(spent().await, bots);
        assert_eq!(world.count_calls(Endpoint::ScheduleBot).to_string(), bots);
    }
    world.finish().await;
}

/// Between the two the database is slow. The call counts from when it is made, and is paid for once all the same.
#[tokio::test]
async fn a_call_that_comes_late_after_it_was_paid_for_takes_the_same_slot_anew() {
    let mut world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.meeting(calendar);
    world.settle().await;
    world.restart(&[("BOT_CONFIG", r#"{"bot_name":"Another"}"#)]).await;
    let mut lock = world.db.begin().await.unwrap();
    lock.execute("select from decisions for update").await.unwrap();
    let worker = world.replica.worker.clone();
    let turns = tokio::spawn(async move { while worker.take_one_turn().await.unwrap() {} });
    let is_waited_for =
        "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
    until(async || world.query(is_waited_for).await == "true").await;
    let paid_at = world.now();
    world.advance(TimeDelta::seconds(1));
    lock.rollback().await.unwrap();
    turns.await.unwrap();
    let taken = sqlx::query_scalar(
        "select taken_at from api_slots where class = 'schedule_bot' order by taken_at desc limit 3",
    );
    let taken: Vec<DateTime<Utc>> = taken.fetch_all(&world.db).await.unwrap();
    assert_eq!(taken, [paid_at + TimeDelta::seconds(1), paid_at, DateTime::UNIX_EPOCH]);
    world.finish().await;
}

#[tokio::test]
async fn a_call_that_was_paid_for_slowly_counts_from_when_it_is_made() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.settle().await;
    world.advance(TimeDelta::minutes(5));
    world.sim.clear_calls();
    world.request_full_sync(calendar).await;
    let mut stalled = world.db.begin().await.unwrap();
    stalled.execute("lock table api_slots in share row exclusive mode").await.unwrap();
    let worker = world.replica.worker.clone();
    let turn = tokio::spawn(async move { worker.take_one_turn().await });
    let is_waited_for =
        "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
    until(async || world.query(is_waited_for).await == "true").await;
    world.advance(TimeDelta::seconds(20));
    stalled.rollback().await.unwrap();
    turn.await.unwrap().unwrap();
    let call = world.sim.calls().into_iter().find(|call| call.endpoint == Endpoint::RetrieveCalendar).unwrap();
    let paid_at = sqlx::query_scalar("select max(taken_at) from api_slots where class = 'read'");
    let paid_at: DateTime<Utc> = paid_at.fetch_one(&world.db).await.unwrap();
    assert_eq!(paid_at, call.at);
    world.settle().await;
    world.finish().await;
}

#[tokio::test]
async fn a_slot_is_taken_anew_by_nobody_but_who_took_it_and_in_no_pause() {
    let world = World::with(&[("RECALL_LIMITS", "list=1000,read=1000,bot=1")]).await;
    let (class, key, event) = (CallClass::ScheduleBot, "a", EventId(Uuid::new_v4()));
    let (now, until) = (world.now(), world.now() + TimeDelta::seconds(45));
    let held = bot_keys::hold(&world.db, key, event, Uuid::new_v4(), Some(class), now, until).await.unwrap();
    let paid = held.unwrap().paid.unwrap();
    budget::pause(&world.db, class, now + TimeDelta::seconds(10)).await.unwrap();
    let retake = async |after| budget::retake(&world.db, class, paid, now + TimeDelta::seconds(after)).await.unwrap();
    assert_eq!(retake(1).await, None, "a pause is for all calls");
    let mut db = world.db.acquire().await.unwrap();
    let take =
        async |db: &mut PgConnection, after| budget::take(db, class, now + TimeDelta::seconds(after)).await.unwrap();
    assert!(matches!(take(&mut db, 62).await, Grant::Now(_)));
    assert_eq!(retake(63).await, None, "another's by now");
    drop(db);
    world.execute("delete from bot_keys").await;
    world.finish().await;
}

#[tokio::test]
async fn a_bot_that_cannot_be_made_is_not_paid_for() {
    let mut world = World::with(&[("BOT_CONFIG", r#"{"bot_name":"{{ event.raw.sequence | int }}"}"#)]).await;
    world.expect_errors();
    let calendar = world.calendar("ada@acme.test").await;
    let odd = world.meeting(calendar);
    world.sim.override_event_json(odd, |event| event["raw"]["sequence"] = "odd".into());
    world.settle().await;
    assert_eq!(
        world.query("select count(*) from reconcile_queue where due_at = 'infinity'").await,
        "1",
        "it is parked"
    );
    let spent = "select count(*) from api_slots where class = 'schedule_bot' and taken_at > 'epoch'";
    assert_eq!(world.query(spent).await, "0");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn what_is_taken_from_a_limit_and_given_back_is_not_spent_twice() {
    let world = World::with(&[("RECALL_LIMITS", "list=60,read=300,bot=600")]).await;
    let now = world.now();
    let mut db = world.db.acquire().await.unwrap();
    let mut calls = 0;
    while let Grant::Now(_) = budget::take(&mut db, CallClass::List, now).await.unwrap() {
        calls += 1;
    }
    assert_eq!(calls, 60);
    for list in [30, 60] {
        budget::provision(&mut db, Limits { list, read: 300, bot: 600 }, now).await.unwrap();
    }
    assert!(matches!(budget::take(&mut db, CallClass::List, now).await.unwrap(), Grant::NotBefore(_)));
    drop(db);
    world.finish_as_it_is().await;
}
