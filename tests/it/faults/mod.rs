//! The proof by faults: the release binary as real processes, two replicas and a simulated Recall, over a real Postgres, and
//! under load what befalls processes, databases, networks and APIs. `make faults` runs them one after the other; each prints
//! a line with what it did and measured.
//!
//! What the histories cannot show shows here: what dies with a process, what a commit is worth when Postgres itself goes, and
//! what many connections cost. Each fault ends like a history: troubles cease, nobody helps, and `ending.rs` looks whether
//! all that was acknowledged is recorded, the bots are as the simulator's calendars ask, and the queue is empty.
//!
//! The checks are exact. What is drawn at random follows from `FAULTS_SEED`; when exactly a process dies does not. `/proc`
//! tells how much memory and how many descriptors a replica has, so they need Linux.

mod api;
mod clients;
mod cluster;
mod database;
mod ending;
mod fleet;
mod hanging;
mod kills;
mod load;
mod measure;
mod people;
mod probes;
mod recall;
mod stops;
mod storm;
mod wire;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::process::BINARY;

/// How often a condition is looked at that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The release binary, beside the binary that cargo made for the tests; or what `FAULTS_BINARY` names.
fn binary() -> PathBuf {
    let release = || Path::new(BINARY).ancestors().nth(2).unwrap().join("release/rollcall");
    let path = std::env::var_os("FAULTS_BINARY").map_or_else(release, PathBuf::from);
    assert!(path.exists(), "{} is not there: make faults builds it", path.display());
    path
}

fn seed() -> u64 {
    number("FAULTS_SEED").unwrap_or(1)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Waits until something holds; says how long that took.
async fn until(what: &str, limit: Duration, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < limit, "within {limit:?} it does not come to pass that {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    began.elapsed()
}

/// A port that nobody listens on, below those that systems give to clients: so it stays free while its process is down.
fn free_port() -> u16 {
    std::iter::repeat_with(|| fastrand::u16(20_000..32_000))
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}
