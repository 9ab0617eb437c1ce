//! The receiver: who may send, what they sent, and a durable yes.

mod error;
mod health;
pub mod inbox;
mod operator;
pub mod signature;
mod single_flight;
mod webhook;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use axum::{
    Router,
    routing::{get, post},
};
use chrono::{DateTime, Utc};
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use sqlx::PgPool;

use crate::{clock::Clock, reconcile::health::ApiHealth};
use inbox::Inbox;
use signature::Verifier;
use single_flight::SingleFlight;

/// What the routes need.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Who may send webhooks.
    pub verifier: Arc<Verifier>,
    /// Where deliveries are committed.
    pub inbox: Inbox,
    /// The database, to tell whether something could be committed.
    pub db: PgPool,
    /// Set once the schema is up to date.
    pub is_migrated: Arc<AtomicBool>,
    /// Whether the API lets us in.
    pub api_health: ApiHealth,
    /// Turns on the operator's API.
    pub admin_token: Option<SecretString>,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// When an unproven request was last logged.
    pub unproven: LogLimit,
    /// The time.
    pub clock: Clock,
    /// Looks at the database for those who need no proof.
    pub looks: Looks,
}

/// What `/readyz` and `/metrics` ask of the database, once for all who ask at once.
#[derive(Clone, Debug, Default)]
pub struct Looks {
    readiness: SingleFlight<Result<(), String>>,
    gauges: SingleFlight<()>,
}

/// Lets one line through in ten seconds.
#[derive(Clone, Debug, Default)]
pub struct LogLimit(Arc<AtomicI64>);

impl LogLimit {
    fn may_log(&self, now: DateTime<Utc>) -> bool {
        let (now, last) = (now.timestamp(), self.0.load(Ordering::Relaxed));
        now - last >= 10 && self.0.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// All routes.
pub fn router(receiver: Receiver) -> Router {
    let mut routes = Router::new()
        .route("/webhooks/recall", post(webhook::receive))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics));
    if let Some(token) = receiver.admin_token.clone() {
        routes = routes.merge(operator::router(token));
    }
    routes.with_state(receiver)
}
