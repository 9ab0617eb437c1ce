//! The database goes away under load: it crashes, is restarted, fails over to a standby, cuts connections, or says nothing.
//!
//! Whatever it does, no 2xx is false, senders are told to try again, `/livez` stays 200, and all goes on by itself.

use std::time::{Duration, Instant};

use reqwest::Url;
use rollcall::store;

use super::{
    cluster::Cluster,
    ending::Ending,
    fleet::Fleet,
    load::{Load, Plan, Sent},
    people::{Busy, People},
    probes::Probes,
    seed, until,
};
use crate::histories::proxy::Proxy;

/// How often connections are cut.
const CUTS: usize = 150;
/// How long an outage lasts: longer than a commit or a connection is waited for.
const OUTAGE: Duration = Duration::from_secs(7);
/// A sender gets its first 2xx within this time after the database is back.
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

/// Processes at work, with a database behind a proxy.
struct Scene {
    fleet: Fleet,
    load: Load,
    busy: Busy,
    probes: Probes,
    began: Instant,
}

impl Scene {
    async fn open(proxy: &Proxy, database: &Url, senders: usize) -> Self {
        let mut through = database.clone();
        through.set_port(Some(proxy.address.port())).unwrap();
        let mut fleet = Fleet::start(through.as_str(), &[]).await;
        fleet.db = store::pool(&String::from(database.clone()).into(), 2).unwrap();
        let people = People::connect(&fleet.recall, 8).await;
        fleet.until_calm().await;
        let pace = Duration::from_millis(5 * senders as u64);
        let load = Load::start(&Plan { senders, pace, one_in: 20, ..Plan::steady(&fleet, &people) });
        let probes = Probes::start(&fleet);
        Self { fleet, load, busy: people.get_busy(Duration::from_millis(100)), probes, began: Instant::now() }
    }

    /// Waits until so many more deliveries were acknowledged.
    async fn until_acknowledged(&self, more: usize, limit: Duration) -> Duration {
        let target = self.load.acknowledged() + more;
        until("deliveries are acknowledged", limit, async || self.load.acknowledged() >= target).await
    }

    /// Lets an outage last, in which nothing is acknowledged.
    async fn endure(&self) {
        // What was in hand when it began may have been acknowledged after.
        tokio::time::sleep(OUTAGE / 4).await;
        let before = self.load.acknowledged();
        tokio::time::sleep(OUTAGE * 3 / 4).await;
        assert_eq!(self.load.acknowledged(), before, "a 2xx without a database");
    }

    async fn close(self, what: &str) {
        let (people, sent) = (self.busy.stop().await, self.load.stop().await);
        let under_fire = self.began.elapsed();
        let ending = self.fleet.converge(&sent).await;
        let probes = self.probes.stop().await;
        say(what, under_fire, &people, &sent, &ending, probes);
        self.fleet.end().await;
    }
}

fn say(what: &str, under_fire: Duration, people: &People, sent: &Sent, ending: &Ending, probes: usize) {
    println!(
        "database {what}: {:.0} s under load and {} changes; {} deliveries acknowledged and recorded, {} answered 503, {} \
         connections broken, slowest answer {:.1} s; {probes} x /livez 200; {} bots, right {:.1} s after, before a sweep: {}",
        under_fire.as_secs_f64(),
        people.changes(),
        ending.recorded,
        sent.refused,
        sent.broken,
        sent.slowest.as_secs_f64(),
        ending.bots,
        ending.took.as_secs_f64(),
        ending.is_by_hints,
    );
}

#[tokio::test]
#[ignore = "make faults"]
async fn a_database_that_crashes_restarts_is_cut_off_and_fails_over_loses_nothing() {
    let primary = Cluster::new().await;
    let proxy = Proxy::to(&primary.url()).await;
    let mut scene = Scene::open(&proxy, &primary.url(), 24).await;
    crash_and_restart(&scene, &primary).await;
    cut_off(&scene, &proxy).await;
    // A commit is acknowledged when the standby has it as well, from here on.
    let standby = Cluster::standby_of(&primary).await;
    primary.set("synchronous_standby_names = '*'").await;
    until("the standby takes part in commits", RECOVERY_LIMIT, async || is_synchronous(&scene.fleet.db).await).await;
    scene.until_acknowledged(600, RECOVERY_LIMIT).await;
    primary.crash().await;
    // Before it is promoted it refuses writes, which is no reason to give up either.
    proxy.redirect(&standby.url());
    scene.endure().await;
    standby.promote().await;
    let took = scene.until_acknowledged(1, RECOVERY_LIMIT).await;
    println!("database failover: first 2xx {:.2} s after the standby was promoted", took.as_secs_f64());
    scene.fleet.db = store::pool(&String::from(standby.url()).into(), 2).unwrap();
    scene.until_acknowledged(600, RECOVERY_LIMIT).await;
    scene.close("crashes, restarts, cuts and failover").await;
}

async fn crash_and_restart(scene: &Scene, primary: &Cluster) {
    let mut recovered = vec![];
    for is_crash in [true, false, true] {
        scene.until_acknowledged(300, RECOVERY_LIMIT).await;
        let refused = scene.load.refused();
        if is_crash {
            primary.crash().await;
            scene.endure().await;
            assert!(scene.load.refused() > refused, "nobody was told to try again");
            primary.start().await;
        } else {
            primary.restart().await;
        }
        recovered.push(scene.until_acknowledged(1, RECOVERY_LIMIT).await);
    }
    println!("database crash, restart, crash: first 2xx after {recovered:.2?}");
}

async fn cut_off(scene: &Scene, proxy: &Proxy) {
    let mut rng = fastrand::Rng::with_seed(seed());
    let began = Instant::now();
    for _ in 0..CUTS {
        proxy.cut_in(rng.usize(1..30), rng.bool());
        until("connections are cut", RECOVERY_LIMIT, async || proxy.has_cut()).await;
        scene.until_acknowledged(rng.usize(0..20), RECOVERY_LIMIT).await;
    }
    let took = began.elapsed().as_secs_f64();
    println!("database cuts: all connections were cut {CUTS} times in {took:.0} s, before or after a statement acted");
}

async fn is_synchronous(db: &sqlx::PgPool) -> bool {
    let standbys = sqlx::query_scalar::<_, i64>("select count(*) from pg_stat_replication where sync_state = 'sync'");
    standbys.fetch_one(db).await.is_ok_and(|count| count == 1)
}

#[tokio::test]
#[ignore = "make faults"]
async fn a_database_that_says_nothing_keeps_no_sender_waiting() {
    let cluster = Cluster::new().await;
    let proxy = Proxy::to(&cluster.url()).await;
    // More than a few batches: those who wait behind the first are answered in time as well.
    let scene = Scene::open(&proxy, &cluster.url(), 1200).await;
    scene.until_acknowledged(2000, RECOVERY_LIMIT * 3).await;
    proxy.hold(true);
    for _ in 0..3 {
        scene.endure().await;
    }
    proxy.hold(false);
    scene.until_acknowledged(1, RECOVERY_LIMIT).await;
    scene.close("says nothing for 21 s, with 1200 senders").await;
}
