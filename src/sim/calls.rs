//! The log of API calls, for tests that say "no call was made" or "never more than sixty a minute".

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::faults::Endpoint;

/// One API call as the simulator received it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Counts up from 1 over the simulator's life.
    pub number: u64,
    /// When it arrived, by the simulator's clock.
    pub at: DateTime<Utc>,
    /// Which operation; [`Endpoint::Any`] for a path the API does not have.
    pub endpoint: Endpoint,
    /// `GET`, `POST`, …
    pub method: String,
    /// The path with `{id}` in place of the id.
    pub path: String,
    /// The id in the path.
    pub id: Option<Uuid>,
    /// The query string as sent.
    pub query: String,
    /// The JSON body, or null.
    pub body: Value,
    /// The answer's status, also if the answer was lost on its way; 0 while it is not decided, or if the call was dropped.
    pub status: u16,
}

/// The calls since the log was last cleared.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    pub(crate) calls: Vec<Call>,
    last_number: u64,
}

impl CallLog {
    /// Writes the call down and returns its number.
    pub(crate) fn add(&mut self, call: Call) -> u64 {
        self.last_number += 1;
        self.calls.push(Call { number: self.last_number, ..call });
        self.last_number
    }

    pub(crate) fn set_status(&mut self, number: u64, status: u16) {
        if let Some(call) = self.calls.iter_mut().rev().find(|call| call.number == number) {
            call.status = status;
        }
    }
}
