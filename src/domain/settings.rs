//! What people said about bots, event by event or calendar by calendar. It wins over what is configured, and outlives every
//! sync.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{policy::read_bot_config, rule::Rule};

/// What a setting is about, from the widest to the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All calendars.
    All,
    /// A calendar.
    Calendar,
    /// The occurrences of a series on a calendar.
    Series,
    /// An event.
    Event,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "aspect", content = "value", rename_all = "snake_case")]
pub enum Said {
    /// Nothing is scheduled, and what was scheduled goes, until the pause is over.
    Pause,
    /// Whether there is a bot, whatever the rule says.
    Override(Verdict),
    /// The rule of a calendar, in place of `RECORD_WHEN`.
    RecordWhen(String),
    /// The bots of a calendar, in place of `BOT_CONFIG`: a JSON object.
    BotConfig(String),
}

/// Whether there is a bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There is.
    Record,
    /// There is none.
    Skip,
}

/// One thing that somebody said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// What about.
    pub scope: Scope,
    /// What.
    #[serde(flatten)]
    pub said: Said,
    /// Who.
    pub who: String,
    /// And why.
    pub why: String,
    /// When.
    pub set_at: DateTime<Utc>,
}

/// All that was said which concerns one event.
#[derive(Clone, Debug, Default)]
pub struct Settings(pub Vec<Setting>);

impl Settings {
    /// The pause that holds.
    pub fn pause(&self) -> Option<&Setting> {
        self.nearest(|said| matches!(said, Said::Pause))
    }

    /// The nearest override: one for the event wins over one for its series, and that over one for its calendar.
    pub fn verdict(&self) -> Option<(Verdict, &Setting)> {
        let setting = self.nearest(|said| matches!(said, Said::Override(_)))?;
        match setting.said {
            Said::Override(verdict) => Some((verdict, setting)),
            Said::Pause | Said::RecordWhen(_) | Said::BotConfig(_) => None,
        }
    }

    /// The rule of the calendar.
    pub fn record_when(&self) -> Option<(&str, &Setting)> {
        let setting = self.nearest(|said| matches!(said, Said::RecordWhen(_)))?;
        match &setting.said {
            Said::RecordWhen(rule) => Some((rule, setting)),
            Said::Pause | Said::Override(_) | Said::BotConfig(_) => None,
        }
    }

    /// The `bot_config` of the calendar.
    pub fn bot_config(&self) -> Option<&str> {
        self.0.iter().find_map(|setting| match &setting.said {
            Said::BotConfig(config) => Some(config.as_str()),
            Said::Pause | Said::Override(_) | Said::RecordWhen(_) => None,
        })
    }

    fn nearest(&self, is_meant: impl Fn(&Said) -> bool) -> Option<&Setting> {
        self.0.iter().filter(|setting| is_meant(&setting.said)).max_by_key(|setting| setting.scope)
    }
}

impl Scope {
    /// Its name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Calendar => "calendar",
            Self::Series => "series",
            Self::Event => "event",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "everything",
            Self::Calendar => "this calendar",
            Self::Series => "this series",
            Self::Event => "this event",
        })
    }
}

impl Said {
    /// The aspect that it is about, as in tables: one of each is kept.
    pub fn aspect(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Override(_) => "override",
            Self::RecordWhen(_) => "record_when",
            Self::BotConfig(_) => "bot_config",
        }
    }

    /// What is said about the aspect, as in tables.
    pub fn value(&self) -> &str {
        match self {
            Self::Pause => "",
            Self::Override(Verdict::Record) => "record",
            Self::Override(Verdict::Skip) => "skip",
            Self::RecordWhen(text) | Self::BotConfig(text) => text,
        }
    }

    /// Reads what a person says about an aspect, and checks it.
    ///
    /// # Errors
    /// What is wrong with it, and how to mend it.
    pub fn read(aspect: &str, value: &str) -> Result<Self, String> {
        match aspect {
            "record_when" => _ = Rule::parse(value).map_err(|error| format!("is no rule: {error}"))?,
            "bot_config" => _ = read_bot_config(value)?,
            _ => {}
        }
        Self::from_table(aspect, value.to_owned()).ok_or_else(|| format!("is `{value}`: say record or skip"))
    }

    /// Reads what a table says; `None` for what no release of ours wrote.
    pub fn from_table(aspect: &str, value: String) -> Option<Self> {
        Some(match (aspect, value.as_str()) {
            ("pause", _) => Self::Pause,
            ("override", "record") => Self::Override(Verdict::Record),
            ("override", "skip") => Self::Override(Verdict::Skip),
            ("record_when", _) => Self::RecordWhen(value),
            ("bot_config", _) => Self::BotConfig(value),
            _ => return None,
        })
    }
}

/// As a person reads it: "skip for this event, by ann: the customer asked".
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.said {
            Said::Pause => write!(f, "a pause of {}", self.scope)?,
            Said::Override(Verdict::Record) => write!(f, "record for {}", self.scope)?,
            Said::Override(Verdict::Skip) => write!(f, "skip for {}", self.scope)?,
            Said::RecordWhen(rule) => write!(f, "the rule `{rule}` of {}", self.scope)?,
            Said::BotConfig(_) => write!(f, "the bot of {}", self.scope)?,
        }
        write!(f, ", set by {}", self.who)?;
        if self.why.is_empty() { Ok(()) } else { write!(f, ": {}", self.why) }
    }
}
