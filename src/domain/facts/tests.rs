//! The same meeting as Google and as Outlook write it, and payloads that are not as documented.

use serde_json::json;

use super::*;

/// The facts of a payload, on the calendar of `user@acme.test`.
fn ask<T>(raw: &Value, look: impl FnOnce(&Facts) -> T) -> T {
    let (mut event, calendar) = samples().swap_remove(0);
    event.raw = serde_json::value::to_raw_value(raw).unwrap();
    look(&Facts::of(&event, &calendar))
}

fn attendees(raw: &Value) -> Vec<Attendee> {
    ask(raw, |facts| facts.meeting().attendees.clone())
}

fn google() -> Value {
    json!({
        "summary": "Review", "description": "Agenda", "location": "Room 1",
        "visibility": "private", "recurringEventId": "series",
        "start": {"dateTime": "2026-01-20T21:30:00Z"},
        "organizer": {"email": "Host@Other.test", "displayName": "Host"},
        "attendees": [
            {"email": "user@acme.test", "displayName": "User", "self": true, "responseStatus": "tentative"},
            {"email": "Host@Other.test", "displayName": "Host", "organizer": true, "responseStatus": "accepted"},
            {"email": "guest@ACME.test", "displayName": "Guest", "optional": true, "responseStatus": "needsAction"},
            {"email": "room@resource.test", "resource": true, "responseStatus": "accepted"},
        ],
    })
}

fn outlook() -> Value {
    let person = |email: &str, name: &str| json!({"address": email, "name": name});
    let answer = |response: &str| json!({"response": response, "time": "0001-01-01T00:00:00Z"});
    json!({
        "subject": "Review", "bodyPreview": "Agenda", "body": {"content": "<html/>"},
        "location": {"displayName": "Room 1"}, "sensitivity": "confidential", "seriesMasterId": "series",
        "isAllDay": false, "isOrganizer": false, "start": {"dateTime": "2026-01-20T21:30:00.0000000"},
        "organizer": {"emailAddress": person("host@other.test", "Host")},
        "responseStatus": answer("tentativelyAccepted"),
        "attendees": [
            {"type": "required", "status": answer("none"), "emailAddress": person("User@acme.test", "User")},
            {"type": "optional", "status": answer("notResponded"), "emailAddress": person("guest@acme.test", "Guest")},
            {"type": "resource", "status": answer("accepted"), "emailAddress": person("room@resource.test", "Room")},
        ],
    })
}

#[test]
fn both_providers_renderings_of_a_meeting_give_the_same_facts() {
    for (field, _) in EVENT.iter().filter(|(field, _)| *field != "raw") {
        let [google, outlook] = [google(), outlook()].map(|raw| ask(&raw, |facts| format!("{:?}", facts.event(field))));
        assert_eq!(google, outlook, "{field}");
    }
}

#[test]
fn the_facts_of_a_meeting_are_what_the_provider_says() {
    ask(&google(), |facts| {
        let fact = |field| facts.event(field).unwrap();
        assert_eq!(fact("title"), text("Review"));
        assert_eq!(fact("description"), text("Agenda"));
        assert_eq!(fact("location"), text("Room 1"));
        assert_eq!(fact("duration"), Fact::Length(TimeDelta::minutes(30)));
        assert_eq!(fact("is_private"), Fact::Flag(true));
        assert_eq!(fact("is_recurring"), Fact::Flag(true));
        assert_eq!(fact("is_all_day"), Fact::Flag(false));
        assert_eq!(fact("is_organizer"), Fact::Flag(false));
        assert_eq!(fact("response"), text("tentative"));
        assert_eq!(fact("external_count"), Fact::Number(1));
        assert_eq!(facts.calendar("domain"), Some(text("acme.test")));
    });
    let [host, user, guest] = attendees(&google()).try_into().unwrap();
    let host_fields = ["email", "name", "domain", "response"].map(|field| host.field(field).unwrap());
    assert_eq!(host_fields, ["host@other.test", "Host", "other.test", "accepted"].map(text));
    assert!(host.is_organizer && host.is_external && !host.person.is_self);
    assert!(user.person.is_self && !user.is_external && !user.is_optional);
    assert!(guest.is_optional && !guest.is_external, "letters of a domain are alike in either case");
}

#[test]
fn who_organizes_has_accepted_unless_they_say_otherwise() {
    let google = json!({"organizer": {"email": "user@acme.test"}});
    let outlook = json!({"organizer": {"emailAddress": {"address": "user@acme.test"}}, "attendees": [],
        "responseStatus": {"response": "organizer"}});
    for raw in [google, outlook] {
        ask(&raw, |facts| {
            assert_eq!(facts.event("response"), Some(text("accepted")));
            assert_eq!(facts.event("is_organizer"), Some(Fact::Flag(true)));
            let [own] = facts.meeting().attendees.clone().try_into().unwrap();
            assert!(own.is_organizer && own.person.is_self && own.response == Response::Accepted);
        });
    }
    let declined = json!({"organizer": {"email": "user@acme.test", "self": true}, "attendees": [
        {"email": "user@acme.test", "self": true, "organizer": true, "responseStatus": "declined"}]});
    ask(&declined, |facts| assert_eq!(facts.event("response"), Some(text("declined"))));
}

#[test]
fn an_event_on_whole_days_says_so() {
    for raw in [json!({"start": {"date": "2026-01-20"}}), json!({"isAllDay": true})] {
        ask(&raw, |facts| assert_eq!(facts.event("is_all_day"), Some(Fact::Flag(true))));
    }
}

#[test]
fn a_field_of_another_type_is_missing_and_the_rest_is_read() {
    let raw = json!({"summary": 7, "visibility": [], "location": {"displayName": null}, "organizer": "host",
        "start": [], "recurrence": null, "description": "Agenda",
        "attendees": [3, null, {"email": 4}, {"email": "guest@other.test", "optional": "yes", "responseStatus": {}}]});
    ask(&raw, |facts| {
        assert_eq!(facts.event("title"), Some(text("")));
        assert_eq!(facts.event("description"), Some(text("Agenda")));
        assert_eq!(facts.event("is_recurring"), Some(Fact::Flag(false)));
        assert_eq!(facts.event("external_count"), Some(Fact::Number(1)));
    });
    let [guest] = attendees(&raw).try_into().unwrap();
    assert!(!guest.is_optional && guest.response == Response::None);
}

#[test]
fn a_payload_that_is_no_object_is_empty() {
    for raw in [json!(null), json!([1]), json!("text")] {
        ask(&raw, |facts| {
            assert_eq!(facts.event("title"), Some(text("")));
            assert_eq!(facts.event("attendees"), Some(Fact::Attendees(&[])));
            assert_eq!(facts.event("raw"), Some(Fact::Json(&json!({}))));
        });
    }
}

#[test]
fn nobody_is_external_to_a_calendar_whose_domain_is_unknown() {
    let (mut event, mut calendar) = samples().swap_remove(0);
    event.raw = serde_json::value::to_raw_value(&google()).unwrap();
    calendar.email = None;
    assert_eq!(Facts::of(&event, &calendar).event("external_count"), Some(Fact::Number(0)));
}

#[test]
fn each_field_is_there_with_its_kind_and_no_other() {
    for (event, calendar) in samples() {
        let facts = Facts::of(&event, &calendar);
        let organizer = &facts.meeting().organizer;
        for (field, kind) in EVENT {
            assert_eq!(kind_of(&facts.event(field).unwrap()), *kind, "{field}");
        }
        for (field, kind) in CALENDAR {
            assert_eq!(kind_of(&facts.calendar(field).unwrap()), *kind, "{field}");
        }
        for (field, kind) in PERSON {
            assert_eq!(kind_of(&organizer.field(field).unwrap()), *kind, "{field}");
        }
        for (field, kind) in ATTENDEE {
            assert_eq!(kind_of(&NOBODY.field(field).unwrap()), *kind, "{field}");
        }
        assert_eq!((facts.event("titel"), facts.calendar("titel"), organizer.field("titel")), (None, None, None));
    }
}

fn kind_of(fact: &Fact) -> Kind {
    match fact {
        Fact::Flag(_) => Kind::Flag,
        Fact::Number(_) => Kind::Number,
        Fact::Text(_) => Kind::Text,
        Fact::Time(_) => Kind::Time,
        Fact::Length(_) => Kind::Length,
        Fact::Person(_) => Kind::Person,
        Fact::Attendees(_) => Kind::Attendees,
        Fact::Json(_) => Kind::Json,
    }
}

#[test]
fn the_series_of_an_event_is_the_providers() {
    let series = |raw: &Value| outline(&serde_json::value::to_raw_value(raw).unwrap()).series_id;
    assert_eq!(series(&google()).as_deref(), Some("series"));
    assert_eq!(series(&outlook()).as_deref(), Some("series"));
    for none in [json!({"seriesMasterId": null}), json!({"recurringEventId": 7}), json!([])] {
        assert_eq!(series(&none), None);
    }
}

#[test]
fn a_payload_says_cancelled_however_it_is_written() {
    let read = |raw: &str| outline(&RawValue::from_string(raw.into()).unwrap()).is_cancelled;
    for cancelled in [
        r#"{"status":"cancelled"}"#,
        r#"{"isCancelled":true,"status":{"showAs":"busy"}}"#,
        r#"{"st\u0061tus":"c\u0061ncelled"}"#,
        r#"{"status":"confirmed","status":"cancelled"}"#,
    ] {
        assert!(read(cancelled), "{cancelled}");
    }
    for not in [r#"{"isCancelled":"true"}"#, r#"{"status":null}"#, r#"["cancelled",true]"#, r#""cancelled""#, "null"] {
        assert!(!read(not), "{not}");
    }
}
