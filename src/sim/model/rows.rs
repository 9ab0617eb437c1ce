//! Rows: what Recall stores of events, how it lists and how it shows them.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::events::Event;
use super::meeting::Platform;
use super::{Workspace, micros, seconds};

/// What Recall stores of an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) calendar_id: Uuid,
    pub(super) platform: Platform,
    pub(super) platform_id: String,
    pub(super) ical_uid: String,
    pub(crate) start: DateTime<Utc>,
    pub(crate) end: DateTime<Utc>,
    pub(crate) meeting_url: Option<String>,
    pub(super) meeting_platform: Option<String>,
    pub(super) raw: Value,
    pub(crate) is_deleted: bool,
    pub(super) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

impl Row {
    /// Cancelled at the provider, which does not mean deleted.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.raw["status"] == "cancelled" || self.raw["isCancelled"] == true
    }

    /// The provider's ids: its own and the one that copies share.
    pub(super) fn ids(&self) -> (&str, &str) {
        (&self.platform_id, &self.ical_uid)
    }
}

/// The documented filters of List Calendar Events.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFilter {
    pub(crate) calendar_id: Option<Uuid>,
    /// A prefix, case and all.
    pub(crate) ical_uid: Option<String>,
    pub(crate) is_deleted: Option<bool>,
    pub(crate) start: Option<DateTime<Utc>>,
    pub(crate) start_gte: Option<DateTime<Utc>>,
    pub(crate) start_lte: Option<DateTime<Utc>>,
    pub(crate) updated_gte: Option<DateTime<Utc>>,
}

impl EventFilter {
    fn lets(&self, row: &Row) -> bool {
        self.calendar_id.is_none_or(|id| row.calendar_id == id)
            && self.ical_uid.as_ref().is_none_or(|prefix| row.ical_uid.starts_with(prefix))
            && self.is_deleted.is_none_or(|is_deleted| row.is_deleted == is_deleted)
            && self.start.is_none_or(|at| row.start == at)
            && self.start_gte.is_none_or(|at| row.start >= at)
            && self.start_lte.is_none_or(|at| row.start <= at)
            && self.updated_gte.is_none_or(|at| row.updated_at >= at)
    }
}

impl Workspace {
    /// Rows that pass `filter`, by start and id.
    pub(crate) fn list_events(&self, filter: &EventFilter) -> Vec<(DateTime<Utc>, Uuid)> {
        let lets = |event: &&Event| event.row.as_ref().is_some_and(|row| filter.lets(row));
        let start = |event: &Event| Some((event.row.as_ref()?.start, event.id));
        let mut found: Vec<_> = match filter.calendar_id {
            Some(id) => {
                let ids = self.calendars.get(&id).map(|calendar| calendar.events.as_slice());
                let events = ids.unwrap_or_default().iter().filter_map(|id| self.events.get(id));
                events.filter(lets).filter_map(start).collect()
            }
            None => self.events.values().filter(lets).filter_map(start).collect(),
        };
        found.sort_unstable();
        found
    }

    /// The event as the API shows it; `None` while Recall has no row of it.
    pub(crate) fn event_json(&self, id: Uuid) -> Option<Value> {
        let event = self.events.get(&id)?;
        Some(self.row_json(event, event.row.as_ref()?))
    }

    /// The text the API sends for an event: the row before its last change if `is_stale`, or what a test put in its place.
    pub(crate) fn event_text(&self, id: Uuid, is_stale: bool) -> Option<String> {
        let event = self.events.get(&id)?;
        let row = event.row.as_ref()?;
        if let Some(text) = &event.shown_instead {
            return Some(text.clone());
        }
        let row = event.previous.as_ref().filter(|_| is_stale).unwrap_or(row);
        Some(self.row_json(event, row).to_string())
    }

    fn row_json(&self, event: &Event, row: &Row) -> Value {
        let bots: Vec<_> = event.bots.iter().map(|bot| self.bot_entry(*bot)).collect();
        json!({
            "id": event.id,
            "calendar_id": row.calendar_id,
            "platform": row.platform.as_str(),
            "platform_id": row.platform_id,
            "ical_uid": row.ical_uid,
            "start_time": seconds(row.start),
            "end_time": seconds(row.end),
            "meeting_url": row.meeting_url,
            "meeting_platform": row.meeting_platform,
            "raw": row.raw,
            "is_deleted": row.is_deleted,
            "bots": bots,
            "created_at": micros(row.created_at),
            "updated_at": micros(row.updated_at),
        })
    }
}
