//! The functional core: values in, values out. No async, no I/O, no clock.

pub mod backoff;
pub mod bot_config;
pub mod budget;
pub mod calendar;
pub mod dedup;
pub mod event;
pub mod facts;
mod hint;
pub mod plan;
pub mod policy;
pub mod rule;
pub mod settings;
pub mod time;

use std::fmt;

use sha2::{Digest, Sha256};

/// SHA-256 of a value, to tell whether two of them are the same. It is stored, so its input must be stable over releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of nothing that is known: different from all.
    pub const UNKNOWN: Self = Self([0; 32]);

    /// The fingerprint of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Fingerprint {
    /// The first eight hexadecimal digits: enough to tell two configurations apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
