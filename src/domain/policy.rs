//! What is configured about bots, and what people said: which events get one, how it is made, and how keys are formed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::{
    Fingerprint,
    bot_config::{BotConfig, BotConfigError, RenderError},
    calendar::Calendar,
    dedup::Deduplication,
    event::Event,
    facts::Facts,
    rule::{Part, Rule, RuleError},
    settings::{Settings, Verdict},
};

/// Texts that are remembered of each kind.
const MOST_KNOWN: usize = 1000;

/// The policy of this process.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which events get a bot.
    pub record_when: Rule,
    /// How keys are formed.
    pub deduplication: Deduplication,
    /// `bot_config` as configured; each event's ids, link and time are added when a bot is scheduled.
    pub bot_config: BotConfig,
    /// How long before the start a bot joins.
    pub join_early: TimeDelta,
    /// Rules and bots of calendars' own, once read.
    pub known: Known,
}

/// What was read before: reading a rule takes longer than asking it.
#[derive(Clone, Debug, Default)]
pub struct Known {
    rules: Memo<Rule>,
    bot_configs: Memo<BotConfig>,
}

/// Values by the text that they were read from.
#[derive(Clone, Debug)]
struct Memo<T>(Arc<Mutex<HashMap<String, T>>>);

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Memo<T> {
    fn get<E>(&self, text: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Result<T, E> {
        let locked = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = locked().get(text).cloned() {
            return Ok(known);
        }
        let value = read(text)?;
        let mut known = locked();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(text.to_owned(), value.clone());
        Ok(value)
    }
}

/// What is wished for an event, before facts such as a missing link are looked at.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Whether there should be a bot.
    pub answer: Answer,
    /// The rule or the setting that says so, as a person reads it.
    pub by: String,
    /// The rule that was asked, if one was.
    pub rule: Option<Rule>,
    /// The bot that there should be, or why it cannot be made: that matters only where one has to be scheduled.
    pub bot: Result<Bot, Error>,
}

/// How a bot is made.
#[derive(Clone, Debug)]
pub struct Bot {
    /// The `bot_config`, without what is added for the event.
    config: Map<String, Value>,
    /// Tells two bots apart that were made from different configurations.
    pub fingerprint: Fingerprint,
}

/// Whether there should be a bot, and else who is against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There should be one.
    Record,
    /// A rule says no.
    RuleSaysNo,
    /// A rule cannot be evaluated for this event.
    RuleFails,
    /// Somebody said no.
    Skipped,
    /// Somebody said: not now.
    Paused,
}

/// Why it cannot be told what is wished.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A calendar's own rule, which an earlier release accepted.
    #[error("the calendar's rule cannot be read")]
    Rule(#[from] RuleError),
    /// A calendar's own `bot_config`, which an earlier release accepted.
    #[error("the calendar's bot_config cannot be read: {0}")]
    BotConfig(String),
    /// A template fails for this event.
    #[error("the bot_config cannot be made for this event")]
    Render(#[from] RenderError),
}

impl Policy {
    /// Tells two configurations apart that may decide differently about whether there is a bot, and how it is made.
    pub fn fingerprint(&self) -> Fingerprint {
        let config = Value::Object(self.bot_config.source().clone());
        let mut text = format!("{}\n{}\n{config}", self.record_when.as_str(), self.deduplication.as_str());
        self.add_join_early(&mut text);
        Fingerprint::of(text.as_bytes())
    }

    fn add_join_early(&self, text: &mut String) {
        if !self.join_early.is_zero() {
            text.push_str(&format!("\njoin_early={}s", self.join_early.num_seconds()));
        }
    }

    /// What is wished for an event of a calendar, about which people said `settings`.
    ///
    /// # Errors
    /// The rule of the calendar cannot be made out.
    pub fn wish(&self, event: &Event, calendar: &Calendar, settings: &Settings) -> Result<Wish, Error> {
        let facts = Facts::of(event, calendar);
        let (answer, by, rule) = self.answer(&facts, settings)?;
        Ok(Wish { answer, by, rule, bot: self.bot(&facts, settings) })
    }

    fn bot(&self, facts: &Facts, settings: &Settings) -> Result<Bot, Error> {
        let config = match settings.bot_config() {
            Some(text) => self.known.bot_configs.get(text, read_bot_config).map_err(Error::BotConfig)?.render(facts)?,
            None => self.bot_config.render(facts)?,
        };
        let mut text = Value::Object(config.clone()).to_string();
        self.add_join_early(&mut text);
        Ok(Bot { config, fingerprint: Fingerprint::of(text.as_bytes()) })
    }

    fn answer(&self, facts: &Facts, settings: &Settings) -> Result<(Answer, String, Option<Rule>), Error> {
        if let Some(pause) = settings.pause() {
            return Ok((Answer::Paused, pause.to_string(), None));
        }
        if let Some((verdict, setting)) = settings.verdict() {
            let answer = match verdict {
                Verdict::Record => Answer::Record,
                Verdict::Skip => Answer::Skipped,
            };
            return Ok((answer, setting.to_string(), None));
        }
        let (rule, mut by) = match settings.record_when() {
            Some((text, setting)) => (self.known.rules.get(text, Rule::parse)?, setting.to_string()),
            None => (self.record_when.clone(), format!("rule `{}`", self.record_when.as_str())),
        };
        let answer = match rule.wants(facts) {
            Ok(true) => Answer::Record,
            Ok(false) => Answer::RuleSaysNo,
            Err(error) => {
                by.push_str(&format!(": {error}"));
                Answer::RuleFails
            }
        };
        Ok((answer, by, Some(rule)))
    }

    /// The whole `bot_config` for `event`: what was configured, and our ids in its `metadata`, which Recall hands back in
    /// its bot webhooks. A bot does not point back to its event otherwise.
    ///
    /// The link and the time are those that the deduplication key was formed of. Recall would take the event's own, which may
    /// have changed while the call is on its way; and where events share the bot, it would follow this one away from the
    /// others, who see their key and keep it. A time that has passed is left out: that bot joins at once.
    pub fn bot_config_for(&self, bot: &Bot, event: &Event, now: DateTime<Utc>) -> Map<String, Value> {
        let mut config = bot.config.clone();
        let metadata = config.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(metadata) = metadata {
            metadata.insert("rollcall_calendar_id".into(), event.calendar_id.to_string().into());
            metadata.insert("rollcall_event_id".into(), event.id.to_string().into());
        }
        if let Some(meeting_url) = &event.meeting_url {
            config.insert("meeting_url".into(), meeting_url.as_str().into());
        }
        // Too late to be early, but not to be in time.
        let join_at = [event.start_time - self.join_early, event.start_time].into_iter().find(|at| *at > now);
        if let Some(join_at) = join_at {
            config.insert("join_at".into(), join_at.to_rfc3339_opts(SecondsFormat::AutoSi, true).into());
        }
        config
    }
}

impl Wish {
    /// Which parts of the rule were true for the event.
    pub fn parts(&self, event: &Event, calendar: &Calendar) -> Vec<Part> {
        self.rule.as_ref().map_or_else(Vec::new, |rule| rule.parts(&Facts::of(event, calendar)))
    }
}

/// Reads a `bot_config`, and checks it.
///
/// # Errors
/// What is wrong with it, and how to mend it.
pub fn read_bot_config(text: &str) -> Result<BotConfig, String> {
    let config: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("is not a JSON object, as line {line}, column {column} shows: write {{\"bot_name\": \"…\"}}")
    })?;
    for field in ["join_at", "meeting_url"] {
        if config.contains_key(field) {
            let instead = if field == "join_at" { "; JOIN_EARLY has bots join before the start" } else { "" };
            return Err(format!(
                "has `{field}`, which differs for each event: leave it out, and the event's own is used{instead}"
            ));
        }
    }
    let is_text = |value: &Value| value.is_string() || value.is_null();
    match config.get("metadata") {
        None => {}
        Some(Value::Object(metadata)) if metadata.values().all(is_text) => {}
        Some(_) => {
            return Err(
                "has a `metadata` that the API refuses: it must be an object whose values are strings".to_owned()
            );
        }
    }
    BotConfig::parse(config).map_err(|error: BotConfigError| format!("has {error}"))
}
