//! Living well (number 8 of the main job): probes, metrics, a database that is away, and the loops that run by themselves.

use std::{
    net::{SocketAddr, TcpStream as BlockingStream},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use reqwest::Client;
use rollcall::{
    app::App,
    clock::Clock,
    config::Config,
    sim::{self, Delivery, Endpoint, Fault, NewCalendar, NewEvent, Sim, SimConfig},
    store::calendars,
};
use sqlx::Executor;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::{
    process::talk,
    receive::{Post, update},
    world::{LINK, World, create_database, drop_database},
};

#[tokio::test]
async fn the_probes_and_the_metrics_answer() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    world.meeting(calendar);
    world.settle().await;
    let get = async |path: &str| {
        let response = reqwest::get(format!("{}{path}", world.replica.url)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/livez").await, (200, "ok\n".into()));
    assert_eq!(get("/readyz").await, (200, r#"{"api":null,"status":"ready"}"#.into()));
    let (status, metrics) = get("/metrics").await;
    assert_eq!(status, 200);
    for name in [
        "deliveries_total",
        "ack_seconds",
        "ack_batch_size",
        "turns_total",
        "api_calls_total",
        "decisions_total",
        "queue_keys",
    ] {
        assert!(metrics.contains(&format!("rollcall_{name}")), "{name}");
    }
    world.finish().await;
}

/// A sync that fails, or is never due, does not look like one.
#[tokio::test]
async fn a_calendar_that_is_not_synced_shows_whatever_becomes_of_its_turns() {
    let world = World::new().await;
    let freshness = async || calendars::freshness(&world.db, world.now()).await.unwrap();
    let before = freshness().await;
    assert_eq!((before.connected, before.oldest_sync_secs), (0, 0.0));
    world.calendar("ada@acme.test").await;
    world.advance(TimeDelta::minutes(10));
    world.sim.fail_next(Endpoint::ListEvents, Fault::WrongShape, 100);
    world.calendar("eve@other.test").await;
    world.request_sweep().await;
    world.settle().await;
    let after = freshness().await;
    assert_eq!((after.connected, after.never_synced, after.oldest_sync_secs), (2, 1, 600.0));
    world.sim.clear_faults();
    world.advance(TimeDelta::minutes(10));
    world.finish().await;
}

#[tokio::test]
async fn whoever_floods_the_probes_takes_one_connection() {
    let world = World::with(&[("DATABASE_MAX_CONNECTIONS", "2")]).await;
    let mut stuck = world.db.begin().await.unwrap();
    stuck.execute("lock table reconcile_queue in access exclusive mode").await.unwrap();
    let looks = join_all((0..50).map(|_| reqwest::get(format!("{}/metrics", world.replica.url))));
    let delivery = async {
        let waiting = "select count(*) > 0 from pg_locks where not granted and relation = 'reconcile_queue'::regclass";
        until(async || sqlx::query_scalar(waiting).fetch_one(&mut *stuck).await.unwrap()).await;
        assert!(reqwest::get(format!("{}/readyz", world.replica.url)).await.unwrap().status().is_success());
        stuck.rollback().await.unwrap();
    };
    let (looks, ()) = tokio::join!(looks, delivery);
    assert!(looks.into_iter().all(|look| look.unwrap().status().is_success()));
    world.finish().await;
}

#[tokio::test]
async fn whoever_hangs_up_on_a_probe_leaves_no_connection_taken() {
    let world = World::with(&[("DATABASE_MAX_CONNECTIONS", "2")]).await;
    let mut stuck = world.db.begin().await.unwrap();
    stuck.execute("lock table reconcile_queue in access exclusive mode").await.unwrap();
    let mut client = TcpStream::connect(world.replica.url.trim_start_matches("http://")).await.unwrap();
    client.write_all(b"GET /metrics HTTP/1.1\r\nhost: rollcall\r\n\r\n").await.unwrap();
    let waiting = "select count(*) > 0 from pg_locks where not granted and relation = 'reconcile_queue'::regclass";
    until(async || sqlx::query_scalar(waiting).fetch_one(&mut *stuck).await.unwrap()).await;
    client.shutdown().await.unwrap();
    client.read_to_end(&mut vec![]).await.unwrap(); // the server has hung up as well
    stuck.rollback().await.unwrap();
    let pool = &world.replica.worker.reconciler().db;
    let (first, second) = tokio::join!(pool.acquire(), pool.acquire());
    assert!(first.is_ok() && second.is_ok());
    drop((first, second));
    world.finish().await;
}

#[tokio::test]
async fn readyz_is_503_with_the_reason_while_nothing_can_be_committed() {
    let world = World::new().await;
    world.execute(&format!("alter database {} set default_transaction_read_only = on", world.database)).await;
    let replica = world.another_pool().await;
    let response = reqwest::get(format!("{replica}/readyz")).await.unwrap();
    assert_eq!(response.status().as_u16(), 503);
    assert!(response.text().await.unwrap().contains("read-only"));
    world.finish_as_it_is().await;
}

/// A service with its loops, as `rollcall serve` runs it.
async fn start_app(sim: &Sim, database_url: &str) -> App {
    let vars = |name: &str| match name {
        "DATABASE_URL" => Some(database_url.to_owned()),
        "RECALL_API_KEY" => Some(sim::DEFAULT_API_KEY.to_owned()),
        "RECALL_BASE_URL" => Some(sim.base_url()),
        "RECALL_WEBHOOK_SECRETS" => Some(sim::DEFAULT_SECRET.to_owned()),
        "LISTEN_ADDR" => Some("127.0.0.1:0".to_owned()),
        _ => None,
    };
    let config = Config::from_lookup(&vars).unwrap();
    App::start(config, Clock::system()).await.unwrap()
}

async fn live_sim() -> Sim {
    Sim::start(SimConfig { delivery: Delivery::Live, ..SimConfig::default() }).await.unwrap()
}

fn whole_minute(at: DateTime<Utc>) -> DateTime<Utc> {
    at - TimeDelta::nanoseconds(at.timestamp_nanos_opt().unwrap() % 60_000_000_000)
}

#[tokio::test]
async fn the_loops_take_a_webhook_to_its_bot_by_themselves() {
    let sim = live_sim().await;
    let (database, url) = create_database().await;
    let app = start_app(&sim, &url).await;
    sim.set_endpoint(&format!("http://{}/webhooks/recall", app.addr()));
    let calendar = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let start = whole_minute(sim.clock().now() + TimeDelta::hours(2));
    let event = sim.create_event(calendar, NewEvent::new("Weekly sync", start, 30).at(LINK));
    until(async || sim.live_bots().iter().any(|bot| bot.events.contains(&event))).await;
    app.stop().await;
    drop_database(&database).await;
}

#[tokio::test]
async fn two_hundred_clients_that_connect_at_once_all_get_through_at_once() {
    // No system lets more wait than this.
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|most| most.trim().parse().ok());
    let count = 200.min(most.unwrap_or(128));
    let sim = live_sim().await;
    let (database, url) = create_database().await;
    let app = start_app(&sim, &url).await;
    // Nothing is accepted while this thread, the only one, is held. A client beyond the backlog would wait for a second.
    let connect = |_| BlockingStream::connect_timeout(&app.addr(), Duration::from_millis(900)).unwrap();
    let clients: Vec<BlockingStream> = (0..count).map(connect).collect();
    let livez = reqwest::get(format!("http://{}/livez", app.addr())).await.unwrap();
    assert_eq!(livez.status().as_u16(), 200);
    drop(clients);
    app.stop().await;
    drop_database(&database).await;
}

#[tokio::test]
async fn a_head_that_does_not_end_within_16_kib_is_431_at_once() {
    let sim = live_sim().await;
    let (database, url) = create_database().await;
    let app = start_app(&sim, &url).await;
    let began = Instant::now();
    let head = "POST /webhooks/recall HTTP/1.1\r\nHost: x\r\nX-Large: ";
    let answer = talk(&app.addr().to_string(), head.to_owned() + &"x".repeat(16 * 1024 - head.len())).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(5), "it was not waited for");
    app.stop().await;
    drop_database(&database).await;
}

#[tokio::test]
async fn a_start_without_a_database_waits_for_it() {
    let sim = live_sim().await;
    let (database, url) = create_database().await;
    // A port that nobody listens on until the way to the database is opened, and that nobody else can take till then.
    let way = TcpSocket::new_v4().unwrap();
    way.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let app = start_app(&sim, &through(&url, way.local_addr().unwrap())).await;
    let base = format!("http://{}", app.addr());
    let status = async |path: &str| reqwest::get(format!("{base}{path}")).await.unwrap().status().as_u16();
    assert_eq!(status("/livez").await, 200);
    assert_eq!(status("/readyz").await, 503);
    assert_eq!(status("/metrics").await, 200);
    let sent = post_update(&base, sim.clock().now(), "msg_1").await;
    assert_eq!(sent, 503);

    let proxy = tokio::spawn(forward(way.listen(64).unwrap(), url));
    until(async || status("/readyz").await == 200).await;
    assert_eq!(post_update(&base, sim.clock().now(), "msg_1").await, 204);
    app.stop().await;
    proxy.abort();
    drop_database(&database).await;
}

#[tokio::test]
async fn a_migration_that_fails_stops_the_start() {
    let sim = live_sim().await;
    let world = World::new().await;
    world.execute("update _sqlx_migrations set checksum = 'x' where version = 1").await;
    let app = start_app(&sim, &world.vars["DATABASE_URL"]).await;
    let error = app.run(std::future::pending()).await.unwrap_err();
    assert!(format!("{error:#}").contains("a migration failed"), "{error:#}");
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_release_starts_though_a_later_one_has_migrated() {
    let sim = live_sim().await;
    let world = World::new().await;
    world
        .execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (9999, 'of a later release', true, '', 0)",
        )
        .await;
    let app = start_app(&sim, &world.vars["DATABASE_URL"]).await;
    let readyz = format!("http://{}/readyz", app.addr());
    until(async || reqwest::get(&readyz).await.unwrap().status().as_u16() == 200).await;
    app.stop().await;
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn readyz_is_503_until_the_schema_is_up_to_date() {
    let sim = live_sim().await;
    let world = World::new().await;
    let mut migrating = world.db.begin().await.unwrap();
    migrating.execute("lock table _sqlx_migrations").await.unwrap();
    let app = start_app(&sim, &world.vars["DATABASE_URL"]).await;
    let readyz = format!("http://{}/readyz", app.addr());
    let response = reqwest::get(&readyz).await.unwrap();
    assert_eq!(response.status().as_u16(), 503);
    assert!(response.text().await.unwrap().contains("migrations have not finished"));
    migrating.rollback().await.unwrap();
    until(async || reqwest::get(&readyz).await.unwrap().status().as_u16() == 200).await;
    app.stop().await;
    world.finish_as_it_is().await;
}

async fn post_update(base: &str, now: DateTime<Utc>, id: &str) -> u16 {
    let post = Post::signed_at(now, id, &update());
    let mut request = Client::new().post(format!("{base}/webhooks/recall"));
    for (name, value) in post.headers {
        request = request.header(name, value);
    }
    request.body(post.body).send().await.unwrap().status().as_u16()
}

/// `database_url` by way of another port.
fn through(database_url: &str, port: SocketAddr) -> String {
    let mut url = reqwest::Url::parse(database_url).unwrap();
    url.set_port(Some(port.port())).unwrap();
    url.set_host(Some("127.0.0.1")).unwrap();
    url.into()
}

async fn forward(listener: TcpListener, database_url: String) {
    let url = reqwest::Url::parse(&database_url).unwrap();
    let to = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(&to).await.unwrap();
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
    }
}

/// Waits until something holds, for twenty seconds at most.
pub async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "it does not come to pass");
        tokio::task::yield_now().await;
    }
}
