//! Figures 5 and 6: reading a calendar's events into the mirror.

use std::{cell::Cell, time::Instant};

use anyhow::ensure;
use chrono::{DateTime, Utc};
use rollcall::{
    clock::Clock,
    domain::{calendar::CalendarId, event::Event},
    recall::PageQuery,
    store::{
        pages,
        queue::{self, Key, Request},
    },
    worker::Worker,
};
use tokio::runtime::Runtime;

use crate::{
    api::{self, PAGE_SIZE, calendar_id},
    load::{Connection, request},
    rounds::in_turns,
    stage::{self, Database, Process, Variables},
    table::{Line, Target, per_second},
};

const PAGES: usize = 100;
const EVENTS: usize = PAGES * PAGE_SIZE;
const PAYLOAD_BYTES: usize = 1500;
/// Events in one statement of the baseline.
const BATCH: usize = 1000;

pub(crate) fn measure() -> anyhow::Result<Vec<Line>> {
    let runtime = Runtime::new()?;
    let variables = Variables::from([("PAGES", PAGES.to_string()), ("PAYLOAD_BYTES", PAYLOAD_BYTES.to_string())]);
    let api = Process::role(api::ROLE, &variables)?;
    let mirror = runtime.block_on(Mirror::start(&api))?;
    let change = || runtime.block_on(mirror.change_all());
    // The calendar is known, and read whole before.
    change()?;
    runtime.block_on(mirror.sync())?;
    let changed = in_turns(
        || change().and_then(|()| runtime.block_on(mirror.upsert())),
        || change().and_then(|()| runtime.block_on(mirror.sync())),
    )?;
    runtime.block_on(mirror.sync())?;
    let before = runtime.block_on(mirror.rows())?;
    let unchanged = in_turns(|| runtime.block_on(mirror.upsert()), || runtime.block_on(mirror.sync()))?;
    ensure!(runtime.block_on(mirror.rows())? == before, "unchanged events were written, or requested");
    drop(api);
    runtime.block_on(mirror.database.remove())?;
    let [changed, unchanged] = [changed[0], unchanged[0]];
    Ok(vec![
        Line::compared(
            5,
            "changed events mirrored, against the upsert alone in batches of 1,000",
            changed,
            Target::AtLeast(0.6),
            per_second,
        ),
        Line::compared(
            6,
            "unchanged events read again, against the same upsert alone; nothing written, nothing requested",
            unchanged,
            Target::AtLeast(0.6),
            per_second,
        ),
    ])
}

struct Mirror {
    database: Database,
    worker: Worker,
    api: std::net::SocketAddr,
    version: Cell<u32>,
}

impl Mirror {
    async fn start(api: &Process) -> anyhow::Result<Self> {
        api.until_ready(api::EMPTY).await?;
        let database = Database::create().await?;
        let worker = stage::worker(&database.variables(&api.url())).await?;
        Ok(Self { database, worker, api: api.addr, version: Cell::new(0) })
    }

    /// Every event changes at the API.
    async fn change_all(&self) -> anyhow::Result<()> {
        self.version.set(self.version.get() + 1);
        let put = request("PUT", &format!("/version/{}", self.version.get()));
        let (status, _) = Connection::open(self.api).await?.send(&put).await?;
        ensure!(status == 204, "the API's stand-in answered {status}");
        Ok(())
    }

    /// The turn that reads the calendar whole, of which it gets many pages where the limits are out of the way; events a second.
    async fn sync(&self) -> anyhow::Result<[f64; 1]> {
        // The turns of the events are another figure; and autovacuum clears within a minute or two what is left of their keys.
        self.database.execute("delete from reconcile_queue").await?;
        self.database.execute("vacuum reconcile_queue").await?;
        let now = Clock::system().now();
        let key = Key::Calendar(CalendarId(calendar_id(0)));
        let whole = Request {
            key,
            since: Some(DateTime::<Utc>::UNIX_EPOCH),
            deadline: now,
            cause: "a benchmark",
            events_only: false,
        };
        queue::request(&mut *self.database.db.acquire().await?, &[whole], now).await?;
        let began = Instant::now();
        ensure!(self.worker.take_one_turn().await?, "the calendar's key is gone");
        let took = began.elapsed().as_secs_f64();
        let left = self.database.query("select count(*) from reconcile_queue where kind = 'calendar'").await?;
        ensure!(left == "0", "the calendar is not settled");
        Ok([EVENTS as f64 / took])
    }

    /// The bare upsert of the same events, which are read before the clock starts; events a second.
    async fn upsert(&self) -> anyhow::Result<[f64; 1]> {
        let events = self.read_all().await?;
        let (now, mut db) = (Clock::system().now(), self.worker.reconciler().db.acquire().await?);
        let began = Instant::now();
        for batch in events.chunks(BATCH) {
            pages::mirror(&mut db, batch, now).await?;
        }
        Ok([EVENTS as f64 / began.elapsed().as_secs_f64()])
    }

    async fn read_all(&self) -> anyhow::Result<Vec<Event>> {
        let api = &self.worker.reconciler().api;
        let mut page = api.list_calendar_events(CalendarId(calendar_id(0)), None).await?;
        let mut events = std::mem::take(&mut page.events);
        while let Some(next) = page.next.take() {
            page = api.list_calendar_events_next(&PageQuery::from_stored(next.as_str().to_owned())).await?;
            events.append(&mut page.events);
        }
        ensure!(events.len() == EVENTS, "{} events were read", events.len());
        Ok(events)
    }

    /// What is different after any row was written, though it be with the same values, or any event was requested.
    async fn rows(&self) -> anyhow::Result<String> {
        let rows = "select md5(string_agg(id::text || xmin::text || ctid::text, ',' order by id)) from events";
        let keys = "select count(*) from reconcile_queue";
        Ok(format!("{} {}", self.database.query(rows).await?, self.database.query(keys).await?))
    }
}
