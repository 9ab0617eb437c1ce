//! The Calendar Event endpoints, and what a calendar's client needs of Bot's (recall-api §3.4, §4, §5).

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::Received;
use super::answer::Answer;
use super::lists::{self, Cutting, Query};
use crate::sim::config::WorkspaceLists;
use crate::sim::faults::Fault;
use crate::sim::model::{CalendarFilter, EventFilter, Refusal};
use crate::sim::shared::World;

/// The documented length of a deduplication key.
const KEY_LIMIT: usize = 2000;
/// The documented length of a bot's name.
const BOT_NAME_LIMIT: usize = 100;

pub(super) fn list(world: &World, received: &Received, fault: Option<&Fault>) -> Answer {
    let mut filter = match read_filter(&Query::of(received)) {
        Ok(filter) => filter,
        Err(refusal) => return refusal,
    };
    let knobs = &world.workspace.knobs;
    if filter.calendar_id.is_none() {
        match knobs.workspace_lists {
            WorkspaceLists::Span => {}
            WorkspaceLists::Empty => filter.calendar_id = Some(Uuid::nil()),
            WorkspaceLists::OneCalendar => {
                let oldest = world.workspace.list_calendars(&CalendarFilter::default()).into_iter().next();
                filter.calendar_id = Some(oldest.map_or(Uuid::nil(), |calendar| calendar.id));
            }
            WorkspaceLists::Refused => return Answer::field("calendar_id", "This field is required."),
            WorkspaceLists::Forbidden => return Answer::status(403),
        }
    }
    let rows = world.workspace.list_events(&filter);
    let cutting = Cutting { received, page_size: knobs.page_size, descending: knobs.descending, fault };
    let is_stale = fault == Some(&Fault::Stale);
    lists::page(rows, &cutting, |id| world.workspace.event_text(id, is_stale))
}

fn read_filter(query: &Query) -> Result<EventFilter, Answer> {
    Ok(EventFilter {
        calendar_id: query.id("calendar_id")?,
        ical_uid: query.text("ical_uid"),
        is_deleted: query.boolean("is_deleted"),
        start: query.time("start_time")?,
        start_gte: query.time("start_time__gte")?,
        start_lte: query.time("start_time__lte")?,
        updated_gte: query.time("updated_at__gte")?,
    })
}

pub(super) fn retrieve(world: &World, received: &Received, fault: Option<&Fault>) -> Answer {
    show(world, received.route.id.unwrap_or_default(), fault)
}

pub(super) fn schedule_bot(
    world: &mut World,
    received: &Received,
    fault: Option<&Fault>,
    now: DateTime<Utc>,
) -> Answer {
    let id = received.route.id.unwrap_or_default();
    let done =
        check_request(&received.body).and_then(|(key, config)| world.workspace.schedule_bot(id, key, config, now));
    finish(world, id, done, fault)
}

pub(super) fn delete_bot(world: &mut World, received: &Received, fault: Option<&Fault>, now: DateTime<Utc>) -> Answer {
    let id = received.route.id.unwrap_or_default();
    let done = world.workspace.delete_bot(id, now);
    finish(world, id, done, fault)
}

pub(super) fn retrieve_bot(world: &World, received: &Received) -> Answer {
    let bot = received.route.id.and_then(|id| world.workspace.bot_json(id));
    bot.map_or(Answer::status(404), |bot| Answer::json(200, bot.to_string()))
}

pub(super) fn leave_call(world: &mut World, received: &Received, now: DateTime<Utc>) -> Answer {
    match world.workspace.leave_call(received.route.id.unwrap_or_default(), now) {
        Ok(()) => Answer::json(200, "{}".to_owned()),
        Err(refusal) => Answer::refusal(&refusal, None),
    }
}

/// Both bot endpoints answer with the updated event \[C\].
fn finish(world: &World, id: Uuid, done: Result<(), Refusal>, fault: Option<&Fault>) -> Answer {
    match done {
        Ok(()) => show(world, id, fault),
        Err(refusal) => Answer::refusal(&refusal, world.workspace.knobs.pool_retry_after_secs),
    }
}

fn show(world: &World, id: Uuid, fault: Option<&Fault>) -> Answer {
    let text = world.workspace.event_text(id, fault == Some(&Fault::Stale));
    text.map_or(Answer::status(404), |text| Answer::json(200, text))
}

/// Key and configuration, with what the documents say of their form. Unknown keys of the configuration pass \[U\].
fn check_request(body: &Value) -> Result<(&str, &Value), Refusal> {
    let wrong = |field, message: &str| Err(Refusal::Field(field, message.to_owned()));
    let key = match &body["deduplication_key"] {
        Value::String(key) if !key.is_empty() && key.len() <= KEY_LIMIT => key,
        Value::Null => return wrong("deduplication_key", "This field is required."),
        _ => {
            return wrong("deduplication_key", "Not a valid string of up to 2000 characters.");
        }
    };
    let config = &body["bot_config"];
    if config.is_null() {
        return wrong("bot_config", "This field is required.");
    }
    if !config.is_object() {
        return wrong("bot_config", "Expected an object.");
    }
    let is_name = |name: &str| name.chars().count() <= BOT_NAME_LIMIT;
    if !config["bot_name"].is_null() && !config["bot_name"].as_str().is_some_and(is_name) {
        return wrong("bot_name", "Not a valid string of up to 100 characters.");
    }
    let is_text = |value: &Value| value.is_string() || value.is_null();
    let is_map = |metadata: &Value| metadata.as_object().is_some_and(|fields| fields.values().all(is_text));
    if !config["metadata"].is_null() && !is_map(&config["metadata"]) {
        return wrong("metadata", "Expected a map of strings.");
    }
    Ok((key, config))
}
