//! Deduplication keys that a turn is calling Schedule Bot with, over all replicas.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::Error;

/// How long a key is held by a turn that died: longer than a call may take.
const HOLD: Duration = Duration::from_secs(45);

/// Takes a key for the turn with the lease token `holder`, unless another turn holds it. Returns whether it was taken.
///
/// # Errors
/// The database's.
pub async fn hold(db: impl PgExecutor<'_>, key: &str, holder: Uuid, now: DateTime<Utc>) -> Result<bool, Error> {
    let held = sqlx::query!(
        "insert into bot_keys as held (key, holder, held_until) values ($1, $2, $3)
         on conflict (key) do update set holder = excluded.holder, held_until = excluded.held_until
         where held.held_until <= $4 or held.holder = excluded.holder",
        key,
        holder,
        now + HOLD,
        now,
    )
    .execute(db)
    .await?;
    Ok(held.rows_affected() == 1)
}

/// Lets go of a key that the turn holds.
///
/// # Errors
/// The database's.
pub async fn release(db: impl PgExecutor<'_>, holder: Uuid, key: &str) -> Result<(), Error> {
    sqlx::query!("delete from bot_keys where key = $1 and holder = $2", key, holder).execute(db).await?;
    Ok(())
}
