//! Names in place of ids: whose calendar, which meeting, at what time. Never a link.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::sim::Recall;

/// Whose calendar is whose.
#[derive(Debug, Default)]
pub(super) struct Directory(pub(super) HashMap<Uuid, String>);

impl Directory {
    fn name(&self, calendar: Uuid) -> &str {
        self.0.get(&calendar).map_or("somebody", String::as_str)
    }

    /// `Ada's calendar`.
    pub(super) fn calendar(&self, calendar: Uuid) -> String {
        format!("{}'s calendar", self.name(calendar))
    }

    /// `“Weekly sync” (Ada)`; `None` for an event that Recall no longer shows.
    pub(super) fn meeting(&self, event: Uuid, recall: &Recall) -> Option<String> {
        let calendar = recall.event(event)?["calendar_id"].as_str()?.parse().ok()?;
        Some(format!("{} ({})", title_of(event, recall)?, self.name(calendar)))
    }
}

/// `“Weekly sync”`.
pub(super) fn title_of(event: Uuid, recall: &Recall) -> Option<String> {
    let raw = recall.event(event)?["raw"].take();
    let title = raw["summary"].as_str().or_else(|| raw["subject"].as_str())?;
    Some(format!("“{title}”"))
}

/// On how many calendars the event's bot serves.
pub(super) fn count_sharers(event: Uuid, recall: &Recall) -> usize {
    recall.live_bots().iter().find(|bot| bot.events.contains(&event)).map_or(1, |bot| bot.events.len())
}

/// `14:00` today, `Thu 14:00` on another day; UTC.
pub(super) fn clock_time(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let is_today = at.date_naive() == now.date_naive();
    at.format(if is_today { "%H:%M" } else { "%a %H:%M" }).to_string()
}
