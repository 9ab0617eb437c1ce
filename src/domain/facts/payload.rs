//! The providers' payloads, read leniently: what has another type than the provider documents counts as missing, and the rest
//! is read all the same.
//!
//! One structure stands for both providers, whose keys differ wherever the meaning does.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Attendee, Meeting, Person, Response, domain_of};

/// What the mirror keeps of a payload beside the payload itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The provider's id of the series that the event is one of, if it is one.
    pub series_id: Option<String>,
    /// Called off: Google says `status: "cancelled"`, Outlook `isCancelled: true`.
    pub is_cancelled: bool,
}

/// Reads a payload's outline; nothing, of one that is no object. Of a field that is there twice the last one counts.
pub fn outline(raw: &RawValue) -> Outline {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OutlineVisitor)
    }
}

/// Passes over all other fields in one go. A page has a hundred payloads, and what is derived would read a field's value twice,
/// or refuse one that is there twice.
struct OutlineVisitor;

impl<'de> Visitor<'de> for OutlineVisitor {
    type Value = Outline;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<Outline, M::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "camelCase")]
        enum Field {
            Status,
            IsCancelled,
            RecurringEventId,
            SeriesMasterId,
            #[serde(other)]
            Other,
        }
        let (mut status, mut is_cancelled) = (String::new(), false);
        let (mut recurring_event_id, mut series_master_id) = (String::new(), String::new());
        while let Some(field) = fields.next_key()? {
            match field {
                Field::Status => status = fields.next_value::<Lenient<_>>()?.0,
                Field::IsCancelled => is_cancelled = fields.next_value::<Lenient<_>>()?.0,
                Field::RecurringEventId => recurring_event_id = fields.next_value::<Lenient<_>>()?.0,
                Field::SeriesMasterId => series_master_id = fields.next_value::<Lenient<_>>()?.0,
                Field::Other => _ = fields.next_value::<IgnoredAny>()?,
            }
        }
        let series_id = either(recurring_event_id, series_master_id);
        Ok(Outline {
            series_id: Some(series_id).filter(|id| !id.is_empty()),
            is_cancelled: is_cancelled || status == "cancelled",
        })
    }
}

/// Google's `start.date`, Outlook's `isAllDay`, and so on, as `email`'s calendar has them.
pub(super) fn read(raw: &str, email: &str) -> Meeting {
    let payload: Payload = serde_json::from_str(raw).unwrap_or_default();
    let organizer = payload.organizer.0.person(email);
    let own_response = response(&payload.response_status.0.response.0);
    let is_organizer = organizer.is_self || payload.is_organizer.0;
    let attendees = attendees(payload.attendees.0, &organizer, own_response, email);
    let own = attendees.iter().find(|attendee| attendee.person.is_self);
    let response = match own_response.or(own.map(|own| own.response)).unwrap_or_default() {
        Response::None if is_organizer => Response::Accepted,
        response => response,
    };
    let privacy = either(payload.visibility.0, payload.sensitivity.0);
    Meeting {
        title: either(payload.summary.0, payload.subject.0),
        description: either(payload.description.0, either(payload.body_preview.0, payload.body.0.content.0)),
        location: payload.location.0.name(),
        is_recurring: payload.recurrence.0.is_some()
            || !either(payload.recurring_event_id.0, payload.series_master_id.0).is_empty(),
        is_all_day: payload.is_all_day.0 || !payload.start.0.date.0.is_empty(),
        is_private: ["private", "confidential", "personal"].contains(&privacy.as_str()),
        organizer,
        attendees,
        response,
        is_organizer,
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Payload {
    summary: Lenient<String>,
    subject: Lenient<String>,
    description: Lenient<String>,
    body_preview: Lenient<String>,
    body: Lenient<Body>,
    location: Lenient<Place>,
    recurring_event_id: Lenient<String>,
    series_master_id: Lenient<String>,
    recurrence: Lenient<Option<IgnoredAny>>,
    start: Lenient<Start>,
    is_all_day: Lenient<bool>,
    visibility: Lenient<String>,
    sensitivity: Lenient<String>,
    organizer: Lenient<Guest>,
    is_organizer: Lenient<bool>,
    attendees: Lenient<Vec<Lenient<Guest>>>,
    response_status: Lenient<Answer>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    content: Lenient<String>,
}

/// Google's text, or Outlook's object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Place {
    Text(String),
    Named {
        #[serde(rename = "displayName")]
        display_name: String,
    },
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Start {
    date: Lenient<String>,
}

/// An organizer or an attendee.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Guest {
    email: Lenient<String>,
    display_name: Lenient<String>,
    #[serde(rename = "self")]
    is_self: Lenient<bool>,
    #[serde(rename = "organizer")]
    is_organizer: Lenient<bool>,
    #[serde(rename = "optional")]
    is_optional: Lenient<bool>,
    #[serde(rename = "resource")]
    is_resource: Lenient<bool>,
    response_status: Lenient<String>,
    email_address: Lenient<EmailAddress>,
    #[serde(rename = "type")]
    role: Lenient<String>,
    status: Lenient<Answer>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EmailAddress {
    name: Lenient<String>,
    address: Lenient<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    response: Lenient<String>,
}

/// A value, or its default where the payload has something else.
#[derive(Default)]
struct Lenient<T>(T);

impl<'de, T: DeserializeOwned + Default> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).unwrap_or_default()))
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Place {
    fn name(self) -> String {
        match self {
            Self::Text(name) | Self::Named { display_name: name } => name,
        }
    }
}

impl Guest {
    fn person(&self, calendar_email: &str) -> Person {
        let email = either(self.email.0.to_lowercase(), self.email_address.0.address.0.to_lowercase());
        let is_self = self.is_self.0 || (!email.is_empty() && email == calendar_email);
        Person { name: either(self.display_name.0.clone(), self.email_address.0.name.0.clone()), is_self, email }
    }

    fn attendee(&self, organizer: &Person, calendar_email: &str) -> Attendee {
        let person = self.person(calendar_email);
        Attendee {
            is_organizer: self.is_organizer.0 || (!person.email.is_empty() && person.email == organizer.email),
            is_external: is_external(&person, calendar_email),
            is_optional: self.is_optional.0 || self.role.0 == "optional",
            response: response(&either(self.response_status.0.clone(), self.status.0.response.0.clone()))
                .unwrap_or_default(),
            person,
        }
    }

    fn is_somebody(&self) -> bool {
        let is_named = [&self.email, &self.display_name, &self.email_address.0.name, &self.email_address.0.address];
        is_named.iter().any(|text| !text.0.is_empty()) && !self.is_resource.0 && self.role.0 != "resource"
    }
}

/// Google lists the organizer among the attendees, and nobody where there is but the organizer; Outlook lists all others, and
/// says the calendar's own answer elsewhere.
fn attendees(
    guests: Vec<Lenient<Guest>>,
    organizer: &Person,
    own_response: Option<Response>,
    calendar_email: &str,
) -> Vec<Attendee> {
    let guests = guests.into_iter().map(|guest| guest.0).filter(Guest::is_somebody);
    let mut attendees: Vec<_> = guests.map(|guest| guest.attendee(organizer, calendar_email)).collect();
    if let (Some(own), Some(response)) = (attendees.iter_mut().find(|attendee| attendee.person.is_self), own_response) {
        own.response = response;
    }
    if !organizer.email.is_empty() && !attendees.iter().any(|attendee| attendee.is_organizer) {
        attendees.push(Attendee {
            is_external: is_external(organizer, calendar_email),
            is_organizer: true,
            person: organizer.clone(),
            ..Attendee::default()
        });
    }
    for attendee in &mut attendees {
        if attendee.is_organizer && attendee.response == Response::None {
            attendee.response = Response::Accepted;
        }
    }
    attendees.sort_by_key(|attendee| !attendee.is_organizer);
    attendees
}

fn is_external(person: &Person, calendar_email: &str) -> bool {
    let (theirs, ours) = (domain_of(&person.email), domain_of(calendar_email));
    !theirs.is_empty() && !ours.is_empty() && theirs != ours
}

fn response(text: &str) -> Option<Response> {
    match text {
        "accepted" | "organizer" => Some(Response::Accepted),
        "declined" => Some(Response::Declined),
        "tentative" | "tentativelyAccepted" => Some(Response::Tentative),
        "none" | "notResponded" | "needsAction" => Some(Response::None),
        _ => None,
    }
}

fn either(first: String, second: String) -> String {
    if first.is_empty() { second } else { first }
}
