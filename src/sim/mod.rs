//! A simulated Recall.ai: its Calendar V2 API, its webhook sender, and the people whose calendars they are.
//!
//! It isn't a mock: nobody tells it what to answer. It follows `recall-api.md`, apart from any client, so that a client's
//! misreading of the documents shows. Where the documents are silent it takes the answer they make most likely, and there is
//! a knob for the other; each file says which unknown (\[U\]) and inferred (\[I\]) facts it settles.
//!
//! ```no_run
//! # use rollcall::sim::*;
//! # async fn example() -> Result<(), StartError> {
//! let clock = SimClock::manual("2026-01-20T09:00:00Z".parse().expect("a time"));
//! let sim = Sim::start(SimConfig { clock: clock.clone(), ..SimConfig::default() }).await?;
//! sim.set_endpoint("http://127.0.0.1:8080/webhooks/recall");
//! let ada = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
//! let start = clock.now() + chrono::TimeDelta::hours(2);
//! let event = sim.create_event(ada, NewEvent::new("Weekly sync", start, 30).at("https://meet.google.com/abc-defg-hij"));
//! let attempts = sim.deliver_due().await; // calendar.update and two calendar.sync_events
//! // … the service calls `sim.base_url()` …
//! let bots = sim.bots_of(event);
//! # Ok(()) }
//! ```
//!
//! Time is [`SimClock`]'s. With [`Delivery::Manual`], the default, nothing is sent until [`Recall::deliver_due`]; nothing ever
//! sleeps on a clock that stands still, except what a knob in milliseconds or a hanging fault asks for. Rate limits are
//! measured by that clock as well: a test that keeps it still and makes many calls takes [`Limits::unlimited`].
//!
//! The same in other languages: `rollcall sim` serves it, with the control plane of `control.rs` under `/sim/`.

mod api;
mod calls;
mod clock;
pub mod command;
mod config;
mod control;
mod faults;
mod life;
mod limiter;
mod line;
mod looking;
mod model;
mod outbox;
mod people;
mod sender;
mod shared;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use calls::Call;
pub use clock::SimClock;
pub use config::{
    CallRates, DEFAULT_API_KEY, DEFAULT_SECRET, Delivery, ErrorShape, HeaderFamily, Knobs, Limits, SimConfig,
    WebhookEndpoint, WebhookRates, WorkspaceLists,
};
pub use faults::{Endpoint, Fault};
pub use life::{Happening, Life};
pub use model::bot::{Bot, BotState};
pub use model::meeting::{Attendee, NewEvent, Platform, Response};
pub use outbox::{Attempt, Message, MessageState, Route};

use line::{Line, Lines};
use shared::Shared;

/// A calendar to be connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCalendar {
    /// Google or Outlook.
    pub platform: Platform,
    /// The account's address, shown as `platform_email` once connected.
    pub email: String,
    /// Shown as it is.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The deprecated per-calendar URL, called unsigned.
    #[serde(default)]
    pub webhook_url: Option<String>,
}

impl NewCalendar {
    /// A Google calendar.
    pub fn google(email: &str) -> Self {
        Self::on(Platform::GoogleCalendar, email)
    }

    /// An Outlook calendar.
    pub fn outlook(email: &str) -> Self {
        Self::on(Platform::MicrosoftOutlook, email)
    }

    fn on(platform: Platform, email: &str) -> Self {
        Self { platform, email: email.to_owned(), metadata: BTreeMap::new(), webhook_url: None }
    }
}

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A webhook secret is not `whsec_` and base64.
    #[error("a webhook secret is not `whsec_` followed by base64")]
    Secret,
    /// The HTTP client that webhooks are sent with could not be made.
    #[error("cannot make the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// What an id given to the simulator does not stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No such calendar, or it was deleted.
    #[error("no calendar {0}")]
    Calendar(Uuid),
    /// No such event, or its calendar was deleted.
    #[error("no event {0}")]
    Event(Uuid),
}

/// A running simulator; ends when dropped. What can be done with it is on [`Recall`], to which it dereferences.
#[derive(Debug)]
pub struct Sim {
    recall: Recall,
    stopping: watch::Sender<bool>,
    serving: JoinHandle<()>,
    sending: Option<JoinHandle<()>>,
}

impl Sim {
    /// Binds, and serves in the background.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on, or a secret cannot sign.
    pub async fn start(config: SimConfig) -> Result<Self, StartError> {
        let mut secrets = config.endpoints.iter().flat_map(|endpoint| &endpoint.secrets);
        if secrets.any(|secret| svix::webhooks::Webhook::new(secret).is_err()) {
            return Err(StartError::Secret);
        }
        let address = config.listen;
        let refused = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent("Svix-Webhooks/1.0 (simulated)")
            .build()
            .map_err(StartError::Client)?;

        let delivery = config.delivery;
        let shared = Arc::new(Shared::new(config, address, client));
        let (stopping, stop) = watch::channel(false);
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared), stop));
        let sending = match delivery {
            Delivery::Manual => None,
            Delivery::Live => Some(tokio::spawn(sender::live(Arc::clone(&shared)))),
        };
        Ok(Self { recall: Recall { shared }, stopping, serving, sending })
    }

    /// Stops listening and waits until what is open is closed; calls that hang are let go.
    pub async fn stop(mut self) {
        self.begin_stopping();
        // It can only have ended already.
        let _ = (&mut self.serving).await;
    }

    fn begin_stopping(&self) {
        self.stopping.send_replace(true);
        self.recall.shared.release();
        if let Some(sending) = &self.sending {
            sending.abort();
        }
    }
}

impl std::ops::Deref for Sim {
    type Target = Recall;

    fn deref(&self) -> &Recall {
        &self.recall
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.begin_stopping();
    }
}

/// A hold on a simulator: all that can be done to it, seen of it, and made to go wrong. Clones hold the same one, and do not
/// keep it listening.
#[derive(Clone, Debug)]
pub struct Recall {
    shared: Arc<Shared>,
}

impl Recall {
    /// `http://127.0.0.1:{port}`, without a last slash.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// The clock it was started with.
    pub fn clock(&self) -> SimClock {
        self.shared.clock.clone()
    }

    /// Brings about everything that the clock says has happened: connections, roll-ins, bots joining and leaving. Each API
    /// call and each other method does so too.
    pub fn tick(&self) {
        self.shared.with(|_, _| ());
    }

    /// When [`tick`](Self::tick) will next look at something.
    pub fn next_change(&self) -> Option<DateTime<Utc>> {
        self.shared.with(|world, _| world.workspace.next_change())
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let control = control::router(Recall { shared: Arc::clone(&shared) });
    let app = Router::new().fallback(api::answer).with_state(shared).merge(control);
    let app = app.into_make_service_with_connect_info::<Line>();
    let stopped = async move {
        // An error means that the simulator was dropped.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    if let Err(error) = axum::serve(Lines(listener), app).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the simulator stopped serving");
    }
}
