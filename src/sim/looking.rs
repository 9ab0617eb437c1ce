//! What there is to see: bots, events, calendars, calls.

use serde_json::Value;
use uuid::Uuid;

use super::model::CalendarFilter;
use super::model::EventFilter;
use super::model::bot::Bot;
use super::{Call, Recall};

/// Looking, without leaving a trace in the log of calls.
impl Recall {
    /// Bots that are scheduled or in a call.
    pub fn live_bots(&self) -> Vec<Bot> {
        self.all_bots().into_iter().filter(Bot::is_live).collect()
    }

    /// Every bot there ever was, oldest first.
    pub fn all_bots(&self) -> Vec<Bot> {
        self.shared.with(|world, _| world.workspace.all_bots().into_iter().cloned().collect())
    }

    /// Every bot that the event ever had, unless it was shared and went on without it.
    pub fn bots_of(&self, event: Uuid) -> Vec<Bot> {
        self.all_bots().into_iter().filter(|bot| bot.events.contains(&event)).collect()
    }

    /// The calendars, as the API shows them, oldest first.
    pub fn calendars(&self) -> Vec<Value> {
        self.shared.with(|world, _| {
            let calendars = world.workspace.list_calendars(&CalendarFilter::default());
            calendars.into_iter().map(super::model::Calendar::json).collect()
        })
    }

    /// A calendar as the API shows it.
    pub fn calendar(&self, calendar: Uuid) -> Option<Value> {
        self.shared.with(|world, _| Some(world.workspace.calendar(calendar)?.json()))
    }

    /// The calendar's events as the API shows them but for overrides, deleted ones too, by start.
    pub fn events(&self, calendar: Uuid) -> Vec<Value> {
        let filter = EventFilter { calendar_id: Some(calendar), ..EventFilter::default() };
        self.shared.with(|world, _| {
            let found = world.workspace.list_events(&filter);
            found.into_iter().filter_map(|(_, id)| world.workspace.event_json(id)).collect()
        })
    }

    /// An event as the API shows it but for an override; `None` while it is beyond the window.
    pub fn event(&self, event: Uuid) -> Option<Value> {
        self.shared.with(|world, _| world.workspace.event_json(event))
    }

    /// The API calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.with(|world, _| world.log.calls.clone())
    }

    /// Forgets the calls so far.
    pub fn clear_calls(&self) {
        self.shared.with(|world, _| world.log.calls.clear());
    }
}
