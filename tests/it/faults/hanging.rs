//! Two database connections, and an API that hangs: receiving knows nothing of it.

use std::time::Duration;

use rollcall::sim::{Endpoint, Fault};

use super::{
    fleet::Fleet,
    load::{Load, Plan, Sent},
    people::People,
    probes::Probes,
    until,
};
use crate::world::{create_database, drop_database};

/// How long is measured without the hang.
const BEFORE: Duration = Duration::from_secs(12);
/// How long the API hangs: longer than a call may take, so that turns fail and others hang.
const HANG: Duration = Duration::from_secs(33);
/// Half of the deliveries are acknowledged within this time in either phase.
const MEDIAN_LIMIT: Duration = Duration::from_millis(100);

#[tokio::test]
#[ignore = "make faults"]
async fn with_two_connections_and_an_api_that_hangs_webhooks_are_acknowledged_as_fast() {
    let (database, url) = create_database().await;
    // Each calendar has a call of its own, and all of them hang.
    let vars = [("DATABASE_MAX_CONNECTIONS", "2"), ("WORKSPACE_LISTING", "off")];
    let fleet = Fleet::start(&url, &vars).await;
    let people = People::connect(&fleet.recall, 40).await;
    fleet.until_calm().await;
    let probes = Probes::start(&fleet);
    let plan = Plan { one_in: 4, ..Plan::steady(&fleet, &people) };
    let without = measure(&plan, BEFORE).await;
    // First: what hangs from the first moment on holds turns for as long as it does.
    fleet.recall.clear_calls().await;
    fleet.recall.fail_next(Endpoint::Any, Fault::Hang, 100_000).await;
    let busy = people.get_busy(Duration::from_millis(100));
    until("calls hang", BEFORE, async || fleet.recall.calls().await.len() >= 16).await;
    let with = measure(&plan, HANG).await;
    let hung = fleet.recall.calls().await.len();
    fleet.recall.end_faults().await;
    let people = busy.stop().await;
    let (times, hanging) = (without.times.to_string(), with.times.to_string());
    for sent in [&without, &with] {
        assert_eq!(sent.refused + sent.broken, 0, "every delivery was acknowledged at once");
        assert!(sent.times.percentile(50) < MEDIAN_LIMIT, "{}", sent.times);
    }
    let ending = fleet.converge(&without.and(with)).await;
    println!(
        "hang: DATABASE_MAX_CONNECTIONS=2, an API that hangs ({hung} calls did): acks {hanging} (without the hang, same run: \
         {times}); {} x /livez 200; {} changes; {} deliveries acknowledged and recorded; {} bots, right {:.1} s after, before \
         a sweep: {}",
        probes.stop().await,
        people.changes(),
        ending.recorded,
        ending.bots,
        ending.took.as_secs_f64(),
        ending.is_by_hints,
    );
    fleet.end().await;
    drop_database(&database).await;
}

async fn measure(plan: &Plan, time: Duration) -> Sent {
    let load = Load::start(plan);
    tokio::time::sleep(time).await;
    load.stop().await
}
