//! What a rule or a bot template may ask about an event: the same words for Google's and for Outlook's.
//!
//! Two renderings of one meeting give the same facts, apart from what one provider does not say. Nothing here fails: a field
//! that is missing, or of a type that the provider does not document, is empty. The provider's payload (`raw`) is read at most
//! once, and only when something in it is asked for.

mod payload;
mod samples;

use std::{borrow::Cow, sync::OnceLock};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, value::RawValue};

pub use self::{
    payload::{Outline, outline},
    samples::samples,
};
use super::{calendar::Calendar, event::Event};

/// An event and its calendar, to be asked for their fields by name.
#[derive(Debug)]
pub struct Facts<'a> {
    event: &'a Event,
    calendar: &'a Calendar,
    meeting: OnceLock<Meeting>,
    raw: OnceLock<Value>,
    metadata: OnceLock<Value>,
}

/// What the payload says, in our words.
#[derive(Debug, Default)]
struct Meeting {
    title: String,
    description: String,
    location: String,
    is_recurring: bool,
    is_all_day: bool,
    is_private: bool,
    organizer: Person,
    attendees: Vec<Attendee>,
    response: Response,
    is_organizer: bool,
}

/// Somebody with an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    email: String,
    name: String,
    is_self: bool,
}

/// Somebody who is invited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attendee {
    person: Person,
    response: Response,
    is_organizer: bool,
    is_external: bool,
    is_optional: bool,
}

/// Nobody: each field is empty.
pub static NOBODY: Attendee = Attendee {
    person: Person { email: String::new(), name: String::new(), is_self: false },
    response: Response::None,
    is_organizer: false,
    is_external: false,
    is_optional: false,
};

/// What somebody has answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Response {
    Accepted,
    Declined,
    Tentative,
    #[default]
    None,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact<'f> {
    /// Yes or no.
    Flag(bool),
    /// A count.
    Number(i64),
    /// Text; empty where there is none.
    Text(Cow<'f, str>),
    /// A point in time.
    Time(DateTime<Utc>),
    /// A length of time.
    Length(TimeDelta),
    /// The organizer.
    Person(&'f Person),
    /// Who is invited, the organizer first.
    Attendees(&'f [Attendee]),
    /// JSON of somebody else's making.
    Json(&'f Value),
}

/// What kind of value a field has, before there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `Fact::Flag`.
    Flag,
    /// `Fact::Number`.
    Number,
    /// `Fact::Text`.
    Text,
    /// `Fact::Time`.
    Time,
    /// `Fact::Length`.
    Length,
    /// `Fact::Person`.
    Person,
    /// `Fact::Attendees`.
    Attendees,
    /// `Fact::Json`.
    Json,
}

/// The names and kinds of a thing's fields.
pub type Fields = &'static [(&'static str, Kind)];

/// The fields of `event`.
pub const EVENT: Fields = &[
    ("id", Kind::Text),
    ("title", Kind::Text),
    ("description", Kind::Text),
    ("location", Kind::Text),
    ("start", Kind::Time),
    ("end", Kind::Time),
    ("duration", Kind::Length),
    ("meeting_url", Kind::Text),
    ("meeting_platform", Kind::Text),
    ("platform", Kind::Text),
    ("ical_uid", Kind::Text),
    ("is_recurring", Kind::Flag),
    ("is_all_day", Kind::Flag),
    ("is_private", Kind::Flag),
    ("organizer", Kind::Person),
    ("is_organizer", Kind::Flag),
    ("attendees", Kind::Attendees),
    ("external_count", Kind::Number),
    ("response", Kind::Text),
    ("raw", Kind::Json),
];

/// The fields of `calendar`.
pub const CALENDAR: Fields = &[
    ("id", Kind::Text),
    ("email", Kind::Text),
    ("domain", Kind::Text),
    ("platform", Kind::Text),
    ("metadata", Kind::Json),
    ("created_at", Kind::Time),
];

/// The fields of `event.organizer`.
pub const PERSON: Fields =
    &[("email", Kind::Text), ("name", Kind::Text), ("domain", Kind::Text), ("is_self", Kind::Flag)];

/// The fields of each of `event.attendees`.
pub const ATTENDEE: Fields = &[
    ("email", Kind::Text),
    ("name", Kind::Text),
    ("domain", Kind::Text),
    ("response", Kind::Text),
    ("is_self", Kind::Flag),
    ("is_organizer", Kind::Flag),
    ("is_external", Kind::Flag),
    ("is_optional", Kind::Flag),
];

impl<'a> Facts<'a> {
    /// The facts about `event`, which is on `calendar`. Nothing is read yet.
    pub fn of(event: &'a Event, calendar: &'a Calendar) -> Self {
        Self { event, calendar, meeting: OnceLock::new(), raw: OnceLock::new(), metadata: OnceLock::new() }
    }

    /// A field of `event`; `None` if it has none of that name.
    pub fn event(&self, field: &str) -> Option<Fact<'_>> {
        let event = self.event;
        Some(match field {
            "id" => Fact::Text(event.id.to_string().into()),
            "title" => text(&self.meeting().title),
            "description" => text(&self.meeting().description),
            "location" => text(&self.meeting().location),
            "start" => Fact::Time(event.start_time),
            "end" => Fact::Time(event.ends_at()),
            "duration" => Fact::Length(event.ends_at() - event.start_time),
            "meeting_url" => text(event.meeting_url.as_deref().unwrap_or_default()),
            "meeting_platform" => text(event.meeting_platform.as_deref().unwrap_or_default()),
            "platform" => text(&event.platform),
            "ical_uid" => text(&event.ical_uid),
            "is_recurring" => Fact::Flag(self.meeting().is_recurring),
            "is_all_day" => Fact::Flag(self.meeting().is_all_day),
            "is_private" => Fact::Flag(self.meeting().is_private),
            "organizer" => Fact::Person(&self.meeting().organizer),
            "is_organizer" => Fact::Flag(self.meeting().is_organizer),
            "attendees" => Fact::Attendees(&self.meeting().attendees),
            "external_count" => Fact::Number(self.external_count()),
            "response" => text(self.meeting().response.as_str()),
            "raw" => Fact::Json(self.raw.get_or_init(|| json(Some(&event.raw)))),
            _ => return None,
        })
    }

    /// A field of `calendar`; `None` if it has none of that name.
    pub fn calendar(&self, field: &str) -> Option<Fact<'_>> {
        let calendar = self.calendar;
        Some(match field {
            "id" => Fact::Text(calendar.id.to_string().into()),
            "email" => Fact::Text(self.calendar_email().into()),
            "domain" => Fact::Text(domain_of(&self.calendar_email()).to_owned().into()),
            "platform" => text(&calendar.platform),
            "metadata" => Fact::Json(self.metadata.get_or_init(|| json(calendar.metadata.as_deref()))),
            "created_at" => Fact::Time(calendar.created_at),
            _ => return None,
        })
    }

    fn meeting(&self) -> &Meeting {
        self.meeting.get_or_init(|| payload::read(self.event.raw.get(), &self.calendar_email()))
    }

    fn calendar_email(&self) -> String {
        self.calendar.email.as_deref().unwrap_or_default().to_lowercase()
    }

    fn external_count(&self) -> i64 {
        let count = self.meeting().attendees.iter().filter(|attendee| attendee.is_external).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }
}

impl Person {
    /// A field of an organizer; `None` if it has none of that name.
    pub fn field(&self, field: &str) -> Option<Fact<'_>> {
        Some(match field {
            "email" => text(&self.email),
            "name" => text(&self.name),
            "domain" => text(domain_of(&self.email)),
            "is_self" => Fact::Flag(self.is_self),
            _ => return None,
        })
    }
}

impl Attendee {
    /// A field of an attendee; `None` if it has none of that name.
    pub fn field(&self, field: &str) -> Option<Fact<'_>> {
        Some(match field {
            "response" => text(self.response.as_str()),
            "is_organizer" => Fact::Flag(self.is_organizer),
            "is_external" => Fact::Flag(self.is_external),
            "is_optional" => Fact::Flag(self.is_optional),
            _ => return self.person.field(field),
        })
    }
}

impl Response {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Declined => "declined",
            Self::Tentative => "tentative",
            Self::None => "none",
        }
    }
}

fn text(text: &str) -> Fact<'_> {
    Fact::Text(text.into())
}

/// What stands behind the `@`; empty if nothing does.
fn domain_of(email: &str) -> &str {
    email.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// JSON that is missing, malformed or no object is an empty object.
fn json(raw: Option<&RawValue>) -> Value {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .filter(Value::is_object)
        .unwrap_or_else(|| Value::Object(Map::new()))
}

#[cfg(test)]
mod tests;
