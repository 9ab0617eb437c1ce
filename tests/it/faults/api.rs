//! The API hangs, answers at a byte a second, closes early, or says for ten minutes that there were too many calls.

use std::time::Duration;

use rollcall::sim::{Endpoint, Fault};

use super::{
    fleet::Fleet,
    load::{Load, Plan, Sent},
    number,
    people::People,
    probes::Probes,
};
use crate::world::{create_database, drop_database};

/// How long each kind of failure lasts.
const PHASE: Duration = Duration::from_secs(10);
/// More than are called.
const EVER: usize = 100_000;
/// Turns that two replicas take at once; each may be refused before the first refusal is known to all.
const AT_ONCE: usize = 32;

#[tokio::test]
#[ignore = "make faults"]
async fn an_api_that_hangs_trickles_or_closes_early_is_a_delay() {
    let (database, url) = create_database().await;
    let fleet = Fleet::start(&url, &[]).await;
    let mut people = People::connect(&fleet.recall, 12).await;
    fleet.until_calm().await;
    let probes = Probes::start(&fleet);
    let mut sent = Sent::default();
    for (name, fault) in [
        ("hangs", Fault::Hang),
        ("answers at a byte a second", Fault::Trickle),
        ("closes in the middle of its answers", Fault::Truncate),
        ("closes before its answers", Fault::LoseAnswer),
    ] {
        let (load, changes) = (Load::start(&Plan::steady(&fleet, &people)), people.changes());
        fleet.recall.clear_calls().await;
        fleet.recall.fail_next(Endpoint::Any, fault, EVER).await;
        let busy = people.get_busy(Duration::from_millis(100));
        tokio::time::sleep(PHASE).await;
        people = busy.stop().await;
        let failed = fleet.recall.calls().await.len();
        fleet.recall.end_faults().await;
        sent = sent.and(load.stop().await);
        assert!(failed > 0, "nothing was called");
        assert_eq!(sent.refused + sent.broken, 0, "every delivery was acknowledged at once");
        let ending = fleet.converge(&sent).await;
        println!(
            "api {name}: {failed} calls did in {:.0} s; {} changes; acks {}; {} bots, right {:.1} s after, before a sweep: {}",
            PHASE.as_secs_f64(),
            people.changes() - changes,
            sent.times,
            ending.bots,
            ending.took.as_secs_f64(),
            ending.is_by_hints,
        );
    }
    println!(
        "api: {} deliveries acknowledged and recorded; {} x /livez 200",
        sent.acknowledged.len(),
        probes.stop().await
    );
    fleet.end().await;
    drop_database(&database).await;
}

#[tokio::test]
#[ignore = "make faults"]
async fn an_api_that_says_429_for_long_is_left_alone() {
    let secs = number("FAULTS_THROTTLE_SECONDS").unwrap_or(30);
    let (database, url) = create_database().await;
    let fleet = Fleet::start(&url, &[]).await;
    let people = People::connect(&fleet.recall, 40).await;
    fleet.until_calm().await;
    let load = Load::start(&Plan::steady(&fleet, &people));
    fleet.recall.clear_calls().await;
    // Each refusal names a tenth of the time that is left: a minute, if it lasts ten.
    let refusal = Fault::RetryAfter { status: 429, secs: secs.div_ceil(10) };
    fleet.recall.fail_next(Endpoint::Any, refusal, EVER).await;
    let busy = people.get_busy(Duration::from_millis(250));
    tokio::time::sleep(Duration::from_secs(secs)).await;
    let calls = fleet.recall.calls().await.len();
    let attempts =
        sqlx::query_scalar::<_, i64>("select count(*) from reconcile_queue where attempt > 0 or due_at = 'infinity'");
    let used_up: i64 = attempts.fetch_one(&fleet.db).await.unwrap();
    let waiting = sqlx::query_scalar::<_, i64>("select count(*) from reconcile_queue where kind <> 'sweep'");
    let waiting: i64 = waiting.fetch_one(&fleet.db).await.unwrap();
    assert!(waiting > 0, "nothing waits for the API");
    assert_eq!(used_up, 0, "keys that an attempt was counted for, or that are parked");
    assert!(calls <= 12 * AT_ONCE, "{calls} calls");
    fleet.recall.end_faults().await;
    let (people, sent) = (busy.stop().await, load.stop().await);
    let ending = fleet.converge(&sent).await;
    println!(
        "429: for {secs} s each call was refused with Retry-After: {}, and both replicas together made {calls}; no attempt was \
         counted for the {waiting} keys that waited; {} changes; {} deliveries acknowledged and recorded ({}); {} bots, right \
         {:.1} s after, before a sweep: {}",
        secs.div_ceil(10),
        people.changes(),
        ending.recorded,
        sent.times,
        ending.bots,
        ending.took.as_secs_f64(),
        ending.is_by_hints,
    );
    fleet.end().await;
    drop_database(&database).await;
}
