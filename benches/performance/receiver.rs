//! The receiver as a process of its own, by the code that `rollcall serve` runs, and beside its routes what it is compared
//! with: the same server that does nothing, and one that commits each delivery by itself.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use chrono::{DateTime, Utc};
use rollcall::{
    app,
    clock::Clock,
    config::Config,
    domain::calendar::CalendarId,
    http::{self, LogLimit, Looks, Receiver, inbox::Inbox, signature::Verifier},
    reconcile::health::ApiHealth,
    store::{
        self,
        deliveries::Delivery,
        queue::{self, Key, Request, Wake},
    },
    telemetry,
};
use serde::Deserialize;
use sqlx::{Connection, PgExecutor};
use uuid::Uuid;

/// This role's name.
pub(crate) const ROLE: &str = "receiver";
/// What the service answers; needs a signature.
pub(crate) const SERVICE: &str = "/webhooks/recall";
/// Reads the request and does nothing.
pub(crate) const NOTHING: &str = "/baseline/nothing";
/// The same proof, and a transaction for each delivery.
pub(crate) const TRANSACTION: &str = "/baseline/transaction";
/// Commits so many inserts, one after the other, and tells how long each took.
pub(crate) const INSERTS: &str = "/baseline/inserts";

const MAX_BODY_BYTES: usize = 64 * 1024;

/// Serves until it is killed.
pub(crate) fn run() -> anyhow::Result<()> {
    telemetry::init_logging()?;
    tokio::runtime::Runtime::new()?.block_on(serve())
}

async fn serve() -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let db = store::pool(&config.database_url, config.database_max_connections)?;
    let receiver = Receiver {
        verifier: Arc::new(Verifier::new(&config.webhooks)?),
        inbox: Inbox::open(db.clone(), config.list_pause, Wake::default()).0,
        db,
        is_migrated: Arc::new(AtomicBool::new(true)),
        api_health: ApiHealth::default(),
        admin_token: None,
        metrics: telemetry::metrics_handle(),
        unproven: LogLimit::default(),
        clock: Clock::system(),
        looks: Looks::default(),
    };
    let baselines = Router::new()
        .route(NOTHING, post(do_nothing))
        .route(TRANSACTION, post(commit_alone))
        .route(&format!("{INSERTS}/{{count}}"), post(time_inserts))
        .with_state(receiver.clone());
    let listener = std::net::TcpListener::bind(config.listen_addr)?;
    listener.set_nonblocking(true)?;
    app::serve(listener, axum_server::Handle::new(), http::router(receiver).merge(baselines)).await
}

async fn do_nothing(body: Body) -> StatusCode {
    match to_bytes(body, MAX_BODY_BYTES).await {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

#[derive(Deserialize)]
struct SyncEvents {
    data: SyncEventsData,
}

#[derive(Deserialize)]
struct SyncEventsData {
    calendar_id: Uuid,
    last_updated_ts: DateTime<Utc>,
}

async fn commit_alone(
    State(receiver): State<Receiver>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, StatusCode> {
    let body = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| StatusCode::BAD_REQUEST)?;
    let now = receiver.clock.now();
    let verified = receiver.verifier.verify(&headers, None, &body, now).map_err(|_| StatusCode::UNAUTHORIZED)?;
    let sync: SyncEvents = serde_json::from_slice(verified.bytes).map_err(|_| StatusCode::BAD_REQUEST)?;
    let delivery = Delivery {
        id: verified.id.unwrap_or_default(),
        topic: "calendar.sync_events".into(),
        calendar_id: Some(CalendarId(sync.data.calendar_id)),
        last_updated_ts: Some(sync.data.last_updated_ts),
        proved_by: verified.proved_by,
        received_at: now,
    };
    commit(&receiver, &delivery).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The transaction that a receiver would make: the delivery's row, and the request for its calendar unless it is a repetition.
async fn commit(receiver: &Receiver, delivery: &Delivery) -> Result<(), store::Error> {
    let mut db = receiver.db.acquire().await?;
    let mut tx = db.begin().await?;
    let cause = format!("delivery {}", delivery.id);
    if insert(&mut *tx, delivery).await?
        && let Some(calendar) = delivery.calendar_id
    {
        let (key, deadline) = (Key::Calendar(calendar), delivery.received_at);
        let request = Request { key, since: delivery.last_updated_ts, deadline, cause: &cause, events_only: true };
        queue::request(&mut tx, &[request], delivery.received_at).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn insert(db: impl PgExecutor<'_>, delivery: &Delivery) -> Result<bool, sqlx::Error> {
    let insert = "insert into deliveries (id, topic, calendar_id, last_updated_ts, proved_by, received_at)
                  values ($1, $2, $3, $4, $5, $6) on conflict do nothing";
    let inserted = sqlx::query(insert)
        .bind(&delivery.id)
        .bind(&delivery.topic)
        .bind(delivery.calendar_id.map(|id| id.0))
        .bind(delivery.last_updated_ts)
        .bind(&delivery.proved_by)
        .bind(delivery.received_at)
        .execute(db)
        .await?;
    Ok(inserted.rows_affected() == 1)
}

async fn time_inserts(
    State(receiver): State<Receiver>,
    Path(count): Path<usize>,
) -> Result<Json<Vec<f64>>, StatusCode> {
    let mut secs = Vec::with_capacity(count);
    for _ in 0..count {
        let delivery = Delivery {
            id: format!("msg_{}", Uuid::new_v4().simple()),
            topic: "calendar.sync_events".into(),
            calendar_id: Some(CalendarId(Uuid::nil())),
            last_updated_ts: Some(receiver.clock.now()),
            proved_by: "secret 1".into(),
            received_at: receiver.clock.now(),
        };
        let began = Instant::now();
        insert(&receiver.db, &delivery).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        secs.push(began.elapsed().as_secs_f64());
    }
    Ok(Json(secs))
}
