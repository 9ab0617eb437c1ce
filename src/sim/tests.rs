//! The simulator over HTTP, as a client and a webhook receiver meet it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, StatusCode};
use reqwest::Method;
use serde_json::{Value, json};
use svix::webhooks::Webhook;
use uuid::Uuid;

use super::*;

const MEET: &str = "https://meet.google.com/abc-defg-hij";

fn morning() -> DateTime<Utc> {
    "2026-01-20T09:00:00Z".parse().unwrap()
}

fn in_minutes(minutes: i64) -> DateTime<Utc> {
    morning() + TimeDelta::minutes(minutes)
}

fn sync_meeting(minutes: i64) -> NewEvent {
    NewEvent::new("Weekly sync", in_minutes(minutes), 30).at(MEET)
}

async fn start() -> Sim {
    start_with(SimConfig::default()).await
}

async fn start_with(config: SimConfig) -> Sim {
    Sim::start(SimConfig { clock: SimClock::manual(morning()), ..config }).await.unwrap()
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

async fn try_call(sim: &Sim, method: Method, target: &str, body: Option<Value>) -> reqwest::Result<Answer> {
    let url = if target.starts_with("http") { target.to_owned() } else { sim.base_url() + target };
    let mut request = sim.shared.client.request(method, url);
    request = request.header("authorization", format!("Token {DEFAULT_API_KEY}"));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Ok(Answer { status, headers, text: answer.text().await? })
}

async fn call(sim: &Sim, method: Method, target: &str, body: Option<Value>) -> Answer {
    try_call(sim, method, target, body).await.unwrap()
}

async fn get(sim: &Sim, target: &str) -> Answer {
    call(sim, Method::GET, target, None).await
}

fn bot_path(event: Uuid) -> String {
    format!("/api/v2/calendar-events/{event}/bot/")
}

async fn schedule(sim: &Sim, event: Uuid, key: &str) -> Answer {
    let body = json!({"deduplication_key": key, "bot_config": {"bot_name": "Notes"}});
    call(sim, Method::POST, &bot_path(event), Some(body)).await
}

/// Answers with a status, and keeps what it was sent.
#[derive(Clone, Default)]
struct Receiver {
    status: Arc<Mutex<u16>>,
    received: Arc<Mutex<Vec<(HeaderMap, String)>>>,
}

impl Receiver {
    async fn start() -> (Self, String) {
        let receiver = Self::default();
        receiver.answer_with(200);
        let app = Router::new().route("/hook", post(Self::receive)).with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=a+b", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, url)
    }

    fn answer_with(&self, status: u16) {
        *self.status.lock().unwrap() = status;
    }

    async fn receive(State(receiver): State<Self>, headers: HeaderMap, body: Bytes) -> StatusCode {
        let body = String::from_utf8(body.to_vec()).unwrap();
        receiver.received.lock().unwrap().push((headers, body));
        StatusCode::from_u16(*receiver.status.lock().unwrap()).unwrap()
    }

    fn take(&self) -> Vec<(HeaderMap, String)> {
        std::mem::take(&mut self.received.lock().unwrap())
    }
}

// ---- The API ----

#[tokio::test]
async fn pages_are_walked_by_following_next_verbatim() {
    let sim = start().await;
    sim.knobs(|knobs| knobs.page_size = 3);
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let bo = sim.connect_calendar(NewCalendar::outlook("bo@acme.test"));
    let mut made = sim.create_events(ada, (0..10).map(|_| sync_meeting(60)).collect());
    sim.create_event(bo, sync_meeting(60));

    let (mut seen, mut pages) = (Vec::new(), 0);
    let mut next =
        Some(format!("/api/v2/calendar-events/?calendar_id={ada}&updated_at__gte=2026-01-20T09%3A00%3A00%2B00%3A00"));
    while let Some(target) = next {
        let page = get(&sim, &target).await.json();
        for event in page["results"].as_array().unwrap() {
            seen.push(event["id"].as_str().unwrap().parse().unwrap());
        }
        pages += 1;
        next = page["next"].as_str().map(str::to_owned);
    }
    made.sort_unstable();
    assert_eq!((seen, pages), (made, 4));
}

#[tokio::test]
async fn the_key_is_taken_with_and_without_its_prefix_and_nothing_else_is() {
    let sim = start().await;
    let target = sim.base_url() + "/api/v2/calendars/";
    let client = &sim.shared.client;
    for (header, status) in [("Token sim-api-key", 200), ("sim-api-key", 200), ("Token other", 401)] {
        let answer = client.get(&target).header("authorization", header).send().await.unwrap();
        assert_eq!(answer.status(), status, "{header}");
    }
    let answer = client.get(&target).send().await.unwrap();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["code"], "not_authenticated");
}

#[tokio::test]
async fn a_get_with_a_body_is_blocked() {
    let sim = start().await;
    let answer = call(&sim, Method::GET, "/api/v2/calendars/", Some(Value::Null)).await;
    assert_eq!((answer.status, answer.json()["code"].as_str().unwrap()), (403, "request_blocked"));
}

#[tokio::test]
async fn the_last_slash_may_be_left_out_unless_strict() {
    let sim = start().await;
    assert_eq!(get(&sim, "/api/v2/calendars").await.status, 200);
    sim.knobs(|knobs| knobs.strict_trailing_slash = true);
    assert_eq!(get(&sim, "/api/v2/calendars").await.status, 404);
    assert_eq!(get(&sim, "/api/v2/calendars/").await.status, 200);
    assert_eq!(get(&sim, "/api/v3/calendars/").await.status, 404);
    assert_eq!(call(&sim, Method::PUT, "/api/v2/calendars/", None).await.status, 405);
}

#[tokio::test]
async fn lists_are_limited_to_sixty_a_minute_and_say_when_to_return() {
    let sim = start().await;
    for _ in 0..60 {
        assert_eq!(get(&sim, "/api/v2/calendar-events/").await.status, 200);
    }
    let refused = get(&sim, "/api/v2/calendar-events/").await;
    assert_eq!((refused.status, refused.headers["retry-after"].to_str().unwrap()), (429, "60"));
    assert_eq!(get(&sim, "/api/v2/calendars/").await.status, 200, "the other list has its own limit");
    sim.clock().advance(TimeDelta::seconds(60));
    assert_eq!(get(&sim, "/api/v2/calendar-events/").await.status, 200);
}

#[tokio::test]
async fn a_calendar_made_by_the_api_connects_by_itself_and_shows_its_secrets() {
    let sim = start().await;
    let body = json!({"platform": "google_calendar", "oauth_client_id": "id", "oauth_client_secret": "secret",
        "oauth_refresh_token": "refresh", "oauth_email": "ada@acme.test", "metadata": {"tenant": "acme"}});
    let made = call(&sim, Method::POST, "/api/v2/calendars/", Some(body)).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    assert_eq!((&made["status"], &made["platform_email"]), (&json!("connecting"), &Value::Null));
    let target = format!("/api/v2/calendars/{}/", made["id"].as_str().unwrap());
    let shown = get(&sim, &target).await.json();
    assert_eq!((&shown["status"], &shown["platform_email"]), (&json!("connected"), &json!("ada@acme.test")));
    assert_eq!(shown["oauth_refresh_token"], "refresh");
    let found = get(&sim, "/api/v2/calendars/?email=ada@acme.test&platform_email=nobody").await.json();
    assert_eq!(found["results"].as_array().unwrap().len(), 1, "unknown parameters are ignored");
    let topics: Vec<_> = sim.pending_webhooks().into_iter().map(|message| message.topic).collect();
    assert_eq!(topics, ["calendar.update", "calendar.sync_events"]);
}

#[tokio::test]
async fn an_ended_event_is_refused_with_the_documented_body() {
    let sim = start().await;
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let ended = sim.create_event(ada, sync_meeting(-60));
    let answer = schedule(&sim, ended, "k").await;
    assert_eq!(answer.status, 400);
    let body = answer.json();
    assert_eq!(body["code"], "invalid_request_data");
    assert_eq!(body["errors"]["non_field_errors"][0], "Cannot schedule bot as calendar event has ended.");
    sim.knobs(|knobs| knobs.error_shape = Some(ErrorShape::FieldMap));
    let body = schedule(&sim, ended, "k").await.json();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["non_field_errors"]);
}

#[tokio::test]
async fn scheduling_and_deleting_answer_with_the_event() {
    let sim = start().await;
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let event = sim.create_event(ada, sync_meeting(60));
    let shown = schedule(&sim, event, "k").await;
    assert_eq!(shown.status, 200);
    let shown = shown.json();
    assert_eq!(shown, sim.event(event).unwrap());
    assert_eq!(shown["bots"][0]["deduplication_key"], "k");
    assert_eq!(shown["bots"][0]["start_time"], shown["start_time"]);
    let bot = get(&sim, &format!("/api/v1/bot/{}/", shown["bots"][0]["bot_id"].as_str().unwrap())).await;
    assert_eq!(bot.json()["bot_name"], "Notes");
    for _ in 0..2 {
        let shown = call(&sim, Method::DELETE, &bot_path(event), None).await;
        assert_eq!((shown.status, shown.json()["bots"].clone()), (200, json!([])));
    }
    assert_eq!(call(&sim, Method::DELETE, &bot_path(Uuid::nil()), None).await.status, 404);
}

#[tokio::test]
async fn the_log_says_what_was_called() {
    let sim = start().await;
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let event = sim.create_event(ada, sync_meeting(60));
    schedule(&sim, event, "k").await;
    let calls = sim.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].path, "/api/v2/calendar-events/{id}/bot/");
    assert_eq!((calls[0].endpoint, calls[0].id, calls[0].status), (Endpoint::ScheduleBot, Some(event), 200));
    sim.clear_calls();
    assert_eq!(sim.calls(), []);
}

#[tokio::test]
async fn an_idempotency_key_replays_its_answer_for_an_hour() {
    let sim = start().await;
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let event = sim.create_event(ada, sync_meeting(600));
    let post = async |key: &str| {
        let request = sim.shared.client.post(sim.base_url() + &bot_path(event));
        let body = json!({"deduplication_key": key, "bot_config": {}});
        let request = request.header("authorization", DEFAULT_API_KEY).header("idempotency-key", "same");
        let answer: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
        answer["bots"][0]["deduplication_key"].as_str().unwrap().to_owned()
    };
    assert_eq!(post("first").await, "first");
    assert_eq!(post("second").await, "first");
    sim.clock().advance(TimeDelta::hours(1));
    assert_eq!(post("second").await, "second");
}

// ---- Faults ----

#[tokio::test]
async fn a_lost_answer_acted_and_a_refusal_did_not() {
    let sim = start().await;
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let event = sim.create_event(ada, sync_meeting(60));
    let body = json!({"deduplication_key": "k", "bot_config": {}});

    for fault in [Fault::Status(500), Fault::Status(502), Fault::RetryAfter { status: 507, secs: 30 }] {
        sim.fail_next(Endpoint::ScheduleBot, fault, 1);
        assert!(schedule(&sim, event, "k").await.status >= 500);
    }
    sim.fail_next(Endpoint::Any, Fault::Drop, 1);
    assert!(try_call(&sim, Method::POST, &bot_path(event), Some(body.clone())).await.is_err());
    assert_eq!(sim.live_bots().len(), 0);

    for (round, fault) in [Fault::LoseAnswer, Fault::Truncate].into_iter().enumerate() {
        sim.fail_next(Endpoint::ScheduleBot, fault, 1);
        assert!(try_call(&sim, Method::POST, &bot_path(event), Some(body.clone())).await.is_err());
        assert_eq!(sim.live_bots().len(), 1, "round {round}");
        call(&sim, Method::DELETE, &bot_path(event), None).await;
    }
}

#[tokio::test]
async fn an_answer_trickles_byte_by_byte_after_its_head() {
    let sim = start().await;
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let event = sim.create_event(ada, sync_meeting(60));
    sim.fail_next(Endpoint::ScheduleBot, Fault::Trickle, 1);
    let body = json!({"deduplication_key": "k", "bot_config": {}});
    let request = sim.shared.client.post(sim.base_url() + &bot_path(event)).json(&body);
    let request = request.header("authorization", format!("Token {DEFAULT_API_KEY}"));
    let mut answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.chunk().await.unwrap().unwrap().len(), 1);
    assert_eq!(sim.live_bots().len(), 1);
}

#[tokio::test]
async fn a_call_hangs_until_it_is_released_and_holds_its_key() {
    let sim = Arc::new(start().await);
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let event = sim.create_event(ada, sync_meeting(60));
    sim.fail_next(Endpoint::ScheduleBot, Fault::HangAnswer, 1);
    let hanging = tokio::spawn({
        let sim = Arc::clone(&sim);
        async move { schedule(&sim, event, "k").await.status }
    });
    while sim.hanging() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(sim.live_bots().len(), 1);
    assert_eq!(schedule(&sim, event, "k").await.status, 409);
    sim.release();
    assert_eq!(hanging.await.unwrap(), 200);
    assert_eq!(schedule(&sim, event, "k").await.status, 200);
}

#[tokio::test]
async fn pages_can_repeat_shift_lead_elsewhere_and_be_stale() {
    let sim = start().await;
    sim.knobs(|knobs| knobs.page_size = 2);
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let events = sim.create_events(ada, (0..4).map(|n| sync_meeting(60 + n)).collect());
    let target = "/api/v2/calendar-events/";

    sim.fail_next(Endpoint::ListEvents, Fault::RepeatPage, 1);
    let page = get(&sim, target).await.json();
    assert_eq!(page["next"], sim.base_url() + target);
    sim.fail_next(Endpoint::ListEvents, Fault::ShiftPage, 1);
    assert_eq!(get(&sim, target).await.json()["results"].as_array().unwrap().len(), 1);
    sim.fail_next(Endpoint::ListEvents, Fault::NextElsewhere("https://elsewhere.test".to_owned()), 1);
    let page = get(&sim, target).await.json();
    assert!(page["next"].as_str().unwrap().starts_with("https://elsewhere.test/api/v2/calendar-events/?cursor="));

    let before = sim.event(events[0]).unwrap();
    sim.move_event(events[0], in_minutes(90));
    sim.fail_next(Endpoint::RetrieveEvent, Fault::Stale, 1);
    let target = format!("/api/v2/calendar-events/{}/", events[0]);
    assert_eq!(get(&sim, &target).await.json(), before);
    assert_ne!(get(&sim, &target).await.json(), before);
}

#[tokio::test]
async fn an_event_can_be_shown_malformed() {
    let sim = start().await;
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let event = sim.create_event(ada, sync_meeting(60));
    let target = format!("/api/v2/calendar-events/{event}/");
    sim.override_event_json(event, |shown| shown["start_time"] = json!(5));
    assert_eq!(get(&sim, &target).await.json()["start_time"], 5);
    sim.override_event(event, Some("{".to_owned()));
    assert_eq!(get(&sim, &target).await.text, "{");
    sim.override_event(event, None);
    assert_eq!(get(&sim, &target).await.json(), sim.event(event).unwrap());
}

#[tokio::test]
async fn answers_can_be_of_another_shape_and_recall_can_be_away() {
    let sim = start().await;
    let target = "/api/v2/calendars/";
    sim.fail_next(Endpoint::ListCalendars, Fault::WrongShape, 1);
    assert!(get(&sim, target).await.json().is_array());
    let body = "not json".to_owned();
    sim.fail_next(Endpoint::ListCalendars, Fault::Body { status: 200, body }, 1);
    assert_eq!(get(&sim, target).await.text, "not json");
    sim.knobs(|knobs| knobs.down = true);
    assert!(try_call(&sim, Method::GET, target, None).await.is_err());
    assert_eq!(sim.calls().last().unwrap().status, 0);
    sim.knobs(|knobs| knobs.down = false);
    sim.knobs(|knobs| knobs.call_rates.throttle = 1.0);
    assert_eq!(get(&sim, target).await.status, 429);
}

#[tokio::test]
async fn a_localhost_link_is_blocked_when_asked_to() {
    let sim = start().await;
    sim.knobs(|knobs| knobs.block_localhost = true);
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let target = format!("/api/v2/calendars/{ada}/");
    let body = Some(json!({"webhook_url": "http://localhost:8080/"}));
    assert_eq!(call(&sim, Method::PATCH, &target, body).await.status, 403);
    assert_eq!(sim.calendar(ada).unwrap()["webhook_url"], Value::Null);
}

#[tokio::test]
async fn a_dispatched_bot_leaves_by_its_own_endpoint() {
    let sim = start().await;
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let event = sim.create_event(ada, sync_meeting(60));
    schedule(&sim, event, "k").await;
    let target = format!("/api/v1/bot/{}/leave_call/", sim.live_bots()[0].id);
    assert_eq!(call(&sim, Method::POST, &target, None).await.status, 400);
    sim.clock().set(in_minutes(65));
    assert_eq!(call(&sim, Method::POST, &target, None).await.status, 200);
    assert_eq!(sim.bots_of(event)[0].state, BotState::Left);
    assert_eq!(sim.event(event).unwrap()["bots"].as_array().unwrap().len(), 1, "it stays as history");
}

#[tokio::test]
async fn a_provider_token_is_given_while_the_grant_is_good() {
    let sim = start().await;
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let target = format!("/api/v2/calendars/{ada}/access-token/");
    assert!(call(&sim, Method::POST, &target, None).await.json()["token"].is_string());
    sim.disconnect_calendar(ada);
    let refused = call(&sim, Method::POST, &target, None).await;
    assert_eq!((refused.status, refused.json()["code"].as_str().unwrap()), (400, "bad_refresh_token"));
}

#[tokio::test]
async fn a_malformed_filter_is_refused() {
    let sim = start().await;
    let plus = "/api/v2/calendar-events/?updated_at__gte=2026-01-20T09:00:00.000001+00:00";
    assert_eq!(get(&sim, plus).await.status, 400, "the plus arrived as a space");
    assert_eq!(get(&sim, "/api/v2/calendar-events/?calendar_id=x").await.status, 400);
    assert_eq!(get(&sim, "/api/v2/calendar-events/?cursor=x").await.status, 404);
}

// ---- Webhooks ----

#[tokio::test]
async fn each_attempt_is_signed_afresh_under_the_same_id() {
    let (receiver, url) = Receiver::start().await;
    let sim = start().await;
    sim.set_endpoint(&url);
    sim.set_secrets(&[DEFAULT_SECRET, "whsec_plJ3nmyCDGBKInavdOK15jsl"]);
    sim.knobs(|knobs| knobs.header_family = HeaderFamily::Both);
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    sim.lose_pending_webhooks();
    sim.touch_calendar(ada);

    receiver.answer_with(503);
    assert_eq!(sim.deliver_due().await[0].status, Some(503));
    assert_eq!(sim.deliver_due().await, [], "the next attempt is not due");
    sim.clock().set(sim.next_due().unwrap());
    receiver.answer_with(204);
    assert!(sim.deliver_due().await[0].is_delivered());

    let received = receiver.take();
    assert_eq!(received.len(), 2);
    let id = |at: usize| received[at].0["svix-id"].to_str().unwrap();
    assert_eq!(id(0), id(1));
    assert_eq!(id(0).len(), 4 + 27);
    assert_ne!(received[0].0["svix-timestamp"], received[1].0["svix-timestamp"]);
    for (headers, body) in &received {
        assert_eq!(headers["svix-signature"], headers["webhook-signature"]);
        for secret in [DEFAULT_SECRET, "whsec_plJ3nmyCDGBKInavdOK15jsl"] {
            let webhook = Webhook::new(secret).unwrap();
            webhook.verify_ignoring_timestamp(body.as_bytes(), headers).unwrap();
        }
    }
}

#[test]
fn the_documents_vectors_are_reproduced() {
    let sign = |secret: &str, id: &str, at: i64, body: &str| {
        Webhook::new(secret).unwrap().sign(id, at, body.as_bytes()).unwrap()
    };
    assert_eq!(
        sign(
            "whsec_plJ3nmyCDGBKInavdOK15jsl",
            "msg_loFOjxBNrRLzqYUf",
            1_731_705_121,
            r#"{"event_type":"ping","data":{"success":true}}"#
        ),
        "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="
    );
    assert_eq!(
        sign(
            DEFAULT_SECRET,
            "msg_2rTestVector0000000000000A",
            1_768_469_400,
            r#"{"event":"calendar.sync_events","data":{"calendar_id":"0b9f8f6e-7b0a-4b1e-9c60-4f4d0b1f2a11","last_updated_ts":"2026-01-15T09:30:00.123456+00:00"}}"#
        ),
        "v1,2ABW6dkjA3y6dERNVL/Tu6BKguni9apWnYTICQhZVxw="
    );
    assert_eq!(
        sign(DEFAULT_SECRET, "msg_2rTestVector0000000000000B", 1_768_469_400, ""),
        "v1,kYzFx4P/W5Lt7N6Kjh2UBK46bo+4b850ka91hNM6lf8="
    );
}

#[tokio::test]
async fn failures_are_retried_on_svixs_schedule_and_then_given_up_and_can_be_recovered() {
    let (receiver, url) = Receiver::start().await;
    receiver.answer_with(302);
    let sim = start().await;
    sim.set_endpoint(&url);
    let id = sim.send_webhook("calendar.update", "{}");
    let mut waits = Vec::new();
    while let Some(due) = sim.next_due() {
        waits.push((due - sim.clock().now()).num_seconds());
        sim.clock().set(due);
        assert_eq!(sim.deliver_due().await.len(), 1);
    }
    assert_eq!(waits, [0, 5, 300, 1800, 7200, 18_000, 36_000, 36_000]);
    assert_eq!(sim.webhooks()[0].state, MessageState::Failed);

    receiver.answer_with(200);
    assert_eq!(sim.recover_failed_webhooks(morning()), 1);
    let attempts = sim.deliver_due().await;
    assert_eq!((attempts[0].message_id.as_str(), attempts[0].number), (id.as_str(), 9));
    assert!(sim.replay_webhook(&id));
}

#[tokio::test]
async fn an_endpoint_that_fails_for_five_days_is_disabled() {
    let (receiver, url) = Receiver::start().await;
    receiver.answer_with(500);
    let sim = start().await;
    sim.set_endpoint(&url);
    for _ in 0..=5 {
        sim.send_webhook("calendar.update", "{}");
        sim.deliver_due().await;
        sim.clock().advance(TimeDelta::days(1));
    }
    assert!(sim.is_endpoint_disabled());
    sim.send_webhook("calendar.update", "{}");
    assert_eq!((sim.next_due(), sim.pending_webhooks()), (None, vec![]));
    sim.enable_endpoint();
    sim.send_webhook("calendar.update", "{}");
    assert_eq!(sim.deliver_due().await.len(), 1);
}

#[tokio::test]
async fn a_calendars_own_url_is_called_unsigned_as_it_stands_for_an_hour() {
    let (receiver, url) = Receiver::start().await;
    receiver.answer_with(500);
    let sim = start_with(SimConfig { endpoints: Vec::new(), ..SimConfig::default() }).await;
    let mut new = NewCalendar::google("ada@acme.test");
    new.webhook_url = Some(url.clone());
    let ada = sim.connect_calendar(new);
    sim.lose_pending_webhooks();
    sim.touch_calendar(ada);
    while let Some(due) = sim.next_due() {
        sim.clock().set(due);
        assert_eq!(sim.deliver_due().await[0].url, url);
    }
    assert!(sim.clock().now() <= morning() + TimeDelta::hours(1));
    let received = receiver.take();
    assert!(received.len() > 5);
    assert!(received.iter().all(|(headers, _)| !headers.contains_key("webhook-signature")));
}

#[tokio::test]
async fn webhooks_are_lost_repeated_delayed_and_reordered_as_told() {
    let sim = start().await;
    let ids = |sim: &Sim| sim.pending_webhooks().into_iter().map(|message| message.id).collect::<Vec<_>>();
    sim.lose_next_webhooks(1);
    sim.send_webhook("a", "{}");
    assert_eq!(sim.webhooks()[0].state, MessageState::Lost);
    sim.duplicate_next_webhooks(1);
    let twice = sim.send_webhook("a", "{}");
    assert_eq!(ids(&sim), [twice.clone(), twice.clone()]);
    sim.delay_next_webhooks(1, TimeDelta::minutes(5));
    let late = sim.send_webhook("a", "{}");
    assert_eq!(sim.pending_webhooks()[2].due, in_minutes(5));
    sim.reverse_pending_webhooks();
    assert_eq!(ids(&sim), [late.clone(), twice.clone(), twice.clone()]);
    assert!(sim.lose_webhook(&late));
    assert_eq!(ids(&sim), [twice.clone(), twice]);
}

#[tokio::test]
async fn a_live_simulator_delivers_by_itself() {
    let (receiver, url) = Receiver::start().await;
    let sim = Sim::start(SimConfig { delivery: Delivery::Live, ..SimConfig::default() }).await.unwrap();
    sim.set_endpoint(&url);
    sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    while receiver.received.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    let (headers, body) = receiver.take().remove(0);
    Webhook::new(DEFAULT_SECRET).unwrap().verify(body.as_bytes(), &headers).unwrap();
    sim.stop().await;
}

#[tokio::test]
async fn bots_announce_themselves_when_asked_to() {
    let sim = start().await;
    sim.knobs(|knobs| knobs.bot_webhooks = true);
    let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let event = sim.create_event(ada, sync_meeting(60));
    schedule(&sim, event, "k").await;
    sim.lose_pending_webhooks();
    sim.clock().set(in_minutes(95));
    let topics: Vec<_> = sim.pending_webhooks().into_iter().map(|message| message.topic).collect();
    assert_eq!(topics, ["bot.joining_call", "bot.in_call_recording", "bot.call_ended", "bot.done"]);
}

// ---- The control plane ----

#[tokio::test]
async fn everything_can_be_told_over_http() {
    let sim = start().await;
    let tell = async |method: &str, target: &str, body: Value| {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = call(&sim, method, target, Some(body)).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text);
        serde_json::from_str(&answer.text).unwrap_or(Value::Null)
    };
    assert!(get(&sim, "/sim/").await.text.contains("/sim/faults"));
    let ada = tell("POST", "/sim/calendars", json!({"platform": "google_calendar", "email": "ada@acme.test"})).await;
    let ada = ada["id"].as_str().unwrap().to_owned();
    let new = json!({"title": "Sync", "start": in_minutes(60), "end": in_minutes(90), "meeting_url": MEET});
    let made = tell("POST", &format!("/sim/calendars/{ada}/events"), new.clone()).await;
    let event: Uuid = made["ids"][0].as_str().unwrap().parse().unwrap();
    let meeting = tell("POST", "/sim/meetings", json!({"calendars": [ada], "event": new})).await;
    assert_eq!(meeting["ids"].as_array().unwrap().len(), 1);

    tell("POST", &format!("/sim/events/{event}/move"), json!({"start": in_minutes(120)})).await;
    tell("POST", &format!("/sim/events/{event}/relink"), json!({"meeting_url": null})).await;
    tell("PATCH", &format!("/sim/events/{event}"), json!({"title": "Other"})).await;
    let shown = sim.event(event).unwrap();
    assert_eq!((&shown["raw"]["summary"], &shown["meeting_url"]), (&json!("Other"), &Value::Null));
    assert_eq!(shown["start_time"], "2026-01-20T11:00:00Z");
    tell("DELETE", &format!("/sim/events/{event}"), json!(null)).await;
    assert_eq!(sim.event(event).unwrap()["is_deleted"], true);

    tell("PATCH", "/sim/knobs", json!({"page_size": 1, "call_rates": {"refuse": 0.0}})).await;
    tell("POST", "/sim/faults", json!({"endpoint": "list_events", "fault": {"status": 500}})).await;
    assert_eq!(get(&sim, "/api/v2/calendar-events/").await.status, 500);
    let page = get(&sim, "/api/v2/calendar-events/").await.json();
    assert_eq!(page["results"].as_array().unwrap().len(), 1);
    tell("PUT", "/sim/clock", json!({"advance_secs": 60})).await;
    assert_eq!(sim.clock().now(), in_minutes(1));
    tell("POST", &format!("/sim/calendars/{ada}/disconnect"), json!(null)).await;
    assert_eq!(get(&sim, "/sim/calendars").await.json()[0]["status"], "disconnected");
    tell("PUT", "/sim/endpoint", json!({"url": "http://127.0.0.1:1/"})).await;
    let attempts = tell("POST", "/sim/webhooks/deliver", json!(null)).await;
    assert!(attempts[0]["error"].is_string());
    assert_eq!(get(&sim, "/sim/calls").await.json().as_array().unwrap().len(), 2);
    for target in ["/sim/bots", "/sim/bots/all", "/sim/webhooks", "/sim/webhooks/pending", "/sim/knobs", "/sim/clock"] {
        assert_eq!(get(&sim, target).await.status, 200, "{target}");
    }
    let unknown = call(&sim, Method::POST, &format!("/sim/events/{}/cancel", Uuid::nil()), None).await;
    assert_eq!(unknown.status, 404);
    let unfit = call(&sim, Method::PATCH, "/sim/knobs", Some(json!({"page_sise": 1}))).await;
    assert_eq!(unfit.status, 422);
}
