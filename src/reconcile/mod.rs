//! The imperative shell: one function for each kind of key, and what becomes of a turn that fails.
//!
//! A turn reads the truth, mirrors it, asks `domain::plan` what to do, and does it with calls that are safe to repeat. It may
//! die after any line and be run again: what it did is mirrored in the transaction that follows each call, and what it had
//! left to do is found again by reading. No transaction waits for a call.

mod bot_key;
mod calendar;
mod catch_up;
pub mod configuration;
mod event;
pub mod health;
mod page;
pub mod preview;
pub mod retention;
mod sweep;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use crate::{
    clock::Clock,
    domain::{
        backoff::backoff,
        budget::CallClass,
        policy::{self, Policy},
    },
    recall::{self, Client, Failure},
    store::{
        self, budget,
        budget::{Grant, Taken},
        queue::{Claimed, Key, Wake},
    },
};
use configuration::Standing;
use health::ApiHealth;
use retention::Retention;

/// Failed turns after which a key whose turns panic, or whose values the database refuses, is parked.
const MAX_ATTEMPTS: i32 = 5;
/// How long after a 409 the other call will have ended.
const CONFLICT_PAUSE: Duration = Duration::from_secs(1);
/// How long another turn's call for the same key takes at most, usually.
const KEY_PAUSE: Duration = Duration::from_millis(250);
/// How long to wait for a free bot where the API does not say: what its documents recommend.
const CAPACITY_PAUSE: Duration = Duration::from_secs(30);
/// How long a key rests whose turn failed for a reason that lies neither with it nor with the API's answer to it.
const OUTAGE_PAUSE: Duration = Duration::from_secs(1);

/// How long after it was paid for a call may be made, usually. The budget counts it when it was paid for, and the API when it
/// comes: this is taken from what the budget leaves for the way and the clocks.
const PAID_FOR: TimeDelta = TimeDelta::milliseconds(250);

/// How long a turn reads a list, page by page, before it lets others have theirs: well within the time that a turn may take.
const LONGEST_READING: TimeDelta = TimeDelta::seconds(15);

/// How near to the start a bot may already be on its way, so that what is mirrored of it is not trusted.
const NEARLY_STARTED: TimeDelta = TimeDelta::minutes(1);

/// No bot is in a call for longer.
const LONGEST_MEETING: TimeDelta = TimeDelta::days(2);

/// Takes turns: everything a turn needs.
#[derive(Clone, Debug)]
pub struct Reconciler {
    /// The database.
    pub db: PgPool,
    /// The API.
    pub api: Client,
    /// Whether the API lets us in.
    pub health: ApiHealth,
    /// Which events get a bot, and how it is made.
    pub policy: Policy,
    /// The place of `policy` among all configurations that have started.
    pub configuration: Standing,
    /// How often every calendar is looked at unasked.
    pub sweep_interval: Duration,
    /// How often a calendar is read whole.
    pub full_sync_interval: Duration,
    /// How long a calendar that was listed is left alone.
    pub list_pause: Duration,
    /// Pages that a turn reads of a list of events, before it lets others have theirs.
    pub pages_per_turn: u32,
    /// With so many calendars that wait for their events the whole workspace is listed; `None`: never.
    pub catch_up_from: Option<u32>,
    /// How long things are remembered.
    pub retention: Retention,
    /// Wakes this replica's worker.
    pub wake: Wake,
    /// The time.
    pub clock: Clock,
}

/// How a turn went well.
#[derive(Debug)]
pub enum Outcome {
    /// All that was asked by the given generation is done.
    Settled {
        /// The generation that was answered: an older one than was claimed, if a run went on that began before.
        generation: i64,
    },
    /// Not all is done; another turn goes on at this time.
    GoesOn(DateTime<Utc>),
    /// All is done, and the key is looked at again at this time.
    ComesBack(DateTime<Utc>),
    /// All is done that this configuration may do; the newest has the last word.
    LeftToNewest,
}

/// Why a turn could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API's.
    #[error(transparent)]
    Api(#[from] recall::Error),
    /// The API refused to go on with a list at the place where it had told to go on.
    #[error("a list cannot be continued; it begins anew")]
    LostPlace(#[source] recall::Error),
    /// The database's.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A class of calls has no budget.
    #[error("no {class} calls are left before {until}")]
    NoBudget {
        /// The class.
        class: CallClass,
        /// When there is some again.
        until: DateTime<Utc>,
    },
    /// What is wished for the event cannot be made out.
    #[error(transparent)]
    Policy(#[from] policy::Error),
    /// Another turn is calling for the same bot.
    #[error("another turn is calling for the same deduplication key")]
    KeyHeld,
    /// The API answered with what it had said long ago.
    #[error("the API answered with an older version than it had shown before")]
    OldAnswer,
    /// The API accepts calls, and its answers do not show it.
    #[error("the bot is not as asked for, though the API accepted the calls")]
    NotConverged,
    /// A list has no end.
    #[error("a list has more than {0} pages, or names a page twice")]
    EndlessList(u32),
    /// The turn took too long, and was cut off before its lease ended.
    #[error("the turn took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    /// A bug.
    #[error("the turn panicked: {0}")]
    Panicked(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What becomes of the key of a turn that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again at this time.
    Retry(DateTime<Utc>),
    /// Try again at this time, from the beginning.
    StartOver(DateTime<Utc>),
    /// Not the key's fault: as soon as there is budget for this class.
    AwaitBudget(CallClass, DateTime<Utc>),
    /// Not the key's fault: at this time.
    PutOff(DateTime<Utc>),
    /// Needs a new request.
    Park,
    /// The key is another turn's by now.
    LeaseLost,
}

/// What becomes of a key whose turn failed with `error`, after `attempt` failed turns before it. `random` lies in `0.0..1.0`.
pub fn error_policy(error: &Error, attempt: i32, now: DateTime<Utc>, random: f64) -> Verdict {
    let after = |pause: Duration| now + TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX);
    let backed_off = || after(backoff(attempt.unsigned_abs() + 1, random));
    match error {
        Error::Api(error) => match error.failure() {
            Failure::Transient | Failure::NotFound | Failure::Ended => Verdict::Retry(backed_off()),
            Failure::Throttled { class, retry_after } => Verdict::AwaitBudget(class, after(retry_after)),
            Failure::Conflict => Verdict::Retry(after(CONFLICT_PAUSE.mul_f64(1.0 + random))),
            Failure::NoCapacity { retry_after } => Verdict::Retry(after(retry_after.unwrap_or(CAPACITY_PAUSE))),
            Failure::Permanent => Verdict::Park,
            // `ApiHealth` holds the next claims back. If it is this key's trouble alone after all, the next probe has to be
            // another key.
            Failure::Ours => Verdict::PutOff(after(health::PROBE_INTERVAL.mul_f64(1.0 + 4.0 * random))),
        },
        Error::LostPlace(_) => Verdict::StartOver(backed_off()),
        Error::Store(store::Error::Unavailable(_) | store::Error::ReadOnly) => Verdict::PutOff(after(OUTAGE_PAUSE)),
        Error::Store(store::Error::LeaseLost) => Verdict::LeaseLost,
        Error::Store(store::Error::Refused(_) | store::Error::Migration(_)) | Error::Panicked(_) => {
            if attempt + 1 < MAX_ATTEMPTS { Verdict::Retry(backed_off()) } else { Verdict::Park }
        }
        Error::KeyHeld => Verdict::PutOff(after(KEY_PAUSE.mul_f64(1.0 + random))),
        Error::NoBudget { class, until } => Verdict::AwaitBudget(*class, *until),
        Error::NotConverged | Error::OldAnswer | Error::TimedOut(_) => Verdict::Retry(backed_off()),
        Error::EndlessList(_) | Error::Policy(_) => Verdict::Park,
    }
}

impl Reconciler {
    /// Takes the turn of a claimed key.
    ///
    /// # Errors
    /// See [`Error`]; [`error_policy`] says what becomes of the key.
    pub async fn turn(&self, claimed: &Claimed) -> Result<Outcome, Error> {
        match claimed.key {
            Key::Calendar(id) => self.reconcile_calendar(id, claimed).await,
            Key::Event(id) => self.reconcile_event(id, claimed).await,
            Key::Sweep => self.sweep(claimed).await,
            Key::Workspace => self.catch_up(claimed).await,
        }
    }

    /// Makes a call, if its class has budget.
    async fn call<T>(
        &self,
        class: CallClass,
        call: impl Future<Output = Result<T, recall::Error>>,
    ) -> Result<T, Error> {
        self.spend(class).await?;
        self.call_paid(call).await
    }

    /// Makes a call that is paid for.
    async fn call_paid<T>(&self, call: impl Future<Output = Result<T, recall::Error>>) -> Result<T, Error> {
        let answer = call.await;
        self.health.record_call();
        match &answer {
            Ok(_) => self.health.record_well(),
            Err(error) if error.failure() == Failure::Ours => self.health.record_trouble(error, self.clock.now()),
            // A refusal for another reason shows that we were let in; an overloaded or broken API shows nothing.
            Err(error) => match error.failure() {
                Failure::NotFound | Failure::Conflict | Failure::Ended | Failure::Permanent => {
                    self.health.record_well();
                }
                Failure::NoCapacity { .. } | Failure::Transient | Failure::Throttled { .. } | Failure::Ours => {}
            },
        }
        if let Err(error) = &answer
            && let Failure::Throttled { class, retry_after } = error.failure()
        {
            // All replicas wait, not only this turn.
            let until = self.clock.now() + TimeDelta::from_std(retry_after).unwrap_or(TimeDelta::MAX);
            budget::pause(&self.db, class, until).await?;
        }
        Ok(answer?)
    }

    async fn spend(&self, class: CallClass) -> Result<(), Error> {
        let mut db = self.db.acquire().await?;
        self.spend_on(&mut db, class).await
    }

    /// Pays for a call, on a connection that is at hand: it counts from now on.
    async fn spend_on(&self, db: &mut PgConnection, class: CallClass) -> Result<(), Error> {
        match budget::take(db, class, self.clock.now()).await? {
            Grant::Now(taken) => self.keep_paid_on(db, class, taken).await,
            Grant::NotBefore(until) => Err(Error::NoBudget { class, until }),
        }
    }

    /// Has a call that is made now count from now on, and not from when it was paid for, where that is too long ago: the turn, or
    /// the database, was slow since.
    async fn keep_paid(&self, class: CallClass, taken: Taken) -> Result<(), Error> {
        if self.clock.now() - taken.at <= PAID_FOR {
            return Ok(());
        }
        let mut db = self.db.acquire().await?;
        self.keep_paid_on(&mut db, class, taken).await
    }

    async fn keep_paid_on(&self, db: &mut PgConnection, class: CallClass, mut taken: Taken) -> Result<(), Error> {
        // More each time: a database that is always slow must not stop all calls.
        for allowed in [PAID_FOR, PAID_FOR * 2, PAID_FOR * 4] {
            let now = self.clock.now();
            if now - taken.at <= allowed {
                return Ok(());
            }
            let anew = budget::retake(&mut *db, class, taken, now).await?;
            taken = anew.ok_or(Error::NoBudget { class, until: now })?;
        }
        Err(Error::NoBudget { class, until: self.clock.now() })
    }

    /// What a turn that begins now may read of a list of events.
    fn share(&self) -> Share {
        Share { pages: self.pages_per_turn, until: self.clock.now() + LONGEST_READING }
    }
}

/// What a turn may still read of a list, before it lets others have theirs.
#[derive(Debug)]
struct Share {
    pages: u32,
    until: DateTime<Utc>,
}

impl Share {
    /// Whether there is another page in it, after one that was read.
    fn has_another(&mut self, now: DateTime<Utc>) -> bool {
        self.pages = self.pages.saturating_sub(1);
        self.pages > 0 && now < self.until
    }
}

/// Until when bots were to join that have, where Recall removed those at `removed_at` that had yet to: the one or other was already on
/// its way.
fn joined_until(removed_at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    (removed_at.min(now) + NEARLY_STARTED).min(now)
}

/// A refusal in the middle of a list is about the place, not about the list: cursors do not live for ever.
fn lost_place(error: Error, is_continued: bool) -> Error {
    match error {
        Error::Api(refusal)
            if is_continued && matches!(refusal.failure(), Failure::NotFound | Failure::Permanent | Failure::Ended) =>
        {
            Error::LostPlace(refusal)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(failure: Failure) -> Error {
        let (call, status, code) = ("Schedule Bot", reqwest::StatusCode::IM_A_TEAPOT, String::new());
        Error::Api(recall::Error::Refused { call, status, code, failure })
    }

    fn store(error: fn(sqlx::Error) -> store::Error) -> Error {
        Error::Store(error(sqlx::Error::RowNotFound))
    }

    /// The verdict after `attempt` failed turns, with as much jitter as there can be.
    fn verdict(error: &Error, attempt: i32) -> Verdict {
        error_policy(error, attempt, DateTime::UNIX_EPOCH, 1.0)
    }

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(secs)
    }

    #[test]
    fn what_may_pass_is_tried_again_for_ever_and_ever_more_slowly() {
        for error in [api(Failure::Transient), Error::NotConverged, Error::TimedOut(Duration::ZERO)] {
            let pauses = [0, 1, 2, 100].map(|attempt| verdict(&error, attempt));
            assert_eq!(pauses, [2, 4, 8, 300].map(|secs| Verdict::Retry(at(secs))), "{error}");
        }
    }

    #[test]
    fn what_the_api_says_about_the_time_is_heeded() {
        let (class, retry_after) = (CallClass::ScheduleBot, Duration::from_secs(7));
        assert_eq!(verdict(&api(Failure::Throttled { class, retry_after }), 9), Verdict::AwaitBudget(class, at(7)));
        assert_eq!(verdict(&api(Failure::NoCapacity { retry_after: Some(retry_after) }), 9), Verdict::Retry(at(7)));
        assert_eq!(verdict(&api(Failure::NoCapacity { retry_after: None }), 9), Verdict::Retry(at(30)));
        assert_eq!(verdict(&api(Failure::Conflict), 9), Verdict::Retry(at(2)), "soon, however often");
        assert_eq!(verdict(&Error::NoBudget { class, until: at(9) }, 9), Verdict::AwaitBudget(class, at(9)));
    }

    #[test]
    fn what_is_not_the_keys_fault_costs_it_no_attempt() {
        assert_eq!(verdict(&api(Failure::Ours), 100), Verdict::PutOff(at(150)));
        assert_eq!(verdict(&store(store::Error::Unavailable), 100), Verdict::PutOff(at(1)));
        assert_eq!(verdict(&Error::Store(store::Error::LeaseLost), 100), Verdict::LeaseLost);
    }

    #[test]
    fn what_will_not_pass_is_parked() {
        for error in [api(Failure::Permanent), Error::EndlessList(1)] {
            assert_eq!(verdict(&error, 0), Verdict::Park, "{error}");
        }
    }

    #[test]
    fn a_panic_and_a_value_that_the_database_refuses_are_parked_at_the_fifth_failure() {
        for error in [Error::Panicked(String::new()), store(store::Error::Refused)] {
            let verdicts = [0, 3, 4, 5].map(|attempt| verdict(&error, attempt));
            assert_eq!(
                verdicts,
                [Verdict::Retry(at(2)), Verdict::Retry(at(16)), Verdict::Park, Verdict::Park],
                "{error}"
            );
        }
    }
}
