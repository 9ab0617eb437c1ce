//! An event's turn: plan its bot, carry the plan out, plan again until nothing is left to do.
//!
//! Planning again matters: the answer to a call is the event as it is now, which may have moved since it was mirrored, and the
//! list that tells of the move would then find nothing new.
//!
//! Twins: before the start Schedule Bot with the same key updates the same bot, so a lost answer does no harm. After the start
//! it would send a second bot. So for a meeting that has begun the event is read afresh first.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Error, Outcome, Reconciler};
use crate::{
    domain::{
        budget::CallClass,
        calendar::Calendar,
        event::{Event, EventId},
        plan::{Plan, Scheduled, Situation, plan_bot},
    },
    recall::Failure,
    store::{calendars, decisions, decisions::Decision, events, queue::Claimed},
    telemetry,
};

/// Steps of one turn. Two are usual: a call, and finding that nothing is left.
const MAX_STEPS: u32 = 4;
/// How near to the start a bot may already be on its way, so that what is mirrored of it is not trusted.
const NEARLY_STARTED: TimeDelta = TimeDelta::minutes(1);

/// What is known of an event in the course of a turn.
struct Known {
    event: Event,
    calendar: Option<Calendar>,
    decision: Option<Decision>,
    scheduled: Option<Scheduled>,
    /// The event was read in this turn.
    is_fresh: bool,
}

impl Known {
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
        let Some(event) = events::load(&self.db, id).await? else { return Ok(settled) };
        let calendar = calendars::load(&self.db, event.calendar_id).await?;
        let decision = decisions::load(&self.db, id).await?;
        let scheduled = decision.as_ref().and_then(|decision| decision.scheduled.clone());
        let mut known = Known { event, calendar, decision, scheduled, is_fresh: false };
        let mut carried_out: Option<Plan> = None;
        for _ in 0..MAX_STEPS {
            let now = self.clock.now();
            let plan = self.plan(&known, now);
            if carried_out.as_ref() == Some(&plan) {
                return Err(Error::NotConverged);
            }
            match &plan {
                Plan::Nothing(_) | Plan::Keep(_) => {
                    if carried_out.is_none() {
                        self.record(&known, &plan, now).await?;
                    }
                    return Ok(settled);
                }
                Plan::Schedule { .. } if known.event.start_time <= now + NEARLY_STARTED && !known.is_fresh => {
                    self.read_afresh(&mut known).await?;
                }
                Plan::Schedule { key, .. } => {
                    if self.schedule(&mut known, &plan, key).await? {
                        carried_out = Some(plan);
                    }
                }
                Plan::Unschedule(_) => {
                    if self.unschedule(&mut known, &plan).await? {
                        carried_out = Some(plan);
                    }
                }
            }
        }
        Err(Error::NotConverged)
    }

    fn plan(&self, known: &Known, now: DateTime<Utc>) -> Plan {
        let decided_by_newer = known.decision.as_ref().is_some_and(|decision| {
            decision.configuration > self.configuration && decision.event_updated_at == known.event.updated_at
        });
        plan_bot(&Situation {
            event: &known.event,
            calendar: known.calendar.as_ref(),
            scheduled: known.scheduled.as_ref(),
            decided_by_newer,
            policy: &self.policy,
            now,
        })
    }

    async fn read_afresh(&self, known: &mut Known) -> Result<(), Error> {
        let sent_at = self.clock.now();
        match self.call(CallClass::Read, self.api.retrieve_calendar_event(known.event.id)).await {
            Ok(event) => {
                let event = known.newest(event);
                events::mirror(&self.db, std::slice::from_ref(&event), sent_at).await?;
                known.event = event;
            }
            Err(error) => self.mirror_refusal(known, error).await?,
        }
        known.is_fresh = true;
        Ok(())
    }

    /// Schedule Bot. Returns whether the API did it.
    async fn schedule(&self, known: &mut Known, plan: &Plan, key: &str) -> Result<bool, Error> {
        let config = self.policy.bot_config_for(&known.event);
        let call = self.api.schedule_bot(known.event.id, key, &config);
        let answer = match self.call(CallClass::ScheduleBot, call).await {
            Ok(answer) => answer,
            Err(error) => return self.mirror_refusal(known, error).await.map(|()| false),
        };
        let scheduled = Scheduled { key: key.to_owned(), config: self.policy.bot_fingerprint() };
        self.mirror_answer(known, plan, answer, Some(scheduled)).await?;
        Ok(true)
    }

    /// Delete Bot. Returns whether the API did it.
    async fn unschedule(&self, known: &mut Known, plan: &Plan) -> Result<bool, Error> {
        let answer = match self.call(CallClass::DeleteBot, self.api.delete_bot(known.event.id)).await {
            Ok(answer) => answer,
            Err(error) => return self.mirror_refusal(known, error).await.map(|()| false),
        };
        self.mirror_answer(known, plan, answer, None).await?;
        Ok(true)
    }

    /// One transaction: the event as the call left it, and what was decided and asked for.
    async fn mirror_answer(
        &self,
        known: &mut Known,
        plan: &Plan,
        answer: Event,
        scheduled: Option<Scheduled>,
    ) -> Result<(), Error> {
        let received_at = self.clock.now();
        let answer = known.newest(answer);
        let mut tx = self.db.begin().await?;
        events::mirror(&mut *tx, std::slice::from_ref(&answer), received_at).await?;
        let (id, version) = (answer.id, answer.updated_at);
        decisions::record(&mut *tx, id, plan, self.configuration, version, scheduled.as_ref(), received_at).await?;
        tx.commit().await?;
        metrics::counter!(telemetry::DECISIONS, "plan" => plan.as_str()).increment(1);
        tracing::info!(
            plan = plan.as_str(),
            reason = plan.reason(),
            start = %answer.start_time,
            "{}",
            if scheduled.is_some() { "bot scheduled" } else { "bot unscheduled" },
        );
        *known = Known { event: answer, calendar: known.calendar.take(), decision: None, scheduled, is_fresh: true };
        Ok(())
    }

    /// A refusal that says how things are is mirrored, and the next step plans with it. Others end the turn.
    async fn mirror_refusal(&self, known: &mut Known, error: Error) -> Result<(), Error> {
        let now = self.clock.now();
        let Error::Api(refusal) = &error else { return Err(error) };
        match refusal.failure() {
            Failure::NotFound => {
                events::mirror_gone(&self.db, known.event.id, now).await?;
                known.event.is_deleted = true;
                Ok(())
            }
            // Our clocks differ, or the end has moved: either way there is nothing left to schedule.
            Failure::Ended => {
                known.event.end_time = now.min(known.event.end_time);
                known.event.start_time = now.min(known.event.start_time);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Records a decision that led to no call, if it differs from the last.
    async fn record(&self, known: &Known, plan: &Plan, now: DateTime<Utc>) -> Result<(), Error> {
        let is_known = known.decision.as_ref().is_some_and(|last| {
            (last.plan.as_str(), last.reason.as_str()) == (plan.as_str(), plan.reason())
                && (last.configuration, last.event_updated_at) == (self.configuration, known.event.updated_at)
        });
        if is_known || plan.is_left_to_newer() {
            return Ok(());
        }
        let (id, version) = (known.event.id, known.event.updated_at);
        decisions::record(&self.db, id, plan, self.configuration, version, known.scheduled.as_ref(), now).await?;
        metrics::counter!(telemetry::DECISIONS, "plan" => plan.as_str()).increment(1);
        tracing::info!(plan = plan.as_str(), reason = plan.reason(), start = %known.event.start_time, "decided");
        Ok(())
    }
}
