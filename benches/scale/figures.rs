//! Figure 10: the same with many calendars and with few, in turns; and what a row costs.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use rollcall::{
    domain::{budget::CallClass, event::EventId},
    sim::{Endpoint, NewCalendar, NewEvent},
    store::queue::{self, Key, Request, Wanted},
};
use sqlx::{AssertSqlSafe, Executor};
use tokio::{sync::watch, time::sleep};
use uuid::Uuid;

use crate::{
    Failure,
    drive::forget_requests,
    fill::Size,
    load::{self, Calendars},
    service::Service,
};

const ROUNDS: usize = 7;
/// How many times slower the large database may be.
const MOST: f64 = 1.5;
/// Deliveries are sent for so long in a round.
const LOAD: Duration = Duration::from_secs(3);
/// Meetings that are made in a round, one after the other.
const MEETINGS: i64 = 20;
/// Claims in a round.
const CLAIMS: usize = 100;

/// Prints how many bytes a calendar, an event and a delivery take, with indexes and all that is kept with them.
pub async fn bytes(db: &sqlx::PgPool) -> Result<(), Failure> {
    for (what, tables, each) in [
        ("calendar", &["calendars"][..], "calendars"),
        ("event", &["events"][..], "events"),
        ("event with its decision and history", &["events", "decisions", "decision_history"][..], "events"),
        ("delivery", &["deliveries"][..], "deliveries"),
    ] {
        let sizes =
            tables.iter().map(|table| format!("pg_total_relation_size('{table}')")).collect::<Vec<_>>().join(" + ");
        let sql = format!("select ({sizes}) / (select count(*) from {each})");
        let bytes: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(db).await?;
        println!("{bytes} bytes per {what}");
    }
    Ok(())
}

/// Prints each figure for both. Returns whether the large one is fast enough.
pub async fn compare(large: &Service, small: &Service, size: Size) -> Result<bool, Failure> {
    let few = crate::SMALL.calendars;
    let mut samples: [[Vec<f64>; 2]; 4] = Default::default();
    // What was filled in is not to be written back while the rounds are measured.
    large.db.execute("checkpoint").await?;
    for round in 0..=ROUNDS {
        let mut services = [(large, size.calendars / few), (small, 1)].into_iter().enumerate().collect::<Vec<_>>();
        // Whoever is first finds colder caches.
        if round % 2 == 1 {
            services.reverse();
        }
        for (which, (service, apart)) in services {
            let measured = [
                deliver(service, Calendars { count: few, apart }).await?,
                // In the small one most of them are unknown, which is as much work.
                deliver(service, Calendars { count: size.calendars, apart: 1 }).await?,
                first_bot(service).await?,
                claim(service).await?,
            ];
            // The first round warms up.
            if round > 0 {
                measured.into_iter().zip(&mut samples).for_each(|(value, figure)| figure[which].push(value));
            }
        }
    }
    let mut is_fast = true;
    let calendars = size.calendars;
    println!("medians of {ROUNDS} rounds: {calendars} calendars, {few} calendars, how many times slower");
    let names = [
        format!("µs per delivery for one of {few} calendars"),
        format!("µs per delivery for one of {calendars} calendars"),
        "ms from webhook to Schedule Bot".to_owned(),
        "ms to claim".to_owned(),
    ];
    for (name, figure) in names.iter().zip(samples) {
        let [large, small] = figure.map(median);
        println!("{name}: {large:.3}, {small:.3}, {:.2} (at most {MOST})", large / small);
        is_fast &= large / small <= MOST;
    }
    Ok(is_fast)
}

/// Microseconds per delivery.
async fn deliver(service: &Service, calendars: Calendars) -> Result<f64, Failure> {
    let rate = load::rate(&service.addr, calendars, LOAD).await?;
    forget_requests(service).await?;
    // Tens of thousands of keys leave at once, and autovacuum takes a minute or two to clear what is left of them.
    service.db.execute("vacuum reconcile_queue").await?;
    Ok(1e6 / rate)
}

/// Milliseconds from an accepted webhook to its Schedule Bot, in an idle system.
async fn first_bot(service: &Service) -> Result<f64, Failure> {
    let now = service.worker.reconciler().clock.now();
    let calendar = service.sim.connect_calendar(NewCalendar::google(&format!("{}@acme.test", Uuid::new_v4())));
    service.settle().await?;
    let (stop, stopped) = watch::channel(false);
    let worker = service.worker.clone();
    let working = tokio::spawn(async move { worker.run(stopped).await });
    let mut latencies = vec![];
    for n in 0..MEETINGS {
        sleep(Duration::from_millis(50)).await;
        service.sim.clear_calls();
        let link = format!("https://acme.zoom.us/j/{}", Uuid::new_v4());
        service.sim.create_event(calendar, NewEvent::new("Meeting", now + TimeDelta::minutes(60 + n), 30).at(&link));
        service.sim.deliver_due().await;
        let (accepted, began) = (service.sim.clock().now(), Instant::now());
        let arrived = loop {
            let calls = service.sim.calls();
            if let Some(call) = calls.iter().find(|call| call.endpoint == Endpoint::ScheduleBot) {
                break call.at;
            }
            if began.elapsed() > Duration::from_secs(10) {
                return Err("no bot was scheduled within 10 s".into());
            }
            sleep(Duration::from_millis(1)).await;
        };
        latencies.push((arrived - accepted).as_seconds_f64().max(0.0) * 1e3);
    }
    stop.send(true)?;
    working.await?;
    Ok(median(latencies))
}

/// Milliseconds that a claim of one key takes.
async fn claim(service: &Service) -> Result<f64, Failure> {
    let (db, now) = (&service.db, service.worker.reconciler().clock.now());
    let request = |_| Request {
        key: Key::Event(EventId(Uuid::new_v4())),
        since: None,
        deadline: now,
        cause: "the bench",
        events_only: false,
    };
    let requests: Vec<Request> = (0..CLAIMS).map(request).collect();
    queue::request(&mut *db.acquire().await?, &requests, now).await?;
    let mut latencies = vec![];
    for _ in 0..CLAIMS {
        let wanted = Wanted { keys: 1, listings: 1, blocked: &[CallClass::DeleteBot], is_newest: true };
        let began = Instant::now();
        queue::wake_due(db, now).await?;
        let claimed = queue::claim(db, wanted, now, Duration::from_secs(90)).await?;
        latencies.push(began.elapsed().as_secs_f64() * 1e3);
        for claimed in claimed {
            queue::settle(&mut *db.acquire().await?, &claimed, claimed.generation, now).await?;
        }
    }
    Ok(median(latencies))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
