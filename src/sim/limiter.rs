//! Rate limits: so many calls in any sixty seconds, per endpoint \[C\]. A refused call does not count.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};

use super::config::Limits;
use super::faults::Endpoint;

const WINDOW: TimeDelta = TimeDelta::seconds(60);

/// The calls of the last minute.
#[derive(Debug)]
pub(crate) struct Limiter {
    pub(crate) limits: Limits,
    admitted: HashMap<Endpoint, VecDeque<DateTime<Utc>>>,
}

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, admitted: HashMap::new() }
    }

    /// Counts the call, or says in how many whole seconds the next would be let in.
    pub(crate) fn admit(&mut self, endpoint: Endpoint, now: DateTime<Utc>) -> Result<(), i64> {
        let (bucket, limit) = self.bucket(endpoint);
        if limit == u32::MAX {
            return Ok(());
        }
        let calls = self.admitted.entry(bucket).or_default();
        while calls.front().is_some_and(|at| *at + WINDOW <= now) {
            calls.pop_front();
        }
        if calls.len() < limit as usize {
            calls.push_back(now);
            return Ok(());
        }
        let oldest = calls.front().copied().unwrap_or(now);
        let wait_ms = (oldest + WINDOW - now).num_milliseconds();
        Err((wait_ms + 999).div_euclid(1000).max(1))
    }

    fn bucket(&self, endpoint: Endpoint) -> (Endpoint, u32) {
        let limits = &self.limits;
        match endpoint {
            Endpoint::ListCalendars if limits.lists_shared => (Endpoint::ListEvents, limits.list_events),
            Endpoint::ListCalendars => (endpoint, limits.list_calendars),
            Endpoint::ListEvents => (endpoint, limits.list_events),
            Endpoint::ScheduleBot => (endpoint, limits.schedule),
            Endpoint::DeleteBot => (endpoint, limits.delete),
            Endpoint::CreateCalendar
            | Endpoint::RetrieveCalendar
            | Endpoint::UpdateCalendar
            | Endpoint::DeleteCalendar
            | Endpoint::AccessToken
            | Endpoint::RetrieveEvent
            | Endpoint::RetrieveBot
            | Endpoint::LeaveCall
            | Endpoint::Any => (endpoint, limits.others),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides() {
        let start: DateTime<Utc> = "2026-01-20T09:00:00Z".parse().unwrap();
        let mut limiter = Limiter::new(Limits { list_events: 2, ..Limits::default() });
        let at = |secs| start + TimeDelta::seconds(secs);
        assert_eq!(limiter.admit(Endpoint::ListEvents, at(0)), Ok(()));
        assert_eq!(limiter.admit(Endpoint::ListEvents, at(30)), Ok(()));
        assert_eq!(limiter.admit(Endpoint::ListEvents, at(45)), Err(15));
        assert_eq!(limiter.admit(Endpoint::ListCalendars, at(45)), Ok(()));
        assert_eq!(limiter.admit(Endpoint::ListEvents, at(60)), Ok(()));
        assert_eq!(limiter.admit(Endpoint::ListEvents, at(61)), Err(29));
    }
}
