//! A world: a database of its own, the simulated Recall, and a replica of the service whose turns are taken by hand.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use rollcall::{
    app,
    clock::Clock,
    config::Config,
    domain::calendar::CalendarId,
    http::{LogLimit, Looks, Receiver, inbox::Inbox, router, signature::Verifier},
    recall::Client,
    reconcile::{configuration::Undecided, health::ApiHealth},
    sim::{self, Bot, Endpoint, Fault, NewCalendar, NewEvent, Sim, SimClock, SimConfig},
    store::{
        self,
        queue::{self, Key, Request, Wake},
    },
    telemetry,
    worker::Worker,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Row};
use tokio::{sync::OnceCell, task::JoinHandle};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt};
use uuid::Uuid;

/// A Tuesday morning.
pub const NOW: &str = "2026-01-20T09:00:00Z";
/// A meeting's link. It must appear in no log.
pub const LINK: &str = "https://meet.google.com/aaa-bbbb-ccc";
/// The token of the direct generation.
pub const TOKEN: &str = "direct/token+of the tests";
/// What must appear in no log and no row.
/// What must not be told.
pub const SECRETS: [&str; 4] = [sim::DEFAULT_API_KEY, sim::DEFAULT_SECRET, TOKEN, "oauth-material"];

/// The world of one test.
pub struct World {
    /// The simulated Recall. Its webhooks are delivered by `settle`.
    pub sim: Sim,
    /// The service's clock. `advance` moves it together with the simulator's.
    pub clock: Clock,
    /// The test's own look at the database.
    pub db: PgPool,
    /// The replica that receives the webhooks.
    pub replica: Replica,
    /// The environment variables of replicas to come.
    pub vars: BTreeMap<&'static str, String>,
    pub database: String,
    logs: ShowOnPanic,
    expects_errors: bool,
    _subscriber: tracing::subscriber::DefaultGuard,
}

/// The service, without its loops: the receiver listens, the worker takes turns when told to.
pub struct Replica {
    pub worker: Worker,
    /// The base of its routes, without a last slash.
    pub url: String,
    pub health: ApiHealth,
    serving: JoinHandle<()>,
}

impl World {
    /// A world with the default configuration.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// A world in which these environment variables are set.
    pub async fn with(vars: &[(&'static str, &str)]) -> Self {
        let logs = Logs::default();
        let subscriber = tracing::subscriber::set_default(
            tracing_subscriber::registry().with(EnvFilter::new("trace,rollcall::sim=off")).with(
                tracing_subscriber::fmt::layer().with_ansi(false).with_writer({
                    let logs = logs.clone();
                    move || logs.clone()
                }),
            ),
        );
        let now: DateTime<Utc> = NOW.parse().unwrap();
        let sim_config =
            SimConfig { clock: SimClock::manual(now), limits: sim::Limits::unlimited(), ..SimConfig::default() };
        let sim = Sim::start(sim_config).await.unwrap();
        let (database, url) = create_database().await;
        let mut all: BTreeMap<&'static str, String> = BTreeMap::from([
            ("DATABASE_URL", url.clone()),
            ("DATABASE_MAX_CONNECTIONS", "4".into()),
            ("RECALL_API_KEY", sim::DEFAULT_API_KEY.into()),
            ("RECALL_BASE_URL", sim.base_url()),
            ("RECALL_WEBHOOK_SECRETS", sim::DEFAULT_SECRET.into()),
            ("RECALL_WEBHOOK_TOKENS", format!("another-token,{TOKEN}")),
            // The clock stands still, so a minute's budget has to do for the whole test.
            ("RECALL_LIMITS", "list=1000,read=1000,bot=1000".into()),
            // Nor would a calendar ever be due again.
            ("LIST_PAUSE", "0s".into()),
        ]);
        all.extend(vars.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let clock = Clock::manual(now);
        let replica = Replica::start(&all, &clock).await;
        sim.set_endpoint(&format!("{}/webhooks/recall", replica.url));
        let db = store::pool(&url.into(), 2).unwrap();
        Self {
            sim,
            clock,
            db,
            replica,
            vars: all,
            database,
            logs: ShowOnPanic(logs),
            expects_errors: false,
            _subscriber: subscriber,
        }
    }

    /// Replaces the replica by one in which these variables are set as well.
    pub async fn restart(&mut self, vars: &[(&'static str, &str)]) {
        self.vars.extend(vars.iter().map(|(name, value)| (*name, (*value).to_owned())));
        self.replica.worker.reconciler().leave_configuration().await.unwrap();
        self.replica = self.another_replica().await;
        self.sim.set_endpoint(&format!("{}/webhooks/recall", self.replica.url));
    }

    /// One more replica on the same database, configured by the present `vars`.
    pub async fn another_replica(&self) -> Replica {
        Replica::start(&self.vars, &self.clock).await
    }

    /// The routes of one more replica, over connections that are made from now on.
    pub async fn another_pool(&self) -> String {
        let config = Config::from_lookup(&|name| self.vars.get(name).cloned()).unwrap();
        let db = store::pool(&config.database_url, config.database_max_connections).unwrap();
        serve(receiver(&config, &db, ApiHealth::default(), &self.clock)).await.0
    }

    /// The present.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// In so many minutes.
    pub fn in_minutes(&self, minutes: i64) -> DateTime<Utc> {
        self.now() + TimeDelta::minutes(minutes)
    }

    /// Lets time pass, for the service and for Recall.
    pub fn advance(&self, by: TimeDelta) {
        self.clock.advance(by);
        self.sim.clock().advance(by);
        self.sim.tick();
    }

    /// Delivers webhooks and takes turns until there is nothing to do at the present time.
    pub async fn settle(&self) {
        for _ in 0..1000 {
            let attempts = self.sim.deliver_due().await;
            let turns = self.take_turns().await;
            if attempts.is_empty() && turns == 0 {
                return;
            }
        }
        panic!("the world does not come to rest: {:#?}", self.sim.deliver_due().await);
    }

    /// Takes turns until no key is due; says how many.
    pub async fn take_turns(&self) -> usize {
        self.replica.take_turns().await
    }

    /// Somebody connects a Google calendar, and it is synced.
    pub async fn calendar(&self, email: &str) -> Uuid {
        let calendar = self.sim.connect_calendar(NewCalendar::google(email));
        self.settle().await;
        calendar
    }

    /// A meeting of half an hour, in an hour.
    pub fn meeting(&self, calendar: Uuid) -> Uuid {
        self.sim.create_event(calendar, NewEvent::new("Weekly sync", self.in_minutes(60), 30).at(LINK))
    }

    /// Requests the sweep, as the timer does.
    pub async fn request_sweep(&self) {
        let mut db = self.db.acquire().await.unwrap();
        let sweep = Request { key: Key::Sweep, since: None, deadline: self.now(), cause: "a test", events_only: false };
        queue::request(&mut db, &[sweep], self.now()).await.unwrap();
    }

    /// Requests a full sync of a calendar, as the sweep does when the last one is long ago.
    pub async fn request_full_sync(&self, calendar: Uuid) {
        let mut db = self.db.acquire().await.unwrap();
        let key = Key::Calendar(CalendarId(calendar));
        let full = Request {
            key,
            since: Some(DateTime::UNIX_EPOCH),
            deadline: self.now(),
            cause: "a test",
            events_only: false,
        };
        queue::request(&mut db, &[full], self.now()).await.unwrap();
    }

    /// Lets what runs in the background run until `is_so`, for ten seconds at most.
    pub async fn until(&self, is_so: impl Fn() -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !is_so() {
            assert!(tokio::time::Instant::now() < deadline, "it does not come to pass");
            tokio::task::yield_now().await;
        }
    }

    /// Takes turns up to the one that calls `endpoint`.
    pub async fn take_turns_until(&self, endpoint: Endpoint) {
        let before = self.count_calls(endpoint);
        while self.count_calls(endpoint) == before {
            assert!(self.replica.worker.take_one_turn().await.unwrap(), "no key is due");
        }
    }

    /// Takes turns up to the one that calls `endpoint`, and is answered after twenty seconds.
    pub async fn take_turns_until_slow(&self, endpoint: Endpoint) {
        self.sim.fail_next(endpoint, Fault::HangAnswer, 1);
        tokio::join!(self.take_turns_until(endpoint), async {
            self.until(|| self.sim.hanging() == 1).await;
            self.advance(TimeDelta::seconds(20));
            self.sim.release();
        });
    }

    /// The one live bot of an event.
    #[track_caller]
    pub fn bot(&self, event: Uuid) -> Bot {
        let mut bots: Vec<Bot> = self.sim.live_bots().into_iter().filter(|bot| bot.events.contains(&event)).collect();
        assert_eq!(bots.len(), 1, "live bots of the event: {bots:#?}");
        bots.remove(0)
    }

    /// That an event has no live bot.
    #[track_caller]
    pub fn assert_no_bot(&self, event: Uuid) {
        let bots: Vec<Bot> = self.sim.live_bots().into_iter().filter(|bot| bot.events.contains(&event)).collect();
        assert!(bots.is_empty(), "live bots of the event: {bots:#?}");
    }

    /// How many calls there were of an endpoint.
    pub fn count_calls(&self, endpoint: Endpoint) -> usize {
        self.sim.calls().iter().filter(|call| call.endpoint == endpoint).count()
    }

    /// How many bots were scheduled or deleted, tried or done.
    pub fn count_bot_calls(&self) -> usize {
        self.count_calls(Endpoint::ScheduleBot) + self.count_calls(Endpoint::DeleteBot)
    }

    /// One value of one row, as text.
    pub async fn query(&self, sql: &str) -> String {
        let sql = format!("select coalesce(({sql})::text, 'null')");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.db).await.unwrap()
    }

    /// Runs a statement.
    pub async fn execute(&self, sql: &str) {
        self.db.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    /// All that was logged so far.
    pub fn logs(&self) -> String {
        self.logs.0.text()
    }

    /// This test provokes errors that a person should see, so their being logged is fine.
    pub fn expect_errors(&mut self) {
        self.expects_errors = true;
    }

    /// Ends the test: looks at what must hold in every world.
    pub async fn finish(self) {
        self.settle().await;
        self.assert_converged().await;
        let unreadable = self.query("select string_agg(reason, '; ') from unreadable_events").await;
        assert_eq!(unreadable, "null", "events that could not be read");
        self.finish_as_it_is().await;
    }

    /// Ends a test whose world has something left that it asked for itself, such as a parked key.
    pub async fn finish_as_it_is(self) {
        self.assert_no_secrets().await;
        if !self.expects_errors {
            let errors: Vec<String> =
                self.logs().lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect();
            assert!(errors.is_empty(), "errors were logged: {errors:#?}");
        }
        self.replica.serving.abort();
        self.db.close().await;
        drop_database(&self.database).await;
    }

    /// P11: looking at everything once more changes nothing and makes no bot call.
    async fn assert_converged(&self) {
        let waiting = self
            .query("select string_agg(kind || ' ' || key || coalesce(': ' || last_error, ''), '; ') from reconcile_queue where kind <> 'sweep'")
            .await;
        assert_eq!(waiting, "null", "keys are left in the queue");
        self.sim.clear_calls();
        self.request_sweep().await;
        self.settle().await;
        assert_eq!(self.count_bot_calls(), 0, "a converged world makes no bot calls: {:#?}", self.sim.calls());
    }

    /// P10: no secret in any log line or row, no link in any log line.
    async fn assert_no_secrets(&self) {
        let logs = self.logs();
        for secret in SECRETS.iter().chain(&[LINK]) {
            let line = logs.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "`{secret}` was logged");
        }
        let tables = sqlx::query("select tablename::text from pg_tables where schemaname = 'public'");
        for table in tables.fetch_all(&self.db).await.unwrap() {
            let table: String = table.get(0);
            for secret in SECRETS {
                let found =
                    self.query(&format!("select count(*) from {table} as t where t::text like '%{secret}%'")).await;
                assert_eq!(found, "0", "`{secret}` is in {table}");
            }
        }
    }
}

impl Replica {
    async fn start(vars: &BTreeMap<&'static str, String>, clock: &Clock) -> Self {
        let config = Config::from_lookup(&|name| vars.get(name).cloned()).unwrap();
        let db = store::pool(&config.database_url, config.database_max_connections).unwrap();
        let generation = app::try_prepare_database(&db, &config, clock, &AtomicBool::default()).await.unwrap();
        let health = ApiHealth::default();
        let (url, serving) = serve(receiver(&config, &db, health.clone(), clock)).await;
        let api = Client::new(&config.recall).unwrap();
        let concurrency = config.worker_concurrency;
        let reconciler = app::reconciler(config, db, api, health.clone(), generation, clock.clone());
        reconciler.request_undecided(Undecided::OfNew).await.unwrap();
        Self { worker: Worker::new(reconciler, concurrency), url, health, serving }
    }

    /// Takes turns until no key is due; says how many.
    pub async fn take_turns(&self) -> usize {
        let mut turns = 0;
        while self.worker.take_one_turn().await.unwrap() {
            turns += 1;
            assert!(turns < 10_000, "turns without end");
        }
        turns
    }
}

/// A replica goes on to say that its configuration runs.
pub async fn renew(worker: &Worker) {
    if let Some(undecided) = worker.reconciler().renew_configuration().await.unwrap() {
        worker.reconciler().request_undecided(undecided).await.unwrap();
    }
}

/// What the receiver's routes need.
pub fn receiver(config: &Config, db: &PgPool, api_health: ApiHealth, clock: &Clock) -> Receiver {
    Receiver {
        verifier: Arc::new(Verifier::new(&config.webhooks).unwrap()),
        inbox: Inbox::open(db.clone(), config.list_pause, Wake::default()).0,
        db: db.clone(),
        is_migrated: Arc::new(AtomicBool::new(true)),
        api_health,
        admin_token: config.admin_token.clone(),
        metrics: telemetry::metrics_handle(),
        unproven: LogLimit::default(),
        clock: clock.clone(),
        looks: Looks::default(),
    }
}

/// Serves the receiver's routes on a free port.
async fn serve(receiver: Receiver) -> (String, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, router(receiver)).await.unwrap() }))
}

/// A database with all migrations applied: its name and URL.
pub async fn create_database() -> (String, String) {
    const TEMPLATE: &str = "rollcall_test_template";
    static TEMPLATE_IS_READY: OnceCell<()> = OnceCell::const_new();
    let name = format!("rollcall_test_{}", Uuid::new_v4().simple());
    let mut admin = admin_connection().await;
    // A template must have no connections while it is copied; so one test at a time, in whatever process.
    admin.execute("select pg_advisory_lock(2601)").await.unwrap();
    TEMPLATE_IS_READY
        .get_or_init(|| async {
            for statement in [format!("drop database if exists {TEMPLATE}"), format!("create database {TEMPLATE}")] {
                admin_connection().await.execute(AssertSqlSafe(statement)).await.unwrap();
            }
            store::migrate(&database_url(TEMPLATE).into()).await.unwrap();
        })
        .await;
    admin.execute(AssertSqlSafe(format!("create database {name} template {TEMPLATE}"))).await.unwrap();
    admin.close().await.unwrap();
    let url = database_url(&name);
    (name, url)
}

/// Drops a database that `create_database` made.
pub async fn drop_database(name: &str) {
    let mut admin = admin_connection().await;
    admin.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await.unwrap();
}

/// The URL of a database on the server that `DATABASE_URL` names.
fn database_url(name: &str) -> String {
    let mut url = reqwest::Url::parse(&server_url()).unwrap();
    url.set_path(name);
    url.into()
}

fn server_url() -> String {
    std::env::var("DATABASE_URL")
        .expect("DATABASE_URL is not set: run the tests by `make test`, which brings a Postgres")
}

async fn admin_connection() -> PgConnection {
    PgConnection::connect(&server_url()).await.expect("DATABASE_URL names a Postgres that cannot be reached")
}

/// Log lines of one test.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

/// Shows a failing test's log lines.
struct ShowOnPanic(Logs);

impl Drop for ShowOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = self.0.text();
            let is_ours = |line: &&str| line.contains("rollcall::") && !line.contains("TRACE");
            text.lines().filter(is_ours).for_each(|line| println!("{line}"));
        }
    }
}

impl Logs {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
