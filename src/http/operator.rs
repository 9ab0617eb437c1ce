//! The operator's API, under `/api/v1/`: why an event has its bot or none, what is in trouble, and what people say about bots.
//!
//! It is there only if `ADMIN_TOKEN` is set; otherwise its paths are 404, as any unknown one. Answers hold meeting links, but
//! neither attendees nor the provider's payload.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::Receiver;
use crate::{
    domain::{calendar::CalendarId, event::EventId, settings::Said},
    explain::explain,
    store::{
        self, configurations, decisions, events, queue_state,
        settings::{self, Subject},
    },
    telemetry::{chain, problem},
};

/// The most troubles of a kind that are listed.
const MAX_LISTED: i64 = 1000;

/// The routes, behind the token.
pub(super) fn router(token: SecretString) -> Router<Receiver> {
    Router::new()
        .route("/api/v1/events/{id}", get(show_event))
        .route("/api/v1/events/{id}/override", put(override_event).delete(clear_event))
        .route("/api/v1/events/{id}/series/override", put(override_series).delete(clear_series))
        .route("/api/v1/calendars/{id}/{aspect}", put(say_of_calendar).delete(clear_of_calendar))
        .route("/api/v1/pause", put(pause_all).delete(resume_all))
        .route("/api/v1/settings", get(list_settings))
        .route("/api/v1/policy/confirm", post(confirm_policy))
        .route("/api/v1/troubles", get(list_troubles))
        // Not of paths that nobody knows: they are 404, as they are without a token.
        .route_layer(middleware::from_fn_with_state(std::sync::Arc::new(token), check_token))
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

/// The event as mirrored, what was decided and why, and whether its key waits in the queue.
async fn show_event(State(receiver): State<Receiver>, Path(id): Path<String>) -> Result<Response, Refused> {
    let id = EventId(parse(&id)?);
    let event = events::load(&receiver.db, id).await?.ok_or(Refused::NotMirrored("event"))?;
    let explanation = explain(&receiver.db, id).await?.ok_or(Refused::NotMirrored("event"))?;
    let decision = decisions::load(&receiver.db, id).await?.map(|decision| {
        json!({
            "plan": decision.plan,
            "reason": decision.reason,
            "decided_by": decision.decided_by,
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
        "explanation": explanation.to_string(),
        "settings": explanation.settings,
        "history": explanation.history,
        "waiting": explanation.waiting,
    }))
    .into_response())
}

/// What somebody says, and why.
#[derive(Debug, Deserialize)]
struct Saying {
    /// `record` or `skip`, a rule, a `bot_config`; nothing for a pause.
    #[serde(default)]
    value: Value,
    who: String,
    #[serde(default)]
    why: String,
}

/// Who takes something back.
#[derive(Debug, Deserialize)]
struct TakingBack {
    #[serde(default = "somebody")]
    who: String,
}

fn somebody() -> String {
    "the operator's API".to_owned()
}

async fn override_event(receiver: State<Receiver>, Path(id): Path<String>, body: Bytes) -> Result<Response, Refused> {
    let subject = find_event(&receiver, &id).await?;
    say(&receiver, subject, "override", &body).await
}

async fn clear_event(
    receiver: State<Receiver>,
    Path(id): Path<String>,
    Query(by): Query<TakingBack>,
) -> Result<Response, Refused> {
    let subject = find_event(&receiver, &id).await?;
    take_back(&receiver, subject, "override", &by.who).await
}

async fn override_series(receiver: State<Receiver>, Path(id): Path<String>, body: Bytes) -> Result<Response, Refused> {
    let subject = find_series(&receiver, &id).await?;
    say(&receiver, subject, "override", &body).await
}

async fn clear_series(
    receiver: State<Receiver>,
    Path(id): Path<String>,
    Query(by): Query<TakingBack>,
) -> Result<Response, Refused> {
    let subject = find_series(&receiver, &id).await?;
    take_back(&receiver, subject, "override", &by.who).await
}

async fn say_of_calendar(
    receiver: State<Receiver>,
    Path((id, aspect)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Refused> {
    let subject = find_calendar(&receiver, &id, &aspect).await?;
    say(&receiver, subject, &aspect, &body).await
}

async fn clear_of_calendar(
    receiver: State<Receiver>,
    Path((id, aspect)): Path<(String, String)>,
    Query(by): Query<TakingBack>,
) -> Result<Response, Refused> {
    let subject = find_calendar(&receiver, &id, &aspect).await?;
    take_back(&receiver, subject, &aspect, &by.who).await
}

async fn pause_all(receiver: State<Receiver>, body: Bytes) -> Result<Response, Refused> {
    say(&receiver, Subject::All, "pause", &body).await
}

async fn resume_all(receiver: State<Receiver>, Query(by): Query<TakingBack>) -> Result<Response, Refused> {
    take_back(&receiver, Subject::All, "pause", &by.who).await
}

async fn find_event(receiver: &Receiver, id: &str) -> Result<Subject, Refused> {
    settings::find_event(&receiver.db, EventId(parse(id)?)).await?.ok_or(Refused::NotMirrored("event"))
}

async fn find_series(receiver: &Receiver, id: &str) -> Result<Subject, Refused> {
    let found = settings::find_series(&receiver.db, EventId(parse(id)?)).await?;
    found.ok_or(Refused::NotMirrored("event that is an occurrence of a series"))
}

async fn find_calendar(receiver: &Receiver, id: &str, aspect: &str) -> Result<Subject, Refused> {
    if !["override", "record_when", "bot_config", "pause"].contains(&aspect) {
        return Err(Refused::NotMirrored("such aspect of a calendar"));
    }
    settings::find_calendar(&receiver.db, CalendarId(parse(id)?)).await?.ok_or(Refused::NotMirrored("calendar"))
}

async fn say(receiver: &Receiver, subject: Subject, aspect: &str, body: &[u8]) -> Result<Response, Refused> {
    let form = "send {\"value\": …, \"who\": \"…\", \"why\": \"…\"}";
    let saying: Saying =
        serde_json::from_slice(body).map_err(|error| Refused::Malformed(format!("{}: {form}", problem(&error))))?;
    let value = match &saying.value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let said = Said::read(aspect, &value).map_err(|problem| Refused::Malformed(format!("value {problem}")))?;
    check_storable(&[&value, &saying.who, &saying.why])?;
    let mut tx = store::begin(&receiver.db).await?;
    let now = receiver.clock.now();
    let events = settings::set(&mut tx, &subject, &said, &saying.who, &saying.why, now).await?;
    tx.commit().await.map_err(store::Error::from)?;
    Ok(Json(json!({ "events": events })).into_response())
}

async fn take_back(receiver: &Receiver, subject: Subject, aspect: &str, who: &str) -> Result<Response, Refused> {
    check_storable(&[who])?;
    let mut tx = store::begin(&receiver.db).await?;
    let events = settings::clear(&mut tx, &subject, aspect, who, receiver.clock.now()).await?;
    tx.commit().await.map_err(store::Error::from)?;
    Ok(Json(json!({ "events": events.unwrap_or_default() })).into_response())
}

/// Postgres has no NUL in a text.
fn check_storable(texts: &[&str]) -> Result<(), Refused> {
    if texts.iter().any(|text| text.contains('\0')) {
        return Err(Refused::Malformed("a text has a NUL in it: leave it out".to_owned()));
    }
    Ok(())
}

async fn list_settings(receiver: State<Receiver>) -> Result<Response, Refused> {
    Ok(Json(settings::list(&receiver.db, MAX_LISTED).await?).into_response())
}

/// Lets a configuration remove its bots that was held back by `POLICY_MAX_CHANGES`.
async fn confirm_policy(receiver: State<Receiver>) -> Result<Response, Refused> {
    Ok(Json(json!({ "configuration": configurations::confirm(&receiver.db).await? })).into_response())
}

fn parse(id: &str) -> Result<Uuid, Refused> {
    id.parse().map_err(|_| Refused::NotMirrored("id of this form"))
}

/// Keys that are parked or have failed, events that cannot be read, and what is wrong with the API.
async fn list_troubles(State(receiver): State<Receiver>) -> Result<Response, Refused> {
    Ok(Json(json!({
        "api": receiver.api_health.trouble(),
        "keys": queue_state::list_troubled(&receiver.db, MAX_LISTED).await?,
        "unreadable_events": events::list_unreadable(&receiver.db, MAX_LISTED).await?,
    }))
    .into_response())
}

/// Why the operator's wish is not met.
enum Refused {
    /// The database cannot be asked.
    Unavailable(store::Error),
    /// What is named is not known here.
    NotMirrored(&'static str),
    /// The body is not as it should be.
    Malformed(String),
}

impl From<store::Error> for Refused {
    fn from(error: store::Error) -> Self {
        Self::Unavailable(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::Unavailable(error) => {
                tracing::warn!(error = chain(&error), "the operator's question cannot be answered");
                (StatusCode::SERVICE_UNAVAILABLE, "the database cannot be asked now".to_owned())
            }
            Self::NotMirrored(what) => (StatusCode::NOT_FOUND, format!("no {what} is mirrored")),
            Self::Malformed(problem) => (StatusCode::BAD_REQUEST, problem),
        };
        (status, Json(json!({ "error": error }))).into_response()
    }
}
