//! `POST /webhooks/recall`: verify, parse, accept.
//!
//! A 2xx means that the delivery and the request for its calendar are committed (P1). Everything else tells the sender to try
//! again, and Recall does: for an hour or for a day, depending on the generation.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use super::{Receiver, error::Rejection, signature::VerifiedBody};
use crate::{
    domain::{calendar::CalendarId, time},
    store::deliveries::Delivery,
    telemetry,
};

/// The largest body that is read. Recall's calendar webhooks have some 200 bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long a body may take to arrive. Recall gives up on the whole request after 15 s.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// What is kept of a topic that we do not know.
const MAX_TOPIC_CHARS: usize = 100;

/// What a webhook says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Notification {
    /// The calendar itself changed.
    CalendarUpdate(CalendarId),
    /// Events of the calendar changed, at this time or later.
    SyncEvents(CalendarId, DateTime<Utc>),
    /// A topic that rollcall does not act on.
    Other(String),
}

pub(super) async fn receive(
    State(receiver): State<Receiver>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Rejection> {
    let answer = accept(&receiver, query.as_deref(), &headers, body).await;
    match &answer {
        Ok(topic) => metrics::counter!(telemetry::DELIVERIES, "topic" => *topic, "result" => "accepted"),
        Err(rejection) => metrics::counter!(telemetry::DELIVERIES, "topic" => "", "result" => rejection.label()),
    }
    .increment(1);
    match &answer {
        Err(rejection @ Rejection::Malformed { .. }) => tracing::warn!(reason = %rejection, "webhook refused"),
        // Anybody can cause this; the metric counts them all.
        Err(rejection @ Rejection::Unproven(_)) if receiver.unproven.may_log(receiver.clock.now()) => {
            tracing::warn!(reason = %rejection, "webhook refused; others like it are not logged for ten seconds");
        }
        _ => {}
    }
    answer.map(|_| StatusCode::NO_CONTENT)
}

/// Verify, parse, accept. Returns the topic, for the metric.
async fn accept(
    receiver: &Receiver,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<&'static str, Rejection> {
    receiver.verifier.check_claims_proof(headers, query)?;
    let body = read_body(headers, body).await?;
    let arrived = Instant::now();
    let now = receiver.clock.now();

    let verified = receiver.verifier.verify(headers, query, &body, now)?;
    let notification = Notification::parse(&verified)?;
    let topic = notification.label();
    if !receiver.is_migrated.load(Ordering::Acquire) {
        return Err(Rejection::NotCommitted);
    }
    receiver.inbox.accept(delivery(verified, notification, now)).await.map_err(|_| Rejection::NotCommitted)?;

    metrics::histogram!(telemetry::ACK_SECONDS).record(arrived.elapsed());
    Ok(topic)
}

async fn read_body(headers: &HeaderMap, body: Body) -> Result<Bytes, Rejection> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(Rejection::TooLarge);
    }
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(Rejection::TooLarge),
        Ok(Err(_)) | Err(_) => Err(Rejection::BodyTimeout),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

impl Notification {
    /// Reads a proven body. A topic that we do not know is whatever it likes to be; one that we know must be as documented.
    fn parse(body: &VerifiedBody) -> Result<Self, Rejection> {
        #[derive(Deserialize)]
        struct Envelope {
            event: String,
        }
        #[derive(Deserialize)]
        struct CalendarUpdate {
            data: CalendarUpdateData,
        }
        #[derive(Deserialize)]
        struct CalendarUpdateData {
            calendar_id: Uuid,
        }
        #[derive(Deserialize)]
        struct SyncEvents {
            data: SyncEventsData,
        }
        #[derive(Deserialize)]
        struct SyncEventsData {
            calendar_id: Uuid,
            #[serde(with = "time")]
            last_updated_ts: DateTime<Utc>,
        }
        let malformed =
            |topic| move |error: serde_json::Error| Rejection::Malformed { topic, problem: telemetry::problem(&error) };
        let envelope: Envelope = serde_json::from_slice(body.bytes).map_err(malformed("Recall"))?;
        match envelope.event.as_str() {
            "calendar.update" => {
                let update: CalendarUpdate =
                    serde_json::from_slice(body.bytes).map_err(malformed("calendar.update"))?;
                Ok(Self::CalendarUpdate(CalendarId(update.data.calendar_id)))
            }
            "calendar.sync_events" => {
                let sync: SyncEvents = serde_json::from_slice(body.bytes).map_err(malformed("calendar.sync_events"))?;
                Ok(Self::SyncEvents(CalendarId(sync.data.calendar_id), sync.data.last_updated_ts))
            }
            other => Ok(Self::Other(other.replace('\0', "\u{FFFD}").chars().take(MAX_TOPIC_CHARS).collect())),
        }
    }

    /// The topic as a label: one of few, whatever is sent.
    fn label(&self) -> &'static str {
        match self {
            Self::CalendarUpdate(_) => "calendar.update",
            Self::SyncEvents(..) => "calendar.sync_events",
            Self::Other(_) => "other",
        }
    }
}

fn delivery(body: VerifiedBody, notification: Notification, now: DateTime<Utc>) -> Delivery {
    let label = notification.label();
    let (topic, calendar_id, last_updated_ts) = match notification {
        Notification::CalendarUpdate(id) => (label.to_owned(), Some(id), None),
        Notification::SyncEvents(id, since) => (label.to_owned(), Some(id), Some(since)),
        Notification::Other(topic) => (topic, None, None),
    };
    Delivery {
        // The direct generation sends no id; each of its deliveries counts as new.
        id: body.id.unwrap_or_else(|| format!("direct_{}", Uuid::new_v4())),
        topic,
        calendar_id,
        last_updated_ts,
        proved_by: body.proved_by,
        received_at: now,
    }
}
