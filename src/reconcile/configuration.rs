//! Which configuration decides on bots while replicas differ in `RECORD_WHEN`, `BOT_CONFIG` or `DEDUPLICATION`.
//!
//! The one that started last, of those that run: the others leave to it what differs only by configuration. An older one that
//! starts again in the middle of a rollout, say after a crash, stays the older one. It becomes the newest once no newer one
//! runs, which is how a rollback takes hold.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::Reconciler;
use crate::{
    domain::policy::Policy,
    store::{
        self, configurations,
        configurations::{Registered, Replica},
        requests,
    },
};

/// The place of this process's configuration, which moves if it becomes the newest anew.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Tells this process apart.
    replica: Uuid,
    generation: Arc<AtomicI64>,
    /// The newest generation, as it was seen last.
    newest: Arc<AtomicI64>,
    is_held_back: Arc<AtomicBool>,
    /// Held while what is undecided is requested: that may take minutes, and once at a time is enough.
    requesting: Arc<Mutex<()>>,
}

impl Standing {
    /// Greater is newer.
    pub fn generation(&self) -> i64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// There was no newer one when it was looked at last.
    pub fn is_newest(&self) -> bool {
        self.generation() >= self.newest.load(Ordering::Relaxed)
    }

    /// This is the newest generation. Returns whether that is news: there was no newer one than ours.
    pub(super) fn heed(&self, generation: i64) -> bool {
        let before = self.newest.swap(generation, Ordering::Relaxed);
        before <= self.generation() && !self.is_newest()
    }

    /// It removes no bots until it is confirmed.
    pub fn is_held_back(&self) -> bool {
        self.is_held_back.load(Ordering::Relaxed)
    }

    fn set(&self, registered: Registered) {
        self.generation.store(registered.generation, Ordering::Relaxed);
        self.is_held_back.store(registered.is_held, Ordering::Relaxed);
    }
}

/// Which upcoming events a configuration has to look at: they may be millions, so this is done beside all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// Those that it has yet to decide on.
    OfNew,
    /// Those too whose bots it has held back.
    OfConfirmed,
}

/// Says that a configuration runs; it is held back if it `would_be`. Call it in a transaction, and then
/// [`Reconciler::request_undecided`].
///
/// # Errors
/// The database's.
pub async fn register(
    tx: &mut PgConnection,
    policy: &Policy,
    would_be_held_back: bool,
    now: DateTime<Utc>,
) -> Result<Standing, store::Error> {
    let standing = Standing {
        replica: Uuid::new_v4(),
        generation: Arc::default(),
        newest: Arc::default(),
        is_held_back: Arc::default(),
        requesting: Arc::default(),
    };
    let mut registered = configure(tx, standing.replica, policy, Replica::Starts, now).await?;
    if would_be_held_back {
        configurations::hold_back(&mut *tx, registered.generation).await?;
        registered.is_held = true;
    }
    standing.set(registered);
    Ok(standing)
}

async fn configure(
    tx: &mut PgConnection,
    replica: Uuid,
    policy: &Policy,
    says: Replica,
    now: DateTime<Utc>,
) -> Result<Registered, store::Error> {
    let fingerprint = policy.fingerprint();
    let registered = configurations::register(tx, replica, says, fingerprint, policy.deduplication, now).await?;
    if registered.is_new {
        tracing::info!(generation = registered.generation, %fingerprint, "a new configuration decides on bots");
    }
    Ok(registered)
}

/// Requests what this configuration has yet to decide on, if there may be anything. If it does not come to its end, the next
/// sweep begins anew. Returns how many.
///
/// # Errors
/// The database's.
async fn request_undecided(db: &PgPool, generation: i64, now: DateTime<Utc>) -> Result<u64, store::Error> {
    let mut db = db.acquire().await?;
    let asking = configurations::asking(&mut *db, generation).await?;
    let Some(asking) = asking.filter(|asking| asking.is_due) else { return Ok(0) };
    let requested = requests::request_undecided(&mut db, generation, now).await?;
    // What was held back when this began is looked at again once it is confirmed, even if that has happened meanwhile.
    if !asking.is_held {
        configurations::mark_asked(&mut *db, generation, now).await?;
    }
    Ok(requested)
}

impl Reconciler {
    /// Says that this process's configuration still runs. Returns what to request, if that is news.
    ///
    /// # Errors
    /// The database's.
    pub async fn renew_configuration(&self) -> Result<Option<Undecided>, store::Error> {
        let mut tx = store::begin(&self.db).await?;
        let (replica, now) = (self.configuration.replica, self.clock.now());
        let registered = configure(&mut tx, replica, &self.policy, Replica::GoesOn, now).await?;
        tx.commit().await?;
        let was_held_back = self.configuration.is_held_back();
        self.configuration.set(registered);
        // Each replica asks: another one may have held bots back for as long as it had not heard.
        let is_confirmed = was_held_back && !registered.is_held;
        let of_new = registered.is_new.then_some(Undecided::OfNew);
        Ok(if is_confirmed { Some(Undecided::OfConfirmed) } else { of_new })
    }

    /// Requests what the configuration has to look at. If that does not come to its end, the next sweep begins anew.
    ///
    /// # Errors
    /// The database's.
    pub async fn request_undecided(&self, undecided: Undecided) -> Result<(), store::Error> {
        let _requesting = self.configuration.requesting.lock().await;
        let (generation, now) = (self.configuration.generation(), self.clock.now());
        let requested = match undecided {
            Undecided::OfNew => request_undecided(&self.db, generation, now).await?,
            Undecided::OfConfirmed => {
                let mut db = self.db.acquire().await?;
                requests::request_undecided(&mut db, generation, now).await?
            }
        };
        if requested > 0 {
            tracing::info!(requested, "the configuration looks at what it has yet to decide on");
        }
        Ok(())
    }

    /// The sweep's: again what was not requested to the end. Returns how many.
    pub(super) async fn request_undecided_still(&self, now: DateTime<Utc>) -> Result<u64, store::Error> {
        match self.configuration.requesting.try_lock() {
            Ok(_requesting) => request_undecided(&self.db, self.configuration.generation(), now).await,
            Err(_) => Ok(0),
        }
    }

    /// Says that this process ends.
    ///
    /// # Errors
    /// The database's.
    pub async fn leave_configuration(&self) -> Result<(), store::Error> {
        configurations::leave(&self.db, self.configuration.replica, self.clock.now()).await
    }
}
