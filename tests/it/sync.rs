//! Mirroring events (number 3 of the main job): P5 and P6.

use chrono::{DateTime, TimeDelta, Utc};
use rollcall::{
    domain::{
        calendar::CalendarId,
        event::{Event, EventId},
    },
    recall::Client,
    sim::{self, Endpoint, Fault, NewEvent},
    store::{
        calendars::EndedRun,
        events,
        pages::{self, Requests, RunAfter, Sequel},
        queue::Wake,
    },
};
use serde_json::json;
use sqlx::Executor;
use uuid::Uuid;

use crate::world::{LINK, World};

/// So many meetings, in one change.
pub fn create_meetings(world: &World, calendar: Uuid, count: i64) -> Vec<Uuid> {
    let meeting = |n: i64| {
        let start = world.in_minutes(60 + 15 * n);
        NewEvent::new(&format!("Meeting {n}"), start, 15).at(&format!("https://acme.zoom.us/j/{n}"))
    };
    world.sim.create_events(calendar, (0..count).map(meeting).collect())
}

#[tokio::test]
async fn a_calendar_of_250_events_is_read_in_three_pages() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.sim.clear_calls();
    let events = create_meetings(&world, calendar, 250);
    world.settle().await;
    let lists: Vec<_> = world.sim.calls().into_iter().filter(|call| call.endpoint == Endpoint::ListEvents).collect();
    assert_eq!(lists.len(), 3);
    assert!(lists[1..].iter().all(|call| call.query.contains("cursor=") && call.query.contains("calendar_id=")));
    assert_eq!(world.query("select count(*) from events").await, "250");
    assert_eq!(world.sim.live_bots().len(), events.len());
    world.finish().await;
}

#[tokio::test]
async fn an_incremental_list_asks_from_the_lesser_of_hint_and_cursor_and_encodes_it() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    create_meetings(&world, calendar, 3);
    world.settle().await;
    let cursor: DateTime<Utc> = world.query("select to_json(cursor)#>>'{}' from calendars").await.parse().unwrap();
    let asked = async |body: String, id: &str| {
        world.sim.clear_calls();
        assert_eq!(crate::receive::Post::signed(&world, id, &body).status(&world).await, 204);
        world.settle().await;
        let calls = world.sim.calls();
        let list = calls.iter().find(|call| call.endpoint == Endpoint::ListEvents).unwrap();
        assert!(!list.query.contains('+'), "an unencoded + arrives as a space: {}", list.query);
        let parameters: Vec<_> = form_urlencoded::parse(list.query.as_bytes()).into_owned().collect();
        parameters.iter().find(|(name, _)| name == "updated_at__gte").unwrap().1.parse::<DateTime<Utc>>().unwrap()
    };
    let sync = |since: &str| {
        json!({"event": "calendar.sync_events", "data": {"calendar_id": calendar, "last_updated_ts": since}})
            .to_string()
    };
    let overlapped = cursor - TimeDelta::minutes(2);
    assert_eq!(
        asked(sync("2026-01-19T00:00:00.000001+00:00"), "msg_1").await.to_rfc3339(),
        "2026-01-19T00:00:00.000001+00:00"
    );
    assert_eq!(asked(sync("2026-01-21T00:00:00+00:00"), "msg_2").await, overlapped);
    assert_eq!(asked(crate::receive::update_of(calendar), "msg_3").await, overlapped);
    world.finish().await;
}

#[tokio::test]
async fn the_cursor_moves_only_after_the_last_page() {
    let world = World::new().await;
    world.sim.knobs(|knobs| knobs.page_size = 2);
    let calendar = world.calendar("ada@acme.test").await;
    assert_eq!(world.query("select cursor from calendars").await, "null", "nothing was seen yet");
    let events = create_meetings(&world, calendar, 5);
    world.sim.fail_next(Endpoint::ListEvents, Fault::Latency(0), 2);
    world.sim.fail_next(Endpoint::ListEvents, Fault::Status(500), 1);
    world.settle().await;
    assert_eq!(world.query("select cursor from calendars").await, "null", "the third page is missing");
    assert_eq!(world.query("select count(*) from events").await, "4");
    world.sim.clear_calls();
    world.advance(TimeDelta::minutes(5));
    world.settle().await;
    assert_eq!(world.query("select count(*) from events").await, "5");
    assert_ne!(world.query("select cursor from calendars").await, "null");
    assert_eq!(world.count_calls(Endpoint::ListEvents), 1, "the run goes on where it was interrupted");
    assert_eq!(events.len(), world.sim.live_bots().len());
    world.finish().await;
}

#[tokio::test]
async fn a_cursor_never_lies_in_the_future() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.sim.override_event_json(event, |event| event["updated_at"] = json!("2099-01-01T00:00:00Z"));
    world.settle().await;
    assert_eq!(world.query("select cursor at time zone 'utc' from calendars").await, "2026-01-20 09:00:00");
    world.sim.override_event(event, None);
    world.finish_as_it_is().await;
}

/// The lists that Recall allows a minute, of which a turn reads ten; and bots for the whole test.
const LIMITS: (&str, &str) = ("RECALL_LIMITS", "list=60,read=1000,bot=1000");

#[tokio::test]
async fn a_list_of_many_pages_is_read_over_several_turns() {
    let world = World::with(&[LIMITS]).await;
    world.sim.knobs(|knobs| knobs.page_size = 3);
    let calendar = world.calendar("ada@acme.test").await;
    create_meetings(&world, calendar, 100);
    world.settle().await;
    assert_eq!(world.query("select count(*) from events").await, "100");
    assert_eq!(world.sim.live_bots().len(), 100);
    world.finish().await;
}

#[tokio::test]
async fn a_change_during_a_long_run_is_not_lost() {
    let world = World::with(&[LIMITS]).await;
    world.sim.knobs(|knobs| knobs.page_size = 3);
    let calendar = world.calendar("ada@acme.test").await;
    let events = create_meetings(&world, calendar, 50);
    world.sim.deliver_due().await;
    world.take_turns_until(Endpoint::ListEvents).await; // the first ten pages
    world.sim.move_event(events[0], world.in_minutes(30));
    world.settle().await;
    assert!(world.bot(events[0]).key.starts_with("2026-01-20T09:30:00Z-"));
    world.finish().await;
}

#[tokio::test]
async fn where_more_lists_are_allowed_a_turn_reads_more_pages() {
    let world = World::with(&[("RECALL_LIMITS", "list=84,read=1000,bot=1000")]).await;
    world.sim.knobs(|knobs| knobs.page_size = 1);
    let calendar = world.calendar("ada@acme.test").await;
    create_meetings(&world, calendar, 20);
    world.sim.deliver_due().await;
    assert!(world.replica.worker.take_one_turn().await.unwrap());
    assert_eq!(world.query("select count(*) from events").await, "14", "a sixth of a minute's");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_turn_that_reads_slow_pages_lets_others_have_theirs() {
    let world = World::new().await;
    world.sim.knobs(|knobs| knobs.page_size = 1);
    let calendar = world.calendar("ada@acme.test").await;
    create_meetings(&world, calendar, 5);
    world.sim.deliver_due().await;
    world.take_turns_until_slow(Endpoint::ListEvents).await;
    assert_eq!(world.query("select count(*) from events").await, "1");
    assert!(!world.logs().contains("turn failed"));
    world.settle().await;
    assert_eq!(world.sim.live_bots().len(), 5);
    world.finish().await;
}

#[tokio::test]
async fn a_hint_between_the_turns_of_a_long_run_is_not_taken_for_answered_by_it() {
    let world = World::with(&[LIMITS]).await;
    world.sim.knobs(|knobs| knobs.page_size = 3);
    let calendar = world.calendar("ada@acme.test").await;
    let events = create_meetings(&world, calendar, 40);
    // No call shows this one, but for the list.
    world.sim.relink_event(events[0], None);
    world.sim.deliver_due().await;
    assert!(world.replica.worker.take_one_turn().await.unwrap());
    assert_eq!(world.query("select count(*) from events").await, "30", "ten pages, and there are more");
    world.advance(TimeDelta::minutes(10));
    world.sim.edit_event(events[0], |event| event.title = "On a page that is read".into());
    world.sim.deliver_due().await;
    world.take_turns().await;
    let title = world.query(&format!("select raw->>'summary' from events where id = '{}'", events[0])).await;
    assert_eq!(title, "On a page that is read");
    world.finish().await;
}

#[tokio::test]
async fn a_next_page_is_asked_of_the_apis_own_origin_whatever_host_it_names() {
    let world = World::new().await;
    world.sim.knobs(|knobs| knobs.page_size = 2);
    let calendar = world.calendar("ada@acme.test").await;
    create_meetings(&world, calendar, 3);
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", elsewhere.local_addr().unwrap());
    world.sim.fail_next(Endpoint::ListEvents, Fault::NextElsewhere(origin), 1);
    world.settle().await;
    assert_eq!(world.query("select count(*) from events").await, "3");
    let asked = futures_util::FutureExt::now_or_never(elsewhere.accept());
    assert!(asked.is_none(), "the key went elsewhere");
    world.finish().await;
}

#[tokio::test]
async fn a_page_that_names_itself_as_next_is_not_read_for_ever() {
    let mut world = World::new().await;
    world.expect_errors();
    world.sim.knobs(|knobs| knobs.page_size = 2);
    let calendar = world.calendar("ada@acme.test").await;
    create_meetings(&world, calendar, 5);
    world.sim.fail_next(Endpoint::ListEvents, Fault::RepeatPage, 500);
    world.settle().await;
    assert!(world.count_calls(Endpoint::ListEvents) < 10);
    world.sim.clear_faults();
    world.request_sweep().await;
    world.settle().await;
    assert_eq!(world.query("select count(*) from events").await, "5");
    world.finish().await;
}

#[tokio::test]
async fn a_next_page_that_cannot_be_stored_or_asked_for_is_not_taken_for_the_end() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    create_meetings(&world, calendar, 2);
    for query in ["cursor=\0".to_owned(), "c".repeat(100_000)] {
        let body = json!({ "next": format!("https://api.test/?{query}"), "results": [] }).to_string();
        world.sim.fail_next(Endpoint::ListEvents, Fault::Body { status: 200, body }, 1);
        world.request_full_sync(calendar).await;
        world.settle().await;
        let error = world.query("select last_error from reconcile_queue where kind = 'calendar'").await;
        assert!(error.contains("List Calendar Events was answered with a body that cannot be read"), "{error}");
        world.advance(TimeDelta::minutes(5));
    }
    world.settle().await;
    assert_eq!(world.query("select count(*) from events").await, "2");
    world.finish().await;
}

#[tokio::test]
async fn absence_from_a_list_is_not_deletion_and_tombstones_stay() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let events = create_meetings(&world, calendar, 3);
    world.settle().await;
    world.sim.delete_event(events[0]);
    world.settle().await;
    assert_eq!(
        world.query("select string_agg(is_deleted::text, ' ' order by start_time) from events").await,
        "true false false"
    );

    world.sim.fail_next(
        Endpoint::ListEvents,
        Fault::Body { status: 200, body: r#"{"next":null,"results":[]}"#.into() },
        1,
    );
    world.request_full_sync(calendar).await;
    world.settle().await;
    assert_eq!(world.query("select count(*) from events where not is_deleted").await, "2");
    assert_eq!(world.sim.live_bots().len(), 2);
    world.finish().await;
}

#[tokio::test]
async fn an_older_version_never_overwrites_a_newer_one() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.sim.move_event(event, world.in_minutes(120));
    world.settle().await;
    let mirrored = world.query("select row_to_json(events) from events").await;

    world.sim.fail_next(Endpoint::ListEvents, Fault::Stale, 1);
    world.request_full_sync(calendar).await;
    // Before any turn of the event, which would mend it.
    world.take_turns_until(Endpoint::ListEvents).await;
    assert_eq!(world.query("select row_to_json(events) from events").await, mirrored);
    world.finish().await;
}

#[tokio::test]
async fn of_equal_versions_the_one_read_later_is_mirrored() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let id = world.meeting(calendar);
    world.settle().await;
    let mut event = retrieve(&world, id).await;
    let read_at = world.now();
    let url = async || world.query("select meeting_url from events").await;
    let mirror = async |event: &Event, observed_at| {
        pages::mirror(&mut world.db.acquire().await.unwrap(), std::slice::from_ref(event), observed_at)
            .await
            .unwrap()
            .len()
    };

    let change = |event: &mut Event, url: &str| {
        event.meeting_url = Some(url.into());
        event.fingerprint = Some(rollcall::domain::Fingerprint::of(url.as_bytes()));
    };
    change(&mut event, "https://acme.zoom.us/j/later");
    assert_eq!(mirror(&event, read_at + TimeDelta::seconds(2)).await, 1, "equal `updated_at` is let through");
    change(&mut event, "https://acme.zoom.us/j/earlier");
    assert_eq!(mirror(&event, read_at + TimeDelta::seconds(1)).await, 0);
    assert_eq!(url().await, "https://acme.zoom.us/j/later");
    assert_eq!(mirror(&event, read_at + TimeDelta::seconds(3)).await, 1);
    assert_eq!(mirror(&event, read_at + TimeDelta::seconds(4)).await, 0, "what does not differ is not written");
    world.finish_as_it_is().await;
}

async fn retrieve(world: &World, id: Uuid) -> Event {
    let lookup = |name: &str| world.vars.get(name).cloned();
    let config = rollcall::config::Config::from_lookup(&lookup).unwrap();
    Client::new(&config.recall).unwrap().retrieve_calendar_event(EventId(id)).await.unwrap()
}

#[tokio::test]
async fn an_unchanged_event_is_neither_written_nor_requested() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    create_meetings(&world, calendar, 5);
    world.settle().await;
    // Bots were scheduled, so what the list shows next was last written with their answers.
    let versions = "select string_agg(xmin::text, ' ' order by id) from events";
    let before = world.query(versions).await;
    world.request_full_sync(calendar).await;
    assert_eq!(world.take_turns().await, 1, "the calendar's turn, and no event's");
    assert_eq!(world.query(versions).await, before);
    world.finish().await;
}

#[tokio::test]
async fn what_changed_unheard_is_found_among_what_is_known() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let events = create_meetings(&world, calendar, 12);
    world.settle().await;
    world.sim.knobs(|knobs| knobs.page_size = 4);
    let start = world.in_minutes(600);
    // Most of the first page, one of the second, and none of the third.
    let changed = [events[0], events[1], events[2], events[7]];
    changed.iter().for_each(|event| world.sim.move_event(*event, start));
    world.sim.lose_pending_webhooks();
    world.request_full_sync(calendar).await;
    assert_eq!(
        world.take_turns().await,
        1 + changed.len(),
        "the calendar's turn, and those of the events that changed"
    );
    for event in changed {
        assert_eq!(world.bot(event).join_at, start);
    }
    world.finish().await;
}

#[tokio::test]
async fn of_a_page_that_is_likely_known_what_is_new_is_mirrored_all_the_same() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let (known, changed) = (world.meeting(calendar), world.meeting(calendar));
    world.settle().await;
    world.sim.move_event(changed, world.in_minutes(90));
    world.sim.lose_pending_webhooks();
    let page = [retrieve(&world, known).await, retrieve(&world, changed).await];
    let (now, id) = (world.now(), CalendarId(calendar));
    events::record_unreadable(&world.db, id, &known.to_string(), "a test", now).await.unwrap();
    let run = EndedRun { started_at: now, seen_until: None, is_full: false, paged: None, repeats: 0 };
    let (cause, wake) = (|_: &Event| Some("a test"), Wake::default());
    let mirror = async |are_of_all| {
        let sequel = Sequel {
            requests: Requests { cause: &cause, are_of_all },
            run: RunAfter::Ended(id, &run, "a test"),
            is_likely_known: true,
            now,
            told_by: &wake,
        };
        pages::mirror_page(&mut world.db.acquire().await.unwrap(), &page, now, sequel).await.unwrap().written
    };
    let requested = "select string_agg(key::text, ' ' order by key) from reconcile_queue where kind = 'event'";
    assert_eq!(mirror(false).await, [EventId(changed)]);
    assert_eq!(world.query(requested).await, changed.to_string());
    assert_eq!(world.query("select count(*) from unreadable_events").await, "0", "it can be read");
    mirror(true).await;
    let both = if known < changed { [known, changed] } else { [changed, known] };
    assert_eq!(world.query(requested).await, both.map(|id| id.to_string()).join(" "), "all were asked for");
    world.settle().await;
    world.finish().await;
}

#[tokio::test]
async fn an_event_beyond_the_window_gets_its_bot_when_it_enters() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event =
        world.sim.create_event(calendar, NewEvent::new("Offsite", world.now() + TimeDelta::days(30), 60).at(LINK));
    world.settle().await;
    world.assert_no_bot(event);
    world.advance(TimeDelta::days(3));
    world.settle().await;
    world.bot(event);
    world.finish().await;
}

/// A place in a list is a start, and how many events at that start come before it.
#[tokio::test]
async fn an_event_that_slips_past_a_page_is_found_by_the_next_sync() {
    let world = World::new().await;
    world.sim.knobs(|knobs| knobs.page_size = 3);
    let calendar = world.calendar("ada@acme.test").await;
    let at_once = |n| NewEvent::new("All hands", world.in_minutes(60), 30).at(&format!("https://acme.zoom.us/j/{n}"));
    let mut events = world.sim.create_events(calendar, (0..5).map(at_once).collect());
    events.sort();
    world.sim.deliver_due().await;
    world.advance(TimeDelta::minutes(10));
    world.sim.fail_next(Endpoint::ListEvents, Fault::HangAnswer, 1);
    let worker = world.replica.worker.clone();
    let turn = tokio::spawn(async move { worker.take_one_turn().await.unwrap() });
    world.until(|| world.sim.hanging() == 1).await;
    // The first page is on its way: of what it lists, something is not there any more when the second is asked for.
    world.sim.move_event(events[0], world.in_minutes(200));
    world.sim.release();
    turn.await.unwrap();
    assert_eq!(world.query("select count(*) from events").await, "4", "one has slipped past");

    world.settle().await;
    assert_eq!(world.sim.live_bots().len(), 5);
    world.finish().await;
}

/// Each time that its list is read, the calendar changes.
#[tokio::test]
async fn a_calendar_that_always_changes_is_not_read_again_for_ever() {
    let world = World::with(&[("LIST_PAUSE", "0s")]).await;
    world.sim.knobs(|knobs| knobs.page_size = 2);
    let calendar = world.calendar("ada@acme.test").await;
    create_meetings(&world, calendar, 5);
    world.settle().await;
    world.advance(TimeDelta::minutes(10));
    let event: Uuid = world.query("select id from events limit 1").await.parse().unwrap();
    world.sim.clear_calls();
    world.request_full_sync(calendar).await;
    for minute in 0..30 {
        world.advance(TimeDelta::minutes(1));
        world.take_turns().await;
        world.sim.edit_event(event, |event| event.title = format!("Weekly sync {minute}"));
        world.sim.deliver_due().await;
    }
    world.settle().await;
    let is_whole = |call: &&sim::Call| !call.query.contains("updated_at__gte") && !call.query.contains("cursor=");
    let lists: Vec<_> = world.sim.calls().into_iter().filter(|call| call.endpoint == Endpoint::ListEvents).collect();
    assert_eq!(
        lists.iter().filter(is_whole).count(),
        3,
        "{:?}",
        lists.iter().map(|call| &call.query).collect::<Vec<_>>()
    );
    world.finish().await;
}

#[tokio::test]
async fn a_page_is_read_while_the_one_before_is_stored() {
    let world = World::new().await;
    world.sim.knobs(|knobs| knobs.page_size = 3);
    let calendar = world.calendar("ada@acme.test").await;
    create_meetings(&world, calendar, 7);
    world.sim.deliver_due().await;
    world.sim.clear_calls();
    let mut lock = world.db.begin().await.unwrap();
    lock.execute("lock table events in exclusive mode").await.unwrap();
    let worker = world.replica.worker.clone();
    let turn = tokio::spawn(async move { worker.take_one_turn().await.unwrap() });
    world.until(|| world.count_calls(Endpoint::ListEvents) == 2).await;
    lock.rollback().await.unwrap();
    turn.await.unwrap();
    assert_eq!(world.count_calls(Endpoint::ListEvents), 3);
    assert_eq!(world.query("select count(*) from events").await, "7");
    world.settle().await;
    world.finish().await;
}

#[tokio::test]
async fn a_page_whose_payloads_are_large_is_mirrored_as_a_whole() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.sim.clear_calls();
    let large = format!(r#""raw":{{"x":"{}","#, "x".repeat(900_000));
    for event in create_meetings(&world, calendar, 5) {
        let shown = world.sim.event(event).unwrap().to_string();
        world.sim.override_event(event, Some(shown.replacen(r#""raw":{"#, &large, 1)));
    }
    world.settle().await;
    assert_eq!(world.query("select count(*) from events where length(raw::text) > 900000").await, "5");
    assert_eq!(world.count_calls(Endpoint::ListEvents), 1);
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn what_is_over_is_mirrored_and_costs_no_turn() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    for minutes in [-120, 60] {
        world.sim.create_event(calendar, NewEvent::new("Meeting", world.in_minutes(minutes), 30).at(LINK));
    }
    world.sim.deliver_due().await;
    assert!(world.replica.worker.take_one_turn().await.unwrap());
    assert_eq!(world.query("select count(*) from events").await, "2");
    assert_eq!(world.query("select count(*) from reconcile_queue where kind = 'event'").await, "1");
    world.settle().await;
    world.finish().await;
}

/// Over turns, and over the statements of a page that takes several.
#[tokio::test]
async fn a_run_tells_how_many_events_it_wrote() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.sim.knobs(|knobs| knobs.page_size = 3);
    let large = format!(r#""raw":{{"x":"{}","#, "x".repeat(900_000));
    for event in create_meetings(&world, calendar, 33) {
        let shown = world.sim.event(event).unwrap().to_string();
        world.sim.override_event(event, Some(shown.replacen(r#""raw":{"#, &large, 1)));
    }
    world.settle().await;
    assert_eq!(world.query("select count(*) from events").await, "33");
    assert!(world.logs().contains("pages=11 events=33 changed=33"), "over two turns");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_storm_of_webhooks_for_a_calendar_costs_two_lists() {
    let world = World::with(&[("LIST_PAUSE", "2s")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    world.advance(TimeDelta::seconds(2));
    world.sim.clear_calls();
    for _ in 0..50 {
        world.sim.touch_calendar(calendar);
        world.settle().await;
    }
    assert_eq!(world.count_calls(Endpoint::ListEvents), 1, "the first is answered at once");
    world.advance(TimeDelta::seconds(2));
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::ListEvents), 2, "all others by one list");
    world.finish().await;
}

#[tokio::test]
async fn a_webhook_that_tells_of_events_costs_one_call() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.meeting(calendar);
    world.settle().await;
    world.sim.clear_calls();
    let event = world.meeting(calendar);
    world.settle().await;
    world.bot(event);
    assert_eq!(world.count_calls(Endpoint::ListEvents), 1);
    assert_eq!(world.count_calls(Endpoint::RetrieveCalendar), 0);
    world.finish().await;
}

#[tokio::test]
async fn where_a_list_is_refused_the_calendar_itself_is_looked_at() {
    for status in [400, 404] {
        let mut world = World::new().await;
        world.expect_errors();
        let calendar = world.calendar("ada@acme.test").await;
        world.meeting(calendar);
        world.settle().await;
        world.meeting(calendar);
        world.sim.deliver_due().await;
        world.sim.delete_calendar(calendar);
        world.sim.fail_next(Endpoint::ListEvents, Fault::Status(status), 1);
        world.take_turns().await;
        assert_eq!(world.query("select gone_at is not null from calendars").await, "true", "{status}");
        world.finish().await;
    }
}

#[tokio::test]
async fn the_cursor_of_a_calendar_that_never_changes_follows_the_others_five_minutes_behind() {
    let world = World::new().await;
    let quiet = world.calendar("ada@acme.test").await;
    world.meeting(quiet);
    let busy = world.calendar("bob@acme.test").await;
    world.settle().await;
    world.advance(TimeDelta::hours(1));
    world.meeting(busy);
    world.sim.deliver_due().await;
    world.take_turns_until(Endpoint::ListEvents).await;
    world.request_sweep().await;
    world.settle().await;
    let cursor = world.query(&format!("select to_json(cursor)#>>'{{}}' from calendars where id = '{quiet}'")).await;
    let cursor: chrono::DateTime<chrono::Utc> = cursor.parse().unwrap();
    assert_eq!((world.now() - cursor).num_minutes(), 5);
    world.finish().await;
}
