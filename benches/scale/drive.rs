//! Has the service run every statement that it has.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use rollcall::{
    domain::{calendar::CalendarId, event::EventId},
    reconcile::{configuration::Undecided, preview::preview},
    sim::{Endpoint, Fault, NewCalendar, NewEvent},
    store::{
        configurations, decisions, events,
        queue::{self, Key, Request},
        workspace_listing::{self, Answerable, EndedListing},
    },
};
use serde_json::json;
use sqlx::Executor;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    Failure, filled_id,
    load::{self, Calendars},
    service::{ADMIN, Service},
};

pub async fn drive(service: &Service) -> Result<(), Failure> {
    let now = service.worker.reconciler().clock.now();
    load::rate(&service.addr, Calendars { count: 1000, apart: 1 }, Duration::from_secs(2)).await?;
    forget_requests(service).await?;
    live(service, now).await?;
    sweep(service, now).await?;
    catch_up(service, now).await?;
    forget_requests(service).await?;
    service.settle().await?;
    ask(service).await?;
    service.worker.reconciler().forget_old().await?;
    Ok(())
}

/// The keys of calendars that only the mirror has: their turns would find them gone.
pub async fn forget_requests(service: &Service) -> Result<(), Failure> {
    service.db.execute("/* bench */ delete from reconcile_queue where kind = 'calendar'").await?;
    Ok(())
}

/// Calendars and meetings as they come and go, and an API that fails now and then.
async fn live(service: &Service, now: DateTime<Utc>) -> Result<(), Failure> {
    let sim = &service.sim;
    let meeting = |calendar: usize, n: i64| {
        let link = format!("https://acme.zoom.us/j/new{}", calendar / 2 * 100 + n as usize);
        NewEvent::new("Meeting", now + TimeDelta::minutes(60 + n), 30).at(&link)
    };
    let calendars: Vec<Uuid> =
        (0..8).map(|n| sim.connect_calendar(NewCalendar::google(&format!("new{n}@acme.test")))).collect();
    let mut all = vec![];
    for (number, calendar) in calendars.iter().enumerate() {
        all.extend(sim.create_events(*calendar, (0..20).map(|n| meeting(number, n)).collect()));
    }
    service.settle().await?;
    let begun = NewEvent::new("Now", now - TimeDelta::minutes(5), 30).at("https://acme.zoom.us/j/begun");
    sim.same_meeting_on(&calendars, &begun);
    all.iter().step_by(5).for_each(|event| sim.move_event(*event, now + TimeDelta::minutes(200)));
    all.iter().skip(1).step_by(5).for_each(|event| sim.delete_event(*event));
    all.iter().skip(2).step_by(5).for_each(|event| sim.relink_event(*event, None));
    sim.override_event_json(all[4], |event| event["start_time"] = json!("no time"));
    sim.fail_next(Endpoint::ScheduleBot, Fault::Status(503), 2);
    sim.fail_next(Endpoint::ScheduleBot, Fault::Status(400), 1);
    sim.fail_next(Endpoint::RetrieveCalendar, Fault::RetryAfter { status: 429, secs: 1 }, 1);
    service.settle().await?;
    // What failed has rested.
    sleep(Duration::from_secs(5)).await;
    service.settle().await?;
    sim.disconnect_calendar(calendars[0]);
    sim.delete_calendar(calendars[1]);
    service.settle().await?;
    sim.reconnect_calendar(calendars[0]);
    service.settle().await?;
    let reconciler = service.worker.reconciler();
    reconciler.renew_configuration().await?;
    reconciler.request_undecided(Undecided::OfConfirmed).await?;
    reconciler.leave_configuration().await?;
    Ok(())
}

/// A sweep of all calendars, whose turns are not taken.
async fn sweep(service: &Service, now: DateTime<Utc>) -> Result<(), Failure> {
    // As at the first sweep of a new configuration.
    service.db.execute("/* bench */ update configurations set asked_at = null").await?;
    let request = Request {
        key: Key::Sweep,
        since: None,
        deadline: now - TimeDelta::days(1),
        cause: "the bench",
        events_only: false,
    };
    queue::request(&mut *service.db.acquire().await?, &[request], now).await?;
    while queued_sweeps(service).await? > 0 {
        service.worker.take_one_turn().await?;
    }
    Ok(())
}

/// What a list of the workspace asks, and does with the keys of a sweep: the simulated Recall has none of these calendars to
/// list.
async fn catch_up(service: &Service, now: DateTime<Utc>) -> Result<(), Failure> {
    let (db, calendar) = (&service.db, filled_id('c', 900));
    let (overlap, until) = (TimeDelta::minutes(2), now + TimeDelta::minutes(10));
    db.execute("/* bench */ update reconcile_queue set events_only = true where kind = 'calendar'").await?;
    let (since, _) = workspace_listing::survey(db, overlap, until, now).await?.ok_or("no calendar waits")?;
    workspace_listing::latest_changed(db, 500, 3, until).await?;
    let answerable = Answerable { since, generation: workspace_listing::greatest_generation(db).await? };
    workspace_listing::defer(db, answerable, overlap, until).await?;
    workspace_listing::causes(db, &[calendar]).await?;
    workspace_listing::note_shown(db, &HashMap::from([(calendar, now)]), now).await?;
    let listing = EndedListing { since, started_at: now, seen_until: now };
    workspace_listing::advance_cursors(db, &listing, overlap, "the bench").await?;
    // Half of them; the others are released.
    let half = "/* bench */ update reconcile_queue set events_only = false where kind = 'calendar' and key::text > '8'";
    db.execute(half).await?;
    let settled = workspace_listing::settle(db, answerable, overlap, now).await?;
    workspace_listing::release(db, until, now).await?;
    if settled == 0 { Err("no calendar's key was settled".into()) } else { Ok(()) }
}

async fn queued_sweeps(service: &Service) -> Result<i64, Failure> {
    let sql = "/* bench */ select count(*) from reconcile_queue where kind = 'sweep' and due_at <= now()";
    Ok(sqlx::query_scalar(sql).fetch_one(&service.db).await?)
}

/// What operators and their systems ask and say, and what a start with another configuration looks at.
async fn ask(service: &Service) -> Result<(), Failure> {
    let (event, calendar) = (filled_id('e', 900), filled_id('c', 900));
    let said = json!({ "value": "record", "who": "ann", "why": "asked to" });
    let client = reqwest::Client::builder().no_proxy().build()?;
    for (method, path) in [
        (Method::GET, "readyz".to_owned()),
        (Method::GET, "metrics".to_owned()),
        (Method::GET, format!("api/v1/events/{event}")),
        (Method::GET, "api/v1/troubles".to_owned()),
        (Method::GET, "api/v1/settings".to_owned()),
        (Method::PUT, format!("api/v1/events/{event}/override")),
        (Method::PUT, format!("api/v1/events/{event}/series/override")),
        (Method::PUT, format!("api/v1/calendars/{calendar}/override")),
        (Method::DELETE, format!("api/v1/calendars/{calendar}/override?who=ann")),
    ] {
        let request = client.request(method.clone(), format!("http://{}/{path}", service.addr)).bearer_auth(ADMIN);
        let status = request.body(said.to_string()).send().await?.status();
        if !status.is_success() {
            return Err(format!("{method} {path}: {status}").into());
        }
    }
    let (db, now) = (&service.db, service.worker.reconciler().clock.now());
    let sql = "/* bench */ delete from reconcile_queue where cause like 'a setting%'";
    db.execute(sql).await?;
    preview(db, &service.worker.reconciler().policy, Some(CalendarId(calendar)), now, |_| {}).await?;
    events::list_upcoming(db, None, EventId(event), 500, now).await?;
    decisions::count_upcoming_bots(db, now).await?;
    configurations::newest(db).await?;
    Ok(())
}
