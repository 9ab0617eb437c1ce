//! The rules and the tables of docs/policy.md.

use serde_json::{Value as Json, json, value::to_raw_value};

use super::*;
use crate::domain::facts::{ATTENDEE, CALENDAR, EVENT, Fields, PERSON};

const PAGE: &str = include_str!("../../../docs/policy.md");

fn rules() -> Vec<&'static str> {
    let blocks = PAGE.split("```cel\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().trim()).collect()
}

/// A meeting on the calendar of `user@acme.test`, which has the metadata given, on Tuesday 2026-01-20 at 21:30 UTC.
fn is_wanted(rule: &Rule, raw: &Json, metadata: &Json, minutes: i64) -> bool {
    let (mut event, mut calendar) = samples().swap_remove(0);
    event.raw = to_raw_value(raw).unwrap();
    calendar.metadata = Some(to_raw_value(metadata).unwrap());
    event.end_time = event.start_time + chrono::TimeDelta::minutes(minutes);
    event.meeting_platform = raw["zoom"].as_bool().map(|_| "zoom".to_owned());
    if let Some(hours) = raw["later"].as_i64() {
        event.start_time += chrono::TimeDelta::hours(hours);
    }
    rule.wants(&Facts::of(&event, &calendar)).unwrap()
}

/// What each rule of the page wants, in its order, and what it does not: the provider's payload, and the calendar's metadata.
fn examples() -> Vec<[Json; 2]> {
    let guest = |email: &str| json!({"email": email});
    let mine = json!({"email": "user@acme.test", "self": true});
    let people = |count: usize| (0..count).map(|n| guest(&format!("{n}@acme.test"))).collect::<Vec<_>>();
    let few = [people(5), vec![json!({"email": "a@acme.test", "optional": true}); 3]].concat();
    vec![
        [
            json!({"organizer": mine, "attendees": [guest("a@other.test")]}),
            json!({"attendees": [guest("a@other.test")]}),
        ],
        [json!({}), json!({"later": 2})],
        [json!({"attendees": people(3)}), json!({"attendees": people(2)})],
        [json!({"attendees": [guest("a@Customer.test")]}), json!({"attendees": [guest("a@stranger.test")]})],
        [json!({"summary": "Review"}), json!({"summary": "Review (No Bot)"})],
        [json!({"minutes": 11}), json!({"minutes": 10})],
        [json!({"organizer": mine}), json!({"organizer": mine, "visibility": "private"})],
        [json!({"metadata": {"plan": "pro"}}), json!({"metadata": {}})],
        [
            json!({"description": "please #record"}),
            json!({"attendees": [guest("a@other.test")], "description": "#norecord"}),
        ],
        [json!({"start": {"dateTime": "2026-01-20T21:30:00Z"}}), json!({"start": {"date": "2026-01-20"}})],
        [json!({}), json!({"attendees": [{"email": "user@acme.test", "self": true, "responseStatus": "declined"}]})],
        [json!({"zoom": true}), json!({})],
        [json!({"attendees": people(6)}), json!({"attendees": few})],
        [json!({"recurringEventId": "series"}), json!({})],
        [
            json!({"attendees": [{"email": "a@other.test", "responseStatus": "accepted"}]}),
            json!({"attendees": [{"email": "a@other.test"}, {"email": "b@acme.test", "responseStatus": "accepted"}]}),
        ],
    ]
}

#[test]
fn each_documented_rule_wants_what_it_says_and_not_the_other() {
    assert_eq!(rules().len(), examples().len());
    for (text, raws) in rules().into_iter().zip(examples()) {
        let rule = Rule::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let is_wanted = |raw: &Json| is_wanted(&rule, raw, &raw["metadata"], raw["minutes"].as_i64().unwrap_or(30));
        assert_eq!(raws.each_ref().map(is_wanted), [true, false], "{text}");
    }
}

#[test]
fn each_field_and_each_preset_is_documented() {
    let documented = |prefix: &str, fields: Fields| {
        let missing = fields.iter().find(|(field, _)| !PAGE.contains(&format!("`{prefix}{field}`")));
        assert_eq!(missing, None);
    };
    documented("event.", EVENT);
    documented("calendar.", CALENDAR);
    documented("a.", ATTENDEE);
    documented("", PERSON);
    for Preset { name, expression, meaning } in PRESETS {
        assert!(PAGE.contains(&format!("| `{name}` | `{expression}` | {meaning} |")), "{name}");
    }
}

#[test]
fn the_documented_mistake_is_shown_as_documented() {
    let mistake = Rule::parse("event.externalcount > 1").unwrap_err().to_string();
    assert!(PAGE.contains(&format!("```text\n{mistake}\n```")), "{mistake}");
}

#[test]
fn the_documented_templates_can_be_filled_in() {
    let (_, block) = PAGE.split_once("```json\n").unwrap();
    let config = serde_json::from_str(block.split("```").next().unwrap_or_default()).unwrap();
    let (event, calendar) = samples().swap_remove(0);
    let config = crate::domain::bot_config::BotConfig::parse(config).unwrap();
    let filled = Json::Object(config.render(&Facts::of(&event, &calendar)).unwrap());
    let metadata = json!({"tenant": "", "kind": "customer", "organizer": "host@acme.test",
        "guests": "host@acme.test, user@acme.test, guest@other.test", "minutes": "30"});
    assert_eq!(filled, json!({"bot_name": "Notes for Weekly sync", "metadata": metadata}));
}
