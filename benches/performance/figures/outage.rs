//! Figure 9: what it costs in list calls to bring a large workspace up to date, after nobody listened for a while.

use std::time::Duration;

use anyhow::ensure;
use chrono::{DateTime, TimeDelta, Utc};
use rollcall::{
    clock::Clock,
    sim::{self, Endpoint, NewCalendar, NewEvent},
};
use uuid::Uuid;

use super::schedule::start_sim;
use crate::{
    load,
    receiver::SERVICE,
    rounds::{ROUNDS, median},
    stage::{Database, Process, SETTLED, Variables, client_runtime},
    table::{Line, Target},
};

const CALENDARS: usize = 10_000;
const CONNECTIONS: usize = 64;
const LIMIT: Duration = Duration::from_secs(900);

pub(crate) fn measure() -> anyhow::Result<Vec<Line>> {
    let runtime = client_runtime()?;
    let (sim, stop) = start_sim()?;
    let start = Clock::system().now() + TimeDelta::days(1);
    let calendars: Vec<Uuid> = (0..CALENDARS)
        .map(|number| sim.connect_calendar(NewCalendar::google(&format!("person{number}@acme.test"))))
        .collect();
    // Without links: bots are another figure.
    let events: Vec<Uuid> =
        calendars.iter().map(|calendar| sim.create_event(*calendar, NewEvent::new("Lunch", start, 30))).collect();
    let database = runtime.block_on(Database::create())?;
    let mut variables = database.variables(&sim.base_url());
    variables.insert("RECALL_LIMITS", "list=100000,read=100000,bot=100000".to_owned());
    runtime.block_on(async {
        let replica = Process::serve(&variables)?;
        replica.until_ready("/readyz").await?;
        database.until("select count(*) = 10000 from calendars where full_synced_at is not null", LIMIT).await?;
        database.until(SETTLED, LIMIT).await?;
        anyhow::Ok(())
    })?;
    eprintln!("  {CALENDARS} calendars are mirrored");
    let outage = Outage { sim, calendars, events, database, variables };
    let (mut told, mut untold) = (vec![], vec![]);
    for _ in 0..=ROUNDS {
        told.push(runtime.block_on(outage.end(true))?);
    }
    for _ in 0..ROUNDS {
        untold.push(runtime.block_on(outage.end(false))?);
    }
    // The first is the one in which such lists are tested.
    let first = told.remove(0);
    drop(stop);
    runtime.block_on(outage.database.remove())?;
    let line = |what: &str, lists| Line::amount(9, what, lists, "", "10000", Target::AtMost(150.0));
    let [events, all] = [|lists: &Lists| lists.events as f64, |lists: &Lists| (lists.events + lists.calendars) as f64];
    Ok(vec![
        line(
            "lists of events for 10,000 calendars with a change each, whose webhooks are sent again",
            median(told.iter().map(events)),
        ),
        line("the same, the first time, which is a test", events(&first)),
        line("the same, where the webhooks are lost and a sweep finds the changes", median(untold.iter().map(events))),
        line("all lists of the latter, with those of calendars", median(untold.iter().map(all))),
    ])
}

/// Calls that list.
struct Lists {
    events: usize,
    calendars: usize,
}

struct Outage {
    sim: sim::Recall,
    calendars: Vec<Uuid>,
    events: Vec<Uuid>,
    database: Database,
    variables: Variables,
}

impl Outage {
    /// Every calendar changes while no replica runs; then one does. How many lists it asked for until all was mirrored.
    async fn end(&self, is_told: bool) -> anyhow::Result<Lists> {
        let began_at = Clock::system().now();
        for event in &self.events {
            self.sim.edit_event(*event, |event| event.title.push('!'));
        }
        self.sim.clear_calls();
        let replica = Process::serve(&self.variables)?;
        replica.until_ready("/readyz").await?;
        if is_told {
            self.send_again(&replica, began_at).await?;
        } else {
            self.database.execute("update reconcile_queue set due_at = now() where kind = 'sweep'").await?;
        }
        let stale = format!("select count(*) = 0 from events where updated_at < '{}'", began_at.to_rfc3339());
        self.database.until(&stale, LIMIT).await?;
        self.database.until(SETTLED, LIMIT).await?;
        let calls = self.sim.calls();
        let count = |endpoint| calls.iter().filter(|call| call.endpoint == endpoint).count();
        let lists = Lists { events: count(Endpoint::ListEvents), calendars: count(Endpoint::ListCalendars) };
        let Lists { events, calendars } = lists;
        eprintln!("  {events} lists of events, {calendars} of calendars");
        ensure!(events > CALENDARS / 100, "a page has a hundred events, and {events} pages were read");
        Ok(lists)
    }

    /// The webhooks that nobody has heard.
    async fn send_again(&self, replica: &Process, since: DateTime<Utc>) -> anyhow::Result<()> {
        let deliveries: Result<_, _> =
            self.calendars.iter().map(|calendar| load::delivery(SERVICE, *calendar, since)).collect();
        load::run(replica.addr, CONNECTIONS, deliveries?).await?;
        Ok(())
    }
}
