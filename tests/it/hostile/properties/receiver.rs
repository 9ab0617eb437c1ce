//! The receiver's routes without a database: what is proven and read is answered 503, since it cannot be committed.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};

use axum::{body::Body, http::Request};
use chrono::{DateTime, Utc};
use rollcall::{
    clock::Clock,
    config::WebhookConfig,
    http::{LogLimit, Looks, Receiver, inbox::Inbox, router, signature::Verifier},
    reconcile::health::ApiHealth,
    store::{self, queue::Wake},
    telemetry,
};
use tokio::runtime::Runtime;
use tower::ServiceExt;
use tracing::Dispatch;

use super::{assert_discreet, signer};

/// The tokens that prove a sender.
pub const TOKENS: [&str; 2] = ["first+token/of the tests", "second-token"];
const ADMIN_TOKEN: &str = "admin-token-of-the-tests";
/// What no answer and no log may repeat.
const SECRETS: [&str; 6] = [
    "whsec_",
    "cmVjYWxsLXNpbXVsYXRvci1zaWduaW5nLWtleS0wMDE=",
    "recall-simulator-signing-key-001",
    TOKENS[0],
    TOKENS[1],
    ADMIN_TOKEN,
];

thread_local! {
    static STAGE: Stage = Stage::new();
}

struct Stage {
    runtime: Runtime,
    /// With a log limit that is used up by the first refusal.
    receiver: Receiver,
    logs: Logs,
    subscriber: Dispatch,
}

/// When all requests arrive.
pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_secs(1_768_469_400).unwrap_or_default()
}

/// Who may send.
pub fn verifier() -> Arc<Verifier> {
    STAGE.with(|stage| Arc::clone(&stage.receiver.verifier))
}

/// Plays a request through the real routes; returns the answer's status. Neither answer nor logs may tell secrets.
pub fn play(request: Request<Body>) -> u16 {
    STAGE.with(|stage| stage.play(request))
}

impl Stage {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let config = WebhookConfig {
            secrets: signer::KEYS.iter().map(|key| signer::secret(key).into()).collect(),
            tokens: TOKENS.map(Into::into).to_vec(),
        };
        let entered = runtime.enter();
        // Nothing is connected before the first use, and there is none.
        let db = store::pool(&"postgres://localhost/none".into(), 1).expect("a URL");
        let receiver = Receiver {
            verifier: Arc::new(Verifier::new(&config).expect("secrets")),
            inbox: Inbox::open(db.clone(), std::time::Duration::ZERO, Wake::default()).0,
            db,
            is_migrated: Arc::new(AtomicBool::new(false)),
            api_health: ApiHealth::default(),
            admin_token: Some(ADMIN_TOKEN.into()),
            metrics: telemetry::metrics_handle(),
            unproven: LogLimit::default(),
            clock: Clock::manual(now()),
            looks: Looks::default(),
        };
        drop(entered);
        let logs = Logs::default();
        let writer = logs.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish()
            .into();
        Self { runtime, receiver, logs, subscriber }
    }

    fn play(&self, request: Request<Body>) -> u16 {
        // A limit of its own, so that each refusal is logged.
        let receiver = Receiver { unproven: LogLimit::default(), ..self.receiver.clone() };
        let (status, text) = tracing::dispatcher::with_default(&self.subscriber, || {
            self.runtime.block_on(async {
                let response = router(receiver).oneshot(request).await.unwrap_or_else(|error| match error {});
                let status = response.status().as_u16();
                let headers = format!("{:?}", response.headers());
                let body = axum::body::to_bytes(response.into_body(), 1024).await.expect("a short answer");
                (status, headers + &String::from_utf8_lossy(&body))
            })
        });
        for (what, text) in [("the answer", text), ("the log", self.logs.take())] {
            assert_discreet(what, &text);
            let secret = SECRETS.into_iter().find(|secret| text.contains(secret));
            assert_eq!(secret, None, "{what} tells a secret: {text}");
        }
        status
    }
}

#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    fn take(&self) -> String {
        let lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&lines).into_owned()
    }
}

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
