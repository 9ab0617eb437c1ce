//! What can go wrong with a call, and what kind of failure that is.
//!
//! The kind is said here, where the error is born; everybody above passes it on. An error's text holds the call, the status
//! and the API's own code, never a body: bodies may echo links, keys or tokens (P10).

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use crate::domain::budget::CallClass;

/// The most that is kept of a code that the API sent.
const CODE_CHARS: usize = 60;

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No complete answer: not connected, timed out, or cut off. Whether the call took effect is unknown.
    #[error("{call} got no complete answer from the API")]
    NoAnswer {
        /// The call, as the API's documents name it.
        call: &'static str,
        /// What failed, without the URL.
        #[source]
        source: reqwest::Error,
    },
    /// An answer of another status than success.
    #[error("{call} was answered {status}{}", if code.is_empty() { String::new() } else { format!(" ({code})") })]
    Refused {
        /// The call.
        call: &'static str,
        /// The status.
        status: StatusCode,
        /// The API's own code, or the names of the fields it complains of; empty if there is none.
        code: String,
        /// What kind of failure that is.
        failure: Failure,
    },
    /// A success whose body is not what the documents say.
    #[error("{call} was answered with a body that cannot be read: {problem}")]
    Unreadable {
        /// The call.
        call: &'static str,
        /// What is wrong with it, and where.
        problem: String,
    },
}

/// Kinds of failure, by what has to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Will pass: back off and try again.
    Transient,
    /// 429: nobody may call this class before the time is over.
    Throttled {
        /// The class whose limit was reached.
        class: CallClass,
        /// `Retry-After`.
        retry_after: Duration,
    },
    /// 409: another call for the same deduplication key is in flight.
    Conflict,
    /// 507: no bot is free for a meeting that is about to begin.
    NoCapacity {
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// 404, as the API says it: it does not know the calendar or event.
    NotFound,
    /// 400 "has ended": there is nothing left to do.
    Ended,
    /// Will not pass by itself.
    Permanent,
    /// 401, 402, 403: the key, the region, the account or the network; no call would fare better.
    Ours,
}

impl Error {
    /// What kind of failure this is.
    pub fn failure(&self) -> Failure {
        match self {
            // A body that cannot be read may be a proxy's page, or an answer cut short.
            Self::NoAnswer { .. } | Self::Unreadable { .. } => Failure::Transient,
            Self::Refused { failure, .. } => *failure,
        }
    }

    pub(super) fn no_answer(call: &'static str, source: reqwest::Error) -> Self {
        Self::NoAnswer { call, source: source.without_url() }
    }

    pub(super) fn refused(
        call: &'static str,
        class: CallClass,
        status: StatusCode,
        retry_after: Option<Duration>,
        body: &[u8],
    ) -> Self {
        let complaint = read_complaint(body);
        let is_of_api = complaint.is_some();
        let (code, has_ended) = complaint.unwrap_or_default();
        let failure = match status.as_u16() {
            400 if has_ended => Failure::Ended,
            // The firewall objects to this one request, such as to a link to localhost in it. Its answer may be a page.
            403 if class == CallClass::ScheduleBot && !AUTH_CODES.contains(&code.as_str()) => Failure::Permanent,
            401..=403 => Failure::Ours,
            404 if is_of_api => Failure::NotFound,
            // A page: of a proxy, or of whatever `RECALL_BASE_URL` leads to. Nothing is gone for that.
            404 => Failure::Transient,
            409 => Failure::Conflict,
            429 => Failure::Throttled { class, retry_after: retry_after.unwrap_or(DEFAULT_RETRY_AFTER) },
            507 => Failure::NoCapacity { retry_after },
            // Redirects are not followed: they lead to a page that says to come back later, or to another server.
            300..=399 | 408 | 421 | 425 | 500..=599 => Failure::Transient,
            _ => Failure::Permanent,
        };
        Self::Refused { call, status, code, failure }
    }
}

/// Codes that are about the key, not about what was asked.
const AUTH_CODES: [&str; 3] = ["not_authenticated", "authentication_failed", "permission_denied"];

/// A 429 without `Retry-After`: a quarter of the API's window.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(15);

/// Reads any of the three documented error bodies: its code, else the fields it complains of; and whether it says that the event
/// has ended. `None` if it is no JSON object, which all of the API's own are as far as they are documented. Only lower case is
/// kept, as in all documented codes and fields: no key survives that (P10).
fn read_complaint(body: &[u8]) -> Option<(String, bool)> {
    #[derive(Deserialize)]
    struct Complaint {
        #[serde(default)]
        code: serde_json::Value,
        #[serde(flatten)]
        fields: serde_json::Map<String, serde_json::Value>,
    }
    let complaint: Complaint = serde_json::from_slice(body).ok()?;
    let has_ended = serde_json::Value::Object(complaint.fields.clone()).to_string().contains("has ended");
    let code = complaint
        .code
        .as_str()
        .map(str::to_owned)
        .unwrap_or_else(|| complaint.fields.keys().cloned().collect::<Vec<_>>().join(" "));
    let code = code.chars().filter(|c| c.is_ascii_lowercase() || "_ ".contains(*c)).take(CODE_CHARS).collect();
    Some((code, has_ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, body: &str) -> Failure {
        let status = StatusCode::from_u16(status).unwrap();
        Error::refused("Schedule Bot", CallClass::ScheduleBot, status, None, body.as_bytes()).failure()
    }

    #[test]
    fn each_documented_status_has_its_kind() {
        let ended = r#"{"code":"invalid_request_data","message":"Check `errors`","errors":{"non_field_errors":["Cannot schedule bot as calendar event has ended."]}}"#;
        assert_eq!(failure(400, ended), Failure::Ended);
        assert_eq!(failure(400, r#"{"bot_config":["not valid"]}"#), Failure::Permanent);
        for status in [401, 402] {
            assert_eq!(failure(status, ""), Failure::Ours);
        }
        assert_eq!(failure(403, r#"{"code":"authentication_failed","detail":"…"}"#), Failure::Ours);
        assert_eq!(failure(403, r#"{"code":"request_blocked","detail":"…"}"#), Failure::Permanent);
        assert_eq!(failure(403, "<html>blocked</html>"), Failure::Permanent);
        let read = Error::refused("Retrieve Calendar", CallClass::Read, StatusCode::FORBIDDEN, None, b"<html>");
        assert_eq!(read.failure(), Failure::Ours);
        assert_eq!(failure(404, r#"{"detail":"Not found."}"#), Failure::NotFound);
        assert_eq!(failure(404, r#"{"code":404}"#), Failure::NotFound);
        assert_eq!(failure(404, "default backend - 404"), Failure::Transient, "nobody says that anything is gone");
        assert_eq!(failure(405, ""), Failure::Permanent);
        assert_eq!(failure(409, ""), Failure::Conflict);
        assert_eq!(failure(507, ""), Failure::NoCapacity { retry_after: None });
        for status in [302, 408, 421, 425, 500, 502, 503, 504, 599] {
            assert_eq!(failure(status, "<html>Bad Gateway</html>"), Failure::Transient);
        }
    }

    #[test]
    fn a_code_is_kept_and_a_body_is_not() {
        let body = br#"{"detail":"https://meet.test/secret","code":"throttled"}"#;
        let error = Error::refused("Delete Bot", CallClass::DeleteBot, StatusCode::BAD_REQUEST, None, body);
        assert_eq!(error.to_string(), "Delete Bot was answered 400 Bad Request (throttled)");
        let body = br#"{"meeting_url":["https://meet.test/secret"]}"#;
        let error = Error::refused("Delete Bot", CallClass::DeleteBot, StatusCode::BAD_REQUEST, None, body);
        assert_eq!(error.to_string(), "Delete Bot was answered 400 Bad Request (meeting_url)");
    }

    #[test]
    fn a_firewall_that_blocks_a_read_blocks_us() {
        let body = br#"{"code":"request_blocked"}"#;
        let error = Error::refused("Retrieve Calendar", CallClass::Read, StatusCode::FORBIDDEN, None, body);
        assert_eq!(error.failure(), Failure::Ours, "there is no link in it that could be to blame");
    }

    #[test]
    fn a_code_that_is_no_identifier_is_cut_down_to_one() {
        let body = br#"{"https://meet.test/secret?token=1":["no such field"]}"#;
        let error = Error::refused("Delete Bot", CallClass::DeleteBot, StatusCode::BAD_REQUEST, None, body);
        assert_eq!(error.to_string(), "Delete Bot was answered 400 Bad Request (httpsmeettestsecrettoken)");
        let body = format!(r#"{{"code":"{}"}}"#, "x".repeat(1000));
        let error = Error::refused("Delete Bot", CallClass::DeleteBot, StatusCode::BAD_REQUEST, None, body.as_bytes());
        assert_eq!(error.to_string(), format!("Delete Bot was answered 400 Bad Request ({})", "x".repeat(60)));
    }
}
