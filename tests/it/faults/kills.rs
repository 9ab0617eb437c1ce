//! `kill -9`: a replica is gone after any line, and what it had in hand is another's when the lease ends.

use std::time::{Duration, Instant};

use super::{
    fleet::Fleet,
    load::{Load, Plan},
    people::People,
    seed,
};
use crate::world::{create_database, drop_database};

const KILLS: usize = 60;

#[tokio::test]
#[ignore = "make faults"]
async fn replicas_that_are_killed_lose_nothing_that_was_acknowledged() {
    let (database, url) = create_database().await;
    let mut fleet = Fleet::start(&url, &[]).await;
    let people = People::connect(&fleet.recall, 12).await;
    fleet.until_calm().await;
    let load = Load::start(&Plan::steady(&fleet, &people));
    let busy = people.get_busy(Duration::from_millis(100));
    let mut rng = fastrand::Rng::with_seed(seed());
    let (began, mut kills) = (Instant::now(), 0);
    while kills < KILLS {
        // Now and then both at once, and now and then one that has only begun to start.
        let victims: &[usize] = rng.choice([&[0][..], &[1], &[0], &[1], &[0, 1]]).unwrap();
        if rng.u8(0..10) > 0 {
            for number in victims {
                fleet.until_ready(*number).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(0..1200))).await;
        for number in victims {
            fleet.kill_replica(*number).await;
            kills += 1;
        }
        for number in victims {
            fleet.start_replica(*number);
        }
    }
    let under_fire = began.elapsed();
    let (people, sent) = (busy.stop().await, load.stop().await);
    let ending = fleet.converge(&sent).await;
    println!(
        "kills: {kills} x kill -9 in {:.0} s under {:.0} acks/s and {} changes; {} deliveries acknowledged and recorded, {} \
         connections broken, {} answered 503; {} bots, right {:.0} s after the last kill, before a sweep: {}; acks {}",
        under_fire.as_secs_f64(),
        sent.acknowledged.len() as f64 / sent.took.as_secs_f64(),
        people.changes(),
        ending.recorded,
        sent.broken,
        sent.refused,
        ending.bots,
        ending.took.as_secs_f64(),
        ending.is_by_hints,
        sent.times,
    );
    fleet.end().await;
    drop_database(&database).await;
}
