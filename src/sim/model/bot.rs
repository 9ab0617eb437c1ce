//! A bot, from being scheduled to the end of its call.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Where a bot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BotState {
    /// Waits for its join time; can still be changed or removed.
    Scheduled,
    /// Dispatched: in the call. Out of the calendar endpoints' reach (\[U\] for DELETE; they answer 200 and leave it).
    InCall,
    /// The call ended.
    Done,
    /// Told to leave, or put out of the call by a person.
    Left,
    /// Unscheduled before it was dispatched.
    Removed,
}

/// Everything known of a bot. None is ever forgotten, so this doubles as the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bot {
    /// Its id.
    pub id: Uuid,
    /// The deduplication key it was last scheduled under.
    pub key: String,
    /// The events it is, or when dispatched was, scheduled for.
    pub events: BTreeSet<Uuid>,
    /// The whole `bot_config` of the last call.
    pub config: Value,
    /// The link it joins.
    pub meeting_url: String,
    /// When it joins: `bot_config.join_at`, else the event's start.
    pub join_at: DateTime<Utc>,
    /// The event's start when it was scheduled.
    pub event_start: DateTime<Utc>,
    /// The event's end when it was scheduled: a dispatched bot stays until then.
    pub event_end: DateTime<Utc>,
    /// Where it is in its life.
    pub state: BotState,
    /// When it was first scheduled.
    pub created_at: DateTime<Utc>,
    /// When it went to the call.
    pub dispatched_at: Option<DateTime<Utc>>,
    /// When it was removed, left or was done.
    pub ended_at: Option<DateTime<Utc>>,
}

impl Bot {
    /// Scheduled or in a call.
    pub fn is_live(&self) -> bool {
        match self.state {
            BotState::Scheduled | BotState::InCall => true,
            BotState::Done | BotState::Left | BotState::Removed => false,
        }
    }
}
