//! The hands of the people whose calendars these are.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::model::meeting::{Attendee, NewEvent};
use super::model::{CalendarChange, Workspace, metadata_json};
use super::shared::World;
use super::{NewCalendar, Recall, Unknown};

/// What people do. Each change that Recall sees queues its webhook.
///
/// # Panics
///
/// Each method, when the id it is given stands for nothing: in a test that is the test's mistake.
impl Recall {
    /// Somebody connects a calendar, as if through OAuth; connected at once unless `connect_delay_secs`.
    pub fn connect_calendar(&self, new: NewCalendar) -> Uuid {
        let change = CalendarChange {
            webhook_url: Some(new.webhook_url),
            metadata: Some(metadata_json(&new.metadata)),
            ..CalendarChange::default()
        };
        self.change(|workspace, now| workspace.create_calendar(new.platform, Some(new.email), change, now))
    }

    /// The grant is revoked at the provider: the calendar is disconnected and an empty PATCH does not help.
    pub fn disconnect_calendar(&self, calendar: Uuid) {
        self.on_calendar(calendar, |workspace, now| {
            workspace.disconnect_calendar(calendar, false, now);
        });
    }

    /// Disconnected by a passing trouble: the grant is good, so that an empty PATCH connects again.
    pub fn interrupt_calendar(&self, calendar: Uuid) {
        self.on_calendar(calendar, |workspace, now| {
            workspace.disconnect_calendar(calendar, true, now);
        });
    }

    /// The person consents again.
    pub fn reconnect_calendar(&self, calendar: Uuid) {
        self.on_calendar(calendar, |workspace, now| {
            workspace.reconnect_calendar(calendar, now);
        });
    }

    /// As DELETE by the API: events are not found any more, bots go, and no webhook is sent.
    pub fn delete_calendar(&self, calendar: Uuid) {
        self.on_calendar(calendar, |workspace, now| {
            workspace.delete_calendar(calendar, now).expect("it was just looked up");
        });
    }

    /// The product gives a calendar other metadata, as PATCH by the API does.
    pub fn set_metadata(&self, calendar: Uuid, metadata: &BTreeMap<String, String>) {
        let change = CalendarChange { metadata: Some(metadata_json(metadata)), ..CalendarChange::default() };
        self.on_calendar(calendar, |workspace, now| {
            workspace.update_calendar(calendar, change, now).expect("it was just looked up");
        });
    }

    /// A new event in a calendar.
    pub fn create_event(&self, calendar: Uuid, new: NewEvent) -> Uuid {
        self.create_events(calendar, vec![new])[0]
    }

    /// Several events at once: one `updated_at`, one webhook.
    pub fn create_events(&self, calendar: Uuid, new: Vec<NewEvent>) -> Vec<Uuid> {
        self.on_calendar(calendar, |workspace, now| workspace.create_events(calendar, new, now))
    }

    /// The same meeting on several calendars: one `ical_uid`, an event each, in the order of `calendars`.
    pub fn same_meeting_on(&self, calendars: &[Uuid], new: &NewEvent) -> Vec<Uuid> {
        let shared_uid = format!("{}@meetings.test", self.change(|workspace, _| workspace.new_token(26)));
        let mut copy = new.clone();
        copy.ical_uid.get_or_insert(shared_uid);
        calendars.iter().map(|calendar| self.create_event(*calendar, copy.clone())).collect()
    }

    /// A printed CalendarEvent, shown as it is until its first edit; its calendar and bots are made if need be. Sends
    /// `calendar.sync_events`.
    pub fn insert_raw_event(&self, event: Value) -> Uuid {
        self.change(|workspace, now| workspace.insert_printed(event, now))
    }

    /// Any change to an event; nothing is sent if it changes nothing.
    pub fn edit_event(&self, event: Uuid, edit: impl FnOnce(&mut NewEvent)) {
        self.on_event(event, |workspace, now| {
            workspace.edit_event(event, edit, now);
        });
    }

    /// Starts at `start`, as long as before.
    pub fn move_event(&self, event: Uuid, start: DateTime<Utc>) {
        self.edit_event(event, |meeting| meeting.move_to(start));
    }

    /// Another link, or none.
    pub fn relink_event(&self, event: Uuid, meeting_url: Option<&str>) {
        self.edit_event(event, |meeting| {
            meeting.meeting_url = meeting_url.map(str::to_owned);
        });
    }

    /// Cancelled in `raw`, and not deleted.
    pub fn cancel_event(&self, event: Uuid) {
        self.edit_event(event, |meeting| meeting.cancelled = true);
    }

    /// Deleted: the row stays, `is_deleted`, without its bot.
    pub fn delete_event(&self, event: Uuid) {
        self.on_event(event, |workspace, now| {
            workspace.set_deleted(event, true, now);
        });
    }

    /// Neither deleted nor cancelled any more, under the same id \[U\].
    pub fn restore_event(&self, event: Uuid) {
        self.on_event(event, |workspace, now| {
            workspace.edit_event(event, |meeting| meeting.cancelled = false, now);
            workspace.set_deleted(event, false, now);
        });
    }

    /// Other attendees.
    pub fn edit_attendees(&self, event: Uuid, attendees: Vec<Attendee>) {
        self.edit_event(event, |meeting| meeting.attendees = attendees);
    }

    /// The provider hands the event to another calendar, under the same id.
    pub fn transfer_event(&self, event: Uuid, calendar: Uuid) {
        self.on_event(event, |workspace, now| {
            workspace.transfer_event(event, calendar, now);
        });
    }

    /// Sends `calendar.sync_events` though nothing changed.
    pub fn touch_calendar(&self, calendar: Uuid) {
        self.on_calendar(calendar, |workspace, now| {
            workspace.touch_calendar(calendar, now);
        });
    }

    /// A person puts the event's bots out of the call. Says whether there was one.
    pub fn kick_bot(&self, event: Uuid) -> bool {
        self.on_event(event, |workspace, now| workspace.kick_bots(event, now))
    }

    /// Whether the id stands for a calendar, for callers that were handed it from outside.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn find_calendar(&self, calendar: Uuid) -> Result<Uuid, Unknown> {
        let found = self.change(|workspace, _| workspace.calendar(calendar).is_some());
        found.then_some(calendar).ok_or(Unknown::Calendar(calendar))
    }

    /// Whether the id stands for an event, in the window or not.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn find_event(&self, event: Uuid) -> Result<Uuid, Unknown> {
        let found = self.change(|workspace, _| workspace.event(event).is_some());
        found.then_some(event).ok_or(Unknown::Event(event))
    }

    fn change<T>(&self, act: impl FnOnce(&mut Workspace, DateTime<Utc>) -> T) -> T {
        self.shared.with(|world: &mut World, now| act(&mut world.workspace, now))
    }

    #[track_caller]
    fn on_calendar<T>(&self, calendar: Uuid, act: impl FnOnce(&mut Workspace, DateTime<Utc>) -> T) -> T {
        self.find_calendar(calendar).expect("the test names a calendar that it made");
        self.change(act)
    }

    #[track_caller]
    fn on_event<T>(&self, event: Uuid, act: impl FnOnce(&mut Workspace, DateTime<Utc>) -> T) -> T {
        self.find_event(event).expect("the test names an event that it made");
        self.change(act)
    }
}
