//! Knobs, faults, webhooks and the clock over HTTP.

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Misuse;
use crate::sim::{Attempt, Endpoint, Fault, Knobs, Limits, Recall};

pub(super) async fn knobs(State(recall): State<Recall>) -> Json<Knobs> {
    Json(recall.current_knobs())
}

pub(super) async fn turn_knobs(State(recall): State<Recall>, Json(turned): Json<Value>) -> Result<Json<Knobs>, Misuse> {
    let mut knobs = serde_json::to_value(recall.current_knobs())?;
    merge(&mut knobs, turned);
    let knobs: Knobs = serde_json::from_value(knobs)?;
    recall.knobs(|current| current.clone_from(&knobs));
    Ok(Json(knobs))
}

/// Objects field by field, so that one rate can be set without the others.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

pub(super) async fn limits(State(recall): State<Recall>, Json(limits): Json<Limits>) {
    recall.limits(limits);
}

/// A fault for the next calls.
#[derive(Debug, Deserialize)]
pub(super) struct Order {
    endpoint: Endpoint,
    fault: Fault,
    times: Option<usize>,
}

pub(super) async fn fail_next(State(recall): State<Recall>, Json(order): Json<Order>) {
    recall.fail_next(order.endpoint, order.fault, order.times.unwrap_or(1));
}

pub(super) async fn clear_faults(State(recall): State<Recall>) {
    recall.clear_faults();
}

pub(super) async fn release(State(recall): State<Recall>) {
    recall.release();
}

pub(super) async fn show(State(recall): State<Recall>, Path(id): Path<Uuid>, text: String) -> Result<(), Misuse> {
    recall.override_event(recall.find_event(id)?, Some(text));
    Ok(())
}

pub(super) async fn show_again(State(recall): State<Recall>, Path(id): Path<Uuid>) -> Result<(), Misuse> {
    recall.override_event(recall.find_event(id)?, None);
    Ok(())
}

/// Where webhooks go and how they are signed.
#[derive(Debug, Deserialize)]
pub(super) struct NewEndpoint {
    url: Option<String>,
    secrets: Option<Vec<String>>,
}

pub(super) async fn endpoint(State(recall): State<Recall>, Json(new): Json<NewEndpoint>) {
    if let Some(secrets) = new.secrets {
        let secrets: Vec<_> = secrets.iter().map(String::as_str).collect();
        recall.set_secrets(&secrets);
    }
    if let Some(url) = new.url {
        recall.set_endpoint(&url);
    }
}

pub(super) async fn enable_endpoint(State(recall): State<Recall>) {
    recall.enable_endpoint();
}

pub(super) async fn deliver(State(recall): State<Recall>) -> Json<Vec<Attempt>> {
    Json(recall.deliver_due().await)
}

/// How many of the next webhooks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Next {
    n: Option<usize>,
    secs: i64,
}

pub(super) async fn befall_webhooks(
    State(recall): State<Recall>,
    Path(what): Path<String>,
    body: String,
) -> Result<(), Misuse> {
    let next: Next = if body.is_empty() { Next::default() } else { serde_json::from_str(&body)? };
    let n = next.n.unwrap_or(1);
    match what.as_str() {
        "lose-next" => recall.lose_next_webhooks(n),
        "duplicate-next" => recall.duplicate_next_webhooks(n),
        "delay-next" => recall.delay_next_webhooks(n, TimeDelta::seconds(next.secs)),
        "reverse-pending" => recall.reverse_pending_webhooks(),
        "shuffle-pending" => recall.shuffle_pending_webhooks(),
        "lose-pending" => {
            recall.lose_pending_webhooks();
        }
        _ => return Err(Misuse::Route),
    }
    Ok(())
}

pub(super) async fn replay(State(recall): State<Recall>, Path(id): Path<String>) -> Result<(), Misuse> {
    recall.replay_webhook(&id).then_some(()).ok_or(Misuse::Route)
}

pub(super) async fn clock(State(recall): State<Recall>) -> Json<Value> {
    let clock = recall.clock();
    Json(json!({"now": clock.now(), "is_manual": clock.is_manual()}))
}

/// Where the clock is put.
#[derive(Debug, Deserialize)]
pub(super) struct NewTime {
    now: Option<DateTime<Utc>>,
    advance_secs: Option<i64>,
}

pub(super) async fn set_clock(State(recall): State<Recall>, Json(new): Json<NewTime>) -> Json<Value> {
    let clock = recall.clock();
    if let Some(now) = new.now {
        clock.set(now);
    }
    if let Some(secs) = new.advance_secs {
        clock.advance(TimeDelta::seconds(secs));
    }
    recall.tick();
    Json(json!({"now": clock.now(), "is_manual": clock.is_manual()}))
}
