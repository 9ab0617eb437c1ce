//! The configurations that have decided on bots, in the order in which they started.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::Error;
use crate::domain::Fingerprint;

/// How long a configuration counts as running after one of its replicas registered it.
const RUNS: Duration = Duration::from_secs(90);

/// A configuration's place in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Greater is newer.
    pub generation: i64,
    /// It was not the newest before.
    pub is_new: bool,
}

/// Says that this configuration runs. It becomes the newest if it was never seen, or if no newer one runs any more. Call it in
/// a transaction: replicas take turns.
///
/// # Errors
/// The database's.
pub async fn register(
    tx: &mut PgConnection,
    fingerprint: Fingerprint,
    now: DateTime<Utc>,
) -> Result<Registered, Error> {
    sqlx::query!("lock table configurations in share row exclusive mode").execute(&mut *tx).await?;
    let renewed = sqlx::query_scalar!(
        "update configurations as known set runs_until = $3
         where generation = (select max(generation) from configurations where fingerprint = $1)
           and (exists (select from configurations as newer
                        where newer.generation > known.generation and newer.runs_until > $2)
                or not exists (select from configurations as newer where newer.generation > known.generation))
         returning generation",
        &fingerprint.0[..],
        now,
        now + RUNS,
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(generation) = renewed {
        return Ok(Registered { generation, is_new: false });
    }
    let generation = sqlx::query_scalar!(
        "insert into configurations (fingerprint, started_at, runs_until) values ($1, $2, $3) returning generation",
        &fingerprint.0[..],
        now,
        now + RUNS,
    )
    .fetch_one(tx)
    .await?;
    Ok(Registered { generation, is_new: true })
}

/// Says that a replica with this configuration ends. If it was not the only one, the next renewal takes that back.
///
/// # Errors
/// The database's.
pub async fn leave(db: impl PgExecutor<'_>, generation: i64, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!("update configurations set runs_until = least(runs_until, $2) where generation = $1", generation, now)
        .execute(db)
        .await?;
    Ok(())
}
