//! The oracle: which bots there should be, told from the simulator's calendars alone, and how the bots that there are differ.
//!
//! It is written apart from `domain::plan`, from the API's own JSON, so that a mistake there is not repeated here. The rule: an
//! event has a bot if its calendar is connected and it is neither deleted, cancelled nor over and has a link; events with the
//! same start and link share one.
//!
//! Bots in a call are judged mildly, since no call of the calendar API takes them out: a bot that joined before its meeting
//! was moved or cancelled is nobody's fault, and neither is a bot that a person has sent away.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::sim::{Bot, BotState, Sim};

/// A bot that there should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) title: String,
    pub(super) start: DateTime<Utc>,
    meeting_url: String,
    pub(super) events: BTreeSet<Uuid>,
}

/// By deduplication key.
pub(super) type WantedBots = BTreeMap<String, Wanted>;

/// A way in which bots are not as they should be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Difference {
    /// A meeting without its bot.
    Missing(Wanted),
    /// A meeting with more than one.
    Several(Wanted, usize),
    /// The bot is linked to other events than those of the meeting.
    WrongEvents(Wanted, Bot),
    /// The bot joins at another time, or by another link, than its key says.
    WrongPlace(Wanted, Bot),
    /// A bot that no meeting wants.
    Unwanted(Bot),
}

/// What the calendars of `sim` ask for, now.
pub(super) fn wanted_bots(sim: &Sim) -> WantedBots {
    let now = sim.clock().now();
    let connected = sim.calendars().into_iter().filter(|calendar| calendar["status"] == "connected");
    let ids = connected.filter_map(|calendar| calendar["id"].as_str()?.parse::<Uuid>().ok());
    collect_wanted(ids.flat_map(|id| sim.events(id)), now)
}

/// Where the bots of `sim` differ from what its calendars ask for.
pub(super) fn find_differences(sim: &Sim) -> Vec<Difference> {
    compare(&wanted_bots(sim), &sim.all_bots(), sim.clock().now())
}

/// How many bots are in a call that nobody wants them in any more.
pub(super) fn count_stranded(wanted: &WantedBots, bots: &[Bot]) -> usize {
    bots.iter().filter(|bot| bot.state == BotState::InCall && !wanted.contains_key(&bot.key)).count()
}

fn collect_wanted(events: impl Iterator<Item = Value>, now: DateTime<Utc>) -> WantedBots {
    let mut wanted = WantedBots::new();
    for event in events {
        let Some((id, mut bot)) = read_wanted(&event, now) else { continue };
        let start = bot.start.to_rfc3339_opts(SecondsFormat::Secs, true);
        let key = format!("{start}-{}", bot.meeting_url);
        bot.events.clear();
        wanted.entry(key).or_insert(bot).events.insert(id);
    }
    wanted
}

fn read_wanted(event: &Value, now: DateTime<Utc>) -> Option<(Uuid, Wanted)> {
    let raw = &event["raw"];
    let is_cancelled = raw["status"] == "cancelled" || raw["isCancelled"] == true;
    let end: DateTime<Utc> = event["end_time"].as_str()?.parse().ok()?;
    if event["is_deleted"] == true || is_cancelled || end <= now {
        return None;
    }
    let wanted = Wanted {
        title: raw["summary"].as_str().or_else(|| raw["subject"].as_str()).unwrap_or_default().to_owned(),
        start: event["start_time"].as_str()?.parse().ok()?,
        meeting_url: event["meeting_url"].as_str()?.to_owned(),
        events: BTreeSet::new(),
    };
    Some((event["id"].as_str()?.parse().ok()?, wanted))
}

/// Compares what is wanted with every bot there ever was.
fn compare(wanted: &WantedBots, bots: &[Bot], now: DateTime<Utc>) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (key, meeting) in wanted {
        let of_meeting: Vec<&Bot> = bots.iter().filter(|bot| bot.key == *key).collect();
        differences.extend(judge_meeting(meeting, &of_meeting, now));
    }
    let unwanted = bots.iter().filter(|bot| bot.state == BotState::Scheduled && !wanted.contains_key(&bot.key));
    differences.extend(unwanted.cloned().map(Difference::Unwanted));
    differences
}

fn judge_meeting(meeting: &Wanted, bots: &[&Bot], now: DateTime<Utc>) -> Option<Difference> {
    let live: Vec<&Bot> = bots.iter().copied().filter(|bot| bot.is_live()).collect();
    let [bot] = live[..] else {
        let was_sent_away = meeting.start <= now && bots.iter().any(|bot| bot.state == BotState::Left);
        return match live.len() {
            0 if was_sent_away => None,
            0 => Some(Difference::Missing(meeting.clone())),
            count => Some(Difference::Several(meeting.clone(), count)),
        };
    };
    // Events that have left a meeting stay linked to the bot that is in its call already.
    let has_its_events = match bot.state {
        BotState::Scheduled => bot.events == meeting.events,
        BotState::InCall | BotState::Done | BotState::Left | BotState::Removed => {
            bot.events.is_superset(&meeting.events)
        }
    };
    if !has_its_events {
        return Some(Difference::WrongEvents(meeting.clone(), bot.clone()));
    }
    let is_in_place = bot.join_at == meeting.start && bot.meeting_url == meeting.meeting_url;
    (!is_in_place).then(|| Difference::WrongPlace(meeting.clone(), bot.clone()))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |time: &DateTime<Utc>| time.format("%a %H:%M").to_string();
        match self {
            Self::Missing(meeting) => write!(f, "no bot        “{}”, {}", meeting.title, at(&meeting.start)),
            Self::Several(meeting, count) => {
                write!(f, "{count} bots        “{}”, {}", meeting.title, at(&meeting.start))
            }
            Self::WrongEvents(meeting, bot) => write!(
                f,
                "wrong events  “{}”, {}: the bot is on {} events, {} have this meeting",
                meeting.title,
                at(&meeting.start),
                bot.events.len(),
                meeting.events.len()
            ),
            Self::WrongPlace(meeting, bot) => write!(
                f,
                "wrong place   “{}”, {}: the bot joins {}",
                meeting.title,
                at(&meeting.start),
                if bot.join_at == meeting.start { "by another link".to_owned() } else { at(&bot.join_at) }
            ),
            Self::Unwanted(bot) => write!(f, "unwanted bot  joins {}, for no meeting", at(&bot.join_at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use serde_json::json;

    use super::*;

    const URL: &str = "https://meet.google.com/abc-defg-hij";

    fn time(text: &str) -> DateTime<Utc> {
        format!("2026-01-20T{text}:00Z").parse().unwrap()
    }

    fn now() -> DateTime<Utc> {
        time("12:00")
    }

    fn event(id: u128, change: impl FnOnce(&mut Value)) -> Value {
        let mut event = json!({
            "id": Uuid::from_u128(id), "start_time": "2026-01-20T21:30:00Z", "end_time": "2026-01-20T22:00:00Z",
            "meeting_url": URL, "is_deleted": false, "raw": {"summary": "Weekly sync", "status": "confirmed"},
        });
        change(&mut event);
        event
    }

    fn bot(events: &[u128]) -> Bot {
        Bot {
            id: Uuid::from_u128(99),
            key: format!("2026-01-20T21:30:00Z-{URL}"),
            events: events.iter().copied().map(Uuid::from_u128).collect(),
            config: json!({}),
            meeting_url: URL.to_owned(),
            join_at: time("21:30"),
            event_start: time("21:30"),
            event_end: time("22:00"),
            state: BotState::Scheduled,
            created_at: time("11:00"),
            dispatched_at: None,
            ended_at: None,
        }
    }

    fn weekly_sync(ids: &[u128]) -> WantedBots {
        collect_wanted(ids.iter().map(|id| event(*id, |_| ())), now())
    }

    #[test]
    fn copies_of_a_meeting_want_one_bot_together() {
        let wanted = weekly_sync(&[1, 2]);
        assert_eq!(wanted.len(), 1);
        assert_eq!(compare(&wanted, &[bot(&[1, 2])], now()), []);
    }

    #[test]
    fn no_bot_is_wanted_where_there_is_nothing_to_join() {
        let changes: [fn(&mut Value); 5] = [
            |event| event["is_deleted"] = true.into(),
            |event| event["raw"]["status"] = "cancelled".into(),
            |event| event["raw"]["isCancelled"] = true.into(),
            |event| event["meeting_url"] = Value::Null,
            |event| event["end_time"] = "2026-01-20T12:00:00Z".into(),
        ];
        for change in changes {
            assert_eq!(collect_wanted([event(1, change)].into_iter(), now()), WantedBots::new());
        }
    }

    #[test]
    fn every_wrong_set_of_bots_is_noticed() {
        let wanted = weekly_sync(&[1]);
        let meeting = wanted.values().next().unwrap().clone();
        let removed = Bot { state: BotState::Removed, ..bot(&[1]) };
        let late = Bot { join_at: time("21:45"), ..bot(&[1]) };
        let stray = Bot { key: format!("2026-01-20T20:00:00Z-{URL}"), ..bot(&[3]) };
        let missing = Difference::Missing(meeting.clone());
        assert_eq!(compare(&wanted, &[], now()), slice::from_ref(&missing));
        assert_eq!(compare(&wanted, &[removed], now()), [missing]);
        assert_eq!(compare(&wanted, &[bot(&[1]), bot(&[1])], now()), [Difference::Several(meeting.clone(), 2)]);
        assert_eq!(compare(&wanted, &[bot(&[1, 2])], now()), [Difference::WrongEvents(meeting.clone(), bot(&[1, 2]))]);
        assert_eq!(compare(&wanted, slice::from_ref(&late), now()), [Difference::WrongPlace(meeting, late)]);
        assert_eq!(compare(&wanted, &[bot(&[1]), stray.clone()], now()), [Difference::Unwanted(stray)]);
    }

    #[test]
    fn nobody_is_blamed_for_bots_in_calls() {
        let in_call = Bot { state: BotState::InCall, ..bot(&[1, 2]) };
        assert_eq!(compare(&weekly_sync(&[1]), slice::from_ref(&in_call), time("21:40")), []);
        assert_eq!(compare(&WantedBots::new(), slice::from_ref(&in_call), time("21:40")), []);
        assert_eq!(count_stranded(&WantedBots::new(), &[in_call]), 1);
        let sent_away = Bot { state: BotState::Left, ..bot(&[1]) };
        assert_eq!(compare(&weekly_sync(&[1]), &[sent_away], time("21:40")), []);
    }
}
