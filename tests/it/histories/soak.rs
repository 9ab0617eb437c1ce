//! Plays seed after seed on several threads, and reports.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Violation, generator::generate, operation::Operation, player::play, shrink::shrink, stage::Site};

/// What is to be played.
pub struct Plan {
    pub first_seed: u64,
    /// At most so many histories.
    pub histories: u64,
    pub time: Duration,
    pub workers: usize,
    /// Whether to tell how it goes each minute, and to go on after a violation.
    pub is_long: bool,
}

#[derive(Default)]
struct Score {
    histories: AtomicU64,
    operations: AtomicU64,
    faults: AtomicU64,
    /// Reports by rule; the first of each is shrunk.
    violations: Mutex<BTreeMap<&'static str, Vec<String>>>,
}

/// Plays until the seeds or the time are used up. Returns the reports of what was violated.
pub fn soak(plan: &Plan) -> Vec<String> {
    let (score, next_seed, began) = (Score::default(), AtomicU64::new(plan.first_seed), Instant::now());
    std::thread::scope(|threads| {
        for _ in 0..plan.workers {
            threads.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(work(plan, &score, &next_seed, began));
            });
        }
    });
    score.tell(began);
    score.violations.into_inner().unwrap().into_values().flatten().collect()
}

async fn work(plan: &Plan, score: &Score, next_seed: &AtomicU64, began: Instant) {
    let site = Site::new().await;
    let mut told = 0;
    loop {
        let seed = next_seed.fetch_add(1, Ordering::SeqCst);
        let minutes = began.elapsed().as_secs() / 60;
        if plan.is_long && minutes > told {
            told = minutes;
            score.tell(began);
        }
        if seed - plan.first_seed >= plan.histories || began.elapsed() >= plan.time {
            break;
        }
        let operations = generate(seed);
        score.count(&operations);
        if let Err(violation) = play(&site, &operations).await {
            score.report(&site, seed, operations, violation).await;
            if !plan.is_long {
                break;
            }
        }
    }
    site.remove().await;
}

impl Score {
    fn count(&self, operations: &[Operation]) {
        self.histories.fetch_add(1, Ordering::SeqCst);
        self.operations.fetch_add(operations.len() as u64, Ordering::SeqCst);
        let faults = operations.iter().filter(|operation| operation.is_fault()).count();
        self.faults.fetch_add(faults as u64, Ordering::SeqCst);
    }

    async fn report(&self, site: &Site, seed: u64, operations: Vec<Operation>, violation: Violation) {
        println!("seed {seed}: {violation}");
        let is_first = !self.violations.lock().unwrap().contains_key(violation.rule);
        let mut report = format!("seed {seed}: {violation}");
        if is_first {
            self.violations.lock().unwrap().entry(violation.rule).or_default();
            match shrink(site, operations, &violation).await {
                Some((shortest, again)) => report += &format!("\n{}", as_test(seed, &shortest, &again)),
                None => report += "\n(played again it does not fail: a race)",
            }
        }
        if is_first {
            println!("{report}");
        }
        self.violations.lock().unwrap().entry(violation.rule).or_default().push(report);
    }

    fn tell(&self, began: Instant) {
        let violations: usize = self.violations.lock().unwrap().values().map(Vec::len).sum();
        println!(
            "{} s: {} histories, {} operations, {} faults, {violations} violations",
            began.elapsed().as_secs(),
            self.histories.load(Ordering::SeqCst),
            self.operations.load(Ordering::SeqCst),
            self.faults.load(Ordering::SeqCst),
        );
    }
}

/// To be pasted into `found.rs`.
fn as_test(seed: u64, operations: &[Operation], violation: &Violation) -> String {
    let list: String = operations.iter().map(|operation| format!("        {operation:?},\n")).collect();
    format!("// {violation}\n#[tokio::test]\nasync fn seed_{seed}() {{\n    survives(&[\n{list}    ])\n    .await;\n}}")
}
