//! A simulated Recall.ai: Calendar V2 API, webhook sender, and the people whose calendars they are.
//!
//! surface only, for now

mod calls;
mod clock;
pub mod command;
mod config;
mod faults;
mod life;
mod model;
mod outbox;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

pub use calls::Call;
pub use clock::SimClock;
pub use config::{
    CallRates, DEFAULT_API_KEY, DEFAULT_SECRET, Delivery, ErrorShape, HeaderFamily, Knobs, Limits,
    SimConfig, WebhookEndpoint, WebhookRates,
};
pub use faults::{Endpoint, Fault};
pub use life::{Happening, Life};
pub use model::bot::{Bot, BotState};
pub use model::meeting::{Attendee, NewEvent, Platform, Response};
pub use outbox::{Attempt, Message, MessageState, Route};

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
        Self {
            platform,
            email: email.to_owned(),
            metadata: BTreeMap::new(),
            webhook_url: None,
        }
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

/// A running simulator. Ends when dropped.
///
/// Methods that take the id of a calendar or event panic when there is none: in a test that is a mistake of the test's.
#[derive(Debug)]
pub struct Sim {}

impl Sim {
    /// Binds, and serves in the background.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on, or a secret cannot sign.
    pub async fn start(config: SimConfig) -> Result<Self, StartError> {
        let _ = config;
        unimplemented!()
    }
    /// `http://127.0.0.1:{port}`, without a last slash.
    pub fn base_url(&self) -> String {
        unimplemented!()
    }
    /// The clock it was started with.
    pub fn clock(&self) -> SimClock {
        unimplemented!()
    }
    /// Stops listening and closes what is open.
    pub async fn stop(self) {
        unimplemented!()
    }
    /// Turns knobs; see [`Knobs`].
    pub fn knobs(&self, turn: impl FnOnce(&mut Knobs)) {
        let _ = turn;
        unimplemented!()
    }
    /// Sets the rate limits.
    pub fn limits(&self, limits: Limits) {
        let _ = limits;
        unimplemented!()
    }
    /// Points the first webhook endpoint at `url`; what waits for a URL is due at once.
    pub fn set_endpoint(&self, url: &str) {
        let _ = url;
        unimplemented!()
    }
    /// Replaces all webhook endpoints, which also enables them again.
    pub fn set_endpoints(&self, endpoints: Vec<WebhookEndpoint>) {
        let _ = endpoints;
        unimplemented!()
    }
    /// Replaces the secrets of the first endpoint.
    pub fn set_secrets(&self, secrets: &[&str]) {
        let _ = secrets;
        unimplemented!()
    }
    /// Brings about everything that the clock says has happened: connections, roll-ins, bots joining and leaving. Each API
    /// call and each method below does so first, so this is only needed before reading webhooks.
    pub fn tick(&self) {
        unimplemented!()
    }
    /// When [`tick`](Self::tick) will next bring something about.
    pub fn next_change(&self) -> Option<DateTime<Utc>> {
        unimplemented!()
    }

    // People.

    /// Somebody connects a calendar, as if through OAuth; connected at once unless `connect_delay_secs`.
    pub fn connect_calendar(&self, new: NewCalendar) -> Uuid {
        let _ = new;
        unimplemented!()
    }
    /// The grant is revoked at the provider: the calendar is disconnected and an empty PATCH does not help.
    pub fn disconnect_calendar(&self, calendar: Uuid) {
        let _ = calendar;
        unimplemented!()
    }
    /// Disconnected by a passing trouble: the grant is good, so that an empty PATCH connects again.
    pub fn interrupt_calendar(&self, calendar: Uuid) {
        let _ = calendar;
        unimplemented!()
    }
    /// The person consents again.
    pub fn reconnect_calendar(&self, calendar: Uuid) {
        let _ = calendar;
        unimplemented!()
    }
    /// As DELETE by the API: 204, no webhook.
    pub fn delete_calendar(&self, calendar: Uuid) {
        let _ = calendar;
        unimplemented!()
    }
    /// A new event in a calendar.
    pub fn create_event(&self, calendar: Uuid, new: NewEvent) -> Uuid {
        let _ = (calendar, new);
        unimplemented!()
    }
    /// Several events at once: one `updated_at`, one webhook.
    pub fn create_events(&self, calendar: Uuid, new: Vec<NewEvent>) -> Vec<Uuid> {
        let _ = (calendar, new);
        unimplemented!()
    }
    /// The same meeting on several calendars: one `ical_uid`, an event each.
    pub fn same_meeting_on(&self, calendars: &[Uuid], new: &NewEvent) -> Vec<Uuid> {
        let _ = (calendars, new);
        unimplemented!()
    }
    /// A printed CalendarEvent, verbatim; its calendar is made if need be. Its bots are made too. Sends `calendar.sync_events`.
    pub fn insert_raw_event(&self, event: Value) -> Uuid {
        let _ = event;
        unimplemented!()
    }
    /// Any change to an event; nothing is sent if it changes nothing.
    pub fn edit_event(&self, event: Uuid, edit: impl FnOnce(&mut NewEvent)) {
        let _ = (event, edit);
        unimplemented!()
    }
    /// Starts at `start`, as long as before.
    pub fn move_event(&self, event: Uuid, start: DateTime<Utc>) {
        let _ = (event, start);
        unimplemented!()
    }
    /// Another link, or none.
    pub fn relink_event(&self, event: Uuid, meeting_url: Option<&str>) {
        let _ = (event, meeting_url);
        unimplemented!()
    }
    /// Cancelled in `raw`, and not deleted.
    pub fn cancel_event(&self, event: Uuid) {
        let _ = event;
        unimplemented!()
    }
    /// Deleted: the row stays, `is_deleted`, without its bot.
    pub fn delete_event(&self, event: Uuid) {
        let _ = event;
        unimplemented!()
    }
    /// Neither deleted nor cancelled any more, under the same id [U].
    pub fn restore_event(&self, event: Uuid) {
        let _ = event;
        unimplemented!()
    }
    /// Other attendees.
    pub fn edit_attendees(&self, event: Uuid, attendees: Vec<Attendee>) {
        let _ = (event, attendees);
        unimplemented!()
    }
    /// Google hands the event to another calendar, under the same id.
    pub fn transfer_event(&self, event: Uuid, calendar: Uuid) {
        let _ = (event, calendar);
        unimplemented!()
    }
    /// Sends `calendar.sync_events` though nothing changed.
    pub fn touch_calendar(&self, calendar: Uuid) {
        let _ = calendar;
        unimplemented!()
    }
    /// A person puts the event's bots out of the call. Says whether there was one.
    pub fn kick_bot(&self, event: Uuid) -> bool {
        let _ = event;
        unimplemented!()
    }

    // Looking.

    /// Bots that are scheduled or in a call.
    pub fn live_bots(&self) -> Vec<Bot> {
        unimplemented!()
    }
    /// Every bot there ever was.
    pub fn all_bots(&self) -> Vec<Bot> {
        unimplemented!()
    }
    /// Every bot that the event ever had.
    pub fn bots_of(&self, event: Uuid) -> Vec<Bot> {
        let _ = event;
        unimplemented!()
    }
    /// The calendars, as the API shows them, oldest first.
    pub fn calendars(&self) -> Vec<Value> {
        unimplemented!()
    }
    /// A calendar as the API shows it.
    pub fn calendar(&self, calendar: Uuid) -> Option<Value> {
        let _ = calendar;
        unimplemented!()
    }
    /// The calendar's events as the API shows them, deleted ones too, by start.
    pub fn events(&self, calendar: Uuid) -> Vec<Value> {
        let _ = calendar;
        unimplemented!()
    }
    /// An event as the API shows it; `None` while it is beyond the window.
    pub fn event(&self, event: Uuid) -> Option<Value> {
        let _ = event;
        unimplemented!()
    }
    /// The API calls so far.
    pub fn calls(&self) -> Vec<Call> {
        unimplemented!()
    }
    /// Forgets the calls so far.
    pub fn clear_calls(&self) {
        unimplemented!()
    }

    // Faults.

    /// The next `times` calls of `endpoint` go wrong like this.
    pub fn fail_next(&self, endpoint: Endpoint, fault: Fault, times: usize) {
        let _ = (endpoint, fault, times);
        unimplemented!()
    }
    /// Takes back what [`fail_next`](Self::fail_next) asked for and has not happened.
    pub fn clear_faults(&self) {
        unimplemented!()
    }
    /// Lets go every call that hangs.
    pub fn release(&self) {
        unimplemented!()
    }
    /// How many calls hang.
    pub fn hanging(&self) -> usize {
        unimplemented!()
    }
    /// From now on the API shows this text for the event, JSON or not; `None` shows the event again.
    pub fn override_event(&self, event: Uuid, text: Option<String>) {
        let _ = (event, text);
        unimplemented!()
    }
    /// From now on the API shows the event's JSON as it is now, changed by `change`.
    pub fn override_event_json(&self, event: Uuid, change: impl FnOnce(&mut Value)) {
        let _ = (event, change);
        unimplemented!()
    }

    // Webhooks.

    /// Posts everything due by the clock and says how it went. Never sleeps.
    pub async fn deliver_due(&self) -> Vec<Attempt> {
        unimplemented!()
    }
    /// When the next attempt at a webhook is due, if one will be.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        unimplemented!()
    }
    /// Webhooks not yet delivered and not given up, in the order in which they will be sent.
    pub fn pending_webhooks(&self) -> Vec<Message> {
        unimplemented!()
    }
    /// Every webhook so far.
    pub fn webhooks(&self) -> Vec<Message> {
        unimplemented!()
    }
    /// Loses what is pending; says how many.
    pub fn lose_pending_webhooks(&self) -> usize {
        unimplemented!()
    }
    /// Loses one that is pending; says whether it was.
    pub fn lose_webhook(&self, id: &str) -> bool {
        let _ = id;
        unimplemented!()
    }
    /// Turns the order of what is pending round.
    pub fn reverse_pending_webhooks(&self) {
        unimplemented!()
    }
    /// Shuffles what is pending.
    pub fn shuffle_pending_webhooks(&self) {
        unimplemented!()
    }
    /// The next `n` webhooks are never sent.
    pub fn lose_next_webhooks(&self, n: usize) {
        let _ = n;
        unimplemented!()
    }
    /// The next `n` webhooks are sent twice.
    pub fn duplicate_next_webhooks(&self, n: usize) {
        let _ = n;
        unimplemented!()
    }
    /// The next `n` webhooks are first sent `by` later.
    pub fn delay_next_webhooks(&self, n: usize, by: TimeDelta) {
        let _ = (n, by);
        unimplemented!()
    }
    /// Sends a message again, under the same id, from the first slot of the schedule; says whether it exists.
    pub fn replay_webhook(&self, id: &str) -> bool {
        let _ = id;
        unimplemented!()
    }
    /// Sends again what failed since `since`, as the dashboard's "Recover failed messages"; says how many.
    pub fn recover_failed_webhooks(&self, since: DateTime<Utc>) -> usize {
        let _ = since;
        unimplemented!()
    }
    /// Queues any body for the first endpoint, signed like every other; returns the message's id.
    pub fn send_webhook(&self, topic: &str, body: &str) -> String {
        let _ = (topic, body);
        unimplemented!()
    }
    /// Whether the first endpoint was disabled after five days of failures.
    pub fn is_endpoint_disabled(&self) -> bool {
        unimplemented!()
    }
    /// Enables the first endpoint again.
    pub fn enable_endpoint(&self) {
        unimplemented!()
    }
}
