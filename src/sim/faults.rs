//! What can go wrong with one API call, and the queue of what shall.
//!
//! Every failure comes in two kinds, before the call acts and after: a client that cannot tell them apart must be safe to
//! repeat. One-shot faults are taken first, for the endpoint itself and then for [`Endpoint::Any`]; then the probabilities
//! of [`CallRates`](super::CallRates) are drawn.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::config::CallRates;

/// The API's operations, named as in its documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// POST `/api/v2/calendars/`
    CreateCalendar,
    /// GET `/api/v2/calendars/`
    ListCalendars,
    /// GET `/api/v2/calendars/{id}/`
    RetrieveCalendar,
    /// PATCH `/api/v2/calendars/{id}/`
    UpdateCalendar,
    /// DELETE `/api/v2/calendars/{id}/`
    DeleteCalendar,
    /// POST `/api/v2/calendars/{id}/access-token/`
    AccessToken,
    /// GET `/api/v2/calendar-events/`
    ListEvents,
    /// GET `/api/v2/calendar-events/{id}/`
    RetrieveEvent,
    /// POST `/api/v2/calendar-events/{id}/bot/`
    ScheduleBot,
    /// DELETE `/api/v2/calendar-events/{id}/bot/`
    DeleteBot,
    /// GET `/api/v1/bot/{id}/`
    RetrieveBot,
    /// POST `/api/v1/bot/{id}/leave_call/`
    LeaveCall,
    /// In faults: whichever is called next. In the log: a path that the API does not have.
    Any,
}

/// What befalls one API call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Refused before acting; 502 comes as HTML, the others with the documented body.
    Status(u16),
    /// Refused before acting, with `Retry-After`; for 429, 503 and 507.
    RetryAfter {
        /// The status.
        status: u16,
        /// The header's seconds.
        secs: u64,
    },
    /// Answered, before acting, with this status and body whatever they are.
    Body {
        /// The status.
        status: u16,
        /// The body, sent as JSON whether it is or not.
        body: String,
    },
    /// The connection is closed before acting.
    Drop,
    /// Acts; the connection is then closed unanswered.
    LoseAnswer,
    /// Acts; half of the answer is sent and the connection closed.
    Truncate,
    /// Acts; the answer's body comes at one byte a second.
    Trickle,
    /// Acts; the answer is JSON of another shape.
    WrongShape,
    /// Waits before acting until [`release`](super::Recall::release), then goes on as if nothing had been.
    Hang,
    /// Acts; the answer waits until [`release`](super::Recall::release).
    HangAnswer,
    /// Waits this many milliseconds of real time before acting.
    Latency(u64),
    /// List: `next` leads to this very page again: its rows repeat.
    RepeatPage,
    /// List: the page's last row slipped over its edge: the walk misses it.
    ShiftPage,
    /// Acts; calendars and events are answered as they were before their last change, older `updated_at` and all.
    Stale,
    /// List: `next` points to this origin instead (`https://elsewhere.test`).
    NextElsewhere(String),
}

/// One-shot faults, in the order they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    queued: BTreeMap<Endpoint, VecDeque<Fault>>,
}

impl Faults {
    pub(crate) fn queue(&mut self, endpoint: Endpoint, fault: Fault, times: usize) {
        let queue = self.queued.entry(endpoint).or_default();
        queue.extend(std::iter::repeat_n(fault, times));
    }

    pub(crate) fn clear(&mut self) {
        self.queued.clear();
    }

    /// The fault for a call to `endpoint`, if it shall have one.
    pub(crate) fn take(&mut self, endpoint: Endpoint, rates: &CallRates, rng: &mut fastrand::Rng) -> Option<Fault> {
        self.pop(endpoint).or_else(|| self.pop(Endpoint::Any)).or_else(|| draw(endpoint, rates, rng))
    }

    fn pop(&mut self, endpoint: Endpoint) -> Option<Fault> {
        self.queued.get_mut(&endpoint)?.pop_front()
    }
}

fn draw(endpoint: Endpoint, rates: &CallRates, rng: &mut fastrand::Rng) -> Option<Fault> {
    let is_bot_call = matches!(endpoint, Endpoint::ScheduleBot | Endpoint::DeleteBot);
    if rng.f64() < rates.refuse {
        let status = *rng.choice(&[500, 502, 503]).unwrap_or(&500);
        return Some(Fault::Status(status));
    }
    if rng.f64() < rates.throttle {
        return Some(Fault::RetryAfter { status: 429, secs: 1 });
    }
    if is_bot_call && rng.f64() < rates.conflict {
        return Some(Fault::Status(409));
    }
    if rng.f64() < rates.lose_answer {
        return Some(Fault::LoseAnswer);
    }
    (rng.f64() < rates.truncate).then_some(Fault::Truncate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shot_faults_are_taken_in_order_and_only_by_their_endpoint() {
        let mut faults = Faults::default();
        let mut rng = fastrand::Rng::with_seed(1);
        let rates = CallRates::default();
        faults.queue(Endpoint::ScheduleBot, Fault::Status(500), 2);
        faults.queue(Endpoint::Any, Fault::Drop, 1);

        assert_eq!(faults.take(Endpoint::ListEvents, &rates, &mut rng), Some(Fault::Drop));
        for _ in 0..2 {
            assert_eq!(faults.take(Endpoint::ScheduleBot, &rates, &mut rng), Some(Fault::Status(500)));
        }
        assert_eq!(faults.take(Endpoint::ScheduleBot, &rates, &mut rng), None);
    }

    #[test]
    fn only_bot_calls_conflict() {
        let rates = CallRates { conflict: 1.0, ..CallRates::default() };
        let mut rng = fastrand::Rng::with_seed(1);
        assert_eq!(draw(Endpoint::ScheduleBot, &rates, &mut rng), Some(Fault::Status(409)));
        assert_eq!(draw(Endpoint::RetrieveEvent, &rates, &mut rng), None);
    }
}
