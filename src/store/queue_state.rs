//! What the queue holds, for operators and metrics.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{Error, queue::Key};

/// A key in the queue, as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// `calendar`, `event` or `sweep`.
    pub kind: String,
    /// Its id.
    pub key: Uuid,
    /// The oldest request that is not answered yet.
    pub requested_at: DateTime<Utc>,
    /// When it is looked at next; `None` for a parked key.
    pub due_at: Option<DateTime<Utc>>,
    /// Failed turns in a row.
    pub attempt: i32,
    /// The class of calls whose budget it waits for, or `newest configuration` for a replica that has it.
    pub waits_for: Option<String>,
    /// Why the last turn failed.
    pub last_error: Option<String>,
}

/// A key, if it is in the queue.
///
/// # Errors
/// The database's.
pub async fn find_waiting(db: impl PgExecutor<'_>, key: Key) -> Result<Option<Waiting>, Error> {
    let waiting = sqlx::query_as!(
        Waiting,
        "select kind, key, requested_at, case when isfinite(due_at) then due_at end as due_at, attempt, waits_for, last_error
         from reconcile_queue
         where kind = $1 and key = $2",
        key.kind(),
        key.id(),
    )
    .fetch_optional(db)
    .await?;
    Ok(waiting)
}

/// The keys that are parked or whose last turn failed, soonest deadline first.
///
/// # Errors
/// The database's.
pub async fn list_troubled(db: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Waiting>, Error> {
    let troubled = sqlx::query_as!(
        Waiting,
        "select kind, key, requested_at, case when isfinite(due_at) then due_at end as due_at, attempt, waits_for, last_error
         from reconcile_queue
         where last_error is not null
         order by deadline
         limit $1",
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(troubled)
}

/// How many keys there are, by kind and by what they wait for.
#[derive(Clone, Debug)]
pub struct Depth {
    /// `calendar`, `event` or `sweep`.
    pub kind: String,
    /// `due`, `later`, `leased`, `budget` or `parked`.
    pub state: String,
    /// How many.
    pub keys: i64,
    /// Age in seconds of the oldest unanswered request among them.
    pub oldest_secs: f64,
}

/// Counts the queue.
///
/// # Errors
/// The database's.
pub async fn depths(db: impl PgExecutor<'_>, now: DateTime<Utc>) -> Result<Vec<Depth>, Error> {
    let depths = sqlx::query_as!(
        Depth,
        r#"select kind, state as "state!", count(*) as "keys!",
             greatest(extract(epoch from $1 - min(requested_at)), 0)::float8 as "oldest_secs!"
         from (
             select kind, requested_at, case
                 when not isfinite(due_at) then 'parked'
                 when leased_until > $1 then 'leased'
                 when waits_for <> 'newest configuration' then 'budget'
                 when due_at <= $1 then 'due'
                 else 'later' end as state
             from reconcile_queue
         ) as keys
         group by kind, state"#,
        now,
    )
    .fetch_all(db)
    .await?;
    Ok(depths)
}
