//! Catching up by workspace: one list for many calendars, relied upon only after a test, and never at the price of a change.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall::{
    reconcile::Outcome,
    sim::{Endpoint, Fault, NewCalendar, NewEvent, WorkspaceLists},
    store::{
        queue, requests,
        workspace_listing::{self, Answerable},
    },
};
use serde_json::json;
use sqlx::Executor;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::{
    life::until,
    queue::{any, wake_and_claim},
    world::World,
};

const CALENDARS: usize = 20;

/// A workspace in which each calendar has a meeting with a bot, and its events.
async fn workspace(vars: &[(&'static str, &str)]) -> (World, Vec<Uuid>) {
    let world = World::with(vars).await;
    let mut events = vec![];
    for n in 0..CALENDARS {
        let calendar = world.sim.connect_calendar(NewCalendar::google(&format!("person{n}@acme.test")));
        let meeting = NewEvent::new("Weekly", world.in_minutes(300), 30).at(&format!("https://acme.zoom.us/j/{n}"));
        events.push(world.sim.create_event(calendar, meeting));
        // No two of them change at once.
        world.advance(TimeDelta::seconds(1));
    }
    world.settle().await;
    world.advance(TimeDelta::minutes(10));
    world.settle().await;
    world.sim.clear_calls();
    (world, events)
}

/// Has the workspace's lists tested and trusted.
async fn trusted_workspace() -> (World, Vec<Uuid>) {
    let (world, events) = workspace(&[]).await;
    move_all(&world, &events, 301);
    settle(&world).await;
    assert_eq!(verdict(&world).await, "true");
    world.advance(TimeDelta::minutes(10));
    settle(&world).await;
    world.sim.clear_calls();
    (world, events)
}

fn move_all(world: &World, events: &[Uuid], minutes: i64) {
    events.iter().for_each(|event| world.sim.move_event(*event, world.in_minutes(minutes)));
}

/// Lets what waits for a list of the workspace wait for it.
async fn settle(world: &World) {
    for _ in 0..3 {
        world.settle().await;
        world.advance(TimeDelta::seconds(20));
    }
    world.settle().await;
}

/// Takes turns, in a task of its own, until one hangs in a call.
async fn begin_turns_that_hang(world: &World) -> JoinHandle<()> {
    let worker = world.replica.worker.clone();
    let turns = tokio::spawn(async move { while worker.take_one_turn().await.unwrap() {} });
    world.until(|| world.sim.hanging() == 1).await;
    turns
}

async fn verdict(world: &World) -> String {
    world.query("select spans from workspace_listing").await
}

/// How many lists of events there were: of the workspace, and of single calendars.
fn count_lists(world: &World) -> (usize, usize) {
    let calls = world.sim.calls();
    let lists = calls.iter().filter(|call| call.endpoint == Endpoint::ListEvents);
    let (single, workspace): (Vec<_>, Vec<_>) = lists.partition(|call| call.query.contains("calendar_id"));
    (workspace.len(), single.len())
}

/// That the bots have followed their meetings to this start.
#[track_caller]
fn assert_bots_at(world: &World, events: &[Uuid], start: DateTime<Utc>) {
    for event in events {
        assert_eq!(world.bot(*event).join_at, start);
    }
}

#[tokio::test]
async fn calendars_that_changed_together_are_read_by_one_list() {
    let (world, events) = workspace(&[]).await;
    let start = world.in_minutes(301);
    move_all(&world, &events, 301);
    settle(&world).await;
    assert_bots_at(&world, &events, start);
    assert_eq!(count_lists(&world), (1, 3), "a test, and the list");
    assert_eq!(world.count_calls(Endpoint::RetrieveCalendar), 0);

    world.sim.clear_calls();
    // Before the next sweep.
    world.advance(TimeDelta::minutes(1));
    let start = world.in_minutes(302);
    move_all(&world, &events, 302);
    settle(&world).await;
    assert_bots_at(&world, &events, start);
    assert_eq!(count_lists(&world), (1, 0), "it is known by now");
    world.finish().await;
}

#[tokio::test]
async fn a_sweep_reads_all_calendars_by_one_list_and_no_more_than_is_new() {
    let (world, events) = trusted_workspace().await;
    let start = world.in_minutes(303);
    move_all(&world, &events[..5], 303);
    world.sim.lose_pending_webhooks();
    world.advance(TimeDelta::minutes(17));
    let before = world.now();
    settle(&world).await;
    assert_bots_at(&world, &events[..5], start);
    assert_eq!(count_lists(&world), (1, 0));
    world.advance(TimeDelta::minutes(17));
    world.sim.clear_calls();
    settle(&world).await;
    let calls = world.sim.calls();
    let list = calls.iter().find(|call| call.endpoint == Endpoint::ListEvents).unwrap();
    let since = list.query.split_once("updated_at__gte=").unwrap().1.replace("%3A", ":");
    assert!(since.parse::<DateTime<Utc>>().unwrap() > before - TimeDelta::minutes(30), "{since}");
    world.finish().await;
}

#[tokio::test]
async fn where_a_list_does_not_span_the_workspace_calendars_are_listed_singly() {
    for answer in [WorkspaceLists::Empty, WorkspaceLists::OneCalendar, WorkspaceLists::Refused] {
        let (mut world, events) = workspace(&[]).await;
        world.expect_errors();
        world.sim.knobs(|knobs| knobs.workspace_lists = answer);
        let start = world.in_minutes(301);
        move_all(&world, &events, 301);
        settle(&world).await;
        assert_eq!(verdict(&world).await, "false", "{answer:?}");
        assert_bots_at(&world, &events, start);
        assert_eq!(count_lists(&world).0, 1, "{answer:?}");

        world.advance(TimeDelta::minutes(30));
        move_all(&world, &events, 302);
        settle(&world).await;
        assert_eq!(count_lists(&world).0, 1, "{answer:?}: it is not tried again so soon");
        world.sim.knobs(|knobs| knobs.workspace_lists = WorkspaceLists::Span);
        world.advance(TimeDelta::minutes(40));
        let start = world.in_minutes(303);
        move_all(&world, &events, 303);
        settle(&world).await;
        assert_eq!((verdict(&world).await.as_str(), count_lists(&world).0), ("true", 2), "{answer:?}");
        assert_bots_at(&world, &events, start);
        world.finish().await;
    }
}

#[tokio::test]
async fn a_hint_is_not_answered_by_a_list_that_shows_nothing_of_its_calendar() {
    let (world, events) = trusted_workspace().await;
    world.sim.knobs(|knobs| knobs.workspace_lists = WorkspaceLists::OneCalendar);
    let start = world.in_minutes(301);
    move_all(&world, &events, 301);
    settle(&world).await;
    assert_bots_at(&world, &events, start);
    assert_eq!(count_lists(&world), (1, CALENDARS - 1));
    world.finish().await;
}

#[tokio::test]
async fn a_good_verdict_is_tested_again_after_a_day() {
    let (world, events) = trusted_workspace().await;
    world.sim.knobs(|knobs| knobs.workspace_lists = WorkspaceLists::Empty);
    for _ in 0..25 {
        world.advance(TimeDelta::hours(1));
        settle(&world).await;
    }
    move_all(&world, &events, 301);
    settle(&world).await;
    assert_eq!(verdict(&world).await, "false");
    world.finish().await;
}

#[tokio::test]
async fn what_is_asked_while_a_list_is_read_is_not_answered_by_it() {
    let (world, events) = trusted_workspace().await;
    move_all(&world, &events, 301);
    world.sim.deliver_due().await;
    world.sim.fail_next(Endpoint::ListEvents, Fault::HangAnswer, 1);
    let turns = begin_turns_that_hang(&world).await;
    world.sim.move_event(events[0], world.in_minutes(302));
    world.sim.deliver_due().await;
    world.sim.release();
    turns.await.unwrap();
    assert_eq!(count_lists(&world).0, 1);
    assert_bots_at(&world, &events[..1], world.in_minutes(302));
    assert_bots_at(&world, &events[1..], world.in_minutes(301));
    settle(&world).await;
    world.finish().await;
}

#[tokio::test]
async fn what_a_sweep_asks_while_a_list_is_read_is_not_answered_by_it_either() {
    let (world, events) = trusted_workspace().await;
    move_all(&world, &events[1..], 301);
    world.sim.edit_event(events[0], |event| event.title = "Shown by the list".into());
    world.sim.deliver_due().await;
    world.sim.fail_next(Endpoint::ListEvents, Fault::HangAnswer, 1);
    let turns = begin_turns_that_hang(&world).await;
    world.sim.edit_event(events[0], |event| event.title = "Not shown by the list".into());
    world.sim.lose_pending_webhooks();
    let (now, mut db) = (world.now(), world.db.acquire().await.unwrap());
    let day = TimeDelta::days(1);
    world.execute(&format!("update calendars set listed_at = '{}'", now.to_rfc3339())).await;
    requests::request_calendars(&mut db, now, now - day, Duration::ZERO, false, now + day, now).await.unwrap();
    drop(db);
    world.sim.release();
    turns.await.unwrap();
    settle(&world).await;
    let title = format!("select raw->>'summary' from events where id = '{}'", events[0]);
    assert_eq!(world.query(&title).await, "Not shown by the list");
    world.finish().await;
}

#[tokio::test]
async fn a_turn_that_reads_slow_pages_of_the_workspace_goes_on_in_another() {
    let (world, events) = trusted_workspace().await;
    world.sim.knobs(|knobs| knobs.page_size = 5);
    let start = world.in_minutes(301);
    move_all(&world, &events, 301);
    world.sim.deliver_due().await;
    world.take_turns_until_slow(Endpoint::ListEvents).await;
    assert_eq!(count_lists(&world), (1, 0));
    settle(&world).await;
    assert_bots_at(&world, &events, start);
    assert_eq!(count_lists(&world), (5, 0), "each page once, and whether it has changed meanwhile");
    world.finish().await;
}

/// A list of which the second page is answered with this status, while somebody else has locked some of its keys.
async fn end_a_list_while_keys_are_locked(world: &World, status: Option<u16>) {
    world.sim.knobs(|knobs| knobs.page_size = 10);
    world.sim.fail_next(Endpoint::ListEvents, Fault::HangAnswer, 1);
    let turns = begin_turns_that_hang(world).await;
    let mut lock = world.db.begin().await.unwrap();
    lock.execute("select from reconcile_queue where kind = 'calendar' order by key limit 5 for update").await.unwrap();
    status.into_iter().for_each(|status| world.sim.fail_next(Endpoint::ListEvents, Fault::Status(status), 1));
    world.sim.release();
    let is_waited_for =
        "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
    until(async || world.query(is_waited_for).await == "true").await;
    lock.rollback().await.unwrap();
    turns.await.unwrap();
}

#[tokio::test]
async fn a_key_that_somebody_has_locked_when_a_list_ends_is_answered_all_the_same() {
    let (world, events) = trusted_workspace().await;
    move_all(&world, &events, 301);
    world.sim.deliver_due().await;
    end_a_list_while_keys_are_locked(&world, None).await;
    settle(&world).await;
    assert_eq!(count_lists(&world).1, 0);
    world.finish().await;
}

#[tokio::test]
async fn a_key_that_somebody_has_locked_when_a_list_fails_waits_no_longer_than_the_others() {
    let (world, events) = trusted_workspace().await;
    move_all(&world, &events, 301);
    world.sim.deliver_due().await;
    end_a_list_while_keys_are_locked(&world, Some(400)).await;
    settle(&world).await;
    assert_eq!(count_lists(&world), (2, CALENDARS));
    world.finish().await;
}

#[tokio::test]
async fn a_calendar_that_changed_itself_is_read_itself() {
    let (world, events) = trusted_workspace().await;
    let calendar: Uuid = world.sim.event(events[0]).unwrap()["calendar_id"].as_str().unwrap().parse().unwrap();
    world.sim.disconnect_calendar(calendar);
    move_all(&world, &events[1..], 301);
    settle(&world).await;
    let status = format!("select status from calendars where id = '{calendar}'");
    assert_eq!(world.query(&status).await, "disconnected");
    world.assert_no_bot(events[0]);
    assert_eq!(world.count_calls(Endpoint::RetrieveCalendar), 1);
    world.sim.reconnect_calendar(calendar);
    settle(&world).await;
    world.bot(events[0]);
    world.finish().await;
}

#[tokio::test]
async fn a_sweep_finds_calendars_that_were_cut_off_for_a_while_though_it_reads_none_singly() {
    let (world, events) = trusted_workspace().await;
    let calendar: Uuid = world.sim.event(events[0]).unwrap()["calendar_id"].as_str().unwrap().parse().unwrap();
    world.sim.disconnect_calendar(calendar);
    world.sim.reconnect_calendar(calendar);
    world.sim.lose_pending_webhooks();
    world.assert_no_bot(events[0]);
    world.advance(TimeDelta::minutes(17));
    settle(&world).await;
    world.bot(events[0]);
    assert_eq!(world.count_calls(Endpoint::RetrieveCalendar), 1);
    world.finish().await;
}

#[tokio::test]
async fn a_calendar_that_a_sweep_is_not_shown_is_looked_at_itself() {
    let (world, events) = trusted_workspace().await;
    let calendar: Uuid = world.sim.event(events[0]).unwrap()["calendar_id"].as_str().unwrap().parse().unwrap();
    world.sim.delete_calendar(calendar);
    world.sim.lose_pending_webhooks();
    world.advance(TimeDelta::minutes(17));
    settle(&world).await;
    let is_gone = format!("select gone_at is not null from calendars where id = '{calendar}'");
    assert_eq!(world.query(&is_gone).await, "true");
    assert_eq!(world.count_calls(Endpoint::RetrieveCalendar), 1);
    assert_eq!(count_lists(&world), (1, 0));
    world.finish().await;
}

#[tokio::test]
async fn what_slipped_past_between_two_pages_is_found_by_the_next_list() {
    let (world, events) = trusted_workspace().await;
    world.sim.knobs(|knobs| knobs.page_size = 5);
    let start = world.in_minutes(301);
    move_all(&world, &events[1..], 301);
    world.sim.lose_pending_webhooks();
    world.advance(TimeDelta::minutes(10));
    // While the list is read, this one leaves its place; by its version the workspace has been seen.
    world.sim.move_event(events[0], world.in_minutes(400));
    world.sim.lose_pending_webhooks();
    world.sim.fail_next(Endpoint::ListEvents, Fault::ShiftPage, 1);
    world.request_sweep().await;
    settle(&world).await;
    let moved = world.sim.live_bots().iter().filter(|bot| bot.join_at == start).count();
    assert_eq!(moved, CALENDARS - 2, "one was not shown");
    world.advance(TimeDelta::minutes(17));
    settle(&world).await;
    assert_bots_at(&world, &events[1..], start);
    assert_eq!(
        world.query("select read_again_since from workspace_listing").await,
        "null",
        "nothing changed meanwhile"
    );
    world.finish().await;
}

#[tokio::test]
async fn a_list_that_would_cost_more_than_it_saves_is_given_up() {
    let (world, events) = trusted_workspace().await;
    world.sim.knobs(|knobs| knobs.page_size = 1);
    let start = world.in_minutes(301);
    move_all(&world, &events, 301);
    settle(&world).await;
    assert_eq!(count_lists(&world).0, CALENDARS / 2, "its pages would be twice as many");
    assert_bots_at(&world, &events, start);
    world.advance(TimeDelta::minutes(5));
    move_all(&world, &events, 301);
    settle(&world).await;
    assert_eq!(count_lists(&world).0, CALENDARS / 2, "not for a while");
    world.finish().await;
}

#[tokio::test]
async fn a_list_waits_until_no_more_calendars_come() {
    let (world, events) = workspace(&[("LIST_PAUSE", "2s")]).await;
    move_all(&world, &events, 301);
    for _ in 0..2 {
        world.settle().await;
        world.advance(TimeDelta::seconds(2));
    }
    assert_eq!(verdict(&world).await, "true", "those that wait for it are what it is tested with");
    world.advance(TimeDelta::minutes(1));
    world.sim.clear_calls();
    let start = world.in_minutes(302);
    for some in events.chunks(10) {
        some.iter().for_each(|event| world.sim.move_event(*event, start));
        world.settle().await;
        assert_eq!(count_lists(&world), (0, 0), "more may come");
        world.advance(TimeDelta::seconds(2));
    }
    world.settle().await;
    assert_eq!(count_lists(&world), (1, 0));
    assert_bots_at(&world, &events, start);
    world.finish().await;
}

#[tokio::test]
async fn a_list_that_many_more_calendars_come_to_wait_for_begins_anew_rather_than_be_given_up() {
    let (world, events) = trusted_workspace().await;
    world.sim.knobs(|knobs| knobs.page_size = 2);
    let start = world.in_minutes(301);
    let (some, others) = events.split_at(10);
    move_all(&world, some, 301);
    world.sim.deliver_due().await;
    world.sim.fail_next(Endpoint::ListEvents, Fault::HangAnswer, 1);
    let turns = begin_turns_that_hang(&world).await;
    move_all(&world, others, 301);
    world.sim.deliver_due().await;
    world.take_turns().await;
    assert_eq!(count_lists(&world), (1, 0), "they wait for the next list");
    world.sim.release();
    turns.await.unwrap();
    assert_bots_at(&world, &events, start);
    assert_eq!(count_lists(&world), (5 + 10 + 1, 0), "as many as it was worth, all, and whether more has changed");
    world.finish().await;
}

#[tokio::test]
async fn a_list_that_would_begin_anew_and_is_refused_comes_to_nothing() {
    let (world, events) = workspace(&[]).await;
    world.sim.knobs(|knobs| knobs.page_size = 1);
    let start = world.in_minutes(301);
    let (some, others) = events.split_at(10);
    move_all(&world, some, 301);
    world.sim.deliver_due().await;
    // What it is tested with, as many pages as it is worth, and what it would be tested with anew.
    world.sim.fail_next(Endpoint::ListEvents, Fault::Latency(0), 3);
    world.sim.fail_next(Endpoint::ListEvents, Fault::HangAnswer, 1);
    world.sim.fail_next(Endpoint::ListEvents, Fault::Latency(0), 4);
    world.sim.fail_next(Endpoint::ListEvents, Fault::Status(400), 1);
    let turns = begin_turns_that_hang(&world).await;
    move_all(&world, others, 301);
    world.sim.deliver_due().await;
    world.take_turns().await;
    world.sim.release();
    turns.await.unwrap();
    settle(&world).await;
    assert_bots_at(&world, &events, start);
    assert_eq!(count_lists(&world).0, 5);
    world.finish().await;
}

/// Until then the list may have ended, and released those that waited for it.
#[tokio::test]
async fn a_calendar_that_was_in_hand_when_a_list_began_looks_again_soon() {
    let (world, events) = trusted_workspace().await;
    let start = world.in_minutes(301);
    move_all(&world, &events, 301);
    world.sim.deliver_due().await;
    let claimed = wake_and_claim(&world.db, any(1), world.now()).await.pop().unwrap();
    world.sim.fail_next(Endpoint::ListEvents, Fault::HangAnswer, 1);
    let turns = begin_turns_that_hang(&world).await;
    let outcome = world.replica.worker.reconciler().turn(&claimed).await.unwrap();
    let Outcome::GoesOn(until) = outcome else { panic!("{outcome:?}") };
    world.sim.release();
    turns.await.unwrap();
    assert!(until <= world.now() + TimeDelta::seconds(20), "{until}");
    queue::put_off(&world.db, &claimed, until, None, world.now()).await.unwrap();
    settle(&world).await;
    assert_bots_at(&world, &events, start);
    world.finish().await;
}

#[tokio::test]
async fn a_list_that_fails_again_and_again_keeps_no_calendar_waiting() {
    let (world, events) = trusted_workspace().await;
    let start = world.in_minutes(301);
    move_all(&world, &events, 301);
    world.sim.fail_next(Endpoint::ListEvents, Fault::Status(500), 3);
    for _ in 0..6 {
        settle(&world).await;
    }
    assert_bots_at(&world, &events, start);
    assert_eq!(count_lists(&world), (3, CALENDARS));
    assert_eq!(verdict(&world).await, "true", "that says nothing about what a list would show");
    world.finish().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_read_in_a_list_of_the_workspace_is_recorded_with_its_calendar() {
    let (world, events) = trusted_workspace().await;
    move_all(&world, &events, 301);
    world.sim.override_event_json(events[0], |event| event["start_time"] = serde_json::Value::Null);
    world.sim.lose_pending_webhooks();
    world.request_sweep().await;
    settle(&world).await;
    assert_eq!(count_lists(&world), (1, 0));
    let recorded = format!(
        "select count(*) from unreadable_events join events on events.id::text = event_id
         where events.id = '{}' and events.calendar_id = unreadable_events.calendar_id",
        events[0]
    );
    assert_eq!(world.query(&recorded).await, "1");
    world.sim.override_event(events[0], None);
    world.advance(TimeDelta::minutes(1));
    let start = world.in_minutes(302);
    move_all(&world, &events, 302);
    settle(&world).await;
    assert_bots_at(&world, &events, start);
    world.finish().await;
}

#[tokio::test]
async fn where_such_lists_alone_are_forbidden_calendars_are_listed_singly_in_the_end() {
    let (mut world, events) = trusted_workspace().await;
    world.expect_errors();
    world.sim.knobs(|knobs| knobs.workspace_lists = WorkspaceLists::Forbidden);
    let start = world.in_minutes(301);
    move_all(&world, &events, 301);
    for _ in 0..13 {
        settle(&world).await;
    }
    assert_bots_at(&world, &events, start);
    assert_eq!(world.query("select count(*) from reconcile_queue where kind = 'workspace'").await, "0");
    assert_eq!(verdict(&world).await, "true", "it may have been the key, and says nothing of lists");
    world.finish().await;
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let (world, events) = workspace(&[("WORKSPACE_LISTING", "off")]).await;
    move_all(&world, &events, 301);
    settle(&world).await;
    assert_eq!(count_lists(&world), (0, CALENDARS));
    world.finish().await;
}

#[tokio::test]
async fn it_is_not_done_where_a_test_of_it_might_never_end() {
    for (limits, is_done) in [("list=9", false), ("list=10", true)] {
        let world = World::with(&[("RECALL_LIMITS", limits)]).await;
        assert_eq!(world.replica.worker.reconciler().catch_up_from.is_some(), is_done);
        world.finish().await;
    }
}

#[tokio::test]
async fn steps_leave_no_key_out() {
    let world = World::new().await;
    world.settle().await;
    let (now, until, overlap) = (world.now(), world.in_minutes(10), TimeDelta::minutes(2));
    world
        .execute(&format!(
            "insert into calendars (id, platform, status, created_at, updated_at, observed_at, cursor)
             select lpad(to_hex(n), 32, '0')::uuid, 'google_calendar', 'connected', '{now}', '{now}', '{now}', '{now}'
             from generate_series(1, 2500) as n"
        ))
        .await;
    world
        .execute(&format!(
            "insert into reconcile_queue (kind, key, requested_at, due_at, deadline, events_only)
             select 'calendar', id, '{now}', '{now}', '{now}', true from calendars"
        ))
        .await;
    let generation = workspace_listing::greatest_generation(&world.db).await.unwrap();
    let answerable = Answerable { since: now - overlap, generation };
    workspace_listing::defer(&world.db, answerable, overlap, until).await.unwrap();
    let waiting = format!("select count(*) from reconcile_queue where not is_due and due_at = '{until}'");
    assert_eq!(world.query(&waiting).await, "2500");

    // Of the last step one key is not answered.
    world.execute(&format!("update reconcile_queue set since = '{now}' where key = '{}'", Uuid::from_u128(2400))).await;
    assert_eq!(workspace_listing::settle(&world.db, answerable, overlap, now).await.unwrap(), 2499);
    world
        .execute(&format!(
            "insert into reconcile_queue (kind, key, requested_at, due_at, is_due, deadline)
             select 'calendar', id, '{now}', '{until}', false, '{now}' from calendars on conflict do nothing"
        ))
        .await;
    workspace_listing::release(&world.db, until, now).await.unwrap();
    let released =
        format!("select count(*) from reconcile_queue where is_due and due_at = '{now}' and kind = 'calendar'");
    assert_eq!(world.query(&released).await, "2500");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_test_that_never_has_budget_does_not_keep_calendars_waiting() {
    let (world, events) = workspace(&[("RECALL_LIMITS", "list=12,read=1000,bot=1000")]).await;
    let start = world.in_minutes(400);
    world.advance(TimeDelta::minutes(2));
    events.iter().for_each(|event| world.sim.move_event(*event, start));
    // One slot comes free after the other, and each look of the test takes one.
    let spread = format!(
        "update api_slots set taken_at = timestamptz '{}' - interval '62 seconds' + slot * interval '5 seconds' where class = 'list'",
        world.now().to_rfc3339(),
    );
    world.execute(&spread).await;
    let pass = async || {
        for _ in 0..60 {
            world.advance(TimeDelta::seconds(5));
            world.settle().await;
        }
    };
    pass().await;
    assert_bots_at(&world, &events, start);
    // Some may have yet to look once more.
    pass().await;
    world.finish().await;
}

#[tokio::test]
async fn a_calendar_that_looks_back_much_further_than_others_does_not_wait_for_their_lists() {
    let (world, mut events) = trusted_workspace().await;
    for n in CALENDARS..2 * CALENDARS {
        let calendar = world.sim.connect_calendar(NewCalendar::google(&format!("person{n}@acme.test")));
        let meeting = NewEvent::new("Weekly", world.in_minutes(300), 30).at(&format!("https://acme.zoom.us/j/{n}"));
        events.push(world.sim.create_event(calendar, meeting));
    }
    settle(&world).await;
    world.advance(TimeDelta::minutes(1));
    move_all(&world, &events, 302);
    world.sim.deliver_due().await;
    let outlier = world.sim.calendars()[0]["id"].as_str().unwrap().to_owned();
    let long_ago = (world.now() - TimeDelta::hours(9)).to_rfc3339();
    let hint = json!({
        "event": "calendar.sync_events",
        "data": { "calendar_id": outlier, "last_updated_ts": long_ago },
    });
    world.sim.send_webhook("calendar.sync_events", &hint.to_string());
    world.sim.deliver_due().await;
    world.sim.clear_calls();
    world.sim.fail_next(Endpoint::ListEvents, Fault::HangAnswer, 1);
    let listing = begin_turns_that_hang(&world).await;
    move_all(&world, &events[1..], 303);
    world.sim.deliver_due().await;
    world.advance(TimeDelta::seconds(20));
    world.take_turns().await;
    assert_eq!(count_lists(&world), (1, 1), "it lists its events itself, while the others wait");
    world.sim.release();
    listing.await.unwrap();
    settle(&world).await;
    let start = world.bot(events[1]).join_at;
    assert_bots_at(&world, &events[1..], start);
    world.finish().await;
}
