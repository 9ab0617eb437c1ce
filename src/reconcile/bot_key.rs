//! Holding a deduplication key, so that nobody sends a second bot with it.
//!
//! Before the start Schedule Bot with the same key updates the same bot, so a lost answer does no harm, and the copies of a
//! meeting share it. After the start each call sends one more. So a turn holds the key while it calls, over all replicas, and
//! for a meeting that has begun asks whether there is a bot with it already: of another event, left behind by one that moved
//! away, or sent by a call whose answer was lost. The latter alone takes calls: the event of the lost answer is read.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Postgres, pool::PoolConnection};
use uuid::Uuid;

use super::{Error, Reconciler};
use crate::{
    domain::{budget::CallClass, dedup::start_in, event::EventId},
    recall::{CALL_TIMEOUT, Failure},
    store::{
        self, bot_keys,
        budget::Taken,
        decisions, pages,
        queue::{self, Key, Request},
    },
};

/// How long a key is held by a turn that died. A turn that has too little left of it for a call takes the key anew.
const HOLD: Duration = Duration::from_secs(45);

/// A deduplication key that a turn holds.
#[derive(Debug)]
pub(super) struct HeldKey {
    pub(super) key: String,
    event: EventId,
    holder: Uuid,
    /// Then somebody else may take it.
    until: DateTime<Utc>,
    /// There is, or may be, a bot with this key, in a meeting that has begun.
    pub(super) is_covered: bool,
    /// A call for the event was made, by this turn or an earlier one, and nobody knows what became of it.
    is_open: bool,
    /// Events whose calls were open when the key was taken, its own among them.
    found_open: Vec<EventId>,
    /// What Schedule Bot was paid with, if it was and has not been called since.
    paid: Option<Taken>,
}

impl Reconciler {
    /// Takes a key for the turn with the lease token `holder`. With `pays` the call is paid for as well, which follows at once. `db`
    /// is used if there is one.
    pub(super) async fn hold_key(
        &self,
        db: Option<PoolConnection<Postgres>>,
        key: &str,
        event: EventId,
        holder: Uuid,
        has_begun: bool,
        pays: bool,
    ) -> Result<HeldKey, Error> {
        let mut db = match db {
            Some(db) => db,
            None => self.db.acquire().await?,
        };
        // Once there is a connection: what is paid for is counted from now on.
        let now = self.clock.now();
        let until = now + HOLD;
        let pays_for = pays.then_some(CallClass::ScheduleBot);
        let taken = bot_keys::hold(&mut *db, key, event, holder, pays_for, now, until).await?.ok_or(Error::KeyHeld)?;
        // None is held while a call is made.
        drop(db);
        let mut held = HeldKey {
            key: key.to_owned(),
            event,
            holder,
            until,
            is_covered: false,
            is_open: taken.open.contains(&event),
            found_open: taken.open,
            paid: taken.paid,
        };
        if has_begun {
            match self.is_covered(key, event, &held.found_open).await {
                Ok(is_covered) => held.is_covered = is_covered,
                Err(error) => {
                    self.release_key(held).await?;
                    return Err(error);
                }
            }
        }
        Ok(held)
    }

    async fn is_covered(&self, key: &str, event: EventId, open: &[EventId]) -> Result<bool, Error> {
        let mut is_in_doubt = false;
        for other in open.iter().filter(|other| **other != event) {
            is_in_doubt |= !self.close_call(key, *other).await?;
        }
        // Until the start, a bot that could not join early has yet to: it is shared.
        let start = start_in(key).filter(|start| *start > self.clock.now());
        let too_late_from = start.map(|start| start - self.policy.join_early);
        Ok(is_in_doubt || decisions::is_scheduled_elsewhere(&self.db, key, event, too_late_from).await?)
    }

    /// Finds out what became of a call whose answer was lost. Returns whether that is known by now.
    async fn close_call(&self, key: &str, event: EventId) -> Result<bool, Error> {
        let sent_at = self.clock.now();
        match self.call(CallClass::Read, self.api.retrieve_calendar_event(event)).await {
            Ok(answer) => {
                let mut tx = store::begin(&self.db).await?;
                if !pages::mirror(&mut tx, std::slice::from_ref(&answer), sent_at).await?.is_empty() {
                    // No list will find it changed again.
                    let (key, deadline) = (Key::Event(event), answer.start_time);
                    let request = Request {
                        key,
                        since: None,
                        deadline,
                        cause: "a call whose answer was lost",
                        events_only: false,
                    };
                    queue::request(&mut tx, &[request], sent_at).await?;
                }
                let is_to_come = start_in(key).is_some_and(|start| start > sent_at);
                if answer.has_bot(key) && is_to_come && !answer.is_deleted {
                    // The event shows it, as long as it is of that time. If it has moved, its own turn will tell whether the bot goes
                    // with it.
                    if start_in(key) != Some(answer.start_time) {
                        tx.commit().await?;
                        return Ok(false);
                    }
                } else if answer.has_bot(key) {
                    decisions::leave_behind(&mut *tx, &[key], sent_at).await?;
                }
                tx.commit().await?;
            }
            // Its bot may be in the call all the same, and nobody can tell, unless the event comes back.
            Err(Error::Api(error)) if error.failure() == Failure::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        bot_keys::close_call(&self.db, key, event).await?;
        Ok(true)
    }

    /// Pays for Schedule Bot, which is called now: with what it was paid for when the key was taken, if that has not been used.
    pub(super) async fn spend_on_bot(&self, held: Option<&mut HeldKey>) -> Result<(), Error> {
        match held.and_then(|held| held.paid.take()) {
            Some(taken) => self.keep_paid(CallClass::ScheduleBot, taken).await,
            None => self.spend(CallClass::ScheduleBot).await,
        }
    }

    /// The API is still at a call with the key: one that was found open, and that no list showed anything of.
    pub(super) async fn reopen_calls(&self, held: &mut HeldKey) -> Result<(), Error> {
        held.open();
        Ok(bot_keys::reopen_calls(&self.db, held.holder, &held.key, &held.found_open).await?)
    }

    /// Lets go of a key.
    pub(super) async fn release_key(&self, held: HeldKey) -> Result<(), Error> {
        if !held.is_open {
            bot_keys::close_call(&self.db, &held.key, held.event).await?;
        }
        let now: DateTime<Utc> = self.clock.now();
        Ok(bot_keys::release(&self.db, held.holder, &held.key, now).await?)
    }
}

impl HeldKey {
    /// Whether it is held for as long as a call that begins now may take. Otherwise what was read while it was held may be out
    /// of date too: a call before was slow, or the process stood still.
    pub(super) fn lasts_for_a_call(&self, now: DateTime<Utc>) -> bool {
        now + CALL_TIMEOUT < self.until
    }

    /// A call with the key is made.
    pub(super) fn open(&mut self) {
        self.is_open = true;
    }

    /// It is known, and committed, what became of it.
    pub(super) fn close(&mut self) {
        self.is_open = false;
    }
}
