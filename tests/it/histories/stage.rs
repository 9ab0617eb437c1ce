//! Where a history is played. What is dear to make (the database, connections) is kept from one history to the next; the
//! simulator, the clock and the replicas are made anew.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    io::Write,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use chrono::{DateTime, TimeDelta, Utc};
use rollcall::{
    app,
    clock::Clock,
    config::Config,
    domain::policy::Policy,
    http::router,
    recall::Client,
    reconcile::{
        configuration::{Standing, Undecided},
        health::ApiHealth,
    },
    sim::{self, Limits, Sim, SimClock, SimConfig},
    store,
    worker::Worker,
};
use sqlx::{Executor, PgPool};
use tokio::task::JoinHandle;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt};

use super::{
    operation::{Operation, Setting},
    proxy::Proxy,
};
use crate::world::{NOW, create_database, drop_database, receiver};

/// After these, a pool has thrown away the connections that broke.
const PREPARE_ATTEMPTS: usize = 10;

/// Who has it may say what gets a bot. It must appear in no log and no row.
pub const ADMIN_TOKEN: &str = "the-token-of-whoever-may-say-what-gets-a-bot";

/// What outlives a history.
pub struct Site {
    database: String,
    /// The test's own look at the database.
    pub db: PgPool,
    pub proxy: Proxy,
    /// By way of the proxy.
    url: String,
    /// One for each replica that there may be.
    pools: [PgPool; 3],
    logs: Logs,
    _subscriber: tracing::subscriber::DefaultGuard,
}

impl Site {
    /// On the thread whose runtime this is.
    pub async fn new() -> Self {
        let logs = Logs::default();
        let writer = logs.clone();
        let subscriber = tracing::subscriber::set_default(
            tracing_subscriber::registry().with(EnvFilter::new("info,rollcall::sim=off")).with(
                tracing_subscriber::fmt::layer().with_ansi(false).without_time().with_writer(move || writer.clone()),
            ),
        );
        let (database, url) = create_database().await;
        let mut through = reqwest::Url::parse(&url).unwrap();
        let proxy = Proxy::to(&through).await;
        through.set_host(Some("127.0.0.1")).unwrap();
        through.set_port(Some(proxy.address.port())).unwrap();
        let through = String::from(through);
        let pools = [(); 3].map(|()| store::pool(&through.clone().into(), 4).unwrap());
        let db = store::pool(&url.into(), 2).unwrap();
        Self { database, db, proxy, url: through, pools, logs, _subscriber: subscriber }
    }

    /// Drops the database.
    pub async fn remove(self) {
        for pool in self.pools {
            pool.close().await;
        }
        self.db.close().await;
        drop_database(&self.database).await;
    }

    async fn clear(&self) {
        self.proxy.open();
        self.logs.0.lock().unwrap().clear();
        let tables = "deliveries, reconcile_queue, calendars, events, unreadable_events, configurations, decisions, \
                      api_slots, api_pauses, bot_keys, bots_left_behind, settings, decision_history, workspace_listing";
        // What was cut off in the history before may hold a lock until the server has noticed.
        let truncate = format!("truncate {tables} restart identity");
        while let Err(error) = self.db.execute(sqlx::AssertSqlSafe(truncate.clone())).await {
            println!("{error}; trying again");
        }
    }

    /// The lines logged in this history.
    pub fn logs(&self) -> String {
        String::from_utf8_lossy(&self.logs.0.lock().unwrap()).into_owned()
    }
}

/// Simulator, clock and replicas of one history.
pub struct Stage<'a> {
    pub site: &'a Site,
    pub sim: Sim,
    pub clock: Clock,
    pub replicas: Vec<Replica>,
    pub limits: Limits,
    /// Turns that hang, by replica.
    pub hung: Vec<JoinHandle<()>>,
    /// Where webhooks go.
    pub receiver: String,
    /// Where the operator's API is.
    pub operator: String,
    client: Client,
    serving: JoinHandle<()>,
}

/// One process of the service, without its loops.
#[derive(Clone)]
pub struct Replica {
    vars: BTreeMap<&'static str, String>,
    /// `None` while it waits for the database.
    pub worker: Option<Worker>,
}

impl<'a> Stage<'a> {
    pub async fn set(site: &'a Site, operations: &[Operation]) -> Self {
        site.clear().await;
        // Whatever draws at random in the service (jitter) draws the same again.
        fastrand::seed(1);
        let (list, read, bot) = limits(operations);
        let limits = Limits {
            list_calendars: list,
            list_events: list,
            lists_shared: true,
            others: read,
            schedule: bot,
            delete: bot,
        };
        let now: DateTime<Utc> = NOW.parse().unwrap();
        let sim_config = SimConfig { clock: SimClock::manual(now), limits: limits.clone(), ..SimConfig::default() };
        let sim = Sim::start(sim_config).await.unwrap();
        sim.knobs(|knobs| knobs.webhook_concurrency = 1);
        let clock = Clock::manual(now);
        let mut vars = BTreeMap::from([
            ("DATABASE_URL", site.url.clone()),
            ("RECALL_API_KEY", sim::DEFAULT_API_KEY.to_owned()),
            ("RECALL_BASE_URL", sim.base_url()),
            ("RECALL_WEBHOOK_SECRETS", sim::DEFAULT_SECRET.to_owned()),
            ("RECALL_LIMITS", format!("list={list},read={read},bot={bot}")),
            ("ALLOW_DEDUPLICATION_CHANGE", "true".to_owned()),
            ("ADMIN_TOKEN", ADMIN_TOKEN.to_owned()),
            ("LIST_PAUSE", format!("{}s", list_pause(operations))),
        ]);
        vars.extend(join_early(operations).map(|minutes| ("JOIN_EARLY", format!("{minutes}m"))));
        vars.extend(max_changes(operations).map(|bots| ("POLICY_MAX_CHANGES", bots.to_string())));
        let config = read_config(&vars);
        let client = Client::new(&config.recall).unwrap();
        let (operator, serving) = serve(&config, &site.pools[0], &clock).await;
        let receiver = format!("{operator}/webhooks/recall");
        sim.set_endpoint(&receiver);
        let replicas = vec![Replica { vars, worker: None }; replicas(operations)];
        let mut stage = Self { site, sim, clock, replicas, limits, hung: vec![], receiver, operator, client, serving };
        stage.start_waiting().await;
        stage
    }

    /// Ends a replica and starts it again. Without a database it waits, and is started by the next `start_waiting`.
    pub async fn restart(&mut self, replica: usize, with: Setting) {
        let replica = self.replica_mut(replica);
        replica.vars.extend(with.variable());
        replica.worker = None;
        self.start_waiting().await;
    }

    /// Starts the replicas that wait for the database.
    pub async fn start_waiting(&mut self) {
        for number in 0..self.replicas.len() {
            if self.replicas[number].worker.is_some() {
                continue;
            }
            let config = read_config(&self.replicas[number].vars);
            let db = self.site.pools[number].clone();
            let Some(standing) = self.prepare_database(&db, &config).await else { continue };
            let (api, health) = (self.client.clone(), ApiHealth::default());
            let mut reconciler = app::reconciler(config, db, api, health, standing, self.clock.clone());
            // Histories have few calendars, and few pages.
            reconciler.catch_up_from = reconciler.catch_up_from.map(|_| 2);
            reconciler.pages_per_turn = 3;
            let _ = reconciler.request_undecided(Undecided::OfNew).await;
            self.replicas[number].worker = Some(Worker::new(reconciler, 1));
        }
    }

    /// As a process does that starts, but does not wait for a database that stays away.
    async fn prepare_database(&self, db: &PgPool, config: &Config) -> Option<Standing> {
        for _ in 0..PREPARE_ATTEMPTS {
            match app::try_prepare_database(db, config, &self.clock, &AtomicBool::default()).await {
                Ok(standing) => return Some(standing),
                Err(_) if self.site.proxy.is_closed() => return None,
                Err(_) => {}
            }
        }
        None
    }

    /// Lets time pass, for the service and for Recall. Replicas that run go on to say so: the newest configuration first, since
    /// in truth it never stopped meanwhile.
    pub async fn advance(&self, by: TimeDelta) {
        self.clock.advance(by);
        self.sim.clock().advance(by);
        self.sim.tick();
        let mut running: Vec<_> = self.replicas.iter().filter_map(|replica| replica.worker.as_ref()).collect();
        running.sort_by_key(|worker| Reverse(worker.reconciler().configuration.generation()));
        for worker in running {
            if let Ok(Some(undecided)) = worker.reconciler().renew_configuration().await {
                let _ = worker.reconciler().request_undecided(undecided).await;
            }
        }
    }

    /// Restarts each replica with the configuration that decides: a rollout has ended.
    pub async fn end_rollout(&mut self) {
        let vars = self.newest().vars.clone();
        for replica in &mut self.replicas {
            *replica = Replica { vars: vars.clone(), worker: None };
        }
        self.start_waiting().await;
    }

    /// What decides on bots.
    pub fn policy(&self) -> Policy {
        read_config(&self.newest().vars).policy
    }

    /// The worker of a replica: counted round, as everything is that operations name by number.
    pub fn worker(&self, replica: usize) -> Option<Worker> {
        self.replicas[replica % self.replicas.len()].worker.clone()
    }

    fn replica_mut(&mut self, number: usize) -> &mut Replica {
        let count = self.replicas.len();
        &mut self.replicas[number % count]
    }

    fn newest(&self) -> &Replica {
        let generation = |replica: &&Replica| {
            replica.worker.as_ref().map_or(0, |worker| worker.reconciler().configuration.generation())
        };
        self.replicas.iter().max_by_key(generation).unwrap()
    }

    /// The present.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.serving.abort();
        self.hung.iter().for_each(JoinHandle::abort);
    }
}

fn limits(operations: &[Operation]) -> (u32, u32, u32) {
    let limit = operations.iter().find_map(|operation| match operation {
        Operation::Limit { list, read, bot } => Some((*list, *read, *bot)),
        _ => None,
    });
    limit.unwrap_or((60, 100, 100))
}

/// Time passes between operations alone: unless a history is about it, nothing waits.
fn list_pause(operations: &[Operation]) -> u64 {
    let secs = operations.iter().find_map(|operation| match operation {
        Operation::ListPause { secs } => Some(*secs),
        _ => None,
    });
    secs.unwrap_or(0)
}

fn join_early(operations: &[Operation]) -> Option<u64> {
    operations.iter().find_map(|operation| match operation {
        Operation::JoinEarly { minutes } => Some(*minutes),
        _ => None,
    })
}

fn max_changes(operations: &[Operation]) -> Option<u64> {
    operations.iter().find_map(|operation| match operation {
        Operation::MaxChanges { bots } => Some(*bots),
        _ => None,
    })
}

fn replicas(operations: &[Operation]) -> usize {
    let count = operations.iter().find_map(|operation| match operation {
        Operation::Replicas { count } => Some(*count),
        _ => None,
    });
    count.unwrap_or(2)
}

fn read_config(vars: &BTreeMap<&'static str, String>) -> Config {
    Config::from_lookup(&|name| vars.get(name).cloned()).unwrap()
}

async fn serve(config: &Config, db: &PgPool, clock: &Clock) -> (String, JoinHandle<()>) {
    let receiver = receiver(config, db, ApiHealth::default(), clock);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, router(receiver)).await.unwrap() }))
}

/// Log lines of one history.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
