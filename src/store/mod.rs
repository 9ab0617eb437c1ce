//! All SQL. Functions take the executor first: the caller owns the connection or the transaction, and has none wait for an HTTP
//! call. Times are passed in, so that no statement reads a clock of its own.

pub mod bot_keys;
pub mod budget;
pub mod calendars;
pub mod configurations;
mod connect;
pub mod decisions;
pub mod deliveries;
pub mod events;
pub mod known;
pub mod pages;
pub mod queue;
pub mod queue_state;
pub mod requests;
pub mod retention;
pub mod scratch;
pub mod settings;
pub mod workspace_listing;

use std::time::Duration;

use secrecy::SecretString;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction, postgres::PgPoolOptions};

/// How long to wait for a connection. Short enough that a webhook is answered well within Recall's 15 s.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that rested longer is checked before use: the server may have restarted meanwhile.
const CHECK_IF_IDLE_FOR: Duration = Duration::from_secs(1);

/// What a statement may take; no loop of ours has longer ones.
const STATEMENT_TIMEOUT: &str = "30s";
/// How long a statement waits for a row.
const LOCK_TIMEOUT: &str = "10s";

/// What can go wrong in the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or cannot commit now. Will pass.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// It accepts no writes: a standby, or one that is being switched over. Will pass.
    #[error("the database is read-only")]
    ReadOnly,
    /// It refused a statement or a value.
    #[error("the database refused a statement")]
    Refused(#[source] sqlx::Error),
    /// The turn's lease is no longer its own.
    #[error("the lease was lost to another turn")]
    LeaseLost,
    /// The schema cannot be brought up to date.
    #[error("a migration failed")]
    Migration(#[source] sqlx::migrate::MigrateError),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_passing(&error) { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}

/// Whether the statement may well succeed later, unchanged.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            // 08 connection, 25006 read-only, 40 rollback (deadlock), 53 out of resources (connections, disk), 55P03 lock,
            // 57 operator intervention (shutdown, cancel), 58 system error. Not 53's `54001`: that is about the value.
            ["08", "25006", "40", "53", "55P03", "57", "58"].iter().any(|class| code.starts_with(class))
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// A pool of at most `max_connections`. Nothing is connected before the first use.
///
/// Plans are made without the values of parameters. A limit that is a parameter is taken for a tenth of the table, so those of
/// statements in loops are numbers.
///
/// # Errors
/// `url` is not a Postgres URL.
pub fn pool(url: &SecretString, max_connections: u32) -> Result<PgPool, sqlx::Error> {
    let (options, ignored) = connect::read(url)?;
    if !ignored.is_empty() {
        tracing::warn!("DATABASE_URL has parameters that are not known, and so are ignored: {}", ignored.join(", "));
    }
    let options = options.application_name("rollcall").options([
        ("statement_timeout", STATEMENT_TIMEOUT),
        ("lock_timeout", LOCK_TIMEOUT),
        // A transaction whose process was cut off from the database must not hold its locks for ever.
        ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
        // Each statement is planned once for a connection, whatever it is asked for, and goes by an index, however few rows there
        // are. Planning takes longer than most of them; and of what there is after an outage the planner's statistics do not know.
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A ping before each use costs a fifth of the throughput; before use after a rest it costs nothing.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move { Ok(meta.idle_for < CHECK_IF_IDLE_FOR || connection.ping().await.is_ok()) })
        })
        // A statement that mirrors much leaves as much room behind, on each connection that it was ever sent on.
        .after_release(|connection, _| {
            connection.shrink_buffers();
            Box::pin(async { Ok(true) })
        })
        .connect_lazy_with(options);
    Ok(pool)
}

/// Begins a transaction, whoever waits for it.
///
/// sqlx forgets a transaction whose beginning is cut off, as that of a turn that takes too long or of a request whose sender has
/// hung up: the connection goes back to the pool within it, and what others do on it then is not committed, or rolled back. So a
/// task of its own sees the beginning through. If nobody waits for it any more, it is rolled back.
///
/// # Errors
/// The database's.
pub async fn begin(db: &PgPool) -> Result<Transaction<'static, Postgres>, Error> {
    let db = db.clone();
    let begun = tokio::spawn(async move { db.begin().await });
    Ok(begun.await.map_err(|_| sqlx::Error::WorkerCrashed)??)
}

/// Brings the schema up to date. Replicas that start together take turns, by an advisory lock.
///
/// On a connection of its own: a migration may take longer than other statements may, and one that fails keeps the lock for as
/// long as its connection lives.
///
/// # Errors
/// `Unavailable` while the database cannot be reached; `Migration` if it was reached and a migration failed.
pub async fn migrate(url: &SecretString) -> Result<(), Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(connect::read(url)?.0.application_name("rollcall"));
    let mut migrator = sqlx::migrate!();
    // A release before this one may start again, in a rollback or in the middle of a rollout: migrations only add.
    migrator.set_ignore_missing(true);
    let migrated = migrator.run(&pool).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) | sqlx::migrate::MigrateError::ExecuteMigration(error, _)
            if is_passing(&error) =>
        {
            Error::Unavailable(error)
        }
        other => Error::Migration(other),
    });
    pool.close().await;
    migrated
}

/// Checks that something could be committed now.
///
/// # Errors
/// Not reached, or read-only.
pub async fn check_writable(db: &mut PgConnection) -> Result<(), Error> {
    let read_only = sqlx::query_scalar!(r#"select current_setting('transaction_read_only') = 'on' as "read_only!""#)
        .fetch_one(db)
        .await?;
    if read_only { Err(Error::ReadOnly) } else { Ok(()) }
}
