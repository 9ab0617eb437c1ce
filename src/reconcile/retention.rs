//! Forgetting, by age: what nobody asks for any more leaves the database in small steps.
//!
//! It has a loop of its own beside the turns, and not the sweep's turn, so that tables do not grow while the API is away, and
//! no turn waits. After each step it rests for longer than the step took, so turns and ingest have most of the database for
//! themselves, however much there is to forget. A process may die after any step: the next one goes on.
//!
//! What must not be forgotten:
//!
//! - a delivery's id while its sender may send it again; `RETENTION_DELIVERIES` is a week at least;
//! - an event while the API lists it, which it does for 60 days, the least that `RETENTION_EVENTS` may be: it would be mirrored
//!   again, and pass for drift. If the API should list it for longer, it comes back once, stays for as long again, and gets no
//!   bot, since it is over;
//! - which bots are in meetings under way (P4). No meeting is longer than two days; what is remembered of bots left behind and
//!   of open calls is forgotten by the sweep, after that time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use super::Reconciler;
use crate::{
    store::{self, retention},
    telemetry::{self, chain},
};

/// How often to look for what has become too old.
const INTERVAL: Duration = Duration::from_secs(60);
/// Rests after a step, in times of what the step took.
const REST: u32 = 4;
/// How long before an event its first decision is made, at most. Recall shows 28 days.
const SHOWN_AHEAD: TimeDelta = TimeDelta::days(30);

/// How long things are remembered.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// `RETENTION_DELIVERIES`.
    pub deliveries: Duration,
    /// `RETENTION_EVENTS`: after they ended or were deleted; and calendars after they were gone.
    pub events: Duration,
}

/// A kind of things that are forgotten.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Deliveries,
    EndedEvents,
    DeletedEvents,
    EventsOfGoneCalendars,
    GoneCalendars,
    Decisions,
    UnreadableEvents,
    Configurations,
}

impl Kind {
    /// In the order in which they are forgotten: a calendar goes once its events have.
    const ALL: [Self; 8] = [
        Self::Deliveries,
        Self::EndedEvents,
        Self::DeletedEvents,
        Self::EventsOfGoneCalendars,
        Self::GoneCalendars,
        Self::Decisions,
        Self::UnreadableEvents,
        Self::Configurations,
    ];

    /// Its table, as the metric names it.
    fn table(self) -> &'static str {
        match self {
            Self::Deliveries => "deliveries",
            Self::EndedEvents | Self::DeletedEvents | Self::EventsOfGoneCalendars => "events",
            Self::GoneCalendars => "calendars",
            Self::Decisions => "decision_history",
            Self::UnreadableEvents => "unreadable_events",
            Self::Configurations => "configurations",
        }
    }

    /// One step. Returns how many rows it deleted.
    async fn forget(self, db: &PgPool, keep: Retention, now: DateTime<Utc>) -> Result<u64, store::Error> {
        let before = |age: Duration| TimeDelta::from_std(age).map_or(DateTime::UNIX_EPOCH, |age| now - age);
        let events = before(keep.events);
        match self {
            Self::Deliveries => retention::forget_deliveries(db, before(keep.deliveries)).await,
            Self::EndedEvents => retention::forget_ended_events(db, events).await,
            Self::DeletedEvents => retention::forget_deleted_events(db, events).await,
            Self::EventsOfGoneCalendars => retention::forget_events_of_gone_calendars(db, events).await,
            Self::GoneCalendars => retention::forget_gone_calendars(db, events).await,
            Self::Decisions => retention::forget_decisions(db, events - SHOWN_AHEAD).await,
            Self::UnreadableEvents => retention::forget_unreadable(db, events).await,
            Self::Configurations => retention::forget_configurations(db, events).await,
        }
    }
}

impl Reconciler {
    /// Forgets what has become too old, step by step. Returns how many rows.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_old(&self) -> Result<u64, store::Error> {
        let mut all = 0;
        for kind in Kind::ALL {
            loop {
                let began = Instant::now();
                let forgotten = kind.forget(&self.db, self.retention, self.clock.now()).await?;
                metrics::counter!(telemetry::FORGOTTEN, "table" => kind.table()).increment(forgotten);
                all += forgotten;
                if forgotten < retention::STEP.unsigned_abs() {
                    break;
                }
                sleep(began.elapsed() * REST).await;
            }
        }
        Ok(all)
    }

    /// Forgets for as long as the process runs.
    pub async fn keep_forgetting(&self) {
        loop {
            match self.forget_old().await {
                Ok(0) => {}
                Ok(rows) => tracing::info!(rows, "what had become too old is forgotten"),
                Err(error) => tracing::warn!(error = chain(&error), "cannot forget what is too old; trying again"),
            }
            sleep(INTERVAL.mul_f64(0.5 + fastrand::f64())).await;
        }
    }
}
