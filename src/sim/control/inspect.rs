//! Looking over HTTP.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;
use uuid::Uuid;

use super::Misuse;
use crate::sim::{Bot, Call, Message, Recall, Unknown};

pub(super) async fn calendars(State(recall): State<Recall>) -> Json<Vec<Value>> {
    Json(recall.calendars())
}

pub(super) async fn events(State(recall): State<Recall>, Path(id): Path<Uuid>) -> Result<Json<Vec<Value>>, Misuse> {
    Ok(Json(recall.events(recall.find_calendar(id)?)))
}

pub(super) async fn event(State(recall): State<Recall>, Path(id): Path<Uuid>) -> Result<Json<Value>, Misuse> {
    Ok(Json(recall.event(id).ok_or(Unknown::Event(id))?))
}

pub(super) async fn bots_of(State(recall): State<Recall>, Path(id): Path<Uuid>) -> Json<Vec<Bot>> {
    Json(recall.bots_of(id))
}

pub(super) async fn live_bots(State(recall): State<Recall>) -> Json<Vec<Bot>> {
    Json(recall.live_bots())
}

pub(super) async fn all_bots(State(recall): State<Recall>) -> Json<Vec<Bot>> {
    Json(recall.all_bots())
}

pub(super) async fn calls(State(recall): State<Recall>) -> Json<Vec<Call>> {
    Json(recall.calls())
}

pub(super) async fn clear_calls(State(recall): State<Recall>) {
    recall.clear_calls();
}

pub(super) async fn webhooks(State(recall): State<Recall>) -> Json<Vec<Message>> {
    Json(recall.webhooks())
}

pub(super) async fn pending_webhooks(State(recall): State<Recall>) -> Json<Vec<Message>> {
    Json(recall.pending_webhooks())
}
