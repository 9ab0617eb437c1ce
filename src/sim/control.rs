//! The control plane: what [`Recall`]'s methods do, over HTTP, for people and for tests in other languages.
//!
//! JSON in and out, no authentication: it is for loopback. `GET /sim/` lists the routes. An unknown id is 404 and a body that
//! does not fit 422, both with a sentence. Structures are those of the Rust surface: `NewEvent`, `Knobs`, `Fault` and so on.

mod calendars;
mod inspect;
mod trouble;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};

use super::{Recall, Unknown};

/// What `GET /sim/` says.
const ROUTES: &str = "\
A simulated Recall. Its API is under /api/; this is what it can be told. Bodies are JSON.

People
  POST   /sim/calendars                     {platform, email, metadata?, webhook_url?} -> {id}
  POST   /sim/calendars/{id}/disconnect     the grant is revoked
  POST   /sim/calendars/{id}/interrupt      the connection is lost, the grant is good
  POST   /sim/calendars/{id}/reconnect      the owner consents again
  POST   /sim/calendars/{id}/touch          a calendar.sync_events without a change
  DELETE /sim/calendars/{id}                as by the API
  POST   /sim/calendars/{id}/events         {title, start, end, meeting_url?, attendees?, ...} or a list -> {ids}
  POST   /sim/meetings                      {calendars: [id], event: {...}} -> {ids}: one meeting on several calendars
  POST   /sim/events                        a printed CalendarEvent, verbatim -> {id}
  PATCH  /sim/events/{id}                   any fields of an event: start, end, meeting_url, attendees, ...
  POST   /sim/events/{id}/move              {start}
  POST   /sim/events/{id}/relink            {meeting_url}
  POST   /sim/events/{id}/cancel            cancelled at the provider, not deleted
  POST   /sim/events/{id}/restore           takes place after all
  POST   /sim/events/{id}/kick              a person puts its bots out of the call
  DELETE /sim/events/{id}
Looking
  GET    /sim/calendars, /sim/calendars/{id}/events, /sim/events/{id}, /sim/events/{id}/bots
  GET    /sim/bots                          scheduled or in a call; /sim/bots/all has every one there ever was
  GET    /sim/calls                         the API calls so far; DELETE forgets them
  GET    /sim/webhooks                      every message with its attempts; /sim/webhooks/pending
Trouble
  GET    /sim/knobs                         PATCH any of them
  PUT    /sim/limits                        calls per minute
  POST   /sim/faults                        {endpoint, fault, times?}, e.g. {\"endpoint\": \"schedule_bot\", \"fault\": {\"status\": 500}}
  DELETE /sim/faults
  POST   /sim/release                       lets go every call that hangs
  PUT    /sim/events/{id}/override          any text, shown instead of the event; DELETE shows the event again
Webhooks
  PUT    /sim/endpoint                      {url?, secrets?}
  POST   /sim/endpoint/enable               after five days of failures
  POST   /sim/webhooks/deliver              sends what is due and says how it went
  POST   /sim/webhooks/lose-next            {n}; also duplicate-next {n}, delay-next {n, secs}
  POST   /sim/webhooks/lose-pending         also reverse-pending, shuffle-pending
  POST   /sim/webhooks/{id}/replay
Time
  GET    /sim/clock                         {now, is_manual}
  PUT    /sim/clock                         {now} or {advance_secs}: from then on it stands still until told again
";

pub(super) fn router(recall: Recall) -> Router {
    let told = Router::new()
        .route("/calendars", get(inspect::calendars).post(calendars::connect))
        .route("/calendars/{id}", delete(calendars::delete))
        .route("/calendars/{id}/events", get(inspect::events).post(calendars::create_events))
        .route("/calendars/{id}/{change}", post(calendars::change))
        .route("/meetings", post(calendars::same_meeting))
        .route("/events", post(calendars::insert_printed))
        .route("/events/{id}", get(inspect::event).patch(calendars::edit_event).delete(calendars::delete_event))
        .route("/events/{id}/bots", get(inspect::bots_of))
        .route("/events/{id}/override", put(trouble::show).delete(trouble::show_again))
        .route("/events/{id}/{change}", post(calendars::change_event))
        .route("/bots", get(inspect::live_bots))
        .route("/bots/all", get(inspect::all_bots))
        .route("/calls", get(inspect::calls).delete(inspect::clear_calls))
        .route("/webhooks", get(inspect::webhooks))
        .route("/webhooks/pending", get(inspect::pending_webhooks))
        .route("/webhooks/deliver", post(trouble::deliver))
        .route("/webhooks/{what}", post(trouble::befall_webhooks))
        .route("/webhooks/{id}/replay", post(trouble::replay))
        .route("/knobs", get(trouble::knobs).patch(trouble::turn_knobs))
        .route("/limits", put(trouble::limits))
        .route("/faults", post(trouble::fail_next).delete(trouble::clear_faults))
        .route("/release", post(trouble::release))
        .route("/endpoint", put(trouble::endpoint))
        .route("/endpoint/enable", post(trouble::enable_endpoint))
        .route("/clock", get(trouble::clock).put(trouble::set_clock))
        .with_state(recall);
    Router::new().route("/sim/", get(async || ROUTES)).nest("/sim", told)
}

/// Why the control plane does not do what it is told.
#[derive(Debug, thiserror::Error)]
enum Misuse {
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error("there is no such route; GET /sim/ lists them")]
    Route,
    #[error("the body does not fit: {0}")]
    Body(#[from] serde_json::Error),
}

impl IntoResponse for Misuse {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Unknown(_) | Self::Route => StatusCode::NOT_FOUND,
            Self::Body(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        (status, format!("{self}\n")).into_response()
    }
}
