//! Calendars that live: a seeded generator of everyday happenings, for demos and for long random tests.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::Sim;

/// Something that happened in somebody's calendar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Happening {
    /// For a person: `Ada's calendar: “Weekly sync” moved from 14:00 to 15:30`.
    pub sentence: String,
    /// The calendar it happened in.
    pub calendar_id: Uuid,
    /// The event it happened to.
    pub event_id: Option<Uuid>,
}

/// A seeded generator of happenings over a set of calendars.
#[derive(Debug)]
pub struct Life {}

impl Life {
    /// Connects `calendars` calendars with a few meetings each; the same seed lives the same life.
    pub fn start(sim: &Sim, calendars: usize, seed: u64, now: DateTime<Utc>) -> Self {
        let _ = (sim, calendars, seed, now);
        unimplemented!()
    }

    /// The calendars it looks after.
    pub fn calendars(&self) -> Vec<Uuid> {
        unimplemented!()
    }

    /// Makes one thing happen.
    pub fn step(&mut self, sim: &Sim, now: DateTime<Utc>) -> Happening {
        let _ = (sim, now);
        unimplemented!()
    }
}
