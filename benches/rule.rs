//! How many events a rule decides on in a second, on one core: `cargo bench --bench rule`.
//!
//! Facts are made anew for each, so the provider's payload is read each time.

use std::{hint::black_box, time::Instant};

use rollcall::domain::{
    facts::{Facts, samples},
    rule::Rule,
};

const ROUNDS: usize = 5;
const EVENTS: u32 = 50_000;

fn main() {
    let (event, calendar) = samples().swap_remove(0);
    println!("a payload of {} bytes, the median of {ROUNDS} rounds", event.raw.get().len());
    for text in [
        "all",
        "external",
        "event.duration > duration(\"10m\") && event.start.getHours(\"America/New_York\") < 18",
        "event.attendees.exists(a, a.is_external && a.response == \"accepted\")",
        "event.title.matches(\"(?i)private|no bot\")",
        "event.raw.status == \"confirmed\"",
    ] {
        let rule = Rule::parse(text).expect("a rule");
        let mut rates: Vec<u64> =
            (0..ROUNDS).map(|_| rate(|| rule.wants(&Facts::of(&event, &calendar)).is_ok())).collect();
        rates.sort_unstable();
        println!("{:>9}/s  {text}", rates[ROUNDS / 2]);
    }
}

fn rate(mut decide: impl FnMut() -> bool) -> u64 {
    let began = Instant::now();
    for _ in 0..EVENTS {
        black_box(decide());
    }
    (f64::from(EVENTS) / began.elapsed().as_secs_f64()) as u64
}
