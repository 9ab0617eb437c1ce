//! The operator's API, under `/api/v1/`: why an event has its bot or none, and what is in trouble.
//!
//! It is there only if `ADMIN_TOKEN` is set; otherwise its paths are 404, as any unknown one. Answers hold meeting links, but
//! neither attendees nor the provider's payload.

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::Receiver;
use crate::{
    domain::event::EventId,
    store::{self, decisions, events, queue::Key, queue_state},
    telemetry::chain,
};

/// The most troubles of a kind that are listed.
const MAX_LISTED: i64 = 1000;

/// The routes, behind the token.
pub(super) fn router(token: SecretString) -> Router<Receiver> {
    Router::new()
        .route("/api/v1/events/{id}", get(show_event))
        .route("/api/v1/troubles", get(list_troubles))
        .layer(middleware::from_fn_with_state(std::sync::Arc::new(token), check_token))
}

async fn check_token(State(token): State<std::sync::Arc<SecretString>>, request: Request, next: Next) -> Response {
    let given =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if given.is_some_and(|given| given.ct_eq(token.expose_secret().as_bytes()).into()) {
        return next.run(request).await;
    }
    let body = Json(json!({ "error": "send the header `Authorization: Bearer <ADMIN_TOKEN>`" }));
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
}

/// The event as mirrored, what was decided last and why, and whether its key waits in the queue.
async fn show_event(State(receiver): State<Receiver>, Path(id): Path<String>) -> Result<Response, Unavailable> {
    let unknown =
        || (StatusCode::NOT_FOUND, Json(json!({ "error": "no event with this id is mirrored" }))).into_response();
    let Ok(id) = id.parse::<Uuid>().map(EventId) else { return Ok(unknown()) };
    let Some(event) = events::load(&receiver.db, id).await? else { return Ok(unknown()) };
    let decision = decisions::load(&receiver.db, id).await?.map(|decision| {
        json!({
            "plan": decision.plan,
            "reason": decision.reason,
            "decided_at": decision.decided_at,
            "configuration": decision.configuration,
            "event_updated_at": decision.event_updated_at,
            "scheduled_key": decision.scheduled.map(|scheduled| scheduled.key),
        })
    });
    Ok(Json(json!({
        "id": id.0,
        "calendar_id": event.calendar_id.0,
        "start_time": event.start_time,
        "end_time": event.end_time,
        "meeting_url": event.meeting_url,
        "is_deleted": event.is_deleted,
        "is_cancelled": event.is_cancelled,
        "updated_at": event.updated_at,
        "bots": event.bots,
        "decision": decision,
        "waiting": queue_state::find_waiting(&receiver.db, Key::Event(id)).await?,
    }))
    .into_response())
}

/// Keys that are parked or have failed, events that cannot be read, and what is wrong with the API.
async fn list_troubles(State(receiver): State<Receiver>) -> Result<Response, Unavailable> {
    Ok(Json(json!({
        "api": receiver.api_health.trouble(),
        "keys": queue_state::list_troubled(&receiver.db, MAX_LISTED).await?,
        "unreadable_events": events::list_unreadable(&receiver.db, MAX_LISTED).await?,
    }))
    .into_response())
}

/// The database cannot be asked.
struct Unavailable(store::Error);

impl From<store::Error> for Unavailable {
    fn from(error: store::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        tracing::warn!(error = chain(&self.0), "the operator's question cannot be answered");
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "the database cannot be asked now" }))).into_response()
    }
}
