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
    /// A key was claimed to find out whether it is over, and has made no call so far.
    is_probing: bool,
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
                trouble.is_probing = true;
                1
            }
            Some(_) => 0,
        }
    }

    /// A call was answered, or not: the probe was made, whatever it shows.
    pub(super) fn record_call(&self) {
        self.lock().iter_mut().for_each(|trouble| trouble.is_probing = false);
    }

    /// A turn has ended. If it was to find out whether the trouble is over, and made no call, the next key does so at once: those
    /// that have nothing to call for may be thousands.
    pub fn end_probe(&self, now: DateTime<Utc>) {
        if let Some(trouble) = self.lock().as_mut().filter(|trouble| trouble.is_probing) {
            *trouble = Trouble { message: std::mem::take(&mut trouble.message), probe_at: now, is_probing: false };
        }
    }

    pub(super) fn record_well(&self) {
        if self.lock().take().is_some() {
            metrics::gauge!(telemetry::API_TROUBLE).set(0.0);
            tracing::info!("the API lets us in again");
        }
    }

    pub(super) fn record_trouble(&self, error: &recall::Error, now: DateTime<Utc>) {
        let trouble = Trouble { message: error.to_string(), probe_at: after_interval(now), is_probing: false };
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

    #[test]
    fn a_turn_without_a_call_finds_out_nothing_and_the_next_key_does_at_once() {
        let (health, now) = (ApiHealth::default(), DateTime::UNIX_EPOCH);
        let unreadable = recall::Error::Unreadable { call: "List Calendars", problem: String::new() };
        health.record_trouble(&unreadable, now);
        health.end_probe(now);
        assert_eq!(health.claimable(16, now), 0, "that was another turn");
        let later = now + TimeDelta::seconds(30);
        assert_eq!(health.claimable(16, later), 1);
        health.end_probe(later);
        assert_eq!(health.claimable(16, later), 1);
        health.record_call();
        health.end_probe(later);
        assert_eq!(health.claimable(16, later), 0, "its call was answered with something else");
    }
}
