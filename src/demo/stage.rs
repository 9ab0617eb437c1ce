//! The stage: a simulated Recall, a database of its own, and the real service between them, in one process and with real HTTP
//! on loopback.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    app::App,
    clock::Clock,
    config::Config,
    sim::{DEFAULT_API_KEY, DEFAULT_SECRET, Delivery, Limits, Sim, SimConfig},
    store::{self, scratch::Scratch},
    telemetry::chain,
};

/// How often rollcall looks at every calendar unasked: a lost webhook's change waits this long at most.
pub(super) const SWEEP_INTERVAL: &str = "15s";
/// Calls per minute, here and there alike: above the real ones, so that the minute is not spent waiting for them.
pub(super) const LISTS_PER_MINUTE: u32 = 600;
const READS_PER_MINUTE: u32 = 1500;
const BOTS_PER_MINUTE: u32 = 1500;
/// Divides the waits between attempts at a webhook: Svix's five minutes become five seconds.
const RETRY_SPEED: f64 = 60.0;

/// How long rollcall may take to prepare its database, and how often it is asked.
const READY_LIMIT: Duration = Duration::from_secs(30);
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) sim: Sim,
    pub(super) app: App,
    scratch: Scratch,
}

impl Stage {
    /// Starts the simulated Recall and rollcall, and points them at each other.
    ///
    /// # Errors
    /// What cannot start, and what to do about it.
    pub(super) async fn set_up(seed: u64) -> anyhow::Result<Self> {
        let url = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty()).context(
            "DATABASE_URL is not set: run `make demo`, which brings a Postgres, or name one whose user may create databases",
        )?;
        let sim = Sim::start(SimConfig {
            delivery: Delivery::Live,
            limits: Limits {
                list_calendars: LISTS_PER_MINUTE,
                list_events: LISTS_PER_MINUTE,
                lists_shared: true,
                others: READS_PER_MINUTE,
                schedule: BOTS_PER_MINUTE,
                delete: BOTS_PER_MINUTE,
            },
            seed,
            speed: RETRY_SPEED,
            ..SimConfig::default()
        })
        .await?;
        let scratch = Scratch::create(&url.into()).await.map_err(|error| cannot_create(&error))?;
        match start_app(&sim, scratch.url()).await {
            Ok(app) => {
                // Only now: a webhook that came earlier would be turned away with 503, and tried again.
                sim.set_endpoint(&format!("http://{}/webhooks/recall", app.addr()));
                Ok(Self { sim, app, scratch })
            }
            Err(error) => {
                remove(scratch).await;
                Err(error)
            }
        }
    }

    /// Stops everything in order, and drops the database.
    pub(super) async fn tear_down(self) {
        self.app.stop().await;
        self.sim.stop().await;
        remove(self.scratch).await;
    }

    /// The same after rollcall has ended by itself.
    pub(super) async fn abandon(self) {
        drop(self.app);
        self.sim.stop().await;
        remove(self.scratch).await;
    }
}

fn cannot_create(error: &store::Error) -> anyhow::Error {
    anyhow::anyhow!(
        "cannot create a database for the demo on the server of DATABASE_URL: {}. Start that server and let its user create \
         databases (alter role … createdb), or unset DATABASE_URL, so that `make demo` brings its own",
        chain(error)
    )
}

/// Through the contract's variables, as an operator would.
async fn start_app(sim: &Sim, database_url: SecretString) -> anyhow::Result<App> {
    let config = Config::from_lookup(&|name| {
        let value = match name {
            "DATABASE_URL" => database_url.expose_secret().to_owned(),
            "RECALL_API_KEY" => DEFAULT_API_KEY.to_owned(),
            "RECALL_BASE_URL" => sim.base_url(),
            "RECALL_WEBHOOK_SECRETS" => DEFAULT_SECRET.to_owned(),
            "RECALL_LIMITS" => format!("list={LISTS_PER_MINUTE},read={READS_PER_MINUTE},bot={BOTS_PER_MINUTE}"),
            "LISTEN_ADDR" => "127.0.0.1:0".to_owned(),
            "SWEEP_INTERVAL" => SWEEP_INTERVAL.to_owned(),
            "FULL_SYNC_INTERVAL" => "1m".to_owned(),
            "BOT_CONFIG" => r#"{"bot_name": "Notetaker"}"#.to_owned(),
            _ => return None,
        };
        Some(value)
    })?;
    let mut app = App::start(config, Clock::system()).await?;
    let ready = await_ready(app.addr());
    tokio::select! {
        error = app.failed() => return Err(error),
        ready = tokio::time::timeout(READY_LIMIT, ready) => ready.context("rollcall did not become ready")??,
    }
    Ok(app)
}

/// Asks `/readyz`, as a load balancer does.
async fn await_ready(addr: SocketAddr) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    while !client.get(format!("http://{addr}/readyz")).send().await?.status().is_success() {
        tokio::time::sleep(READY_INTERVAL).await;
    }
    Ok(())
}

async fn remove(scratch: Scratch) {
    let name = scratch.name().to_owned();
    if scratch.remove().await.is_err() {
        eprintln!("rollcall: the demo's database {name} could not be dropped; `drop database {name}` does it");
    }
}
