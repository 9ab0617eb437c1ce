//! SIGTERM: a replica finishes what it has in hand, gives back the rest, and exits 0 in time.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    fleet::Fleet,
    load::{Load, Plan},
    measure::Times,
    people::People,
    seed,
};
use crate::world::{create_database, drop_database};

const STOPS: usize = 24;
const EXIT_LIMIT: Duration = Duration::from_secs(10);
/// Well within a lease: a replica that is told to stop leaves none behind.
const CONVERGE_LIMIT: Duration = Duration::from_secs(45);

#[tokio::test]
#[ignore = "make faults"]
async fn replicas_that_are_told_to_stop_exit_0_in_time_and_leave_nothing_behind() {
    let (database, url) = create_database().await;
    let mut fleet = Fleet::start(&url, &[]).await;
    let people = People::connect(&fleet.recall, 12).await;
    fleet.until_calm().await;
    let load = Load::start(&Plan::steady(&fleet, &people));
    let busy = people.get_busy(Duration::from_millis(50));
    let mut rng = fastrand::Rng::with_seed(seed());
    let mut took = vec![];
    for number in 0..STOPS {
        // Turns are in hand: each call takes a while, and every sixth time longer than a replica may.
        let latency_ms = if number % 6 == 5 { 20_000 } else { rng.u64(50..800) };
        fleet.recall.knobs(&json!({ "latency_ms": latency_ms })).await;
        fleet.until_ready(number % 2).await;
        tokio::time::sleep(Duration::from_millis(rng.u64(0..1000))).await;
        let told = Instant::now();
        let status = fleet.stop_replica(number % 2).await;
        took.push(told.elapsed());
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(told.elapsed() < EXIT_LIMIT, "it took {:?}", told.elapsed());
        fleet.start_replica(number % 2);
    }
    fleet.recall.knobs(&json!({ "latency_ms": 0 })).await;
    let (people, sent) = (busy.stop().await, load.stop().await);
    let ending = fleet.converge(&sent).await;
    assert!(ending.took < CONVERGE_LIMIT, "keys were left to their leases: {:?}", ending.took);
    println!(
        "stops: {STOPS} x SIGTERM under {:.0} acks/s and {} changes, all exit 0 ({}); {} deliveries acknowledged and \
         recorded, {} connections broken, {} answered 503; {} bots, right after {:.1} s, before a sweep: {}",
        sent.acknowledged.len() as f64 / sent.took.as_secs_f64(),
        people.changes(),
        Times::of(took),
        ending.recorded,
        sent.broken,
        sent.refused,
        ending.bots,
        ending.took.as_secs_f64(),
        ending.is_by_hints,
    );
    fleet.end().await;
    drop_database(&database).await;
}
