//! Pages of events and calendars: one item hides no other (P9), and a next page is asked of the API alone.

use rollcall::{
    domain::{calendar::CalendarId, event::EventId},
    recall::{Client, EventPage, PageQuery},
};
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

use super::{answer::assert_refused, assert_discreet, event, upstream};

/// An event and a calendar as documented. The item in question stands between two of them.
const FIRST: &str = r#"{"id":"7c1f5a0e-2d6b-4f0c-9f0a-6c0d8d5b1e01","calendar_id":"0b9f8f6e-7b0a-4b1e-9c60-4f4d0b1f2a11","platform":"google_calendar","status":"connected","start_time":"2026-01-20T21:30:00Z","end_time":"2026-01-20T22:00:00Z","is_deleted":false,"created_at":"2026-01-05T10:00:00Z","updated_at":"2026-01-15T09:30:00.123456Z"}"#;
const LAST: &str = r#"{"id":"7c1f5a0e-2d6b-4f0c-9f0a-6c0d8d5b1e02","calendar_id":"0b9f8f6e-7b0a-4b1e-9c60-4f4d0b1f2a11","platform":"google_calendar","status":"connected","start_time":"2026-01-20T21:30:00Z","end_time":"2026-01-20T22:00:00Z","is_deleted":false,"created_at":"2026-01-05T10:00:00Z","updated_at":"2026-01-15T09:30:00.123456Z"}"#;
/// The longest query that is taken from a next page, and the longest reason that is kept.
const MAX_QUERY_BYTES: usize = 4096;
const MAX_REASON_BYTES: usize = 200;

/// Reads the body as a page of events, and asks for the next one.
pub fn check_events(body: &[u8]) {
    match list(body) {
        Ok(page) => {
            assert_page_sound(&page, body.len());
            assert_count(body, page.events.len() + page.unreadable.len());
            if let Some(next) = &page.next {
                assert_next_is_asked_of_the_api(next, body);
            }
        }
        Err(error) => {
            assert_refused(&error);
            if let Ok(value) = serde_json::from_slice::<Value>(body) {
                let canonical = value.to_string();
                let is_read = list(canonical.as_bytes()).is_ok();
                assert_eq!(is_read, is_documented_page(&value), "{canonical}");
            }
        }
    }
}

/// Reads the body as one item among others, of a page of events and of one of calendars.
pub fn check_item(body: &[u8]) {
    let Some((item, text)) = among_others(body) else { return };
    let page = list(text.as_bytes()).expect("a page with an odd item is a page");
    assert_page_sound(&page, text.len());
    assert_eq!(page.events.len() + page.unreadable.len(), 3);
    let [first, .., last] = &page.events[..] else { panic!("the neighbours are read: {page:?}") };
    assert_eq!([first.id, last.id], [id_of(FIRST), id_of(LAST)]);
    if let [_, event, _] = &page.events[..] {
        event::assert_fingerprint(event, item);
    }

    let page = upstream::ask(200, b"", text.as_bytes(), async |client: &Client| client.list_calendars(None).await);
    let page = page.expect("a page with an odd item is a page");
    assert_eq!(page.calendars.len() + page.unreadable.len(), 3);
    let [first, .., last] = &page.calendars[..] else { panic!("the neighbours are read: {page:?}") };
    assert_eq!([first.id.0, last.id.0], [id_of(FIRST).0, id_of(LAST).0]);
    page.calendars.iter().for_each(|calendar| event::assert_calendar_sound(calendar, text.len()));
    page.unreadable.iter().for_each(|reason| assert_reason(reason));
}

/// The item, which must be JSON, and a page with it among others.
pub fn among_others(item: &[u8]) -> Option<(&str, String)> {
    let item = serde_json::from_slice::<&RawValue>(item).ok()?.get();
    Some((item, format!(r#"{{"next":null,"previous":null,"results":[{FIRST},{item},{LAST}]}}"#)))
}

/// Reads the body as a page of calendars.
pub fn check_calendars(body: &[u8]) {
    match upstream::ask(200, b"", body, async |client: &Client| client.list_calendars(None).await) {
        Ok(page) => {
            assert_count(body, page.calendars.len() + page.unreadable.len());
            page.calendars.iter().for_each(|calendar| event::assert_calendar_sound(calendar, body.len()));
            page.unreadable.iter().for_each(|reason| assert_reason(reason));
            page.next.iter().for_each(assert_query);
        }
        Err(error) => assert_refused(&error),
    }
}

fn list(body: &[u8]) -> Result<EventPage, rollcall::recall::Error> {
    upstream::ask(200, b"", body, async |client: &Client| {
        client.list_calendar_events(CalendarId(Uuid::nil()), None).await
    })
}

fn id_of(event: &str) -> EventId {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    EventId(event["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_default())
}

/// That each item was read or reported, as far as another reader can tell how many there are.
fn assert_count(body: &[u8], count: usize) {
    assert!(count_items(body).is_none_or(|items| items == count), "{count} of {:?} items", count_items(body));
}

fn count_items(body: &[u8]) -> Option<usize> {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Array(fields)) => fields.get(1)?.as_array().map(Vec::len),
        Ok(page) => page["results"].as_array().map(Vec::len),
        // It may hold what is only copied: numbers beyond all range, half a surrogate pair.
        Err(_) => {
            let page: std::collections::HashMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
            serde_json::from_str::<Vec<&RawValue>>(page.get("results")?.get()).ok().map(|items| items.len())
        }
    }
}

fn is_documented_page(page: &Value) -> bool {
    let query = |next: &str| next.is_empty() || next.split_once('?').is_some_and(|(_, query)| is_query(query));
    let next_is_documented = match &page["next"] {
        Value::Null => true,
        next => next.as_str().is_some_and(query),
    };
    page["results"].is_array() && next_is_documented
}

fn assert_page_sound(page: &EventPage, bytes: usize) {
    page.events.iter().for_each(|event| event::assert_sound(event, bytes));
    for item in &page.unreadable {
        let is_place = item.event_id.strip_prefix("item ").is_some_and(|place| place.parse::<usize>().is_ok());
        assert!(is_place || item.event_id.parse::<Uuid>().is_ok(), "{}", item.event_id);
        assert_reason(&item.reason);
    }
    page.next.iter().for_each(assert_query);
}

fn assert_reason(reason: &str) {
    assert!(reason.len() <= MAX_REASON_BYTES && !reason.contains(char::is_control), "{reason:?}");
    assert_discreet("the reason", reason);
}

/// What Postgres can store and a request line can hold.
fn is_query(query: &str) -> bool {
    query.len() <= MAX_QUERY_BYTES && !query.contains(char::is_control)
}

fn assert_query(next: &PageQuery) {
    assert!(is_query(next.as_str()), "{next:?}");
}

fn assert_next_is_asked_of_the_api(next: &PageQuery, body: &[u8]) {
    let next = upstream::ask(200, b"", body, async |client: &Client| client.list_calendar_events_next(next).await);
    assert!(next.is_ok(), "the same page again: {next:?}");
    assert_eq!(upstream::count_requests(), 1, "it was asked for");
}
