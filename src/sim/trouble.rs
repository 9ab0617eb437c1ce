//! What a test, or an operator, makes go wrong: knobs, faults, and the fate of webhooks.

use std::sync::atomic::Ordering;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::model::Notice;
use super::outbox::MessageState;
use super::{Attempt, Endpoint, Fault, Knobs, Limits, Message, Recall, WebhookEndpoint, sender};

/// Behaviour, and faults of API calls.
impl Recall {
    /// Turns knobs; see [`Knobs`].
    pub fn knobs(&self, turn: impl FnOnce(&mut Knobs)) {
        self.shared.with(|world, _| turn(&mut world.workspace.knobs));
    }

    /// The knobs as they stand.
    pub fn current_knobs(&self) -> Knobs {
        self.shared.with(|world, _| world.workspace.knobs.clone())
    }

    /// Sets the rate limits.
    pub fn limits(&self, limits: Limits) {
        self.shared.with(|world, _| world.limiter.limits = limits);
    }

    /// The next `times` calls of `endpoint` go wrong like this.
    pub fn fail_next(&self, endpoint: Endpoint, fault: Fault, times: usize) {
        self.shared.with(|world, _| world.faults.queue(endpoint, fault, times));
    }

    /// Takes back what [`fail_next`](Self::fail_next) asked for and has not happened.
    pub fn clear_faults(&self) {
        self.shared.with(|world, _| world.faults.clear());
    }

    /// Lets go every call that hangs.
    pub fn release(&self) {
        self.shared.release();
    }

    /// How many calls hang.
    pub fn hanging(&self) -> usize {
        self.shared.hanging.load(Ordering::SeqCst)
    }

    /// From now on the API shows this text for the event, JSON or not; `None` shows the event again.
    pub fn override_event(&self, event: Uuid, text: Option<String>) {
        self.shared.with(|world, _| {
            if let Some(event) = world.workspace.event_mut(event) {
                event.shown_instead = text;
            }
        });
    }

    /// From now on the API shows all events as they are.
    pub fn clear_overrides(&self) {
        self.shared.with(|world, _| world.workspace.events_mut().for_each(|event| event.shown_instead = None));
    }

    /// From now on the API shows the event's JSON as it is now, changed by `change`.
    pub fn override_event_json(&self, event: Uuid, change: impl FnOnce(&mut Value)) {
        if let Some(mut shown) = self.event(event) {
            change(&mut shown);
            self.override_event(event, Some(shown.to_string()));
        }
    }
}

/// Webhooks: where they go, when, and what befalls them.
impl Recall {
    /// Points the first webhook endpoint at `url`; what waits for a URL is due at once.
    pub fn set_endpoint(&self, url: &str) {
        let url = url.to_owned();
        self.shared.with(|world, _| {
            world.outbox.change_endpoint(|endpoint| endpoint.url = Some(url));
        });
        self.shared.changed.notify_one();
    }

    /// Replaces all webhook endpoints, which also enables them again.
    pub fn set_endpoints(&self, endpoints: Vec<WebhookEndpoint>) {
        self.shared.with(|world, _| world.outbox.set_endpoints(endpoints));
        self.shared.changed.notify_one();
    }

    /// Replaces the secrets of the first endpoint.
    pub fn set_secrets(&self, secrets: &[&str]) {
        let secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        self.shared.with(|world, _| {
            world.outbox.change_endpoint(|endpoint| endpoint.secrets = secrets);
        });
    }

    /// Posts everything due by the clock and says how it went. Never sleeps.
    pub async fn deliver_due(&self) -> Vec<Attempt> {
        sender::deliver_due(&self.shared).await
    }

    /// When the next attempt at a webhook is due, if one will be.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        self.tick();
        self.shared.with(|world, _| world.outbox.next_due())
    }

    /// Webhooks not yet delivered and not given up, in the order in which they will be sent.
    pub fn pending_webhooks(&self) -> Vec<Message> {
        self.shared.with(|world, _| world.outbox.pending())
    }

    /// Every webhook so far.
    pub fn webhooks(&self) -> Vec<Message> {
        self.shared.with(|world, _| world.outbox.all().to_vec())
    }

    /// Loses what is pending; says how many.
    pub fn lose_pending_webhooks(&self) -> usize {
        self.shared.with(|world, _| world.outbox.lose(|_| true))
    }

    /// Loses one that is pending; says whether it was.
    pub fn lose_webhook(&self, id: &str) -> bool {
        self.shared.with(|world, _| world.outbox.lose(|message| message.id == id)) > 0
    }

    /// Turns the order of what is pending round.
    pub fn reverse_pending_webhooks(&self) {
        self.shared.with(|world, _| world.outbox.reverse());
    }

    /// Shuffles what is pending.
    pub fn shuffle_pending_webhooks(&self) {
        self.shared.with(|world, _| world.outbox.shuffle());
    }

    /// The next `n` webhooks are never sent.
    pub fn lose_next_webhooks(&self, n: usize) {
        self.shared.with(|world, _| world.outbox.lose_next(n));
    }

    /// The next `n` webhooks are sent twice.
    pub fn duplicate_next_webhooks(&self, n: usize) {
        self.shared.with(|world, _| world.outbox.duplicate_next(n));
    }

    /// The next `n` webhooks are first sent `by` later.
    pub fn delay_next_webhooks(&self, n: usize, by: TimeDelta) {
        self.shared.with(|world, _| world.outbox.delay_next(n, by));
    }

    /// Sends a message again, under the same id, from the first slot of the schedule; says whether it exists and is not
    /// under way.
    pub fn replay_webhook(&self, id: &str) -> bool {
        self.replay(|message| message.id == id) > 0
    }

    /// Sends again what failed since `since`, as the dashboard's "Recover failed messages"; says how many.
    pub fn recover_failed_webhooks(&self, since: DateTime<Utc>) -> usize {
        self.replay(|message| message.state == MessageState::Failed && message.created_at >= since)
    }

    fn replay(&self, which: impl Fn(&Message) -> bool) -> usize {
        let replayed = self.shared.with(|world, now| world.outbox.replay(now, which));
        self.shared.changed.notify_one();
        replayed
    }

    /// Queues any body for the endpoints, signed like every other; returns the message's id.
    pub fn send_webhook(&self, topic: &str, body: &str) -> String {
        let notice = Notice { topic: topic.to_owned(), calendar_id: None, direct_url: None, body: body.to_owned() };
        let id = self.shared.with(|world, now| world.outbox.queue_notice(&notice, &world.workspace.knobs, now));
        self.shared.changed.notify_one();
        id
    }

    /// Whether the first endpoint was disabled after five days of failures.
    pub fn is_endpoint_disabled(&self) -> bool {
        self.shared.with(|world, _| world.outbox.is_disabled())
    }

    /// Enables the endpoints again; what failed meanwhile stays failed until it is recovered.
    pub fn enable_endpoint(&self) {
        self.shared.with(|world, _| world.outbox.enable());
    }
}
