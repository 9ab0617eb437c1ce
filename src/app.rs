//! Wires receiver and worker, and shuts them down in order: stop accepting, stop claiming, finish what is in hand, close the
//! pool.
//!
//! The receiver answers before the database is there: `/livez` 200, webhooks 503, so that an orchestrator neither kills nor
//! believes it. Migrations that fail for another reason than an absent database stop the start.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use axum::Router;
use axum_server::Handle;
use chrono::{DateTime, Utc};
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio::{
    net::TcpSocket,
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::{
    clock::Clock,
    config::Config,
    http::{self, LogLimit, Looks, Receiver, inbox::Inbox, signature::Verifier},
    recall::Client,
    reconcile::{
        Reconciler,
        configuration::{self, Standing},
        health::ApiHealth,
        preview::preview,
        retention::Retention,
    },
    store::{
        self, budget, configurations, decisions,
        queue::{self, Key, Request, Wake},
    },
    telemetry::{self, chain},
    worker::Worker,
};

/// A client has this long to send a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// What is kept of a connection's bytes until they are a request's head; Recall's heads have less than 2 KiB. By default it
/// would be 400 KiB, which a few thousand clients that never end their heads turn into gigabytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Connections that may wait to be accepted. Beyond that a client hears nothing, and tries again in a second or three.
const BACKLOG: u32 = 1024;
/// How long requests in hand may take once the process was told to stop.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// How often metrics are compacted.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// A turn reads a sixth of a minute's pages, or so many, before it lets others have theirs.
const FEWEST_PAGES_PER_TURN: u32 = 10;
/// With so many calendars that wait for their events, listing the whole workspace costs fewer calls than each of them.
const CATCH_UP_FROM: u32 = 10;
/// With fewer lists a minute it is not done: to test such a list takes three others in one turn, which might never come together.
const FEWEST_LISTS: u32 = 10;
/// How often an absent database is looked for.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

/// A process that serves: the receiver listens, and the worker runs once the database is there.
#[derive(Debug)]
pub struct App {
    addr: SocketAddr,
    server: Handle<SocketAddr>,
    serving: Loop,
    writing: Loop,
    working: Loop,
    upkeep: JoinHandle<()>,
    stop: watch::Sender<bool>,
    db: PgPool,
}

impl App {
    /// Listens, and starts the worker as soon as the database is there.
    ///
    /// # Errors
    /// The address cannot be listened on, or the TLS backend cannot be set up.
    pub async fn start(config: Config, clock: Clock) -> anyhow::Result<Self> {
        let db = store::pool(&config.database_url, config.database_max_connections).context("DATABASE_URL")?;
        let wake = Wake::default();
        let (inbox, writing) = Inbox::open(db.clone(), config.list_pause, wake.clone());
        let receiver = Receiver {
            verifier: Arc::new(Verifier::new(&config.webhooks).context("RECALL_WEBHOOK_SECRETS")?),
            inbox,
            db: db.clone(),
            is_migrated: Arc::default(),
            api_health: ApiHealth::default(),
            admin_token: config.admin_token.clone(),
            metrics: telemetry::metrics_handle(),
            unproven: LogLimit::default(),
            clock: clock.clone(),
            looks: Looks::default(),
        };
        let api = Client::new(&config.recall).context("cannot set up the API client")?;
        let listener = listen(config.listen_addr)
            .with_context(|| format!("LISTEN_ADDR is {}, which cannot be listened on", config.listen_addr))?;
        let addr = listener.local_addr().context("cannot tell the address listened on")?;

        let server = Handle::new();
        let upkeep = tokio::spawn(keep_up(receiver.metrics.clone()));
        let serving = Loop::spawn("receiver", serve(listener, server.clone(), http::router(receiver.clone())));
        let (stop, stopped) = watch::channel(false);
        let working = Loop::spawn("worker", work(config, db.clone(), api, receiver, wake, clock, stopped));
        let writing = Loop::spawn("inbox", async { Ok(writing.await?) });
        tracing::info!(%addr, version = env!("CARGO_PKG_VERSION"), "listening");
        Ok(Self { addr, server, serving, writing, working, upkeep, stop, db })
    }

    /// The address that the receiver listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until told to stop, and then shuts down in order.
    ///
    /// # Errors
    /// The process cannot go on; see [`App::failed`].
    pub async fn run(mut self, told_to_stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let failure = tokio::select! {
            () = told_to_stop => None,
            error = self.failed() => Some(error),
        };
        self.stop().await;
        failure.map_or(Ok(()), Err)
    }

    /// Waits until the process cannot go on, and says why: a migration failed, or a loop ended.
    pub async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.working.ended() => error,
            error = self.serving.ended() => error,
            error = self.writing.ended() => error,
        }
    }

    /// Shuts down in order, within 10 s.
    pub async fn stop(mut self) {
        tracing::info!("stopping");
        self.server.graceful_shutdown(Some(CLOSE_LIMIT));
        let _ = self.stop.send(true);
        let told_at = Instant::now();
        self.serving.finish(told_at + CLOSE_LIMIT + Duration::from_secs(1)).await;
        // The receiver held the last inboxes; what they took is committed now.
        self.writing.finish(told_at + Duration::from_secs(5)).await;
        // The worker cuts its turns off before, and gives their keys back.
        self.working.finish(told_at + Duration::from_secs(8)).await;
        self.upkeep.abort();
        let _ = timeout_at(told_at + Duration::from_secs(9), self.db.close()).await;
        tracing::info!("stopped");
    }
}

/// One of the loops that make up the process. None of them ends by itself unless something is wrong.
#[derive(Debug)]
struct Loop {
    name: &'static str,
    /// `None` once its end was seen.
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Loop {
    fn spawn(name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> Self {
        Self { name, task: Some(tokio::spawn(task)) }
    }

    /// Waits for its end, and says why it ended.
    async fn ended(&mut self) -> anyhow::Error {
        let Some(task) = &mut self.task else { return std::future::pending().await };
        let ended = task.await;
        self.task = None;
        match ended {
            Ok(Err(error)) => error,
            Ok(Ok(())) => anyhow::anyhow!("the {} ended", self.name),
            Err(error) => anyhow::Error::new(error).context(format!("the {} ended", self.name)),
        }
    }

    /// Lets it finish, until this time.
    async fn finish(&mut self, deadline: Instant) {
        let Some(task) = &mut self.task else { return };
        match timeout_at(deadline, &mut *task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::error!("the {} ended badly: {error:#}", self.name),
            Ok(Err(error)) => tracing::error!(error = chain(&error), "the {} ended badly", self.name),
            Err(_) => {
                tracing::warn!("the {} is cut off: it did not finish in time", self.name);
                task.abort();
            }
        }
    }
}

/// Keeps histograms from growing while nobody reads them.
async fn keep_up(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP_INTERVAL).await;
        metrics.run_upkeep();
    }
}

/// As the standard library does, but for the backlog, which is 128 there.
fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A replica follows another on its port at once.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Serves these routes, until `handle` says otherwise.
///
/// # Errors
/// The listener's.
pub async fn serve(listener: TcpListener, handle: Handle<SocketAddr>, routes: Router) -> anyhow::Result<()> {
    let mut server = axum_server::from_tcp(listener)?.handle(handle).http1_only();
    let timer = hyper_util::rt::TokioTimer::new();
    server.http_builder().http1().timer(timer).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    server.serve(routes.into_make_service()).await?;
    Ok(())
}

async fn work(
    config: Config,
    db: PgPool,
    api: Client,
    receiver: Receiver,
    wake: Wake,
    clock: Clock,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let configuration = tokio::select! {
        prepared = prepare_database(&db, &config, &clock, &receiver.is_migrated) => prepared?,
        _ = stopped.changed() => return Ok(()),
    };
    let concurrency = config.worker_concurrency;
    let health = receiver.api_health.clone();
    // The rest of the receiver goes: it holds an inbox, and the writer ends with the last.
    drop(receiver);
    let reconciler = Reconciler { wake, ..reconciler(config, db, api, health, configuration, clock) };
    Worker::new(reconciler, concurrency).run(stopped).await;
    Ok(())
}

/// A reconciler for this configuration.
pub fn reconciler(
    config: Config,
    db: PgPool,
    api: Client,
    health: ApiHealth,
    configuration: Standing,
    clock: Clock,
) -> Reconciler {
    let may_catch_up = config.workspace_listing && config.recall.limits.list >= FEWEST_LISTS;
    Reconciler {
        db,
        api,
        health,
        policy: config.policy,
        configuration,
        sweep_interval: config.sweep_interval,
        full_sync_interval: config.full_sync_interval,
        list_pause: config.list_pause,
        pages_per_turn: (config.recall.limits.list / 6).max(FEWEST_PAGES_PER_TURN),
        catch_up_from: may_catch_up.then_some(CATCH_UP_FROM),
        retention: Retention { deliveries: config.retention_deliveries, events: config.retention_events },
        wake: Wake::default(),
        clock,
    }
}

/// Why a database could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The database's.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Bots are keyed in another way.
    #[error(
        "DEDUPLICATION is `{configured}`, but {bots} bots that are still to join were scheduled with `{in_use}`: each would \
         be scheduled anew with another key, and until that is done a meeting may have two of them. Set \
         DEDUPLICATION={in_use} to keep the scheme, or ALLOW_DEDUPLICATION_CHANGE=true to change it"
    )]
    Deduplication {
        /// As configured.
        configured: &'static str,
        /// As the bots are keyed.
        in_use: String,
        /// How many those are.
        bots: i64,
    },
}

impl From<sqlx::Error> for PrepareError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Waits for the database and prepares it.
async fn prepare_database(
    db: &PgPool,
    config: &Config,
    clock: &Clock,
    is_migrated: &AtomicBool,
) -> anyhow::Result<Standing> {
    loop {
        match try_prepare_database(db, config, clock, is_migrated).await {
            Ok(standing) => return Ok(standing),
            Err(PrepareError::Store(error @ store::Error::Unavailable(_))) => {
                tracing::warn!(error = chain(&error), "waiting for the database");
                tokio::time::sleep(DATABASE_RETRY).await;
            }
            Err(error) => return Err(error).context("cannot prepare the database"),
        }
    }
}

/// Migrates, and says so; makes the budget's slots, registers the configuration, and asks for a sweep. What the configuration
/// has yet to decide on the worker requests.
///
/// # Errors
/// See [`PrepareError`].
pub async fn try_prepare_database(
    db: &PgPool,
    config: &Config,
    clock: &Clock,
    is_migrated: &AtomicBool,
) -> Result<Standing, PrepareError> {
    store::migrate(&config.database_url).await?;
    is_migrated.store(true, Ordering::Release);
    let would_be_held_back = announce(db, config, clock.now()).await?;
    // To look at all upcoming events may have taken longer than a configuration counts as running.
    let now = clock.now();
    let mut tx = store::begin(db).await?;
    let standing = configuration::register(&mut tx, &config.policy, would_be_held_back, now).await?;
    budget::provision(&mut tx, config.recall.limits, now).await?;
    let sweep =
        Request { key: Key::Sweep, since: None, deadline: now, cause: "the start of a replica", events_only: false };
    queue::request(&mut tx, &[sweep], now).await?;
    tx.commit().await?;
    Ok(standing)
}

/// Tells what a configuration will change that does not run yet. Returns whether that is more than it may without being
/// confirmed.
async fn announce(db: &PgPool, config: &Config, now: DateTime<Utc>) -> Result<bool, PrepareError> {
    let fingerprint = config.policy.fingerprint();
    let Some(newest) = configurations::newest(db).await? else { return Ok(false) };
    if newest.fingerprint == fingerprint || configurations::is_running(db, fingerprint, now).await? {
        return Ok(false);
    }
    let configured = config.policy.deduplication.as_str();
    if let Some(in_use) = newest.deduplication.filter(|in_use| in_use != configured) {
        let bots = decisions::count_upcoming_bots(db, now).await?;
        if bots > 0 && !config.allows_deduplication_change {
            return Err(PrepareError::Deduplication { configured, in_use, bots });
        }
    }
    let summary = preview(db, &config.policy, None, now, |_| {}).await?;
    let is_too_much = config.policy_max_changes.is_some_and(|most| summary.removes > most);
    if is_too_much {
        tracing::error!(
            "the configuration {summary}: more than POLICY_MAX_CHANGES, so no bot is removed until somebody looks at \
             `rollcall plan` and says `rollcall policy confirm`"
        );
    } else {
        tracing::info!("the configuration {summary}");
    }
    Ok(is_too_much)
}
