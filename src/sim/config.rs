//! What a simulated workspace is started with, and the knobs that may be turned while it runs.
//!
//! A knob's default is what the documents say, or, where they are silent, the answer they make most likely. Each knob that
//! stands for an unknown (\[U\]) or inferred (\[I\]) fact says so: turn it to see that a client bears the other answer too.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::clock::SimClock;

/// What a [`Sim`](super::Sim) is started with. `SimConfig::default()` suits a test: a free port, nothing sent by itself.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The workspace's API key; callers send it with or without `Token `.
    pub api_key: String,
    /// Where webhooks go. One without a URL keeps its messages until [`set_endpoint`](super::Recall::set_endpoint).
    pub endpoints: Vec<WebhookEndpoint>,
    /// The time that everything is measured by.
    pub clock: SimClock,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Behaviour; see [`Knobs`].
    pub knobs: Knobs,
    /// Calls per minute; see [`Limits`].
    pub limits: Limits,
    /// Ids, faults by probability and order are drawn from this, so a run can be repeated.
    pub seed: u64,
    /// Who sends the webhooks.
    pub delivery: Delivery,
    /// Divides the waits between attempts at a webhook; 1.0 is Svix's schedule.
    pub speed: f64,
}

/// The secret that [`SimConfig::default`] signs with.
pub const DEFAULT_SECRET: &str = "whsec_cmVjYWxsLXNpbXVsYXRvci1zaWduaW5nLWtleS0wMDE=";
/// The API key of [`SimConfig::default`].
pub const DEFAULT_API_KEY: &str = "sim-api-key";

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            api_key: DEFAULT_API_KEY.to_owned(),
            endpoints: vec![WebhookEndpoint::new(None, &[DEFAULT_SECRET])],
            clock: SimClock::real(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            knobs: Knobs::default(),
            limits: Limits::default(),
            seed: 0,
            delivery: Delivery::Manual,
            speed: 1.0,
        }
    }
}

/// Who sends webhooks that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The test, by [`deliver_due`](super::Recall::deliver_due).
    Manual,
    /// A background task, as soon as they are due by the clock.
    Live,
}

/// A place that webhooks are sent to, as set up in the dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookEndpoint {
    /// Called exactly as it stands, query string included. `None`: messages wait for a URL.
    pub url: Option<String>,
    /// Each signs every message, so two stand for a rotation; none means unsigned.
    pub secrets: Vec<String>,
    /// Subscribed topics; `None` is all.
    pub topics: Option<Vec<String>>,
}

impl WebhookEndpoint {
    /// Subscribed to everything, signing with each of `secrets`.
    pub fn new(url: Option<&str>, secrets: &[&str]) -> Self {
        Self {
            url: url.map(str::to_owned),
            secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(),
            topics: None,
        }
    }
}

/// Names of the signature headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderFamily {
    /// `svix-id`, `svix-timestamp`, `svix-signature`.
    Svix,
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    Webhook,
    /// Both at once.
    Both,
}

/// The three shapes in which the documents show an error's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorShape {
    /// `{"code", "detail"}`
    Detail,
    /// `{"code", "message", "errors": {…}}`
    Errors,
    /// `{"field": ["…"]}`
    FieldMap,
}

/// What List Calendar Events shows without `calendar_id`. The parameter is optional \[C\], so all \[I\].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceLists {
    /// The events of all calendars.
    Span,
    /// None.
    Empty,
    /// Those of the oldest calendar.
    OneCalendar,
    /// 400: the parameter is required.
    Refused,
    /// 403: the request is blocked.
    Forbidden,
}

/// Behaviour that can be changed at any time, by [`knobs`](super::Recall::knobs) or `PATCH /sim/knobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// Every connection is closed unanswered, as if Recall were away.
    pub down: bool,
    /// Rows per page. 100 \[C\]; a third party saw about 50.
    pub page_size: usize,
    /// Lists run from the latest start. The order is \[U\].
    pub descending: bool,
    /// What lists of events show that name no calendar. \[I\]
    pub workspace_lists: WorkspaceLists,
    /// Paths without their last slash are 404. Tolerance is \[U\].
    pub strict_trailing_slash: bool,
    /// A body that holds a `localhost` URL gets 403 `request_blocked` \[C\]. Off, as a simulator's own webhooks are on loopback.
    pub block_localhost: bool,
    /// Forces one shape on every error body; `None` gives each its documented one.
    pub error_shape: Option<ErrorShape>,
    /// Milliseconds that every answer waits, in real time.
    pub latency_ms: u64,
    /// Milliseconds a schedule or delete call holds its deduplication key, in real time; another call for it gets 409 \[C\].
    pub key_hold_ms: u64,
    /// Probability of 507 for a bot whose join time is less than ten minutes away \[C\].
    pub pool_empty: f64,
    /// Seconds named in a 507's `Retry-After`; `None` sends no header.
    pub pool_retry_after_secs: Option<u64>,
    /// Seconds from creation to `connected`. Their length is \[U\].
    pub connect_delay_secs: i64,
    /// Seconds until a disconnection is noticed; up to a few hours \[C\].
    pub revocation_lag_secs: i64,
    /// A moved event takes its bot along. The sources disagree; off is the documented answer.
    pub move_bots: bool,
    /// Re-scheduling makes a new bot id, even if the bot is not shared. \[U\]
    pub new_bot_id: bool,
    /// Scheduling or deleting a bot bumps the event's `updated_at` and sends `calendar.sync_events`. \[U\]
    pub sync_on_bot_change: bool,
    /// `bots[].start_time` shows the event's start at scheduling instead of `join_at`. \[U\]
    pub bot_start_is_event_start: bool,
    /// A call for an event in progress joins a bot of the same key that is in the call. The documents say that keys apply to
    /// future bots only, so off: each such call sends one more bot.
    pub share_bots_in_call: bool,
    /// DELETE of a bot on a deleted event gets 400. \[U\]; off means 200.
    pub refuse_delete_on_deleted: bool,
    /// Bots announce themselves (`bot.joining_call`, …, `bot.done`) to the same endpoint.
    pub bot_webhooks: bool,
    /// Webhooks sent for one change; a series edit may cause several. Counts are \[U\].
    pub webhooks_per_change: u32,
    /// Header family of signatures.
    pub header_family: HeaderFamily,
    /// Leaves the signature headers out, as before a workspace's secret is created \[C\].
    pub unsigned: bool,
    /// Added to the timestamp that is signed.
    pub timestamp_skew_secs: i64,
    /// Webhooks sent at once; 1 sends in order.
    pub webhook_concurrency: usize,
    /// Milliseconds an attempt may take, in real time. 15 s \[C\].
    pub webhook_timeout_ms: u64,
    /// Probabilities of what befalls a webhook.
    pub webhook_rates: WebhookRates,
    /// Probabilities of what befalls an API call.
    pub call_rates: CallRates,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            down: false,
            page_size: 100,
            descending: false,
            workspace_lists: WorkspaceLists::Span,
            strict_trailing_slash: false,
            block_localhost: false,
            error_shape: None,
            latency_ms: 0,
            key_hold_ms: 0,
            pool_empty: 0.0,
            pool_retry_after_secs: None,
            connect_delay_secs: 0,
            revocation_lag_secs: 0,
            move_bots: false,
            new_bot_id: false,
            sync_on_bot_change: false,
            bot_start_is_event_start: false,
            share_bots_in_call: false,
            refuse_delete_on_deleted: false,
            bot_webhooks: false,
            webhooks_per_change: 1,
            header_family: HeaderFamily::Webhook,
            unsigned: false,
            timestamp_skew_secs: 0,
            webhook_concurrency: 16,
            webhook_timeout_ms: 15_000,
            webhook_rates: WebhookRates::default(),
            call_rates: CallRates::default(),
        }
    }
}

/// Probabilities, each drawn once per message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookRates {
    /// Never sent.
    pub lose: f64,
    /// Sent twice with the same id.
    pub duplicate: f64,
    /// Changes places with the message queued before it.
    pub reorder: f64,
    /// First sent `delay_secs` late.
    pub delay: f64,
    /// How late.
    pub delay_secs: i64,
}

/// Probabilities, drawn once per call in this order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallRates {
    /// Refused before acting with one of 500, 502, 503.
    pub refuse: f64,
    /// Refused before acting with 429 and `Retry-After`.
    pub throttle: f64,
    /// Refused before acting with 409; only scheduling and deleting bots.
    pub conflict: f64,
    /// Carried out, then the connection is closed unanswered.
    pub lose_answer: f64,
    /// Carried out, then half of the answer is sent.
    pub truncate: f64,
}

/// Calls per minute and endpoint, in a sliding window of the simulator's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// List Calendars.
    pub list_calendars: u32,
    /// List Calendar Events.
    pub list_events: u32,
    /// The two lists share `list_events`. The documents can be read either way \[U\].
    pub lists_shared: bool,
    /// Each of the other reads and writes.
    pub others: u32,
    /// Schedule Bot.
    pub schedule: u32,
    /// Delete Bot.
    pub delete: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { list_calendars: 60, list_events: 60, lists_shared: false, others: 300, schedule: 600, delete: 600 }
    }
}

impl Limits {
    /// Never refuses; for tests that are about something else and keep the clock still.
    pub fn unlimited() -> Self {
        Self {
            list_calendars: u32::MAX,
            list_events: u32::MAX,
            lists_shared: false,
            others: u32::MAX,
            schedule: u32::MAX,
            delete: u32::MAX,
        }
    }
}
