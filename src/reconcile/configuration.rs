//! Which configuration decides on bots while replicas differ in `RECORD_WHEN`, `BOT_CONFIG` or `DEDUPLICATION`.
//!
//! The one that started last, of those that run: the others leave to it what differs only by configuration. An older one that
//! starts again in the middle of a rollout, say after a crash, stays the older one. It becomes the newest once no newer one
//! runs, which is how a rollback takes hold.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::Reconciler;
use crate::{
    domain::policy::Policy,
    store::{self, configurations, requests},
};

/// The generation of this process's configuration, which moves if it becomes the newest anew.
#[derive(Clone, Debug)]
pub struct Standing(Arc<AtomicI64>);

impl Standing {
    /// Greater is newer.
    pub fn generation(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Says that a configuration runs, and requests what it has yet to decide if it is new. Call it in a transaction.
///
/// # Errors
/// The database's.
pub async fn register(tx: &mut PgConnection, policy: &Policy, now: DateTime<Utc>) -> Result<Standing, store::Error> {
    let fingerprint = policy.fingerprint();
    let registered = configurations::register(tx, fingerprint, now).await?;
    let generation = registered.generation;
    if registered.is_new {
        let requested = requests::request_undecided(tx, generation, now).await?;
        tracing::info!(generation, %fingerprint, requested, "a new configuration decides on bots");
    }
    Ok(Standing(Arc::new(AtomicI64::new(generation))))
}

impl Reconciler {
    /// Says that this process's configuration still runs.
    ///
    /// # Errors
    /// The database's.
    pub async fn renew_configuration(&self) -> Result<(), store::Error> {
        let mut tx = self.db.begin().await?;
        let standing = register(&mut tx, &self.policy, self.clock.now()).await?;
        tx.commit().await?;
        self.configuration.0.store(standing.generation(), Ordering::Relaxed);
        Ok(())
    }

    /// Says that this process ends.
    ///
    /// # Errors
    /// The database's.
    pub async fn leave_configuration(&self) -> Result<(), store::Error> {
        configurations::leave(&self.db, self.configuration.generation(), self.clock.now()).await
    }
}
