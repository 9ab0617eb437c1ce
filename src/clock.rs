//! The clock: the system's, or one that a test sets.
//!
//! `now` is read once at the edge of a turn or a request and passed in from there, so that a decision is made at one
//! instant and a test can make a day pass. Replicas are assumed to agree on the time within a second and a half (NTP):
//! the margin of the API's windows is two. Leases have more.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// Tells the time, to microseconds: what Postgres keeps, so that a time read back equals the one written.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Mutex<DateTime<Utc>>>>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still at `time` until it is set or advanced. Its clones show the same time.
    pub fn manual(time: DateTime<Utc>) -> Self {
        Self(Some(Arc::new(Mutex::new(time))))
    }

    /// The present time.
    pub fn now(&self) -> DateTime<Utc> {
        let now = match &self.0 {
            Some(time) => *time.lock().unwrap_or_else(PoisonError::into_inner),
            None => system_now(),
        };
        chrono::SubsecRound::trunc_subsecs(now, 6)
    }

    /// Moves a manual clock on; the system's clock takes no notice.
    pub fn advance(&self, by: TimeDelta) {
        if let Some(time) = &self.0 {
            *time.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
fn system_now() -> DateTime<Utc> {
    Utc::now()
}
