//! The body of a webhook that was signed with a configured secret: read, or refused as malformed, without repeating it.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Request},
};
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{
    receiver,
    signer::{KEYS, sign},
};

const MAX_BODY_BYTES: usize = 64 * 1024;

/// Plays the body as it is, and as another JSON library would write it.
pub fn check(input: &[u8]) {
    let status = play(input);
    if input.len() > MAX_BODY_BYTES {
        assert_eq!(status, 413);
        return;
    }
    let Ok(text) = std::str::from_utf8(input) else {
        assert_eq!(status, 401, "what is signed is text");
        return;
    };
    assert!([400, 503].contains(&status), "{status}");
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let canonical = value.to_string();
    // serde also reads a list, as the fields in their order. It does no harm.
    if value.is_object() && !value["data"].is_array() && canonical.len() <= MAX_BODY_BYTES {
        assert_eq!(play(canonical.as_bytes()), if is_documented(&value) { 503 } else { 400 }, "{canonical}");
    }
}

fn play(body: &[u8]) -> u16 {
    let (id, now) = ("msg_1", receiver::now().timestamp());
    let mut request = Request::post("/webhooks/recall").body(Body::from(body.to_vec())).unwrap_or_default();
    let values = [id.to_owned(), now.to_string(), sign(KEYS[0], id, now, body)];
    for (name, value) in ["webhook-id", "webhook-timestamp", "webhook-signature"].into_iter().zip(values) {
        request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(&value).expect("ASCII"));
    }
    receiver::play(request)
}

/// A topic that is not acted on may be anything; one that is has a calendar, and a time that Postgres can store: its sender
/// would be asked for any other again and again.
fn is_documented(body: &Value) -> bool {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let has_calendar = || text(&body["data"]["calendar_id"]).is_some_and(|id| id.parse::<Uuid>().is_ok());
    let has_time = || {
        let time = text(&body["data"]["last_updated_ts"]).and_then(|time| time.parse::<DateTime<Utc>>().ok());
        time.is_some_and(super::event::is_storable)
    };
    match body["event"].as_str() {
        None => false,
        Some("calendar.update") => has_calendar(),
        Some("calendar.sync_events") => has_calendar() && has_time(),
        Some(_) => true,
    }
}
