//! Calendars: adopted, gone, disconnected, connected again (numbers 3 and 6 of the main job).

use chrono::TimeDelta;
use reqwest::Client;
use rollcall::sim::{self, Endpoint, Fault, NewCalendar, NewEvent};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{LINK, World};

#[tokio::test]
async fn a_calendar_never_seen_before_is_adopted_by_its_webhook() {
    let world = World::new().await;
    world.settle().await; // the first sweep, which finds nothing
    let calendar = world.sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let event = world.meeting(calendar);
    world.settle().await;
    world.bot(event);
    assert_eq!(world.query("select email || ' ' || status from calendars").await, "ada@acme.test connected");
    world.finish().await;
}

#[tokio::test]
async fn a_calendar_is_adopted_while_it_connects() {
    let world = World::new().await;
    world.sim.knobs(|knobs| knobs.connect_delay_secs = 90);
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.advance(TimeDelta::seconds(90));
    world.settle().await;
    world.bot(event);
    world.finish().await;
}

#[tokio::test]
async fn a_webhook_for_an_unknown_calendar_leaves_no_trace() {
    let world = World::new().await;
    let body = crate::receive::update();
    assert_eq!(crate::receive::Post::signed(&world, "msg_1", &body).status(&world).await, 204);
    world.settle().await;
    assert_eq!(world.query("select count(*) from calendars").await, "0");
    world.finish().await;
}

#[tokio::test]
async fn a_calendar_that_the_api_no_longer_knows_is_mirrored_as_gone() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;

    world.sim.delete_calendar(calendar); // no webhook
    world.request_sweep().await;
    world.settle().await;
    world.assert_no_bot(event);
    assert_eq!(world.query("select gone_at is not null from calendars").await, "true");
    assert_eq!(world.query("select bots::text from events").await, "[]");
    world.sim.clear_calls();
    world.request_sweep().await;
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::RetrieveCalendar), 0, "and it is left alone");
    let now = world.now();
    let wish = format!(
        "insert into reconcile_queue (kind, key, requested_at, due_at, deadline) values ('event', '{event}', '{now}', '{now}', '{now}')"
    );
    world.execute(&wish).await;
    world.settle().await;
    assert_eq!(world.count_bot_calls(), 0, "and so are its events");
    world.finish().await;
}

#[tokio::test]
async fn a_disconnected_calendar_has_no_bots_and_is_left_alone() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;

    world.sim.clear_calls();
    world.sim.disconnect_calendar(calendar);
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::ListEvents), 0);
    assert_eq!(world.query("select status from calendars").await, "disconnected");
    assert_eq!(world.query("select bots::text from events").await, "[]");
    world.assert_no_bot(event);

    world.sim.clear_calls();
    world.request_sweep().await;
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::RetrieveCalendar), 0, "the list of calendars tells when it is back");
    assert_eq!(world.count_calls(Endpoint::ListEvents), 0);
    assert_eq!(world.count_bot_calls(), 0);
    world.finish().await;
}

#[tokio::test]
async fn a_reconnected_calendar_gets_its_bots_back_without_a_sync_webhook() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let events = [
        world.meeting(calendar),
        world.sim.create_event(calendar, NewEvent::new("Late", world.in_minutes(600), 30).at(LINK)),
    ];
    world.settle().await;
    world.sim.disconnect_calendar(calendar);
    world.settle().await;
    world.advance(TimeDelta::minutes(1));

    world.sim.reconnect_calendar(calendar);
    for message in world.sim.pending_webhooks() {
        if message.topic == "calendar.sync_events" {
            world.sim.lose_webhook(&message.id);
        }
    }
    world.settle().await;
    for event in events {
        world.bot(event);
    }
    world.finish().await;
}

#[tokio::test]
async fn a_calendar_that_is_reconnected_during_a_meeting_gets_a_bot_for_it() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.sim.disconnect_calendar(calendar);
    world.settle().await;
    world.advance(TimeDelta::minutes(65));
    world.sim.reconnect_calendar(calendar);
    world.settle().await;
    world.bot(event); // the one before was not sent away by a person
    world.finish().await;
}

#[tokio::test]
async fn a_disconnection_that_nobody_told_of_is_found() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.advance(TimeDelta::minutes(1));
    world.sim.disconnect_calendar(calendar);
    world.sim.reconnect_calendar(calendar);
    world.sim.lose_pending_webhooks();
    world.assert_no_bot(event);

    world.request_sweep().await;
    world.settle().await;
    world.bot(event);
    world.finish().await;
}

#[tokio::test]
async fn an_older_version_of_a_calendar_never_overwrites_a_newer_one() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.meeting(calendar);
    world.settle().await;
    world.advance(TimeDelta::minutes(1));
    world.sim.disconnect_calendar(calendar);
    world.settle().await;

    world.sim.fail_next(Endpoint::RetrieveCalendar, Fault::Stale, 1);
    let update = crate::receive::Post::signed(&world, "msg_1", &crate::receive::update_of(calendar));
    assert_eq!(update.status(&world).await, 204);
    world.sim.clear_calls();
    world.settle().await;
    assert_eq!(world.query("select status from calendars").await, "disconnected");
    assert_eq!(world.count_bot_calls(), 0);
    world.advance(TimeDelta::minutes(1)); // it is asked again
    world.finish().await;
}

#[tokio::test]
async fn the_bots_of_a_calendar_follow_its_address() {
    let world = World::with(&[("DEDUPLICATION", "company")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    for (number, (email, key_end)) in [
        (json!(null), format!("-{calendar}")),
        (json!("ada@acme.test"), "-acme.test".into()),
        (json!("ada@"), format!("-{calendar}")),
        (json!("ada@Other.test"), "-other.test".into()),
    ]
    .into_iter()
    .enumerate()
    {
        let mut shown = world.sim.calendar(calendar).unwrap();
        shown["platform_email"] = email;
        world.sim.fail_next(Endpoint::RetrieveCalendar, Fault::Body { status: 200, body: shown.to_string() }, 1);
        let update =
            crate::receive::Post::signed(&world, &format!("msg_{number}"), &crate::receive::update_of(calendar));
        assert_eq!(update.status(&world).await, 204);
        world.settle().await;
        assert!(world.bot(event).key.ends_with(&key_end), "{}", world.bot(event).key);
    }
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn an_event_that_changes_calendar_keeps_one_bot() {
    let world = World::with(&[("DEDUPLICATION", "company")]).await;
    let ada = world.calendar("ada@acme.test").await;
    let eve = world.calendar("eve@other.test").await;
    let event = world.meeting(ada);
    world.settle().await;
    world.sim.transfer_event(event, eve);
    world.settle().await;
    assert!(world.bot(event).key.ends_with("-other.test"));
    world.finish().await;
}

#[tokio::test]
async fn an_event_that_changes_calendar_while_its_bot_is_scheduled_gets_its_new_companys_key() {
    let world = World::with(&[("DEDUPLICATION", "company")]).await;
    let [from, to] = [world.calendar("ada@acme.test").await, world.calendar("eve@other.test").await];
    world.sim.create_event(to, NewEvent::new("Lunch", world.in_minutes(30), 30)); // so that there is a cursor
    world.settle().await;
    let event = world.meeting(from);
    world.sim.deliver_due().await;
    world.take_turns_until(Endpoint::ListEvents).await;
    world.sim.transfer_event(event, to);
    // No list has told of it yet, and what the answer shows is no news to the next one.
    world.take_turns().await;
    world.settle().await;
    assert!(world.bot(event).key.ends_with("-other.test"), "{}", world.bot(event).key);
    world.finish().await;
}

#[tokio::test]
async fn an_address_that_becomes_known_rekeys_the_bots_even_if_the_list_fails_first() {
    let world = World::with(&[("DEDUPLICATION", "company")]).await;
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.execute("update calendars set email = null").await;
    world.execute("update decisions set scheduled_key = 'as before the address was known'").await;
    world.sim.fail_next(Endpoint::ListEvents, Fault::Status(500), 1);
    world.sim.clear_calls();
    world.sim.touch_calendar(calendar);
    world.settle().await;
    world.advance(TimeDelta::minutes(5));
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::ScheduleBot), 1, "the event is decided on anew");
    world.bot(event);
    world.finish().await;
}

#[tokio::test]
async fn oauth_fields_are_never_kept() {
    let world = World::new().await;
    let body = json!({
        "platform": "google_calendar", "oauth_client_id": "id", "oauth_email": "ada@acme.test",
        "oauth_client_secret": "oauth-material-secret", "oauth_refresh_token": "oauth-material-token",
    });
    let url = format!("{}/api/v2/calendars/", world.sim.base_url());
    let created =
        Client::new().post(url).header("authorization", sim::DEFAULT_API_KEY).json(&body).send().await.unwrap();
    assert_eq!(created.status().as_u16(), 201);
    let created: serde_json::Value = created.json().await.unwrap();
    assert_eq!(created["oauth_refresh_token"], "oauth-material-token", "the API echoes it");
    let calendar: Uuid = created["id"].as_str().unwrap().parse().unwrap();
    world.settle().await;
    assert_eq!(world.query(&format!("select count(*) from calendars where id = '{calendar}'")).await, "1");
    world.finish().await; // looks for `oauth-material` in each row and log line
}

#[tokio::test]
async fn a_bot_in_a_call_is_remembered_though_its_event_has_moved_and_its_calendar_is_cut_off() {
    let world = World::new().await;
    let [ada, bob] = [world.calendar("ada@acme.test").await, world.calendar("bob@acme.test").await];
    let start = world.in_minutes(15);
    let event = world.sim.create_event(ada, NewEvent::new("Weekly", start, 60).at(LINK));
    world.settle().await;
    world.advance(TimeDelta::minutes(20));
    world.sim.move_event(event, world.in_minutes(120));
    world.sim.deliver_due().await;
    world.take_turns_until(Endpoint::ListEvents).await;
    // The event's own turn has yet to come.
    world.execute("delete from reconcile_queue where kind = 'event'").await;
    world.sim.disconnect_calendar(ada);
    world.settle().await;
    world.sim.create_event(bob, NewEvent::new("Weekly", start, 60).at(LINK));
    world.settle().await;
    assert_eq!(world.sim.all_bots().len(), 1, "{:#?}", world.sim.all_bots());
    world.finish().await;
}

async fn set_metadata(world: &World, calendar: Uuid, metadata: &Value) {
    let url = format!("{}/api/v2/calendars/{calendar}/", world.sim.base_url());
    let token = format!("Token {}", sim::DEFAULT_API_KEY);
    let change = Client::new().patch(url).header("authorization", token);
    assert_eq!(change.json(&json!({ "metadata": metadata })).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn metadata_that_stays_the_same_makes_no_calls() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.meeting(calendar);
    set_metadata(&world, calendar, &json!({ "z": "1", "a": "b" })).await;
    world.settle().await;
    world.advance(TimeDelta::minutes(17));
    world.sim.clear_calls();
    world.request_sweep().await;
    world.settle().await;
    assert_eq!(world.count_calls(Endpoint::RetrieveCalendar), 0);
    let update = json!({ "event": "calendar.update", "data": { "calendar_id": calendar } });
    world.sim.send_webhook("calendar.update", &update.to_string());
    world.settle().await;
    let is_whole = |call: &sim::Call| call.endpoint == Endpoint::ListEvents && !call.query.contains("updated_at");
    assert_eq!(world.count_calls(Endpoint::RetrieveCalendar), 1);
    assert!(!world.sim.calls().iter().any(is_whole), "nothing is read whole");
    world.finish().await;
}

#[tokio::test]
async fn what_changes_about_a_calendar_is_not_forgotten_when_its_list_loses_its_place() {
    let world = World::with(&[("RECORD_WHEN", r#"calendar.metadata.plan == "pro""#)]).await;
    world.sim.knobs(|knobs| knobs.page_size = 2);
    let calendar = world.calendar("ada@acme.test").await;
    let events: Vec<Uuid> = (0..6).map(|_| world.meeting(calendar)).collect();
    world.settle().await;
    events.iter().for_each(|event| world.assert_no_bot(*event));
    set_metadata(&world, calendar, &json!({ "plan": "pro" })).await;
    world.sim.fail_next(Endpoint::ListEvents, Fault::Latency(0), 1);
    world.sim.fail_next(Endpoint::ListEvents, Fault::Status(400), 1);
    world.request_sweep().await;
    world.settle().await;
    world.advance(TimeDelta::seconds(10));
    world.settle().await;
    events.iter().for_each(|event| _ = world.bot(*event));
    world.finish().await;
}
