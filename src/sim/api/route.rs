//! Paths and methods (recall-api §2.2, §3.4, §4, §5).

use http::Method;
use uuid::Uuid;

use crate::sim::faults::Endpoint;

/// What a method and a path stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) endpoint: Endpoint,
    /// The path with `{id}` in place of the id.
    pub(super) path: String,
    pub(super) id: Option<Uuid>,
    is_known_path: bool,
    has_last_slash: bool,
}

impl Route {
    /// The status for a path or method that the API does not have. Tolerance of a missing last slash is \[U\].
    pub(super) fn refusal(&self, is_strict: bool) -> Option<u16> {
        if is_strict && !self.has_last_slash {
            return Some(404);
        }
        match (self.endpoint, self.is_known_path) {
            (Endpoint::Any, true) => Some(405),
            (Endpoint::Any, false) => Some(404),
            _ => None,
        }
    }

    /// POST, PUT and PATCH do \[C\].
    pub(super) fn takes_idempotency_key(&self) -> bool {
        matches!(
            self.endpoint,
            Endpoint::CreateCalendar
                | Endpoint::UpdateCalendar
                | Endpoint::AccessToken
                | Endpoint::ScheduleBot
                | Endpoint::LeaveCall
        )
    }

    pub(super) fn is_bot_call(&self) -> bool {
        matches!(self.endpoint, Endpoint::ScheduleBot | Endpoint::DeleteBot)
    }
}

/// Looks a request up.
pub(super) fn find(method: &Method, path: &str) -> Route {
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    let id = parts.iter().find_map(|part| part.parse::<Uuid>().ok());
    let template: Vec<_> = parts.iter().map(|part| if part.parse::<Uuid>().is_ok() { "{id}" } else { *part }).collect();
    let methods = methods_of(&template);
    let found = methods.iter().find(|(name, _)| *name == method.as_str());
    Route {
        endpoint: found.map_or(Endpoint::Any, |(_, endpoint)| *endpoint),
        path: format!("/{}/", template.join("/")),
        id,
        is_known_path: !methods.is_empty(),
        has_last_slash: path.ends_with('/'),
    }
}

fn methods_of(template: &[&str]) -> &'static [(&'static str, Endpoint)] {
    match template {
        ["api", "v2", "calendars"] => &[("GET", Endpoint::ListCalendars), ("POST", Endpoint::CreateCalendar)],
        ["api", "v2", "calendars", "{id}"] => &[
            ("GET", Endpoint::RetrieveCalendar),
            ("PATCH", Endpoint::UpdateCalendar),
            ("DELETE", Endpoint::DeleteCalendar),
        ],
        ["api", "v2", "calendars", "{id}", "access-token"] => &[("POST", Endpoint::AccessToken)],
        ["api", "v2", "calendar-events"] => &[("GET", Endpoint::ListEvents)],
        ["api", "v2", "calendar-events", "{id}"] => &[("GET", Endpoint::RetrieveEvent)],
        ["api", "v2", "calendar-events", "{id}", "bot"] => {
            &[("POST", Endpoint::ScheduleBot), ("DELETE", Endpoint::DeleteBot)]
        }
        ["api", "v1", "bot", "{id}"] => &[("GET", Endpoint::RetrieveBot)],
        ["api", "v1", "bot", "{id}", "leave_call"] => &[("POST", Endpoint::LeaveCall)],
        _ => &[],
    }
}
