//! A calendar, as far as decisions need it.

use std::fmt;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

/// Recall's id of a calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CalendarId(pub Uuid);

impl fmt::Display for CalendarId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A calendar in the API's words, without its OAuth fields.
#[derive(Clone, Debug)]
pub struct Calendar {
    /// Recall's id.
    pub id: CalendarId,
    /// `google_calendar` or `microsoft_outlook`.
    pub platform: String,
    /// The account's address; `None` until Recall has synced for the first time.
    pub email: Option<String>,
    /// Whether Recall can read it.
    pub status: CalendarStatus,
    /// When it was disconnected last, as far as its history tells.
    pub disconnected_at: Option<DateTime<Utc>>,
    /// Free key-value pairs of whoever connected it.
    pub metadata: Option<Box<RawValue>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Its version.
    pub updated_at: DateTime<Utc>,
}

/// Whether Recall can read a calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CalendarStatus {
    /// Just created, or on its way back.
    Connecting,
    /// Its events are synced, and bots can be scheduled.
    Connected,
    /// The grant is gone: no bots, and the user has to connect again.
    Disconnected,
    /// A status that this release does not know. It counts as not connected.
    Other(String),
}

impl From<&str> for CalendarStatus {
    fn from(status: &str) -> Self {
        match status {
            "connecting" => Self::Connecting,
            "connected" => Self::Connected,
            "disconnected" => Self::Disconnected,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl CalendarStatus {
    /// The API's word for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Other(other) => other,
        }
    }
}
