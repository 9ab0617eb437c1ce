//! What the operator configured about bots: which events get one, how it is made, and how keys are formed.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

use super::{Fingerprint, calendar::Calendar, dedup::Deduplication, event::Event};

/// Which events get a bot, before facts such as a missing link are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordWhen {
    /// Each one.
    All,
    /// Not one.
    None,
}

impl RecordWhen {
    /// Whether the rule wants a bot on this event.
    pub fn wants(self, _event: &Event, _calendar: &Calendar) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
        }
    }

    /// Its name, as it is configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::None => "none",
        }
    }
}

/// The policy of this process.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which events get a bot.
    pub record_when: RecordWhen,
    /// How keys are formed.
    pub deduplication: Deduplication,
    /// `bot_config` as configured; each event's ids, link and time are added when a bot is scheduled.
    pub bot_config: Map<String, Value>,
}

impl Policy {
    /// Tells two configurations apart that may decide differently about whether there is a bot, and how it is made.
    pub fn fingerprint(&self) -> Fingerprint {
        let config = Value::Object(self.bot_config.clone());
        Fingerprint::of(format!("{}\n{}\n{config}", self.record_when.as_str(), self.deduplication.as_str()).as_bytes())
    }

    /// Tells two bots apart that were made from different `BOT_CONFIG`s.
    pub fn bot_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Value::Object(self.bot_config.clone()).to_string().as_bytes())
    }

    /// The whole `bot_config` for `event`: what was configured, and our ids in its `metadata`, which Recall hands back in
    /// its bot webhooks. A bot does not point back to its event otherwise.
    ///
    /// The link and the time are those that the deduplication key was formed of. Recall would take the event's own, which may
    /// have changed while the call is on its way; and where events share the bot, it would follow this one away from the
    /// others, who see their key and keep it. A time that has passed is left out: that bot joins at once.
    pub fn bot_config_for(&self, event: &Event, now: DateTime<Utc>) -> Map<String, Value> {
        let mut config = self.bot_config.clone();
        let metadata = config.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(metadata) = metadata {
            metadata.insert("rollcall_calendar_id".into(), event.calendar_id.to_string().into());
            metadata.insert("rollcall_event_id".into(), event.id.to_string().into());
        }
        if let Some(meeting_url) = &event.meeting_url {
            config.insert("meeting_url".into(), meeting_url.as_str().into());
        }
        if event.start_time > now {
            config.insert("join_at".into(), event.start_time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into());
        }
        config
    }
}
