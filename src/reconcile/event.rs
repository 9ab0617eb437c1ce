//! An event's turn: plan its bot, carry the plan out, plan again until nothing is left to do.
//!
//! Planning again matters: the answer to a call is the event as it is now, which may have moved since it was mirrored, and the
//! list that tells of the move would then find nothing new.
//!
//! After the start of a meeting each call sends one more bot. So the turn holds the deduplication key while it calls (see
//! `bot_key`), and for a meeting that has begun, or nearly so, reads the event afresh.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::{PgConnection, Postgres, pool::PoolConnection};

use super::{Error, LONGEST_MEETING, NEARLY_STARTED, Outcome, Reconciler, bot_key::HeldKey, joined_until};
use crate::{
    domain::{
        Fingerprint,
        budget::CallClass,
        calendar::Calendar,
        dedup::start_in,
        event::{Event, EventId, ObservedBot},
        plan::{Kept, Needed, NoBot, Plan, Scheduled, Situation, has_joined, plan_bot},
        policy::Wish,
        settings::Settings,
    },
    recall::Failure,
    store::{
        self, calendars, decisions,
        decisions::{Decision, NewDecision},
        events, known, pages,
        queue::{self, Claimed},
        requests, settings,
    },
    telemetry,
};

/// Steps of one turn. Three are usual: to take the key, to call, and to find that nothing is left.
const MAX_STEPS: u32 = 8;

/// How far the API's clock may be ahead of ours.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(5);

/// What is known of an event in the course of a turn.
struct Known {
    event: Event,
    /// The API does not know it any more, so its version says nothing of when it went.
    is_gone: bool,
    calendar: Option<Calendar>,
    /// What people said that concerns the event.
    settings: Settings,
    decision: Option<Decision>,
    scheduled: Option<Scheduled>,
    /// Nobody knows what became of the last Delete Bot.
    is_deletion_open: bool,
    /// The version that the last Delete Bot answered, if nothing was scheduled since.
    unscheduled: Option<DateTime<Utc>>,
    /// The event was read in this turn.
    is_fresh: bool,
    /// The deduplication key that this turn holds.
    held: Option<HeldKey>,
    /// The connection that it was loaded over, for the statement that may follow at once.
    db: Option<PoolConnection<Postgres>>,
}

impl Known {
    fn holds_for_a_call(&self, key: &str, now: DateTime<Utc>) -> bool {
        self.held.as_ref().is_some_and(|held| held.key == key && held.lasts_for_a_call(now))
    }

    /// The deduplication key, if another event's bot may be in the meeting with it.
    fn covered_key(&self) -> Option<&str> {
        self.held.as_ref().filter(|held| held.is_covered).map(|held| held.key.as_str())
    }

    /// What is scheduled, unless the event was read and a call to delete it turns out to have done so.
    fn still_scheduled(&self) -> Option<&Scheduled> {
        self.scheduled.as_ref().filter(|scheduled| {
            let is_deleted = self.is_deletion_open && self.is_fresh && !self.event.has_bot(&scheduled.key);
            !is_deleted
        })
    }

    /// Bots that were to join until then have; the others went with the event, if it is deleted.
    fn had_bots_until(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        if self.event.is_deleted && !self.is_gone { joined_until(self.event.updated_at, now) } else { now }
    }

    /// The event as an answer shows it. Where that is an older version than is known, only its bots are news: planned with
    /// the rest of it, a bot would follow a link or a time that the event has no longer, into a call that has begun.
    fn newest(&self, answer: Event) -> Event {
        if answer.updated_at >= self.event.updated_at {
            return answer;
        }
        Event { bots: answer.bots, fingerprint: None, ..self.event.clone() }
    }
}

impl Reconciler {
    pub(super) async fn reconcile_event(&self, id: EventId, claimed: &Claimed) -> Result<Outcome, Error> {
        let settled = Outcome::Settled { generation: claimed.generation };
        let mut db = self.db.acquire().await?;
        let Some(known) = known::load(&mut *db, id).await? else { return Ok(settled) };
        let known::Known { event, is_gone, calendar, settings, decision, newest } = known;
        let mut db = Some(db);
        if self.configuration.heed(newest) {
            db = None;
            queue::release_events(&self.db).await?;
        }
        let scheduled = decision.as_ref().and_then(|decision| decision.scheduled.clone());
        let unscheduled = decision.as_ref().and_then(|decision| decision.unscheduled_version);
        let is_deletion_open = decision.as_ref().is_some_and(|decision| decision.is_deletion_open);
        let mut known = Known {
            event,
            is_gone,
            calendar,
            settings,
            decision,
            scheduled,
            is_deletion_open,
            unscheduled,
            is_fresh: false,
            held: None,
            db,
        };
        let converged = self.converge(&mut known, claimed).await;
        if let Some(held) = known.held {
            self.release_key(held).await?;
        }
        let plan = converged?;
        // Before the start the bot that it relies on may still go, or turn out not to have joined.
        let relies_on_another = plan == Plan::Nothing(NoBot::Covered) && known.event.start_time > self.clock.now();
        Ok(match self.configuration.is_newest() {
            true if relies_on_another => Outcome::ComesBack(known.event.start_time),
            true => settled,
            false => Outcome::LeftToNewest,
        })
    }

    /// Returns the plan that leaves nothing to do.
    async fn converge(&self, known: &mut Known, claimed: &Claimed) -> Result<Plan, Error> {
        let mut carried_out: Option<Plan> = None;
        for _ in 0..MAX_STEPS {
            let now = self.clock.now();
            let wish = self.wish(known)?;
            let plan = self.plan(known, wish.as_ref(), now);
            // None is held while a call is made or another is waited for: all turns that did would wait for each other.
            let db = known.db.take().filter(|_| matches!(plan, Plan::Schedule { .. }) && known.held.is_none());
            if carried_out.as_ref().is_some_and(|last| last.is_same_call(&plan)) {
                return Err(Error::NotConverged);
            }
            let is_begun = known.event.start_time - self.policy.join_early <= now + NEARLY_STARTED;
            match &plan {
                // What may have been deleted is not listed any more.
                plan if !known.is_fresh && known.is_deletion_open && relies_on_bots(plan) => {
                    self.read_afresh(known).await?;
                }
                Plan::Nothing(_) | Plan::Keep(_) => {
                    // What a confirmation is to find is recorded in any case.
                    if carried_out.is_none() || plan == Plan::Keep(Kept::HeldBack) {
                        self.record(known, &plan, wish.as_ref(), claimed, now).await?;
                    }
                    return Ok(plan);
                }
                Plan::Schedule { key, .. } if !known.holds_for_a_call(key, now) => {
                    // The event has turned out to have moved, or what was read of it is of long ago.
                    if let Some(held) = known.held.take() {
                        known.is_fresh &= held.lasts_for_a_call(now);
                        self.release_key(held).await?;
                    }
                    // Where the bot cannot be made there is no call to pay for.
                    let pays = !is_begun && wish.as_ref().is_some_and(|wish| wish.bot.is_ok());
                    let holder = claimed.token;
                    known.held = Some(self.hold_key(db, key, known.event.id, holder, is_begun, pays).await?);
                }
                Plan::Schedule { .. } if is_begun && !known.is_fresh => self.read_afresh(known).await?,
                Plan::Schedule { key, .. } => {
                    let call = Call { plan: &plan, wish: wish.as_ref(), claimed };
                    if self.schedule(known, call, key).await? {
                        carried_out = Some(plan);
                    }
                }
                Plan::Unschedule(_) => {
                    let call = Call { plan: &plan, wish: wish.as_ref(), claimed };
                    if self.unschedule(known, call).await? {
                        carried_out = Some(plan);
                    }
                }
            }
        }
        Err(Error::NotConverged)
    }

    fn wish(&self, known: &Known) -> Result<Option<Wish>, Error> {
        let wish = known.calendar.as_ref().map(|calendar| self.policy.wish(&known.event, calendar, &known.settings));
        Ok(wish.transpose()?)
    }

    fn plan(&self, known: &Known, wish: Option<&Wish>, now: DateTime<Utc>) -> Plan {
        // No bot for another reason was decided by facts, such as a lost connection, and leaves nothing to the newer one: when
        // they change, a bot does not wait for it.
        let newer = known.decision.as_ref().filter(|decision| {
            let is_by_rule = [NoBot::RuleSaysNo, NoBot::RuleFails].map(|reason| Plan::Nothing(reason).reason());
            let is_of_configuration =
                matches!(decision.plan.as_str(), "schedule" | "keep") || is_by_rule.contains(&decision.reason.as_str());
            is_of_configuration && decision.configuration > self.configuration.generation()
        });
        plan_bot(&Situation {
            event: &known.event,
            calendar: known.calendar.as_ref(),
            scheduled: known.still_scheduled(),
            covered_key: known.covered_key(),
            is_unscheduled: known.unscheduled == Some(known.event.updated_at),
            is_left_to_newer: newer.is_some(),
            is_held_back: self.configuration.is_held_back(),
            policy: &self.policy,
            wish,
            now,
        })
    }

    async fn read_afresh(&self, known: &mut Known) -> Result<(), Error> {
        let sent_at = self.clock.now();
        match self.call(CallClass::Read, self.api.retrieve_calendar_event(known.event.id)).await {
            Ok(event) => {
                // An earlier call sent no bot. If it did send one, that is known once it is recorded.
                known.held.iter_mut().filter(|held| !event.has_bot(&held.key)).for_each(HeldKey::close);
                let event = known.newest(event);
                let mut db = self.db.acquire().await?;
                pages::mirror(&mut db, std::slice::from_ref(&event), sent_at).await?;
                drop(db);
                self.learn(known, event).await?;
            }
            Err(error) => self.mirror_refusal(known, error).await?,
        }
        known.is_fresh = true;
        Ok(())
    }

    /// Schedule Bot. Returns whether the API did it.
    async fn schedule(&self, known: &mut Known, step: Call<'_>, key: &str) -> Result<bool, Error> {
        // Whoever wishes for a bot knows the calendar.
        let Some(wish) = step.wish else { return Err(Error::NotConverged) };
        let bot = wish.bot.as_ref().map_err(Clone::clone)?;
        if matches!(step.plan, Plan::Schedule { reason: Needed::Missing, .. }) {
            // If this fails until the start, it must not pass for one that was sent away.
            decisions::forget_scheduled(&self.db, known.event.id).await?;
            known.scheduled = None;
        } else if known.scheduled.as_ref().is_some_and(|scheduled| scheduled.key == key) {
            self.doubt_scheduled(known).await?;
        }
        self.spend_on_bot(known.held.as_mut()).await?;
        let sent_at = self.clock.now();
        let config = self.policy.bot_config_for(bot, &known.event, sent_at);
        let call = self.api.schedule_bot(known.event.id, key, &config);
        known.held.iter_mut().for_each(HeldKey::open);
        let is_done = match self.call_paid(call).await {
            Ok(answer) => {
                let scheduled = Scheduled { key: key.to_owned(), config: bot.fingerprint, at: Some(sent_at) };
                self.mirror_answer(known, step, answer, Some(scheduled)).await?;
                true
            }
            Err(error) => {
                match &error {
                    Error::Api(refusal) if refusal.failure() == Failure::Transient => {}
                    // Nobody else has the key: it is a call of ours whose answer was lost.
                    Error::Api(refusal) if refusal.failure() == Failure::Conflict => {
                        if let Some(held) = known.held.as_mut() {
                            self.reopen_calls(held).await?;
                        }
                    }
                    _ => known.held.iter_mut().for_each(HeldKey::close),
                }
                self.heed_refusal(known, error).await?;
                false
            }
        };
        known.held.iter_mut().for_each(HeldKey::close);
        Ok(is_done)
    }

    /// What is mirrored may be the reason of a refusal: the event may have moved to a calendar that Recall is cut off from, and
    /// that is listed no more. Or the refusal is a mistake: an event that counts as gone by one, and begins, leaves a bot that no
    /// copy of the meeting knows of. So the event is read first, and where it seems to be gone, even if it was read just before.
    /// If it has changed, or is gone indeed, it is planned with what it is now; or else the refusal stands.
    async fn heed_refusal(&self, known: &mut Known, refusal: Error) -> Result<(), Error> {
        let is_to_be_read = match &refusal {
            Error::Api(error) => match error.failure() {
                Failure::NotFound => true,
                Failure::Permanent => !known.is_fresh,
                _ => false,
            },
            _ => false,
        };
        if !is_to_be_read {
            return self.mirror_refusal(known, refusal).await;
        }
        let version = |event: &Event| (event.updated_at, event.calendar_id);
        let before = version(&known.event);
        self.read_afresh(known).await?;
        if version(&known.event) == before && !known.event.is_deleted { Err(refusal) } else { Ok(()) }
    }

    /// From now until the call is answered nobody knows how the bot is made, or whether it is there at all: if the answer is lost,
    /// and what led to the call is taken back, the bot must not pass for what it was before.
    async fn doubt_scheduled(&self, known: &mut Known) -> Result<(), Error> {
        match known.scheduled.as_mut() {
            Some(scheduled) if scheduled.config != Fingerprint::UNKNOWN => scheduled.config = Fingerprint::UNKNOWN,
            Some(_) | None => return Ok(()),
        }
        Ok(decisions::doubt_config(&self.db, known.event.id).await?)
    }

    /// Delete Bot. Returns whether the API did it.
    async fn unschedule(&self, known: &mut Known, step: Call<'_>) -> Result<bool, Error> {
        if !known.is_deletion_open {
            decisions::open_deletion(&self.db, known.event.id).await?;
            known.is_deletion_open = true;
        }
        let answer = match self.call(CallClass::DeleteBot, self.api.delete_bot(known.event.id)).await {
            Ok(answer) => answer,
            Err(error) => return self.heed_refusal(known, error).await.map(|()| false),
        };
        self.mirror_answer(known, step, answer, None).await?;
        Ok(true)
    }

    /// One transaction: the event as the call left it, and what was decided and asked for.
    async fn mirror_answer(
        &self,
        known: &mut Known,
        step: Call<'_>,
        answer: Event,
        scheduled: Option<Scheduled>,
    ) -> Result<(), Error> {
        let received_at = self.clock.now();
        let answer = known.newest(answer);
        let mut tx = store::begin(&self.db).await?;
        pages::mirror(&mut tx, std::slice::from_ref(&answer), received_at).await?;
        let plan = step.plan;
        let said =
            scheduled.as_ref().map_or_else(|| "bot deleted".to_owned(), |scheduled| accepted(&answer, scheduled));
        let decision = NewDecision {
            event: answer.id,
            plan,
            decided_by: decided_by(step.wish),
            parts: &parts(step.wish, known),
            configuration: self.configuration.generation(),
            event_updated_at: answer.updated_at,
            scheduled: scheduled.as_ref(),
            covered_key: known.covered_key().filter(|_| *plan == Plan::Unschedule(NoBot::Covered)),
            unscheduled_version: scheduled.is_none().then_some(answer.updated_at),
            cause: &step.claimed.cause,
            answer: Some(&said),
        };
        let before = known.still_scheduled().map(|scheduled| scheduled.key.as_str());
        // What is listed with another key than was asked for, though only one can be scheduled, has joined: early, perhaps. It may be
        // listed with any start: that of its event.
        let joined_by = received_at + self.policy.join_early;
        let left_behind = left_behind(before, answer.bots.iter(), scheduled.as_ref(), received_at, joined_by);
        decisions::leave_behind(&mut *tx, &left_behind, received_at).await?;
        self.hand_over(&mut tx, known, scheduled.as_ref(), received_at).await?;
        decisions::record(&mut *tx, &decision, received_at).await?;
        tx.commit().await?;
        metrics::counter!(telemetry::DECISIONS, "plan" => plan.as_str()).increment(1);
        tracing::info!(
            plan = plan.as_str(),
            reason = plan.reason(),
            start = %answer.start_time,
            "{}",
            if scheduled.is_some() { "bot scheduled" } else { "bot unscheduled" },
        );
        known.decision = None;
        known.unscheduled = scheduled.is_none().then_some(answer.updated_at);
        known.scheduled = scheduled;
        known.is_deletion_open = false;
        known.is_fresh = true;
        self.learn(known, answer).await
    }

    /// If the event lets go of a bot, another may share it.
    async fn hand_over(
        &self,
        tx: &mut PgConnection,
        known: &Known,
        scheduled: Option<&Scheduled>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let key = |scheduled: &Scheduled| scheduled.key.clone();
        match known.scheduled.as_ref().map(key) {
            Some(before) if scheduled.map(key).as_ref() != Some(&before) => {
                Ok(requests::hand_over(tx, &[(&before, known.event.id)], now).await?)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Goes on with the event as an answer shows it, which may be on another calendar by now.
    async fn learn(&self, known: &mut Known, event: Event) -> Result<(), Error> {
        if event.calendar_id != known.event.calendar_id {
            known.calendar = calendars::load(&self.db, event.calendar_id).await?;
            known.settings = settings::load(&self.db, &event).await?;
        }
        (known.event, known.is_gone) = (event, false);
        Ok(())
    }

    /// A refusal that says how things are is mirrored, and the next step plans with it. Others end the turn.
    async fn mirror_refusal(&self, known: &mut Known, error: Error) -> Result<(), Error> {
        let now = self.clock.now();
        let Error::Api(refusal) = &error else { return Err(error) };
        match refusal.failure() {
            Failure::NotFound => {
                events::mirror_gone(&self.db, known.event.id, now).await?;
                (known.event.is_deleted, known.is_gone) = (true, true);
                Ok(())
            }
            // There is nothing left to schedule. If by our clock there is, the answer is not believed but asked for again.
            Failure::Ended if known.event.ends_at() <= now + CLOCKS_DIFFER => {
                known.event.end_time = now.min(known.event.end_time);
                known.event.start_time = now.min(known.event.start_time);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Records a decision that led to no call, if it differs from the last.
    async fn record(
        &self,
        known: &Known,
        plan: &Plan,
        wish: Option<&Wish>,
        claimed: &Claimed,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if plan.is_left_to_newer() {
            return Ok(());
        }
        let scheduled = scheduled_after(known, plan, self.policy.join_early, now);
        let configuration = self.configuration.generation();
        let is_known = known.decision.as_ref().is_some_and(|last| {
            (last.plan.as_str(), last.reason.as_str()) == (plan.as_str(), plan.reason())
                && (last.configuration, last.event_updated_at) == (configuration, known.event.updated_at)
                && last.scheduled == scheduled
                && last.decided_by == decided_by(wish)
                && !last.is_deletion_open
        });
        if is_known {
            return Ok(());
        }
        let decision = NewDecision {
            event: known.event.id,
            plan,
            decided_by: decided_by(wish),
            parts: &parts(wish, known),
            configuration,
            event_updated_at: known.event.updated_at,
            scheduled: scheduled.as_ref(),
            covered_key: known.covered_key().filter(|_| *plan == Plan::Nothing(NoBot::Covered)),
            unscheduled_version: known.unscheduled,
            cause: &claimed.cause,
            answer: None,
        };
        let mut tx = store::begin(&self.db).await?;
        let before = known.still_scheduled().map(|scheduled| scheduled.key.as_str());
        let by = known.had_bots_until(now);
        // One that is not listed where another is that has joined was replaced in time, by a call whose answer was lost.
        let is_listed = |key: &&str| known.event.has_bot(key) || known.event.bots.iter().all(|bot| bot.is_future(now));
        // Recall has removed from an event that is deleted what was still to join.
        let all_have_joined = known.event.is_deleted && !known.is_gone;
        let joined_by = if all_have_joined { by + self.policy.join_early } else { by };
        let joined = known.event.bots.iter().filter(|bot| all_have_joined || !bot.is_future(by));
        let left_behind = left_behind(before.filter(is_listed), joined, scheduled.as_ref(), by, joined_by);
        decisions::leave_behind(&mut *tx, &left_behind, now).await?;
        self.hand_over(&mut tx, known, scheduled.as_ref(), now).await?;
        decisions::record(&mut *tx, &decision, now).await?;
        tx.commit().await?;
        metrics::counter!(telemetry::DECISIONS, "plan" => plan.as_str()).increment(1);
        tracing::info!(plan = plan.as_str(), reason = plan.reason(), start = %known.event.start_time, "decided");
        Ok(())
    }
}

/// A call that a turn makes, and why.
#[derive(Clone, Copy)]
struct Call<'a> {
    plan: &'a Plan,
    wish: Option<&'a Wish>,
    claimed: &'a Claimed,
}

fn decided_by(wish: Option<&Wish>) -> &str {
    wish.map_or("", |wish| wish.by.as_str())
}

/// Of the rule that was asked, each part and whether it was true; `null` if it could not be evaluated.
fn parts(wish: Option<&Wish>, known: &Known) -> serde_json::Value {
    let parts = wish.zip(known.calendar.as_ref()).map(|(wish, calendar)| wish.parts(&known.event, calendar));
    parts.into_iter().flatten().map(|part| json!({ "part": part.text, "is_true": part.is_true })).collect()
}

/// What the answer to Schedule Bot says.
fn accepted(answer: &Event, scheduled: &Scheduled) -> String {
    match answer.bots.iter().find(|bot| bot.deduplication_key == scheduled.key) {
        Some(bot) => format!("bot {} scheduled", bot.bot_id),
        None => "accepted, and no bot with the key is listed".to_owned(),
    }
}

/// The keys of bots that have joined by now, were scheduled for the event `before` or are `listed` with it, and are not what it
/// asks for. Those that are listed have joined if they were to until `joined_by`.
fn left_behind<'a>(
    before: Option<&'a str>,
    listed: impl Iterator<Item = &'a ObservedBot>,
    scheduled: Option<&Scheduled>,
    now: DateTime<Utc>,
    joined_by: DateTime<Utc>,
) -> Vec<&'a str> {
    let has_joined = |key: &str, by| start_in(key).is_some_and(|start| start <= by && now - start < LONGEST_MEETING);
    let before = before.filter(|key| has_joined(key, now));
    let listed = listed.map(|bot| bot.deduplication_key.as_str()).filter(|key| has_joined(key, joined_by));
    let is_asked_for = |key: &&str| scheduled.is_some_and(|scheduled| scheduled.key == *key);
    before.into_iter().chain(listed).filter(|key| !is_asked_for(key)).collect()
}

/// Whether a plan without a call would be another one if the bots were not as mirrored.
fn relies_on_bots(plan: &Plan) -> bool {
    match plan {
        Plan::Nothing(NoBot::Deleted | NoBot::CalendarNotConnected | NoBot::Ended | NoBot::LeftToNewer)
        | Plan::Schedule { .. }
        | Plan::Unschedule(_) => false,
        Plan::Nothing(_) | Plan::Keep(_) => true,
    }
}

/// What counts as scheduled once a plan without a call is recorded.
fn scheduled_after(known: &Known, plan: &Plan, join_early: TimeDelta, now: DateTime<Utc>) -> Option<Scheduled> {
    match plan {
        // Recall removes a bot that has yet to join. If the event comes back, so does the bot, even after the start.
        Plan::Nothing(NoBot::Deleted) => {
            let by = known.had_bots_until(now);
            // Of the meeting that the bot was for: the event may have moved before it went.
            let start = |key: &str| start_in(key).unwrap_or(known.event.start_time);
            let is_there = |scheduled: &&Scheduled| has_joined(start(&scheduled.key), scheduled.at, join_early, by);
            known.still_scheduled().filter(is_there).cloned()
        }
        // A bot whose answer was lost is in the meeting: other events' copies of it have to know.
        Plan::Keep(Kept::InMeeting) => {
            let joined = known.event.bots.iter().filter(|bot| !bot.is_future(now)).max_by_key(|bot| bot.start_time);
            let Some(bot) = joined else {
                return known.still_scheduled().filter(|scheduled| known.event.has_bot(&scheduled.key)).cloned();
            };
            let config = known.scheduled.as_ref().map_or(Fingerprint::UNKNOWN, |scheduled| scheduled.config);
            let same = known.scheduled.as_ref().filter(|scheduled| scheduled.key == bot.deduplication_key);
            let at = same.and_then(|scheduled| scheduled.at);
            Some(Scheduled { key: bot.deduplication_key.clone(), config, at })
        }
        _ => known.still_scheduled().cloned(),
    }
}
