//! The service at size: `make scale`. With 100,000 calendars and 3,000,000 events in the mirror and 100,000 keys waiting,
//!
//! - the plan of every statement that it runs, which must neither read a table that grows from end to end nor spill: written
//!   to `docs/query-plans.md`;
//! - figure 10 of `docs/performance.md`: what that size costs against a database with 1,000 calendars on the same server, in
//!   interleaved rounds; and how many bytes a calendar, an event and a delivery take.
//!
//! It needs a Postgres whose superuser `DATABASE_URL` names, with `auto_explain`, and a few minutes. `SCALE_CALENDARS` makes it
//! smaller, for those who work on it; then nothing is written.

#![expect(unreachable_pub, reason = "one binary: everything in it is private")]

mod drive;
mod figures;
mod fill;
mod load;
mod plans;
mod service;

use std::{process::ExitCode, time::Instant};

use rollcall::store;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, postgres::PgPoolOptions};
use tracing_subscriber::{Layer, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt};
use uuid::Uuid;

use fill::Size;
use plans::Plans;
use service::Service;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The full size.
const CALENDARS: u32 = 100_000;
/// Events on a calendar.
const EVENTS_EACH: u32 = 30;
/// What the large database is compared with.
const SMALL: Size = Size { calendars: 1000, events: 1000 * EVENTS_EACH, waiting: 0 };

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let plans = Plans::default();
    let only_notices = filter_fn(|event| event.target() == "sqlx::postgres::notice");
    tracing_subscriber::registry().with(plans.clone().with_filter(only_notices)).init();
    let calendars = std::env::var("SCALE_CALENDARS").ok().map_or(Ok(CALENDARS), |text| text.parse())?;
    let size = Size { calendars, events: calendars * EVENTS_EACH, waiting: calendars };
    let large = make_database("rollcall_scale_large", size).await?;
    let small = make_database("rollcall_scale_small", SMALL).await?;

    explain(true).await?;
    let service = Service::start(&large).await?;
    drive::drive(&service).await?;
    service.db.close().await;
    explain(false).await?;
    let (text, bad) = plans.report();
    if calendars == CALENDARS {
        std::fs::write("docs/query-plans.md", format!("{}{text}", heading(size)))?;
    }
    let (large, small) = (Service::start(&large).await?, Service::start(&small).await?);
    figures::bytes(&large.db).await?;
    let is_as_fast = figures::compare(&large, &small, size).await?;
    for problem in &bad {
        println!("bad plan: {problem}");
    }
    Ok(if bad.is_empty() && is_as_fast { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn heading(size: Size) -> String {
    let Size { calendars, events, waiting } = size;
    format!(
        "# Query plans\n\nThe plan of every statement that the service ran in `make scale`, which wrote this: with {calendars} calendars, \
         {events} events, each with its decision, and {waiting} keys waiting for budget and as many for a later time. Of each \
         statement the run that took longest, with `auto_explain` measuring. It fails where a table that grows is read from end \
         to end, by an index or without, a sort or a hash spills, or a scan passes thousands of rows for nothing, unless it \
         says here why that is allowed.\n"
    )
}

/// The id of calendar (`c`) or event (`e`) `number`, as it was filled in.
fn filled_id(kind: char, number: u32) -> Uuid {
    let hash: [u8; 32] = Sha256::digest(format!("{kind}{number}")).into();
    Uuid::from_slice(&hash[..16]).unwrap_or_default()
}

/// Makes a database and fills it. Returns its URL.
async fn make_database(name: &str, size: Size) -> Result<String, Failure> {
    let mut server = connect_to_server().await?;
    for statement in [format!("drop database if exists {name} with (force)"), format!("create database {name}")] {
        server.execute(AssertSqlSafe(statement)).await?;
    }
    let mut url = reqwest::Url::parse(&server_url()?)?;
    url.set_path(name);
    let url = String::from(url);
    store::migrate(&url.clone().into()).await?;
    let began = Instant::now();
    let db: PgPool = PgPoolOptions::new().max_connections(1).connect(&url).await?;
    fill::fill(&db, size).await?;
    db.close().await;
    println!(
        "{name}: {} calendars, {} events, filled in {:.0} s",
        size.calendars,
        size.events,
        began.elapsed().as_secs_f64()
    );
    Ok(url)
}

fn server_url() -> Result<String, Failure> {
    std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set: run this by `make scale`".into())
}

async fn connect_to_server() -> Result<PgConnection, Failure> {
    Ok(PgConnection::connect(&server_url()?).await?)
}

/// Whether connections made from now on tell the plan of each statement.
async fn explain(is_on: bool) -> Result<(), Failure> {
    let mut server = connect_to_server().await?;
    let settings: &[&str] = if is_on {
        &[
            "set session_preload_libraries = 'auto_explain'",
            "set auto_explain.log_min_duration = 0",
            "set auto_explain.log_analyze = on",
            "set auto_explain.log_timing = off",
            "set auto_explain.log_format = json",
            "set auto_explain.log_level = notice",
        ]
    } else {
        &["reset all"]
    };
    for setting in settings {
        server.execute(AssertSqlSafe(format!("alter database rollcall_scale_large {setting}"))).await?;
    }
    Ok(())
}
