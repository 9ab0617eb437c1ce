//! Environment variables to `Config`. Secrets are `SecretString`s from here on (P10).
//!
//! A value that is missing or malformed stops the start with one line: the variable, what is wrong, how to mend it. The line
//! never repeats a value that may hold a secret.

use std::{cell::Cell, env::VarError, fmt::Display, net::SocketAddr, str::FromStr, time::Duration};

use chrono::TimeDelta;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::domain::{
    bot_config::BotConfig,
    budget::Limits,
    dedup::Deduplication,
    policy::{self, Known, Policy},
    rule::Rule,
};

/// Ten years: for ever, as far as anybody will notice.
const MAX_RETENTION_DAYS: u64 = 3650;

/// All that is configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// `DATABASE_URL`.
    pub database_url: SecretString,
    /// `DATABASE_MAX_CONNECTIONS`; at least 2.
    pub database_max_connections: u32,
    /// `WORKER_CONCURRENCY`: turns at once in this replica.
    pub worker_concurrency: usize,
    /// The API: where, and as whom.
    pub recall: RecallConfig,
    /// Who may send webhooks.
    pub webhooks: WebhookConfig,
    /// `LISTEN_ADDR`, or `PORT` on all interfaces.
    pub listen_addr: SocketAddr,
    /// `ADMIN_TOKEN`: turns on the operator's API.
    pub admin_token: Option<SecretString>,
    /// `RECORD_WHEN`, `BOT_CONFIG`, `DEDUPLICATION`, `JOIN_EARLY`.
    pub policy: Policy,
    /// `POLICY_MAX_CHANGES`: bots that a changed policy may remove without being confirmed; `None`: any number.
    pub policy_max_changes: Option<usize>,
    /// `ALLOW_DEDUPLICATION_CHANGE`.
    pub allows_deduplication_change: bool,
    /// `SWEEP_INTERVAL`.
    pub sweep_interval: Duration,
    /// `FULL_SYNC_INTERVAL`.
    pub full_sync_interval: Duration,
    /// `LIST_PAUSE`: how long a calendar that was listed is left alone.
    pub list_pause: Duration,
    /// `WORKSPACE_LISTING`: many calendars may be read by one list.
    pub workspace_listing: bool,
    /// `RETENTION_DELIVERIES`; at least a week.
    pub retention_deliveries: Duration,
    /// `RETENTION_EVENTS`; at least the 60 days for which the API lists them.
    pub retention_events: Duration,
}

/// The API: where, as whom, and how often.
#[derive(Clone, Debug)]
pub struct RecallConfig {
    /// `RECALL_API_KEY`, without the `Token ` prefix.
    pub api_key: SecretString,
    /// `RECALL_BASE_URL`, or that of `RECALL_REGION`; its path ends with a slash.
    pub base_url: Url,
    /// `RECALL_LIMITS`.
    pub limits: Limits,
}

/// Who may send webhooks; at least one of the two is not empty.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// `RECALL_WEBHOOK_SECRETS`.
    pub secrets: Vec<SecretString>,
    /// `RECALL_WEBHOOK_TOKENS`.
    pub tokens: Vec<SecretString>,
}

/// A variable that is missing or malformed.
#[derive(Debug, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct ConfigError {
    variable: &'static str,
    problem: String,
}

fn wrong(variable: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError { variable, problem: problem.into() }
}

/// How a variable is looked up. A variable that is set to nothing counts as not set.
pub type Lookup<'a> = &'a dyn Fn(&'static str) -> Option<String>;

/// Reads the process's environment, where all that is looked up has to be UTF-8.
fn in_environment<T>(read: impl FnOnce(Lookup) -> Result<T, ConfigError>) -> Result<T, ConfigError> {
    let unreadable = Cell::new(None);
    let config = read(&|name| match std::env::var(name) {
        Ok(value) => Some(value),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(_)) => {
            unreadable.set(Some(name));
            None
        }
    });
    match unreadable.get() {
        Some(variable) => Err(wrong(variable, "is not UTF-8: write it anew")),
        None => config,
    }
}

/// `DATABASE_URL` alone, of the process's environment.
///
/// # Errors
/// It is missing or malformed.
pub fn database_url_from_env() -> Result<SecretString, ConfigError> {
    in_environment(|lookup| database_url(&|name| trimmed(lookup, name)))
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        in_environment(Self::from_lookup)
    }

    /// Reads variables from wherever `lookup` finds them.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    pub fn from_lookup(lookup: Lookup) -> Result<Self, ConfigError> {
        let lookup: Lookup = &|name| trimmed(lookup, name);
        Ok(Self {
            database_url: database_url(lookup)?,
            database_max_connections: number(lookup, "DATABASE_MAX_CONNECTIONS", 10, 2)?,
            worker_concurrency: number(lookup, "WORKER_CONCURRENCY", 16, 1)?,
            recall: recall(lookup)?,
            webhooks: webhooks(lookup)?,
            listen_addr: listen_addr(lookup)?,
            admin_token: lookup("ADMIN_TOKEN").map(SecretString::from),
            policy: policy(lookup)?,
            policy_max_changes: lookup("POLICY_MAX_CHANGES")
                .map(|_| number(lookup, "POLICY_MAX_CHANGES", 0, 0))
                .transpose()?,
            allows_deduplication_change: flag(lookup, "ALLOW_DEDUPLICATION_CHANGE")?,
            sweep_interval: interval(lookup, "SWEEP_INTERVAL", "15m")?,
            full_sync_interval: interval(lookup, "FULL_SYNC_INTERVAL", "6h")?,
            list_pause: list_pause(lookup)?,
            workspace_listing: workspace_listing(lookup)?,
            retention_deliveries: retention(lookup, "RETENTION_DELIVERIES", 30, 7, "a sender may repeat a delivery")?,
            retention_events: retention(lookup, "RETENTION_EVENTS", 90, 60, "Recall lists an event")?,
        })
    }
}

/// What `rollcall plan` needs.
#[derive(Clone, Debug)]
pub struct PlanConfig {
    /// `DATABASE_URL`.
    pub database_url: SecretString,
    /// `RECORD_WHEN`, `BOT_CONFIG`, `DEDUPLICATION`, `JOIN_EARLY`.
    pub policy: Policy,
}

impl PlanConfig {
    /// Reads the process's environment, where `replaced` does not say otherwise.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    pub fn from_env(replaced: Lookup) -> Result<Self, ConfigError> {
        in_environment(|lookup| {
            let lookup: Lookup = &|name| replaced(name).or_else(|| lookup(name));
            let lookup: Lookup = &|name| trimmed(lookup, name);
            Ok(Self { database_url: database_url(lookup)?, policy: policy(lookup)? })
        })
    }
}

fn trimmed(lookup: Lookup, name: &'static str) -> Option<String> {
    lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn database_url(lookup: Lookup) -> Result<SecretString, ConfigError> {
    let variable = "DATABASE_URL";
    let url = lookup(variable).ok_or_else(|| {
        wrong(
            variable,
            "is not set: give the Postgres to keep state in, as postgres://user:password@host:5432/database",
        )
    })?;
    let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    if !is_postgres || PgConnectOptions::from_str(&url).is_err() {
        return Err(wrong(
            variable,
            "is not a Postgres URL: write postgres://user:password@host:5432/database, percent-encoding special characters in the password",
        ));
    }
    Ok(url.into())
}

fn recall(lookup: Lookup) -> Result<RecallConfig, ConfigError> {
    let variable = "RECALL_API_KEY";
    let api_key = lookup(variable).ok_or_else(|| {
        wrong(variable, "is not set: copy a key from the dashboard of your region, Developers → API keys")
    })?;
    let bare = api_key.strip_prefix("Token").filter(|rest| rest.is_empty() || rest.starts_with(' '));
    let api_key = bare.unwrap_or(&api_key).trim().to_owned();
    if api_key.is_empty() || !api_key.chars().all(|c| c.is_ascii_graphic()) {
        return Err(wrong(variable, "is not a key: it must be one word of printable ASCII characters; copy it again"));
    }
    Ok(RecallConfig { api_key: api_key.into(), base_url: base_url(lookup)?, limits: limits(lookup)? })
}

fn base_url(lookup: Lookup) -> Result<Url, ConfigError> {
    let region = lookup("RECALL_REGION").unwrap_or_else(|| "us-east-1".into());
    if !["us-east-1", "us-west-2", "eu-central-1", "ap-northeast-1"].contains(&region.as_str()) {
        return Err(wrong(
            "RECALL_REGION",
            format!("is `{region}`: use us-east-1, us-west-2, eu-central-1 or ap-northeast-1"),
        ));
    }
    let variable = "RECALL_BASE_URL";
    let base = lookup(variable).unwrap_or_else(|| format!("https://{region}.recall.ai"));
    let mut url = Url::parse(&base)
        .ok()
        .filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host() && url.query().is_none())
        .filter(|url| url.username().is_empty() && url.password().is_none())
        .filter(|url| !["/api/v1", "/api/v2"].iter().any(|route| url.path().trim_end_matches('/').ends_with(route)))
        .ok_or_else(|| {
            wrong(
                variable,
                "is not a base URL: write http(s)://host[:port], without user or query, and without /api/v2",
            )
        })?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn limits(lookup: Lookup) -> Result<Limits, ConfigError> {
    let variable = "RECALL_LIMITS";
    let text = lookup(variable).unwrap_or_default();
    let mut limits = Limits { list: 60, read: 300, bot: 600 };
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let limit = match name.trim() {
            "list" => &mut limits.list,
            "read" => &mut limits.read,
            "bot" => &mut limits.bot,
            _ => {
                return Err(wrong(
                    variable,
                    format!("has `{part}`: write list=60,read=300,bot=600, each a number of calls per minute"),
                ));
            }
        };
        *limit = value.trim().parse().ok().filter(|calls| (1..=100_000).contains(calls)).ok_or_else(|| {
            wrong(variable, format!("has `{part}`: calls per minute must be a number from 1 to 100000"))
        })?;
    }
    Ok(limits)
}

fn webhooks(lookup: Lookup) -> Result<WebhookConfig, ConfigError> {
    let secrets = list(lookup, "RECALL_WEBHOOK_SECRETS");
    let tokens = list(lookup, "RECALL_WEBHOOK_TOKENS");
    for (position, secret) in secrets.iter().enumerate() {
        let text = secret.expose_secret();
        if !text.starts_with("whsec_") || svix::webhooks::Webhook::new(text).is_err() {
            let problem = format!(
                "has no secret at position {}: each is `whsec_` and base64, as the dashboard shows it",
                position + 1
            );
            return Err(wrong("RECALL_WEBHOOK_SECRETS", problem));
        }
    }
    if secrets.is_empty() && tokens.is_empty() {
        return Err(wrong(
            "RECALL_WEBHOOK_SECRETS",
            "and RECALL_WEBHOOK_TOKENS are both unset, so anybody could send webhooks: set the `whsec_…` secret from the dashboard, or a token that stands in the webhook URL as ?token=…",
        ));
    }
    Ok(WebhookConfig { secrets, tokens })
}

fn list(lookup: Lookup, variable: &'static str) -> Vec<SecretString> {
    let text = lookup(variable).unwrap_or_default();
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(SecretString::from).collect()
}

fn listen_addr(lookup: Lookup) -> Result<SocketAddr, ConfigError> {
    if let Some(addr) = lookup("LISTEN_ADDR") {
        let problem = format!("is `{addr}`: write an address and a port, such as 0.0.0.0:8080 or [::]:8080");
        return addr.parse().map_err(|_| wrong("LISTEN_ADDR", problem));
    }
    let port = number(lookup, "PORT", 8080, 0)?;
    Ok(SocketAddr::from(([0, 0, 0, 0], port)))
}

fn policy(lookup: Lookup) -> Result<Policy, ConfigError> {
    let variable = "RECORD_WHEN";
    let record_when = lookup(variable).unwrap_or_else(|| "all".to_owned());
    let record_when = Rule::parse(&record_when).map_err(|error| wrong(variable, format!("is no rule: {error}")))?;
    let deduplication = match lookup("DEDUPLICATION").as_deref() {
        None | Some("meeting") => Deduplication::Meeting,
        Some("company") => Deduplication::Company,
        Some("event") => Deduplication::Event,
        Some(other) => return Err(wrong("DEDUPLICATION", format!("is `{other}`: use meeting, company or event"))),
    };
    let join_early = join_early(lookup)?;
    Ok(Policy { record_when, deduplication, bot_config: bot_config(lookup)?, join_early, known: Known::default() })
}

fn bot_config(lookup: Lookup) -> Result<BotConfig, ConfigError> {
    let (variable, text) = match (lookup("BOT_CONFIG"), lookup("BOT_CONFIG_FILE")) {
        (Some(_), Some(_)) => return Err(wrong("BOT_CONFIG", "and BOT_CONFIG_FILE are both set: keep one")),
        (Some(text), None) => ("BOT_CONFIG", text),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| wrong("BOT_CONFIG_FILE", format!("names `{path}`, which cannot be read: {error}")))?;
            ("BOT_CONFIG_FILE", text)
        }
        (None, None) => ("BOT_CONFIG", "{}".to_owned()),
    };
    policy::read_bot_config(&text).map_err(|problem| wrong(variable, problem))
}

/// Recall is told a bot's time anew only more than ten minutes before it, so a bot that joined earlier could not be moved.
fn join_early(lookup: Lookup) -> Result<TimeDelta, ConfigError> {
    let variable = "JOIN_EARLY";
    let text = lookup(variable).unwrap_or_else(|| "0s".to_owned());
    humantime::parse_duration(&text)
        .ok()
        .filter(|early| *early <= Duration::from_secs(600))
        .and_then(|early| TimeDelta::from_std(early).ok())
        .ok_or_else(|| wrong(variable, format!("is `{text}`: write a duration up to 10m, such as 2m")))
}

fn interval(lookup: Lookup, variable: &'static str, default: &str) -> Result<Duration, ConfigError> {
    let text = lookup(variable).unwrap_or_else(|| default.to_owned());
    humantime::parse_duration(&text)
        .ok()
        .filter(|interval| (Duration::from_secs(1)..=Duration::from_secs(7 * 86_400)).contains(interval))
        .ok_or_else(|| wrong(variable, format!("is `{text}`: write a duration from 1s to 7d, such as 30s, 15m or 1h")))
}

fn list_pause(lookup: Lookup) -> Result<Duration, ConfigError> {
    let variable = "LIST_PAUSE";
    let text = lookup(variable).unwrap_or_else(|| "2s".to_owned());
    let pause = humantime::parse_duration(&text).ok().filter(|pause| *pause <= Duration::from_secs(60));
    pause.ok_or_else(|| {
        wrong(variable, format!("is `{text}`: write a duration of at most 1m, such as 2s, or 0s for none"))
    })
}

fn workspace_listing(lookup: Lookup) -> Result<bool, ConfigError> {
    match lookup("WORKSPACE_LISTING").as_deref() {
        None | Some("auto") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => Err(wrong("WORKSPACE_LISTING", format!("is `{other}`: use auto or off"))),
    }
}

/// What is forgotten earlier than `least_days` may still be asked for: for so long `who_asks`.
fn retention(
    lookup: Lookup,
    variable: &'static str,
    default_days: u64,
    least_days: u64,
    who_asks: &str,
) -> Result<Duration, ConfigError> {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let Some(text) = lookup(variable) else { return Ok(days(default_days)) };
    let problem = format!(
        "is `{text}`: write a duration from {least_days}d, for which {who_asks}, to {MAX_RETENTION_DAYS}d, such as {default_days}d"
    );
    humantime::parse_duration(&text)
        .ok()
        .filter(|retention| (days(least_days)..=days(MAX_RETENTION_DAYS)).contains(retention))
        .ok_or_else(|| wrong(variable, problem))
}

fn flag(lookup: Lookup, variable: &'static str) -> Result<bool, ConfigError> {
    match lookup(variable).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(wrong(variable, format!("is `{other}`: write true or false"))),
    }
}

fn number<N: FromStr + PartialOrd + Display + Copy>(
    lookup: Lookup,
    variable: &'static str,
    default: N,
    least: N,
) -> Result<N, ConfigError> {
    let Some(text) = lookup(variable) else { return Ok(default) };
    let problem = format!("is `{text}`: write a whole number, {least} or more");
    text.parse().ok().filter(|number| *number >= least).ok_or_else(|| wrong(variable, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read when these variables are set besides those that must be.
    fn read(set: &[(&str, &str)]) -> Result<Config, String> {
        let required = [
            ("DATABASE_URL", "postgres://localhost/rollcall"),
            ("RECALL_API_KEY", "key"),
            ("RECALL_WEBHOOK_TOKENS", "token"),
        ];
        let value = |name: &str| set.iter().chain(&required).find(|(other, _)| *other == name).map(|(_, value)| *value);
        Config::from_lookup(&|name| value(name).map(str::to_owned)).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn assert_refused(variable: &str, value: &str) {
        let error = read(&[(variable, value)]).expect_err(value);
        assert!(error.starts_with(&format!("{variable} ")), "{error}");
    }

    #[test]
    fn a_variable_that_is_set_to_nothing_is_not_set() {
        let config =
            read(&[("RECORD_WHEN", ""), ("RECALL_REGION", "  "), ("ADMIN_TOKEN", ""), ("SWEEP_INTERVAL", " 1m ")]);
        let config = config.unwrap();
        assert_eq!(config.policy.record_when.as_str(), "all");
        assert_eq!(config.recall.base_url.as_str(), "https://us-east-1.recall.ai/");
        assert!(config.admin_token.is_none(), "or an empty token would turn on the operator's API");
        assert_eq!(config.sweep_interval, Duration::from_secs(60));
    }

    #[test]
    fn an_empty_entry_in_a_list_is_neither_a_token_nor_a_secret() {
        let config = read(&[("RECALL_WEBHOOK_TOKENS", "one, ,two,")]).unwrap();
        let tokens: Vec<&str> = config.webhooks.tokens.iter().map(ExposeSecret::expose_secret).collect();
        assert_eq!(tokens, ["one", "two"], "or `?token=` would prove a sender");
        assert!(read(&[("RECALL_WEBHOOK_TOKENS", ",")]).unwrap_err().contains("both unset"));
    }

    #[test]
    fn a_key_may_have_its_prefix() {
        for key in ["key", "Token key", " Token  key "] {
            assert_eq!(read(&[("RECALL_API_KEY", key)]).unwrap().recall.api_key.expose_secret(), "key");
        }
        assert_eq!(read(&[("RECALL_API_KEY", "Tokenkey")]).unwrap().recall.api_key.expose_secret(), "Tokenkey");
    }

    #[test]
    fn the_api_is_that_of_the_region_or_another_base_with_its_path() {
        let base = |set: &[(&str, &str)]| read(set).unwrap().recall.base_url.to_string();
        assert_eq!(base(&[("RECALL_REGION", "eu-central-1")]), "https://eu-central-1.recall.ai/");
        assert_eq!(base(&[("RECALL_BASE_URL", "http://localhost:9/proxy")]), "http://localhost:9/proxy/");
        for malformed in ["ftp://recall.ai", "https://recall.ai/?a=b", "data:text/plain,a"] {
            assert_refused("RECALL_BASE_URL", malformed);
        }
    }

    #[test]
    fn a_port_is_honoured_where_no_address_is_given() {
        let addr = |set: &[(&str, &str)]| read(set).unwrap().listen_addr.to_string();
        assert_eq!(addr(&[]), "0.0.0.0:8080");
        assert_eq!(addr(&[("PORT", "3000")]), "0.0.0.0:3000");
        assert_eq!(addr(&[("PORT", "3000"), ("LISTEN_ADDR", "127.0.0.1:4000")]), "127.0.0.1:4000");
    }

    #[test]
    fn what_could_not_work_is_refused() {
        assert_refused("WORKER_CONCURRENCY", "0");
        assert_refused("SWEEP_INTERVAL", "0s");
        assert_refused("LIST_PAUSE", "2m");
        assert_refused("FULL_SYNC_INTERVAL", "8d");
        assert_refused("RECALL_LIMITS", "bot=100001");
        assert_refused("RETENTION_DELIVERIES", "6d");
        assert_refused("RETENTION_EVENTS", "59d");
        assert_refused("RETENTION_EVENTS", "3651d");
        assert_refused("RECALL_WEBHOOK_SECRETS", "b3RoZXItc2VjcmV0LW9mLXRoZS10ZXN0cw==");
        assert_refused("BOT_CONFIG", r#"{"meeting_url":"https://meet.test/a"}"#);
        let both = read(&[("BOT_CONFIG", "{}"), ("BOT_CONFIG_FILE", "bot.json")]);
        assert_eq!(both.unwrap_err(), "BOT_CONFIG and BOT_CONFIG_FILE are both set: keep one");
    }
}
