//! Figure 7: turns that find everything as it should be.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use chrono::TimeDelta;
use futures_util::future::join_all;
use rollcall::{
    clock::Clock,
    domain::event::EventId,
    sim::{NewCalendar, NewEvent},
    store::{
        self,
        queue::{self, Key, Request, Wanted},
    },
};
use sqlx::PgPool;
use tokio::{runtime::Runtime, sync::watch};
use uuid::Uuid;

use super::schedule::start_sim;
use crate::{
    rounds::in_turns,
    stage::{self, Database, SETTLED, Variables},
    table::{Line, Target, per_second},
};

const EVENTS: usize = 4000;
const REPLICAS: usize = 2;
/// As `WORKER_CONCURRENCY` is by default.
const CONCURRENCY: usize = 16;
const LEASE: Duration = Duration::from_secs(90);
const LIMIT: Duration = Duration::from_secs(600);

pub(crate) fn measure() -> anyhow::Result<Vec<Line>> {
    let runtime = Runtime::new()?;
    let (sim, stop) = start_sim()?;
    let calendar = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let start = Clock::system().now() + TimeDelta::days(1);
    let meeting = |number| {
        let link = format!("https://meet.google.com/{}", Uuid::new_v4().simple());
        NewEvent::new("Weekly sync", start + TimeDelta::seconds(number), 30).at(&link)
    };
    let events = sim.create_events(calendar, (0..EVENTS as i64).map(meeting).collect());
    let database = runtime.block_on(Database::create())?;
    let variables = database.variables(&sim.base_url());
    runtime.block_on(run_workers(&database, &variables, async || {
        database.until("select count(*) = 4000 from decisions where plan = 'schedule'", LIMIT).await?;
        database.until(SETTLED, LIMIT).await
    }))?;
    sim.clear_calls();
    let [rate] = in_turns(
        || runtime.block_on(claim_and_settle(&database, &events)),
        || runtime.block_on(take_turns(&database, &variables, &events)),
    )?;
    let kept = "select count(*) = 4000 from decisions where plan = 'keep'";
    ensure!(runtime.block_on(database.query(kept))? == "true", "not every turn ended in `keep`");
    let calls = sim.calls().into_iter().filter(|call| call.path.contains("/bot")).count();
    ensure!(calls == 0, "{calls} bot calls were made");
    drop(stop);
    runtime.block_on(database.remove())?;
    let what = "turns of two replicas that end in `keep`, against claiming and settling alone";
    Ok(vec![Line::compared(7, what, rate, Target::AtLeast(0.5), per_second)])
}

/// Runs two replicas' workers while something is waited for.
async fn run_workers<T>(
    database: &Database,
    variables: &Variables,
    meanwhile: impl AsyncFnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (stop, stopped) = watch::channel(false);
    let mut running = vec![];
    for _ in 0..REPLICAS {
        let worker = Arc::new(stage::worker(variables).await?);
        let stopped = stopped.clone();
        running.push(tokio::spawn(async move { worker.run(stopped).await }));
    }
    // The sweep at their start is not what is measured.
    let swept = "select bool_and(due_at > now()) from reconcile_queue having count(*) = 1";
    database.until(swept, LIMIT).await?;
    let result = meanwhile().await?;
    stop.send_replace(true);
    join_all(running).await;
    Ok(result)
}

async fn take_turns(database: &Database, variables: &Variables, events: &[Uuid]) -> anyhow::Result<[f64; 1]> {
    run_workers(database, variables, async || {
        let began = Instant::now();
        request_all(&database.db, events).await?;
        database.until("select count(*) = 0 from reconcile_queue where kind = 'event'", LIMIT).await?;
        Ok([EVENTS as f64 / began.elapsed().as_secs_f64()])
    })
    .await
}

async fn claim_and_settle(database: &Database, events: &[Uuid]) -> anyhow::Result<[f64; 1]> {
    let pools: Result<Vec<PgPool>, _> = (0..REPLICAS).map(|_| store::pool(&database.url(), 10)).collect();
    let pools = pools?;
    let began = Instant::now();
    request_all(&database.db, events).await?;
    for drained in join_all(pools.iter().map(|db| tokio::spawn(drain(db.clone())))).await {
        drained??;
    }
    let took = began.elapsed().as_secs_f64();
    join_all(pools.iter().map(PgPool::close)).await;
    Ok([EVENTS as f64 / took])
}

/// Claims as many keys as a worker takes turns, settles them all at once, and so on until there are none.
async fn drain(db: PgPool) -> Result<(), store::Error> {
    let clock = Clock::system();
    loop {
        let wanted = Wanted { keys: CONCURRENCY, listings: 0, blocked: &[], is_newest: true };
        let claimed = queue::claim(&db, wanted, clock.now(), LEASE).await?;
        if claimed.is_empty() {
            return Ok(());
        }
        let settle = async |claimed: &queue::Claimed| {
            queue::settle(&mut *db.acquire().await?, claimed, claimed.generation, clock.now()).await
        };
        for settled in join_all(claimed.iter().map(settle)).await {
            settled?;
        }
    }
}

async fn request_all(db: &PgPool, events: &[Uuid]) -> Result<(), store::Error> {
    let now = Clock::system().now();
    let deadline = now + TimeDelta::days(1);
    let requests: Vec<Request> = events
        .iter()
        .map(|id| Request {
            key: Key::Event(EventId(*id)),
            since: None,
            deadline,
            cause: "a benchmark",
            events_only: false,
        })
        .collect();
    queue::request(&mut *db.acquire().await?, &requests, now).await
}
