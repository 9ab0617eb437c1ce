//! The Calendar endpoints (recall-api §2).

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::Received;
use super::answer::Answer;
use super::lists::{self, Cutting, Query};
use crate::sim::faults::Fault;
use crate::sim::model::meeting::Platform;
use crate::sim::model::{CalendarChange, CalendarFilter, Refusal, Status};
use crate::sim::shared::World;

/// Writable credentials, all of them echoed.
const OAUTH_FIELDS: [&str; 6] = [
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_refresh_token",
    "oauth_client_certificate",
    "oauth_client_private_key",
    "oauth_email",
];
/// The documented length of texts.
const TEXT_LIMIT: usize = 2000;

pub(super) fn create(world: &mut World, received: &Received, now: DateTime<Utc>) -> Answer {
    let platform = match received.body["platform"].as_str() {
        Some("google_calendar") => Platform::GoogleCalendar,
        Some("microsoft_outlook") => Platform::MicrosoftOutlook,
        Some(_) => return Answer::field("platform", "Not a valid choice."),
        None => return Answer::field("platform", "This field is required."),
    };
    let has = |field: &str| received.body[field].is_string();
    if !has("oauth_client_id") {
        return Answer::field("oauth_client_id", "This field is required.");
    }
    if !has("oauth_refresh_token") {
        return Answer::field("oauth_refresh_token", "This field is required.");
    }
    if !has("oauth_client_secret") && !has("oauth_client_private_key") {
        return Answer::field("oauth_client_secret", "This field is required.");
    }
    let change = match read_change(&received.body) {
        Ok(change) => change,
        Err(refusal) => return refusal,
    };
    let email = received.body["oauth_email"].as_str().map(str::to_owned);
    let id = world.workspace.create_calendar(platform, email, change, now);
    show(world, id, 201)
}

pub(super) fn list(world: &World, received: &Received, fault: Option<&Fault>) -> Answer {
    let query = Query::of(received);
    let created_at_gte = match query.time("created_at__gte") {
        Ok(time) => time,
        Err(refusal) => return refusal,
    };
    let filter = CalendarFilter {
        created_at_gte,
        email: query.text("email"),
        platform: query.text("platform"),
        status: query.text("status"),
    };
    let calendars = world.workspace.list_calendars(&filter);
    let rows = calendars.into_iter().map(|calendar| (calendar.created_at, calendar)).collect();
    let knobs = &world.workspace.knobs;
    let cutting = Cutting { received, page_size: knobs.page_size, descending: knobs.descending, fault };
    let is_stale = fault == Some(&Fault::Stale);
    lists::page(rows, &cutting, |calendar| {
        let shown = if is_stale { calendar.stale_json() } else { calendar.json() };
        Some(shown.to_string())
    })
}

pub(super) fn retrieve(world: &World, received: &Received, fault: Option<&Fault>) -> Answer {
    let calendar = received.route.id.and_then(|id| world.workspace.calendar(id));
    match calendar {
        None => Answer::status(404),
        Some(calendar) if fault == Some(&Fault::Stale) => Answer::json(200, calendar.stale_json().to_string()),
        Some(calendar) => Answer::json(200, calendar.json().to_string()),
    }
}

pub(super) fn update(world: &mut World, received: &Received, now: DateTime<Utc>) -> Answer {
    let id = received.route.id.unwrap_or_default();
    let change = match read_change(&received.body) {
        Ok(change) => change,
        Err(refusal) => return refusal,
    };
    match world.workspace.update_calendar(id, change, now) {
        Ok(()) => show(world, id, 200),
        Err(refusal) => Answer::refusal(&refusal, None),
    }
}

pub(super) fn delete(world: &mut World, received: &Received, now: DateTime<Utc>) -> Answer {
    match world.workspace.delete_calendar(received.route.id.unwrap_or_default(), now) {
        Ok(()) => Answer::empty(204),
        Err(refusal) => Answer::refusal(&refusal, None),
    }
}

pub(super) fn access_token(world: &World, received: &Received, now: DateTime<Utc>) -> Answer {
    let calendar = received.route.id.and_then(|id| world.workspace.calendar(id));
    let Some(calendar) = calendar else {
        return Answer::refusal(&Refusal::NotFound, None);
    };
    if calendar.status == Status::Disconnected {
        let body = json!({"code": "bad_refresh_token", "message": "The refresh token is not valid."});
        return Answer::json(400, body.to_string());
    }
    let expires_at = (now + TimeDelta::hours(1)).to_rfc3339();
    let body = json!({"token": format!("sim-token-{}", calendar.id.simple()), "expires_at": expires_at});
    Answer::json(200, body.to_string())
}

fn show(world: &World, id: uuid::Uuid, status: u16) -> Answer {
    let calendar = world.workspace.calendar(id);
    calendar.map_or(Answer::status(404), |calendar| Answer::json(status, calendar.json().to_string()))
}

fn read_change(body: &Value) -> Result<CalendarChange, Answer> {
    let mut oauth = Map::new();
    for field in OAUTH_FIELDS {
        match &body[field] {
            Value::Null => {}
            Value::String(text) if text.len() <= TEXT_LIMIT => {
                oauth.insert(field.to_owned(), text.as_str().into());
            }
            _ => {
                return Err(Answer::field(field, "Not a valid string of up to 2000 characters."));
            }
        }
    }
    let webhook_url = match body.get("webhook_url") {
        None => None,
        Some(Value::Null) => Some(None),
        Some(Value::String(url)) => Some(Some(url.clone())),
        Some(_) => return Err(Answer::field("webhook_url", "Enter a valid URL.")),
    };
    let metadata = match body.get("metadata") {
        None => None,
        Some(Value::Object(fields)) if fields.values().all(Value::is_string) => Some(Value::Object(fields.clone())),
        Some(_) => return Err(Answer::field("metadata", "Expected a map of strings.")),
    };
    Ok(CalendarChange { oauth, webhook_url, metadata })
}
