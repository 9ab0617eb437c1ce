//! What is forgotten, and what is not: P4 and P11 after it, and deliveries that are still known.

use chrono::TimeDelta;
use rollcall::{
    sim::{Endpoint, NewEvent},
    store::retention,
};
use sqlx::Connection;
use tokio::sync::watch;

use crate::{
    life::until,
    receive::{Post, update_of},
    world::{LINK, World},
};

/// Forgets what is too old; says how many rows that were.
async fn forget(world: &World) -> u64 {
    world.replica.worker.reconciler().forget_old().await.unwrap()
}

async fn count(world: &World, table: &str) -> i64 {
    world.query(&format!("select count(*) from {table}")).await.parse().unwrap()
}

/// Deliveries that were received so many days ago.
async fn receive_deliveries(world: &World, number: u32, days_ago: i64) {
    let at = world.now() - TimeDelta::days(days_ago);
    world
        .execute(&format!(
            "insert into deliveries (id, topic, proved_by, received_at)
             select 'old_' || n, 'calendar.update', 'secret 1', '{at}' from generate_series(1, {number}) as n"
        ))
        .await;
}

#[tokio::test]
async fn a_delivery_is_known_for_thirty_days() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    receive_deliveries(&world, 1, 31).await;
    let post = async |id| Post::signed(&world, id, &update_of(calendar)).status(&world).await;
    assert_eq!(post("msg_again").await, 204);
    world.settle().await;
    world.advance(TimeDelta::days(29));
    world.settle().await;
    forget(&world).await;
    assert_eq!(world.query("select count(*) from deliveries where id like 'old_%'").await, "0");
    assert_eq!(post("msg_again").await, 204);
    assert_eq!(world.take_turns().await, 0, "it was answered long ago");
    world.advance(TimeDelta::days(2));
    world.settle().await;
    forget(&world).await;
    assert_eq!(world.query("select count(*) from deliveries where id = 'msg_again'").await, "0");
    world.finish().await;
}

#[tokio::test]
async fn an_event_goes_ninety_days_after_its_end_with_all_that_hangs_on_it_but_the_word_about_its_series() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let over = world.meeting(calendar);
    world.settle().await;
    world.bot(over);
    for (scope, id, series) in [("event", over, ""), ("series", calendar, "weekly")] {
        let said = "'override', 'skip', 'ann', 'she said so', now()";
        world.execute(&format!("insert into settings values ('{scope}', '{id}', '{series}', {said})")).await;
    }
    world.advance(TimeDelta::days(90) + TimeDelta::minutes(89));
    let upcoming = world.meeting(calendar);
    world.settle().await;
    forget(&world).await;
    assert_eq!(count(&world, "events").await, 2, "a minute is left");
    world.advance(TimeDelta::minutes(2));
    world.settle().await;
    forget(&world).await;
    for table in ["events", "decisions", "decision_history"] {
        assert_eq!(count(&world, table).await, 1, "{table}");
    }
    assert_eq!(world.query("select string_agg(scope, ',') from settings").await, "series");
    world.bot(upcoming);
    world.finish().await;
}

#[tokio::test]
async fn an_event_that_is_still_listed_comes_back_once_and_gets_no_bot() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    // The API lists it for 60 days; as if it did for 91.
    world.advance(TimeDelta::days(59));
    world.settle().await;
    let old = format!("'{}'", world.now() - TimeDelta::days(91));
    world.execute(&format!("update events set start_time = {old}, end_time = {old}, observed_at = {old}")).await;
    forget(&world).await;
    assert_eq!(count(&world, "events").await, 0);
    world.sim.clear_calls();
    world.request_full_sync(calendar).await;
    world.settle().await;
    assert_eq!(count(&world, "events").await, 1, "or this test shows nothing");
    world.execute(&format!("update events set start_time = {old}, end_time = {old}")).await;
    forget(&world).await;
    assert_eq!(count(&world, "events").await, 1, "or it would come and go");
    assert_eq!(world.count_bot_calls(), 0);
    // And if it is moved, it is an event like any other.
    world.sim.move_event(event, world.in_minutes(60));
    world.settle().await;
    world.bot(event);
    world.finish().await;
}

#[tokio::test]
async fn what_is_not_over_stays_however_old_it_is() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let [long, odd, queued] = [0, 1, 2].map(|n| {
        let link = format!("https://acme.zoom.us/j/{n}");
        world.sim.create_event(calendar, NewEvent::new("Meeting", world.in_minutes(60), 30).at(&link))
    });
    world.settle().await;
    world.advance(TimeDelta::days(91));
    world.settle().await;
    let soon = world.in_minutes(60);
    world.execute(&format!("update events set end_time = '{soon}' where id = '{long}'")).await;
    world.execute(&format!("update events set start_time = '{soon}' where id = '{odd}'")).await;
    let values = format!("'event', '{queued}', '{soon}', '{soon}', '{soon}'");
    world
        .execute(&format!("insert into reconcile_queue (kind, key, requested_at, due_at, deadline) values ({values})"))
        .await;
    forget(&world).await;
    assert_eq!(count(&world, "events").await, 3);
    assert_eq!(world.query("select count(*) from decisions where scheduled_key is not null").await, "3");
    world.execute(&format!("delete from reconcile_queue where key = '{queued}'")).await;
    forget(&world).await;
    assert_eq!(count(&world, "events").await, 2);
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn tombstones_go_however_far_ahead_their_end_was() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let [deleted, gone, there] = [0, 1, 2].map(|_| world.meeting(calendar));
    world.settle().await;
    world.sim.delete_event(deleted);
    world.settle().await;
    world.execute(&format!("update events set gone_at = '{}' where id = '{gone}'", world.now())).await;
    world.execute("update events set end_time = '2036-01-01'").await;
    world.advance(TimeDelta::days(89));
    world.settle().await;
    forget(&world).await;
    assert_eq!(count(&world, "events").await, 3);
    world.execute(&format!("update events set gone_at = '{}' where id = '{gone}'", world.now())).await;
    world.advance(TimeDelta::days(2));
    forget(&world).await;
    let left = world.query("select string_agg(id::text, ' ' order by id) from events").await;
    let mut expected = [gone, there].map(|id| id.to_string());
    expected.sort();
    assert_eq!(left, expected.join(" "), "one is gone for two days");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_calendar_goes_ninety_days_after_it_was_gone_and_another_stays() {
    let world = World::new().await;
    let [gone, there] = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    world.meeting(gone);
    let kept = world.meeting(there);
    world.settle().await;
    world.execute("update events set end_time = '2036-01-01'").await;
    for (scope, id) in [("calendar", gone), ("series", gone), ("calendar", there)] {
        let said = "'', 'override', 'record', 'ann', 'she said so', now()";
        world.execute(&format!("insert into settings values ('{scope}', '{id}', {said})")).await;
    }
    world.sim.delete_calendar(gone);
    world.request_full_sync(gone).await;
    world.settle().await;
    world.execute("update events set observed_at = '2020-01-01'").await;
    world.advance(TimeDelta::days(89));
    world.settle().await;
    forget(&world).await;
    assert_eq!((count(&world, "calendars").await, count(&world, "events").await), (2, 2));
    world.advance(TimeDelta::days(2));
    world.settle().await;
    forget(&world).await;
    assert_eq!(world.query("select string_agg(id::text, ',') from calendars").await, there.to_string());
    assert_eq!(world.query("select string_agg(id::text, ',') from events").await, kept.to_string());
    assert_eq!(world.query("select string_agg(id::text, ',') from settings").await, there.to_string());
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn decisions_that_others_followed_unreadable_events_and_configurations_go_too() {
    let mut world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    let history = format!(
        "insert into decision_history (event_id, decided_at, plan, reason, decided_by, parts, configuration, cause)
         select '{event}', '{}', 'nothing', 'n' || n, '', '[]', 1, '' from generate_series(1, 3) as n",
        world.now()
    );
    world.execute("delete from decision_history").await;
    world.execute(&history).await;
    let unreadable = format!("'{calendar}', 'some', 'cannot be read', '{0}', '{0}'", world.now());
    world.execute(&format!("insert into unreadable_events values ({unreadable})")).await;
    world.restart(&[("BOT_CONFIG", r#"{"bot_name":"Another"}"#)]).await;
    let rows = async |table| count(&world, table).await;
    world.execute("update events set end_time = '2036-01-01', start_time = '2035-01-01'").await;
    world.advance(TimeDelta::days(89));
    forget(&world).await;
    assert_eq!((rows("decision_history").await, rows("unreadable_events").await), (3, 1));
    assert_eq!(rows("configurations").await, 2);
    world.advance(TimeDelta::days(2));
    forget(&world).await;
    assert_eq!((rows("decision_history").await, rows("unreadable_events").await), (3, 0));
    assert_eq!(world.query("select max(generation) || ' of ' || count(*) from configurations").await, "2 of 1");
    world.advance(TimeDelta::days(31));
    forget(&world).await;
    assert_eq!(world.query("select string_agg(reason, ',') from decision_history").await, "n3", "the last stays");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn it_goes_in_steps_that_pass_what_others_hold_and_goes_on_where_it_ended() {
    let world = World::new().await;
    world.settle().await;
    receive_deliveries(&world, 3500, 31).await;
    let (before, db) = (world.now() - TimeDelta::days(30), &world.db);
    assert_eq!(retention::forget_deliveries(db, before).await.unwrap(), 1000, "one step");
    assert_eq!(count(&world, "deliveries").await, 2500);
    let steps = tokio::join!(retention::forget_deliveries(db, before), retention::forget_deliveries(db, before));
    assert_eq!((steps.0.unwrap(), steps.1.unwrap()), (1000, 1000), "two replicas do not hinder each other");
    let mut other = world.db.acquire().await.unwrap();
    let mut holds = other.begin().await.unwrap();
    sqlx::query("select from deliveries limit 1 for update").execute(&mut *holds).await.unwrap();
    assert_eq!(forget(&world).await, 499);
    holds.commit().await.unwrap();
    drop(other);
    assert_eq!(forget(&world).await, 1);
    receive_deliveries(&world, 2001, 31).await;
    assert_eq!(forget(&world).await, 2001, "to the end");
    assert_eq!(forget(&world).await, 0);
    world.finish().await;
}

#[tokio::test]
async fn a_process_forgets_while_it_runs_though_the_api_is_away() {
    let world = World::new().await;
    world.settle().await;
    receive_deliveries(&world, 1, 31).await;
    for endpoint in [Endpoint::ListCalendars, Endpoint::ListEvents] {
        world.sim.fail_next(endpoint, rollcall::sim::Fault::Status(503), 100);
    }
    let (stop, stopped) = watch::channel(false);
    let worker = world.replica.worker.clone();
    let running = tokio::spawn(async move { worker.run(stopped).await });
    until(async || count(&world, "deliveries").await == 0).await;
    stop.send(true).unwrap();
    running.await.unwrap();
    let rows = rollcall::telemetry::metrics_handle().render();
    assert!(rows.contains("rollcall_forgotten_total{table=\"deliveries\"}"), "{rows}");
    world.sim.clear_faults();
    world.advance(TimeDelta::minutes(5));
    world.finish().await;
}

#[tokio::test]
async fn no_second_bot_joins_a_meeting_under_way_after_what_is_old_was_forgotten() {
    let world = World::new().await;
    let [ada, bob] = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    let event = world.meeting(ada);
    world.settle().await;
    world.advance(TimeDelta::minutes(70));
    world.settle().await;
    forget(&world).await;
    world.sim.create_event(bob, NewEvent::new("Weekly sync", world.in_minutes(-10), 60).at(LINK));
    world.settle().await;
    world.bot(event);
    assert_eq!(world.sim.live_bots().len(), 1);
    world.finish().await;
}
