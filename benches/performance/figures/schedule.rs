//! Figure 4: how soon a bot is asked for after a webhook, while nothing else happens.

use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use rollcall::{
    clock::Clock,
    sim::{self, Endpoint, NewCalendar, NewEvent, Sim, SimConfig},
};
use uuid::Uuid;

use crate::{
    api::{self, EMPTY},
    load::{self, Connection},
    receiver::SERVICE,
    rounds::{in_turns, quantile},
    stage::{Database, Process, SETTLED, Variables, client_runtime},
    table::{Line, Target, milliseconds},
};

/// Webhooks of a round.
const WEBHOOKS: usize = 100;
/// From one to the next: everything has come to rest, as it has between any two webhooks of a real calendar.
const REST: Duration = Duration::from_millis(50);

pub(crate) fn measure() -> anyhow::Result<Vec<Line>> {
    let runtime = client_runtime()?;
    let (sim, stop) = start_sim()?;
    let database = runtime.block_on(Database::create())?;
    let empty = Process::role(api::ROLE, &Variables::new())?;
    // One for each webhook of a round: `LIST_PAUSE` is for those that follow another.
    let calendars: Vec<Uuid> = (0..WEBHOOKS)
        .map(|number| sim.connect_calendar(NewCalendar::google(&format!("person{number}@acme.test"))))
        .collect();
    let replica = Process::serve(&database.variables(&sim.base_url()))?;
    runtime.block_on(async {
        empty.until_ready(EMPTY).await?;
        replica.until_ready("/readyz").await?;
        let synced = "select count(*) = 100 from calendars where synced_at is not null";
        database.until(synced, Duration::from_secs(60)).await?;
        database.until(SETTLED, Duration::from_secs(60)).await
    })?;
    let mut next = calendars.iter().cycle();
    let http = reqwest::Client::new();
    let [p50, p99] = in_turns(
        || percentiles(&runtime, || compare(&http, &empty, &database)),
        || percentiles(&runtime, async || schedule(&sim, *next.next().context("there are calendars")?, &replica).await),
    )?;
    drop(replica);
    drop(stop);
    runtime.block_on(database.remove())?;
    let what = "from a webhook's acknowledgement to Schedule Bot, against three empty calls and four commits";
    Ok(vec![
        Line::compared(4, &format!("{what}: p50"), p50, Target::AtMost(2.0), milliseconds),
        Line::compared(4, &format!("{what}: p99"), p99, Target::AtMost(4.0), milliseconds),
    ])
}

/// The simulator on a thread of its own, until what is returned with it is dropped.
pub(crate) fn start_sim() -> anyhow::Result<(sim::Recall, tokio::sync::oneshot::Sender<()>)> {
    let (started, has_started) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || -> anyhow::Result<()> {
        client_runtime()?.block_on(async {
            let sim = Sim::start(SimConfig { limits: sim::Limits::unlimited(), ..SimConfig::default() }).await?;
            started.send((*sim).clone())?;
            // An error is what tells to stop.
            let _ = stopped.await;
            Ok(())
        })
    });
    Ok((has_started.recv().context("the simulator did not start")?, stop))
}

fn percentiles(
    runtime: &tokio::runtime::Runtime,
    mut once: impl AsyncFnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<[f64; 2]> {
    runtime.block_on(async {
        let mut secs = Vec::with_capacity(WEBHOOKS);
        for _ in 0..WEBHOOKS {
            tokio::time::sleep(REST).await;
            secs.push(once().await?);
        }
        Ok([quantile(secs.clone(), 0.5), quantile(secs, 0.99)])
    })
}

/// Three calls that are answered with nothing, and four commits, one after the other: as many as there are things to do.
async fn compare(http: &reqwest::Client, empty: &Process, database: &Database) -> anyhow::Result<f64> {
    let (began, url) = (std::time::Instant::now(), format!("{}{EMPTY}", empty.url()));
    for number in 0..4 {
        let insert = "insert into deliveries (id, topic, proved_by, received_at) values ($1, '', '', now())";
        sqlx::query(insert).bind(Uuid::new_v4().to_string()).execute(&database.db).await?;
        if number < 3 {
            http.get(&url).send().await?.error_for_status()?.bytes().await?;
        }
    }
    Ok(began.elapsed().as_secs_f64())
}

/// From the answer to a webhook to the arrival of the call.
async fn schedule(sim: &sim::Recall, calendar: Uuid, replica: &Process) -> anyhow::Result<f64> {
    let clock = Clock::system();
    let start = clock.now() + TimeDelta::days(1);
    let link = format!("https://meet.google.com/{}", Uuid::new_v4().simple());
    sim.clear_calls();
    let event = sim.create_event(calendar, NewEvent::new("Weekly sync", start, 30).at(&link));
    let (status, body) =
        Connection::open(replica.addr).await?.send(&load::delivery(SERVICE, calendar, clock.now())?).await?;
    let accepted_at = clock.now();
    ensure!(status == 204, "answered {status}: {body}");
    // It is not looked for while it is on its way: looking takes time from what is measured.
    for _ in 0..100 {
        tokio::time::sleep(REST).await;
        if let Some(arrived_at) = arrival(sim, event) {
            return Ok((arrived_at - accepted_at).as_seconds_f64());
        }
    }
    anyhow::bail!("no bot is scheduled: {:#?}", sim.calls())
}

fn arrival(sim: &sim::Recall, event: Uuid) -> Option<DateTime<Utc>> {
    let is_ours = |call: &sim::Call| call.endpoint == Endpoint::ScheduleBot && call.id == Some(event);
    sim.calls().into_iter().find(is_ours).map(|call| call.at)
}
