//! Logs and metrics: how they are set up, and the names of all metrics.
//!
//! Log lines read alone; their keys are the same everywhere: `calendar.id`, `event.id`, `delivery.id`, `attempt`. Never logged:
//! tokens, signatures, keys, meeting links, attendees, bodies.

use std::{env::VarError, io::IsTerminal};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// Webhook POSTs, by `topic` and `result`.
pub const DELIVERIES: &str = "rollcall_deliveries_total";
/// Seconds from a webhook's last byte to its acknowledgement.
pub const ACK_SECONDS: &str = "rollcall_ack_seconds";
/// Deliveries that shared one transaction.
pub const BATCH_SIZE: &str = "rollcall_ack_batch_size";
/// Turns, by `kind` and `outcome`.
pub const TURNS: &str = "rollcall_turns_total";
/// Seconds that a turn took, by `kind`.
pub const TURN_SECONDS: &str = "rollcall_turn_seconds";
/// API calls, by `call` and `outcome`.
pub const API_CALLS: &str = "rollcall_api_calls_total";
/// 1 while the API does not let us in.
pub const API_TROUBLE: &str = "rollcall_api_trouble";
/// Decisions that were new, by `plan`.
pub const DECISIONS: &str = "rollcall_decisions_total";
/// Calendars synced, by `kind`.
pub const SYNCS: &str = "rollcall_syncs_total";
/// Sweeps done.
pub const SWEEPS: &str = "rollcall_sweeps_total";
/// Changes that a full sync found and no webhook had told of.
pub const DRIFT: &str = "rollcall_drift_total";
/// Rows deleted because of their age, by `table`.
pub const FORGOTTEN: &str = "rollcall_forgotten_total";
/// Events that could not be read or stored.
pub const UNREADABLE_EVENTS: &str = "rollcall_unreadable_events_total";
/// Keys in the queue, by `kind` and `state`.
pub const QUEUE_KEYS: &str = "rollcall_queue_keys";
/// Age in seconds of the oldest unanswered request, by `kind` and `state`.
pub const QUEUE_OLDEST_SECONDS: &str = "rollcall_queue_oldest_seconds";

/// Connected calendars.
pub const CALENDARS: &str = "rollcall_calendars";
/// Connected calendars whose events were never read to the end of a list.
pub const CALENDARS_NEVER_SYNCED: &str = "rollcall_calendars_never_synced";
/// Seconds since the connected calendar was synced whose last sync is the longest ago, whatever its syncs since came to.
pub const OLDEST_SYNC_SECONDS: &str = "rollcall_oldest_sync_seconds";

/// When the gauges of the queue and of calendars were read last: while the database cannot be asked, they stay as they were.
pub const GAUGES_READ_TIMESTAMP_SECONDS: &str = "rollcall_gauges_read_timestamp_seconds";

/// `LOG_FORMAT` or `RUST_LOG` is malformed.
#[derive(Debug, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct LogError {
    variable: &'static str,
    problem: String,
}

/// Sets up logging to standard output as `RUST_LOG` and `LOG_FORMAT` say.
///
/// # Errors
/// One of them is malformed.
pub fn init_logging() -> Result<(), LogError> {
    let directives = variable("RUST_LOG")?.unwrap_or_else(|| "info".into());
    let filter = read_directives(&directives).map_err(|problem| LogError {
        variable: "RUST_LOG",
        problem: format!("is `{directives}`: {problem}; write a level such as info, or rollcall=debug,info"),
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let format = variable("LOG_FORMAT")?;
    let is_terminal = std::io::stdout().is_terminal();
    match format.as_deref().unwrap_or(if is_terminal { "text" } else { "json" }) {
        "text" => registry.with(tracing_subscriber::fmt::layer().with_ansi(is_terminal)).init(),
        "json" => {
            registry.with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false)).init();
        }
        other => {
            return Err(LogError { variable: "LOG_FORMAT", problem: format!("is `{other}`: use json or text") });
        }
    }
    Ok(())
}

fn variable(variable: &'static str) -> Result<Option<String>, LogError> {
    match std::env::var(variable) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(LogError { variable, problem: "is not UTF-8: write it anew".to_owned() }),
    }
}

fn read_directives(directives: &str) -> Result<EnvFilter, String> {
    // A level that is misspelt would be a crate's name, and silence all others.
    let is_word = |word: &&str| !word.is_empty() && !word.contains(['=', '[']) && !word.starts_with("rollcall");
    let mut words = directives.split(',').map(str::trim).filter(is_word);
    if let Some(word) = words.find(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(format!("`{word}` is no level"));
    }
    EnvFilter::try_new(directives).map_err(|error| error.to_string())
}

/// A recorder for all metrics of this process; its handle renders them.
///
/// The first call makes it; later ones, as in tests, get the same.
pub fn metrics_handle() -> PrometheusHandle {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
            let sizes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
            let builder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &seconds)
                .and_then(|builder| builder.set_buckets_for_metric(Matcher::Full(BATCH_SIZE.into()), &sizes));
            let recorder = builder.unwrap_or_default().build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another metrics recorder is installed; /metrics stays empty");
            }
            describe();
            handle
        })
        .clone()
}

fn describe() {
    metrics::describe_counter!(DELIVERIES, "Webhook POSTs, by topic and result");
    metrics::describe_histogram!(ACK_SECONDS, "Seconds from a webhook's last byte to its acknowledgement");
    metrics::describe_histogram!(BATCH_SIZE, "Deliveries that shared one transaction");
    metrics::describe_counter!(TURNS, "Turns, by kind of key and outcome");
    metrics::describe_histogram!(TURN_SECONDS, "Seconds that a turn took, by kind of key");
    metrics::describe_counter!(API_CALLS, "Calls to the Recall API, by call and outcome");
    metrics::describe_gauge!(API_TROUBLE, "1 while the Recall API does not let us in");
    metrics::describe_counter!(DECISIONS, "New decisions about bots, by plan");
    metrics::describe_counter!(SYNCS, "Calendars synced, by kind");
    metrics::describe_counter!(SWEEPS, "Sweeps over all calendars");
    metrics::describe_counter!(DRIFT, "Changes that a full sync found and no webhook had told of");
    metrics::describe_counter!(UNREADABLE_EVENTS, "Events that could not be read or stored");
    metrics::describe_counter!(FORGOTTEN, "Rows deleted because of their age, by table");
    metrics::describe_gauge!(QUEUE_KEYS, "Keys in the queue, by kind and state");
    metrics::describe_gauge!(QUEUE_OLDEST_SECONDS, "Age of the oldest unanswered request, by kind and state");
    metrics::describe_gauge!(CALENDARS, "Connected calendars");
    metrics::describe_gauge!(CALENDARS_NEVER_SYNCED, "Connected calendars whose events were never read");
    metrics::describe_gauge!(OLDEST_SYNC_SECONDS, "Seconds since the last sync of the calendar that waits the longest");
    metrics::describe_gauge!(
        GAUGES_READ_TIMESTAMP_SECONDS,
        "When the gauges of queue and calendars were read, Unix time"
    );
}

/// An error and all that caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What is wrong with a text that was to be JSON, without what it says: serde quotes the values that it stumbles over (P10),
/// and a reader of ids the character, which Postgres may not store.
pub fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string().replace(char::is_control, "\u{FFFD}");
    match (text.find('"'), text.rfind('"')) {
        (Some(from), Some(to)) if from < to => format!("{}…{}", &text[..=from], &text[to..]),
        _ => text,
    }
}
