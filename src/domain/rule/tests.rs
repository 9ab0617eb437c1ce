//! Rules on made-up events of both providers, each kind of mistake, and what keeps an evaluation short and discreet.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json, value::to_raw_value};

use super::*;
use crate::domain::{calendar::Calendar, event::Event};

fn google(raw: &Json) -> (Event, Calendar) {
    let (mut event, calendar) = samples().swap_remove(0);
    event.raw = to_raw_value(raw).unwrap();
    (event, calendar)
}

fn wants_on(rule: &str, (event, calendar): &(Event, Calendar)) -> bool {
    let rule = Rule::parse(rule).unwrap_or_else(|error| panic!("{error}"));
    rule.wants(&Facts::of(event, calendar)).unwrap()
}

/// Whether a rule wants the first made-up event: Google's, on Tuesday 2026-01-20 from 21:30 to 22:00 UTC.
fn wants(rule: &str) -> bool {
    wants_on(rule, &samples()[0])
}

#[track_caller]
fn assert_refused(rule: &str, error: &str) {
    let refused = Rule::parse(rule).expect_err(rule).to_string();
    assert_eq!(refused, error, "\n{refused}\n instead of\n{error}");
}

#[test]
fn presets_decide_on_the_recorded_events_of_both_providers() {
    let decisions = |name: &str| samples().iter().map(|sample| wants_on(name, sample)).collect::<Vec<_>>();
    // Google, Outlook, Google without a word, Outlook without a word.
    assert_eq!(decisions("all"), [true, true, true, true]);
    assert_eq!(decisions("none"), [false, false, false, false]);
    assert_eq!(decisions("external"), [true, true, false, false]);
    assert_eq!(decisions("internal"), [false, false, true, true]);
    assert_eq!(decisions("accepted"), [false, true, false, false]);
    assert_eq!(decisions("organizer"), [false, true, false, false]);
}

#[test]
fn a_preset_can_be_a_part_of_an_expression() {
    assert!(wants("external && !event.is_private"));
    assert!(!wants("!external || none"));
    assert!(wants("(internal || all) && event.title.startsWith('Weekly')"));
}

#[test]
fn times_and_durations_are_compared_as_such() {
    assert!(wants("event.duration == duration('30m') && event.duration > duration('10m')"));
    assert!(wants("event.start.getHours() == 21 && event.start.getHours('America/New_York') == 16"));
    assert!(wants("event.start < timestamp('2026-01-20T21:30:01Z') && event.end - event.start == event.duration"));
    assert!(wants("event.start.getDayOfWeek('Europe/Berlin') in [1, 2, 3, 4, 5]"));
    assert!(wants("event.start + duration('30m') == event.end && calendar.created_at < event.start"));
}

#[test]
fn a_time_far_beyond_the_calendar_does_not_fail() {
    let (mut event, calendar) = samples().swap_remove(0);
    for year in [0, 262_142] {
        event.start_time =
            chrono::NaiveDate::from_ymd_opt(year, 12, 30).unwrap().and_time(chrono::NaiveTime::MIN).and_utc();
        event.end_time = event.start_time;
        let rule = Rule::parse("event.start.getHours('Asia/Tokyo') >= 0 && event.duration == duration('0s')").unwrap();
        assert_eq!(rule.wants(&Facts::of(&event, &calendar)), Ok(true), "{year}");
        let sum = Rule::parse("event.start + duration('72h') > event.start").unwrap();
        let sum = sum.wants(&Facts::of(&event, &calendar)).map_err(|error| error.problem);
        let expected = if year == 0 { Ok(true) } else { Err("a number or a time becomes too large".to_owned()) };
        assert_eq!(sum, expected, "chrono would panic");
    }
}

#[test]
fn attendees_are_asked_one_by_one() {
    assert!(wants("event.attendees.size() == 3 && size(event.attendees) == 3"));
    assert!(wants("event.attendees.exists(a, a.domain == 'other.test' && a.response == 'declined')"));
    assert!(wants("event.attendees.all(a, a.email.contains('@'))"));
    assert!(wants("event.attendees.exists_one(a, a.is_self)"));
    assert!(wants("event.attendees.filter(a, a.is_external).size() == 1"));
    assert!(wants("'guest@other.test' in event.attendees.map(a, a.email)"));
    assert!(wants("event.attendees[0].is_organizer && event.organizer.email == event.attendees[0].email"));
    assert!(wants(
        "!event.attendees[7].is_organizer && event.attendees[7].email == '' && !event.attendees[-1].is_self"
    ));
}

#[test]
fn raw_and_metadata_are_what_they_say() {
    assert!(wants("event.raw.status == 'confirmed' && event.raw['sequence'] == 0 && event.raw.reminders.useDefault"));
    assert!(wants("has(event.raw.summary) && event.raw.start.timeZone.startsWith('America/')"));
    assert!(wants(
        "calendar.metadata.plan == 'pro' && calendar.metadata.plan in ['pro', 'team'] && 'plan' in calendar.metadata"
    ));
    assert!(wants("event.raw.attendees.exists(a, has(a.self) && a.self) && event.raw.attendees[1].self"));
    assert!(wants("event.raw.sequence < 1 && event.raw.sequence + 1 == 1 || true"));
    assert!(wants("event.raw.summary.matches('^Weekly') && event.raw.summary.size() == 11"));
    let (event, calendar) = google(&json!({"tags": ["a", 1.5], "none": null}));
    for rule in [
        "'a' in event.raw.tags",
        "1.5 in event.raw.tags",
        "event.raw.none == null",
        "!has(event.raw.none)",
        "event.raw.tags == ['a', 1.5]",
        "['a', 1.5] == event.raw.tags",
        "event.raw.tags != ['a']",
    ] {
        assert!(wants_on(rule, &(event.clone(), calendar.clone())), "{rule}");
    }
}

#[test]
fn what_is_missing_is_empty_and_no_error() {
    for rule in [
        "event.raw.x == null && null == event.raw.x && event.raw.x.y[3].z == null",
        "!has(event.raw.x) && !has(event.raw.x.y) && !has(calendar.metadata.x)",
        "event.raw.x != 'text' && !('text' in event.raw.x) && !('x' in event.raw)",
        "!event.raw.x.contains('a') && !event.raw.x.startsWith('a') && !event.raw.x.endsWith('a')",
        "!event.raw.x.matches('.*') && !'text'.contains(event.raw.x) && !event.raw.x.lowerAscii().contains('a')",
        "event.raw.x.size() == 0 && size(event.raw.x) == 0 && string(event.raw.x) == '' && int(event.raw.x) == 0",
        "!event.raw.x.exists(a, true) && event.raw.x.all(a, false) && event.raw.x.map(a, a) == []",
        "!(event.raw.x < 3) && !(event.raw.x > 3) && !(3 <= event.raw.x) && !('a' >= event.raw.x)",
        "!event.raw.x && !(event.raw.x || event.raw.x) && (event.raw.x ? false : true)",
        "!(event.raw.x.y == 1) && event.raw.x == calendar.metadata.x",
    ] {
        let condition = rule.split(" && ").find(|condition| !wants(condition));
        assert_eq!(condition, None, "of {rule}");
    }
    assert!(wants_on("event.title == '' && event.attendees.size() == 0", &samples()[2]));
    assert!(!wants("event.raw.x"), "a rule may be a field that is missing");
}

#[test]
fn a_mistake_in_the_grammar_is_shown_at_its_place() {
    assert_refused("", "the expression ends too early\n  \n  ^");
    assert_refused("external &&", "the expression ends too early\n  external &&\n             ^");
    assert_refused("(external", "`)` is missing at the end\n  (external\n           ^");
    assert_refused(
        "event.title = 'x'",
        "`=` is not expected here: compare with `==`\n  event.title = 'x'\n              ^",
    );
    assert_refused(
        "external and internal",
        "`and` is not expected here: write `&&`\n  external and internal\n           ^",
    );
    assert_refused("event.title == 'x", "a quotation mark is not closed\n  event.title == 'x\n                 ^");
    assert_refused("'é' == $", "`$` is not expected here\n  'é' == $\n         ^");
    assert_refused("all &&\n  (none ||)", "`)` is not expected here\n    (none ||)\n            ^");
    assert_refused("event.?title == ''", "unsupported syntax '.?'\n  event.?title == ''\n       ^");
}

#[test]
fn a_name_that_there_is_not_is_shown_with_what_was_meant() {
    assert_refused("extrenal", "there is no `extrenal`: did you mean `external`?\n  extrenal\n  ^");
    assert_refused(
        "all && title == 'x'",
        "there is no `title`: write `event.title`\n  all && title == 'x'\n         ^",
    );
    assert_refused(
        "event.externalcount > 1",
        "an event has no `externalcount`: did you mean `external_count`?\n  event.externalcount > 1\n        ^",
    );
    assert_refused(
        "calendar . mail == ''",
        "a calendar has no `mail`: did you mean `email`?\n  calendar . mail == ''\n             ^",
    );
    assert_refused(
        "event.attendees.exists(a, a.external)",
        "an attendee has no `external`: did you mean `is_external`?\n  event.attendees.exists(a, a.external)\n                              ^",
    );
    assert_refused(
        "event.organizer.response == ''",
        "an organizer has no `response`\n  event.organizer.response == ''\n                  ^",
    );
    assert_refused(
        "event.title.startswith('a')",
        "there is no startswith(): did you mean `startsWith`?\n  event.title.startswith('a')\n              ^",
    );
    assert_refused(
        "'é😀' == '' || \n  'ü' == event.titel",
        "an event has no `titel`: did you mean `title`?\n    'ü' == event.titel\n                 ^",
    );
}

#[test]
fn operands_that_do_not_fit_are_shown_at_their_place() {
    assert_refused("event.title", "this is text, where something true or false is needed\n  event.title\n        ^");
    assert_refused(
        "all && event.external_count",
        "this is a number, where something true or false is needed\n  all && event.external_count\n               ^",
    );
    assert_refused(
        "event.duration > 10",
        "`>` does not work with a duration and a number\n  event.duration > 10\n                 ^",
    );
    assert_refused(
        "event.title == 3",
        "`==` does not work with text and a number\n  event.title == 3\n              ^",
    );
    assert_refused(
        "event.title + 1 == ''",
        "`+` does not work with text and a number\n  event.title + 1 == ''\n              ^",
    );
    assert_refused(
        "event.title == null",
        "this is never null: what is missing is empty, \"\" or 0 or false\n  event.title == null\n              ^",
    );
    assert_refused(
        "'a' in event.attendees",
        "`in` does not work with text and a list\n  'a' in event.attendees\n      ^",
    );
    assert_refused(
        "event.attendees.email == ''",
        "a list has no `email`, but each element may: write .exists(a, a.email == …)\n  event.attendees.email == ''\n                  ^",
    );
    assert_refused("event.title.size == 3", "text has no fields\n  event.title.size == 3\n              ^");
    assert_refused(
        "event.attendees.contains('a')",
        "a list has no contains(text)\n  event.attendees.contains('a')\n                  ^",
    );
    assert_refused(
        "contains(event.title, 'a')",
        "there is no contains(text, text): write ….contains(…)\n  contains(event.title, 'a')\n  ^",
    );
    assert_refused(
        "event.attendees.exists(a, a.name)",
        "this is text, where something true or false is needed\n  event.attendees.exists(a, a.name)\n                              ^",
    );
    assert_refused(
        "event.title.exists(a, true)",
        "this goes through a list, and not through text\n  event.title.exists(a, true)\n              ^",
    );
    assert_refused(
        "event.attendees.exists(event, true)",
        "`event` means something else: give the element another name\n  event.attendees.exists(event, true)\n                  ^",
    );
    assert_refused(
        "event.external_count == 1u",
        "numbers are written without `u`\n  event.external_count == 1u\n                          ^",
    );
    assert_refused("event.title in {'a': 1}", "`{…}` has no use here\n  event.title in {'a': 1}\n                 ^");
}

#[test]
fn has_is_for_what_may_not_be_there() {
    assert_refused(
        "has(event.title)",
        "`event.title` is always there, and empty if missing: write event.title != \"\"\n  has(event.title)\n  ^",
    );
    assert_refused(
        "has(event.raw)",
        "`event.raw` is always there: ask for a field of it, has(event.raw.name)\n  has(event.raw)\n  ^",
    );
    assert_refused(
        "has(event.is_private)",
        "`event.is_private` is always there: write event.is_private without has()\n  has(event.is_private)\n  ^",
    );
    assert_refused("has(event.titel)", "an event has no `titel`: did you mean `title`?\n  has(event.titel)\n  ^");
    assert_refused("has(event)", "invalid argument to has() macro\n  has(event)\n      ^");
}

#[test]
fn what_is_written_out_is_checked() {
    assert_refused(
        "event.title.matches('(')",
        "this is no pattern: unclosed group\n  event.title.matches('(')\n                      ^",
    );
    assert_refused(
        "event.title.matches(event.location)",
        "a pattern must be written out, in quotation marks\n  event.title.matches(event.location)\n                            ^",
    );
    assert_refused(
        "event.duration > duration('10 min')",
        "this is no duration: write it like \"10m\" or \"1h30m\"\n  event.duration > duration('10 min')\n                            ^",
    );
    assert_refused(
        "event.start > timestamp('today')",
        "this is no timestamp: write it like \"2026-01-31T09:00:00Z\"\n  event.start > timestamp('today')\n                          ^",
    );
    assert_refused(
        "event.start.getHours('Berlin') < 9",
        "there is no such time zone: write it like \"Europe/Berlin\" or \"+02:00\"\n  event.start.getHours('Berlin') < 9\n                       ^",
    );
    assert_refused(
        "event.title.matches('(\\\\w{100}){100}{100}')",
        "this is no pattern: Compiled regex exceeds size limit of 1048576 bytes.\n  event.title.matches('(\\\\w{100}){100}{100}')\n                      ^",
    );
}

#[test]
fn a_rule_that_fails_on_a_made_up_event_is_refused() {
    assert_refused(
        "event.raw.sequence + 1 > 0",
        "`event.raw.sequence + 1 > 0` cannot be decided: an operation in it does not fit the kind of value it meets\n  event.raw.sequence + 1 > 0\n                         ^",
    );
    assert_refused("1 / 0 > 1", "`1 / 0 > 1` cannot be decided: it divides by zero\n  1 / 0 > 1\n        ^");
}

#[test]
fn an_error_does_not_say_what_is_in_the_event() {
    let secret =
        json!({"summary": "secret-title", "attendees": [{"email": "secret@acme.test"}], "x": "secret", "n": "secret"});
    let (event, calendar) = google(&secret);
    let mut failures = 0;
    for rule in [
        "!has(event.raw.x) || event.raw.x > 3",
        "!has(event.raw.x) || event.raw.x + 1 == 1",
        "!has(event.raw.x) || event.raw.x",
        "!has(event.raw.x) || int(event.raw.x) == 1",
        "!has(event.raw.x) || event.start.getHours(event.raw.x) == 1",
        "!has(event.raw.x) || timestamp(event.raw.x) > event.start",
        "!has(event.raw.x) || [1][int(event.raw.x.size())] == 1",
        "!has(event.raw.x) || event.raw.attendees[0].contains('a')",
        "!has(event.raw.x) || event.raw.x - event.raw.attendees == 0",
        "!has(event.raw.x) || -event.raw.x == 0",
    ] {
        let rule = Rule::parse(rule).unwrap_or_else(|error| panic!("{error}"));
        let error = rule.wants(&Facts::of(&event, &calendar)).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        failures += 1;
    }
    assert_eq!(failures, 10);
}

#[test]
fn loops_go_through_a_bounded_number_of_elements() {
    let numbers: Vec<u32> = (0..1_000).collect();
    let many = google(&json!({ "n": numbers }));
    for rule in [
        "event.raw.n.exists(a, event.raw.n.exists(b, event.raw.n.exists(c, c == -1)))",
        "event.raw.n.all(a, event.raw.n.all(b, event.raw.n.all(c, c != -1)))",
        "event.raw.n.map(a, event.raw.n.map(b, event.raw.n.map(c, c))).size() == 0",
        "event.raw.n.filter(a, event.raw.n.filter(b, event.raw.n.filter(c, true) == []) == []) == [1]",
        "event.raw.n.exists_one(a, event.raw.n.exists_one(b, event.raw.n.exists_one(c, c == -1)))",
        "event.raw.n.map(a, true, event.raw.n.map(b, true, event.raw.n)) == []",
    ] {
        let began = Instant::now();
        let error = Rule::parse(rule).unwrap().wants(&Facts::of(&many.0, &many.1)).unwrap_err();
        assert!(error.to_string().ends_with("its loops go through too many elements"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(20), "{rule} took {:?}", began.elapsed());
    }
    assert!(wants_on("event.raw.n.exists(a, a == 999)", &many), "and a loop within the bound does not fail");
    assert!(wants_on("event.raw.n.filter(a, a > 499).map(a, a + 1).size() == 500", &many));
}

#[test]
fn a_text_that_would_exhaust_the_stack_is_refused() {
    let deep = |open: &str, core: &str, close: &str| {
        let count = (8 * 1024 - core.len()) / (open.len() + close.len());
        [open.repeat(count), core.to_owned(), close.repeat(count)].concat()
    };
    for text in [
        deep("(", "all", ")"),
        deep("", "1", "+1"),
        deep("", "event", ".raw"),
        deep("[", "1", "]"),
        deep("", "event.raw", "[0]"),
        deep("", "event.raw", ".f()"),
        deep("all?all:", "all", ""),
        deep("", "1", "<1"),
        deep("-", "event", ""),
    ] {
        let error = Rule::parse(&text).expect_err(&text).to_string();
        let start = error.lines().next().unwrap_or_default();
        assert!(start.starts_with("the expression is nested too deeply") || text.starts_with('-'), "{start}");
    }
    let longer = Rule::parse(&format!("all{}", " ".repeat(8 * 1024))).unwrap_err().to_string();
    assert!(longer.starts_with("the expression is longer than 8 KiB"), "{longer}");
}

#[test]
fn a_text_that_is_long_but_shallow_is_no_problem() {
    assert!(wants(&vec!["external"; 500].join(" && ")));
    let domains = (0..500).map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ");
    assert!(!wants(&format!("calendar.domain in [{domains}]")));
    assert!(wants(&format!("{} == 46", vec!["1"; 46].join(" + "))), "a tree almost as deep as may be fits the stack");
    assert!(wants(&format!("{}external", "!".repeat(8_000))));
}

#[test]
fn the_parts_of_a_rule_are_its_conditions_as_written() {
    let parts = |rule: &str| {
        let (event, calendar) = samples().swap_remove(0);
        let parts = Rule::parse(rule).unwrap_or_else(|error| panic!("{error}")).parts(&Facts::of(&event, &calendar));
        parts.into_iter().map(|part| (part.text, part.is_true)).collect::<Vec<_>>()
    };
    let part = |text: &str, is_true| (text.to_owned(), is_true);
    assert_eq!(parts("external"), [part("external", Some(true))]);
    assert_eq!(
        parts("(external && !event.is_private) || !(none || 'a || b' == event.title)"),
        [
            part("external", Some(true)),
            part("event.is_private", Some(false)),
            part("none", Some(false)),
            part("'a || b' == event.title", Some(false)),
        ]
    );
    assert_eq!(
        parts("event.attendees.exists(a, a.is_self && a.is_organizer)\n && event.external_count < 2"),
        [
            part("event.attendees.exists(a, a.is_self && a.is_organizer)", Some(false)),
            part("event.external_count < 2", Some(true)),
        ]
    );
    assert_eq!(parts("external ? all && none : all"), [part("external ? all && none : all", Some(false))]);
    assert_eq!(parts("!external == none && all"), [part("!external == none", Some(true)), part("all", Some(true))]);
    assert_eq!(parts("!(external) == (none)"), [part("!(external) == (none)", Some(true))]);
    assert_eq!(
        parts("!has(event.raw.summary) || event.raw.summary > 3 || all")[1],
        part("event.raw.summary > 3", None)
    );
}

#[test]
fn rules_are_equal_if_their_texts_are() {
    let rule = |text: &str| Rule::parse(text).unwrap();
    assert_eq!(rule("external"), rule("external"));
    assert_ne!(rule("external"), rule("external "));
    assert_eq!(rule("external").as_str(), "external");
    assert_eq!(format!("{:?}", rule("all")), "Rule(\"all\")");
}

#[test]
fn each_preset_is_a_rule() {
    for preset in PRESETS {
        assert!(Rule::parse(preset.expression).is_ok(), "{}", preset.name);
        assert!(Rule::parse(preset.name).is_ok(), "{}", preset.name);
    }
}
