//! `/livez`, `/readyz`, `/metrics`.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::timeout;

use super::Receiver;
use crate::{
    store::{self, calendars, queue_state},
    telemetry,
};

/// How long to wait for the database before saying that it is not there.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// 200 while the process can answer, database or not.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// 200 when webhooks can be committed. Trouble with the API is named, but does not make it 503: taking a receiver out of
/// service because bots cannot be scheduled would lose webhooks as well.
pub(super) async fn readyz(State(receiver): State<Receiver>) -> Response {
    match check_database(&receiver).await {
        Ok(()) => Json(json!({ "status": "ready", "api": receiver.api_health.trouble() })).into_response(),
        Err(reason) => {
            let body = Json(json!({ "status": "not ready", "reason": reason }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn check_database(receiver: &Receiver) -> Result<(), String> {
    let db = receiver.db.clone();
    let check = async move {
        let check = async { store::check_writable(&mut *db.acquire().await?).await };
        match timeout(DATABASE_TIMEOUT, check).await {
            Err(_) => Err(format!("the database did not answer within {} s", DATABASE_TIMEOUT.as_secs())),
            // Without its cause, which may name hosts and users to anybody who asks.
            Ok(result) => result.map_err(|error: store::Error| error.to_string()),
        }
    };
    receiver.looks.readiness.run(|| check.boxed()).await?;
    if receiver.is_migrated.load(Ordering::Acquire) { Ok(()) } else { Err("migrations have not finished".into()) }
}

/// Prometheus text. What the database holds is counted now; without it the rest is told all the same.
pub(super) async fn metrics(State(receiver): State<Receiver>) -> Response {
    let (db, now) = (receiver.db.clone(), receiver.clock.now());
    let gauges = async move { _ = timeout(DATABASE_TIMEOUT, set_gauges(&db, now)).await };
    receiver.looks.gauges.run(|| gauges.boxed()).await;
    ([("content-type", "text/plain; version=0.0.4")], receiver.metrics.render()).into_response()
}

async fn set_gauges(db: &PgPool, now: DateTime<Utc>) -> Result<(), store::Error> {
    let mut db = db.acquire().await?;
    let depths = queue_state::depths(&mut *db, now).await?;
    for kind in ["calendar", "event", "sweep", "workspace"] {
        for state in ["due", "later", "leased", "budget", "parked"] {
            let depth = depths.iter().find(|depth| (depth.kind.as_str(), depth.state.as_str()) == (kind, state));
            let (keys, oldest) = depth.map_or((0, 0.0), |depth| (depth.keys, depth.oldest_secs));
            metrics::gauge!(telemetry::QUEUE_KEYS, "kind" => kind, "state" => state).set(keys as f64);
            metrics::gauge!(telemetry::QUEUE_OLDEST_SECONDS, "kind" => kind, "state" => state).set(oldest);
        }
    }
    let freshness = calendars::freshness(&mut *db, now).await?;
    metrics::gauge!(telemetry::CALENDARS).set(freshness.connected as f64);
    metrics::gauge!(telemetry::CALENDARS_NEVER_SYNCED).set(freshness.never_synced as f64);
    metrics::gauge!(telemetry::OLDEST_SYNC_SECONDS).set(freshness.oldest_sync_secs);
    metrics::gauge!(telemetry::GAUGES_READ_TIMESTAMP_SECONDS).set(now.timestamp() as f64);
    Ok(())
}
