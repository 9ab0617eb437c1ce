//! The classes of API calls that share a limit, and the limits.
//!
//! Recall limits each endpoint per workspace over a sliding minute. The documents print one number for both lists and one
//! for all other reads and writes without saying whether endpoints share it; we assume that they do. Schedule Bot and
//! Delete Bot are documented to have their own.

use std::fmt;

/// API calls that draw on one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallClass {
    /// List Calendars and List Calendar Events.
    List,
    /// Retrieve Calendar and Retrieve Calendar Event.
    Read,
    /// Schedule Bot.
    ScheduleBot,
    /// Delete Bot.
    DeleteBot,
}

impl CallClass {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::List, Self::Read, Self::ScheduleBot, Self::DeleteBot];

    /// Its name in tables, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Read => "read",
            Self::ScheduleBot => "schedule_bot",
            Self::DeleteBot => "delete_bot",
        }
    }
}

impl fmt::Display for CallClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Calls per minute that the workspace may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Both lists together.
    pub list: u32,
    /// Other reads and writes.
    pub read: u32,
    /// Each of Schedule Bot and Delete Bot.
    pub bot: u32,
}

impl Limits {
    /// The limit of one class, in calls per minute.
    pub fn of(self, class: CallClass) -> u32 {
        match class {
            CallClass::List => self.list,
            CallClass::Read => self.read,
            CallClass::ScheduleBot | CallClass::DeleteBot => self.bot,
        }
    }
}
