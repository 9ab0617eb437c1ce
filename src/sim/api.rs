//! The HTTP API: what happens to a call from its arrival to its answer.
//!
//! A call passes, in this order: the log, the firewall (403), the key (401), the rate limit (429), faults that act before
//! the call does, `Idempotency-Key`, the hold on its deduplication key (409), the call itself, faults that act after it. It
//! is carried through in a task of its own: a client that hangs up does not undo what it asked for, as with any real server.

mod answer;
mod base64;
mod calendars;
mod events;
mod lists;
mod reply;
mod route;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::request::Parts;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::calls::Call;
use super::faults::{Endpoint, Fault};
use super::line::Line;
use super::shared::{Shared, World};
use answer::Answer;
pub(crate) use reply::Replies;
use route::Route;

/// The largest body that is read.
const BODY_LIMIT: usize = 4 << 20;

/// A call as the endpoints see it.
#[derive(Debug)]
struct Received {
    route: Route,
    query: String,
    body: Value,
    /// Path and query, for the links of pages.
    target: String,
    host: String,
    idempotency_key: Option<String>,
}

/// The one handler of every path outside `/sim/`.
pub(crate) async fn answer(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let carried = tokio::spawn(async move {
        let (parts, body) = request.into_parts();
        let bytes = to_bytes(body, BODY_LIMIT).await.unwrap_or_default();
        carry_out(&shared, &line, &parts, &bytes).await
    });
    let answer = carried.await.unwrap_or_else(|_| Answer::coded(500, "error", "The simulator failed."));
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap_or_default()
}

async fn carry_out(shared: &Arc<Shared>, line: &Line, parts: &Parts, bytes: &[u8]) -> Answer {
    let received = receive(parts, bytes);
    let number = shared.with(|world, now| world.log.add(log_entry(&received, parts, now)));
    let latency_ms = shared.with(|world, _| world.workspace.knobs.latency_ms);
    wait(latency_ms).await;

    let admitted = shared.with(|world, now| admit(world, shared, &received, parts, bytes, now));
    let decided = match admitted {
        Ok(fault) => act(shared, line, &received, fault).await,
        Err(Some(refusal)) => Some(refusal),
        Err(None) => None,
    };
    let Some(answer) = decided else {
        line.cut();
        return Answer::coded(503, "dropped", "");
    };
    shared.with(|world, _| world.log.set_status(number, answer.status));
    answer
}

/// A timer that is to wait for nothing takes a millisecond.
async fn wait(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

fn receive(parts: &Parts, bytes: &[u8]) -> Received {
    let header = |name: &str| parts.headers.get(name)?.to_str().ok().map(str::to_owned);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    Received {
        route: route::find(&parts.method, parts.uri.path()),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: serde_json::from_slice(bytes).unwrap_or(Value::Null),
        target: target.to_owned(),
        host: header("host").unwrap_or_default(),
        idempotency_key: header("idempotency-key"),
    }
}

fn log_entry(received: &Received, parts: &Parts, now: DateTime<Utc>) -> Call {
    Call {
        number: 0,
        at: now,
        endpoint: received.route.endpoint,
        method: parts.method.to_string(),
        path: received.route.path.clone(),
        id: received.route.id,
        query: received.query.clone(),
        body: received.body.clone(),
        status: 0,
    }
}

/// Lets a call in, with the fault that shall befall it. `Err(None)`: the connection is closed.
fn admit(
    world: &mut World,
    shared: &Shared,
    received: &Received,
    parts: &Parts,
    bytes: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<Fault>, Option<Answer>> {
    let knobs = &world.workspace.knobs;
    let shape = knobs.error_shape;
    let refuse = |answer: Answer| Err(Some(answer.shaped(shape)));
    if knobs.down {
        return Err(None);
    }
    let names_localhost = String::from_utf8_lossy(bytes).contains("localhost");
    let has_body_on_get = parts.method == http::Method::GET && !bytes.is_empty();
    if has_body_on_get || (knobs.block_localhost && names_localhost) {
        return refuse(Answer::coded(403, "request_blocked", "The request was blocked."));
    }
    if let Err(refusal) = check_key(parts, &shared.api_key) {
        return refuse(refusal);
    }
    if let Some(status) = received.route.refusal(knobs.strict_trailing_slash) {
        return refuse(Answer::status(status));
    }
    if let Err(secs) = world.limiter.admit(received.route.endpoint, now) {
        let throttled = Answer::status(429).with("retry-after", &secs.to_string());
        return refuse(throttled);
    }
    Ok(world.faults.take(received.route.endpoint, &knobs.call_rates, &mut world.rng))
}

/// `Token <key>` or the bare key \[C\].
fn check_key(parts: &Parts, key: &str) -> Result<(), Answer> {
    let header = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
    let Some(header) = header else {
        let detail = "Authentication credentials were not provided.";
        return Err(Answer::coded(401, "not_authenticated", detail));
    };
    let given = header.strip_prefix("Token ").unwrap_or(header).trim();
    if given.as_bytes().ct_eq(key.as_bytes()).into() {
        return Ok(());
    }
    let detail = "Invalid API token. Is the key of this region?";
    Err(Answer::coded(401, "authentication_failed", detail))
}

/// Carries an admitted call out. `None`: the connection is closed unanswered.
async fn act(shared: &Arc<Shared>, line: &Line, received: &Received, fault: Option<Fault>) -> Option<Answer> {
    let shape = shared.with(|world, _| world.workspace.knobs.error_shape);
    let _hold = match Hold::take(shared, received) {
        Ok(hold) => hold,
        Err(conflict) => return Some(conflict.shaped(shape)),
    };
    match &fault {
        Some(Fault::Status(status)) => return Some(Answer::status(*status).shaped(shape)),
        Some(Fault::RetryAfter { status, secs }) => {
            let answer = Answer::status(*status).with("retry-after", &secs.to_string());
            return Some(answer.shaped(shape));
        }
        Some(Fault::Body { status, body }) => return Some(Answer::json(*status, body.clone())),
        Some(Fault::Drop) => return None,
        Some(Fault::Hang) => shared.hang().await,
        Some(Fault::Latency(ms)) => wait(*ms).await,
        _ => {}
    }
    let answer = shared.with(|world, now| reply::once(world, received, fault.as_ref(), now));
    let hold_ms = shared.with(|world, _| world.workspace.knobs.key_hold_ms);
    if received.route.is_bot_call() {
        wait(hold_ms).await;
    }
    match &fault {
        Some(Fault::HangAnswer) => shared.hang().await,
        Some(Fault::LoseAnswer) => line.cut(),
        Some(Fault::Truncate) => line.cut_in_body(),
        Some(Fault::Trickle) => line.trickle(),
        Some(Fault::WrongShape) => {
            return Some(Answer::json(answer.status, WRONG_SHAPE.to_owned()));
        }
        _ => {}
    }
    Some(answer.shaped(shape))
}

/// JSON, but of nothing that the API has.
const WRONG_SHAPE: &str = r#"[{"unexpected":true}]"#;

/// Carries the call itself out.
fn call(world: &mut World, received: &Received, fault: Option<&Fault>, now: DateTime<Utc>) -> Answer {
    match received.route.endpoint {
        Endpoint::CreateCalendar => calendars::create(world, received, now),
        Endpoint::ListCalendars => calendars::list(world, received, fault),
        Endpoint::RetrieveCalendar => calendars::retrieve(world, received, fault),
        Endpoint::UpdateCalendar => calendars::update(world, received, now),
        Endpoint::DeleteCalendar => calendars::delete(world, received, now),
        Endpoint::AccessToken => calendars::access_token(world, received, now),
        Endpoint::ListEvents => events::list(world, received, fault),
        Endpoint::RetrieveEvent => events::retrieve(world, received, fault),
        Endpoint::ScheduleBot => events::schedule_bot(world, received, fault, now),
        Endpoint::DeleteBot => events::delete_bot(world, received, fault, now),
        Endpoint::RetrieveBot => events::retrieve_bot(world, received),
        Endpoint::LeaveCall => events::leave_call(world, received, now),
        Endpoint::Any => Answer::status(404),
    }
}

/// The hold of a call on its deduplication key, and on its `Idempotency-Key`, while it is under way.
#[derive(Debug)]
struct Hold {
    shared: Arc<Shared>,
    keys: Vec<String>,
}

impl Hold {
    /// 409 if another call holds one of them \[C\].
    fn take(shared: &Arc<Shared>, received: &Received) -> Result<Self, Answer> {
        shared.with(|world, _| {
            let keys = keys_of(world, received);
            if keys.iter().any(|key| world.held_keys.contains(key)) {
                return Err(Answer::status(409));
            }
            world.held_keys.extend(keys.iter().cloned());
            Ok(Self { shared: Arc::clone(shared), keys })
        })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        self.shared.with(|world, _| world.held_keys.retain(|held| !keys.contains(held)));
    }
}

fn keys_of(world: &World, received: &Received) -> Vec<String> {
    let bot_key = match received.route.endpoint {
        Endpoint::ScheduleBot => received.body["deduplication_key"].as_str().map(str::to_owned),
        Endpoint::DeleteBot => received.route.id.and_then(|id| world.workspace.key_of(id)),
        _ => None,
    };
    let idempotency_key = received.idempotency_key.as_ref().map(|key| reply::name(received, key));
    let bot_key = bot_key.map(|key| format!("key {key}"));
    bot_key.into_iter().chain(idempotency_key).collect()
}
