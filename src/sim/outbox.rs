//! Webhook messages and the attempts at delivering them: the queue, as values. `sender.rs` does the posting.
//!
//! Retries follow Svix's documented schedule without its jitter; each attempt has the message's id, and a timestamp and
//! signatures of its own. A calendar's own `webhook_url` gets an unsigned copy, retried for an hour with doubling waits. An
//! endpoint that has only failed for five days is disabled, and what is queued for it fails. (\[S\]: Svix starts that clock
//! only at the second of two failures at least 12 hours apart; here it starts at the first.)

mod message;

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use super::config::{Knobs, WebhookEndpoint};
use super::model::Notice;
pub use message::{Attempt, Message, MessageState, Route};
use message::{next_wait, signature_headers};

/// How long an endpoint may fail before it is disabled \[C\].
const DISABLE_AFTER: TimeDelta = TimeDelta::days(5);

/// An attempt that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) index: usize,
    pub(crate) attempt: Attempt,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

#[derive(Debug)]
struct Place {
    endpoint: WebhookEndpoint,
    failing_since: Option<DateTime<Utc>>,
    is_disabled: bool,
}

/// All messages, and the queue of those under way.
#[derive(Debug)]
pub(crate) struct Outbox {
    places: Vec<Place>,
    messages: Vec<Message>,
    /// Indexes of pending and sending messages, in the order in which they are sent.
    queue: Vec<usize>,
    lose_next: usize,
    duplicate_next: usize,
    delay_next: VecDeque<TimeDelta>,
    speed: f64,
    rng: fastrand::Rng,
}

impl Outbox {
    pub(crate) fn new(endpoints: Vec<WebhookEndpoint>, speed: f64, seed: u64) -> Self {
        let mut outbox = Self {
            places: Vec::new(),
            messages: Vec::new(),
            queue: Vec::new(),
            lose_next: 0,
            duplicate_next: 0,
            delay_next: VecDeque::new(),
            speed,
            rng: fastrand::Rng::with_seed(seed),
        };
        outbox.set_endpoints(endpoints);
        outbox
    }

    pub(crate) fn set_endpoints(&mut self, endpoints: Vec<WebhookEndpoint>) {
        let place = |endpoint| Place { endpoint, failing_since: None, is_disabled: false };
        self.places = endpoints.into_iter().map(place).collect();
    }

    /// Changes the first endpoint, which is made if there is none.
    pub(crate) fn change_endpoint(&mut self, change: impl FnOnce(&mut WebhookEndpoint)) {
        if self.places.is_empty() {
            self.set_endpoints(vec![WebhookEndpoint::new(None, &[])]);
        }
        if let Some(place) = self.places.first_mut() {
            change(&mut place.endpoint);
        }
    }

    pub(crate) fn is_disabled(&self) -> bool {
        self.places.first().is_some_and(|place| place.is_disabled)
    }

    pub(crate) fn enable(&mut self) {
        for place in &mut self.places {
            place.is_disabled = false;
            place.failing_since = None;
        }
    }

    pub(crate) fn lose_next(&mut self, n: usize) {
        self.lose_next += n;
    }

    pub(crate) fn duplicate_next(&mut self, n: usize) {
        self.duplicate_next += n;
    }

    pub(crate) fn delay_next(&mut self, n: usize, by: TimeDelta) {
        self.delay_next.extend(std::iter::repeat_n(by, n));
    }

    /// Queues a message for each endpoint subscribed to the topic, and for the calendar's own URL. Returns the first's id.
    pub(crate) fn queue_notice(&mut self, notice: &Notice, knobs: &Knobs, now: DateTime<Utc>) -> String {
        let subscribed = |place: &Place| match &place.endpoint.topics {
            Some(topics) => topics.contains(&notice.topic),
            None => true,
        };
        let mut routes: Vec<_> =
            (0..self.places.len()).filter(|index| subscribed(&self.places[*index])).map(Route::Endpoint).collect();
        routes.extend(notice.direct_url.clone().map(Route::Direct));
        let id = self.new_id();
        for route in routes {
            let message = Message {
                id: id.clone(),
                topic: notice.topic.clone(),
                calendar_id: notice.calendar_id,
                body: notice.body.clone(),
                route,
                created_at: now,
                due: now,
                state: MessageState::Pending,
                attempts: Vec::new(),
                tries: 0,
            };
            self.queue_with_faults(message, knobs);
        }
        id
    }

    fn queue_with_faults(&mut self, mut message: Message, knobs: &Knobs) {
        let rates = &knobs.webhook_rates;
        if let Some(by) = self.delay_next.pop_front() {
            message.due += by;
        } else if self.rng.f64() < rates.delay {
            message.due += TimeDelta::seconds(rates.delay_secs);
        }
        let is_lost = take_one(&mut self.lose_next) || self.rng.f64() < rates.lose;
        if is_lost {
            message.state = MessageState::Lost;
            self.messages.push(message);
            return;
        }
        if take_one(&mut self.duplicate_next) || self.rng.f64() < rates.duplicate {
            self.enqueue(message.clone());
        }
        self.enqueue(message);
        let length = self.queue.len();
        if length > 1 && self.rng.f64() < rates.reorder {
            self.queue.swap(length - 1, length - 2);
        }
    }

    fn enqueue(&mut self, mut message: Message) {
        if self.refuses(&message.route) {
            message.state = MessageState::Failed;
        } else {
            self.queue.push(self.messages.len());
        }
        self.messages.push(message);
    }

    fn refuses(&self, route: &Route) -> bool {
        match route {
            Route::Endpoint(index) => self.places.get(*index).is_none_or(|place| place.is_disabled),
            Route::Direct(_) => false,
        }
    }

    fn new_id(&mut self) -> String {
        let characters: String = (0..27).map(|_| self.rng.alphanumeric()).collect();
        format!("msg_{characters}")
    }

    /// Takes what is due and has somewhere to go, signed at `now`.
    pub(crate) fn take_due(&mut self, knobs: &Knobs, now: DateTime<Utc>) -> Vec<Outgoing> {
        let mut due = Vec::new();
        for index in self.queue.clone() {
            let message = &self.messages[index];
            if message.state == MessageState::Pending
                && message.due <= now
                && let Some(outgoing) = self.outgoing(index, knobs, now)
            {
                self.messages[index].state = MessageState::Sending;
                due.push(outgoing);
            }
        }
        due
    }

    fn outgoing(&self, index: usize, knobs: &Knobs, now: DateTime<Utc>) -> Option<Outgoing> {
        let message = &self.messages[index];
        let (url, secrets) = match &message.route {
            Route::Direct(url) => (url.clone(), [].as_slice()),
            Route::Endpoint(index) => {
                let endpoint = &self.places.get(*index)?.endpoint;
                (endpoint.url.clone()?, endpoint.secrets.as_slice())
            }
        };
        let timestamp = now.timestamp() + knobs.timestamp_skew_secs;
        let headers = if knobs.unsigned {
            Vec::new()
        } else {
            signature_headers(secrets, &message.id, timestamp, &message.body, knobs.header_family)
        };
        let attempt = Attempt {
            message_id: message.id.clone(),
            topic: message.topic.clone(),
            number: u32::try_from(message.attempts.len() + 1).unwrap_or(u32::MAX),
            at: now,
            url,
            status: None,
            error: None,
        };
        Some(Outgoing { index, attempt, headers, body: message.body.clone() })
    }

    /// Settles an attempt: delivered, tried again later, or given up.
    pub(crate) fn record(&mut self, index: usize, attempt: Attempt, now: DateTime<Utc>) {
        let is_delivered = attempt.is_delivered();
        let Some(message) = self.messages.get_mut(index) else {
            return;
        };
        message.attempts.push(attempt);
        message.tries += 1;
        let route = message.route.clone();
        if is_delivered {
            message.state = MessageState::Delivered;
        } else if let Some(wait) = next_wait(message, now) {
            let scaled = wait.num_milliseconds() as f64 / self.speed;
            message.due = now + TimeDelta::milliseconds(scaled as i64);
            message.state = MessageState::Pending;
        } else {
            message.state = MessageState::Failed;
        }
        if let Route::Endpoint(place) = route {
            self.judge_endpoint(place, is_delivered, now);
        }
        let messages = &self.messages;
        self.queue.retain(|index| is_under_way(&messages[*index]));
    }

    fn judge_endpoint(&mut self, index: usize, is_delivered: bool, now: DateTime<Utc>) {
        let Some(place) = self.places.get_mut(index) else {
            return;
        };
        if is_delivered {
            place.failing_since = None;
            return;
        }
        let since = *place.failing_since.get_or_insert(now);
        if now - since < DISABLE_AFTER {
            return;
        }
        place.is_disabled = true;
        for queued in &self.queue {
            let message = &mut self.messages[*queued];
            if message.route == Route::Endpoint(index) && message.state == MessageState::Pending {
                message.state = MessageState::Failed;
            }
        }
    }

    pub(crate) fn next_due(&self) -> Option<DateTime<Utc>> {
        let has_place = |message: &&Message| match &message.route {
            Route::Direct(_) => true,
            Route::Endpoint(index) => self.places.get(*index).is_some_and(|place| place.endpoint.url.is_some()),
        };
        let pending = self.queue.iter().map(|index| &self.messages[*index]);
        pending
            .filter(|message| message.state == MessageState::Pending)
            .filter(has_place)
            .map(|message| message.due)
            .min()
    }

    pub(crate) fn pending(&self) -> Vec<Message> {
        self.queue.iter().map(|index| self.messages[*index].clone()).collect()
    }

    pub(crate) fn all(&self) -> &[Message] {
        &self.messages
    }

    /// Loses the pending messages that `which` picks; says how many.
    pub(crate) fn lose(&mut self, which: impl Fn(&Message) -> bool) -> usize {
        let before = self.queue.len();
        let messages = &mut self.messages;
        self.queue.retain(|index| {
            let message = &mut messages[*index];
            let is_lost = message.state == MessageState::Pending && which(message);
            if is_lost {
                message.state = MessageState::Lost;
            }
            !is_lost
        });
        before - self.queue.len()
    }

    pub(crate) fn reverse(&mut self) {
        self.queue.reverse();
    }

    pub(crate) fn shuffle(&mut self) {
        self.rng.shuffle(&mut self.queue);
    }

    /// Queues again, from the first slot and under its old id, whatever `which` picks and is not under way; says how many.
    pub(crate) fn replay(&mut self, now: DateTime<Utc>, which: impl Fn(&Message) -> bool) -> usize {
        let mut replayed = 0;
        for (index, message) in self.messages.iter_mut().enumerate() {
            if is_under_way(message) || !which(message) {
                continue;
            }
            message.state = MessageState::Pending;
            message.due = now;
            message.tries = 0;
            self.queue.push(index);
            replayed += 1;
        }
        replayed
    }
}

fn is_under_way(message: &Message) -> bool {
    matches!(message.state, MessageState::Pending | MessageState::Sending)
}

fn take_one(left: &mut usize) -> bool {
    let any = *left > 0;
    *left = left.saturating_sub(1);
    any
}
