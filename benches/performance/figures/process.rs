//! Figures 11 to 13: what the binary that is shipped takes of a machine.

use std::time::{Duration, Instant};

use rollcall::{
    clock::Clock,
    domain::calendar::CalendarId,
    store::queue::{self, Key, Request},
};

use crate::{
    api::{self, calendar_id},
    load,
    receiver::SERVICE,
    rounds::{ROUNDS, median},
    stage::{Database, Process, Variables, binary_size, client_runtime},
    table::{Line, Target},
};

/// The large calendar: 3 GB of events.
const PAGES: usize = 300;
const PAYLOAD_BYTES: usize = 100_000;
const LIMIT: Duration = Duration::from_secs(600);
/// Calendars of the idle replica.
const CALENDARS: usize = 10_000;
/// Two minutes of the API's limits, and what lies between them.
const IDLE_FOR: Duration = Duration::from_secs(124);

/// Figure 11.
pub(crate) fn memory() -> anyhow::Result<Vec<Line>> {
    let runtime = client_runtime()?;
    let variables = |calendars: usize, pages: usize| {
        let payload_bytes = PAYLOAD_BYTES.to_string();
        Variables::from([
            ("CALENDARS", calendars.to_string()),
            ("PAGES", pages.to_string()),
            ("PAYLOAD_BYTES", payload_bytes),
        ])
    };
    let api = Process::role(api::ROLE, &variables(0, 0))?;
    let (mut idle, mut loaded) = (vec![], vec![]);
    runtime.block_on(async {
        api.until_ready(api::EMPTY).await?;
        let database = Database::create().await?;
        for _ in 0..ROUNDS {
            let replica = Process::serve(&database.variables(&api.url()))?;
            replica.until_ready("/readyz").await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            idle.push(replica.memory("VmRSS")?);
            load::run(replica.addr, 64, load::deliveries(SERVICE, 50_000, 1000)?).await?;
            loaded.push(replica.memory("VmHWM")?);
        }
        database.remove().await
    })?;
    let api = Process::role(api::ROLE, &variables(1, PAGES))?;
    let mirroring = runtime.block_on(mirror_much(&api))?;
    let line = |what, value, bound| Line::amount(11, what, value, " MB", "", Target::AtMost(bound));
    Ok(vec![
        line("resident memory, idle", median(idle), 20.0),
        line("its peak under figure 1", median(loaded), 48.0),
        line("its peak while mirroring 300 pages of 100 KB events, once", mirroring, 96.0),
    ])
}

async fn mirror_much(api: &Process) -> anyhow::Result<f64> {
    api.until_ready(api::EMPTY).await?;
    let database = Database::create().await?;
    let replica = Process::serve(&database.variables(&api.url()))?;
    replica.until_ready("/readyz").await?;
    let now = Clock::system().now();
    let calendar = Request {
        key: Key::Calendar(CalendarId(calendar_id(0))),
        since: None,
        deadline: now,
        cause: "a benchmark",
        events_only: false,
    };
    queue::request(&mut *database.db.acquire().await?, &[calendar], now).await?;
    database.until("select count(*) > 0 from calendars where full_synced_at is not null", LIMIT).await?;
    let peak = replica.memory("VmHWM")?;
    drop(replica);
    database.remove().await?;
    Ok(peak)
}

/// Figure 12. With the API's own limits.
pub(crate) fn idle_cpu() -> anyhow::Result<Vec<Line>> {
    let api = Process::role(api::ROLE, &Variables::from([("CALENDARS", CALENDARS.to_string())]))?;
    let (per_core, sweep) = client_runtime()?.block_on(async {
        api.until_ready(api::EMPTY).await?;
        let database = Database::create().await?;
        let mut variables = database.variables(&api.url());
        let at_rest = "select coalesce(bool_and(kind = 'sweep' and due_at > now()), false) from reconcile_queue";
        let replica = Process::serve(&variables)?;
        database.until(at_rest, LIMIT).await?;
        drop(replica);
        // The calendars are known and synced; from now on with the limits that Recall has.
        variables.remove("RECALL_LIMITS");
        let replica = Process::serve(&variables)?;
        replica.until_ready("/readyz").await?;
        let (began, before) = (Instant::now(), replica.cpu_secs()?);
        database.until(at_rest, LIMIT).await?;
        let sweep = replica.cpu_secs()? - before;
        eprintln!("  the sweep took {sweep:.2} s of a core within {:?}", began.elapsed());
        let (began, before) = (Instant::now(), replica.cpu_secs()?);
        tokio::time::sleep(IDLE_FOR).await;
        let used = (replica.cpu_secs()? - before) / began.elapsed().as_secs_f64();
        drop(replica);
        database.remove().await?;
        anyhow::Ok((used, sweep))
    })?;
    /// From one sweep to the next, by default.
    const SWEEP_INTERVAL_SECS: f64 = 900.0;
    let percent = 100.0 * (per_core + sweep / SWEEP_INTERVAL_SECS);
    let what = "CPU of an idle replica with 10,000 connected calendars, the sweep's spread over its 15 minutes";
    Ok(vec![Line::amount(12, what, percent, " %", "one core", Target::AtMost(1.0))])
}

/// Figure 13.
pub(crate) fn start() -> anyhow::Result<Vec<Line>> {
    let secs = client_runtime()?.block_on(async {
        let database = Database::create().await?;
        let mut secs = vec![];
        for _ in 0..=ROUNDS {
            let began = Instant::now();
            let replica = Process::serve(&database.variables("http://127.0.0.1:9"))?;
            replica.until_ready("/readyz").await?;
            secs.push(began.elapsed().as_secs_f64());
        }
        database.remove().await?;
        anyhow::Ok(secs)
    })?;
    Ok(vec![
        Line::amount(13, "start to `/readyz` 200 on a migrated database", median(secs), " s", "", Target::AtMost(0.5)),
        Line::amount(13, "size of the stripped binary", binary_size()?, " MB", "", Target::AtMost(20.0)),
    ])
}
