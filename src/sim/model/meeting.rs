//! What is in somebody's calendar at the provider: the truth that Recall copies.
//!
//! A meeting is what people see and edit; what Recall shows of it is rendered in `raw.rs`.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// Whose calendar it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// Google Calendar.
    GoogleCalendar,
    /// Microsoft Outlook.
    MicrosoftOutlook,
}

impl Platform {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GoogleCalendar => "google_calendar",
            Self::MicrosoftOutlook => "microsoft_outlook",
        }
    }
}

/// Somebody invited to a meeting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attendee {
    /// The address.
    pub email: String,
    /// The name, which Google usually leaves out.
    #[serde(default)]
    pub name: Option<String>,
    /// What they answered.
    #[serde(default)]
    pub response: Response,
}

impl Attendee {
    /// Somebody without a name.
    pub fn new(email: &str, response: Response) -> Self {
        Self { email: email.to_owned(), name: None, response }
    }
}

/// What an attendee answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Comes.
    Accepted,
    /// Does not come.
    Declined,
    /// May come.
    Tentative,
    /// Has not answered.
    #[default]
    NeedsAction,
}

/// An event as a person makes it, and as [`edit_event`](crate::sim::Recall::edit_event) changes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewEvent {
    /// `summary` (Google) or `subject` (Outlook).
    pub title: String,
    /// When it starts.
    pub start: DateTime<Utc>,
    /// When it ends.
    pub end: DateTime<Utc>,
    /// The link, or none. As with Recall, one of a platform it does not know (Zoom, Meet, Teams, Webex, GoTo) leaves the
    /// row's `meeting_url` null.
    #[serde(default)]
    pub meeting_url: Option<String>,
    /// Everybody invited; empty leaves `attendees` out, as Google does.
    #[serde(default)]
    pub attendees: Vec<Attendee>,
    /// The organizer's address; `None` is the calendar's owner.
    #[serde(default)]
    pub organizer: Option<String>,
    /// The series it is an occurrence of: `recurringEventId` or `seriesMasterId`.
    #[serde(default)]
    pub recurring_id: Option<String>,
    /// Shared by the copies on several calendars; `None` makes one up.
    #[serde(default)]
    pub ical_uid: Option<String>,
    /// The provider's id; `None` makes one up.
    #[serde(default)]
    pub platform_id: Option<String>,
    /// Google's `start.date`, Outlook's `isAllDay`; `start` and `end` should be midnights in UTC (\[U\] how Recall shows them).
    #[serde(default)]
    pub all_day: bool,
    /// `raw.status: cancelled` or `isCancelled`, while the row is not deleted.
    #[serde(default)]
    pub cancelled: bool,
    /// Private: `visibility` or `sensitivity`.
    #[serde(default)]
    pub private: bool,
}

impl NewEvent {
    /// A meeting without link or guests.
    pub fn new(title: &str, start: DateTime<Utc>, minutes: i64) -> Self {
        Self {
            title: title.to_owned(),
            start,
            end: start + TimeDelta::minutes(minutes),
            meeting_url: None,
            attendees: Vec::new(),
            organizer: None,
            recurring_id: None,
            ical_uid: None,
            platform_id: None,
            all_day: false,
            cancelled: false,
            private: false,
        }
    }

    /// With this link.
    #[must_use]
    pub fn at(mut self, meeting_url: &str) -> Self {
        self.meeting_url = Some(meeting_url.to_owned());
        self
    }

    /// With one more attendee.
    #[must_use]
    pub fn with(mut self, email: &str, response: Response) -> Self {
        self.attendees.push(Attendee::new(email, response));
        self
    }

    /// Organized by somebody other than the calendar's owner.
    #[must_use]
    pub fn organized_by(mut self, email: &str) -> Self {
        self.organizer = Some(email.to_owned());
        self
    }

    /// As an occurrence of a series.
    #[must_use]
    pub fn in_series(mut self, recurring_id: &str) -> Self {
        self.recurring_id = Some(recurring_id.to_owned());
        self
    }

    /// Starts at `start`, as long as before.
    pub fn move_to(&mut self, start: DateTime<Utc>) {
        let length = self.end - self.start;
        self.start = start;
        self.end = start + length;
    }
}
