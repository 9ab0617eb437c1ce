//! A calendar event, as far as decisions need it, and the bots that the API lists on it.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Fingerprint, calendar::CalendarId, dedup::start_in};

/// Recall's id of a calendar event; one per calendar and occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub Uuid);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A calendar event in the API's words.
#[derive(Clone, Debug)]
pub struct Event {
    /// Recall's id.
    pub id: EventId,
    /// The calendar it is on; can change.
    pub calendar_id: CalendarId,
    /// `google_calendar` or `microsoft_outlook`.
    pub platform: String,
    /// The provider's id.
    pub platform_id: String,
    /// Shared by the copies of a meeting on several calendars.
    pub ical_uid: String,
    /// When it begins.
    pub start_time: DateTime<Utc>,
    /// When it ends.
    pub end_time: DateTime<Utc>,
    /// The link that a bot would join.
    pub meeting_url: Option<String>,
    /// The series it is an occurrence of, by the provider's id.
    pub series_id: Option<String>,
    /// Whose link that is, in the API's words.
    pub meeting_platform: Option<String>,
    /// Removed from the calendar. The API keeps the row.
    pub is_deleted: bool,
    /// Called off, though still on the calendar: Google's `status`, Outlook's `isCancelled`.
    pub is_cancelled: bool,
    /// The bots the API lists, past ones included.
    pub bots: Vec<ObservedBot>,
    /// The provider's payload.
    pub raw: Box<RawValue>,
    /// When Recall saw it first.
    pub created_at: DateTime<Utc>,
    /// Its version.
    pub updated_at: DateTime<Utc>,
    /// Of the event as the API wrote it, bots and all; `None` where the mirror was changed by us since.
    pub fingerprint: Option<Fingerprint>,
}

impl Event {
    /// When the meeting is over. An `end` before the `start` counts as the start.
    pub fn ends_at(&self) -> DateTime<Utc> {
        self.end_time.max(self.start_time)
    }

    /// Whether the API lists a bot with this deduplication key.
    pub fn has_bot(&self, key: &str) -> bool {
        self.bots.iter().any(|bot| bot.deduplication_key == key)
    }
}

/// A bot that the API lists on an event. That list has no status: past bots stay in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedBot {
    /// Recall's id of the bot. It may change when the bot is scheduled again.
    pub bot_id: String,
    /// When it joins.
    pub start_time: DateTime<Utc>,
    /// The key it was scheduled with.
    pub deduplication_key: String,
    /// The link it joins.
    #[serde(default)]
    pub meeting_url: Option<String>,
}

impl ObservedBot {
    /// Whether the bot has yet to join; only such a bot can be moved or removed. We ask for the time that is in the key; the
    /// start that the API lists may be that, or the event's own, which may have moved.
    pub fn is_future(&self, now: DateTime<Utc>) -> bool {
        self.start_time > now || start_in(&self.deduplication_key).is_some_and(|start| start > now)
    }
}
