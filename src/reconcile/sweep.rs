//! The sweep: List Calendars, adopt the unknown, request the known. A lost webhook is a delay, never a lost meeting.
//!
//! It is a key in the queue like any other, so one replica at a time does it, and one that dies in the middle is followed by
//! another. Absence from the list is never read as deletion: a calendar that is mirrored is requested whether listed or not,
//! and where it was not, its own turn finds out.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Error, LONGEST_MEETING, LONGEST_READING, Outcome, Reconciler, lost_place};
use crate::{
    domain::budget::CallClass,
    recall::{Failure, PageQuery},
    store::{
        self, bot_keys, calendars, decisions,
        queue::{self, Claimed, Key, Request},
        requests, workspace_listing,
    },
    telemetry,
};

/// Pages of one sweep: a hundred thousand calendars.
const MAX_PAGES: u32 = 1000;

/// Failed turns after which a failure that may pass is taken for one that lasts.
const MAX_ATTEMPTS: i32 = 3;

/// The deadline of what is looked at unasked lies behind any webhook's and any meeting's: Recall shows 28 days of them. In a
/// workspace with more calendars than can be listed in an interval, sweeps so take what webhooks leave over.
const AFTER_ALL_ELSE: TimeDelta = TimeDelta::days(30);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Progress {
    started_at: DateTime<Utc>,
    /// Of the request that it answers.
    generation: i64,
    /// When the last page was read.
    read_at: Option<DateTime<Utc>>,
    next: Option<String>,
    pages: u32,
    calendars: usize,
    changed: usize,
    /// When what is known was requested without a list, since there was none.
    fell_back_at: Option<DateTime<Utc>>,
}

impl Reconciler {
    pub(super) async fn sweep(&self, claimed: &Claimed) -> Result<Outcome, Error> {
        let resumed: Option<Progress> =
            claimed.progress.clone().and_then(|progress| serde_json::from_value(progress).ok());
        // A list that was read to its end is not read again because what follows it failed, unless it has become old, or
        // another is asked for.
        let holds = |progress: &Progress| {
            let is_recent =
                |at: DateTime<Utc>| (self.clock.now() - at).to_std().unwrap_or_default() < self.sweep_interval;
            progress.read_at.is_none_or(|at| is_recent(at) && progress.generation == claimed.generation)
        };
        let begun = || Progress { started_at: self.clock.now(), generation: claimed.generation, ..Progress::default() };
        let mut progress = resumed.filter(holds).unwrap_or_else(begun);
        if progress.pages == 0 {
            // Nothing of an earlier try is kept, but for when what is known was requested.
            progress = Progress { fell_back_at: progress.fell_back_at, ..begun() };
        }
        match self.list_all(&mut progress, claimed).await {
            Ok(()) if progress.read_at.is_some() => self.request_all(&progress).await,
            Ok(()) => Ok(Outcome::GoesOn(self.clock.now())),
            // What is known needs no list of calendars, and waits no longer than an interval for it.
            Err(error) if is_lasting(&error, claimed) => {
                let (now, interval) =
                    (self.clock.now(), TimeDelta::from_std(self.sweep_interval).unwrap_or(TimeDelta::MAX));
                if progress.fell_back_at.is_none_or(|at| now - at >= interval) {
                    let requested = self.request_known(now, true).await?;
                    tracing::warn!(requested, "calendars cannot be listed; those that are known are looked at");
                    progress.fell_back_at = Some(now);
                    queue::save_progress(&self.db, claimed, &serde_json::json!(progress)).await?;
                }
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the list of calendars, to its end or for as long as a turn may.
    async fn list_all(&self, progress: &mut Progress, claimed: &Claimed) -> Result<(), Error> {
        let until = self.clock.now() + LONGEST_READING;
        while progress.read_at.is_none() {
            let page = progress.next.clone().map(PageQuery::from_stored);
            let answer = self.call(CallClass::List, self.api.list_calendars(page.as_ref())).await;
            let answer = answer.map_err(|error| lost_place(error, page.is_some()))?;
            for reason in &answer.unreadable {
                tracing::warn!(reason, "a calendar in the list cannot be read");
            }
            let next = answer.next.map(|next| next.as_str().to_owned());
            progress.pages += 1;
            if next.is_some() && (next == progress.next || progress.pages >= MAX_PAGES) {
                return Err(Error::EndlessList(MAX_PAGES));
            }
            progress.next = next;
            progress.calendars += answer.calendars.len();
            let now = self.clock.now();
            progress.read_at = progress.next.is_none().then_some(now);
            let mut tx = store::begin(&self.db).await?;
            let changed = calendars::find_changed(&mut *tx, &answer.calendars).await?;
            progress.changed += changed.len();
            let request = |id| Request {
                key: Key::Calendar(id),
                since: None,
                deadline: now,
                cause: requests::SWEEP,
                events_only: false,
            };
            let requests: Vec<Request> = changed.into_iter().map(request).collect();
            queue::request(&mut tx, &requests, now).await?;
            queue::save_progress(&mut *tx, claimed, &serde_json::json!(progress)).await?;
            tx.commit().await?;
            calendars::note_listed(&self.db, &answer.calendars, progress.started_at).await?;
            if now >= until && progress.read_at.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Requests the calendars that have not been read since `since`. Returns how many.
    async fn request_known(&self, since: DateTime<Utc>, are_there: bool) -> Result<u64, Error> {
        let now = self.clock.now();
        let full_before = now - TimeDelta::from_std(self.full_sync_interval).unwrap_or(TimeDelta::MAX);
        let (spread, deadline) = (self.full_sync_interval / 4, now + AFTER_ALL_ELSE);
        // Not in a transaction: a page locks events' keys and then its calendar's, and this would lock the other way round.
        let mut db = self.db.acquire().await?;
        Ok(requests::request_calendars(&mut db, since, full_before, spread, are_there, deadline, now).await?)
    }

    /// Requests every connected calendar, every event that this configuration has not decided on yet, and what is parked.
    async fn request_all(&self, progress: &Progress) -> Result<Outcome, Error> {
        let now = self.clock.now();
        let interval = TimeDelta::from_std(self.sweep_interval).unwrap_or(TimeDelta::MAX);
        let requested = self.request_known(progress.started_at, false).await?;
        let mut db = self.db.acquire().await?;
        let woken = requests::wake_parked(&mut db, now).await?;
        if self.catch_up_from.is_some() && workspace_listing::load(&mut *db).await?.read_again_since.is_some() {
            self.request_workspace(&mut db, now).await?;
        }
        decisions::forget_left_behind(&mut *db, now - LONGEST_MEETING).await?;
        bot_keys::forget_open(&mut *db, now - LONGEST_MEETING).await?;
        drop(db);
        let undecided = self.request_undecided_still(now).await?;
        metrics::counter!(telemetry::SWEEPS).increment(1);
        tracing::info!(
            listed = progress.calendars,
            changed = progress.changed,
            requested,
            undecided,
            woken,
            "sweep done"
        );
        let jittered = self.sweep_interval.mul_f64(0.9 + 0.2 * fastrand::f64());
        Ok(Outcome::ComesBack(now + TimeDelta::from_std(jittered).unwrap_or(interval)))
    }
}

/// Whether a failure may go on for long.
fn is_lasting(error: &Error, claimed: &Claimed) -> bool {
    let is_passing = match error {
        Error::Api(error) => match error.failure() {
            // There is nothing in the call that the API could not know, so it is not the API who answers: each calendar that is
            // looked at would pass for gone.
            Failure::NotFound => return false,
            failure => matches!(failure, Failure::Transient | Failure::Throttled { .. }),
        },
        Error::LostPlace(_) => true,
        Error::EndlessList(_) => false,
        _ => return false,
    };
    !is_passing || claimed.attempt + 1 >= MAX_ATTEMPTS
}
