//! Rounds in turns: baseline, figure, baseline, figure. What counts is the median of the rounds' ratios: no single absolute
//! number says anything about another machine, or about this one an hour later.

/// Rounds that count. One more goes before, for caches and connections.
pub(crate) const ROUNDS: usize = 5;

/// One quantity, of the figure and of its baseline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparison {
    /// The median of the rounds' ratios, figure to baseline.
    pub(crate) ratio: f64,
    /// The figure's median.
    pub(crate) figure: f64,
    /// The baseline's.
    pub(crate) baseline: f64,
}

/// Measures `N` quantities of each in turns.
pub(crate) fn in_turns<const N: usize>(
    mut baseline: impl FnMut() -> anyhow::Result<[f64; N]>,
    mut figure: impl FnMut() -> anyhow::Result<[f64; N]>,
) -> anyhow::Result<[Comparison; N]> {
    let mut rounds = vec![];
    for round in 0..=ROUNDS {
        let pair = (baseline()?, figure()?);
        eprintln!("  round {round}: baseline {:.6?}, figure {:.6?}", pair.0, pair.1);
        if round > 0 {
            rounds.push(pair);
        }
    }
    Ok(std::array::from_fn(|quantity| Comparison {
        ratio: median(rounds.iter().map(|(baseline, figure)| figure[quantity] / baseline[quantity])),
        figure: median(rounds.iter().map(|(_, figure)| figure[quantity])),
        baseline: median(rounds.iter().map(|(baseline, _)| baseline[quantity])),
    }))
}

/// The middle one.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values.into_iter().collect(), 0.5)
}

/// The value that so great a part of all lie below; 0.99 of them for p99.
pub(crate) fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let place = (values.len() as f64 * part) as usize;
    values.get(place.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
