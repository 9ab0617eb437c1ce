//! Tells what happens in a newcomer's words: webhook → change → decision → bot.
//!
//! rollcall's part is told from its own log lines, so nothing is told that it did not do; names, titles and the fate of
//! webhooks on their way come from the simulator. No line shows a link.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::time::Instant;
use tracing::Level;
use uuid::Uuid;

use super::{
    hearing::Heard,
    voice::{Terminal, Voice},
};
use crate::sim::{Happening, Message, MessageState, Recall};

/// What rollcall did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) happenings: usize,
    pub(super) accepted: usize,
    pub(super) scheduled: usize,
    pub(super) moved: usize,
    pub(super) removed: usize,
    pub(super) troubles: usize,
}

/// Tells the story.
#[derive(Debug)]
pub(super) struct Narrator {
    terminal: Terminal,
    began_at: Instant,
    /// Counts without telling: at the opening everything happens at once.
    pub(super) is_silent: bool,
    pub(super) tally: Tally,
    /// Whose calendar is whose.
    pub(super) names: HashMap<Uuid, String>,
    statuses: HashMap<Uuid, String>,
    /// Calendars that were told of by a webhook, and not read since.
    announced: HashSet<Uuid>,
    /// Calendars whose last webhook was lost, and whose change was not found since.
    unannounced: HashSet<Uuid>,
    messages_seen: usize,
    /// Second copies that were not delivered yet, by their place among all messages.
    copies: Vec<usize>,
}

impl Narrator {
    pub(super) fn new() -> Self {
        Self {
            terminal: Terminal::new(),
            began_at: Instant::now(),
            is_silent: true,
            tally: Tally::default(),
            names: HashMap::new(),
            statuses: HashMap::new(),
            announced: HashSet::new(),
            unannounced: HashSet::new(),
            messages_seen: 0,
            copies: Vec::new(),
        }
    }

    /// A line of the story, told now.
    pub(super) fn tell(&self, voice: Voice, what: &str) {
        self.tell_at(Instant::now(), voice, what);
    }

    fn tell_at(&self, at: Instant, voice: Voice, what: &str) {
        if !self.is_silent {
            self.terminal.tell(self.since_start(at), voice, what);
        }
    }

    /// Lines outside the story.
    pub(super) fn print(&self, text: &str) {
        self.terminal.print(format_args!("{text}"));
    }

    fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.began_at)
    }

    /// Somebody changed something.
    pub(super) fn tell_happening(&mut self, happening: &Happening) {
        self.tally.happenings += 1;
        match happening.sentence.strip_prefix("On the wire: ") {
            Some(fate) => self.tell(Voice::Webhook, fate),
            None => self.tell(Voice::Person, &happening.sentence),
        }
    }

    /// What befell webhooks since this was last called: those lost, and second copies.
    pub(super) fn watch_webhooks(&mut self, recall: &Recall) {
        let messages = recall.webhooks();
        for (place, message) in messages.iter().enumerate().skip(self.messages_seen) {
            if message.state == MessageState::Lost {
                let what = self.describe_webhook(message);
                self.tell(Voice::Webhook, &format!("{what}, LOST on its way"));
                self.unannounced.extend(message.calendar_id);
            } else if messages[..place].iter().rev().take(2).any(|earlier| earlier.id == message.id) {
                self.copies.push(place);
            }
        }
        self.messages_seen = messages.len();
        let (delivered, waiting): (Vec<_>, Vec<_>) =
            self.copies.drain(..).partition(|place| messages[*place].state == MessageState::Delivered);
        self.copies = waiting;
        for place in delivered {
            let what = self.describe_webhook(&messages[place]);
            self.tell(Voice::Webhook, &format!("{what}, delivered TWICE: the copy changes nothing"));
        }
    }

    fn describe_webhook(&self, message: &Message) -> String {
        self.describe_topic(&message.topic, message.calendar_id)
    }

    fn describe_topic(&self, topic: &str, calendar: Option<Uuid>) -> String {
        calendar.map_or_else(|| topic.to_owned(), |id| format!("{topic} for {} calendar", self.whose(id)))
    }

    /// A line of rollcall's log.
    pub(super) fn hear(&mut self, heard: &Heard, recall: &Recall) {
        let calendar: Option<Uuid> = heard.parsed("calendar.id");
        match (heard.message.as_str(), calendar) {
            ("delivery accepted", calendar) => self.hear_delivery(heard, calendar),
            ("calendar read", Some(calendar)) => self.hear_calendar_read(heard, calendar),
            ("calendar synced", Some(calendar)) => self.hear_calendar_synced(heard, calendar),
            ("calendar is gone", Some(calendar)) => {
                self.tell_at(heard.at, Voice::Change, &format!("{} calendar is gone", self.whose(calendar)));
            }
            ("decided", _) => self.hear_decision(heard, recall),
            ("bot scheduled", _) => self.hear_scheduled(heard, recall),
            ("bot unscheduled", _) => self.hear_unscheduled(heard, recall),
            ("sweep done", _) => {
                let listed = heard.field("listed").unwrap_or("all");
                let what = format!("looking at all {listed} calendars unasked, as a webhook may have been lost");
                self.tell_at(heard.at, Voice::Sweep, &what);
            }
            (message, _) if heard.level <= Level::WARN => {
                self.tally.troubles += 1;
                let error = heard.field("error").map(|error| format!(": {error}")).unwrap_or_default();
                self.tell_at(heard.at, Voice::Trouble, &format!("{message}{error}"));
            }
            _ => {}
        }
    }

    fn hear_delivery(&mut self, heard: &Heard, calendar: Option<Uuid>) {
        self.tally.accepted += 1;
        self.announced.extend(calendar);
        let topic = heard.field("topic").unwrap_or("a webhook");
        self.tell_at(heard.at, Voice::Webhook, &format!("{}, accepted", self.describe_topic(topic, calendar)));
    }

    fn hear_calendar_read(&mut self, heard: &Heard, calendar: Uuid) {
        let status = heard.field("status").unwrap_or_default().to_owned();
        let before = self.statuses.insert(calendar, status.clone());
        if before.as_ref() == Some(&status) {
            return;
        }
        self.announced.remove(&calendar);
        let whose = self.whose(calendar);
        let what = match status.as_str() {
            "disconnected" => format!("{whose} calendar is disconnected, and Recall has removed its bots"),
            "connected" => format!("{whose} calendar is connected: all its meetings are decided on anew"),
            other => format!("{whose} calendar is {other}"),
        };
        self.tell_at(heard.at, Voice::Change, &what);
    }

    /// A look that nobody asked for and that found nothing is not worth a line.
    fn hear_calendar_synced(&mut self, heard: &Heard, calendar: Uuid) {
        let was_announced = self.announced.remove(&calendar);
        let events: usize = heard.parsed("events").unwrap_or_default();
        let changed: usize = heard.parsed("changed").unwrap_or_default();
        if changed == 0 && !was_announced {
            return;
        }
        let found_unasked = self.unannounced.remove(&calendar) && changed > 0;
        let is = if changed == 1 { "is" } else { "are" };
        let whose = self.whose(calendar);
        let what = match (changed, events) {
            (0, _) => format!("nothing new in {whose} calendar: an earlier look has found it"),
            (1, 1) => format!("1 event read in {whose} calendar, which is new or changed"),
            _ => format!("{changed} of {events} events read in {whose} calendar {is} new or changed"),
        };
        let how = if found_unasked && !was_announced { ", found though the webhook was lost" } else { "" };
        self.tell_at(heard.at, Voice::Change, &format!("{what}{how}"));
    }

    fn hear_decision(&self, heard: &Heard, recall: &Recall) {
        let Some(meeting) = self.describe_meeting(heard, recall) else { return };
        let reason = heard.field("reason").unwrap_or_default();
        let what = match heard.field("plan") {
            Some("keep") => format!("{meeting} keeps its bot: {reason}"),
            _ => format!("{meeting} gets no bot: {reason}"),
        };
        self.tell_at(heard.at, Voice::Decision, &what);
    }

    fn hear_scheduled(&mut self, heard: &Heard, recall: &Recall) {
        let Some(meeting) = self.describe_meeting(heard, recall) else { return };
        let reason = heard.field("reason").unwrap_or_default();
        let is_move = reason.contains("time or link");
        if is_move {
            self.tally.moved += 1;
        } else {
            self.tally.scheduled += 1;
        }
        self.tell_at(heard.at, Voice::Decision, &format!("{meeting} needs a bot: {reason}"));
        let when = heard.parsed("start").map(|start| clock_time(start, recall.clock().now())).unwrap_or_default();
        let verb = if is_move { "moved to" } else { "scheduled for" };
        let sharers = heard.parsed("event.id").map_or(1, |event| count_sharers(recall, event));
        let shared = if sharers > 1 { format!(", one bot for {sharers} calendars") } else { String::new() };
        let title = heard.parsed("event.id").and_then(|event| title_of(recall, event)).unwrap_or_default();
        self.tell_at(heard.at, Voice::Bot, &format!("{verb} {when} on {title}{shared}"));
    }

    fn hear_unscheduled(&mut self, heard: &Heard, recall: &Recall) {
        self.tally.removed += 1;
        let Some(meeting) = self.describe_meeting(heard, recall) else { return };
        let reason = heard.field("reason").unwrap_or_default();
        self.tell_at(heard.at, Voice::Decision, &format!("{meeting} needs no bot any more: {reason}"));
        self.tell_at(heard.at, Voice::Bot, &format!("removed from {meeting}"));
    }

    /// `“Weekly sync” (Ada)`.
    fn describe_meeting(&self, heard: &Heard, recall: &Recall) -> Option<String> {
        let id: Uuid = heard.parsed("event.id")?;
        let calendar = recall.event(id)?["calendar_id"].as_str()?.parse().ok()?;
        Some(format!("{} ({})", title_of(recall, id)?, self.name(calendar)))
    }

    fn name(&self, calendar: Uuid) -> &str {
        self.names.get(&calendar).map_or("somebody", String::as_str)
    }

    fn whose(&self, calendar: Uuid) -> String {
        format!("{}'s", self.name(calendar))
    }
}

fn title_of(recall: &Recall, event: Uuid) -> Option<String> {
    let raw: Value = recall.event(event)?["raw"].take();
    let title = raw["summary"].as_str().or_else(|| raw["subject"].as_str())?;
    Some(format!("“{title}”"))
}

fn count_sharers(recall: &Recall, event: Uuid) -> usize {
    recall.live_bots().iter().find(|bot| bot.events.contains(&event)).map_or(1, |bot| bot.events.len())
}

/// `14:00` today, `Thu 14:00` within the week; UTC.
fn clock_time(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let is_today = at.date_naive() == now.date_naive();
    at.format(if is_today { "%H:%M" } else { "%a %H:%M" }).to_string()
}
