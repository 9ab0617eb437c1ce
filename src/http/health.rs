//! `/livez`, `/readyz`, `/metrics`.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use tokio::time::timeout;

use super::Receiver;
use crate::{
    store::{self, queue_state},
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
    let check = async {
        let mut db = receiver.db.acquire().await?;
        store::check_writable(&mut db).await
    };
    match timeout(DATABASE_TIMEOUT, check).await {
        Err(_) => Err(format!("the database did not answer within {} s", DATABASE_TIMEOUT.as_secs())),
        // Without its cause, which may name hosts and users to anybody who asks.
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(())) if !receiver.is_migrated.load(Ordering::Acquire) => Err("migrations have not finished".into()),
        Ok(Ok(())) => Ok(()),
    }
}

/// Prometheus text. What the queue holds is counted now; without a database the rest is told all the same.
pub(super) async fn metrics(State(receiver): State<Receiver>) -> Response {
    if let Ok(Ok(depths)) = timeout(DATABASE_TIMEOUT, queue_state::depths(&receiver.db, receiver.clock.now())).await {
        for kind in ["calendar", "event", "sweep"] {
            for state in ["due", "later", "leased", "budget", "parked"] {
                let depth = depths.iter().find(|depth| (depth.kind.as_str(), depth.state.as_str()) == (kind, state));
                let (keys, oldest) = depth.map_or((0, 0.0), |depth| (depth.keys, depth.oldest_secs));
                metrics::gauge!(telemetry::QUEUE_KEYS, "kind" => kind, "state" => state).set(keys as f64);
                metrics::gauge!(telemetry::QUEUE_OLDEST_SECONDS, "kind" => kind, "state" => state).set(oldest);
            }
        }
    }
    ([("content-type", "text/plain; version=0.0.4")], receiver.metrics.render()).into_response()
}
