//! Times as they are written in JSON, down to the year 0.
//!
//! chrono reads years that RFC 3339 does not have, down to -262143; Postgres begins in 4713 BC. What it cannot store must not
//! get past the border: it would fail the statement, and with it what stands beside it (P9).

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Deserializer, de};

/// For `#[serde(deserialize_with)]`.
///
/// # Errors
/// It is no time, or one before the year 0.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let time = DateTime::<Utc>::deserialize(deserializer)?;
    if time.year() < 0 { Err(de::Error::custom("a time before the year 0")) } else { Ok(time) }
}
