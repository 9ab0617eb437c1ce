//! Times as they are written in JSON, down to the year 0.
//!
//! They are kept to the microsecond, as Postgres keeps them: what it gives back must not look older than what was stored.
//!
//! chrono reads years that RFC 3339 does not have, down to -262143; Postgres begins in 4713 BC. What it cannot store must not
//! get past the border: it would fail the statement, and with it what stands beside it (P9).

use chrono::{DateTime, Datelike, SubsecRound, Utc};
use serde::{Deserialize, Deserializer, de};

const MICROSECONDS: u16 = 6;

/// For `#[serde(deserialize_with)]`.
///
/// # Errors
/// It is no time, or one before the year 0.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let time = DateTime::<Utc>::deserialize(deserializer)?;
    if time.year() < 0 {
        return Err(de::Error::custom("a time before the year 0"));
    }
    Ok(time.trunc_subsecs(MICROSECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_kept_as_finely_as_postgres_keeps_it() {
        let time: DateTime<Utc> =
            deserialize(&mut serde_json::Deserializer::from_str(r#""2026-01-20T09:00:00.1234567Z""#)).unwrap();
        assert_eq!(time, "2026-01-20T09:00:00.123456Z".parse::<DateTime<Utc>>().unwrap());
    }
}
