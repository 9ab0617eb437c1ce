//! `plan_bot`: what should become of an event's bot, now.
//!
//! Pure and total, so that every rule about bots can be read and tested here. A plan leaves no choice to whoever carries it
//! out, and planning again after carrying it out changes nothing (P11): the plan looks at what the API lists (`bots`) and at
//! what we asked for last (`Scheduled`), never at `updated_at`, which scheduling a bot may touch.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Fingerprint,
    calendar::{Calendar, CalendarStatus},
    dedup::start_in,
    event::{Event, ObservedBot},
    policy::{Answer, Policy, Wish},
};

/// Within this time before it joins Recall may ignore a bot's new configuration, since it is already being prepared.
const TOO_LATE_TO_CHANGE: TimeDelta = TimeDelta::minutes(10);

/// All that a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The event as mirrored.
    pub event: &'a Event,
    /// Its calendar as mirrored; `None` if it was never read.
    pub calendar: Option<&'a Calendar>,
    /// What Schedule Bot was last asked for on this event.
    pub scheduled: Option<&'a Scheduled>,
    /// The deduplication key, if another event has a bot with it that may be in the meeting.
    pub covered_key: Option<&'a str>,
    /// The API has deleted the event's bot, it said, and this version of the event is what it answered.
    pub is_unscheduled: bool,
    /// A newer configuration has decided on the event.
    pub is_left_to_newer: bool,
    /// The configuration of this process waits to be confirmed: it removes no bots.
    pub is_held_back: bool,
    /// The configuration of this process.
    pub policy: &'a Policy,
    /// What it, and what people said, wish for the event; `None` where its calendar is not known.
    pub wish: Option<&'a Wish>,
    /// The present.
    pub now: DateTime<Utc>,
}

impl Situation<'_> {
    /// Whether a bot for a meeting that begins at `start` has joined by now: up to `JOIN_EARLY` before.
    fn joins_by_now(&self, start: DateTime<Utc>) -> bool {
        start <= self.now + self.policy.join_early
    }
}

/// The last Schedule Bot on an event that the API accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Its deduplication key.
    pub key: String,
    /// Of the `BOT_CONFIG` it carried.
    pub config: Fingerprint,
    /// When it was sent, if it is known: whether the bot is to join early was decided then.
    pub at: Option<DateTime<Utc>>,
}

/// Whether a bot that was scheduled then, for a meeting that begins at `start`, has joined by `now`: `join_early` before, unless it
/// was too late for that when it was scheduled.
pub fn has_joined(
    start: DateTime<Utc>,
    scheduled_at: Option<DateTime<Utc>>,
    join_early: TimeDelta,
    now: DateTime<Utc>,
) -> bool {
    start <= now || (start <= now + join_early && scheduled_at.is_none_or(|at| at + join_early < start))
}

/// What to do about an event's bot, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// There should be no bot, and there is none to remove.
    Nothing(NoBot),
    /// The bot that should be there is there.
    Keep(Kept),
    /// Schedule Bot with `key`; it makes, moves or reconfigures the event's one bot.
    Schedule {
        /// The deduplication key to send.
        key: String,
        /// What made it necessary.
        reason: Needed,
    },
    /// Delete Bot.
    Unschedule(NoBot),
}

/// Why an event has no bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBot {
    /// The event was deleted; Recall removes its bot by itself.
    Deleted,
    /// Recall cannot read the calendar, and has removed its bots by itself.
    CalendarNotConnected,
    /// The event is still on the calendar, but called off.
    Cancelled,
    /// The meeting is over.
    Ended,
    /// There is nothing to join.
    NoMeetingUrl,
    /// `RECORD_WHEN`, or the calendar's own rule, says no.
    RuleSaysNo,
    /// The rule cannot be evaluated for this event.
    RuleFails,
    /// Somebody said no.
    Skipped,
    /// Somebody paused the calendar, or everything.
    Paused,
    /// A bot was scheduled for this very meeting and is gone now that it has begun: somebody may have sent it away.
    SentAway,
    /// The meeting has begun, and another event's bot was scheduled for it: ours would be a second one.
    Covered,
    /// The bot was to join when the meeting was at another time; one is in the meeting.
    InMeeting,
    /// A replica with a newer configuration has decided.
    LeftToNewer,
}

/// Why a bot stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Right time, link and configuration.
    AsWanted,
    /// It has joined or is joining.
    InMeeting,
    /// Only its configuration differs, and the meeting is about to begin.
    TooLateToChange,
    /// Only its configuration differs, and a newer one than ours has decided.
    LeftToNewer,
    /// The configuration does not want it, and waits to be confirmed.
    HeldBack,
}

/// Why Schedule Bot is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// The event has no bot yet.
    New,
    /// The event's time or link has changed; Recall does not move bots by itself.
    Moved,
    /// Same meeting, but keys are formed in another way now.
    Rekeyed,
    /// The bot that was scheduled is no longer there, though the meeting has yet to begin.
    Missing,
    /// What the bot is made from has changed: `BOT_CONFIG`, the calendar's own, or what a template of it shows.
    ConfigChanged,
    /// There is a bot that we did not schedule, or whose answer was lost.
    ConfigUnknown,
}

/// Plans the bot of one event.
pub fn plan_bot(situation: &Situation) -> Plan {
    let (calendar, wish, meeting_url) = match join_link(situation) {
        Ok(joined) => joined,
        Err(reason) => return plan_unwanted(situation, reason),
    };
    match refusal(wish) {
        None => plan_wanted(situation, calendar, wish, meeting_url),
        Some(reason) => match plan_unwanted(situation, reason) {
            // Until somebody confirms that it is to go, it goes where its meeting goes, and nowhere where there is one already.
            Plan::Keep(Kept::HeldBack) => match plan_wanted(situation, calendar, wish, meeting_url) {
                plan @ (Plan::Schedule { reason: Needed::Moved | Needed::Rekeyed, .. } | Plan::Unschedule(_)) => plan,
                _ => Plan::Keep(Kept::HeldBack),
            },
            plan => plan,
        },
    }
}

/// What is wished and the link to join, or why there can be no bot.
fn join_link<'a>(situation: &Situation<'a>) -> Result<(&'a Calendar, &'a Wish, &'a str), NoBot> {
    let event = situation.event;
    if event.is_deleted {
        return Err(NoBot::Deleted);
    }
    let (calendar, wish) = situation
        .calendar
        .filter(|calendar| calendar.status == CalendarStatus::Connected)
        .zip(situation.wish)
        .ok_or(NoBot::CalendarNotConnected)?;
    if event.is_cancelled {
        return Err(NoBot::Cancelled);
    }
    if event.ends_at() <= situation.now {
        return Err(NoBot::Ended);
    }
    let meeting_url = event.meeting_url.as_deref().ok_or(NoBot::NoMeetingUrl)?;
    Ok((calendar, wish, meeting_url))
}

/// Why no bot is wished for, if none is.
fn refusal(wish: &Wish) -> Option<NoBot> {
    match wish.answer {
        Answer::Record => None,
        Answer::RuleSaysNo => Some(NoBot::RuleSaysNo),
        Answer::RuleFails => Some(NoBot::RuleFails),
        Answer::Skipped => Some(NoBot::Skipped),
        Answer::Paused => Some(NoBot::Paused),
    }
}

/// A bot that has yet to join is removed, even from a meeting that was moved into the past; one that has joined cannot be.
fn plan_unwanted(situation: &Situation, reason: NoBot) -> Plan {
    let has_future_bot = situation.event.bots.iter().any(|bot| is_removable(bot, situation));
    match reason {
        // Recall has removed the bot, and refuses calls.
        NoBot::Deleted | NoBot::CalendarNotConnected => Plan::Nothing(reason),
        NoBot::RuleSaysNo | NoBot::RuleFails if has_future_bot && situation.is_left_to_newer => {
            Plan::Keep(Kept::LeftToNewer)
        }
        NoBot::RuleSaysNo | NoBot::RuleFails if has_future_bot && situation.is_held_back => Plan::Keep(Kept::HeldBack),
        NoBot::Cancelled
        | NoBot::Ended
        | NoBot::NoMeetingUrl
        | NoBot::RuleSaysNo
        | NoBot::RuleFails
        | NoBot::Skipped
        | NoBot::Paused
        | NoBot::SentAway
        | NoBot::Covered
        | NoBot::InMeeting
        | NoBot::LeftToNewer => {
            if has_future_bot {
                Plan::Unschedule(reason)
            } else {
                Plan::Nothing(reason)
            }
        }
    }
}

fn plan_wanted(situation: &Situation, calendar: &Calendar, wish: &Wish, meeting_url: &str) -> Plan {
    let key = situation.policy.deduplication.key(situation.event, calendar, meeting_url);
    match plan_with_key(situation, wish, &key, meeting_url) {
        Plan::Nothing(reason) => plan_unwanted(situation, reason),
        Plan::Keep(Kept::InMeeting) if has_stray_bot(situation, &key, meeting_url) => {
            Plan::Unschedule(NoBot::InMeeting)
        }
        plan => plan,
    }
}

/// Whether the bot has yet to join. One that is listed with a start to come, perhaps its event's, though it was deleted and the
/// start in its key has passed, is in the call.
fn is_removable(bot: &ObservedBot, situation: &Situation) -> bool {
    let was_to_join = start_in(&bot.deduplication_key).is_some_and(|start| situation.joins_by_now(start));
    bot.is_future(situation.now) && !(situation.is_unscheduled && was_to_join)
}

/// Whether the meeting has begun, or bots have joined it early, and the event has a bot that is still to join, since it was to when
/// the meeting was at another time.
fn has_stray_bot(situation: &Situation, key: &str, meeting_url: &str) -> bool {
    let start = situation.event.start_time;
    let is_stray = |bot: &ObservedBot| {
        let was_for_it = start > situation.now || start_in(&bot.deduplication_key) == Some(start);
        let may_be_the_one = was_for_it && may_be_in_meeting(bot, situation, meeting_url);
        is_removable(bot, situation) && bot.deduplication_key != key && !may_be_the_one
    };
    situation.joins_by_now(start) && situation.event.bots.iter().any(is_stray)
}

fn plan_with_key(situation: &Situation, wish: &Wish, key: &str, meeting_url: &str) -> Plan {
    let needed = match situation.event.bots.iter().find(|bot| bot.deduplication_key == key) {
        Some(bot)
            if situation.event.start_time <= situation.now
                || !bot.is_future(situation.now)
                || has_joined_before_another(situation, key) =>
        {
            return Plan::Keep(Kept::InMeeting);
        }
        Some(_) => match reconfiguration(situation, wish, key) {
            Ok(needed) => needed,
            Err(kept) => return Plan::Keep(kept),
        },
        None => match absence(situation, key, meeting_url) {
            Ok(needed) => needed,
            Err(plan) => return plan,
        },
    };
    Plan::Schedule { key: key.to_owned(), reason: needed }
}

/// Whether the bot with the event's key has joined early, as it has where another is listed that is still to join: an event has but
/// one of these.
fn has_joined_before_another(situation: &Situation, key: &str) -> bool {
    let is_to_join =
        |bot: &ObservedBot| start_in(&bot.deduplication_key).is_some_and(|start| !situation.joins_by_now(start));
    situation.joins_by_now(situation.event.start_time)
        && situation.event.bots.iter().any(|bot| bot.deduplication_key != key && is_to_join(bot))
}

/// The right bot is scheduled: whether its configuration has to change. The key holds start and link, so nothing else is
/// looked at; what the API lists as a bot's own start and link is not documented. A bot that cannot be made is asked for, which
/// fails and so can be seen.
fn reconfiguration(situation: &Situation, wish: &Wish, key: &str) -> Result<Needed, Kept> {
    let needed = match situation.scheduled.filter(|scheduled| scheduled.key == key) {
        Some(scheduled) if wish.bot.as_ref().is_ok_and(|bot| bot.fingerprint == scheduled.config) => {
            return Err(Kept::AsWanted);
        }
        Some(_) => Needed::ConfigChanged,
        None => Needed::ConfigUnknown,
    };
    if situation.is_left_to_newer {
        return Err(Kept::LeftToNewer);
    }
    let joins_at = situation.event.start_time - situation.policy.join_early;
    if joins_at - situation.now <= TOO_LATE_TO_CHANGE {
        return Err(Kept::TooLateToChange);
    }
    Ok(needed)
}

/// The right bot is not there: why one has to be scheduled, or what is to be done instead.
fn absence(situation: &Situation, key: &str, meeting_url: &str) -> Result<Needed, Plan> {
    let event = situation.event;
    if let Some(scheduled) = situation.scheduled.filter(|scheduled| scheduled.key == key) {
        if !has_joined(event.start_time, scheduled.at, situation.policy.join_early, situation.now) {
            return Ok(Needed::Missing);
        }
        // Another that is still to come is the same one, given another key by a call whose answer was lost.
        if !event.bots.iter().any(|bot| is_removable(bot, situation)) {
            return Err(Plan::Nothing(NoBot::SentAway));
        }
    }
    // Once a bot has joined, a call with another key, or for another event, sends a second one.
    let may_have_joined = situation.joins_by_now(event.start_time);
    if may_have_joined && event.bots.iter().any(|bot| may_be_in_meeting(bot, situation, meeting_url)) {
        return Err(Plan::Keep(Kept::InMeeting));
    }
    if may_have_joined && situation.covered_key == Some(key) {
        return Err(Plan::Nothing(NoBot::Covered));
    }
    match event.bots.iter().find(|bot| bot.is_future(situation.now)) {
        Some(bot) if bot.start_time == event.start_time && bot.meeting_url.as_deref() == Some(meeting_url) => {
            if situation.is_left_to_newer {
                Err(Plan::Keep(Kept::LeftToNewer))
            } else {
                Ok(Needed::Rekeyed)
            }
        }
        Some(_) => Ok(Needed::Moved),
        None if situation.is_left_to_newer => Err(Plan::Nothing(NoBot::LeftToNewer)),
        None => Ok(Needed::New),
    }
}

/// Whether a past bot of the event joined this very link so lately that its meeting need not be over.
fn may_be_in_meeting(bot: &ObservedBot, situation: &Situation, meeting_url: &str) -> bool {
    let duration = situation.event.ends_at() - situation.event.start_time;
    // What is listed as a bot's start is its meeting's, which its key has as well, or when it joins. It may be any time: nothing is
    // added to it. But one that was to join at the event's very time has, though it may be listed with a time that the event had in
    // between.
    let start = start_in(&bot.deduplication_key);
    let is_there = match start.filter(|start| [bot.start_time, situation.event.start_time].contains(start)) {
        Some(start) => {
            let scheduled = situation.scheduled.filter(|scheduled| scheduled.key == bot.deduplication_key);
            let at = scheduled.and_then(|scheduled| scheduled.at);
            has_joined(start, at, situation.policy.join_early, situation.now)
        }
        None => bot.start_time <= situation.now,
    };
    let need_not_be_over = bot.start_time > situation.now - situation.policy.join_early - duration;
    is_there && need_not_be_over && bot.meeting_url.as_deref() == Some(meeting_url)
}

impl Plan {
    /// Its name in tables, logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Nothing(_) => "nothing",
            Self::Keep(_) => "keep",
            Self::Schedule { .. } => "schedule",
            Self::Unschedule(_) => "unschedule",
        }
    }

    /// The reason as a sentence.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Nothing(reason) | Self::Unschedule(reason) => reason.as_str(),
            Self::Keep(reason) => reason.as_str(),
            Self::Schedule { reason, .. } => reason.as_str(),
        }
    }

    /// Whether carrying out this plan is the same call as carrying out `other`.
    pub fn is_same_call(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Schedule { key, .. }, Self::Schedule { key: other, .. }) => key == other,
            (Self::Unschedule(_), Self::Unschedule(_)) => true,
            (Self::Nothing(_) | Self::Keep(_) | Self::Schedule { .. } | Self::Unschedule(_), _) => false,
        }
    }

    /// Whether the decision was left to a replica with a newer configuration, and so is not ours to record.
    pub fn is_left_to_newer(&self) -> bool {
        matches!(self, Self::Nothing(NoBot::LeftToNewer) | Self::Keep(Kept::LeftToNewer))
    }
}

impl NoBot {
    fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "the event is deleted",
            Self::CalendarNotConnected => "the calendar is not connected",
            Self::Cancelled => "the meeting is cancelled",
            Self::Ended => "the meeting has ended",
            Self::NoMeetingUrl => "the event has no meeting link",
            Self::RuleSaysNo => "the rule does not want it",
            Self::RuleFails => "the rule cannot be evaluated for this event",
            Self::Skipped => "somebody said that it is not to be recorded",
            Self::Paused => "bots are paused",
            Self::SentAway => "the bot of this meeting left after it began; somebody may have sent it away",
            Self::Covered => "another event's bot was scheduled for this meeting, which has begun",
            Self::InMeeting => "another bot is in the meeting, or joining",
            Self::LeftToNewer => "a newer configuration has decided",
        }
    }
}

impl Kept {
    fn as_str(self) -> &'static str {
        match self {
            Self::AsWanted => "the right bot is scheduled",
            Self::InMeeting => "the bot is in the meeting, or joining",
            Self::TooLateToChange => "the bot's configuration differs, but the meeting is about to begin",
            Self::LeftToNewer => "a newer configuration has decided",
            Self::HeldBack => "the rule does not want it any more, but would remove more bots than POLICY_MAX_CHANGES",
        }
    }
}

impl Needed {
    fn as_str(self) -> &'static str {
        match self {
            Self::New => "the meeting has no bot yet",
            Self::Moved => "the meeting's time or link has changed",
            Self::Rekeyed => "the meeting is the same, but not its deduplication key",
            Self::Missing => "the bot that was scheduled is gone",
            Self::ConfigChanged => "the bot's configuration has changed",
            Self::ConfigUnknown => "the bot was not scheduled by this rollcall, or the answer was lost",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.as_str(), self.reason())
    }
}
