//! What must hold after each operation and each turn.
//!
//! Two live bots may be right, in two cases that no call of the calendar API can mend. A meeting that moves while its bot is
//! in the call leaves that bot there, and gets another for its new time ("perpetual events"); so an event's live bots are
//! compared by start and link, not counted; and a key's by start, since a bot that is asked for with the key of a start that
//! has just changed joins at the new one. And a Schedule Bot that is under way for longer than a lease, and acts after the
//! start, acts in vain for whoever took over: keys of such calls are left out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use rollcall::{
    domain::{budget::CallClass, dedup::start_in},
    sim::{Bot, BotState, Call, Endpoint, Sim},
};
use sqlx::Row;
use uuid::Uuid;

use super::{Violation, oracle::Past, stage::Stage};

/// What was seen so far.
#[derive(Default)]
pub struct Watch {
    /// By event: the version mirrored, and whether that is one for which no bot can be scheduled.
    mirrored: BTreeMap<Uuid, Mirrored>,
    /// Times of the calls of the last minute, by what shares a limit.
    calls: BTreeMap<&'static str, VecDeque<DateTime<Utc>>>,
    pub past: Past,
    /// Keys of Schedule Bot calls that hung.
    late_keys: BTreeSet<String>,
    /// Turns that hung go on now, with what they knew then, or several were taken at once.
    pub turns_go_on: bool,
    pub bot_calls: usize,
    /// Processes that died with a call on the way, which may arrive when it was paid for in another minute.
    pub late_calls: usize,
    /// Statements whose answer nobody waits for any more. They may pay for a call when a later turn is looked at.
    pub late_payments: i64,
    /// When Recall notices the last disconnection.
    pub noticed_by: Option<DateTime<Utc>>,
    /// Something failed that may leave what only a full sync finds.
    pub needs_full_sync: bool,
}

#[derive(Clone, Copy)]
struct Mirrored {
    updated_at: DateTime<Utc>,
    is_dead: bool,
    start_time: DateTime<Utc>,
}

impl Watch {
    /// Looks at everything once.
    pub async fn look(&mut self, stage: &Stage<'_>) -> Result<(), Violation> {
        let before = self.look_at_mirror(stage).await?;
        let calls = stage.sim.calls();
        stage.sim.clear_calls();
        self.look_at_calls(stage, &calls, &before)?;
        self.look_at_bots(&stage.sim.all_bots())?;
        self.turns_go_on = false;
        Ok(())
    }

    /// A turn hangs in the call that was made last.
    pub fn turn_hangs(&mut self, sim: &Sim) {
        let under_way = sim.calls().into_iter().filter(|call| call.status == 0);
        self.late_keys.extend(under_way.filter_map(|call| Some(call.body["deduplication_key"].as_str()?.to_owned())));
    }

    /// P5. Returns what was mirrored before.
    async fn look_at_mirror(&mut self, stage: &Stage<'_>) -> Result<BTreeMap<Uuid, Mirrored>, Violation> {
        let rows = sqlx::query(
            "select events.id, events.updated_at,
                 is_deleted or is_cancelled or events.gone_at is not null or meeting_url is null
                 or greatest(start_time, end_time) <= $1
                 or calendars.status is distinct from 'connected' or calendars.gone_at is not null,
                 start_time
             from events left join calendars on calendars.id = events.calendar_id",
        );
        let rows = rows.bind(stage.now()).fetch_all(&stage.site.db).await.unwrap();
        let read = |row: &sqlx::postgres::PgRow| {
            (row.get::<Uuid, _>(0), Mirrored { updated_at: row.get(1), is_dead: row.get(2), start_time: row.get(3) })
        };
        let before = std::mem::replace(&mut self.mirrored, rows.iter().map(read).collect());
        for (id, was) in &before {
            let is = self.mirrored.get(id);
            if is.is_none_or(|is| is.updated_at < was.updated_at) {
                return Err(Violation::new("the mirror went back", format!("event {id}")));
            }
        }
        if !self.past.unseen.is_empty() {
            let joining = stage.now() + stage.policy().join_early;
            let is_unseen = |is: &Mirrored, at: DateTime<Utc>| is.updated_at < at || is.start_time <= joining;
            self.past.unseen.retain(|id, at| self.mirrored.get(id).is_none_or(|is| is_unseen(is, *at)));
        }
        Ok(before)
    }

    /// P8, and P4's "no call".
    fn look_at_calls(
        &mut self,
        stage: &Stage<'_>,
        calls: &[Call],
        before: &BTreeMap<Uuid, Mirrored>,
    ) -> Result<(), Violation> {
        for call in calls {
            let class = class(call.endpoint);
            let limit = limit(class, stage);
            let times = self.calls.entry(class.as_str()).or_default();
            times.push_back(call.at);
            while times.front().is_some_and(|at| *at + TimeDelta::seconds(60) <= call.at) {
                times.pop_front();
            }
            if times.len() > limit as usize && self.late_calls > 0 {
                self.late_calls -= 1;
                times.pop_back();
            }
            if times.len() > limit as usize {
                return Err(Violation::new(
                    "a limit was exceeded",
                    format!("{} {class} calls in a minute", times.len()),
                ));
            }
            let is_dead = |mirrored: &BTreeMap<Uuid, Mirrored>| {
                call.id.and_then(|id| mirrored.get(&id)).is_some_and(|event| event.is_dead)
            };
            self.bot_calls += usize::from(matches!(call.endpoint, Endpoint::ScheduleBot | Endpoint::DeleteBot));
            let is_schedule = call.endpoint == Endpoint::ScheduleBot;
            if is_schedule && !self.turns_go_on && is_dead(before) && is_dead(&self.mirrored) {
                return Err(Violation::new("a bot was scheduled for nothing", format!("{call:?}")));
            }
        }
        Ok(())
    }

    /// P4.
    fn look_at_bots(&mut self, bots: &[Bot]) -> Result<(), Violation> {
        let mut by_key: BTreeMap<(&str, DateTime<Utc>), Vec<&Bot>> = BTreeMap::new();
        let mut by_meeting: BTreeMap<(Uuid, DateTime<Utc>, &str), Vec<&Bot>> = BTreeMap::new();
        for bot in bots {
            let joined = bot.dispatched_at.iter().flat_map(|_| &bot.events);
            self.past.had_bot.extend(joined.map(|event| (*event, start_of(bot), bot.meeting_url.clone())));
            if !bot.is_live() || self.late_keys.contains(&bot.key) {
                continue;
            }
            by_key.entry((&bot.key, start_of(bot))).or_default().push(bot);
            for event in &bot.events {
                by_meeting.entry((*event, start_of(bot), &bot.meeting_url)).or_default().push(bot);
            }
        }
        if let Some(twins) = by_key.values().find(|bots| bots.len() > 1) {
            return Err(Violation::new("two live bots for a key", describe(twins)));
        }
        match by_meeting.values().find(|bots| bots.len() > 1) {
            Some(twins) => Err(Violation::new("two live bots for an event", describe(twins))),
            None => Ok(()),
        }
    }
}

/// When the bot's meeting begins: what joins early has it in its key.
fn start_of(bot: &Bot) -> DateTime<Utc> {
    let joins_early = !bot.config["join_at"].is_null();
    start_in(&bot.key).filter(|_| joins_early).unwrap_or(bot.join_at)
}

/// What shares a limit with it.
pub fn class(endpoint: Endpoint) -> CallClass {
    match endpoint {
        Endpoint::ListCalendars | Endpoint::ListEvents => CallClass::List,
        Endpoint::ScheduleBot => CallClass::ScheduleBot,
        Endpoint::DeleteBot => CallClass::DeleteBot,
        _ => CallClass::Read,
    }
}

fn limit(class: CallClass, stage: &Stage<'_>) -> u32 {
    match class {
        CallClass::List => stage.limits.list_events,
        CallClass::Read => stage.limits.others,
        CallClass::ScheduleBot => stage.limits.schedule,
        CallClass::DeleteBot => stage.limits.delete,
    }
}

fn describe(bots: &[&Bot]) -> String {
    let describe = |bot: &&Bot| {
        let state = match bot.state {
            BotState::Scheduled => "scheduled",
            BotState::InCall => "in call",
            BotState::Done | BotState::Left | BotState::Removed => "gone",
        };
        format!("{state} for {} event(s), key {}", bot.events.len(), bot.key)
    };
    bots.iter().map(describe).collect::<Vec<_>>().join("; ")
}
