//! What people say about bots, what a policy would change, and why a bot is there or not.

use chrono::TimeDelta;
use reqwest::{Client, Method};
use rollcall::{
    app,
    config::Config,
    domain::{event::EventId, policy::Policy},
    explain::explain,
    reconcile::preview::{Effect, Kind, Summary, preview},
    sim::{Attendee, BotState, DEFAULT_API_KEY, Endpoint, Fault, NewCalendar, NewEvent, Response},
    store,
};
use serde_json::{Value, json};
use std::sync::atomic::AtomicBool;
use uuid::Uuid;

use crate::world::{LINK, World, renew};

pub const ADMIN: (&str, &str) = ("ADMIN_TOKEN", "operator-token");

/// What the operator's API answers.
pub async fn ask(world: &World, method: Method, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/api/v1/{path}", world.replica.url);
    let request = Client::new().request(method, url).header("authorization", "Bearer operator-token");
    let response = request.body(body.to_string()).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

/// Says something, and lets it take hold.
async fn say(world: &World, path: &str, value: &str) {
    let body = json!({ "value": value, "who": "ann", "why": "the customer asked" });
    let (status, answer) = ask(world, Method::PUT, path, body).await;
    assert_eq!(status, 200, "{answer}");
    world.settle().await;
}

/// Takes it back.
pub async fn take_back(world: &World, path: &str) {
    let (status, answer) = ask(world, Method::DELETE, &format!("{path}?who=ann"), Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    world.settle().await;
}

/// Everything that could make it forget.
async fn shake(world: &mut World, calendar: Uuid, event: Uuid) {
    world.request_full_sync(calendar).await;
    world.settle().await;
    world.sim.move_event(event, world.in_minutes(180));
    world.settle().await;
    world.sim.disconnect_calendar(calendar);
    world.settle().await;
    world.sim.reconnect_calendar(calendar);
    world.advance(TimeDelta::minutes(1));
    world.settle().await;
    world.restart(&[("BOT_CONFIG", r#"{"bot_name":"Another"}"#)]).await;
    world.settle().await;
}

#[tokio::test]
async fn an_override_wins_over_the_rule_whatever_happens_until_it_is_taken_back() {
    for (rule, verdict) in [("none", "record"), ("all", "skip")] {
        let mut world = World::with(&[ADMIN, ("RECORD_WHEN", rule)]).await;
        let calendar = world.calendar("ada@acme.test").await;
        let event = world.meeting(calendar);
        world.settle().await;
        let has_bot = |world: &World| !world.sim.live_bots().is_empty();
        assert_eq!(has_bot(&world), rule == "all");
        let path = format!("events/{event}/override");
        say(&world, &path, verdict).await;
        assert_eq!(has_bot(&world), verdict == "record");
        shake(&mut world, calendar, event).await;
        assert_eq!(has_bot(&world), verdict == "record", "it survives");
        take_back(&world, &path).await;
        assert_eq!(has_bot(&world), rule == "all", "the rule decides again");
        world.finish().await;
    }
}

#[tokio::test]
async fn the_nearest_override_wins() {
    let world = World::with(&[ADMIN]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let daily = |days: i64| NewEvent::new("Daily", world.in_minutes(60 + days * 1440), 15).at(LINK).in_series("daily");
    let events = world.sim.create_events(calendar, vec![daily(0), daily(1)]);
    let other = world.sim.create_event(calendar, NewEvent::new("Other", world.in_minutes(90), 15).at(LINK));
    world.settle().await;
    let with_bot = || {
        let has_bot = |event: &Uuid| world.sim.live_bots().iter().any(|bot| bot.events.contains(event));
        [events[0], events[1], other].map(|event| has_bot(&event))
    };
    assert_eq!(with_bot(), [true, true, true]);
    say(&world, &format!("calendars/{calendar}/override"), "skip").await;
    assert_eq!(with_bot(), [false, false, false]);
    say(&world, &format!("events/{}/series/override", events[0]), "record").await;
    assert_eq!(with_bot(), [true, true, false]);
    say(&world, &format!("events/{}/override", events[1]), "skip").await;
    assert_eq!(with_bot(), [true, false, false]);
    let third = world.sim.create_event(calendar, daily(2));
    world.settle().await;
    world.bot(third);
    take_back(&world, &format!("events/{third}/series/override")).await;
    assert_eq!(with_bot(), [false, false, false]);
    world.finish().await;
}

#[tokio::test]
async fn an_override_of_a_series_is_that_of_one_calendar() {
    let world = World::with(&[ADMIN]).await;
    let [ada, eve] = [world.calendar("ada@acme.test").await, world.calendar("eve@other.test").await];
    let meeting = NewEvent::new("Weekly", world.in_minutes(60), 60).at(LINK).in_series("weekly");
    let events = world.sim.same_meeting_on(&[ada, eve], &meeting);
    world.settle().await;
    say(&world, &format!("events/{}/series/override", events[0]), "skip").await;
    assert_eq!(world.bot(events[1]).events.len(), 1, "of another customer");
    world.finish().await;
}

#[tokio::test]
async fn what_is_paused_has_no_bots_and_gets_them_back() {
    let world = World::with(&[ADMIN]).await;
    let [ada, eve] = [world.calendar("ada@acme.test").await, world.calendar("eve@other.test").await];
    let [first, second] = [world.meeting(ada), world.meeting(ada)];
    let eves = world.sim.create_event(eve, NewEvent::new("Eve's", world.in_minutes(70), 30).at(LINK));
    world.settle().await;
    say(&world, &format!("events/{second}/override"), "record").await;
    let bots = || world.sim.live_bots().len();
    assert_eq!(bots(), 2, "the first two share one");
    say(&world, &format!("calendars/{ada}/pause"), "").await;
    assert_eq!(bots(), 1);
    world.bot(eves);
    say(&world, "pause", "").await;
    let later = world.sim.create_event(eve, NewEvent::new("Later", world.in_minutes(300), 30).at(LINK));
    world.request_full_sync(ada).await;
    world.settle().await;
    assert_eq!(bots(), 0, "not for what a person asked to record either");
    take_back(&world, "pause").await;
    world.bot(later);
    world.assert_no_bot(first);
    take_back(&world, &format!("calendars/{ada}/pause")).await;
    assert_eq!(world.bot(first).id, world.bot(second).id);
    world.finish().await;
}

#[tokio::test]
async fn a_calendar_may_have_a_rule_and_a_bot_of_its_own() {
    let world = World::with(&[ADMIN, ("RECORD_WHEN", "none"), ("BOT_CONFIG", r#"{"bot_name":"Ours"}"#)]).await;
    let [ada, eve] = [world.calendar("ada@acme.test").await, world.calendar("eve@other.test").await];
    let event = world.meeting(ada);
    let eves = world.meeting(eve);
    world.settle().await;
    say(&world, &format!("calendars/{ada}/record_when"), "all").await;
    assert_eq!(world.bot(event).config["bot_name"], "Ours");
    world.assert_no_bot(eves);
    say(&world, &format!("calendars/{ada}/bot_config"), r#"{"bot_name":"Ada's"}"#).await;
    assert_eq!(world.bot(event).config["bot_name"], "Ada's");
    take_back(&world, &format!("calendars/{ada}/bot_config")).await;
    assert_eq!(world.bot(event).config["bot_name"], "Ours");
    take_back(&world, &format!("calendars/{ada}/record_when")).await;
    world.assert_no_bot(event);
    world.finish().await;
}

#[tokio::test]
async fn what_cannot_be_said_is_refused_with_its_reason() {
    let world = World::with(&[ADMIN]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    let saying = |value: &str| json!({ "value": value, "who": "ann" });
    let unknown = Uuid::new_v4();
    for (path, body, status, told) in [
        (format!("events/{event}/override"), saying("perhaps"), 400, "say record or skip"),
        (format!("events/{event}/override"), json!({ "value": "skip" }), 400, "who"),
        (format!("events/{event}/override"), json!({ "value": "skip", "who": "a\0" }), 400, "a NUL"),
        (format!("events/{event}/series/override"), saying("skip"), 404, "an occurrence of a series"),
        (format!("events/{unknown}/override"), saying("skip"), 404, "no event"),
        (format!("calendars/{unknown}/pause"), saying(""), 404, "no calendar"),
        (format!("calendars/{calendar}/colour"), saying("blue"), 404, "no such aspect"),
        (format!("calendars/{calendar}/record_when"), saying("al"), 400, "is no rule"),
        (format!("calendars/{calendar}/bot_config"), saying("[]"), 400, "is not a JSON object"),
        (format!("calendars/{calendar}/bot_config"), saying(r#"{"join_at":"now"}"#), 400, "has `join_at`"),
    ] {
        let (answered, answer) = ask(&world, Method::PUT, &path, body).await;
        assert_eq!(answered, status, "{path}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(told), "{path}: {answer}");
    }
    assert_eq!(ask(&world, Method::GET, "settings", Value::Null).await, (200, json!([])));
    world.bot(event);
    world.finish().await;
}

#[tokio::test]
async fn who_said_what_and_why_can_be_read() {
    let world = World::with(&[ADMIN]).await;
    let calendar = world.calendar("ada@acme.test").await;
    say(&world, &format!("calendars/{calendar}/override"), "skip").await;
    let (_, settings) = ask(&world, Method::GET, "settings", Value::Null).await;
    let expected = json!([{
        "id": calendar, "scope": "calendar", "aspect": "override", "value": "skip",
        "who": "ann", "why": "the customer asked", "set_at": "2026-01-20T09:00:00Z",
    }]);
    assert_eq!(settings, expected);
    world.finish().await;
}

#[tokio::test]
async fn a_shared_bot_is_taken_over_when_the_event_goes_that_it_was_made_for() {
    let world = World::new().await;
    let [ada, eve] = [world.calendar("ada@acme.test").await, world.calendar("eve@other.test").await];
    let meeting = NewEvent::new("Board", world.in_minutes(60), 60).at(LINK);
    let events = world.sim.same_meeting_on(&[ada, eve], &meeting);
    world.settle().await;
    let made_for = |world: &World, event: Uuid| {
        let config = world.bot(event).config;
        config["metadata"]["rollcall_event_id"].as_str().unwrap().parse::<Uuid>().unwrap()
    };
    let holder = made_for(&world, events[0]);
    let other = events.into_iter().find(|event| *event != holder).unwrap();
    world.sim.delete_event(holder);
    world.settle().await;
    assert_eq!(made_for(&world, other), other, "or its webhooks would name an event that has left");
    world.finish().await;
}

#[tokio::test]
async fn another_deduplication_stops_the_start_while_bots_are_scheduled() {
    let mut world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let start = async |world: &World, extra: &[(&'static str, &str)]| {
        let mut vars = world.vars.clone();
        vars.extend(extra.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let config = Config::from_lookup(&|name| vars.get(name).cloned()).unwrap();
        let db = store::pool(&config.database_url, 2).unwrap();
        let started = app::try_prepare_database(&db, &config, &world.clock, &AtomicBool::default()).await;
        started.map(|_| ()).map_err(|error| error.to_string())
    };
    world.meeting(calendar);
    world.settle().await;
    let refused = start(&world, &[("DEDUPLICATION", "company")]).await.unwrap_err();
    assert!(refused.starts_with("DEDUPLICATION is `company`, but 1 bots that are still to join"), "{refused}");
    assert!(refused.contains("ALLOW_DEDUPLICATION_CHANGE=true"), "{refused}");
    let forced = [("DEDUPLICATION", "company"), ("ALLOW_DEDUPLICATION_CHANGE", "true")];
    assert_eq!(start(&world, &forced).await, Ok(()));
    assert_eq!(start(&world, &[]).await, Ok(()), "a replica that runs may start again in the middle of the rollout");
    world.restart(&forced).await;
    world.finish().await;
}

#[tokio::test]
async fn a_policy_that_removes_too_many_bots_waits_until_it_is_confirmed() {
    for restarts in [false, true] {
        let mut world = World::with(&[ADMIN, ("POLICY_MAX_CHANGES", "1")]).await;
        world.expect_errors();
        let calendar = world.calendar("ada@acme.test").await;
        let begin = world.in_minutes(60);
        let meeting = |n: i64| NewEvent::new("Meeting", begin + TimeDelta::minutes(n), 30).at(LINK);
        let events = world.sim.create_events(calendar, vec![meeting(0), meeting(1)]);
        world.settle().await;
        world.restart(&[("RECORD_WHEN", "none")]).await;
        world.settle().await;
        assert_eq!(world.sim.live_bots().len(), 2);
        assert!(world.logs().contains("adds 0 bots, removes 2, changes 0"), "{}", world.logs());
        let late = world.sim.create_event(calendar, meeting(2));
        world.sim.delete_event(events[0]);
        world.settle().await;
        world.assert_no_bot(late);
        assert_eq!(world.sim.live_bots().len(), 1, "all else goes on");

        assert_eq!(
            ask(&world, Method::POST, "policy/confirm", Value::Null).await,
            (200, json!({ "configuration": 2 }))
        );
        if restarts {
            // It has not seen that it was held back.
            world.restart(&[]).await;
        } else {
            renew(&world.replica.worker).await;
        }
        world.settle().await;
        assert!(world.sim.live_bots().is_empty());
        assert_eq!(
            ask(&world, Method::POST, "policy/confirm", Value::Null).await,
            (200, json!({ "configuration": null }))
        );
        world.finish().await;
    }
}

#[tokio::test]
async fn a_person_is_heard_during_a_rollout_whose_newer_configuration_takes_no_turns() {
    let mut world = World::with(&[ADMIN]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.vars.insert("BOT_CONFIG", r#"{"bot_name":"New"}"#.to_owned());
    let newer = world.another_replica().await;
    world.settle().await; // by the older, which leaves the event to the newer
    say(&world, &format!("events/{event}/override"), "skip").await;
    world.assert_no_bot(event);
    world.replica = newer;
    world.finish().await;
}

#[tokio::test]
async fn a_policy_that_was_confirmed_once_waits_again_when_it_would_remove_too_many() {
    let mut world = World::with(&[ADMIN, ("POLICY_MAX_CHANGES", "0"), ("RECORD_WHEN", "none")]).await;
    world.expect_errors();
    let calendar = world.calendar("ada@acme.test").await;
    world.settle().await;
    world.restart(&[("RECORD_WHEN", "all")]).await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.advance(TimeDelta::minutes(2));
    let all = &world.replica.worker.clone();
    renew(all).await;
    world.vars.insert("RECORD_WHEN", "none".to_owned());
    let none = world.another_replica().await;
    all.reconciler().leave_configuration().await.unwrap();
    renew(&none.worker).await;
    world.replica = none;
    world.settle().await;
    world.bot(event);
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn each_replica_that_hears_of_a_confirmation_removes_what_it_held_back() {
    let mut world = World::with(&[ADMIN, ("POLICY_MAX_CHANGES", "0")]).await;
    world.expect_errors();
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.restart(&[("RECORD_WHEN", "none")]).await;
    let late = world.another_replica().await;
    world.settle().await;
    world.advance(TimeDelta::minutes(10));
    ask(&world, Method::POST, "policy/confirm", Value::Null).await;
    renew(&world.replica.worker).await;
    late.take_turns().await; // which has not heard
    world.bot(event);
    renew(&late.worker).await;
    world.settle().await;
    world.assert_no_bot(event);
    world.finish().await;
}

#[tokio::test]
async fn a_policy_that_waits_to_be_confirmed_moves_bots_with_their_meetings() {
    let mut world = World::with(&[ADMIN, ("POLICY_MAX_CHANGES", "0")]).await;
    world.expect_errors();
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.restart(&[("RECORD_WHEN", "none")]).await;
    world.settle().await;
    world.sim.move_event(event, world.in_minutes(120));
    world.settle().await;
    assert!(world.bot(event).key.starts_with("2026-01-20T11:00:00Z-"));
    let decided = "select plan || ': ' || reason from decisions";
    let held_back = world.query(decided).await;
    assert!(held_back.starts_with("keep: the rule does not want it any more"), "{held_back}");

    ask(&world, Method::POST, "policy/confirm", Value::Null).await;
    renew(&world.replica.worker).await;
    world.settle().await;
    world.assert_no_bot(event);
    world.finish().await;
}

#[tokio::test]
async fn a_policy_that_waits_to_be_confirmed_removes_a_bot_beside_the_one_in_the_call() {
    let mut world = World::with(&[ADMIN, ("POLICY_MAX_CHANGES", "0")]).await;
    world.expect_errors();
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    let start = world.in_minutes(60);
    world.settle().await;
    world.advance(TimeDelta::minutes(61));
    world.sim.move_event(event, world.in_minutes(60));
    world.settle().await;
    assert_eq!(world.sim.live_bots().len(), 2, "one is in the call");
    world.restart(&[("RECORD_WHEN", "none")]).await;
    world.sim.move_event(event, start);
    world.settle().await;
    assert_eq!(world.bot(event).join_at, start);
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_policy_that_waits_to_be_confirmed_waits_on_when_it_becomes_the_newest_again() {
    for is_replaced in [false, true] {
        let mut world = World::with(&[ADMIN, ("POLICY_MAX_CHANGES", "0")]).await;
        world.expect_errors();
        let calendar = world.calendar("ada@acme.test").await;
        let event = world.meeting(calendar);
        world.settle().await;
        world.restart(&[("RECORD_WHEN", "none")]).await;
        world.settle().await;
        let held_back = world.vars.clone();
        world.vars.insert("BOT_CONFIG", r#"{"bot_name":"Another"}"#.to_owned());
        let another = world.another_replica().await;
        another.worker.reconciler().leave_configuration().await.unwrap();
        world.vars = held_back;
        if is_replaced {
            world.replica = world.another_replica().await;
        } else {
            renew(&world.replica.worker).await;
        }
        world.settle().await;
        world.request_sweep().await;
        world.settle().await;
        world.bot(event);
        assert_eq!(world.query("select max(generation) from configurations where is_held").await, "4");
        world.finish_as_it_is().await;
    }
}

/// What a policy with these variables would change.
async fn preview_with(world: &World, vars: &[(&'static str, &str)]) -> (Summary, Vec<Effect>) {
    let mut all = world.vars.clone();
    all.extend(vars.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let policy: Policy = Config::from_lookup(&|name| all.get(name).cloned()).unwrap().policy;
    let mut effects = vec![];
    let summary = preview(&world.db, &policy, None, world.now(), |effect| effects.push(effect)).await.unwrap();
    (summary, effects)
}

#[tokio::test]
async fn a_preview_tells_what_then_happens_and_does_nothing() {
    let mut world = World::with(&[ADMIN]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let meeting = |n: i64| NewEvent::new("Meeting", world.in_minutes(60 + n), 30).at(LINK);
    let events = world.sim.create_events(calendar, (0..3).map(meeting).collect());
    world.settle().await;
    say(&world, &format!("events/{}/override", events[0]), "skip").await;
    say(&world, &format!("events/{}/override", events[1]), "record").await;
    world.sim.clear_calls();
    let rows =
        "select string_agg(t::text, ';' order by t::text) from (select d from decisions d union all select null) t";
    let before = world.query(rows).await;

    let (summary, effects) = preview_with(&world, &[("RECORD_WHEN", "none")]).await;
    assert_eq!(summary, Summary { removes: 1, keeps: 2, ..Summary::default() });
    let removed = effects.iter().find(|effect| effect.effect == Kind::Removes).unwrap();
    assert_eq!((removed.event_id, removed.reason.as_str()), (events[2], "the rule does not want it"));
    assert_eq!(removed.decided_by, "rule `none`");
    let (summary, _) = preview_with(&world, &[("BOT_CONFIG", r#"{"bot_name":"New"}"#)]).await;
    assert_eq!(summary, Summary { changes: 2, keeps: 1, ..Summary::default() });
    let (summary, _) = preview_with(&world, &[]).await;
    assert_eq!(summary, Summary { keeps: 3, ..Summary::default() });
    assert_eq!((world.sim.calls().len(), world.query(rows).await), (0, before));

    world.restart(&[("RECORD_WHEN", "none")]).await;
    world.settle().await;
    world.assert_no_bot(events[2]);
    world.bot(events[1]);
    let (summary, _) = preview_with(&world, &[("RECORD_WHEN", "all")]).await;
    assert_eq!(summary, Summary { adds: 1, keeps: 2, ..Summary::default() });
    world.finish().await;
}

#[tokio::test]
async fn an_explanation_tells_the_whole_story() {
    let mut world = World::with(&[ADMIN]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.advance(TimeDelta::minutes(4));
    say(&world, &format!("events/{event}/override"), "skip").await;
    world.advance(TimeDelta::minutes(2));
    world.restart(&[("RECORD_WHEN", "none")]).await;
    world.settle().await;
    take_back(&world, &format!("events/{event}/override")).await;

    let told = explain(&world.db, EventId(event)).await.unwrap().unwrap().to_string();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], format!("Event {event} of ada@acme.test, 2026-01-20 10:00:00 UTC"));
    assert_eq!(lines[1], "No bot: the rule does not want it (2026-01-20 09:06:00 UTC).");
    assert_eq!(lines[2], "Decided by rule `none`, after a setting taken back by ann.");
    assert!(told.contains("\nIts calendar was read last at 2026-01-20 09:06:00 UTC, after the sweep.\n"), "{told}");
    let before = told.split("Before that:\n").nth(1).unwrap();
    let skip = "skip for this event, set by ann: the customer asked";
    let said = "somebody said that it is not to be recorded";
    let removed =
        format!("  2026-01-20 09:04:00 UTC unschedule: {said}, by {skip}, after a setting by ann; bot deleted.");
    assert!(before.contains(&removed), "{before}");
    let scheduled =
        "  2026-01-20 09:00:00 UTC schedule: the meeting has no bot yet, by rule `all`, after delivery msg_";
    assert!(before.contains(scheduled), "{before}");
    let (_, answer) = ask(&world, Method::GET, &format!("events/{event}"), Value::Null).await;
    assert_eq!(answer["explanation"], told);
    assert_eq!(answer["history"][0]["decided_by"], "rule `none`");
    world.finish().await;
}

#[tokio::test]
async fn a_decision_is_kept_when_it_differs_from_the_one_before() {
    let mut world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    let history = "select string_agg(plan, ' ' order by number) from decision_history";
    assert_eq!(world.query(history).await, "schedule");
    for _ in 0..2 {
        world.sim.touch_calendar(calendar);
        world.sim.edit_event(event, |event| event.title = "Other".into());
        world.request_full_sync(calendar).await;
        world.settle().await;
    }
    assert_eq!(world.query(history).await, "schedule", "it is there, as it should be");
    world.sim.cancel_event(event);
    world.settle().await;
    world.sim.edit_event(event, |event| event.title = "Another".into());
    world.settle().await;
    assert_eq!(world.query(history).await, "schedule unschedule");
    world.restart(&[("BOT_CONFIG", r#"{"bot_name":"Another"}"#)]).await;
    world.settle().await;
    assert_eq!(world.query(history).await, "schedule unschedule");

    let other = world.sim.create_event(calendar, NewEvent::new("Other", world.in_minutes(90), 30).at(LINK));
    world.settle().await;
    world.sim.disconnect_calendar(calendar);
    world.settle().await;
    let history =
        format!("select string_agg(plan, ' ' order by number) from decision_history where event_id = '{other}'");
    assert_eq!(world.query(&history).await, "schedule nothing", "Recall removed the bot by itself");
    world.finish().await;
}

#[tokio::test]
async fn a_bot_joins_early_also_after_a_move() {
    let mut world = World::with(&[("JOIN_EARLY", "2m")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    assert_eq!(world.bot(event).join_at, world.in_minutes(58));
    world.sim.move_event(event, world.in_minutes(120));
    world.settle().await;
    assert_eq!(world.bot(event).join_at, world.in_minutes(118));
    world.restart(&[("JOIN_EARLY", "5m")]).await;
    world.settle().await;
    assert_eq!(world.bot(event).join_at, world.in_minutes(115));
    let soon = world.sim.create_event(calendar, NewEvent::new("Soon", world.in_minutes(3), 30).at(LINK));
    world.settle().await;
    assert_eq!(world.bot(soon).join_at, world.in_minutes(3), "too late to be early");

    world.advance(TimeDelta::minutes(116));
    world.settle().await;
    world.sim.clear_calls();
    world.sim.edit_event(event, |event| event.title = "Other".into());
    world.request_full_sync(calendar).await;
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::ScheduleBot), 0, "it is in the call");
    world.bot(event);
    world.finish().await;
}

#[tokio::test]
async fn a_bot_that_joined_early_is_the_only_one() {
    for is_listed_with_its_meetings_start in [false, true] {
        let mut world = World::with(&[("JOIN_EARLY", "5m"), ("ALLOW_DEDUPLICATION_CHANGE", "true")]).await;
        world.sim.knobs(|knobs| knobs.bot_start_is_event_start = is_listed_with_its_meetings_start);
        let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
        let meeting = NewEvent::new("Board", world.in_minutes(60), 30).at(LINK);
        let event = world.sim.create_event(calendars[0], meeting.clone());
        world.settle().await;
        world.advance(TimeDelta::minutes(57));
        assert_eq!(world.bot(event).state, BotState::InCall);
        let copy = world.sim.create_event(calendars[1], meeting);
        world.settle().await;
        assert_eq!(world.sim.all_bots().len(), 1, "there is one for the copy");
        world.sim.delete_event(copy);
        world.settle().await;
        world.restart(&[("DEDUPLICATION", "company")]).await;
        world.settle().await;
        assert_eq!(world.sim.all_bots().len(), 1, "nor does one with another key join it");
        world.sim.clear_calls();
        world.sim.edit_event(event, |event| event.cancelled = true);
        world.settle().await;
        world.advance(TimeDelta::seconds(10));
        world.settle().await;
        assert_eq!(world.count_calls(Endpoint::DeleteBot), 1, "it cannot be removed any more");
        world.finish_as_it_is().await;
    }
}

#[tokio::test]
async fn a_bot_that_has_yet_to_join_early_follows_a_meeting_that_is_brought_forward() {
    let world = World::with(&[("JOIN_EARLY", "10m")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.advance(TimeDelta::minutes(45));
    let start = world.in_minutes(2);
    world.sim.move_event(event, start);
    world.settle().await;
    assert_eq!(world.bot(event).join_at, start, "and not in five minutes");
    world.finish().await;
}

#[tokio::test]
async fn a_bot_that_joined_early_is_left_alone_when_its_meeting_moves_a_little() {
    let world = World::with(&[("JOIN_EARLY", "10m")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.advance(TimeDelta::minutes(52));
    world.settle().await;
    world.sim.clear_calls();
    world.sim.move_event(event, world.in_minutes(9));
    world.settle().await;
    assert_eq!((world.count_bot_calls(), world.bot(event).state), (0, BotState::InCall));
    world.finish().await;
}

#[tokio::test]
async fn a_bot_that_could_not_join_early_is_shared_until_the_start() {
    let world = World::with(&[("JOIN_EARLY", "5m")]).await;
    let calendars = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    let meeting = NewEvent::new("Board", world.in_minutes(3), 30).at(LINK);
    let event = world.sim.create_event(calendars[0], meeting.clone());
    world.settle().await;
    let copy = world.sim.create_event(calendars[1], meeting);
    world.settle().await;
    assert_eq!(world.bot(copy).id, world.bot(event).id);
    world.sim.delete_event(event);
    world.settle().await;
    world.advance(TimeDelta::minutes(4));
    assert_eq!(world.bot(copy).state, BotState::InCall);
    world.finish().await;
}

/// The answer to Delete Bot was lost, and what led to it is taken back before it is tried again.
#[tokio::test]
async fn a_bot_that_may_have_been_deleted_is_scheduled_again() {
    for minutes_before in [50, 9] {
        let world = World::with(&[ADMIN]).await;
        let calendar = world.calendar("ada@acme.test").await;
        let event = world.meeting(calendar);
        world.settle().await;
        world.advance(TimeDelta::minutes(60 - minutes_before));
        world.settle().await;
        world.sim.fail_next(Endpoint::DeleteBot, Fault::LoseAnswer, 1);
        let path = format!("events/{event}/override");
        let skip = json!({ "value": "skip", "who": "ann", "why": "a mistake" });
        assert_eq!(ask(&world, Method::PUT, &path, skip).await.0, 200);
        world.take_turns_until(Endpoint::DeleteBot).await;
        world.assert_no_bot(event);
        take_back(&world, &path).await;
        assert!(world.bot(event).is_live(), "{minutes_before} minutes before the start");
        world.finish().await;
    }
}

#[tokio::test]
async fn an_event_whose_end_is_before_its_start_follows_what_people_say_and_a_new_configuration() {
    for is_said in [true, false] {
        let mut world = World::with(&[ADMIN]).await;
        let calendar = world.calendar("ada@acme.test").await;
        let event = world.meeting(calendar);
        world.settle().await;
        world.sim.override_event_json(event, |event| event["end_time"] = json!("2026-01-01T00:00:00Z"));
        world.request_full_sync(calendar).await;
        world.settle().await;
        if is_said {
            let (status, _) = ask(&world, Method::PUT, "pause", json!({ "who": "ann", "why": "a holiday" })).await;
            assert_eq!(status, 200);
        } else {
            world.restart(&[("RECORD_WHEN", "none")]).await;
        }
        world.take_turns_until(Endpoint::DeleteBot).await;
        world.sim.override_event(event, None);
        world.advance(TimeDelta::seconds(10));
        world.settle().await;
        world.finish_as_it_is().await;
    }
}

#[tokio::test]
async fn a_rule_follows_who_is_invited_and_what_is_said_of_the_calendar() {
    let rule = r#"external && calendar.metadata.plan == "pro""#;
    let world = World::with(&[("RECORD_WHEN", rule), ("BOT_CONFIG", r#"{"bot_name":"For {{ event.title }}"}"#)]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    let guest = |domain: &str| Attendee::new(&format!("guest@{domain}"), Response::Accepted);
    world.sim.edit_attendees(event, vec![guest("other.test")]);
    world.settle().await;
    world.assert_no_bot(event);
    let url = format!("{}/api/v2/calendars/{calendar}/", world.sim.base_url());
    let change = Client::new().patch(url).header("authorization", format!("Token {DEFAULT_API_KEY}"));
    let changed = change.json(&json!({ "metadata": { "plan": "pro" } })).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    world.request_sweep().await;
    world.settle().await;
    assert_eq!(world.bot(event).config["bot_name"], "For Weekly sync");
    world.sim.edit_event(event, |event| event.title = "Board".into());
    world.settle().await;
    assert_eq!(world.bot(event).config["bot_name"], "For Board");
    world.sim.edit_attendees(event, vec![guest("acme.test")]);
    world.settle().await;
    world.assert_no_bot(event);
    let parts = world.query("select parts from decision_history order by number desc limit 1").await;
    let expected = json!([
        { "part": "external", "is_true": false },
        { "part": "calendar.metadata.plan == \"pro\"", "is_true": true },
    ]);
    assert_eq!(serde_json::from_str::<Value>(&parts).unwrap(), expected);
    world.finish().await;
}

#[tokio::test]
async fn a_rule_that_fails_on_one_event_records_nothing_for_it_and_touches_no_other() {
    let world = World::with(&[("RECORD_WHEN", "!has(event.raw.sequence) || event.raw.sequence < 5")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let [odd, fine] = [world.meeting(calendar), world.meeting(calendar)];
    world.sim.override_event_json(odd, |event| event["raw"]["sequence"] = json!("Secret text"));
    world.settle().await;
    world.assert_no_bot(odd);
    world.bot(fine);
    let by = world.query("select decided_by from decisions where plan = 'nothing'").await;
    assert!(by.contains("`event.raw.sequence < 5` cannot be decided: ") && !by.contains("Secret"), "{by}");
    world.finish().await;
}

#[tokio::test]
async fn a_bot_that_cannot_be_made_is_a_trouble_of_its_event_alone_and_hinders_no_removal() {
    let mut world = World::with(&[ADMIN, ("BOT_CONFIG", r#"{"bot_name":"{{ event.raw.sequence | int }}"}"#)]).await;
    world.expect_errors();
    let calendar = world.calendar("ada@acme.test").await;
    let [odd, fine] = [world.meeting(calendar), world.meeting(calendar)];
    world.settle().await;
    world.sim.override_event_json(odd, |event| event["raw"]["sequence"] = json!("Secret text"));
    world.request_full_sync(calendar).await;
    world.settle().await;
    world.bot(fine);
    let parked = world.query("select last_error from reconcile_queue where due_at = 'infinity'").await;
    assert!(parked.starts_with("the bot_config cannot be made for this event: bot_name"), "{parked}");
    assert!(!parked.contains("Secret"), "{parked}");
    assert_eq!(preview_with(&world, &[]).await.0, Summary { fails: 1, keeps: 1, ..Summary::default() });
    world.sim.clear_overrides();
    say(&world, &format!("events/{odd}/override"), "skip").await;
    world.assert_no_bot(odd);
    world.finish().await;
}

/// Rules of all sorts.
const RULES: [&str; 5] =
    ["all", "none", "external", "accepted || organizer", "event.title.size() > 6 && !event.is_private"];

/// Meetings, people, overrides, rules and schemes at random.
#[tokio::test]
async fn whatever_the_policy_a_plan_that_was_carried_out_leaves_nothing_to_do() {
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let scheme = *rng.choice(&["meeting", "company", "event"]).unwrap();
        let rule = RULES[rng.usize(..RULES.len())];
        let world = World::with(&[ADMIN, ("DEDUPLICATION", scheme), ("RECORD_WHEN", rule)]).await;
        let mut calendars = vec![];
        for (email, is_outlook) in [("ada@acme.test", false), ("bob@ACME.test", true), ("eve@other.test", true)] {
            let new = if is_outlook { NewCalendar::outlook(email) } else { NewCalendar::google(email) };
            calendars.push(world.sim.connect_calendar(new));
        }
        let mut events = vec![];
        for _ in 0..6 {
            let title = *rng.choice(&["Weekly", "Board of directors", ""]).unwrap();
            let mut meeting = NewEvent::new(title, world.in_minutes(rng.i64(1..8) * 15), 30).at(LINK);
            let answers = [Response::Accepted, Response::Declined, Response::NeedsAction];
            let guests = (0..rng.usize(..4)).map(|n| {
                let email = format!("guest{n}@{}", ["acme.test", "other.test"][rng.usize(..2)]);
                Attendee::new(&email, *rng.choice(&answers).unwrap())
            });
            meeting.attendees = guests.collect();
            let invited = &calendars[..rng.usize(1..=3)];
            events.extend(world.sim.same_meeting_on(invited, &meeting));
        }
        world.settle().await;
        let mut verdicts = vec![];
        for event in &events {
            if rng.u8(..3) == 0 {
                let verdict = if rng.bool() { "record" } else { "skip" };
                say(&world, &format!("events/{event}/override"), verdict).await;
                verdicts.push((*event, verdict));
            }
        }
        let (summary, effects) = preview_with(&world, &[]).await;
        assert_eq!((summary.adds, summary.removes, summary.changes), (0, 0, 0), "seed {seed}: {effects:#?}");
        for (event, verdict) in verdicts {
            let has_bot = world.sim.live_bots().iter().any(|bot| bot.events.contains(&event));
            assert_eq!(has_bot, verdict == "record", "seed {seed}");
        }
        for bot in world.sim.live_bots() {
            let domain = |event: &Uuid| {
                let place = events.iter().position(|other| other == event).unwrap();
                let shown = world.sim.event(events[place]).unwrap();
                if shown["calendar_id"] == json!(calendars[2]) { "other.test" } else { "acme.test" }
            };
            let domains: std::collections::BTreeSet<&str> = bot.events.iter().map(domain).collect();
            assert!(scheme == "meeting" || domains.len() == 1, "seed {seed}: two companies share a bot");
        }
        world.finish().await;
    }
}
