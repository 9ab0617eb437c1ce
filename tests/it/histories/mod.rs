//! The proof by histories: random things happen to calendars, webhooks, API, database and processes, and the promises hold.
//!
//! A history is a list of [`Operation`]s, drawn from a seed. It is played over a real Postgres, the simulated Recall and two
//! or three replicas whose turns are taken one by one, with a clock that stands still until it is moved. After each operation and
//! each turn `checks.rs` looks at what must always hold; at the end troubles cease, and `ending.rs` looks whether all has
//! come right, bots by the word of `oracle.rs`. A history that fails is shrunk, and kept in `found.rs` as a test.
//!
//! A history is nearly, not wholly, repeatable: the system's own timing decides where exactly a process dies.

mod checks;
mod ending;
mod found;
mod generator;
mod operation;
pub mod oracle;
mod player;
pub mod proxy;
mod shrink;
mod soak;
mod stage;
mod turns;

use std::{fmt, time::Duration};

use operation::Operation;
use soak::{Plan, soak};

/// What did not hold.
#[derive(Debug)]
pub struct Violation {
    /// The same for the same kind of violation.
    rule: &'static str,
    detail: String,
    /// After so many operations; `None`: at the end.
    operations: Option<usize>,
}

impl Violation {
    fn new(rule: &'static str, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into(), operations: None }
    }

    fn at(mut self, number: usize, operation: &Operation) -> Self {
        self.detail += &format!(" (after operation {number}, {operation:?})");
        self.operations = Some(number + 1);
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

/// Plays a list of operations, which must hold to all promises.
async fn survives(operations: &[Operation]) {
    let site = stage::Site::new().await;
    let result = player::play(&site, operations).await;
    if let Err(violation) = &result {
        println!("{}", site.logs());
        panic!("{violation}");
    }
    site.remove().await;
}

fn assert_no_violation(plan: &Plan) {
    let violations = soak(plan);
    assert!(violations.is_empty(), "{} violations", violations.len());
}

#[test]
fn some_histories_break_no_promise() {
    let time = Duration::from_secs(600);
    assert_no_violation(&Plan { first_seed: 0, histories: 30, time, workers: 2, is_long: false });
}

/// `make soak`: as long as `SOAK_SECONDS` says, from `SOAK_SEED` on.
#[test]
#[ignore = "takes as long as it is told"]
fn soak_for_as_long_as_told() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let time = Duration::from_secs(number("SOAK_SECONDS").unwrap_or(3600));
    let first_seed = number("SOAK_SEED").unwrap_or(1_000_000);
    let histories = number("SOAK_HISTORIES").unwrap_or(u64::MAX);
    let workers = number("SOAK_WORKERS").and_then(|count: u64| count.try_into().ok()).unwrap_or(2);
    assert_no_violation(&Plan { first_seed, histories, time, workers, is_long: true });
}
