//! Figures 1 to 3: what a durable yes costs.

use std::process::Command;

use anyhow::ensure;

use crate::{
    load::{self, Connection},
    receiver::{self, INSERTS, NOTHING, SERVICE, TRANSACTION},
    rounds::{in_turns, quantile},
    stage::{Database, Process, client_runtime},
    table::{Line, Target, milliseconds, per_second},
};

const CONNECTIONS: usize = 64;
const CALENDARS: usize = 1000;
/// Deliveries of a round.
const DELIVERIES: usize = 20_000;
/// Where `make profile` looks for what `perf` saw.
const PROFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/receiver.perf");
/// Of a sender with one connection.
const LONE_DELIVERIES: usize = 1000;

/// Figure 1.
pub(crate) fn against_nothing() -> anyhow::Result<Vec<Line>> {
    with_receiver(|runtime, receiver| {
        let load = |path: &'static str| {
            let requests = load::deliveries(path, DELIVERIES, CALENDARS)?;
            let load = runtime.block_on(load::run(receiver.addr, CONNECTIONS, requests))?;
            Ok([load.per_second])
        };
        let [rate] = in_turns(|| load(NOTHING), || load(SERVICE))?;
        let what = "deliveries acknowledged durably, 64 connections, against the same server doing nothing";
        Ok(vec![Line::compared(1, what, rate, Target::AtLeast(0.5), per_second)])
    })
}

/// Figure 2.
pub(crate) fn against_single_transactions() -> anyhow::Result<Vec<Line>> {
    with_receiver(|runtime, receiver| {
        let load = |path: &'static str| {
            let requests = load::deliveries(path, DELIVERIES, CALENDARS)?;
            let load = runtime.block_on(load::run(receiver.addr, CONNECTIONS, requests))?;
            Ok([load.per_second, load.p99])
        };
        let [rate, p99] = in_turns(|| load(TRANSACTION), || load(SERVICE))?;
        let what = "the same, against one transaction for each delivery";
        Ok(vec![
            Line::compared(2, what, rate, Target::AtLeast(4.0), per_second),
            Line::compared(2, &format!("{what}: p99"), p99, Target::AtMost(0.5), milliseconds),
        ])
    })
}

/// Figure 3. The inserts are made in the receiver's process, by its pool: there is no HTTP in them, and no client beside them.
pub(crate) fn against_an_insert() -> anyhow::Result<Vec<Line>> {
    with_receiver(|runtime, receiver| {
        let insert = || {
            runtime.block_on(async {
                let path = format!("{INSERTS}/{LONE_DELIVERIES}");
                let post = load::request("POST", &path);
                let (status, body) = Connection::open(receiver.addr).await?.send(&post).await?;
                ensure!(status == 200, "{path} answered {status}");
                Ok([quantile(serde_json::from_str(&body)?, 0.5)])
            })
        };
        let deliver = || {
            let requests = load::deliveries(SERVICE, LONE_DELIVERIES, CALENDARS)?;
            Ok([runtime.block_on(load::run(receiver.addr, 1, requests))?.p50])
        };
        let [p50] = in_turns(insert, deliver)?;
        let what = "a lone sender's delivery, p50, against one committed insert";
        Ok(vec![Line::compared(3, what, p50, Target::AtMost(1.25), milliseconds)])
    })
}

/// Has `perf` watch the receiver under the load of figure 1.
pub(crate) fn profile() -> anyhow::Result<()> {
    with_receiver(|runtime, receiver| {
        let load = || {
            let requests = load::deliveries(SERVICE, DELIVERIES, CALENDARS)?;
            runtime.block_on(load::run(receiver.addr, CONNECTIONS, requests))
        };
        load()?;
        // Samples by the clock: virtual machines often have no counters.
        let pid = receiver.pid().to_string();
        let record =
            ["record", "-e", "cpu-clock", "-F", "250", "--call-graph", "dwarf,16384", "-o", PROFILE, "-p", &pid];
        let mut perf = Command::new("perf").args(record).args(["--", "sleep", "5"]).spawn()?;
        while perf.try_wait()?.is_none() {
            load()?;
        }
        Ok(())
    })
}

/// Measures on a receiver of its own.
fn with_receiver<T>(
    measure: impl FnOnce(&tokio::runtime::Runtime, &Process) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let runtime = client_runtime()?;
    let database = runtime.block_on(Database::create())?;
    // No call is made: there is no worker.
    let receiver = Process::role(receiver::ROLE, &database.variables("http://127.0.0.1:9"))?;
    runtime.block_on(receiver.until_ready("/readyz"))?;
    let measured = measure(&runtime, &receiver)?;
    drop(receiver);
    runtime.block_on(database.remove())?;
    Ok(measured)
}
