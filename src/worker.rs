//! The worker: claim, take the turn, and settle, retry, put off or park.
//!
//! One loop owns it all. A wake-up that comes while it looks for work is kept until it waits, so that no commit is missed, and
//! it polls as the floor: a lost NOTIFY or a lost connection costs a second. Waiting for budget holds no turn: a key
//! whose class of calls has none goes back to the queue, and claims skip its like until there is some.
//!
//! A turn is cut off well before its lease ends, so two turns for one key never overlap (P7), not even while one hangs.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use sqlx::postgres::PgListener;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};
use tracing::Instrument;

use crate::{
    domain::budget::CallClass,
    reconcile::{Error, Outcome, Reconciler, Verdict, configuration::Undecided, error_policy},
    store::{
        self, events,
        queue::{self, Claimed, Key, Request, Wake, Wanted},
    },
    telemetry::{self, chain},
};

/// How long a claimed key is this process's. Longer than a turn, so that only a process that died gives keys back this way.
const LEASE: Duration = Duration::from_secs(90);
/// A turn is cut off after this time.
const TURN_LIMIT: Duration = Duration::from_secs(75);
/// How often to look for work unasked.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// A claim that takes longer is given up; if it was made all the same, its leases return the keys.
const CLAIM_LIMIT: Duration = Duration::from_secs(2);
/// How long turns may go on after the process was told to stop. Within the 10 s after which it would be killed.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// How long the key of a meeting that is about to begin rests after a failed turn, at most.
const URGENT_PAUSE: TimeDelta = TimeDelta::seconds(30);
/// How long an event rests, at least, for which a replica with an older configuration had no budget.
const OLDER_PAUSE: TimeDelta = TimeDelta::seconds(10);
/// How often to say that this configuration runs: a few times before it no longer counts as running.
const RENEW_INTERVAL: Duration = Duration::from_secs(25);
/// How long it may take to say that it ends.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// Takes turns for one process.
#[derive(Clone, Debug)]
pub struct Worker {
    reconciler: Arc<Reconciler>,
    concurrency: usize,
    /// Classes of calls that have no budget, and until when.
    blocked: Arc<Mutex<HashMap<CallClass, DateTime<Utc>>>>,
}

impl Worker {
    /// A worker that takes up to `concurrency` turns at once.
    pub fn new(reconciler: Reconciler, concurrency: usize) -> Self {
        Self { reconciler: Arc::new(reconciler), concurrency, blocked: Arc::default() }
    }

    /// What takes its turns.
    pub fn reconciler(&self) -> &Reconciler {
        &self.reconciler
    }

    /// Takes turns until told to stop, then finishes those in hand.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let wake = &self.reconciler.wake;
        let listener = tokio::spawn(listen(self.reconciler.db.clone(), wake.clone()));
        let renewal = tokio::spawn(keep_registered(Arc::clone(&self.reconciler)));
        let reconciler = Arc::clone(&self.reconciler);
        let forgetting = tokio::spawn(async move { reconciler.keep_forgetting().await });
        let mut turns = JoinSet::new();
        let mut in_hand: HashMap<tokio::task::Id, Arc<Claimed>> = HashMap::new();
        let mut next_wake = Instant::now();
        let mut looks = true;
        while !*stop.borrow() {
            // All that have ended, so that one claim fills their places.
            while let Some(ended) = turns.try_join_next_with_id() {
                forget(&mut in_hand, ended);
            }
            let mut has_more = false;
            if looks {
                let listings = in_hand.values().filter(|claimed| claimed.key.is_listing()).count();
                let (free, listings) =
                    (self.concurrency - turns.len(), self.listings_at_once().saturating_sub(listings));
                let wakes = next_wake <= Instant::now();
                if wakes {
                    next_wake = Instant::now() + POLL_INTERVAL;
                }
                let claimed;
                (claimed, has_more) = self.claim_in_time(free, listings, wakes).await;
                for claimed in claimed {
                    let (worker, claimed) = (self.clone(), Arc::new(claimed));
                    let turn = Arc::clone(&claimed);
                    let id = turns.spawn(async move { worker.take_turn(&turn).await }).id();
                    in_hand.insert(id, claimed);
                }
            }
            looks = true;
            tokio::select! {
                () = wake.woken(), if turns.len() < self.concurrency => {}
                Some(ended) = turns.join_next_with_id() => {
                    forget(&mut in_hand, ended);
                    // Where all that was due is in hand, its place is for what comes.
                    looks = has_more;
                }
                () = tokio::time::sleep_until(next_wake.min(Instant::now() + self.pause())) => {}
                changed = stop.changed() => if changed.is_err() { break },
            }
        }
        listener.abort();
        renewal.abort();
        forgetting.abort();
        self.drain(turns, in_hand).await;
        if !matches!(timeout(LEAVE_LIMIT, self.reconciler.leave_configuration()).await, Ok(Ok(()))) {
            tracing::warn!("cannot say that this configuration no longer runs; it will show");
        }
    }

    /// Finishes the turns in hand. What takes too long is cut off, and its keys are given back for another replica.
    async fn drain(&self, mut turns: JoinSet<()>, mut in_hand: HashMap<tokio::task::Id, Arc<Claimed>>) {
        let deadline = Instant::now() + DRAIN_LIMIT;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, turns.join_next_with_id()).await {
            forget(&mut in_hand, ended);
        }
        turns.shutdown().await;
        for claimed in in_hand.into_values() {
            let now = self.reconciler.clock.now();
            let given_back = queue::put_off(&self.reconciler.db, &claimed, now, None, now);
            if timeout(Duration::from_secs(1), given_back).await.is_err() {
                tracing::warn!("cannot give keys back; their leases will");
                return;
            }
        }
    }

    /// Claims one key and takes its turn. Returns whether there was one. For tests and tools that drive turns by hand.
    ///
    /// # Errors
    /// The database's.
    pub async fn take_one_turn(&self) -> Result<bool, store::Error> {
        let Some(claimed) = self.claim(1, 1, true).await?.0.pop() else { return Ok(false) };
        self.take_turn(&claimed).await;
        Ok(true)
    }

    /// Claims nothing rather than wait for a database that does not answer: the loop has to hear that it should stop. Says as
    /// well whether there may be more.
    async fn claim_in_time(&self, free: usize, listings: usize, wakes: bool) -> (Vec<Claimed>, bool) {
        match timeout(CLAIM_LIMIT, self.claim(free, listings, wakes)).await {
            Ok(Ok(claimed)) => return claimed,
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "cannot claim; trying again"),
            Err(_) => tracing::warn!("the database does not answer; trying again"),
        }
        (vec![], true)
    }

    async fn claim(&self, free: usize, listings: usize, wakes: bool) -> Result<(Vec<Claimed>, bool), store::Error> {
        let now = self.reconciler.clock.now();
        // Even if none can be taken now: when one can, the most urgent has to be among them.
        if wakes {
            queue::wake_due(&self.reconciler.db, now).await?;
        }
        let keys = self.reconciler.health.claimable(free, now);
        if keys == 0 {
            return Ok((vec![], true));
        }
        let (blocked, is_newest) = (self.blocked_classes(now), self.reconciler.configuration.is_newest());
        let wanted = Wanted { keys, listings, blocked: &blocked, is_newest };
        let claimed = queue::claim(&self.reconciler.db, wanted, now, LEASE).await?;
        if claimed.is_empty() {
            self.reconciler.health.end_probe(now);
        }
        let listed = claimed.iter().filter(|claimed| claimed.key.is_listing()).count();
        let has_more = claimed.len() >= keys || listed >= listings;
        Ok((claimed, has_more))
    }

    /// Turns of calendars and of the sweep: they page through long lists, and while the API is slow they must not keep
    /// meetings from their bots.
    fn listings_at_once(&self) -> usize {
        (self.concurrency * 3 / 4).max(1)
    }

    /// How long to wait for a wake-up: no longer than a class of calls has no budget.
    fn pause(&self) -> Duration {
        let now = self.reconciler.clock.now();
        let blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        let soonest = blocked.values().min().and_then(|until| (*until - now).to_std().ok());
        soonest.map_or(POLL_INTERVAL, |soonest| soonest.min(POLL_INTERVAL))
    }

    fn blocked_classes(&self, now: DateTime<Utc>) -> Vec<CallClass> {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        blocked.retain(|_, until| *until > now);
        blocked.keys().copied().collect()
    }

    async fn take_turn(&self, claimed: &Claimed) {
        let kind = claimed.key.kind();
        let span = match claimed.key {
            Key::Calendar(id) => tracing::info_span!("turn", calendar.id = %id),
            Key::Event(id) => tracing::info_span!("turn", event.id = %id),
            Key::Sweep => tracing::info_span!("turn", sweep = true),
            Key::Workspace => tracing::info_span!("turn", workspace = true),
        };
        let started = Instant::now();
        async {
            let turn = AssertUnwindSafe(self.reconciler.turn(claimed)).catch_unwind();
            let result = match timeout(TURN_LIMIT, turn).await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(Error::Panicked(panic_message(panic.as_ref()))),
                Err(_) => Err(Error::TimedOut(TURN_LIMIT)),
            };
            self.reconciler.health.end_probe(self.reconciler.clock.now());
            let outcome = outcome_label(&result);
            match self.end_turn(claimed, result).await {
                Ok(true) => {}
                // It may be due at once.
                Ok(false) => self.reconciler.wake.wake(),
                Err(store::Error::LeaseLost) => self.look_again(claimed).await,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "cannot end the turn; its lease will return the key");
                }
            }
            metrics::counter!(telemetry::TURNS, "kind" => kind, "outcome" => outcome).increment(1);
        }
        .instrument(span)
        .await;
        metrics::histogram!(telemetry::TURN_SECONDS, "kind" => kind).record(started.elapsed());
    }

    /// Returns whether the key has left the queue.
    async fn end_turn(&self, claimed: &Claimed, result: Result<Outcome, Error>) -> Result<bool, store::Error> {
        let db = &self.reconciler.db;
        let now = self.reconciler.clock.now();
        match result {
            Ok(Outcome::Settled { generation }) => {
                let mut db = db.acquire().await?;
                return queue::settle(&mut db, claimed, generation, self.due_again(claimed.key, now)).await;
            }
            Ok(Outcome::GoesOn(at)) => queue::put_off(db, claimed, at, None, now).await?,
            Ok(Outcome::ComesBack(at)) => queue::come_back(db, claimed, at, now).await?,
            Ok(Outcome::LeftToNewest) => queue::leave_to_newest(db, claimed, None, now).await?,
            Err(error) => self.end_failed_turn(claimed, &error, now).await?,
        }
        Ok(false)
    }

    /// After a turn that went on when its lease had ended. Lists are in the hands of whoever has taken them; but what is known of an
    /// event's bot may now be of before the turn that came in between.
    async fn look_again(&self, claimed: &Claimed) {
        tracing::warn!("the lease was lost to another turn, which does the rest");
        let Key::Event(id) = claimed.key else { return };
        let look = async {
            let mut db = self.reconciler.db.acquire().await?;
            let start = events::load(&mut *db, id).await?.map_or(claimed.deadline, |event| event.start_time);
            let cause = "a turn that went on after its lease had ended";
            let again = Request { key: claimed.key, since: None, deadline: start, cause, events_only: false };
            queue::request(&mut db, &[again], self.reconciler.clock.now()).await
        };
        if let Err(error) = look.await {
            tracing::warn!(error = chain(&error), "cannot request the event again; it is looked at when it changes");
        }
    }

    /// When a key is due that was requested while its turn was taken. Lists are scarce: a storm of webhooks for a calendar is
    /// answered by two, one at once and one that sees what came meanwhile.
    fn due_again(&self, key: Key, now: DateTime<Utc>) -> DateTime<Utc> {
        match key {
            Key::Calendar(_) => now + TimeDelta::from_std(self.reconciler.list_pause).unwrap_or_default(),
            Key::Event(_) | Key::Sweep | Key::Workspace => now,
        }
    }

    async fn end_failed_turn(&self, claimed: &Claimed, error: &Error, now: DateTime<Utc>) -> Result<(), store::Error> {
        let db = &self.reconciler.db;
        let text = chain(error);
        let attempt = claimed.attempt + 1;
        let is_newest = self.reconciler.configuration.is_newest();
        match error_policy(error, claimed.attempt, now, fastrand::f64()) {
            Verdict::Retry(at) => {
                let at = at.min(latest_retry(claimed, now));
                let in_secs = (at - now).as_seconds_f64();
                tracing::warn!(error = text, attempt, in_secs, "turn failed; trying again");
                queue::retry(db, claimed, at, &text, now).await
            }
            Verdict::StartOver(at) => {
                tracing::warn!(error = text, attempt, "turn failed; beginning anew");
                queue::forget_progress(db, claimed).await?;
                queue::retry(db, claimed, at, &text, now).await
            }
            Verdict::AwaitBudget(class, until) => {
                self.block(class, until);
                tracing::debug!(%class, %until, "waiting for budget");
                match claimed.key {
                    // Those with the newest configuration alone would claim it.
                    Key::Event(_) if !is_newest => {
                        queue::put_off(db, claimed, until.max(now + OLDER_PAUSE), None, now).await
                    }
                    _ => queue::put_off(db, claimed, now, Some(class), now).await,
                }
            }
            Verdict::PutOff(at) => {
                let at = at.min(latest_retry(claimed, now));
                tracing::debug!(error = text, "turn put off");
                queue::put_off(db, claimed, at, None, now).await
            }
            // Nobody else would ever request the sweep.
            Verdict::Park if claimed.key == Key::Sweep => {
                tracing::error!(error = text, attempt, "the sweep failed; trying again at its next time");
                queue::forget_progress(db, claimed).await?;
                let at = now + TimeDelta::from_std(self.reconciler.sweep_interval).unwrap_or(TimeDelta::MAX);
                queue::retry(db, claimed, at, &text, now).await
            }
            Verdict::Park if matches!(claimed.key, Key::Event(_)) && !is_newest => {
                tracing::warn!(error = text, "turn failed for good; left to the newest configuration");
                queue::leave_to_newest(db, claimed, Some(&text), now).await
            }
            Verdict::Park => {
                tracing::error!(error = text, attempt, "turn failed for good; parked until it is requested again");
                queue::park(db, claimed, &text, now).await
            }
            Verdict::LeaseLost => Err(store::Error::LeaseLost),
        }
    }

    fn block(&self, class: CallClass, until: DateTime<Utc>) {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        let known = blocked.entry(class).or_insert(until);
        *known = until.max(*known);
    }
}

/// Says all along that this configuration runs, and requests what it has yet to decide on. The latter may take minutes, in
/// which it has to go on to say so: or else an older one would pass for the newest.
async fn keep_registered(reconciler: Arc<Reconciler>) {
    let mut requests = JoinSet::new();
    let mut undecided = Some(Undecided::OfNew);
    loop {
        match reconciler.renew_configuration().await {
            Ok(news) => undecided = news.or(undecided),
            Err(error) => {
                tracing::warn!(error = chain(&error), "cannot say that this configuration runs; trying again");
            }
        }
        if let Some(undecided) = undecided.take() {
            let reconciler = Arc::clone(&reconciler);
            requests.spawn(async move {
                if let Err(error) = reconciler.request_undecided(undecided).await {
                    tracing::warn!(error = chain(&error), "cannot request what is yet to be decided; a sweep will");
                }
            });
        }
        while requests.try_join_next().is_some() {}
        tokio::time::sleep(RENEW_INTERVAL).await;
    }
}

/// However often its turns failed, a meeting's key rests no further than to the line after which Recall promises no bot in
/// time, and beyond that only briefly.
fn latest_retry(claimed: &Claimed, now: DateTime<Utc>) -> DateTime<Utc> {
    match claimed.key {
        Key::Event(_) => (claimed.deadline - queue::URGENT).max(now + URGENT_PAUSE),
        Key::Calendar(_) | Key::Sweep | Key::Workspace => DateTime::<Utc>::MAX_UTC,
    }
}

type Ended = Result<(tokio::task::Id, ()), tokio::task::JoinError>;

fn forget(in_hand: &mut HashMap<tokio::task::Id, Arc<Claimed>>, ended: Ended) {
    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
    in_hand.remove(&id);
}

/// Wakes the loop for each commit that made keys due, but for those of this process that have woken it themselves. A lost
/// connection is made again; until then the loop polls.
async fn listen(db: sqlx::PgPool, wake: Wake) {
    loop {
        let listening = async {
            let mut listener = PgListener::connect_with(&db).await?;
            listener.listen(queue::CHANNEL).await?;
            wake.wake();
            loop {
                // `None`: the connection was lost, and with it perhaps a notification.
                let told = listener.try_recv().await?;
                if told.is_none_or(|told| told.payload() != wake.name()) {
                    wake.wake();
                }
            }
        };
        let ended: Result<std::convert::Infallible, sqlx::Error> = listening.await;
        let Err(error) = ended;
        tracing::warn!(error = chain(&error), "not listening for work; polling for it meanwhile");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".into())
}

fn outcome_label(result: &Result<Outcome, Error>) -> &'static str {
    match result {
        Ok(Outcome::Settled { .. }) => "settled",
        Ok(Outcome::GoesOn(_)) => "goes_on",
        Ok(Outcome::ComesBack(_)) => "comes_back",
        Ok(Outcome::LeftToNewest) => "left_to_newest",
        Err(Error::NoBudget { .. }) => "no_budget",
        Err(_) => "failed",
    }
}
