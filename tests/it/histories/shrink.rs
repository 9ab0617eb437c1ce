//! Makes a failing history short: drops halves, then quarters, … then single operations, while it still breaks the same rule.

use super::{Violation, operation::Operation, player::play, stage::Site};

/// Plays after which what is left is short enough.
const MAX_PLAYS: usize = 150;

/// The shortest list found that breaks the same rule, and how. `None` if even the whole list does not break it again.
pub async fn shrink(
    site: &Site,
    mut operations: Vec<Operation>,
    violation: &Violation,
) -> Option<(Vec<Operation>, Violation)> {
    operations.truncate(violation.operations.unwrap_or(operations.len()));
    let mut plays = 1;
    let mut shortest = (fails(site, &operations, violation).await).map(|again| (operations, again))?;
    let mut length = shortest.0.len().div_ceil(2);
    loop {
        let mut from = 0;
        let mut has_dropped = false;
        while from < shortest.0.len() && plays < MAX_PLAYS {
            let mut fewer = shortest.0.clone();
            fewer.drain(from..(from + length).min(fewer.len()));
            plays += 1;
            match fails(site, &fewer, violation).await {
                Some(again) => {
                    shortest = (fewer, again);
                    has_dropped = true;
                }
                None => from += length,
            }
        }
        if plays >= MAX_PLAYS || (length == 1 && !has_dropped) {
            return Some(shortest);
        }
        length = length.div_ceil(2);
    }
}

async fn fails(site: &Site, operations: &[Operation], as_before: &Violation) -> Option<Violation> {
    play(site, operations).await.err().filter(|violation| violation.rule == as_before.rule)
}
