//! Webhook messages and the attempts at delivering them: the queue, as values.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
    /// Out of attempts, refused for good, or the endpoint is disabled.
    Failed,
    /// Lost by a fault: never sent.
    Lost,
}

/// One webhook message.
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
        self.status
            .is_some_and(|status| (200..300).contains(&status))
    }
}
