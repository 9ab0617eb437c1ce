//! The sweep (number 7 of the main job): P3, when webhooks are lost.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use rollcall::{
    sim::{Endpoint, Fault, NewCalendar, NewEvent},
    store::{queue, requests},
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    life::until,
    queue::{any, wake_and_claim},
    receive::{Post, update_of},
    world::{LINK, World},
};

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
    let calendars =
        ["ada@acme.test", "bob@acme.test"].map(|email| world.sim.connect_calendar(NewCalendar::google(email)));
    let events = calendars
        .map(|calendar| world.sim.create_event(calendar, NewEvent::new("Old", world.in_minutes(60), 30).at(LINK)));
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
async fn a_sweep_that_reads_slow_pages_goes_on_in_another_turn() {
    let world = World::new().await;
    world.sim.knobs(|knobs| knobs.page_size = 2);
    let emails = (0..7).map(|n| format!("person{n}@acme.test"));
    emails.for_each(|email| _ = world.sim.connect_calendar(NewCalendar::google(&email)));
    world.sim.lose_pending_webhooks();
    world.take_turns_until_slow(Endpoint::ListCalendars).await;
    assert_eq!(world.count_calls(Endpoint::ListCalendars), 1);
    assert!(!world.logs().contains("turn failed"));
    world.settle().await;
    assert_eq!(world.query("select count(*) from calendars").await, "7");
    assert_eq!(world.count_calls(Endpoint::ListCalendars), 4, "each page once");
    world.finish().await;
}

#[tokio::test]
async fn while_calendars_cannot_be_listed_those_that_are_known_are_looked_at() {
    for status in [500, 400, 403] {
        let mut world = World::new().await;
        world.expect_errors();
        let calendar = world.calendar("ada@acme.test").await;
        let event = world.meeting(calendar);
        world.settle().await;
        world.sim.fail_next(Endpoint::ListCalendars, Fault::Status(status), 1000);
        let start = world.in_minutes(600);
        world.sim.move_event(event, start);
        world.sim.lose_pending_webhooks();
        for _ in 0..20 {
            world.advance(TimeDelta::minutes(1));
            world.settle().await;
        }
        assert_eq!(world.bot(event).join_at, start, "{status}");
        let fallbacks = world.logs().matches("those that are known are looked at").count();
        assert_eq!(fallbacks, 1, "{status}: once in an interval, however often it is tried");
        let lists = world.count_calls(Endpoint::ListEvents);
        assert!(lists <= 4, "{lists} lists of events: no more than sweeps would have asked for");
        world.sim.clear_faults();
        world.advance(TimeDelta::minutes(20));
        world.finish().await;
    }
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
async fn a_list_of_calendars_is_not_read_again_because_what_follows_it_failed() {
    let world = World::new().await;
    world.calendar("ada@acme.test").await;
    world
        .execute("create function fail() returns trigger language plpgsql as 'begin raise exception ''no'' using errcode = ''40001''; end'")
        .await;
    world.execute("create trigger fail before delete on bots_left_behind execute function fail()").await;
    world.sim.clear_calls();
    world.request_sweep().await;
    world.settle().await;
    world.advance(TimeDelta::minutes(1));
    world.settle().await;
    assert_eq!(world.logs().matches("turn put off").count(), 2);
    assert_eq!(world.count_calls(Endpoint::ListCalendars), 1, "what was read a minute ago is not read again");

    world.request_sweep().await;
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::ListCalendars), 2, "whoever asks anew is answered by another");

    world.execute("drop trigger fail on bots_left_behind").await;
    world.advance(TimeDelta::minutes(16)); // SWEEP_INTERVAL
    world.settle().await;
    assert_eq!(world.logs().matches("sweep done").count(), 2);
    assert_eq!(world.count_calls(Endpoint::ListCalendars), 3, "what was read too long ago is read again");
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
    assert!(world.logs().contains("drift: a full sync found changes that no webhook told of events=1"));
    world.bot(later);
    world.finish().await;
}

#[tokio::test]
async fn full_syncs_are_rare() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.meeting(calendar);
    world.settle().await;
    let fulls = || {
        world
            .sim
            .calls()
            .iter()
            .filter(|call| call.endpoint == Endpoint::ListEvents && !call.query.contains("updated_at__gte"))
            .count()
    };
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

#[tokio::test]
async fn a_calendar_that_cannot_be_read_hides_no_other() {
    let world = World::new().await;
    let calendar = world.sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let event = world.meeting(calendar);
    world.sim.lose_pending_webhooks();
    let page = json!({"next": null, "previous": null, "results": [{"id": "not an id"}, world.sim.calendar(calendar).unwrap()]});
    world.sim.fail_next(Endpoint::ListCalendars, Fault::Body { status: 200, body: page.to_string() }, 1);
    world.settle().await;
    world.bot(event);
    assert!(world.logs().contains("a calendar in the list cannot be read"));
    world.finish().await;
}

#[tokio::test]
async fn a_list_that_names_itself_as_next_is_not_read_for_ever() {
    let mut world = World::new().await;
    world.expect_errors();
    world.sim.knobs(|knobs| knobs.page_size = 2);
    let emails = (0..5).map(|n| format!("person{n}@acme.test"));
    emails.for_each(|email| _ = world.sim.connect_calendar(NewCalendar::google(&email)));
    world.sim.lose_pending_webhooks();
    world.sim.fail_next(Endpoint::ListCalendars, Fault::RepeatPage, 500);
    world.settle().await;
    assert!(world.count_calls(Endpoint::ListCalendars) < 10);
    world.sim.clear_faults();
    world.restart(&[]).await; // requests it
    world.settle().await;
    assert_eq!(world.query("select count(*) from calendars").await, "5");
    world.finish().await;
}

#[tokio::test]
async fn full_syncs_are_spread_over_the_calendars() {
    let world = World::new().await;
    world.settle().await;
    let insert = "insert into calendars (id, platform, status, created_at, updated_at, observed_at, cursor, full_synced_at) \
                  select gen_random_uuid(), 'google_calendar', 'connected', $1, $1, $1, $1, $1 from generate_series(1, 200)";
    world.execute(&insert.replace("$1", &format!("'{}'", world.now().to_rfc3339()))).await;
    let spread = TimeDelta::hours(1);
    let mut db = world.db.acquire().await.unwrap();
    // Those last read whole an hour, half an hour and not at all after the time by which it should have been.
    for (minutes, expected) in [(-60, 0..=0), (-30, 50..=150), (1, 200..=200)] {
        let (full_before, now) = (world.in_minutes(minutes), world.now());
        requests::request_calendars(&mut db, now, full_before, spread.to_std().unwrap(), false, now, now)
            .await
            .unwrap();
        let full = world.query("select count(*) from reconcile_queue where since = 'epoch'").await;
        assert!(expected.contains(&full.parse().unwrap()), "{full} of 200");
    }
    drop(db);
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_sweep_during_a_calendars_turn_causes_one_more_turn() {
    let world = World::new().await;
    world.calendar("ada@acme.test").await;
    world.request_sweep().await;
    world.take_turns_until(Endpoint::ListCalendars).await;
    let claimed = wake_and_claim(&world.db, any(1), world.now()).await.pop().unwrap();
    world.request_sweep().await;
    world.take_turns().await;
    queue::settle(&mut world.db.acquire().await.unwrap(), &claimed, claimed.generation, world.now()).await.unwrap();
    assert_eq!(world.take_turns().await, 1);
    world.finish().await;
}

#[tokio::test]
async fn a_sweep_wakes_a_parked_calendar_anew() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.request_full_sync(calendar).await;
    let claim = async || wake_and_claim(&world.db, any(1), world.now()).await.pop();
    queue::retry(&world.db, &claim().await.unwrap(), world.now(), "failed", world.now()).await.unwrap();
    queue::park(&world.db, &claim().await.unwrap(), "for good", world.now()).await.unwrap();
    assert!(claim().await.is_none());
    world.request_sweep().await;
    world.take_turns_until(Endpoint::ListCalendars).await;
    let claimed = claim().await.unwrap();
    assert_eq!((claimed.attempt, claimed.since), (0, Some(DateTime::UNIX_EPOCH)));
    queue::put_off(&world.db, &claimed, world.now(), None, world.now()).await.unwrap();
    world.finish().await;
}

/// Calendars with the ids 1 to `number`, connected and never read.
async fn connect_many(world: &World, number: u32) {
    world
        .execute(&format!(
            "insert into calendars (id, platform, status, created_at, updated_at, observed_at)
             select lpad(to_hex(n), 32, '0')::uuid, 'google_calendar', 'connected', now(), now(), now()
             from generate_series(1, {number}) as n"
        ))
        .await;
}

#[tokio::test]
async fn a_sweep_of_many_calendars_holds_up_no_delivery() {
    let world = World::new().await;
    world.settle().await;
    connect_many(&world, 3500).await;
    let held = Uuid::from_u128(1500);
    assert_eq!(Post::signed(&world, "msg_held", &update_of(held)).status(&world).await, 204);
    let mut tx = world.db.begin().await.unwrap();
    let hold = format!("select from reconcile_queue where key = '{held}' for update");
    sqlx::query(sqlx::AssertSqlSafe(hold)).execute(&mut *tx).await.unwrap();

    // The step that has this calendar waits, and with it would whoever needs a key that the sweep has locked.
    let (db, now) = (world.replica.worker.reconciler().db.clone(), world.now());
    let sweep = tokio::spawn(async move {
        let mut db = db.acquire().await.unwrap();
        requests::request_calendars(&mut db, now, now, Duration::ZERO, false, now, now).await.unwrap()
    });
    let first_step = "select count(*) > 1000 from reconcile_queue where kind = 'calendar'";
    until(async || world.query(first_step).await == "true").await;
    for calendar in [1, 1000, 2001, 3500] {
        let post = Post::signed(&world, &format!("msg_{calendar}"), &update_of(Uuid::from_u128(calendar)));
        let status = tokio::time::timeout(Duration::from_secs(3), post.status(&world)).await;
        assert_eq!(status, Ok(204), "the delivery for calendar {calendar}");
    }
    assert!(!sweep.is_finished(), "or this shows nothing");
    tx.commit().await.unwrap();
    assert_eq!(sweep.await.unwrap(), 3500);
    assert_eq!(world.query("select count(*) from reconcile_queue where kind = 'calendar'").await, "3500");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn steps_leave_nothing_out() {
    let world = World::new().await;
    world.settle().await;
    connect_many(&world, 1).await;
    world
        .execute(&format!(
            "insert into events (id, calendar_id, platform, platform_id, ical_uid, start_time, end_time, is_deleted,
                 is_cancelled, bots, raw, created_at, updated_at, observed_at)
             select gen_random_uuid(), '{}', 'google_calendar', '', '', '{1}', '{1}', false, false, '[]', '{{}}',
                 '{1}', '{1}', '{1}'
             from generate_series(1, 2500)",
            Uuid::from_u128(1),
            world.in_minutes(60)
        ))
        .await;
    let mut db = world.db.acquire().await.unwrap();
    assert_eq!(requests::request_undecided(&mut db, 9, world.now()).await.unwrap(), 2500);
    world.execute("update reconcile_queue set due_at = 'infinity', is_due = false where kind = 'event'").await;
    assert_eq!(requests::wake_parked(&mut db, world.now()).await.unwrap(), 2500);
    let due = format!("select count(*) from reconcile_queue where kind = 'event' and due_at = '{}'", world.now());
    assert_eq!(world.query(&due).await, "2500");
    drop(db);
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_sweep_leaves_alone_what_was_listed_since_it_began() {
    let world = World::new().await;
    for n in 0..2 {
        world.calendar(&format!("person{n}@acme.test")).await;
    }
    let synced_at = world.now();
    let insert = "insert into calendars (id, platform, status, created_at, updated_at, observed_at, cursor, full_synced_at) \
                  select gen_random_uuid(), 'google_calendar', 'connected', $1, $1, $1, $1, $1 from generate_series(1, 2000)";
    world.execute(&insert.replace("$1", &format!("'{}'", synced_at.to_rfc3339()))).await;
    let mut db = world.db.acquire().await.unwrap();
    let (day, second) = (TimeDelta::days(1), TimeDelta::seconds(1));
    for (sweep_started_at, expected) in [(synced_at - second, 2000), (synced_at + second, 2002)] {
        let requested = requests::request_calendars(
            &mut db,
            sweep_started_at,
            synced_at - day,
            Duration::ZERO,
            false,
            synced_at,
            synced_at,
        );
        assert_eq!(requested.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_sweep_leaves_alone_what_will_be_listed_in_any_case() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let (now, day) = (world.now(), TimeDelta::days(1));
    world.execute(&format!("update calendars set listed_at = '{}'", now.to_rfc3339())).await;
    let mut db = world.db.acquire().await.unwrap();
    let mut sweep = async || {
        requests::request_calendars(&mut db, now, now - day, Duration::ZERO, false, now + day, now).await.unwrap()
    };
    let claim = async || wake_and_claim(&world.db, any(1), now).await.pop().unwrap();
    world.sim.touch_calendar(calendar);
    world.sim.deliver_due().await;
    assert_eq!(sweep().await, 0);

    let claimed = claim().await;
    assert_eq!(sweep().await, 1, "its turn may have listed it before");
    queue::save_progress(&world.db, &claimed, &1.into()).await.unwrap();
    queue::put_off(&world.db, &claimed, now, None, now).await.unwrap();
    assert_eq!(sweep().await, 1, "it goes on with what it listed before");
    world.execute("update reconcile_queue set progress = null, attempt = 1").await;
    assert_eq!(sweep().await, 1, "it may rest for long");
    world.execute("update reconcile_queue set attempt = 0").await;
    assert_eq!(sweep().await, 0);

    let list = "insert into reconcile_queue (kind, key, requested_at, due_at, deadline, progress)
                select 'workspace', '00000000-0000-0000-0000-000000000000', $1, $1, $1, json_build_object('started_at', $1)";
    for (began_at, requested) in [(now, 1), (now + TimeDelta::milliseconds(1), 0)] {
        world.execute(&list.replace("$1", &format!("'{}'::timestamptz", began_at.to_rfc3339()))).await;
        assert_eq!(sweep().await, requested, "the workspace's list began at {began_at}");
        world.execute("delete from reconcile_queue where kind = 'workspace'").await;
    }
    drop(db);
    world.take_turns().await;
    world.finish().await;
}
