//! The configurations that have decided on bots, in the order in which they started.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::Error;
use crate::domain::Fingerprint;

/// A configuration's place in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Greater is newer.
    pub generation: i64,
    /// It was not the newest before.
    pub is_new: bool,
}

/// Makes this configuration the newest, unless it is already. Call it in a transaction: replicas that start together take
/// turns.
///
/// # Errors
/// The database's.
pub async fn register(
    tx: &mut PgConnection,
    fingerprint: Fingerprint,
    now: DateTime<Utc>,
) -> Result<Registered, Error> {
    sqlx::query!("lock table configurations in share row exclusive mode").execute(&mut *tx).await?;
    let newest = sqlx::query!("select generation, fingerprint from configurations order by generation desc limit 1")
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(newest) = newest.filter(|newest| newest.fingerprint == fingerprint.0) {
        return Ok(Registered { generation: newest.generation, is_new: false });
    }
    let generation = sqlx::query_scalar!(
        "insert into configurations (fingerprint, started_at) values ($1, $2) returning generation",
        &fingerprint.0[..],
        now,
    )
    .fetch_one(tx)
    .await?;
    Ok(Registered { generation, is_new: true })
}
