//! The oracle: which bots there should be, told from the simulator's calendars, the configuration, and what people said.
//!
//! It is written apart from `domain::plan`, from the API's own JSON. The demo has one of its own that knows one configuration
//! and forgives more: it watches a show, this one judges.
//!
//! What no call can mend is forgiven: a bot in a call that no meeting wants any more, a meeting under way whose bot was
//! there and is gone, and one whose copy is gone with nobody knowing whether it had a bot. Recall may ignore a new `BOT_CONFIG` in the last ten minutes before a start, so it is not asked for.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rollcall::{
    domain::{dedup::Deduplication, policy::Policy},
    sim::{Bot, BotState, Sim},
};
use serde_json::Value;
use uuid::Uuid;

use super::{Violation, operation::PRO_RULE};

/// A bot that there should be.
struct Wanted {
    start: DateTime<Utc>,
    meeting_url: String,
    events: BTreeSet<Uuid>,
    /// What it may be called: one bot stands for all of its events, and is named for any.
    names: BTreeSet<Option<String>>,
}

/// What there is to see at one moment, of a simulator in this process or in another.
pub struct Seen {
    pub now: DateTime<Utc>,
    /// Calendars as the API shows them, each with its events.
    pub calendars: Vec<(Value, Vec<Value>)>,
    /// Every bot there ever was.
    pub bots: Vec<Bot>,
    /// What people said, by the calendar's or the event's id, nil for all, and the aspect.
    pub said: BTreeMap<(Uuid, String), String>,
}

impl Seen {
    pub fn of(sim: &Sim) -> Self {
        let events = |calendar: &Value| sim.events(id(calendar).unwrap());
        let calendars = sim.calendars().into_iter().map(|calendar| (calendar.clone(), events(&calendar))).collect();
        Self { now: sim.clock().now(), calendars, bots: sim.all_bots(), said: BTreeMap::new() }
    }

    /// Whether an event of a calendar is to have a bot, as far as people and `policy` say.
    fn is_recorded(&self, calendar: &Value, event: Uuid, policy: &Policy) -> bool {
        let calendar_id = id(calendar).unwrap_or_default();
        let said = |id: Uuid, aspect: &str| self.said.get(&(id, aspect.to_owned())).map(String::as_str);
        if said(Uuid::nil(), "pause").or(said(calendar_id, "pause")).is_some() {
            return false;
        }
        match said(event, "override").or(said(calendar_id, "override")) {
            Some(verdict) => verdict == "record",
            None => match said(calendar_id, "record_when").unwrap_or(policy.record_when.as_str()) {
                PRO_RULE => calendar["metadata"]["plan"] == "pro",
                rule => rule != "none",
            },
        }
    }

    /// Whether an event of the meeting was deleted, or its calendar cut off, about when its bot joined, or later; or a bot went then,
    /// though its event has another link since. An event that changes once more after it was deleted seems to be deleted then,
    /// wherever it had moved before.
    fn has_lost(&self, key: &str, meeting: &Wanted, join_early: TimeDelta) -> bool {
        let nearly = meeting.start - join_early - TimeDelta::minutes(1);
        let went = |bot: &Bot| bot.key == key && bot.state == BotState::Removed && bot.ended_at >= Some(nearly);
        let is_lost = |calendar: &Value, event: &Value| {
            let deleted_at = time(event, "updated_at").filter(|_| event["is_deleted"] == true);
            let lost_at = deleted_at.max(disconnected_at(calendar));
            let is_of_meeting = time(event, "start_time") == Some(meeting.start)
                && event["meeting_url"] == *meeting.meeting_url
                && lost_at >= Some(nearly);
            let had_bot =
                || self.bots.iter().any(|bot| bot.key == key && id(event).is_some_and(|id| bot.events.contains(&id)));
            is_of_meeting || (deleted_at >= Some(nearly) && had_bot())
        };
        self.calendars.iter().any(|(calendar, events)| events.iter().any(|event| is_lost(calendar, event)))
            || self.bots.iter().any(went)
    }

    /// Whether the meeting's bot went while nobody looked: with its event, which is restored since, or with a calendar that Recall was
    /// cut off from and that its event has left or come to. Where that is noticed after the start, nothing tells that no person sent
    /// the bot away.
    fn went_unseen(&self, meeting: &Wanted, past: &Past) -> bool {
        let went = self.bots.iter().filter(|bot| bot.state == BotState::Removed && bot.event_start == meeting.start);
        went.flat_map(|bot| bot.events.iter().map(move |event| (event, bot.created_at))).any(|(event, scheduled_at)| {
            let changed_at = past.unseen.get(event).filter(|_| meeting.events.contains(event));
            changed_at.is_some_and(|changed_at| (scheduled_at..meeting.start).contains(changed_at))
        })
    }

    /// Whether a calendar has an event of each.
    fn share_calendar(&self, some: &BTreeSet<Uuid>, others: &BTreeSet<Uuid>) -> bool {
        self.calendars.iter().any(|(_, events)| {
            let has = |ids: &BTreeSet<Uuid>| events.iter().filter_map(id).any(|id| ids.contains(&id));
            has(some) && has(others)
        })
    }

    fn has(&self, event: Uuid) -> bool {
        self.calendars.iter().flat_map(|(_, events)| events).filter_map(id).any(|id| id == event)
    }
}

fn id(row: &Value) -> Option<Uuid> {
    row["id"].as_str()?.parse().ok()
}

fn time(row: &Value, name: &str) -> Option<DateTime<Utc>> {
    row[name].as_str().and_then(|time| time.parse().ok())
}

fn disconnected_at(calendar: &Value) -> Option<DateTime<Utc>> {
    let changes = calendar["status_changes"].as_array().into_iter().flatten();
    changes.filter(|change| change["status"] == "disconnected").filter_map(|change| time(change, "created_at")).max()
}

/// What happened before, and cannot be seen any more.
#[derive(Default)]
pub struct Past {
    /// Events that had a bot at some time, with its start and link.
    pub had_bot: BTreeSet<(Uuid, DateTime<Utc>, String)>,
    /// Keys of calls that the service was about to make, or made, and does not know what became of, and of bots that were scheduled
    /// for events of which it cannot be told any more when they went, each with the event.
    pub in_doubt: BTreeSet<(String, Uuid)>,
    /// Events that were deleted, or moved to another calendar, and when, which the service could not see before their bot was to join.
    pub unseen: BTreeMap<Uuid, DateTime<Utc>>,
}

/// That the bots are those that the calendars and `policy` ask for.
pub fn check_bots(seen: &Seen, policy: &Policy, past: &Past) -> Result<(), Violation> {
    let now = seen.now;
    let wanted = wanted_bots(seen, policy);
    let bots: Vec<&Bot> = seen.bots.iter().filter(|bot| bot.is_live()).collect();
    for (key, meeting) in &wanted {
        let of_meeting: Vec<&Bot> = bots.iter().copied().filter(|bot| bot.key == *key).collect();
        if meeting.start - policy.join_early > now {
            judge_upcoming(key, meeting, &of_meeting, policy, now)?;
            continue;
        }
        let had_bot = |event: &Uuid| past.had_bot.contains(&(*event, meeting.start, meeting.meeting_url.clone()));
        // The bot of another copy of the meeting, one that had joined the room before the event was moved, or one whose key was
        // formed more narrowly by a former configuration, serves it too: a call for its own key would send a second bot into
        // the room.
        let narrower = format!("{key}-");
        let is_served = seen.bots.iter().any(|bot| {
            // Or of a shorter meeting at the same time and place, which is over.
            let is_of_shorter = bot.event_start == meeting.start && seen.share_calendar(&bot.events, &meeting.events);
            let is_of_events =
                bot.meeting_url == meeting.meeting_url && (!bot.events.is_disjoint(&meeting.events) || is_of_shorter);
            bot.dispatched_at.is_some() && (bot.key == *key || bot.key.starts_with(&narrower) || is_of_events)
        });
        // Nobody can be asked any more whether there is a bot.
        let is_in_doubt = past.in_doubt.iter().any(|(of, event)| of == key && !seen.has(*event));
        let is_in_doubt =
            is_in_doubt || seen.has_lost(key, meeting, policy.join_early) || seen.went_unseen(meeting, past);
        if of_meeting.is_empty() && !is_served && !is_in_doubt && !meeting.events.iter().any(had_bot) {
            return Err(Violation::new("a meeting under way never had a bot", key.clone()));
        }
    }
    match bots.iter().find(|bot| bot.state == BotState::Scheduled && !wanted.contains_key(&bot.key)) {
        Some(bot) => Err(Violation::new("a bot is not wanted", format!("{} for {:?}", bot.key, bot.events))),
        None => Ok(()),
    }
}

fn judge_upcoming(
    key: &str,
    meeting: &Wanted,
    bots: &[&Bot],
    policy: &Policy,
    now: DateTime<Utc>,
) -> Result<(), Violation> {
    let [bot] = bots else {
        let rule = if bots.is_empty() { "a meeting has no bot" } else { "a meeting has several bots" };
        return Err(Violation::new(rule, format!("{key}: {}", bots.len())));
    };
    if bot.events != meeting.events {
        let detail = format!("{key}: {:?} instead of {:?}", bot.events, meeting.events);
        return Err(Violation::new("a bot is on the wrong events", detail));
    }
    if ![meeting.start - policy.join_early, meeting.start].contains(&bot.join_at)
        || bot.meeting_url != meeting.meeting_url
    {
        return Err(Violation::new("a bot joins elsewhere", format!("{key}: {} {}", bot.join_at, bot.meeting_url)));
    }
    let is_too_late = meeting.start - policy.join_early - now <= TimeDelta::minutes(10);
    let is_well_named = meeting.names.contains(&bot.config["bot_name"].as_str().map(str::to_owned));
    if !is_well_named && !is_too_late {
        return Err(Violation::new("a bot has another configuration", format!("{key}: {}", bot.config)));
    }
    Ok(())
}

fn wanted_bots(seen: &Seen, policy: &Policy) -> BTreeMap<String, Wanted> {
    let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
    for (calendar, events) in seen.calendars.iter().filter(|(calendar, _)| calendar["status"] == "connected") {
        for event in events {
            let Some((id, meeting)) = read_wanted(event, seen.now) else { continue };
            if !seen.is_recorded(calendar, id, policy) {
                continue;
            }
            let key = key(policy.deduplication, calendar, id, &meeting);
            let of_key = wanted.entry(key).or_insert(meeting);
            of_key.events.insert(id);
            of_key.names.insert(name(policy, calendar, event));
        }
    }
    wanted
}

fn read_wanted(event: &Value, now: DateTime<Utc>) -> Option<(Uuid, Wanted)> {
    let raw = &event["raw"];
    let is_cancelled = raw["status"] == "cancelled" || raw["isCancelled"] == true;
    let time = |name: &str| event[name].as_str()?.parse::<DateTime<Utc>>().ok();
    let (start, end) = (time("start_time")?, time("end_time")?);
    if event["is_deleted"] == true || is_cancelled || start.max(end) <= now {
        return None;
    }
    let meeting_url = event["meeting_url"].as_str()?.to_owned();
    let meeting = Wanted { start, meeting_url, events: BTreeSet::new(), names: BTreeSet::new() };
    Some((id(event)?, meeting))
}

/// What the bot of an event is called. Histories have no other templates.
fn name(policy: &Policy, calendar: &Value, event: &Value) -> Option<String> {
    let name = policy.bot_config.source().get("bot_name")?.as_str()?;
    let raw = &event["raw"];
    let title = raw["summary"].as_str().or(raw["subject"].as_str()).unwrap_or_default();
    let plan = calendar["metadata"]["plan"].as_str().unwrap_or_default();
    Some(
        name.replace("{{ event.title | length }}", &title.chars().count().to_string())
            .replace("{{ calendar.metadata.plan }}", plan),
    )
}

fn key(deduplication: Deduplication, calendar: &Value, event: Uuid, meeting: &Wanted) -> String {
    let start = meeting.start.to_rfc3339_opts(SecondsFormat::Secs, true);
    let meeting = format!("{start}-{}", meeting.meeting_url);
    let email = calendar["platform_email"].as_str().unwrap_or_default().to_lowercase();
    match deduplication {
        Deduplication::Meeting => meeting,
        Deduplication::Company => format!("{meeting}-{}", email.split('@').next_back().unwrap_or_default()),
        Deduplication::Event => format!("{meeting}-{event}"),
    }
}
