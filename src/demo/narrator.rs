//! Tells what happens in a newcomer's words: webhook → change → decision → bot.
//!
//! rollcall's part is told from its own log lines, so nothing is told that it did not do; names, titles and the fate of
//! webhooks on their way come from the simulator. No line shows a link.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;
use tracing::Level;
use uuid::Uuid;

use super::{
    directory::{Directory, clock_time, count_sharers, title_of},
    hearing::Heard,
    voice::{Terminal, Voice},
    wire::{Mishap, Wire},
};
use crate::sim::{Happening, Recall};

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Things that people did.
    pub(super) happenings: usize,
    /// Webhooks that rollcall accepted, copies left out.
    pub(super) accepted: usize,
    /// Events that were given a bot.
    pub(super) scheduled: usize,
    /// Events whose bot was moved.
    pub(super) moved: usize,
    /// Events whose bot rollcall had removed.
    pub(super) removed: usize,
    /// Warnings and errors of rollcall, but for what it tries again.
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
    pub(super) directory: Directory,
    wire: Wire,
    deliveries: HashSet<String>,
    statuses: HashMap<Uuid, String>,
    /// Calendars that a webhook told of, and that were not read since.
    announced: HashSet<Uuid>,
    /// Calendars of whose change no webhook told, since it was lost, and whose change was not found yet.
    unannounced: HashSet<Uuid>,
}

impl Narrator {
    pub(super) fn new() -> Self {
        Self {
            terminal: Terminal::new(),
            began_at: Instant::now(),
            is_silent: true,
            tally: Tally::default(),
            directory: Directory::default(),
            wire: Wire::default(),
            deliveries: HashSet::new(),
            statuses: HashMap::new(),
            announced: HashSet::new(),
            unannounced: HashSet::new(),
        }
    }

    /// A line of the story, told now.
    pub(super) fn tell(&self, voice: Voice, what: &str) {
        self.tell_at(Instant::now(), voice, what);
    }

    fn tell_at(&self, at: Instant, voice: Voice, what: &str) {
        if !self.is_silent {
            self.terminal.tell(at.saturating_duration_since(self.began_at), voice, what);
        }
    }

    /// Lines outside the story.
    pub(super) fn print(&self, text: &str) {
        self.terminal.print(format_args!("{text}"));
    }

    /// Somebody changed something.
    pub(super) fn tell_happening(&mut self, happening: &Happening) {
        self.tally.happenings += 1;
        match happening.sentence.strip_prefix("On the wire: ") {
            Some(fate) => self.tell(Voice::Webhook, fate),
            None => self.tell(Voice::Person, &happening.sentence),
        }
    }

    /// What befell webhooks since this was last called.
    pub(super) fn watch_webhooks(&mut self, recall: &Recall) {
        for mishap in self.wire.watch(recall) {
            match mishap {
                Mishap::Lost(message) => {
                    let what = self.describe_webhook(&message.topic, message.calendar_id);
                    self.tell(Voice::Webhook, &format!("{what}, LOST on its way"));
                    self.unannounced.extend(message.calendar_id);
                }
                Mishap::Repeated(message) => {
                    let what = self.describe_webhook(&message.topic, message.calendar_id);
                    self.tell(Voice::Webhook, &format!("{what}, delivered TWICE: the copy changes nothing"));
                }
            }
        }
    }

    fn describe_webhook(&self, topic: &str, calendar: Option<Uuid>) -> String {
        calendar.map_or_else(|| topic.to_owned(), |id| format!("{topic} for {}", self.directory.calendar(id)))
    }

    /// A line of rollcall's log.
    pub(super) fn hear(&mut self, heard: &Heard, recall: &Recall) {
        let calendar: Option<Uuid> = heard.parsed("calendar.id");
        let event: Option<Uuid> = heard.parsed("event.id");
        match (heard.message.as_str(), calendar, event) {
            ("delivery accepted", calendar, _) => self.hear_delivery(heard, calendar),
            ("calendar read", Some(calendar), _) => self.hear_calendar_read(heard, calendar),
            ("calendar synced", Some(calendar), _) => self.hear_calendar_synced(heard, calendar),
            ("decided", _, Some(event)) => self.hear_decision(heard, event, recall),
            ("bot scheduled", _, Some(event)) => self.hear_scheduled(heard, event, recall),
            ("bot unscheduled", _, Some(event)) => self.hear_unscheduled(heard, event, recall),
            ("sweep done", ..) => {
                let listed = heard.field("listed").unwrap_or_default();
                let what = format!("all {listed} calendars are looked at unasked, as a webhook may have been lost");
                self.tell_at(heard.at, Voice::Sweep, &what);
            }
            _ if heard.level <= Level::WARN => self.hear_warning(heard, event, recall),
            _ => {}
        }
    }

    fn hear_delivery(&mut self, heard: &Heard, calendar: Option<Uuid>) {
        // Of two copies that arrive together, rollcall accepts both at once.
        if !self.deliveries.insert(heard.field("delivery.id").unwrap_or_default().to_owned()) {
            return;
        }
        self.tally.accepted += 1;
        self.announced.extend(calendar);
        let topic = heard.field("topic").unwrap_or("a webhook");
        self.tell_at(heard.at, Voice::Webhook, &format!("{}, accepted", self.describe_webhook(topic, calendar)));
    }

    fn hear_calendar_read(&mut self, heard: &Heard, calendar: Uuid) {
        let status = heard.field("status").unwrap_or_default().to_owned();
        let is_connected = status == "connected";
        let has_changed = self.statuses.insert(calendar, status.clone()).as_ref() != Some(&status);
        if has_changed {
            let what = match status.as_str() {
                "connected" => "is connected: each of its meetings is decided on anew",
                "disconnected" => "is disconnected, which has removed its bots",
                _ => "is being connected",
            };
            // What follows for its events is told when they are read.
            let how = if is_connected { "" } else { self.found_how(calendar) };
            self.tell_at(heard.at, Voice::Change, &format!("{} {what}{how}", self.directory.calendar(calendar)));
        }
        if !is_connected {
            self.announced.remove(&calendar);
            self.unannounced.remove(&calendar);
        }
    }

    /// A look that nobody asked for and that found nothing is not worth a line.
    fn hear_calendar_synced(&mut self, heard: &Heard, calendar: Uuid) {
        let whose = self.directory.calendar(calendar);
        let events: usize = heard.parsed("events").unwrap_or_default();
        let changed: usize = heard.parsed("changed").unwrap_or_default();
        let how = self.found_how(calendar);
        let was_announced = self.announced.remove(&calendar);
        if changed > 0 {
            self.unannounced.remove(&calendar);
        }
        let what = match (changed, events) {
            (0, _) if !was_announced => return,
            (0, _) => format!("nothing new in {whose}"),
            (1, 1) => format!("1 event read in {whose}, new or changed"),
            _ => format!("{events} events read in {whose}, {changed} new or changed"),
        };
        self.tell_at(heard.at, Voice::Change, &format!("{what}{how}"));
    }

    fn found_how(&self, calendar: Uuid) -> &'static str {
        if self.unannounced.contains(&calendar) && !self.announced.contains(&calendar) {
            ": found, though its webhook was LOST"
        } else {
            ""
        }
    }

    fn hear_decision(&self, heard: &Heard, event: Uuid, recall: &Recall) {
        let Some(meeting) = self.directory.meeting(event, recall) else { return };
        let verdict = if heard.field("plan") == Some("keep") { "keeps its bot" } else { "gets no bot" };
        let reason = reason(heard);
        let aside = if reason == "the event is deleted" { ", and Recall itself takes away any bot it had" } else { "" };
        self.tell_at(heard.at, Voice::Decision, &format!("{meeting} {verdict}: {reason}{aside}"));
    }

    fn hear_scheduled(&mut self, heard: &Heard, event: Uuid, recall: &Recall) {
        let is_move = reason(heard) == "the meeting's time or link has changed";
        let (count, verdict, verb) = if is_move {
            (&mut self.tally.moved, "needs its bot moved", "moved to")
        } else {
            (&mut self.tally.scheduled, "needs a bot", "scheduled for")
        };
        *count += 1;
        if self.is_silent {
            return;
        }
        let Some(meeting) = self.directory.meeting(event, recall) else { return };
        self.tell_at(heard.at, Voice::Decision, &format!("{meeting} {verdict}: {}", reason(heard)));
        let when = heard.parsed("start").map(|start| clock_time(start, recall.clock().now())).unwrap_or_default();
        let sharers = count_sharers(event, recall);
        let shared = if sharers > 1 { format!(", one bot for {sharers} calendars") } else { String::new() };
        let title = title_of(event, recall).unwrap_or_default();
        self.tell_at(heard.at, Voice::Bot, &format!("{verb} {when} on {title}{shared}"));
    }

    fn hear_unscheduled(&mut self, heard: &Heard, event: Uuid, recall: &Recall) {
        self.tally.removed += 1;
        let Some(meeting) = self.directory.meeting(event, recall) else { return };
        self.tell_at(heard.at, Voice::Decision, &format!("{meeting} needs no bot any more: {}", reason(heard)));
        self.tell_at(heard.at, Voice::Bot, &format!("removed from {meeting}"));
    }

    fn hear_warning(&mut self, heard: &Heard, event: Option<Uuid>, recall: &Recall) {
        let error = heard.field("error").map(|error| format!(": {error}")).unwrap_or_default();
        let Some(in_secs) = heard.parsed::<f64>("in_secs") else {
            self.tally.troubles += 1;
            return self.tell_at(heard.at, Voice::Trouble, &format!("{}{error}", heard.message));
        };
        let what = event.and_then(|event| self.directory.meeting(event, recall)).unwrap_or_else(|| "a turn".into());
        let is_conflict = error.contains("409");
        let why = if is_conflict { ": another calendar is asking for the same bot just now (409)" } else { &error };
        self.tell_at(heard.at, Voice::Retry, &format!("{what} again in {in_secs:.1} s{why}"));
    }
}

fn reason(heard: &Heard) -> &str {
    heard.field("reason").unwrap_or_default()
}
