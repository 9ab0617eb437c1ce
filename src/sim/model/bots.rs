//! Bots on events: scheduling, unscheduling, sharing by key, dispatch, the end of a call.
//!
//! \[U\] settled here: re-scheduling keeps the bot's id while it is not shared (knob); entries of `bots[]` stand in the order
//! in which they were made; DELETE leaves a dispatched bot alone. \[I\]: on a shared bot the last configuration wins; a call for
//! an event in progress sends a bot at once.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::bot::{Bot, BotState};
use super::calendars::Status;
use super::{Notice, Refusal, Wake, Workspace, micros, seconds};

/// Bots that join sooner than this come from a pool that may be empty \[C\].
const AD_HOC: TimeDelta = TimeDelta::minutes(10);

/// What a bot is to do, all of it decided.
struct Order {
    key: String,
    config: Value,
    meeting_url: String,
    join_at: DateTime<Utc>,
    event_start: DateTime<Utc>,
    event_end: DateTime<Utc>,
}

impl Workspace {
    /// Every bot there ever was, oldest first.
    pub(crate) fn all_bots(&self) -> Vec<&Bot> {
        let mut bots: Vec<_> = self.bots.values().collect();
        bots.sort_by_key(|bot| (bot.created_at, bot.id));
        bots
    }

    /// Schedule Bot: the whole configuration replaces whatever the event's scheduled bot had.
    pub(crate) fn schedule_bot(
        &mut self,
        event: Uuid,
        key: &str,
        config: &Value,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let order = self.check_order(event, key, config, now)?;
        let current = self.scheduled_bot_of(event);
        let is_new_time = current
            .and_then(|id| self.bots.get(&id))
            .is_none_or(|bot| bot.join_at != order.join_at);
        if is_new_time && order.join_at - now < AD_HOC && self.rng.f64() < self.knobs.pool_empty {
            return Err(Refusal::PoolEmpty);
        }
        if self.knobs.share_bots_in_call && order.join_at <= now && self.join_call(event, key) {
            return Ok(());
        }
        let bot = self.place_order(event, order, current, now);
        self.dispatch(bot, now);
        self.echo(event, now);
        Ok(())
    }

    /// The documented refusals, then defaults from the event.
    fn check_order(
        &self,
        event: Uuid,
        key: &str,
        config: &Value,
        now: DateTime<Utc>,
    ) -> Result<Order, Refusal> {
        let event = self.events.get(&event).ok_or(Refusal::NotFound)?;
        let row = event.row.as_ref().ok_or(Refusal::NotFound)?;
        let calendar = self
            .calendars
            .get(&row.calendar_id)
            .ok_or(Refusal::NotFound)?;
        if calendar.status == Status::Disconnected {
            return Err(Refusal::NotSchedulable(
                "Cannot schedule bot as calendar is disconnected.",
            ));
        }
        if row.is_deleted || row.is_cancelled() {
            return Err(Refusal::NotSchedulable(
                "Cannot schedule bot as calendar event has been cancelled.",
            ));
        }
        if row.end <= now {
            return Err(Refusal::Ended);
        }
        let meeting_url = match &config["meeting_url"] {
            Value::String(url) => url.clone(),
            Value::Null => row.meeting_url.clone().ok_or(Refusal::NotSchedulable(
                "Cannot schedule bot as calendar event has no meeting url.",
            ))?,
            _ => {
                return Err(Refusal::Field(
                    "meeting_url",
                    "Not a valid string.".to_owned(),
                ));
            }
        };
        let join_at = match &config["join_at"] {
            Value::Null => row.start,
            Value::String(at) => at.parse().map_err(|_| wrong_time())?,
            _ => return Err(wrong_time()),
        };
        Ok(Order {
            key: key.to_owned(),
            config: config.clone(),
            meeting_url,
            join_at,
            event_start: row.start,
            event_end: row.end,
        })
    }

    /// Finds or makes the one bot that carries the order out, and unlinks the event from any other.
    fn place_order(
        &mut self,
        event: Uuid,
        order: Order,
        current: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Uuid {
        let is_alone = |bots: &Self, id: Uuid| bots.bots[&id].events.len() == 1;
        let holder = self.scheduled.get(&order.key).copied();
        let keep = match (current, holder) {
            (Some(mine), Some(holder)) if mine == holder => {
                (!(self.knobs.new_bot_id && is_alone(self, mine))).then_some(mine)
            }
            (_, Some(holder)) => Some(holder),
            (Some(mine), None) => (!self.knobs.new_bot_id && is_alone(self, mine)).then_some(mine),
            (None, None) => None,
        };
        if current.is_some() && current != keep {
            self.unlink_scheduled(event, now);
        }
        let bot = match keep {
            Some(bot) => bot,
            None => self.make_bot(event, &order, now),
        };
        self.carry_order(bot, event, order);
        bot
    }

    fn make_bot(&mut self, event: Uuid, order: &Order, now: DateTime<Utc>) -> Uuid {
        let id = self.new_id();
        let bot = Bot {
            id,
            key: order.key.clone(),
            events: BTreeSet::from([event]),
            config: Value::Null,
            meeting_url: String::new(),
            join_at: order.join_at,
            event_start: order.event_start,
            event_end: order.event_end,
            state: BotState::Scheduled,
            created_at: now,
            dispatched_at: None,
            ended_at: None,
        };
        self.bots.insert(id, bot);
        id
    }

    fn carry_order(&mut self, id: Uuid, event: Uuid, order: Order) {
        let Some(bot) = self.bots.get_mut(&id) else {
            return;
        };
        if bot.key != order.key {
            self.scheduled.remove(&bot.key);
        }
        self.scheduled.insert(order.key.clone(), id);
        bot.events.insert(event);
        bot.key = order.key;
        bot.config = order.config;
        bot.meeting_url = order.meeting_url;
        bot.join_at = order.join_at;
        bot.event_start = order.event_start;
        bot.event_end = order.event_end;
        self.wake(order.join_at, Wake::Join(id));
        if let Some(event) = self.events.get_mut(&event)
            && !event.bots.contains(&id)
        {
            event.bots.push(id);
        }
    }

    /// Links the event to a bot of this key that is in the call already; the knob's way of sharing.
    fn join_call(&mut self, event: Uuid, key: &str) -> bool {
        let in_call = |bot: &&mut Bot| bot.state == BotState::InCall && bot.key == key;
        let Some(bot) = self.bots.values_mut().find(in_call) else {
            return false;
        };
        bot.events.insert(event);
        if let Some(event) = self.events.get_mut(&event)
            && !event.bots.contains(&bot.id)
        {
            event.bots.push(bot.id);
        }
        true
    }

    /// Delete Bot: also fine where there is none \[C\].
    pub(crate) fn delete_bot(&mut self, event: Uuid, now: DateTime<Utc>) -> Result<(), Refusal> {
        let row = self.events.get(&event).and_then(|event| event.row.as_ref());
        let row = row.ok_or(Refusal::NotFound)?;
        if row.is_deleted && self.knobs.refuse_delete_on_deleted {
            return Err(Refusal::NotSchedulable(
                "Cannot change bots of a deleted calendar event.",
            ));
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
        Err(Refusal::Coded(
            400,
            "cannot_command_unstarted_bot",
            "Cannot command unstarted bot.",
        ))
    }

    /// A person puts the event's bots out of the call.
    pub(crate) fn kick_bots(&mut self, event: Uuid, now: DateTime<Utc>) -> bool {
        let bots = self
            .events
            .get(&event)
            .map(|event| event.bots.clone())
            .unwrap_or_default();
        let kicked = bots
            .into_iter()
            .filter(|bot| self.end_call(*bot, BotState::Left, now));
        kicked.count() > 0
    }

    fn end_call(&mut self, id: Uuid, state: BotState, now: DateTime<Utc>) -> bool {
        let Some(bot) = self
            .bots
            .get_mut(&id)
            .filter(|bot| bot.state == BotState::InCall)
        else {
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
        self.notices.push(Notice {
            topic,
            calendar_id: None,
            direct_url: None,
            body,
        });
    }

    /// The knob under which a change of bots touches the event.
    fn echo(&mut self, event: Uuid, now: DateTime<Utc>) {
        if !self.knobs.sync_on_bot_change {
            return;
        }
        let stamp = self.stamp(now);
        let row = self
            .events
            .get_mut(&event)
            .and_then(|event| event.row.as_mut());
        if let Some(row) = row {
            row.updated_at = stamp;
            let calendar_id = row.calendar_id;
            self.notify_sync(calendar_id, stamp);
        }
    }

    /// The knob under which a scheduled bot follows its moved event, keeping its key.
    pub(super) fn move_bot(&mut self, event: Uuid) {
        let Some(id) = self
            .scheduled_bot_of(event)
            .filter(|_| self.knobs.move_bots)
        else {
            return;
        };
        let Some(row) = self.events.get(&event).and_then(|event| event.row.as_ref()) else {
            return;
        };
        let Some(bot) = self.bots.get_mut(&id) else {
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
    pub(super) fn insert_bot(
        &mut self,
        event: Uuid,
        entry: &Value,
        end: DateTime<Utc>,
        now: DateTime<Utc>,
    ) {
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
            state: if is_past {
                BotState::Done
            } else {
                BotState::Scheduled
            },
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
        let start = if self.knobs.bot_start_is_event_start {
            bot.event_start
        } else {
            bot.join_at
        };
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
            shown
                .entry("bot_name")
                .or_insert_with(|| "Meeting Notetaker".into());
            shown.entry("metadata").or_insert_with(|| json!({}));
        }
        (bot.state != BotState::Removed).then_some(shown)
    }
}

fn wrong_time() -> Refusal {
    Refusal::Field(
        "join_at",
        "Datetime has wrong format. Use ISO 8601.".to_owned(),
    )
}
