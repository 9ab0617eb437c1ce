//! What figures are measured on: databases, child processes, and what `/proc` says of those.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rollcall::{
    app,
    clock::Clock,
    config::Config,
    recall::Client,
    reconcile::health::ApiHealth,
    sim,
    store::{self, scratch::Scratch},
    worker::Worker,
};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::runtime::Runtime;

use crate::load::{Connection, request};

/// What cargo built beside this program.
const BINARY: &str = env!("CARGO_BIN_EXE_rollcall");
/// How long a process may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Nothing but the next sweep is left to do.
pub(crate) const SETTLED: &str = "select count(*) = 0 from reconcile_queue where kind <> 'sweep'";

/// Environment variables.
pub(crate) type Variables = BTreeMap<&'static str, String>;

/// Logs as the service does, and throws the lines away: formatting them is part of its work, and where they go is not.
pub(crate) fn log_into_nothing() {
    tracing_subscriber::fmt().json().with_max_level(tracing::Level::INFO).with_writer(std::io::sink).init();
}

/// A runtime whose only thread is the caller's: for clients, which are not to compete with what they measure.
pub(crate) fn client_runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// A migrated database of its own, with commits as durable as in production.
#[derive(Debug)]
pub(crate) struct Database {
    scratch: Scratch,
    /// A look at it from outside.
    pub(crate) db: PgPool,
}

impl Database {
    pub(crate) async fn create() -> anyhow::Result<Self> {
        let url = std::env::var("DATABASE_URL").context("DATABASE_URL is not set: run `make bench`")?;
        let scratch = Scratch::create(&url.into()).await?;
        store::migrate(&scratch.url()).await?;
        let db = store::pool(&scratch.url(), 4)?;
        for (setting, value) in [("fsync", "on"), ("synchronous_commit", "on")] {
            let found: String = sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(&db).await?;
            ensure!(found == value, "{setting} is {found}: what is measured would not be durable");
        }
        Ok(Self { scratch, db })
    }

    /// What a replica on it is configured with.
    pub(crate) fn variables(&self, base_url: &str) -> Variables {
        BTreeMap::from([
            ("DATABASE_URL", self.scratch.url().expose_secret().to_owned()),
            ("RECALL_API_KEY", sim::DEFAULT_API_KEY.to_owned()),
            ("RECALL_BASE_URL", base_url.to_owned()),
            ("RECALL_WEBHOOK_SECRETS", sim::DEFAULT_SECRET.to_owned()),
            // No figure is about waiting for the API's limits, unless it says so.
            ("RECALL_LIMITS", "list=5000,read=5000,bot=5000".to_owned()),
        ])
    }

    /// Its URL.
    pub(crate) fn url(&self) -> SecretString {
        self.scratch.url()
    }

    /// Runs a statement.
    pub(crate) async fn execute(&self, sql: &str) -> anyhow::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.db).await?;
        Ok(())
    }

    /// One value, as text.
    pub(crate) async fn query(&self, sql: &str) -> anyhow::Result<String> {
        let sql = format!("select coalesce(({sql})::text, '')");
        Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.db).await?)
    }

    /// Waits until this query says `t`.
    pub(crate) async fn until(&self, sql: &str, limit: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.query(sql).await? != "true" {
            ensure!(began.elapsed() < limit, "within {limit:?} it does not come to pass: {sql}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        self.db.close().await;
        Ok(self.scratch.remove().await?)
    }
}

/// A worker in this process, with a pool of its own.
pub(crate) async fn worker(variables: &Variables) -> anyhow::Result<Worker> {
    let config = Config::from_lookup(&|name| variables.get(name).cloned())?;
    let clock = Clock::system();
    let db = store::pool(&config.database_url, config.database_max_connections)?;
    let standing = app::try_prepare_database(&db, &config, &clock, &AtomicBool::default()).await?;
    let (api, concurrency) = (Client::new(&config.recall)?, config.worker_concurrency);
    let reconciler = app::reconciler(config, db, api, ApiHealth::default(), standing, clock);
    Ok(Worker::new(reconciler, concurrency))
}

/// A child process that listens; ends when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) addr: SocketAddr,
}

impl Process {
    /// `rollcall serve`.
    pub(crate) fn serve(variables: &Variables) -> anyhow::Result<Self> {
        Self::spawn(&binary()?, "serve", variables)
    }

    /// This program, in one of its roles.
    pub(crate) fn role(role: &str, variables: &Variables) -> anyhow::Result<Self> {
        Self::spawn(&std::env::current_exe()?, role, variables)
    }

    fn spawn(program: &Path, argument: &str, variables: &Variables) -> anyhow::Result<Self> {
        let addr = free_address();
        let child = Command::new(program)
            .arg(argument)
            .env_clear()
            .envs(variables)
            .env("LISTEN_ADDR", addr.to_string())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { child, addr })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `http://…`, without a last slash.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Waits until `path` is answered with success; says how long that took.
    pub(crate) async fn until_ready(&self, path: &str) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let get = request("GET", path);
        loop {
            let answer = async { Connection::open(self.addr).await?.send(&get).await };
            if answer.await.is_ok_and(|(status, _)| (200..300).contains(&status)) {
                return Ok(began.elapsed());
            }
            ensure!(began.elapsed() < START_LIMIT, "{path} was not answered");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A line of `/proc/…/status` in megabytes: `VmRSS` now, `VmHWM` at most so far.
    pub(crate) fn memory(&self, line: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        let kibibytes: f64 = value.and_then(|text| text.split_whitespace().next()).context("no such line")?.parse()?;
        Ok(kibibytes * 1024.0 / 1e6)
    }

    /// Seconds of a core that it has used.
    pub(crate) fn cpu_secs(&self) -> anyhow::Result<f64> {
        /// Ticks of `/proc` in a second, on every Linux.
        const TICKS: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |place: usize| fields.get(place).and_then(|text| text.parse::<f64>().ok());
        Ok((ticks(11).context("no utime")? + ticks(12).context("no stime")?) / TICKS)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary that is shipped, or what `BENCH_BINARY` names.
fn binary() -> anyhow::Result<PathBuf> {
    let release = || Path::new(BINARY).ancestors().nth(2).map(|target| target.join("release/rollcall"));
    let path = std::env::var_os("BENCH_BINARY").map(PathBuf::from).or_else(release).context("cargo has no folder")?;
    ensure!(path.exists(), "{} is not there: `make bench` builds it", path.display());
    Ok(path)
}

/// Its size in megabytes.
pub(crate) fn binary_size() -> anyhow::Result<f64> {
    Ok(std::fs::metadata(binary()?)?.len() as f64 / 1e6)
}

/// A port that nobody listens on, below those that systems give to clients.
fn free_address() -> SocketAddr {
    let mut addresses = std::iter::repeat_with(|| SocketAddr::from(([127, 0, 0, 1], fastrand::u16(20_000..32_000))));
    addresses.find(|addr| TcpListener::bind(addr).is_ok()).expect("the iterator has no end")
}
