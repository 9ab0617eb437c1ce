//! A success of the API: the name of what is asked for, a line feed, and the body.
//!
//! `event`, `schedule` and `delete` are answered with an event, `calendar` with a calendar, `page` and `calendars` with a page
//! of them; `item` is one item of a page.

use rollcall::{
    domain::{
        calendar::CalendarId,
        event::{Event, EventId},
    },
    recall::{Client, Error},
    telemetry,
};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{assert_discreet, event, page, split_line, upstream};

/// The longest text that an error has.
const MAX_ERROR_BYTES: usize = 300;

/// Reads the body as what is asked for.
pub fn check(input: &[u8]) {
    let Some((name, body)) = split_line(input) else { return };
    match name {
        "event" | "schedule" | "delete" => check_event(name, body),
        "calendar" => check_calendar(body),
        "page" => page::check_events(body),
        "item" => page::check_item(body),
        "calendars" => page::check_calendars(body),
        _ => {}
    }
}

/// What an error may say.
pub fn assert_refused(error: &Error) {
    let text = telemetry::chain(error);
    assert_discreet("the error", &text);
    assert!(text.len() <= MAX_ERROR_BYTES && !text.contains(char::is_control), "{text:?}");
    assert!(matches!(error, Error::Unreadable { .. }), "a whole answer was given: {text}");
}

fn check_event(name: &str, body: &[u8]) {
    let event = match read_event(name, body) {
        Ok(event) => event,
        Err(error) => return assert_refused(&error),
    };
    event::assert_sound(&event, body.len());
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    if value.is_object() {
        assert_eq!(event.is_cancelled, event::is_called_off(&value), "{value}");
    }
    // As another JSON library would write it.
    let again = read_event(name, value.to_string().as_bytes()).expect("what can be read is read again");
    event::assert_same(&event, &again);
}

fn read_event(name: &str, body: &[u8]) -> Result<Event, Error> {
    let id = EventId(Uuid::nil());
    upstream::ask(200, b"", body, async |client: &Client| match name {
        "schedule" => client.schedule_bot(id, "key", &Map::new()).await,
        "delete" => client.delete_bot(id).await,
        _ => client.retrieve_calendar_event(id).await,
    })
}

fn check_calendar(body: &[u8]) {
    let id = CalendarId(Uuid::nil());
    match upstream::ask(200, b"", body, async |client: &Client| client.retrieve_calendar(id).await) {
        Ok(calendar) => event::assert_calendar_sound(&calendar, body.len()),
        Err(error) => assert_refused(&error),
    }
}
