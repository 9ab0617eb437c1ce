//! Any other answer of the API: the call and the status, a line feed, `Retry-After`, a line feed, and the body.
//!
//! Its kind follows from the status, whatever else it says; no pause is longer than an hour; and of the body an identifier is
//! kept at most.

use std::time::Duration;

use rollcall::{
    domain::{budget::CallClass, calendar::CalendarId, event::EventId},
    recall::{Client, Error, Failure},
    telemetry,
};
use serde_json::Map;
use uuid::Uuid;

use super::{answer, assert_discreet, split_line, upstream};

const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Without `Retry-After`.
const DEFAULT_PAUSE: Duration = Duration::from_secs(15);
const MAX_CODE_CHARS: usize = 60;

/// Makes the call and looks at its failure.
pub fn check(input: &[u8]) {
    let Some((call, rest)) = split_line(input) else { return };
    let Some((name, status)) = call.split_once(' ') else { return };
    let Some(status) = status.parse().ok().filter(|status: &u16| (200..1000).contains(status)) else { return };
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return };
    let (retry_after, body) = (&rest[..end], &rest[end + 1..]);
    if retry_after.iter().any(u8::is_ascii_control) {
        return;
    }
    let header = match retry_after {
        b"" => vec![],
        value => [b"retry-after: ", value, b"\r\n"].concat(),
    };
    let Some((class, outcome)) = make(name, status, &header, body) else { return };
    match outcome {
        Ok(()) => assert!((200..300).contains(&status), "{status} is no success"),
        Err(error @ Error::Unreadable { .. }) => answer::assert_refused(&error),
        Err(error @ Error::NoAnswer { .. }) => panic!("a whole answer was given: {}", telemetry::chain(&error)),
        Err(error @ Error::Refused { .. }) => assert_kind(&error, class, status, pause(retry_after)),
    }
}

fn make(name: &str, status: u16, header: &[u8], body: &[u8]) -> Option<(CallClass, Result<(), Error>)> {
    let (calendar, event) = (CalendarId(Uuid::nil()), EventId(Uuid::nil()));
    let class = match name {
        "list" => CallClass::List,
        "read" => CallClass::Read,
        "schedule" => CallClass::ScheduleBot,
        "delete" => CallClass::DeleteBot,
        _ => return None,
    };
    let outcome = upstream::ask(status, header, body, async |client: &Client| match class {
        CallClass::List => client.list_calendar_events(calendar, None).await.map(drop),
        CallClass::Read => client.retrieve_calendar(calendar).await.map(drop),
        CallClass::ScheduleBot => client.schedule_bot(event, "key", &Map::new()).await.map(drop),
        CallClass::DeleteBot => client.delete_bot(event).await.map(drop),
    });
    Some((class, outcome))
}

/// The specification of `Retry-After`: seconds, from one to an hour; anything else tells nothing.
fn pause(retry_after: &[u8]) -> Option<Duration> {
    let seconds: u64 = std::str::from_utf8(retry_after).ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.max(1)).min(LONGEST_PAUSE))
}

fn assert_kind(error: &Error, class: CallClass, status: u16, pause: Option<Duration>) {
    let Error::Refused { status: told, code, failure, .. } = error else { return };
    assert_eq!(told.as_u16(), status);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_- .".contains(c);
    assert!(code.chars().count() <= MAX_CODE_CHARS && code.chars().all(is_plain), "{code:?}");
    assert_discreet("the error", &telemetry::chain(error));
    let is_right = match status {
        400 => [Failure::Ended, Failure::Permanent].contains(failure),
        403 if class == CallClass::ScheduleBot => [Failure::Ours, Failure::Permanent].contains(failure),
        401..=403 => *failure == Failure::Ours,
        404 => [Failure::NotFound, Failure::Transient].contains(failure),
        409 => *failure == Failure::Conflict,
        429 => *failure == Failure::Throttled { class, retry_after: pause.unwrap_or(DEFAULT_PAUSE) },
        507 => *failure == Failure::NoCapacity { retry_after: pause },
        300..=399 | 408 | 421 | 425 | 500..=599 => *failure == Failure::Transient,
        _ => *failure == Failure::Permanent,
    };
    assert!(is_right, "{status}: {failure:?}");
}
