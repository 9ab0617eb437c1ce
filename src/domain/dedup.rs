//! Deduplication keys: events with the same key share one bot.
//!
//! The three forms are fixed for ever, since the API compares keys of bots that an earlier release scheduled. Each has the
//! start in it, so that the occurrences of a standing room do not merge.

use chrono::{DateTime, SecondsFormat, Utc};

use super::{calendar::Calendar, event::Event};

/// How many bots a meeting gets that stands on several calendars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deduplication {
    /// One for everybody: `{start}-{url}`.
    Meeting,
    /// One for each company: `{start}-{url}-{domain}`.
    Company,
    /// One for each event: `{start}-{url}-{event id}`.
    Event,
}

impl Deduplication {
    /// Its name, as it is configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Meeting => "meeting",
            Self::Company => "company",
            Self::Event => "event",
        }
    }

    /// The key of `event`, whose link is `meeting_url`.
    ///
    /// Where the company is not known (yet), the calendar stands for it, so that two companies never share a bot.
    pub fn key(self, event: &Event, calendar: &Calendar, meeting_url: &str) -> String {
        let start = event.start_time.to_rfc3339_opts(SecondsFormat::Secs, true);
        match self {
            Self::Meeting => format!("{start}-{meeting_url}"),
            Self::Company => match email_domain(calendar) {
                Some(domain) => format!("{start}-{meeting_url}-{domain}"),
                None => format!("{start}-{meeting_url}-{}", calendar.id),
            },
            Self::Event => format!("{start}-{meeting_url}-{}", event.id),
        }
    }
}

/// The start in a key; `None` if it is not one of ours.
pub fn start_in(key: &str) -> Option<DateTime<Utc>> {
    key.split_once("Z-").and_then(|(start, _)| format!("{start}Z").parse().ok())
}

fn email_domain(calendar: &Calendar) -> Option<String> {
    let (_, domain) = calendar.email.as_deref()?.rsplit_once('@')?;
    (!domain.is_empty()).then(|| domain.to_ascii_lowercase())
}
