//! A storm: deliveries by the hundred thousand, which cost their senders milliseconds and the API next to nothing.

use std::time::Duration;

use rollcall::sim::{Endpoint, Limits};
use sqlx::Executor;

use super::{
    fleet::Fleet,
    load::{Load, Plan},
    measure::memory,
    number,
    people::People,
};
use crate::world::{create_database, drop_database};

const CALENDARS: usize = 200;
/// Lists in a minute: the documented limit, and the default.
const LIST_LIMIT: usize = 60;
/// MiB that a replica may take at most.
const MEMORY_LIMIT: u64 = 100;

#[tokio::test]
#[ignore = "make faults"]
async fn a_storm_is_recorded_whole_and_costs_few_calls() {
    let total = usize::try_from(number("FAULTS_DELIVERIES").unwrap_or(100_000)).unwrap();
    let (database, url) = create_database().await;
    let mut fleet = Fleet::start(&url, &[]).await;
    let people = People::connect(&fleet.recall, CALENDARS).await;
    fleet.until_calm().await;
    // From here on with the limits that Recall has.
    fleet.restart_with("RECALL_LIMITS", "list=60,read=300,bot=600").await;
    fleet.recall.limits(&Limits::default()).await;
    fleet.recall.clear_calls().await;
    // As if a minute had passed: no call before it counts.
    fleet.db.execute("update api_slots set taken_at = 'epoch'").await.unwrap();
    let load = Load::start(&Plan {
        addresses: fleet.addresses(),
        senders: 200,
        pace: Duration::ZERO,
        one_in: 1,
        calendars: people.calendars.clone(),
        total: Some(total),
        repeats_one_in: Some(20),
    });
    let sent = load.finish(Duration::from_secs(300)).await;
    let peaks = fleet.pids().into_iter().map(|pid| memory(pid, "VmHWM")).max().unwrap();
    let calls = fleet.recall.calls().await;
    let lists =
        fleet.recall.count_calls(Endpoint::ListEvents).await + fleet.recall.count_calls(Endpoint::ListCalendars).await;
    let throttled = calls.iter().filter(|call| call.status == 429).count();
    assert_eq!(throttled, 0, "calls beyond the API's limits");
    let minutes = usize::try_from(sent.took.as_secs() / 60).unwrap() + 1;
    assert!(lists <= (minutes + 1) * LIST_LIMIT, "{lists} list calls in {:?}", sent.took);
    assert!(peaks < MEMORY_LIMIT, "a replica took {peaks} MiB");
    assert_eq!(sent.acknowledged.len(), total);
    // The rest at a pace that a test can wait for.
    fleet.recall.limits(&Limits::unlimited()).await;
    fleet.restart_with("RECALL_LIMITS", "list=6000,read=6000,bot=6000").await;
    let ending = fleet.converge(&sent).await;
    println!(
        "storm: {total} deliveries for {CALENDARS} calendars, and {} of them again, in {:.1} s: {:.0} acks/s with 200 senders \
         ({}), {} answered 503; {lists} list calls and {} others in the meantime, none throttled; a replica took {peaks} MiB at \
         most; all recorded; {} bots, right {:.1} s after",
        sent.repeated,
        sent.took.as_secs_f64(),
        (total + sent.repeated) as f64 / sent.took.as_secs_f64(),
        sent.times,
        sent.refused,
        calls.len() - lists,
        ending.bots,
        ending.took.as_secs_f64(),
    );
    fleet.end().await;
    drop_database(&database).await;
}
