//! The real service over one of the databases, and a simulated Recall of its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use rollcall::{
    app,
    clock::Clock,
    config::Config,
    http::{LogLimit, Looks, Receiver, inbox::Inbox, router, signature::Verifier},
    recall::Client,
    reconcile::{configuration, health::ApiHealth},
    sim::{self, Sim, SimConfig},
    store::{self, budget, queue::Wake},
    telemetry,
    worker::Worker,
};
use sqlx::PgPool;

use crate::Failure;

/// The operator's token.
pub const ADMIN: &str = "operator";

/// A replica without its loops, which are started where they are measured.
pub struct Service {
    pub db: PgPool,
    pub sim: Sim,
    pub worker: Worker,
    /// Where it listens.
    pub addr: String,
}

impl Service {
    /// As a process starts, except that it asks for no sweep: its API knows none of the calendars in the mirror.
    pub async fn start(database: &str) -> Result<Self, Failure> {
        // Another seed each time: ids of deliveries that were sent before would be known.
        let seed = fastrand::u64(..);
        let sim = Sim::start(SimConfig { seed, limits: sim::Limits::unlimited(), ..SimConfig::default() }).await?;
        let vars = BTreeMap::from([
            ("DATABASE_URL", database.to_owned()),
            ("RECALL_API_KEY", sim::DEFAULT_API_KEY.into()),
            ("RECALL_BASE_URL", sim.base_url()),
            ("RECALL_WEBHOOK_SECRETS", sim::DEFAULT_SECRET.into()),
            ("RECALL_LIMITS", "list=10000,read=10000,bot=10000".into()),
            ("ADMIN_TOKEN", ADMIN.into()),
            ("LIST_PAUSE", "0s".into()),
        ]);
        let config = Config::from_lookup(&|name| vars.get(name).cloned())?;
        let (clock, health) = (Clock::system(), ApiHealth::default());
        let db = store::pool(&config.database_url, config.database_max_connections)?;
        let mut tx = db.begin().await?;
        let standing = configuration::register(&mut tx, &config.policy, false, clock.now()).await?;
        budget::provision(&mut tx, config.recall.limits, clock.now()).await?;
        tx.commit().await?;
        let receiver = Receiver {
            verifier: Arc::new(Verifier::new(&config.webhooks)?),
            inbox: Inbox::open(db.clone(), config.list_pause, Wake::default()).0,
            db: db.clone(),
            is_migrated: Arc::new(AtomicBool::new(true)),
            api_health: health.clone(),
            admin_token: config.admin_token.clone(),
            metrics: telemetry::metrics_handle(),
            unproven: LogLimit::default(),
            clock: clock.clone(),
            looks: Looks::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?.to_string();
        tokio::spawn(async move { axum::serve(listener, router(receiver)).await });
        sim.set_endpoint(&format!("http://{addr}/webhooks/recall"));
        let (api, concurrency) = (Client::new(&config.recall)?, config.worker_concurrency);
        let reconciler = app::reconciler(config, db.clone(), api, health, standing, clock);
        Ok(Self { db, sim, worker: Worker::new(reconciler, concurrency), addr })
    }

    /// Delivers webhooks and takes turns until there is nothing to do now.
    pub async fn settle(&self) -> Result<(), Failure> {
        while !self.sim.deliver_due().await.is_empty() || self.worker.take_one_turn().await? {}
        Ok(())
    }
}
