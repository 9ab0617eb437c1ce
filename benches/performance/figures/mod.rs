//! The figures.

mod ingest;
mod mirror;
mod outage;
mod process;
mod schedule;
mod storm;
mod turns;

pub(crate) use ingest::profile;

use crate::table::Line;

/// A measurement that makes one or more lines of the table.
pub(crate) struct Figure {
    /// The numbers of the lines.
    pub(crate) numbers: &'static [u32],
    /// What is measured.
    pub(crate) name: &'static str,
    pub(crate) measure: fn() -> anyhow::Result<Vec<Line>>,
}

/// All of them, in the order in which they are measured.
pub(crate) const ALL: &[Figure] = &[
    Figure { numbers: &[1], name: "durable acknowledgements", measure: ingest::against_nothing },
    Figure { numbers: &[2], name: "sharing commits", measure: ingest::against_single_transactions },
    Figure { numbers: &[3], name: "a lone sender", measure: ingest::against_an_insert },
    Figure { numbers: &[4], name: "from webhook to bot", measure: schedule::measure },
    Figure { numbers: &[5, 6], name: "mirroring events", measure: mirror::measure },
    Figure { numbers: &[7], name: "turns that keep", measure: turns::measure },
    Figure { numbers: &[8], name: "a storm for few calendars", measure: storm::measure },
    Figure { numbers: &[9], name: "the end of an outage", measure: outage::measure },
    Figure { numbers: &[11], name: "memory", measure: process::memory },
    Figure { numbers: &[12], name: "the CPU of an idle replica", measure: process::idle_cpu },
    Figure { numbers: &[13], name: "start and size", measure: process::start },
];
