//! Events: what people do to them, and the rows that Recall shows.
//!
//! A row follows its event only while the calendar is connected and the event's start is in the window. \[U\] settled here: an
//! event that leaves the window keeps its last row and its bot, and is updated when it is back; a deleted event that comes
//! back keeps its id; what happened while the calendar was disconnected is caught up on at reconnection, deletions too.
//! \[I\]: a change that changes nothing that is shown does not bump `updated_at`.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::calendars::{CalendarChange, Status};
use super::meeting::{NewEvent, Platform};
use super::rows::Row;
use super::{RETENTION, WINDOW_AHEAD, WINDOW_BACK, Wake, Workspace, raw};

/// An event: the provider's truth, and Recall's row of it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: Uuid,
    calendar_id: Uuid,
    meeting: NewEvent,
    is_deleted: bool,
    made_at: DateTime<Utc>,
    modified_at: DateTime<Utc>,
    /// Its row was printed by somebody else and is shown as it is until the first edit.
    is_printed: bool,
    /// `None` while the event has never been in the window of a connected calendar.
    pub(crate) row: Option<Row>,
    /// The row before its last change, for stale answers.
    pub(super) previous: Option<Row>,
    /// Scheduled and dispatched bots, oldest first.
    pub(crate) bots: Vec<Uuid>,
    /// Shown instead of the row, whatever it says.
    pub(crate) shown_instead: Option<String>,
}

impl Workspace {
    pub(crate) fn event(&self, id: Uuid) -> Option<&Event> {
        self.events.get(&id)
    }

    pub(crate) fn event_mut(&mut self, id: Uuid) -> Option<&mut Event> {
        self.events.get_mut(&id)
    }

    pub(crate) fn events_mut(&mut self) -> impl Iterator<Item = &mut Event> {
        self.events.values_mut()
    }

    /// Somebody makes events: one batch, so one stamp and one webhook.
    pub(crate) fn create_events(&mut self, calendar_id: Uuid, new: Vec<NewEvent>, now: DateTime<Utc>) -> Vec<Uuid> {
        let ids: Vec<_> = new.into_iter().map(|new| self.add_event(calendar_id, new, now)).collect();
        self.sync(ids.iter().copied(), now);
        ids
    }

    fn add_event(&mut self, calendar_id: Uuid, mut new: NewEvent, now: DateTime<Utc>) -> Uuid {
        let id = self.new_id();
        let token = self.new_token(26);
        let platform_id = new.platform_id.get_or_insert_with(|| token.clone());
        new.ical_uid.get_or_insert_with(|| format!("{platform_id}@google.com"));
        let event = Event {
            id,
            calendar_id,
            meeting: new,
            is_deleted: false,
            made_at: now,
            modified_at: now,
            is_printed: false,
            row: None,
            previous: None,
            bots: Vec::new(),
            shown_instead: None,
        };
        self.place_event(event, now);
        id
    }

    fn place_event(&mut self, event: Event, now: DateTime<Utc>) {
        if let Some(calendar) = self.calendars.get_mut(&event.calendar_id) {
            calendar.events.push(event.id);
        }
        self.expect_event(event.id, &event.meeting, now);
        self.events.insert(event.id, event);
    }

    /// Writes into the agenda when the event will enter the window and when it will be forgotten.
    fn expect_event(&mut self, id: Uuid, meeting: &NewEvent, now: DateTime<Utc>) {
        if meeting.start > now + WINDOW_AHEAD {
            self.wake(meeting.start - WINDOW_AHEAD, Wake::Enter(id));
        }
        self.wake(meeting.end + RETENTION, Wake::Forget(id));
    }

    /// Somebody changes an event.
    pub(crate) fn edit_event(&mut self, id: Uuid, edit: impl FnOnce(&mut NewEvent), now: DateTime<Utc>) {
        let Some(event) = self.events.get_mut(&id) else {
            return;
        };
        let before = event.meeting.clone();
        edit(&mut event.meeting);
        if event.meeting == before {
            return;
        }
        event.modified_at = now;
        event.is_printed = false;
        let meeting = event.meeting.clone();
        self.expect_event(id, &meeting, now);
        self.sync([id], now);
    }

    /// Somebody deletes the event, or takes that back.
    pub(crate) fn set_deleted(&mut self, id: Uuid, is_deleted: bool, now: DateTime<Utc>) {
        let Some(event) = self.events.get_mut(&id) else {
            return;
        };
        if event.is_deleted == is_deleted {
            return;
        }
        event.is_deleted = is_deleted;
        event.modified_at = now;
        event.is_printed = false;
        self.sync([id], now);
    }

    /// The provider hands the event to another calendar; the id stays \[C\]. One that is beyond the window is not touched: its
    /// row would be listed with neither.
    pub(crate) fn transfer_event(&mut self, id: Uuid, to: Uuid, now: DateTime<Utc>) {
        let is_connected =
            |id: &Uuid| self.calendars.get(id).is_some_and(|calendar| calendar.status == Status::Connected);
        if !is_connected(&to) {
            return;
        }
        let Some(event) = self.events.get_mut(&id).filter(|event| is_in_window(event.meeting.start, now)) else {
            return;
        };
        let from = std::mem::replace(&mut event.calendar_id, to);
        event.is_printed = false;
        if let Some(calendar) = self.calendars.get_mut(&from) {
            calendar.events.retain(|event| *event != id);
        }
        if let Some(calendar) = self.calendars.get_mut(&to) {
            calendar.events.push(id);
        }
        self.sync([id], now);
    }

    /// Copies events into their rows, where there is news. One stamp for all; one webhook for each calendar with news.
    pub(super) fn sync(&mut self, events: impl IntoIterator<Item = Uuid>, now: DateTime<Utc>) -> BTreeSet<Uuid> {
        let news: Vec<_> = events.into_iter().filter_map(|id| Some((id, self.fresh_row(id, now)?))).collect();
        if news.is_empty() {
            return BTreeSet::new();
        }
        let stamp = self.stamp(now);
        let told: BTreeSet<_> = news.into_iter().map(|(id, row)| self.replace_row(id, row, stamp, now)).collect();
        for calendar in &told {
            self.notify_sync(*calendar, stamp);
        }
        told
    }

    /// The row as it should now be, if that is news that Recall can see.
    fn fresh_row(&self, id: Uuid, now: DateTime<Utc>) -> Option<Row> {
        let event = self.events.get(&id)?;
        let calendar = self.calendars.get(&event.calendar_id)?;
        let start = event.meeting.start;
        let was_never_seen = event.row.is_none() && event.is_deleted;
        if calendar.status != Status::Connected || !is_in_window(start, now) || was_never_seen || event.is_printed {
            return None;
        }
        let meeting = &event.meeting;
        let meeting_platform = meeting.meeting_url.as_deref().and_then(meeting_platform);
        let stamps = event.row.as_ref().map(|row| (row.created_at, row.updated_at));
        let row = Row {
            calendar_id: calendar.id,
            platform: calendar.platform,
            platform_id: meeting.platform_id.clone().unwrap_or_default(),
            ical_uid: meeting.ical_uid.clone().unwrap_or_default(),
            start,
            end: meeting.end,
            meeting_url: meeting.meeting_url.clone().filter(|_| meeting_platform.is_some()),
            meeting_platform: meeting_platform.map(str::to_owned),
            raw: raw::render(&raw::Source {
                platform: calendar.platform,
                owner: &calendar.email,
                meeting,
                is_deleted: event.is_deleted,
                made_at: event.made_at,
                modified_at: event.modified_at,
            }),
            is_deleted: event.is_deleted,
            created_at: stamps.map_or(now, |stamps| stamps.0),
            updated_at: stamps.map_or(now, |stamps| stamps.1),
        };
        (event.row.as_ref() != Some(&row)).then_some(row)
    }

    /// Returns the calendar the row is in.
    fn replace_row(&mut self, id: Uuid, row: Row, stamp: DateTime<Utc>, now: DateTime<Utc>) -> Uuid {
        let calendar_id = row.calendar_id;
        let is_deleted = row.is_deleted;
        if let Some(event) = self.events.get_mut(&id) {
            let is_new = event.row.is_none();
            event.previous = event.row.take();
            let created_at = if is_new { stamp } else { row.created_at };
            event.row = Some(Row { created_at, updated_at: stamp, ..row });
        }
        if is_deleted {
            self.unlink_scheduled(id, now);
        } else {
            self.move_bot(id);
        }
        calendar_id
    }

    /// Retention: 60 days after its end the API no longer knows an event \[C\].
    pub(super) fn forget(&mut self, id: Uuid, now: DateTime<Utc>) {
        let Some(event) = self.events.get(&id) else {
            return;
        };
        let row_end = event.row.as_ref().map_or(event.meeting.end, |row| row.end);
        if row_end.max(event.meeting.end) + RETENTION > now {
            return;
        }
        if let Some(calendar) = self.calendars.get_mut(&event.calendar_id) {
            calendar.events.retain(|event| *event != id);
        }
        self.unlink_scheduled(id, now);
        self.events.remove(&id);
    }

    /// An event as somebody printed it. Its calendar and bots are made if need be.
    pub(crate) fn insert_printed(&mut self, mut printed: Value, now: DateTime<Utc>) -> Uuid {
        let raw = printed["raw"].take();
        let text = |name: &str| printed[name].as_str().unwrap_or_default();
        let time = |name: &str| text(name).parse().unwrap_or(now);
        let platform = match text("platform") {
            "microsoft_outlook" => Platform::MicrosoftOutlook,
            _ => Platform::GoogleCalendar,
        };
        let id = text("id").parse().unwrap_or_else(|_| self.new_id());
        let calendar_id = text("calendar_id").parse().unwrap_or_else(|_| self.new_id());
        if !self.calendars.contains_key(&calendar_id) {
            let email = format!("{}@calendars.test", calendar_id.simple());
            self.insert_calendar(calendar_id, platform, email, CalendarChange::default(), now);
            self.tick(now);
        }
        let row = Row {
            calendar_id,
            platform,
            platform_id: text("platform_id").to_owned(),
            ical_uid: text("ical_uid").to_owned(),
            start: time("start_time"),
            end: time("end_time"),
            meeting_url: printed["meeting_url"].as_str().map(str::to_owned),
            meeting_platform: printed["meeting_platform"].as_str().map(str::to_owned),
            raw,
            is_deleted: printed["is_deleted"] == true,
            created_at: time("created_at"),
            updated_at: time("updated_at"),
        };
        let (updated_at, end) = (row.updated_at, row.end);
        self.last_stamp = self.last_stamp.max(updated_at);
        self.place_event(
            Event {
                id,
                calendar_id,
                meeting: raw::read(&row.raw, &row),
                is_deleted: row.is_deleted,
                made_at: row.created_at,
                modified_at: row.updated_at,
                is_printed: true,
                row: Some(row),
                previous: None,
                bots: Vec::new(),
                shown_instead: None,
            },
            now,
        );
        for entry in printed["bots"].as_array().into_iter().flatten() {
            self.insert_bot(id, entry, end, now);
        }
        self.notify_sync(calendar_id, updated_at);
        id
    }
}

/// Whether Recall shows changes of an event that starts then.
fn is_in_window(start: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now - WINDOW_BACK <= start && start <= now + WINDOW_AHEAD
}

/// The platforms whose links Recall knows; any other link leaves `meeting_url` null \[C\].
fn meeting_platform(url: &str) -> Option<&'static str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let host = rest.split(['/', '?', '#', ':']).next()?;
    let is_at = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
    let known = [
        ("zoom.us", "zoom"),
        ("meet.google.com", "google_meet"),
        ("teams.microsoft.com", "microsoft_teams"),
        ("teams.live.com", "microsoft_teams_live"),
        ("webex.com", "webex"),
        ("gotomeeting.com", "goto_meeting"),
        ("meet.goto.com", "goto_meeting"),
    ];
    known.into_iter().find(|(domain, _)| is_at(domain)).map(|(_, platform)| platform)
}
