//! The table of figures, as Markdown: on standard output, and between two markers in `docs/performance.md`.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context;

use crate::rounds::Comparison;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";
const HEAD: [&str; 2] =
    ["| # | figure | measured | baseline | ratio | to reach | |", "|---|---|---:|---:|---:|---:|---|"];

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// A line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    number: u32,
    what: String,
    measured: String,
    baseline: String,
    /// Empty for an amount that has no baseline.
    ratio: String,
    /// What the target is about: the ratio, or the amount.
    value: f64,
    target: Target,
    unit: &'static str,
}

impl Line {
    /// A figure that is compared with its baseline. `show` writes one of the two.
    pub(crate) fn compared(
        number: u32,
        what: &str,
        comparison: Comparison,
        target: Target,
        show: fn(f64) -> String,
    ) -> Self {
        Self {
            number,
            what: what.to_owned(),
            measured: show(comparison.figure),
            baseline: show(comparison.baseline),
            ratio: format!("{:.2}", comparison.ratio),
            value: comparison.ratio,
            target,
            unit: "",
        }
    }

    /// An amount that stands for itself.
    pub(crate) fn amount(
        number: u32,
        what: &str,
        value: f64,
        unit: &'static str,
        baseline: &str,
        target: Target,
    ) -> Self {
        let decimals = if value >= 100.0 || value.fract() == 0.0 { 0 } else { 2 };
        Self {
            number,
            what: what.to_owned(),
            measured: format!("{value:.decimals$}{unit}"),
            baseline: baseline.to_owned(),
            ratio: String::new(),
            value,
            target,
            unit,
        }
    }

    /// As Markdown.
    pub(crate) fn render(&self) -> String {
        let Self { number, what, measured, baseline, ratio, value, target, unit } = self;
        let (sign, bound, is_reached) = match target {
            Target::AtLeast(bound) => ("≥", bound, value >= bound),
            Target::AtMost(bound) => ("≤", bound, value <= bound),
        };
        let verdict = if is_reached { "reached" } else { "**not reached**" };
        format!("| {number} | {what} | {measured} | {baseline} | {ratio} | {sign} {bound}{unit} | {verdict} |")
    }
}

/// A rate.
pub(crate) fn per_second(rate: f64) -> String {
    format!("{rate:.0}/s")
}

/// A duration in seconds.
pub(crate) fn milliseconds(secs: f64) -> String {
    format!("{:.2} ms", secs * 1e3)
}

/// Prints the table, and writes it into the document. Figures that were not measured keep the lines they have there.
pub(crate) fn write(lines: &[Line]) -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (before, rest) = text.split_once(BEGIN).context("docs/performance.md has no place for the table")?;
    let (table, after) = rest.split_once(END).context("the place for the table has no end")?;

    let mut by_number: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for line in table.lines() {
        let number = line.strip_prefix("| ").and_then(|line| line.split(' ').next()?.parse().ok());
        if let Some(number) = number.filter(|number| lines.iter().all(|line| line.number != *number)) {
            by_number.entry(number).or_default().push(line.to_owned());
        }
    }
    for line in lines {
        by_number.entry(line.number).or_default().push(line.render());
    }
    let rows = HEAD.map(str::to_owned).into_iter().chain(by_number.into_values().flatten());
    let table = rows.collect::<Vec<_>>().join("\n");
    println!("{table}");
    std::fs::write(&path, format!("{before}{BEGIN}\n{table}\n{END}{after}")).context("docs/performance.md")
}
