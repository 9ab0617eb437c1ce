//! The simulator's clock: the machine's time, or a time that a test sets.
//!
//! Everything else in `sim` is handed a `now`; this file alone reads the machine's clock. A clone is a handle on the same
//! clock, so a test keeps one and gives one to the simulator (and, through a closure, to the service under test: signatures
//! carry this clock's time, and receivers refuse those more than five minutes off theirs).

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use tokio::sync::watch;

/// A handle on a clock that is real or set by hand; clones share it.
#[derive(Clone, Debug)]
pub struct SimClock {
    set_to: Arc<Mutex<Option<DateTime<Utc>>>>,
    moved: watch::Sender<()>,
}

impl SimClock {
    /// The machine's time.
    pub fn real() -> Self {
        Self::new(None)
    }

    /// A clock that stands at `at` until it is set or advanced.
    pub fn manual(at: DateTime<Utc>) -> Self {
        Self::new(Some(at))
    }

    fn new(set_to: Option<DateTime<Utc>>) -> Self {
        Self { set_to: Arc::new(Mutex::new(set_to)), moved: watch::Sender::new(()) }
    }

    /// The time, to the microsecond, which is the precision the API shows.
    pub fn now(&self) -> DateTime<Utc> {
        let now = self.lock().unwrap_or_else(machine_now);
        now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(now)
    }

    /// Whether the time stands still until [`set`](Self::set) or [`advance`](Self::advance).
    pub fn is_manual(&self) -> bool {
        self.lock().is_some()
    }

    /// Makes the clock manual, if it was not, and puts it at `at`. May go backwards: the simulator's own stamps do not.
    pub fn set(&self, at: DateTime<Utc>) {
        *self.lock() = Some(at);
        self.moved.send_replace(());
    }

    /// Moves a manual clock on; a real one becomes manual, `by` ahead of the machine's.
    pub fn advance(&self, by: TimeDelta) -> DateTime<Utc> {
        self.set(self.now() + by);
        self.now()
    }

    /// Told whenever the clock is set, so that a sleeper can look again.
    pub(crate) fn movements(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<DateTime<Utc>>> {
        self.set_to.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::real()
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the simulator reads the machine's clock")]
fn machine_now() -> DateTime<Utc> {
    Utc::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_still_and_is_shared_by_its_clones() {
        let start = "2026-01-20T09:00:00Z".parse().unwrap();
        let clock = SimClock::manual(start);
        let twin = clock.clone();
        assert_eq!(twin.now(), start);
        clock.advance(TimeDelta::minutes(5));
        assert_eq!(twin.now(), start + TimeDelta::minutes(5));
    }
}
