//! The stage: a simulated Recall, a database of its own, and the real service between them, in one process and with real HTTP
//! on loopback.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

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
    pub(super) service: Service,
    scratch: Scratch,
}

/// rollcall, running.
#[derive(Debug)]
pub(super) struct Service {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<()>>,
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
        match start_service(&sim, scratch.url()).await {
            Ok(service) => {
                // Only now: a webhook that came earlier would be turned away with 503, and tried again.
                sim.set_endpoint(&format!("http://{}/webhooks/recall", service.addr));
                Ok(Self { sim, service, scratch })
            }
            Err(error) => {
                remove(scratch).await;
                Err(error)
            }
        }
    }

    /// Stops everything in order, and drops the database.
    pub(super) async fn tear_down(self) {
        self.service.stop().await;
        self.sim.stop().await;
        remove(self.scratch).await;
    }
}

impl Service {
    /// Waits until rollcall cannot go on, and says why.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.running).await {
            Ok(Ok(())) => anyhow::anyhow!("rollcall ended"),
            Ok(Err(error)) => error,
            Err(error) => anyhow::Error::new(error).context("rollcall ended"),
        }
    }

    /// Stops it in order; nothing is left to stop if it has failed.
    async fn stop(self) {
        if self.stop.send(()).is_ok() {
            // How it ends no longer matters.
            let _ = self.running.await;
        }
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
async fn start_service(sim: &Sim, database_url: SecretString) -> anyhow::Result<Service> {
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
    let app = App::start(config, Clock::system()).await?;
    let addr = app.addr();
    let (stop, stopped) = oneshot::channel();
    let told_to_stop = async move {
        // An error means that the demo is over.
        let _ = stopped.await;
    };
    let mut service = Service { addr, stop, running: tokio::spawn(app.run(told_to_stop)) };
    tokio::select! {
        error = service.failed() => return Err(error),
        ready = timeout(READY_LIMIT, await_ready(addr)) => ready.context("rollcall did not become ready")??,
    }
    Ok(service)
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
