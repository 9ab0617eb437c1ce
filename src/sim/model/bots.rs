//! Bots on events: unscheduling, dispatch, the end of a call, and how they are shown. `scheduling.rs` makes them.
//!
//! \[U\] settled here: entries of `bots[]` stand in the order in which they were made; DELETE leaves a dispatched bot alone.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::bot::{Bot, BotState};
use super::{Notice, Refusal, Wake, Workspace, micros, seconds};

impl Workspace {
    /// Every bot there ever was, oldest first.
    pub(crate) fn all_bots(&self) -> Vec<&Bot> {
        let mut bots: Vec<_> = self.bots.values().collect();
        bots.sort_by_key(|bot| (bot.created_at, bot.id));
        bots
    }

    /// Delete Bot: also fine where there is none \[C\].
    pub(crate) fn delete_bot(&mut self, event: Uuid, now: DateTime<Utc>) -> Result<(), Refusal> {
        let row = self.events.get(&event).and_then(|event| event.row.as_ref());
        let row = row.ok_or(Refusal::NotFound)?;
        if row.is_deleted && self.knobs.refuse_delete_on_deleted {
            return Err(Refusal::NotSchedulable("Cannot change bots of a deleted calendar event."));
        }
        if self.unlink_scheduled(event, now) {
            self.echo(event, now);
        }
        Ok(())
    }

    /// Takes the event off its scheduled bot, which dies with its last event. Says whether there was one.
    pub(super) fn unlink_scheduled(&mut self, event: Uuid, now: DateTime<Utc>) -> bool {
        let Some(id) = self.scheduled_bot_of(event) else {
            return false;
        };
        if let Some(event) = self.events.get_mut(&event) {
            event.bots.retain(|bot| *bot != id);
        }
        let Some(bot) = self.bots.get_mut(&id) else {
            return false;
        };
        if bot.events.len() > 1 {
            bot.events.remove(&event);
            return true;
        }
        // The last event stays written in the removed bot, for the audit log.
        bot.state = BotState::Removed;
        bot.ended_at = Some(now);
        self.scheduled.remove(&bot.key);
        true
    }

    /// The key of the event's scheduled bot.
    pub(crate) fn key_of(&self, event: Uuid) -> Option<String> {
        Some(self.bots[&self.scheduled_bot_of(event)?].key.clone())
    }

    pub(super) fn scheduled_bot_of(&self, event: Uuid) -> Option<Uuid> {
        let bots = &self.events.get(&event)?.bots;
        let is_scheduled = |id: &&Uuid| self.bots[id].state == BotState::Scheduled;
        bots.iter().find(is_scheduled).copied()
    }

    /// Sends the bot to its call, if its time has come.
    pub(super) fn dispatch(&mut self, id: Uuid, now: DateTime<Utc>) {
        let Some(bot) = self.bots.get_mut(&id) else {
            return;
        };
        if bot.state != BotState::Scheduled || bot.join_at > now {
            return;
        }
        bot.state = BotState::InCall;
        bot.dispatched_at = Some(now);
        let leaves_at = bot.event_end.max(now);
        self.scheduled.remove(&bot.key);
        self.wake(leaves_at, Wake::Leave(id));
        self.announce(id, "joining_call", now);
        self.announce(id, "in_call_recording", now);
    }

    /// The meeting is over.
    pub(super) fn finish(&mut self, id: Uuid, now: DateTime<Utc>) {
        self.end_call(id, BotState::Done, now);
    }

    /// Leave Call, or a person's hand.
    pub(crate) fn leave_call(&mut self, id: Uuid, now: DateTime<Utc>) -> Result<(), Refusal> {
        self.bots.get(&id).ok_or(Refusal::NotFound)?;
        if self.end_call(id, BotState::Left, now) {
            return Ok(());
        }
        Err(Refusal::Coded(400, "cannot_command_unstarted_bot", "Cannot command unstarted bot."))
    }

    /// A person puts the event's bots out of the call.
    pub(crate) fn kick_bots(&mut self, event: Uuid, now: DateTime<Utc>) -> bool {
        let bots = self.events.get(&event).map(|event| event.bots.clone()).unwrap_or_default();
        let kicked = bots.into_iter().filter(|bot| self.end_call(*bot, BotState::Left, now));
        kicked.count() > 0
    }

    fn end_call(&mut self, id: Uuid, state: BotState, now: DateTime<Utc>) -> bool {
        let Some(bot) = self.bots.get_mut(&id).filter(|bot| bot.state == BotState::InCall) else {
            return false;
        };
        bot.state = state;
        bot.ended_at = Some(now);
        self.announce(id, "call_ended", now);
        self.announce(id, "done", now);
        true
    }

    /// A `bot.*` webhook, which shares the endpoint with those about calendars.
    fn announce(&mut self, id: Uuid, code: &str, now: DateTime<Utc>) {
        let Some(bot) = self.bots.get(&id).filter(|_| self.knobs.bot_webhooks) else {
            return;
        };
        let topic = format!("bot.{code}");
        let body = json!({"event": topic, "data": {
            "bot": {"id": id, "metadata": bot.config["metadata"]},
            "data": {"code": code, "sub_code": null, "updated_at": micros(now)},
        }});
        let body = body.to_string();
        self.notices.push(Notice { topic, calendar_id: None, direct_url: None, body });
    }

    /// The knob under which a change of bots touches the event.
    pub(super) fn echo(&mut self, event: Uuid, now: DateTime<Utc>) {
        if !self.knobs.sync_on_bot_change {
            return;
        }
        let stamp = self.stamp(now);
        let row = self.events.get_mut(&event).and_then(|event| event.row.as_mut());
        if let Some(row) = row {
            row.updated_at = stamp;
            let calendar_id = row.calendar_id;
            self.notify_sync(calendar_id, stamp);
        }
    }

    /// The knob under which a scheduled bot follows its moved event, keeping its key. One that is shared stays with the other
    /// events \[U\], as it does when one of them is scheduled anew.
    pub(super) fn move_bot(&mut self, event: Uuid) {
        let Some(id) = self.scheduled_bot_of(event).filter(|_| self.knobs.move_bots) else {
            return;
        };
        let Some(row) = self.events.get(&event).and_then(|event| event.row.as_ref()) else {
            return;
        };
        let Some(bot) = self.bots.get_mut(&id).filter(|bot| bot.events.len() == 1) else {
            return;
        };
        // What the configuration fixed stays fixed.
        if bot.config["join_at"].is_null() {
            bot.join_at = row.start;
        }
        if bot.config["meeting_url"].is_null()
            && let Some(url) = &row.meeting_url
        {
            bot.meeting_url.clone_from(url);
        }
        bot.event_start = row.start;
        bot.event_end = row.end;
        let join_at = bot.join_at;
        self.wake(join_at, Wake::Join(id));
    }

    /// A bot that a printed event names.
    pub(super) fn insert_bot(&mut self, event: Uuid, entry: &Value, end: DateTime<Utc>, now: DateTime<Utc>) {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let join_at = text("start_time").parse().unwrap_or(now);
        let id = text("bot_id").parse().unwrap_or_else(|_| self.new_id());
        let is_past = join_at <= now;
        let bot = self.bots.entry(id).or_insert_with(|| Bot {
            id,
            key: text("deduplication_key"),
            events: BTreeSet::new(),
            config: json!({}),
            meeting_url: text("meeting_url"),
            join_at,
            event_start: join_at,
            event_end: end,
            state: if is_past { BotState::Done } else { BotState::Scheduled },
            created_at: now,
            dispatched_at: is_past.then_some(join_at),
            ended_at: is_past.then_some(now),
        });
        bot.events.insert(event);
        if bot.state == BotState::Scheduled {
            self.scheduled.insert(bot.key.clone(), id);
        }
        self.wake(join_at, Wake::Join(id));
        if let Some(event) = self.events.get_mut(&event) {
            event.bots.push(id);
        }
    }

    /// The entry of `bots[]`.
    pub(super) fn bot_entry(&self, id: Uuid) -> Value {
        let bot = &self.bots[&id];
        let start = if self.knobs.bot_start_is_event_start { bot.event_start } else { bot.join_at };
        json!({
            "bot_id": id,
            "start_time": seconds(start),
            "deduplication_key": bot.key,
            "meeting_url": bot.meeting_url,
        })
    }

    /// The Bot resource, as far as a calendar's client reads it.
    pub(crate) fn bot_json(&self, id: Uuid) -> Option<Value> {
        let bot = self.bots.get(&id)?;
        let change = |code: &str, at: Option<DateTime<Utc>>| {
            at.map(|at| json!({"code": code, "sub_code": null, "message": null, "created_at": micros(at)}))
        };
        let ended_at = bot.ended_at.filter(|_| bot.state != BotState::Removed);
        let changes = [
            change("joining_call", bot.dispatched_at),
            change("in_call_recording", bot.dispatched_at),
            change("call_ended", ended_at),
            change("done", ended_at),
        ];
        let mut shown = bot.config.clone();
        let known = json!({
            "id": id,
            "meeting_url": bot.meeting_url,
            "join_at": seconds(bot.join_at),
            "status_changes": changes.into_iter().flatten().collect::<Vec<_>>(),
        });
        if let (Some(shown), Value::Object(known)) = (shown.as_object_mut(), known) {
            shown.extend(known);
            shown.entry("bot_name").or_insert_with(|| "Meeting Notetaker".into());
            shown.entry("metadata").or_insert_with(|| json!({}));
        }
        (bot.state != BotState::Removed).then_some(shown)
    }
}
