//! A stand-in for the API that has its answers ready. The simulator works each of them out from a living workspace and would
//! be what is measured, where thousands of events a second are read.
//!
//! There are `CALENDARS` calendars; the first has `PAGES` pages of a hundred events, whose provider's payloads have
//! `PAYLOAD_BYTES` bytes each, and the others have none.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::{get, put},
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rollcall::clock::Clock;
use serde_json::json;
use uuid::Uuid;

/// This role's name.
pub(crate) const ROLE: &str = "api";
/// Events on a page, as the API's documents have it.
pub(crate) const PAGE_SIZE: usize = 100;
/// An answer of nothing.
pub(crate) const EMPTY: &str = "/empty";

/// The id of a calendar, by its number.
pub(crate) fn calendar_id(number: usize) -> Uuid {
    Uuid::from_u128(0xca1e_0000_0000_4000_8000_0000_0000_0000 + number as u128)
}

#[derive(Debug)]
struct Api {
    calendars: usize,
    pages: usize,
    payload_bytes: usize,
    started_at: DateTime<Utc>,
    /// All pages of the present version.
    prepared: Mutex<Vec<Bytes>>,
}

/// Serves until it is killed.
pub(crate) fn run() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> anyhow::Result<()> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let api = Api {
        calendars: number("CALENDARS"),
        pages: number("PAGES"),
        payload_bytes: number("PAYLOAD_BYTES"),
        started_at: Clock::system().now(),
        prepared: Mutex::default(),
    };
    let routes = Router::new()
        .route(EMPTY, get(|| async { StatusCode::NO_CONTENT }))
        .route("/version/{version}", put(prepare))
        .route("/api/v2/calendars/", get(list_calendars))
        .route("/api/v2/calendars/{id}/", get(retrieve_calendar))
        .route("/api/v2/calendar-events/", get(list_events))
        .with_state(Arc::new(api));
    let listener = tokio::net::TcpListener::bind(std::env::var("LISTEN_ADDR")?).await?;
    Ok(axum::serve(listener, routes).await?)
}

type Answer = ([(header::HeaderName, &'static str); 1], Bytes);

fn answer(body: impl Into<Bytes>) -> Answer {
    ([(header::CONTENT_TYPE, "application/json")], body.into())
}

/// Changes every event.
async fn prepare(State(api): State<Arc<Api>>, Path(version): Path<i64>) -> StatusCode {
    let pages = (0..api.pages).map(|page| Bytes::from(api.page(page, version))).collect();
    *api.prepared.lock().unwrap_or_else(PoisonError::into_inner) = pages;
    StatusCode::NO_CONTENT
}

async fn list_calendars(State(api): State<Arc<Api>>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let page = cursor(&query);
    let numbers = page * PAGE_SIZE..((page + 1) * PAGE_SIZE).min(api.calendars);
    let results: Vec<_> = numbers.map(|number| api.calendar(calendar_id(number))).collect();
    let next = ((page + 1) * PAGE_SIZE < api.calendars).then(|| format!("http://api.test/?cursor={}", page + 1));
    answer(json!({ "next": next, "results": results }).to_string())
}

async fn retrieve_calendar(State(api): State<Arc<Api>>, Path(id): Path<Uuid>) -> Answer {
    answer(api.calendar(id).to_string())
}

async fn list_events(State(api): State<Arc<Api>>, Query(query): Query<HashMap<String, String>>) -> impl IntoResponse {
    let is_other = query.get("calendar_id").is_some_and(|id| *id != calendar_id(0).to_string());
    if is_other || api.pages == 0 {
        return answer(r#"{"next":null,"results":[]}"#);
    }
    let page = cursor(&query);
    let prepared = api.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(page).cloned();
    // Pages that are too large to be kept are written as they are asked for.
    answer(prepared.unwrap_or_else(|| api.page(page, 0).into()))
}

fn cursor(query: &HashMap<String, String>) -> usize {
    query.get("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0)
}

impl Api {
    fn calendar(&self, id: Uuid) -> serde_json::Value {
        json!({
            "id": id,
            "platform": "google_calendar",
            "platform_email": format!("{}@acme.test", id.simple()),
            "oauth_email": null,
            "status": "connected",
            "status_changes": [{ "status": "connected", "created_at": time(self.started_at) }],
            "metadata": {},
            "created_at": time(self.started_at),
            "updated_at": time(self.started_at),
        })
    }

    fn page(&self, page: usize, version: i64) -> String {
        let next = (page + 1 < self.pages).then(|| format!("http://api.test/?cursor={}", page + 1));
        let events: Vec<String> =
            (page * PAGE_SIZE..(page + 1) * PAGE_SIZE).map(|number| self.event(number, version)).collect();
        format!(r#"{{"next":{},"results":[{}]}}"#, json!(next), events.join(","))
    }

    /// An event with a link, in the days to come.
    fn event(&self, number: usize, version: i64) -> String {
        let id = Uuid::from_u128(0xe0e0_0000_0000_4000_8000_0000_0000_0000 + number as u128);
        let start = self.started_at + TimeDelta::days(1) + TimeDelta::minutes(number as i64);
        let end = start + TimeDelta::minutes(30);
        let mut raw = json!({
            "kind": "calendar#event",
            "id": id.simple().to_string(),
            "iCalUID": format!("{}@google.com", id.simple()),
            "status": "confirmed",
            "summary": format!("Meeting {number}, version {version}"),
            "organizer": { "email": "host@acme.test" },
            "start": { "dateTime": time(start), "timeZone": "UTC" },
            "end": { "dateTime": time(end), "timeZone": "UTC" },
            "attendees": [
                { "email": "host@acme.test", "organizer": true, "responseStatus": "accepted" },
                { "email": "guest@other.test", "responseStatus": "needsAction" },
            ],
            "hangoutLink": format!("https://meet.google.com/{}", id.simple()),
            "description": "",
        });
        let missing = self.payload_bytes.saturating_sub(raw.to_string().len());
        raw["description"] = "Who comes, what is to be said, and what was said the last time. "
            .repeat(missing / 64 + 1)
            .get(..missing)
            .unwrap_or_default()
            .into();
        json!({
            "id": id,
            "calendar_id": calendar_id(0),
            "platform": "google_calendar",
            "platform_id": id.simple().to_string(),
            "ical_uid": format!("{}@google.com", id.simple()),
            "start_time": time(start),
            "end_time": time(end),
            "meeting_url": format!("https://meet.google.com/{}", id.simple()),
            "meeting_platform": "google_meet",
            "raw": raw,
            "is_deleted": false,
            "bots": [],
            "created_at": time(self.started_at),
            "updated_at": time(self.started_at - TimeDelta::hours(1) + TimeDelta::seconds(version)),
        })
        .to_string()
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
