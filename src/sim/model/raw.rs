//! The providers' own payloads (`raw`), as Google and Microsoft write them (recall-api §3.2, §3.3).

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::meeting::{Attendee, NewEvent, Platform, Response};
use super::rows::Row;

/// What a payload is rendered from.
pub(super) struct Source<'a> {
    pub(super) platform: Platform,
    pub(super) owner: &'a str,
    pub(super) meeting: &'a NewEvent,
    pub(super) is_deleted: bool,
    pub(super) made_at: DateTime<Utc>,
    pub(super) modified_at: DateTime<Utc>,
}

impl Source<'_> {
    fn organizer(&self) -> &str {
        self.meeting.organizer.as_deref().unwrap_or(self.owner)
    }
}

pub(super) fn render(source: &Source<'_>) -> Value {
    match source.platform {
        Platform::GoogleCalendar => google(source),
        Platform::MicrosoftOutlook => outlook(source),
    }
}

fn google(source: &Source<'_>) -> Value {
    let meeting = source.meeting;
    let is_cancelled = meeting.cancelled || source.is_deleted;
    let mut raw = json!({
        "kind": "calendar#event",
        "etag": format!("\"{}\"", source.modified_at.timestamp_micros()),
        "id": meeting.platform_id,
        "iCalUID": meeting.ical_uid,
        "status": if is_cancelled { "cancelled" } else { "confirmed" },
        "eventType": "default",
        "sequence": 0,
        "summary": meeting.title,
        "htmlLink": "https://www.google.com/calendar/event?eid=xxxx",
        "created": millis(source.made_at),
        "updated": millis(source.modified_at),
        "creator": {"email": source.organizer()},
        "organizer": {"email": source.organizer()},
        "start": google_time(meeting.start, meeting.all_day),
        "end": google_time(meeting.end, meeting.all_day),
        "reminders": {"useDefault": true},
    });
    if let Some(fields) = raw.as_object_mut() {
        google_extras(fields, source);
    }
    raw
}

/// The keys that Google leaves out where there is nothing to say.
fn google_extras(fields: &mut Map<String, Value>, source: &Source<'_>) {
    let meeting = source.meeting;
    if source.organizer() == source.owner {
        fields.insert("organizer".into(), json!({"email": source.owner, "self": true}));
    }
    if !meeting.attendees.is_empty() {
        let attendees: Vec<_> = meeting.attendees.iter().map(|guest| google_attendee(guest, source)).collect();
        fields.insert("attendees".into(), attendees.into());
    }
    if let Some(series) = &meeting.recurring_id {
        fields.insert("recurringEventId".into(), series.as_str().into());
        fields.insert("originalStartTime".into(), google_time(meeting.start, meeting.all_day));
    }
    if meeting.private {
        fields.insert("visibility".into(), "private".into());
    }
    match meeting.meeting_url.as_deref() {
        Some(url) if url.starts_with("https://meet.google.com/") => {
            fields.insert("hangoutLink".into(), url.into());
            fields.insert("conferenceData".into(), meet_conference(url));
        }
        Some(url) => {
            fields.insert("location".into(), url.into());
        }
        None => {}
    }
}

fn google_attendee(guest: &Attendee, source: &Source<'_>) -> Value {
    let response = match guest.response {
        Response::Accepted => "accepted",
        Response::Declined => "declined",
        Response::Tentative => "tentative",
        Response::NeedsAction => "needsAction",
    };
    let mut attendee = Map::new();
    attendee.insert("email".into(), guest.email.as_str().into());
    attendee.insert("responseStatus".into(), response.into());
    if guest.email == source.organizer() {
        attendee.insert("organizer".into(), true.into());
    }
    if guest.email == source.owner {
        attendee.insert("self".into(), true.into());
    }
    if let Some(name) = &guest.name {
        attendee.insert("displayName".into(), name.as_str().into());
    }
    attendee.into()
}

fn google_time(at: DateTime<Utc>, all_day: bool) -> Value {
    if all_day {
        return json!({"date": at.format("%Y-%m-%d").to_string()});
    }
    json!({"dateTime": at.to_rfc3339_opts(SecondsFormat::Secs, true), "timeZone": "UTC"})
}

fn meet_conference(url: &str) -> Value {
    let code = url.rsplit('/').next().unwrap_or_default();
    json!({
        "conferenceId": code,
        "conferenceSolution": {"key": {"type": "hangoutsMeet"}, "name": "Google Meet"},
        "entryPoints": [
            {"entryPointType": "video", "uri": url, "label": format!("meet.google.com/{code}")},
            {"entryPointType": "phone", "uri": "tel:+1-555-555-0100", "label": "+1 555-555-0100", "pin": "2"},
        ],
    })
}

fn outlook(source: &Source<'_>) -> Value {
    let meeting = source.meeting;
    let is_occurrence = meeting.recurring_id.is_some();
    let teams = meeting.meeting_url.as_deref().filter(|url| url.starts_with("https://teams."));
    let place = meeting.meeting_url.as_deref().filter(|_| teams.is_none()).unwrap_or("Room");
    let place = json!({"displayName": place, "uniqueId": place, "locationType": "default", "uniqueIdType": "private"});
    let is_organizer = source.organizer() == source.owner;
    let mut raw = json!({
        "@odata.type": "#microsoft.graph.event",
        "@odata.etag": format!("W/\"{}\"", source.modified_at.timestamp_micros()),
        "id": meeting.platform_id,
        "changeKey": source.modified_at.timestamp_micros().to_string(),
        "iCalUId": meeting.ical_uid,
        "uid": meeting.ical_uid,
        "type": if is_occurrence { "occurrence" } else { "singleInstance" },
        "seriesMasterId": meeting.recurring_id,
        "subject": meeting.title,
        "start": outlook_time(meeting.start),
        "end": outlook_time(meeting.end),
        "isAllDay": meeting.all_day,
        "isCancelled": meeting.cancelled,
        "isOrganizer": is_organizer,
        "sensitivity": if meeting.private { "private" } else { "normal" },
        "organizer": {"emailAddress": {"name": source.organizer(), "address": source.organizer()}},
        "attendees": meeting.attendees.iter().map(outlook_attendee).collect::<Vec<_>>(),
        "responseStatus": {"response": if is_organizer { "organizer" } else { "none" }, "time": "0001-01-01T00:00:00Z"},
        "isOnlineMeeting": teams.is_some(),
        "onlineMeetingProvider": if teams.is_some() { "teamsForBusiness" } else { "unknown" },
        "onlineMeeting": teams.map(|url| json!({"joinUrl": url})),
        "location": place.clone(),
        "locations": [place],
        "createdDateTime": outlook_digits(source.made_at) + "Z",
        "lastModifiedDateTime": outlook_digits(source.modified_at) + "Z",
    });
    if let (Some(fields), Value::Object(rest)) = (raw.as_object_mut(), outlook_rest()) {
        fields.extend(rest);
    }
    raw
}

/// What is the same in every event here.
fn outlook_rest() -> Value {
    json!({
        "occurrenceId": null,
        "recurrence": null,
        "bodyPreview": "",
        "body": {"contentType": "html", "content": "<html/>"},
        "originalStartTimeZone": "UTC",
        "originalEndTimeZone": "UTC",
        "isDraft": false,
        "showAs": "busy",
        "importance": "normal",
        "categories": [],
        "hideAttendees": false,
        "responseRequested": true,
        "onlineMeetingUrl": null,
        "webLink": "https://outlook.office365.com/owa/?itemid=xxxx",
        "hasAttachments": false,
        "allowNewTimeProposals": true,
        "isReminderOn": true,
        "reminderMinutesBeforeStart": 15,
        "transactionId": null,
    })
}

fn outlook_attendee(guest: &Attendee) -> Value {
    let response = match guest.response {
        Response::Accepted => "accepted",
        Response::Declined => "declined",
        Response::Tentative => "tentativelyAccepted",
        Response::NeedsAction => "none",
    };
    json!({
        "type": "required",
        "status": {"response": response, "time": "0001-01-01T00:00:00Z"},
        "emailAddress": {"name": guest.name.as_ref().unwrap_or(&guest.email), "address": guest.email},
    })
}

fn outlook_time(at: DateTime<Utc>) -> Value {
    json!({"dateTime": outlook_digits(at), "timeZone": "UTC"})
}

/// Seven digits and no offset, as Microsoft writes times \[C\].
fn outlook_digits(at: DateTime<Utc>) -> String {
    format!("{}0", at.format("%Y-%m-%dT%H:%M:%S%.6f"))
}

fn millis(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The meeting behind a printed row, as far as later edits need it.
pub(super) fn read(raw: &Value, row: &Row) -> NewEvent {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let title = text(&raw["summary"]).or_else(|| text(&raw["subject"])).unwrap_or_default();
    let attendees = raw["attendees"].as_array().into_iter().flatten().map(read_attendee);
    let (platform_id, ical_uid) = row.ids();
    NewEvent {
        end: row.end,
        meeting_url: row.meeting_url.clone(),
        attendees: attendees.collect(),
        organizer: text(&raw["organizer"]["email"]).or_else(|| text(&raw["organizer"]["emailAddress"]["address"])),
        recurring_id: text(&raw["recurringEventId"]).or_else(|| text(&raw["seriesMasterId"])),
        ical_uid: Some(ical_uid.to_owned()),
        platform_id: Some(platform_id.to_owned()),
        all_day: raw["isAllDay"] == true || raw["start"]["date"].is_string(),
        cancelled: row.is_cancelled(),
        private: raw["visibility"] == "private" || raw["sensitivity"] == "private",
        ..NewEvent::new(&title, row.start, 0)
    }
}

fn read_attendee(guest: &Value) -> Attendee {
    let email = guest["email"].as_str().or_else(|| guest["emailAddress"]["address"].as_str());
    let response = guest["responseStatus"].as_str().or_else(|| guest["status"]["response"].as_str());
    let response = match response {
        Some("accepted" | "organizer") => Response::Accepted,
        Some("declined") => Response::Declined,
        Some("tentative" | "tentativelyAccepted") => Response::Tentative,
        _ => Response::NeedsAction,
    };
    Attendee::new(email.unwrap_or_default(), response)
}
