//! What becomes of a turn when the API, the database or a turn itself fails: P3 and P9.

use chrono::{DateTime, TimeDelta};
use rollcall::{
    domain::event::EventId,
    sim::{self, Endpoint, Fault, NewEvent},
    store::queue::{self, Key, Request},
};
use sqlx::Executor;
use tokio::sync::watch;

use crate::{
    life::until,
    world::{LINK, World},
};

#[tokio::test]
async fn each_call_may_fail_before_or_after_it_acted() {
    let faults = [
        Fault::Status(500),
        Fault::Status(502),
        Fault::Status(503),
        Fault::Status(404),
        Fault::Status(409),
        Fault::RetryAfter { status: 429, secs: 20 },
        Fault::RetryAfter { status: 507, secs: 20 },
        Fault::Drop,
        Fault::LoseAnswer,
        Fault::Truncate,
        Fault::WrongShape,
        Fault::Body { status: 200, body: "<html>login</html>".into() },
    ];
    let endpoints = [
        Endpoint::ListCalendars,
        Endpoint::RetrieveCalendar,
        Endpoint::ListEvents,
        Endpoint::ScheduleBot,
        Endpoint::DeleteBot,
    ];
    for fault in faults {
        let world = World::new().await;
        let calendar = world.calendar("ada@acme.test").await;
        let cancelled = world.meeting(calendar);
        world.settle().await;
        world.sim.cancel_event(cancelled);
        let event = world
            .sim
            .create_event(calendar, NewEvent::new("Next", world.in_minutes(200), 30).at("https://acme.zoom.us/j/1"));
        world.request_sweep().await;
        for endpoint in endpoints {
            // A 404 says that there is no such thing, and is believed until the sweep sees it again.
            if fault != Fault::Status(404) || matches!(endpoint, Endpoint::ListCalendars | Endpoint::ListEvents) {
                world.sim.fail_next(endpoint, fault.clone(), 1);
            }
        }
        for _ in 0..20 {
            world.settle().await;
            world.advance(TimeDelta::minutes(1));
        }
        world.bot(event);
        world.assert_no_bot(cancelled);
        world.finish().await;
    }
}

#[tokio::test]
async fn a_507_is_tried_again_until_the_meeting_has_ended() {
    let world = World::new().await;
    world.sim.knobs(|knobs| knobs.pool_empty = 1.0);
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.sim.create_event(calendar, NewEvent::new("Soon", world.in_minutes(5), 10).at(LINK));
    world.settle().await;
    for _ in 0..12 {
        world.advance(TimeDelta::seconds(30));
        world.settle().await;
    }
    assert!((12..=14).contains(&world.count_calls(Endpoint::ScheduleBot)), "every 30 s");
    world.advance(TimeDelta::minutes(10));
    world.settle().await;
    let calls = world.count_calls(Endpoint::ScheduleBot);
    world.advance(TimeDelta::minutes(10));
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::ScheduleBot), calls, "it has ended");
    world.assert_no_bot(event);
    world.finish().await;
}

#[tokio::test]
async fn a_meeting_does_not_wait_out_a_long_backoff_when_it_is_about_to_begin() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.sim.create_event(calendar, NewEvent::new("Board", world.in_minutes(32), 30).at(LINK));
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Status(500), 1000);
    world.settle().await;
    // Pauses of five minutes by now.
    world.execute("update reconcile_queue set attempt = 20 where kind = 'event'").await;
    world.advance(TimeDelta::minutes(20));
    world.settle().await;
    let rests = "select extract(epoch from due_at)::bigint from reconcile_queue where kind = 'event'";
    let due = DateTime::from_timestamp_secs(world.query(rests).await.parse().unwrap()).unwrap();
    assert!(due <= world.in_minutes(2), "it is tried again before the last ten minutes, not at {due}");
    world.advance(TimeDelta::minutes(5));
    world.settle().await;
    world.sim.clear_faults();
    world.advance(TimeDelta::seconds(30));
    world.settle().await;
    world.bot(event);
    world.finish().await;
}

#[tokio::test]
async fn an_event_that_the_api_says_has_ended_is_settled() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    // By our clock it has two minutes left.
    world.sim.create_event(calendar, NewEvent::new("Nearly over", world.in_minutes(-28), 30).at(LINK));
    let ended = r#"{"code":"invalid_request_data","message":"Check `errors`","errors":{"non_field_errors":["Cannot schedule bot as calendar event has ended."]}}"#;
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Body { status: 400, body: ended.into() }, 1);
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::ScheduleBot), 1);
    assert_eq!(world.query("select count(*) from reconcile_queue where kind = 'event'").await, "0");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn what_the_api_refuses_for_good_is_parked_with_its_reason_until_the_event_changes() {
    let mut world = World::new().await;
    world.expect_errors();
    let calendar = world.calendar("ada@acme.test").await;
    let [refused, other] = [60, 90].map(|minutes| {
        let link = format!("https://acme.zoom.us/j/{minutes}");
        world.sim.create_event(calendar, NewEvent::new("Meeting", world.in_minutes(minutes), 30).at(&link))
    });
    let body = r#"{"bot_config":["Unknown field https://meet.google.com/aaa-bbbb-ccc"]}"#;
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Body { status: 400, body: body.into() }, 1);
    world.settle().await;
    world.bot(other);
    let parked = "select key || ' ' || last_error from reconcile_queue where due_at = 'infinity'";
    assert_eq!(world.query(parked).await, format!("{refused} Schedule Bot was answered 400 Bad Request (bot_config)"));
    world.advance(TimeDelta::minutes(10));
    world.settle().await;
    world.assert_no_bot(refused);

    world.sim.edit_event(refused, |event| event.title = "Another title".into());
    world.settle().await;
    world.bot(refused);
    world.finish().await;
}

#[tokio::test]
async fn a_sweep_wakes_what_is_parked_and_what_is_over_leaves_the_queue() {
    let mut world = World::new().await;
    world.expect_errors();
    let calendar = world.calendar("ada@acme.test").await;
    let events = [30, 90].map(|minutes| {
        let link = format!("https://acme.zoom.us/j/{minutes}");
        world.sim.create_event(calendar, NewEvent::new("Meeting", world.in_minutes(minutes), 30).at(&link))
    });
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Status(400), 2);
    world.settle().await;
    assert_eq!(world.query("select count(*) from reconcile_queue where due_at = 'infinity'").await, "2");
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Status(400), 1);
    world.advance(TimeDelta::minutes(17));
    world.settle().await;
    world.assert_no_bot(events[0]);
    world.bot(events[1]);
    world.advance(TimeDelta::minutes(60));
    world.settle().await;
    assert_eq!(world.query("select count(*) from reconcile_queue where kind = 'event'").await, "0");
    world.finish().await;
}

#[tokio::test]
async fn an_api_that_does_not_let_us_in_pauses_all_work_and_is_told_once() {
    let mut world = World::new().await;
    world.expect_errors();
    let calendar = world.calendar("ada@acme.test").await;
    let events: Vec<_> = (0..5)
        .map(|n| world.sim.create_event(calendar, NewEvent::new("Meeting", world.in_minutes(60 + n), 30).at(LINK)))
        .collect();
    world.sim.clear_calls();
    world.sim.fail_next(Endpoint::Any, Fault::Status(401), 3);
    world.settle().await;
    assert_eq!(world.sim.calls().len(), 1);
    assert!(world.replica.health.trouble().unwrap().contains("401"));
    let readyz = format!("{}/readyz", world.replica.url);
    let ready = reqwest::get(&readyz).await.unwrap();
    assert_eq!(ready.status().as_u16(), 200, "webhooks can still be committed");
    assert!(ready.text().await.unwrap().contains("401"));

    // Each refused key rests for two and a half minutes at most; three of them are refused.
    for _ in 0..20 {
        world.advance(TimeDelta::seconds(30));
        world.settle().await;
    }
    for event in events {
        world.bot(event);
    }
    assert_eq!(world.logs().lines().filter(|line| line.contains("ERROR")).count(), 1);
    assert_eq!(world.replica.health.trouble(), None);
    world.finish().await;
}

/// They are more urgent, and show nothing.
#[tokio::test]
async fn keys_that_make_no_call_do_not_keep_an_api_that_is_well_waiting() {
    let mut world = World::new().await;
    world.expect_errors();
    let calendar = world.calendar("ada@acme.test").await;
    let at = |n: i64| NewEvent::new("Meeting", world.in_minutes(60 + n), 30).at(LINK);
    let events = world.sim.create_events(calendar, (0..10).map(at).collect());
    world.settle().await;
    let last = world.sim.create_event(calendar, at(20));
    world.sim.fail_next(Endpoint::Any, Fault::Status(401), 1);
    world.settle().await;
    assert!(world.replica.health.trouble().is_some());
    let look = |event: &uuid::Uuid| Request {
        key: Key::Event(EventId(*event)),
        since: None,
        deadline: DateTime::UNIX_EPOCH,
        cause: "a test",
        events_only: false,
    };
    let mut db = world.db.acquire().await.unwrap();
    queue::request(&mut db, &events.iter().map(look).collect::<Vec<_>>(), world.now()).await.unwrap();
    drop(db);
    world.advance(TimeDelta::minutes(3));
    world.settle().await;
    world.bot(last);
    world.finish().await;
}

#[tokio::test]
async fn a_look_for_keys_that_finds_none_does_not_count_as_a_try() {
    let mut world = World::new().await;
    world.expect_errors();
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    world.sim.touch_calendar(calendars[0]);
    world.sim.fail_next(Endpoint::Any, Fault::Status(401), 1);
    world.settle().await;
    world.advance(TimeDelta::seconds(30));
    assert!(!world.replica.worker.take_one_turn().await.unwrap(), "the refused key rests for longer");
    world.sim.touch_calendar(calendars[1]);
    world.sim.deliver_due().await;
    assert!(world.replica.worker.take_one_turn().await.unwrap());
    world.advance(TimeDelta::minutes(3));
    world.finish().await;
}

#[tokio::test]
async fn a_calendar_that_goes_while_its_list_waits_is_found_to_be_gone() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.meeting(calendar);
    world.sim.fail_next(Endpoint::ListEvents, Fault::Status(500), 1);
    world.settle().await;
    assert_eq!(world.query("select progress is null from reconcile_queue where kind = 'calendar'").await, "false");
    world.sim.delete_calendar(calendar);
    world.sim.fail_next(Endpoint::ListEvents, Fault::Status(404), 1000);
    world.advance(TimeDelta::minutes(1));
    world.settle().await;
    assert_eq!(world.query("select gone_at is not null from calendars").await, "true");
    world.sim.clear_faults();
    world.finish().await;
}

#[tokio::test]
async fn a_place_in_a_list_that_always_fails_is_given_up() {
    let world = World::new().await;
    world.sim.knobs(|knobs| knobs.page_size = 2);
    let calendar = world.calendar("ada@acme.test").await;
    let at = |n| NewEvent::new("Meeting", world.in_minutes(600), 30).at(&format!("https://acme.zoom.us/j/{n}"));
    world.sim.clear_calls();
    world.sim.create_events(calendar, (0..5).map(at).collect());
    world.sim.fail_next(Endpoint::ListEvents, Fault::Latency(0), 1);
    world.sim.fail_next(Endpoint::ListEvents, Fault::Status(500), 5);
    world.settle().await;
    for _ in 0..5 {
        world.advance(TimeDelta::minutes(1));
        world.settle().await;
    }
    let lists = world.sim.calls().into_iter().filter(|call| call.endpoint == Endpoint::ListEvents);
    let places: Vec<bool> = lists.map(|call| call.query.contains("cursor=")).collect();
    let (failed, anew) = ([true; 5], [false, true, true]);
    assert_eq!(places, [&[false], &failed[..], &anew].concat(), "at which places it was listed");
    assert_eq!(world.sim.live_bots().len(), 5);
    world.finish().await;
}

#[tokio::test]
async fn a_list_whose_pages_fail_one_by_one_goes_on_where_it_was() {
    let world = World::new().await;
    world.sim.knobs(|knobs| knobs.page_size = 1);
    let calendar = world.calendar("ada@acme.test").await;
    let at = |n| NewEvent::new("Meeting", world.in_minutes(600), 30).at(&format!("https://acme.zoom.us/j/{n}"));
    world.sim.create_events(calendar, (0..7).map(at).collect());
    world.sim.clear_calls();
    for _ in 0..6 {
        world.sim.fail_next(Endpoint::ListEvents, Fault::Latency(0), 1);
        world.sim.fail_next(Endpoint::ListEvents, Fault::Status(500), 1);
    }
    for _ in 0..7 {
        world.settle().await;
        world.advance(TimeDelta::minutes(1));
    }
    assert_eq!(world.count_calls(Endpoint::ListEvents), 7 + 6, "each page, and each failure");
    assert_eq!(world.sim.live_bots().len(), 7);
    world.finish().await;
}

#[tokio::test]
async fn one_calendar_that_is_always_refused_does_not_stop_the_others() {
    let mut world = World::new().await;
    world.expect_errors();
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.sim.deliver_due().await;
    world.take_turns_until(Endpoint::ListEvents).await;
    // The event's key is due, and the calendar's is more urgent.
    world.sim.fail_next(Endpoint::RetrieveCalendar, Fault::Status(403), 1000);
    world.sim.touch_calendar(calendar);
    world.sim.deliver_due().await;
    for _ in 0..10 {
        world.settle().await;
        world.advance(TimeDelta::seconds(30));
    }
    world.bot(event);
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn one_odd_answer_does_not_end_sweeping() {
    let mut world = World::new().await;
    world.expect_errors();
    world.sim.fail_next(Endpoint::ListCalendars, Fault::Status(400), 1);
    world.settle().await;
    let calendar = world.sim.connect_calendar(sim::NewCalendar::google("ada@acme.test"));
    world.sim.lose_pending_webhooks();
    world.advance(TimeDelta::minutes(17));
    world.settle().await;
    assert_eq!(world.query("select id from calendars").await, calendar.to_string());
    world.finish().await;
}

#[tokio::test]
async fn a_place_in_a_list_that_the_api_no_longer_takes_is_given_up() {
    for status in [404, 400] {
        let world = World::new().await;
        world.sim.knobs(|knobs| knobs.page_size = 2);
        let calendar = world.calendar("ada@acme.test").await;
        let meetings = (0..5)
            .map(|n| NewEvent::new("Meeting", world.in_minutes(60 + n), 30).at(&format!("https://acme.zoom.us/j/{n}")));
        world.sim.create_events(calendar, meetings.collect());
        world.sim.fail_next(Endpoint::ListEvents, Fault::Latency(0), 1);
        world.sim.fail_next(Endpoint::ListEvents, Fault::Status(status), 1);
        world.settle().await;
        assert_eq!(world.query("select progress is null from reconcile_queue where kind = 'calendar'").await, "true");
        world.advance(TimeDelta::minutes(1));
        world.settle().await;
        assert_eq!(world.sim.live_bots().len(), 5);
        world.finish().await;
    }
}

#[tokio::test]
async fn a_stuck_commit_is_answered_503_and_others_are_not_kept_waiting() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.sim.touch_calendar(calendar);
    world.sim.deliver_due().await;
    let mut lock = world.db.begin().await.unwrap();
    lock.execute("update reconcile_queue set attempt = attempt where kind = 'calendar'").await.unwrap();
    let update = crate::receive::update_of(calendar);
    assert_eq!(crate::receive::Post::signed(&world, "msg_1", &update).status(&world).await, 503);
    let other = crate::receive::Post::signed(&world, "msg_2", r#"{"event":"bot.done"}"#);
    assert_eq!(other.status(&world).await, 204);
    lock.rollback().await.unwrap();
    assert_eq!(crate::receive::Post::signed(&world, "msg_1", &update).status(&world).await, 204);
    world.finish().await;
}

#[tokio::test]
async fn an_answer_that_does_not_show_the_bot_is_not_asked_for_again_at_once() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    let without_bot = world.sim.event(event).unwrap().to_string();
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Body { status: 200, body: without_bot }, 1);
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::ScheduleBot), 1);
    world.advance(TimeDelta::minutes(1));
    world.settle().await;
    world.bot(event);
    world.finish().await;
}

#[tokio::test]
async fn copies_that_wait_for_each_other_near_the_start_spend_no_calls() {
    let world = World::new().await;
    let mut calendars = vec![];
    for n in 0..4 {
        calendars.push(world.calendar(&format!("person{n}@acme.test")).await);
    }
    let start = world.now() + TimeDelta::seconds(40);
    world.sim.same_meeting_on(&calendars, &NewEvent::new("Board", start, 60).at(LINK));
    world.sim.deliver_due().await;
    world.take_turns_until(Endpoint::ListEvents).await;
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Hang, 1);
    let worker = world.replica.worker.clone();
    let first = tokio::spawn(async move { worker.take_one_turn().await.unwrap() });
    world.until(|| world.sim.hanging() == 1).await;
    for _ in 0..10 {
        world.take_turns().await;
        world.advance(TimeDelta::milliseconds(500));
    }
    assert_eq!(world.query("select count(*) from reconcile_queue where kind = 'event'").await, "4");
    assert_eq!(world.count_calls(Endpoint::RetrieveEvent), 1);
    world.sim.release();
    assert!(first.await.unwrap());
    world.advance(TimeDelta::seconds(1));
    world.settle().await;
    assert_eq!(world.sim.all_bots().len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn one_event_that_the_firewall_blocks_stops_no_other() {
    let mut world = World::new().await;
    world.expect_errors();
    world.sim.knobs(|knobs| knobs.block_localhost = true);
    let calendar = world.calendar("ada@acme.test").await;
    let blocked = world.sim.create_event(calendar, NewEvent::new("Odd", world.in_minutes(60), 30).at(LINK));
    world.sim.override_event_json(blocked, |event| event["meeting_url"] = "http://localhost/room".into());
    let other = world.sim.create_event(calendar, NewEvent::new("Fine", world.in_minutes(90), 30).at(LINK));
    world.settle().await;
    world.bot(other);
    assert_eq!(world.replica.health.trouble(), None);
    let parked = world.query("select last_error from reconcile_queue where due_at = 'infinity'").await;
    assert_eq!(parked, "Schedule Bot was answered 403 Forbidden (request_blocked)");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_404_is_believed_and_mended_by_the_next_sweep() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.sim.fail_next(Endpoint::RetrieveCalendar, Fault::Status(404), 1);
    world.settle().await;
    assert_eq!(world.query("select gone_at is not null from calendars").await, "true");
    world.request_sweep().await;
    world.settle().await;
    assert_eq!(world.query("select gone_at is not null from calendars").await, "false");
    world.bot(event);
    world.finish().await;
}

/// A proxy answers, or another server; the latter may even do so as the API would.
#[tokio::test]
async fn where_all_is_404_nothing_passes_for_gone() {
    for body in ["default backend - 404", r#"{"detail":"Not found."}"#] {
        let mut world = World::new().await;
        world.expect_errors();
        let calendar = world.calendar("ada@acme.test").await;
        let event = world.meeting(calendar);
        world.settle().await;
        world.sim.fail_next(Endpoint::Any, Fault::Body { status: 404, body: body.into() }, 1000);
        // What is answered as the API would is believed of a calendar that a webhook is about.
        if !body.starts_with('{') {
            world.sim.touch_calendar(calendar);
        }
        for _ in 0..20 {
            world.advance(TimeDelta::minutes(1));
            world.settle().await;
        }
        assert_eq!(world.query("select count(*) from calendars where gone_at is not null").await, "0", "{body}");
        world.sim.clear_faults();
        world.advance(TimeDelta::minutes(20));
        world.settle().await;
        assert!(world.bot(event).is_live());
        world.finish().await;
    }
}

#[tokio::test]
async fn copies_of_one_meeting_do_not_call_for_their_bot_at_once() {
    let world = World::new().await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    world.sim.same_meeting_on(&calendars, &NewEvent::new("Board", world.in_minutes(60), 60).at(LINK));
    world.sim.deliver_due().await;
    for _ in calendars {
        world.take_turns_until(Endpoint::ListEvents).await;
    }
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Hang, 1);
    let worker = world.replica.worker.clone();
    let first = tokio::spawn(async move { worker.take_one_turn().await.unwrap() });
    world.until(|| world.sim.hanging() == 1).await;
    assert!(world.replica.worker.take_one_turn().await.unwrap());
    assert_eq!(world.count_calls(Endpoint::ScheduleBot), 1, "the second turn waits for the first");
    world.sim.release();
    assert!(first.await.unwrap());
    world.advance(TimeDelta::seconds(1));
    world.settle().await;
    assert_eq!(world.sim.live_bots().len(), 1);
    assert!(world.sim.calls().iter().all(|call| call.status != 409));
    world.finish().await;
}

#[tokio::test]
async fn a_pool_of_two_and_an_api_that_hangs_leave_the_receiver_free() {
    let world = World::with(&[("DATABASE_MAX_CONNECTIONS", "2")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    for n in 0..3 {
        let link = format!("https://acme.zoom.us/j/{n}");
        world.sim.create_event(calendar, NewEvent::new("Meeting", world.in_minutes(60), 30).at(&link));
    }
    world.sim.deliver_due().await;
    world.take_turns_until(Endpoint::ListEvents).await;
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Hang, 3);
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let worker = world.replica.worker.clone();
            tokio::spawn(async move { worker.take_one_turn().await.unwrap() })
        })
        .collect();
    world.until(|| world.sim.hanging() == 3).await;
    for number in 0..20 {
        let post = crate::receive::Post::signed(&world, &format!("msg_{number}"), &crate::receive::update());
        assert_eq!(post.status(&world).await, 204);
    }
    world.sim.release();
    for worker in workers {
        assert!(worker.await.unwrap());
    }
    world.finish().await;
}

/// The world's worker, as a process runs it.
struct Running {
    stop: watch::Sender<bool>,
    worker: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(world: &World) -> Self {
        let (stop, stopped) = watch::channel(false);
        let worker = world.replica.worker.clone();
        Self { stop, worker: tokio::spawn(async move { worker.run(stopped).await }) }
    }

    async fn end(self) {
        self.stop.send(true).unwrap();
        self.worker.await.unwrap();
    }
}

#[tokio::test]
async fn calendars_whose_lists_hang_leave_turns_to_meetings() {
    let world = World::with(&[("WORKER_CONCURRENCY", "4")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.sim.deliver_due().await;
    world.take_turns_until(Endpoint::ListEvents).await;
    world.execute("delete from reconcile_queue where kind = 'event'").await;
    world.sim.fail_next(Endpoint::ListEvents, Fault::Hang, 8);
    for n in 0..8 {
        world.sim.connect_calendar(sim::NewCalendar::google(&format!("person{n}@acme.test")));
    }
    world.sim.deliver_due().await;
    let running = Running::start(&world);
    world.until(|| world.sim.hanging() == 3).await;

    let request = Request {
        key: Key::Event(EventId(event)),
        since: None,
        deadline: world.in_minutes(60),
        cause: "a test",
        events_only: false,
    };
    queue::request(&mut world.db.acquire().await.unwrap(), &[request], world.now()).await.unwrap();
    world.until(|| !world.sim.live_bots().is_empty()).await;
    assert_eq!(world.sim.hanging(), 3);
    world.sim.clear_faults();
    world.sim.release();
    running.end().await;
    world.finish().await;
}

#[tokio::test]
async fn what_has_rested_is_woken_while_all_turns_are_taken() {
    let world = World::with(&[("WORKER_CONCURRENCY", "1")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.sim.fail_next(Endpoint::ListEvents, Fault::Hang, 1);
    world.sim.connect_calendar(sim::NewCalendar::google("bob@acme.test"));
    world.sim.deliver_due().await;
    let running = Running::start(&world);
    world.until(|| world.sim.hanging() == 1).await;

    let now = world.now();
    let rested = format!("'event', '{event}', '{now}', '{now}', false, '{now}'");
    world
        .execute(&format!(
            "insert into reconcile_queue (kind, key, requested_at, due_at, is_due, deadline) values ({rested})"
        ))
        .await;
    let is_due = "select is_due from reconcile_queue where kind = 'event'";
    until(async || world.query(is_due).await == "true").await;
    assert_eq!(world.sim.hanging(), 1);
    world.sim.clear_faults();
    world.sim.release();
    running.end().await;
    world.finish().await;
}

#[tokio::test]
async fn an_event_is_not_gone_because_delete_bot_says_so_once() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.sim.fail_next(Endpoint::DeleteBot, Fault::Status(404), 1);
    world.sim.relink_event(event, None);
    world.settle().await;
    assert_eq!(world.query("select gone_at is null from events").await, "true");
    world.bot(event);
    world.advance(TimeDelta::seconds(2));
    world.settle().await;
    world.assert_no_bot(event);
    assert_eq!(world.count_calls(Endpoint::DeleteBot), 2);
    world.finish().await;
}

#[tokio::test]
async fn an_event_that_the_api_does_not_know_is_gone_until_it_is_listed_again() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Status(404), 1);
    world.sim.fail_next(Endpoint::RetrieveEvent, Fault::Status(404), 1);
    world.sim.move_event(event, world.in_minutes(120));
    world.settle().await;
    assert_eq!(world.query("select concat_ws(' ', gone_at is not null, bots) from events").await, "t []");
    assert_eq!(world.count_calls(Endpoint::ScheduleBot), 2, "and it is left alone");

    world.advance(TimeDelta::seconds(1));
    world.request_full_sync(calendar).await;
    world.settle().await;
    assert_eq!(world.query("select gone_at from events").await, "null");
    assert_eq!(world.bot(event).key, format!("2026-01-20T11:00:00Z-{LINK}"));
    world.finish().await;
}
