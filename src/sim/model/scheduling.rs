//! Schedule Bot: from a call's configuration to the one bot that carries it out.
//!
//! \[U\] settled here: re-scheduling keeps the bot's id while it is not shared (knob). \[I\]: on a shared bot the last
//! configuration wins; a call for an event in progress sends a bot at once.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::bot::{Bot, BotState};
use super::calendars::Status;
use super::{Refusal, Wake, Workspace};

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
        let is_new_time = current.and_then(|id| self.bots.get(&id)).is_none_or(|bot| bot.join_at != order.join_at);
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
    fn check_order(&self, event: Uuid, key: &str, config: &Value, now: DateTime<Utc>) -> Result<Order, Refusal> {
        let event = self.events.get(&event).ok_or(Refusal::NotFound)?;
        let row = event.row.as_ref().ok_or(Refusal::NotFound)?;
        let calendar = self.calendars.get(&row.calendar_id).ok_or(Refusal::NotFound)?;
        if calendar.status == Status::Disconnected {
            return Err(Refusal::NotSchedulable("Cannot schedule bot as calendar is disconnected."));
        }
        if row.is_deleted || row.is_cancelled() {
            return Err(Refusal::NotSchedulable("Cannot schedule bot as calendar event has been cancelled."));
        }
        if row.end <= now {
            return Err(Refusal::Ended);
        }
        let meeting_url = match &config["meeting_url"] {
            Value::String(url) => url.clone(),
            Value::Null => row
                .meeting_url
                .clone()
                .ok_or(Refusal::NotSchedulable("Cannot schedule bot as calendar event has no meeting url."))?,
            _ => {
                return Err(Refusal::Field("meeting_url", "Not a valid string.".to_owned()));
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
    fn place_order(&mut self, event: Uuid, order: Order, current: Option<Uuid>, now: DateTime<Utc>) -> Uuid {
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
}

fn wrong_time() -> Refusal {
    Refusal::Field("join_at", "Datetime has wrong format. Use ISO 8601.".to_owned())
}
