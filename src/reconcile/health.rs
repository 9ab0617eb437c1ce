//! Whether the API lets us in: key, region, account, network.
//!
//! A 401, 402 or 403 is nobody's key's fault, and no other call would fare better. So all work pauses, is tried again slowly
//! with one key at a time, and the trouble is told once: one error line, a gauge, a sentence in `/readyz`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{recall, telemetry};

/// How long the API is left alone before it is tried again.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// Shared by all turns of a process.
#[derive(Clone, Debug, Default)]
pub struct ApiHealth(Arc<Mutex<Option<Trouble>>>);

#[derive(Debug)]
struct Trouble {
    message: String,
    probe_at: DateTime<Utc>,
}

impl ApiHealth {
    /// What is wrong, if the last answer was a refusal to let us in.
    pub fn trouble(&self) -> Option<String> {
        self.lock().as_ref().map(|trouble| trouble.message.clone())
    }

    /// How many keys may be claimed, of `wanted`: all, or one to find out whether the trouble is over, or none yet.
    pub fn claimable(&self, wanted: usize, now: DateTime<Utc>) -> usize {
        match &mut *self.lock() {
            None => wanted,
            Some(trouble) if trouble.probe_at <= now && wanted > 0 => {
                trouble.probe_at = after_interval(now);
                1
            }
            Some(_) => 0,
        }
    }

    pub(super) fn record_well(&self) {
        if self.lock().take().is_some() {
            metrics::gauge!(telemetry::API_TROUBLE).set(0.0);
            tracing::info!("the API lets us in again");
        }
    }

    pub(super) fn record_trouble(&self, error: &recall::Error, now: DateTime<Utc>) {
        let trouble = Trouble { message: error.to_string(), probe_at: after_interval(now) };
        if self.lock().replace(trouble).is_none() {
            metrics::gauge!(telemetry::API_TROUBLE).set(1.0);
            tracing::error!(
                "{error}: webhooks are still accepted, but no bot can be scheduled. Check RECALL_API_KEY, that the key is \
                 of RECALL_REGION, and the workspace's credit"
            );
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn after_interval(now: DateTime<Utc>) -> DateTime<Utc> {
    now + TimeDelta::from_std(PROBE_INTERVAL).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_trouble_one_key_at_a_time_finds_out_whether_it_is_over() {
        let health = ApiHealth::default();
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(health.claimable(16, now), 16);
        let unreadable = recall::Error::Unreadable { call: "List Calendars", problem: String::new() };
        health.record_trouble(&unreadable, now);
        assert_eq!(health.claimable(16, now + TimeDelta::seconds(29)), 0);
        assert_eq!(health.claimable(0, now + TimeDelta::seconds(30)), 0);
        assert_eq!(health.claimable(16, now + TimeDelta::seconds(30)), 1);
        assert_eq!(health.claimable(16, now + TimeDelta::seconds(59)), 0, "one in each interval");
        health.record_well();
        assert_eq!(health.claimable(16, now), 16);
    }
}
