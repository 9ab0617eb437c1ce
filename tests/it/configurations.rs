//! A configuration that changes at a restart, and two of them at once during a rollout.

use chrono::TimeDelta;
use rollcall::{
    sim::{Endpoint, Fault, NewEvent},
    store::queue,
};
use serde_json::{Value, json};
use sqlx::Executor;
use tokio::sync::watch;

use crate::life::until;
use crate::queue::{any, wake_and_claim};
use crate::world::{LINK, World, renew};

const OLD: (&str, &str) = ("BOT_CONFIG", r#"{"bot_name":"Old"}"#);
const NEW: (&str, &str) = ("BOT_CONFIG", r#"{"bot_name":"New"}"#);

/// Has each event looked at.
const REQUEST_EVENTS: &str = "insert into reconcile_queue (kind, key, requested_at, due_at, deadline)
                              select 'event', id, '2026-01-20', '2026-01-20', '2026-01-20' from events";

#[tokio::test]
async fn a_changed_bot_config_reaches_the_bots_that_are_scheduled() {
    let mut world = World::with(&[OLD]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    let soon = world.sim.create_event(calendar, NewEvent::new("Soon", world.in_minutes(9), 30).at(LINK));
    world.settle().await;
    let lists = world.count_calls(Endpoint::ListEvents);

    world.restart(&[NEW]).await;
    world.settle().await;
    assert_eq!(world.bot(event).config["bot_name"], "New");
    assert_eq!(world.bot(soon).config["bot_name"], "Old", "too near to its start to be changed");
    assert_eq!(world.count_calls(Endpoint::ListEvents), lists + 1, "the sweep's; deciding anew lists nothing");

    world.sim.clear_calls();
    world.restart(&[NEW]).await;
    world.settle().await;
    assert_eq!(world.count_bot_calls(), 0, "the same configuration again changes nothing");
    world.finish().await;
}

#[tokio::test]
async fn a_bot_whose_change_got_no_answer_is_changed_back_by_a_rollback() {
    let mut world = World::with(&[OLD]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::LoseAnswer, 1);
    world.restart(&[NEW]).await;
    world.settle().await;
    assert_eq!(world.bot(event).config["bot_name"], "New", "and nobody knows");
    world.restart(&[OLD]).await;
    world.settle().await;
    assert_eq!(world.bot(event).config["bot_name"], "Old");
    world.advance(TimeDelta::minutes(1));
    world.finish().await;
}

#[tokio::test]
async fn a_changed_rule_removes_and_adds_bots() {
    let mut world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.restart(&[("RECORD_WHEN", "none")]).await;
    world.settle().await;
    world.assert_no_bot(event);
    world.restart(&[("RECORD_WHEN", "all")]).await;
    world.settle().await;
    world.bot(event);
    world.finish().await;
}

#[tokio::test]
async fn a_changed_deduplication_rekeys_the_bots() {
    let mut world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.restart(&[("DEDUPLICATION", "company"), ("ALLOW_DEDUPLICATION_CHANGE", "true")]).await;
    world.settle().await;
    assert!(world.bot(event).key.ends_with("-acme.test"));
    world.finish().await;
}

#[tokio::test]
async fn during_a_rollout_the_newer_configuration_wins_and_the_older_works_on() {
    for (older, newer) in [
        (OLD, NEW),
        (("RECORD_WHEN", "all"), ("RECORD_WHEN", "none")),
        (("RECORD_WHEN", "none"), ("RECORD_WHEN", "all")),
        (("DEDUPLICATION", "meeting"), ("DEDUPLICATION", "company")),
    ] {
        let mut world = World::with(&[older, ("ALLOW_DEDUPLICATION_CHANGE", "true")]).await;
        let calendar = world.calendar("ada@acme.test").await;
        let event = world.meeting(calendar);
        world.settle().await;
        world.vars.insert(newer.0, newer.1.to_owned());
        let new_replica = world.another_replica().await;
        new_replica.take_turns().await;
        let decided = world.sim.live_bots();
        let decisions = "select string_agg(decisions::text, ' ') from decisions";
        let recorded = world.query(decisions).await;

        // Whatever makes the older replica look at the event, it leaves the newer's decision alone.
        world.sim.clear_calls();
        world.request_full_sync(calendar).await;
        world.execute(REQUEST_EVENTS).await;
        world.settle().await;
        assert_eq!(world.count_bot_calls(), 0, "{older:?} {newer:?}");
        assert_eq!(world.sim.live_bots(), decided);
        assert_eq!(world.query(decisions).await, recorded, "nor is it recorded as the older's decision");

        // Nor is what has changed a reason to decide in its place.
        world.sim.edit_event(event, |event| event.title = "Launch".to_owned());
        world.settle().await;
        assert_eq!(world.count_bot_calls(), 0, "{older:?} {newer:?}");
        assert_eq!(world.sim.live_bots(), decided);

        // A move is no question of configuration: whoever sees it first acts, and the newer has the last word.
        world.sim.move_event(event, world.in_minutes(120));
        world.settle().await;
        if newer == NEW {
            assert!(world.bot(event).key.starts_with("2026-01-20T11:00:00Z-"), "by the older");
        }
        new_replica.take_turns().await;
        let bots = world.sim.live_bots();
        match newer.1 {
            "none" => assert_eq!(bots, []),
            _ => assert!(world.bot(event).key.starts_with("2026-01-20T11:00:00Z-")),
        }
        if newer == NEW {
            assert_eq!(world.bot(event).config["bot_name"], "New");
        }
        world.replica = new_replica;
        world.finish().await;
    }
}

#[tokio::test]
async fn an_event_that_changes_during_a_rollout_gets_what_the_newer_configuration_makes_of_it() {
    let titled = |name: &str| format!(r#"{{"bot_name":"{name}: {{{{ event.title }}}}"}}"#);
    let mut world = World::with(&[("BOT_CONFIG", &titled("Old"))]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.vars.insert("BOT_CONFIG", titled("New"));
    let newer = world.another_replica().await;
    newer.take_turns().await;
    assert_eq!(world.bot(event).config["bot_name"], "New: Weekly sync");

    world.sim.edit_event(event, |event| event.title = "Launch".to_owned());
    world.settle().await; // by the older replica
    assert_eq!(world.bot(event).config["bot_name"], "New: Weekly sync", "the older one has no say in it");
    newer.take_turns().await;
    assert_eq!(world.bot(event).config["bot_name"], "New: Launch", "before any sweep");
    world.replica = newer;
    world.finish().await;
}

#[tokio::test]
async fn during_a_rollout_no_bot_comes_back_whose_event_fails_the_newer_rule() {
    let mut world = World::with(&[("RECORD_WHEN", "all")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let odd = world.sim.create_event(
        calendar,
        NewEvent::new("A look back at the quarter, and ahead", world.in_minutes(60), 30).at(LINK),
    );
    world.settle().await;
    world.bot(odd);
    world.vars.insert(
        "RECORD_WHEN",
        "100 / (size(event.title) - size('A look back at the quarter, and ahead')) != 7".to_owned(),
    );
    let newer = world.another_replica().await;
    newer.take_turns().await;
    world.execute(REQUEST_EVENTS).await;
    newer.take_turns().await;
    assert!(world.query("select plan || ': ' || reason from decisions").await.starts_with("nothing: the rule cannot"));
    world.execute(REQUEST_EVENTS).await;
    world.settle().await; // by the older
    world.assert_no_bot(odd);
    world.replica = newer;
    world.finish().await;
}

#[tokio::test]
async fn the_newer_configuration_looks_at_what_the_older_has_looked_at() {
    for (older, newer) in [(OLD, NEW), (("RECORD_WHEN", "none"), ("RECORD_WHEN", "all"))] {
        let mut world = World::with(&[older]).await;
        let calendar = world.calendar("ada@acme.test").await;
        let known = world.meeting(calendar);
        world.settle().await;
        world.vars.insert(newer.0, newer.1.to_owned());
        let new_replica = world.another_replica().await;
        let new = world.sim.create_event(calendar, NewEvent::new("New", world.in_minutes(120), 30).at(LINK));
        world.settle().await; // by the older, which takes what the newer has requested
        new_replica.take_turns().await;
        for event in [known, new] {
            assert_eq!(world.bot(event).config["bot_name"], if newer == NEW { json!("New") } else { Value::Null });
        }
        world.replica = new_replica;
        world.finish().await;
    }
}

#[tokio::test]
async fn what_waits_for_the_newer_configuration_is_looked_at_by_the_older_when_it_changes() {
    let mut world = World::with(&[OLD]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.vars.insert(NEW.0, NEW.1.to_owned());
    let newer = world.another_replica().await; // whose turns come to nothing, say for want of a valid key
    world.settle().await;
    assert_eq!(world.query("select waits_for from reconcile_queue where kind = 'event'").await, "newest configuration");
    world.sim.move_event(event, world.in_minutes(120));
    world.settle().await;
    assert!(world.bot(event).key.starts_with("2026-01-20T11:00:00Z-"));
    world.replica = newer;
    world.finish().await;
}

#[tokio::test]
async fn what_the_newer_configuration_decided_by_facts_does_not_wait_for_it_when_they_change() {
    let mut world = World::with(&[OLD]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.vars.insert(NEW.0, NEW.1.to_owned());
    let newer = world.another_replica().await;
    world.sim.relink_event(event, None);
    world.sim.deliver_due().await;
    newer.take_turns().await;
    world.assert_no_bot(event);
    world.sim.relink_event(event, Some(LINK));
    world.settle().await; // by the older
    world.bot(event);
    world.replica = newer;
    world.finish().await;
}

#[tokio::test]
async fn what_the_older_configuration_cannot_do_is_left_to_the_newer() {
    let mut world = World::with(&[OLD]).await;
    let calendar = world.calendar("ada@acme.test").await;
    world.vars.insert(NEW.0, NEW.1.to_owned());
    let newer = world.another_replica().await;
    let event = world.meeting(calendar);
    let refused = Fault::Body { status: 400, body: r#"{"bot_config":["Not valid."]}"#.to_owned() };
    world.sim.fail_next(Endpoint::ScheduleBot, refused, 1);
    world.settle().await; // by the older
    world.assert_no_bot(event);
    newer.take_turns().await;
    assert_eq!(world.bot(event).config["bot_name"], "New");
    world.replica = newer;
    world.finish().await;
}

#[tokio::test]
async fn events_that_wait_for_budget_are_looked_at_by_the_older_configuration_too() {
    let mut world = World::with(&[OLD, ("RECALL_LIMITS", "bot=1")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let events = [0, 1, 2].map(|_| world.meeting(calendar));
    world.settle().await;
    assert_eq!(world.sim.live_bots().len(), 1);
    world.vars.insert(NEW.0, NEW.1.to_owned());
    let newer = world.another_replica().await; // whose turns come to nothing
    for _ in 0..8 {
        world.advance(TimeDelta::seconds(20));
        renew(&world.replica.worker).await;
        renew(&newer.worker).await;
        world.take_turns().await;
    }
    for event in events {
        world.bot(event);
    }
    world.replica = newer;
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_replica_that_was_cut_off_itself_does_not_take_the_newer_configuration_for_stopped() {
    let mut world = World::with(&[OLD]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.vars.insert(NEW.0, NEW.1.to_owned());
    let newer = world.another_replica().await;
    newer.take_turns().await;

    // The database was away, for all of them.
    world.advance(TimeDelta::minutes(2));
    world.sim.clear_calls();
    renew(&world.replica.worker).await;
    renew(&newer.worker).await;
    world.advance(TimeDelta::seconds(25));
    renew(&world.replica.worker).await;
    world.settle().await;
    assert_eq!(world.count_bot_calls(), 0);

    // It comes back alone.
    world.advance(TimeDelta::minutes(2));
    renew(&world.replica.worker).await;
    world.advance(TimeDelta::seconds(25));
    renew(&world.replica.worker).await;
    world.settle().await;
    assert_eq!(world.bot(event).config["bot_name"], "Old");
    world.finish().await;
}

/// It looks at all upcoming events before.
#[tokio::test]
async fn a_configuration_that_starts_for_longer_than_one_counts_as_running_is_the_newest_all_the_same() {
    let mut world = World::with(&[OLD]).await;
    let calendar = world.calendar("ada@acme.test").await;
    world.meeting(calendar);
    world.settle().await;
    world.vars.insert(NEW.0, NEW.1.to_owned());
    let mut slow = world.db.begin().await.unwrap();
    slow.execute("lock table events in access exclusive mode").await.unwrap();
    let passing = async {
        let waiting = "select count(*) from pg_locks where not granted and relation = 'events'::regclass
                           and database = (select oid from pg_database where datname = current_database())";
        until(async || world.query(waiting).await != "0").await;
        for _ in 0..2 {
            world.advance(TimeDelta::minutes(1));
            renew(&world.replica.worker).await;
        }
        slow.rollback().await.unwrap();
    };
    let (newer, ()) = tokio::join!(world.another_replica(), passing);
    renew(&world.replica.worker).await;
    let newest = newer.worker.reconciler().configuration.generation().to_string();
    assert_eq!(world.query("select max(generation) from configurations").await, newest);
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn an_event_that_comes_back_during_a_rollout_is_decided_on_by_the_newer_configuration() {
    let mut world = World::with(&[OLD]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.vars.insert(NEW.0, NEW.1.into());
    let newer = world.another_replica().await;
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Status(404), 1);
    world.sim.fail_next(Endpoint::RetrieveEvent, Fault::Status(404), 1);
    while world.count_calls(Endpoint::ScheduleBot) < 2 {
        assert!(newer.worker.take_one_turn().await.unwrap());
    }
    assert_eq!(world.query("select gone_at is not null from events").await, "true", "so the API said");
    world.advance(TimeDelta::seconds(1));
    world.request_full_sync(calendar).await;
    world.take_turns().await; // the older replica's
    newer.take_turns().await;
    assert_eq!(world.bot(event).config["bot_name"], "New");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_new_configuration_looks_once_at_what_it_may_decide_otherwise_and_at_nothing_else() {
    let mut world = World::with(&[OLD]).await;
    let connected = world.calendar("ada@acme.test").await;
    let [disconnected, unknown] = [world.calendar("bob@acme.test").await, world.calendar("eve@acme.test").await];
    let at = |minutes: i64| {
        let link = format!("https://acme.zoom.us/j/{minutes}");
        world.sim.create_event(connected, NewEvent::new("Meeting", world.in_minutes(minutes), 15).at(&link))
    };
    let [_ended, upcoming, undecided, deleted, gone] = [10, 60, 120, 180, 240].map(at);
    world.meeting(disconnected);
    world.meeting(unknown);
    world.settle().await;
    world.advance(TimeDelta::minutes(30));
    world.sim.delete_event(deleted);
    world.sim.disconnect_calendar(disconnected);
    world.sim.delete_calendar(unknown);
    world.request_sweep().await;
    world.settle().await;
    world.execute(&format!("update events set gone_at = updated_at where id = '{gone}'")).await;
    world.execute(&format!("delete from decisions where event_id = '{undecided}'")).await;

    world.vars.insert(NEW.0, NEW.1.to_owned());
    world.replica = world.another_replica().await;
    let requested = "select string_agg(key::text, ' ' order by deadline) from reconcile_queue where kind = 'event'";
    assert_eq!(world.query(requested).await, format!("{upcoming} {undecided}"));
    world.settle().await;
    world.request_sweep().await;
    world.take_turns_until(Endpoint::ListCalendars).await;
    assert_eq!(world.query(requested).await, "null", "all is decided");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_new_configuration_wakes_what_is_parked_and_is_heard_during_a_turn() {
    let mut world = World::with(&[OLD]).await;
    let calendar = world.calendar("ada@acme.test").await;
    world.meeting(calendar);
    world.sim.create_event(calendar, NewEvent::new("Later", world.in_minutes(120), 30).at(LINK));
    world.sim.deliver_due().await;
    world.take_turns_until(Endpoint::ListEvents).await;
    let claim = async || wake_and_claim(&world.db, any(1), world.now()).await.pop();
    let [in_hand, parked] = [claim().await.unwrap(), claim().await.unwrap()];
    queue::park(&world.db, &parked, "for good", world.now()).await.unwrap();

    world.vars.insert(NEW.0, NEW.1.to_owned());
    let newer = world.another_replica().await;
    queue::settle(&mut world.db.acquire().await.unwrap(), &in_hand, in_hand.generation, world.now()).await.unwrap();
    let due = format!("select count(*) from reconcile_queue where kind = 'event' and due_at <= '{}'", world.now());
    assert_eq!(world.query(&due).await, "2", "before any sweep");
    newer.take_turns().await;
    assert_eq!(world.sim.live_bots().len(), 2);
    world.replica = newer;
    world.finish().await;
}

#[tokio::test]
async fn an_older_configuration_that_starts_again_during_a_rollout_stays_the_older() {
    let mut world = World::with(&[OLD]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.vars.insert(NEW.0, NEW.1.to_owned());
    let newer = world.another_replica().await;
    newer.take_turns().await;
    assert_eq!(world.bot(event).config["bot_name"], "New");

    world.advance(TimeDelta::seconds(80));
    renew(&newer.worker).await;
    world.advance(TimeDelta::seconds(80));
    world.restart(&[OLD]).await;
    world.request_full_sync(calendar).await;
    world.sim.clear_calls();
    world.settle().await;
    assert_eq!(world.count_bot_calls(), 0, "the newer one decides, and runs");
    world.replica = newer;
    world.finish().await;
}

#[tokio::test]
async fn a_rollback_takes_hold_once_the_newer_configuration_no_longer_runs() {
    for is_told in [true, false] {
        let mut world = World::with(&[OLD]).await;
        let calendar = world.calendar("ada@acme.test").await;
        let event = world.meeting(calendar);
        world.settle().await;
        world.vars.insert(NEW.0, NEW.1.to_owned());
        let newer = world.another_replica().await;
        newer.take_turns().await;
        world.restart(&[OLD]).await;

        world.advance(TimeDelta::seconds(80));
        renew(&world.replica.worker).await;
        world.settle().await;
        assert_eq!(world.bot(event).config["bot_name"], "New");
        if is_told {
            newer.worker.reconciler().leave_configuration().await.unwrap();
        } else {
            world.advance(TimeDelta::seconds(10));
        }
        renew(&world.replica.worker).await;
        world.settle().await;
        assert_eq!(world.bot(event).config["bot_name"], "Old");
        world.finish().await;
    }
}

#[tokio::test]
async fn a_configuration_goes_on_while_one_of_its_replicas_does() {
    let mut world = World::with(&[OLD]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    let older = world.another_replica().await;
    world.restart(&[NEW]).await;
    let newer = world.another_replica().await;
    world.settle().await;
    assert_eq!(world.bot(event).config["bot_name"], "New");

    world.sim.clear_calls();
    newer.worker.reconciler().leave_configuration().await.unwrap();
    renew(&older.worker).await;
    older.take_turns().await;
    assert_eq!(world.count_bot_calls(), 0, "the other one runs, and decides");

    world.replica.worker.reconciler().leave_configuration().await.unwrap();
    renew(&older.worker).await;
    world.replica = older;
    world.settle().await;
    assert_eq!(world.bot(event).config["bot_name"], "Old");
    world.finish().await;
}

#[tokio::test]
async fn a_worker_says_that_its_configuration_runs_and_when_it_ends() {
    let world = World::new().await;
    world.settle().await;
    world.advance(TimeDelta::minutes(5));
    let runs = format!("select runs_until > '{}' from configurations", world.now());
    assert_eq!(world.query(&runs).await, "false");
    let (stop, stopped) = watch::channel(false);
    let worker = world.replica.worker.clone();
    let running = tokio::spawn(async move { worker.run(stopped).await });
    until(async || world.query(&runs).await == "true").await;
    stop.send(true).unwrap();
    running.await.unwrap();
    assert_eq!(world.query(&runs).await, "false");
    world.finish().await;
}

#[tokio::test]
async fn a_sweep_asks_what_is_undecided_only_while_there_may_be_something() {
    let mut world = World::with(&[OLD]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    let asked = async |world: &World| world.query("select max(asked_at) from configurations").await;
    let first = asked(&world).await;
    world.advance(TimeDelta::minutes(17));
    world.settle().await;
    assert_eq!(asked(&world).await, first, "nothing else has run");

    // As if it had died before it had requested all.
    world.execute("update configurations set asked_at = null").await;
    world.execute("update decisions set configuration = 0").await;
    world.advance(TimeDelta::minutes(17));
    world.settle().await;
    assert_eq!(world.query("select configuration from decisions").await, "1");

    // An older one goes on to decide for a while.
    let older = world.another_replica().await;
    world.restart(&[NEW]).await;
    renew(&older.worker).await;
    world.settle().await;
    world.execute("update decisions set configuration = 1").await;
    world.advance(TimeDelta::minutes(1));
    world.request_sweep().await;
    world.settle().await;
    assert_eq!(world.query("select configuration from decisions").await, "2");
    world.bot(event);
    world.finish().await;
}
