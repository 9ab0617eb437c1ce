//! The state machine behind the API: values in, values out; no async, no I/O, and `now` is an argument.
//!
//! A workspace has calendars, calendars have events, and events are linked to bots. Two layers must not be confused: what
//! is in somebody's calendar at the provider ([`meeting`]), and the row that Recall shows of it, which follows only while
//! the calendar is connected and the event is within the window (1 day back to 28 days ahead).
//!
//! What always holds, after every call:
//! - an event has at most one scheduled bot, and a deduplication key at most one scheduled bot;
//! - a scheduled bot has at least one event, and none of its events is deleted or on a disconnected calendar;
//! - stamps (`updated_at`) only grow, even if the clock does not; all rows of one batch share one, and the webhook about the
//!   batch carries it as `last_updated_ts`.
//!
//! Whatever happens by the mere passing of time stands in the agenda. An entry only says "look here then": what it finds
//! decides, so stale entries are harmless and nothing is ever taken out.

pub(crate) mod bot;
mod bots;
mod calendars;
mod events;
pub(crate) mod meeting;
mod raw;
mod refusal;
mod rows;
mod scheduling;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::config::Knobs;
use bot::Bot;
pub(crate) use calendars::{Calendar, CalendarChange, CalendarFilter, Status, metadata_json};
pub(crate) use events::Event;
pub(crate) use refusal::Refusal;
pub(crate) use rows::EventFilter;

/// How far back events are synced \[C\].
pub(crate) const WINDOW_BACK: TimeDelta = TimeDelta::days(1);
/// How far ahead events are synced \[C\].
pub(crate) const WINDOW_AHEAD: TimeDelta = TimeDelta::days(28);
/// How long after its end an event is forgotten \[C\].
pub(crate) const RETENTION: TimeDelta = TimeDelta::days(60);

/// A webhook that the state machine wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) topic: String,
    pub(crate) calendar_id: Option<Uuid>,
    /// The calendar's own `webhook_url`, which gets a copy.
    pub(crate) direct_url: Option<String>,
    pub(crate) body: String,
}

/// Something to look at when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    Connect(Uuid),
    Disconnect(Uuid),
    Enter(Uuid),
    Join(Uuid),
    Leave(Uuid),
    Forget(Uuid),
}

/// All state of one simulated workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) knobs: Knobs,
    calendars: BTreeMap<Uuid, Calendar>,
    events: HashMap<Uuid, Event>,
    bots: HashMap<Uuid, Bot>,
    /// Scheduled bots only: a key means nothing once its bot is dispatched.
    scheduled: HashMap<String, Uuid>,
    agenda: BTreeSet<(DateTime<Utc>, Wake)>,
    last_stamp: DateTime<Utc>,
    notices: Vec<Notice>,
    rng: fastrand::Rng,
}

impl Workspace {
    pub(crate) fn new(knobs: Knobs, seed: u64) -> Self {
        Self {
            knobs,
            calendars: BTreeMap::new(),
            events: HashMap::new(),
            bots: HashMap::new(),
            scheduled: HashMap::new(),
            agenda: BTreeSet::new(),
            last_stamp: DateTime::UNIX_EPOCH,
            notices: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// The webhooks that came up since this was last asked, in order.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// When [`tick`](Self::tick) will next find something.
    pub(crate) fn next_change(&self) -> Option<DateTime<Utc>> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// Brings about everything that the clock says has happened.
    pub(crate) fn tick(&mut self, now: DateTime<Utc>) {
        let mut entered = BTreeSet::new();
        while let Some(&(at, wake)) = self.agenda.first().filter(|(at, _)| *at <= now) {
            self.agenda.pop_first();
            match wake {
                Wake::Connect(calendar) => self.connect(calendar, now),
                Wake::Disconnect(calendar) => self.lose_connection(calendar, now),
                Wake::Enter(event) => {
                    entered.insert(event);
                }
                Wake::Join(bot) => self.dispatch(bot, at),
                Wake::Leave(bot) => self.finish(bot, at),
                Wake::Forget(event) => self.forget(event, now),
            }
        }
        self.sync(entered, now);
    }

    fn wake(&mut self, at: DateTime<Utc>, wake: Wake) {
        self.agenda.insert((at, wake));
    }

    /// A time for `updated_at`: now, or just after the last one.
    fn stamp(&mut self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.last_stamp = now.max(self.last_stamp + TimeDelta::microseconds(1));
        self.last_stamp
    }

    fn new_id(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.u128(..).to_be_bytes()).into_uuid()
    }

    /// Letters and digits, as providers use in their ids.
    pub(crate) fn new_token(&mut self, length: usize) -> String {
        (0..length).map(|_| self.rng.lowercase()).collect()
    }

    fn notify_update(&mut self, calendar_id: Uuid) {
        let body = format!(r#"{{"event":"calendar.update","data":{{"calendar_id":"{calendar_id}"}}}}"#);
        self.notify_calendar("calendar.update", calendar_id, &body);
    }

    fn notify_sync(&mut self, calendar_id: Uuid, last_updated: DateTime<Utc>) {
        let last_updated = last_updated.to_rfc3339_opts(SecondsFormat::Micros, false);
        let body = format!(
            r#"{{"event":"calendar.sync_events","data":{{"calendar_id":"{calendar_id}","last_updated_ts":"{last_updated}"}}}}"#
        );
        for _ in 0..self.knobs.webhooks_per_change {
            self.notify_calendar("calendar.sync_events", calendar_id, &body);
        }
    }

    fn notify_calendar(&mut self, topic: &str, calendar_id: Uuid, body: &str) {
        let calendar = self.calendars.get(&calendar_id);
        self.notices.push(Notice {
            topic: topic.to_owned(),
            calendar_id: Some(calendar_id),
            direct_url: calendar.and_then(|calendar| calendar.webhook_url.clone()),
            body: body.to_owned(),
        });
    }
}

/// As the API writes what it stamped itself.
fn micros(at: DateTime<Utc>) -> Value {
    at.to_rfc3339_opts(SecondsFormat::Micros, true).into()
}

/// As the API writes an event's times.
fn seconds(at: DateTime<Utc>) -> Value {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true).into()
}
