//! The configurations that have decided on bots, in the order in which they started.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Error;
use crate::domain::{Fingerprint, dedup::Deduplication};

/// How long a configuration counts as running after one of its replicas registered it.
const RUNS: Duration = Duration::from_secs(90);

/// A configuration's place in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Greater is newer.
    pub generation: i64,
    /// It was not the newest before.
    pub is_new: bool,
    /// It waits to be confirmed.
    pub is_held: bool,
}

/// What a replica says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replica {
    /// It begins.
    Starts,
    /// It runs, as it said before.
    GoesOn,
}

/// Says that a replica runs this configuration. It becomes the newest if it was never seen, or if no newer one runs any more: for
/// a replica that could not say so in time itself, that is no news of the others yet. Call it in a transaction: replicas take
/// turns.
///
/// # Errors
/// The database's.
pub async fn register(
    tx: &mut PgConnection,
    replica: Uuid,
    says: Replica,
    fingerprint: Fingerprint,
    deduplication: Deduplication,
    now: DateTime<Utc>,
) -> Result<Registered, Error> {
    sqlx::query!("lock table configurations in share row exclusive mode").execute(&mut *tx).await?;
    let was_in_time = match says {
        Replica::Starts => true,
        Replica::GoesOn => is_registered(tx, replica, now).await?,
    };
    let registered = match renew(tx, fingerprint, was_in_time, now).await? {
        Some(renewed) => renewed,
        None => insert(tx, fingerprint, deduplication, now).await?,
    };
    sqlx::query!(
        "with died as (delete from replicas where runs_until <= $4 and id <> $1)
         insert into replicas (id, generation, runs_until) values ($1, $2, $3)
         on conflict (id) do update set generation = excluded.generation, runs_until = excluded.runs_until",
        replica,
        registered.generation,
        now + RUNS,
        now,
    )
    .execute(tx)
    .await?;
    Ok(registered)
}

async fn is_registered(tx: &mut PgConnection, replica: Uuid, now: DateTime<Utc>) -> Result<bool, Error> {
    let is_registered = sqlx::query_scalar!(
        r#"select exists (select from replicas where id = $1 and runs_until > $2) as "is_registered!""#,
        replica,
        now,
    )
    .fetch_one(tx)
    .await?;
    Ok(is_registered)
}

/// `None`: it has to become the newest.
async fn renew(
    tx: &mut PgConnection,
    fingerprint: Fingerprint,
    was_in_time: bool,
    now: DateTime<Utc>,
) -> Result<Option<Registered>, Error> {
    let renewed = sqlx::query!(
        "update configurations as known set runs_until = $3
         where generation = (select max(generation) from configurations where fingerprint = $1)
           and (exists (select from configurations as newer
                        where newer.generation > known.generation and newer.runs_until > $2)
                or not exists (select from configurations as newer where newer.generation > known.generation)
                or not $4)
         returning generation, is_held",
        &fingerprint.0[..],
        now,
        now + RUNS,
        was_in_time,
    )
    .fetch_optional(tx)
    .await?;
    Ok(renewed.map(|row| Registered { generation: row.generation, is_new: false, is_held: row.is_held }))
}

async fn insert(
    tx: &mut PgConnection,
    fingerprint: Fingerprint,
    deduplication: Deduplication,
    now: DateTime<Utc>,
) -> Result<Registered, Error> {
    let inserted = sqlx::query!(
        // What waits to be confirmed, and runs, goes on to wait.
        "insert into configurations (fingerprint, started_at, runs_until, deduplication, is_held)
         values ($1, $2, $3, $4, coalesce(
             (select is_held from configurations where fingerprint = $1 and runs_until > $2 order by generation desc limit 1),
             false))
         returning generation, is_held",
        &fingerprint.0[..],
        now,
        now + RUNS,
        deduplication.as_str(),
    )
    .fetch_one(tx)
    .await?;
    Ok(Registered { generation: inserted.generation, is_new: true, is_held: inserted.is_held })
}

/// Says that a replica ends. Its configuration runs for as long as others said that they run it, if any did.
///
/// # Errors
/// The database's.
pub async fn leave(db: impl PgExecutor<'_>, replica: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "with left_it as (
             delete from replicas where id = $1 returning generation
         )
         update configurations set
             runs_until = greatest($2, (select max(others.runs_until) from replicas as others
                                        where others.generation = configurations.generation and others.id <> $1))
         from left_it
         where configurations.generation = left_it.generation and configurations.runs_until > $2",
        replica,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Holds a configuration back until it is confirmed: it removes no bots meanwhile.
///
/// # Errors
/// The database's.
pub async fn hold_back(db: impl PgExecutor<'_>, generation: i64) -> Result<(), Error> {
    sqlx::query!("update configurations set is_held = true where generation = $1", generation).execute(db).await?;
    Ok(())
}

/// Confirms the newest configuration. Returns its generation if it was held back.
///
/// # Errors
/// The database's.
pub async fn confirm(db: impl PgExecutor<'_>) -> Result<Option<i64>, Error> {
    let confirmed = sqlx::query_scalar!(
        "update configurations set is_held = false
         where is_held and generation = (select max(generation) from configurations)
         returning generation",
    )
    .fetch_optional(db)
    .await?;
    Ok(confirmed)
}

/// Whether a configuration has upcoming events to look at.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// There may be some that it has yet to decide on: they were never all requested, or an earlier one has run since. While it
    /// is held back there always may be.
    pub is_due: bool,
    /// It waits to be confirmed.
    pub is_held: bool,
}

/// Whether a configuration has upcoming events to look at; `None` if it was never registered.
///
/// # Errors
/// The database's.
pub async fn asking(db: impl PgExecutor<'_>, generation: i64) -> Result<Option<Asking>, Error> {
    let asking = sqlx::query_as!(
        Asking,
        // Five minutes for turns that began while the earlier one ran, and for clocks.
        r#"select is_held, is_held or asked_at is null or exists (
               select from configurations as earlier
               where earlier.generation < this.generation and earlier.runs_until > this.asked_at - interval '5 minutes'
           ) as "is_due!"
           from configurations as this
           where generation = $1"#,
        generation,
    )
    .fetch_optional(db)
    .await?;
    Ok(asking)
}

/// Says that what this configuration had yet to decide on at `asked_at` has been requested.
///
/// # Errors
/// The database's.
pub async fn mark_asked(db: impl PgExecutor<'_>, generation: i64, asked_at: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!("update configurations set asked_at = $2 where generation = $1", generation, asked_at)
        .execute(db)
        .await?;
    Ok(())
}

/// The configuration that decides.
#[derive(Clone, Debug)]
pub struct Newest {
    /// Tells it apart.
    pub fingerprint: Fingerprint,
    /// How it keys bots; `None` for one of an earlier release.
    pub deduplication: Option<String>,
    /// It waits to be confirmed.
    pub is_held: bool,
}

/// The configuration that decides; `None` before the first.
///
/// # Errors
/// The database's.
pub async fn newest(db: impl PgExecutor<'_>) -> Result<Option<Newest>, Error> {
    let row = sqlx::query!(
        "select fingerprint, deduplication, is_held from configurations order by generation desc limit 1",
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Newest {
        fingerprint: row.fingerprint.try_into().map_or(Fingerprint::UNKNOWN, Fingerprint),
        deduplication: row.deduplication,
        is_held: row.is_held,
    }))
}

/// Whether a replica with this configuration runs.
///
/// # Errors
/// The database's.
pub async fn is_running(db: impl PgExecutor<'_>, fingerprint: Fingerprint, now: DateTime<Utc>) -> Result<bool, Error> {
    let is_running = sqlx::query_scalar!(
        r#"select exists (select from configurations where fingerprint = $1 and runs_until > $2) as "is_running!""#,
        &fingerprint.0[..],
        now,
    )
    .fetch_one(db)
    .await?;
    Ok(is_running)
}
