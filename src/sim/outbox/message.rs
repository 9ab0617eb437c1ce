//! A message, its attempts, when it is tried again, and how it is signed.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use svix::webhooks::Webhook;
use uuid::Uuid;

use crate::sim::config::HeaderFamily;

/// Waits before each attempt, counted from the failure before it \[C\].
const SCHEDULE_SECS: [i64; 8] = [0, 5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600];
/// How long a calendar's own URL is tried \[C\].
const DIRECT_FOR: TimeDelta = TimeDelta::hours(1);
/// The first wait on a calendar's own URL; the others double. Their lengths are \[U\].
const DIRECT_FIRST_SECS: i64 = 15;

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// The configured endpoint with this index: signed.
    Endpoint(usize),
    /// A calendar's own `webhook_url`: called as it stands, unsigned.
    Direct(String),
}

/// Where a message is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// To be sent at `due`.
    Pending,
    /// An attempt is under way.
    Sending,
    /// Answered with a 2xx.
    Delivered,
    /// Out of attempts, or the endpoint is disabled.
    Failed,
    /// Lost by a fault: never sent.
    Lost,
}

/// One webhook message. A duplicate is a second message with the same id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `msg_` and 27 characters; the same in each attempt.
    pub id: String,
    /// `calendar.update`, `calendar.sync_events`, `bot.…`.
    pub topic: String,
    /// The calendar it is about, if it is about one.
    pub calendar_id: Option<Uuid>,
    /// The body, byte for byte.
    pub body: String,
    /// Where it goes.
    pub route: Route,
    /// When it came up.
    pub created_at: DateTime<Utc>,
    /// When the next attempt is due.
    pub due: DateTime<Utc>,
    /// Where it is in its life.
    pub state: MessageState,
    /// What was tried so far.
    pub attempts: Vec<Attempt>,
    /// Attempts since it was queued or replayed: the place in the schedule.
    #[serde(skip)]
    pub(crate) tries: usize,
}

/// One POST of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The message's id.
    pub message_id: String,
    /// The message's topic.
    pub topic: String,
    /// 1 for the first.
    pub number: u32,
    /// When it was sent, by the simulator's clock: the timestamp that was signed, but for a skew.
    pub at: DateTime<Utc>,
    /// The exact URL.
    pub url: String,
    /// The answer's status; `None` if there was none.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<String>,
}

impl Attempt {
    /// Whether the receiver answered with a 2xx; everything else is a failure, redirects too.
    pub fn is_delivered(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// The wait after a failure, or `None` when it was the last attempt.
pub(super) fn next_wait(message: &Message, now: DateTime<Utc>) -> Option<TimeDelta> {
    match &message.route {
        Route::Endpoint(_) => SCHEDULE_SECS.get(message.tries).copied().map(TimeDelta::seconds),
        Route::Direct(_) => {
            let doubling = i64::try_from(message.tries.saturating_sub(1)).unwrap_or(0).min(20);
            let wait = TimeDelta::seconds(DIRECT_FIRST_SECS << doubling);
            (now + wait <= message.created_at + DIRECT_FOR).then_some(wait)
        }
    }
}

/// The three headers of one family, or of both; none without a secret, as Recall does \[C\].
pub(super) fn signature_headers(
    secrets: &[String],
    id: &str,
    timestamp: i64,
    body: &str,
    family: HeaderFamily,
) -> Vec<(String, String)> {
    let signatures: Vec<_> = secrets
        .iter()
        .filter_map(|secret| Webhook::new(secret).ok()?.sign(id, timestamp, body.as_bytes()).ok())
        .collect();
    if signatures.is_empty() {
        return Vec::new();
    }
    let prefixes: &[&str] = match family {
        HeaderFamily::Svix => &["svix"],
        HeaderFamily::Webhook => &["webhook"],
        HeaderFamily::Both => &["webhook", "svix"],
    };
    let headers = prefixes.iter().flat_map(|prefix| {
        [
            (format!("{prefix}-id"), id.to_owned()),
            (format!("{prefix}-timestamp"), timestamp.to_string()),
            (format!("{prefix}-signature"), signatures.join(" ")),
        ]
    });
    headers.collect()
}
