//! Figure 8: what a thousand webhooks for ten calendars cost in calls, of which there are sixty a minute.

use std::time::Duration;

use anyhow::ensure;
use rollcall::{
    clock::Clock,
    sim::{self, Endpoint, NewCalendar},
};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use uuid::Uuid;

use super::schedule::start_sim;
use crate::{
    load::{self, Connection},
    receiver::SERVICE,
    rounds::{ROUNDS, median},
    stage::{Database, Process, SETTLED, client_runtime},
    table::{Line, Target},
};

const CALENDARS: usize = 10;
/// For each calendar, in a second.
const DELIVERIES: u32 = 100;
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn measure() -> anyhow::Result<Vec<Line>> {
    let runtime = client_runtime()?;
    let (sim, stop) = start_sim()?;
    let calendars: Vec<Uuid> = (0..CALENDARS)
        .map(|number| sim.connect_calendar(NewCalendar::google(&format!("person{number}@acme.test"))))
        .collect();
    let database = runtime.block_on(Database::create())?;
    let replica = Process::serve(&database.variables(&sim.base_url()))?;
    runtime.block_on(async {
        replica.until_ready("/readyz").await?;
        database.until("select count(*) = 10 from calendars where synced_at is not null", LIMIT).await?;
        database.until(SETTLED, LIMIT).await
    })?;
    let mut lists = vec![];
    for _ in 0..ROUNDS {
        lists.push(runtime.block_on(storm(&sim, &calendars, &replica, &database))?);
    }
    drop(replica);
    drop(stop);
    runtime.block_on(database.remove())?;
    let what = "list calls after 1,000 deliveries for 10 calendars in a second, the API answering at once";
    Ok(vec![Line::amount(8, what, median(lists), "", "1000", Target::AtMost(20.0))])
}

/// One storm, evenly spread; how many lists were asked for until all was done.
async fn storm(sim: &sim::Recall, calendars: &[Uuid], replica: &Process, database: &Database) -> anyhow::Result<f64> {
    // Apart from the one before.
    tokio::time::sleep(Duration::from_secs(3)).await;
    sim.clear_calls();
    let mut senders = JoinSet::new();
    for calendar in calendars {
        let requests: Result<Vec<_>, _> =
            (0..DELIVERIES).map(|_| load::delivery(SERVICE, *calendar, Clock::system().now())).collect();
        let (requests, addr) = (requests?, replica.addr);
        senders.spawn(async move {
            let mut connection = Connection::open(addr).await?;
            let mut pace = tokio::time::interval(Duration::from_secs(1) / DELIVERIES);
            pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for request in requests {
                pace.tick().await;
                let (status, body) = connection.send(&request).await?;
                ensure!(status == 204, "answered {status}: {body}");
            }
            Ok(())
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    database.until(SETTLED, LIMIT).await?;
    let lists = sim.calls().into_iter().filter(|call| call.endpoint == Endpoint::ListEvents).count();
    eprintln!("  {lists} list calls");
    Ok(lists as f64)
}
