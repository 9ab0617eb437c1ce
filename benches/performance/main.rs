//! How near rollcall comes to what Postgres and the API allow: `make bench`, or `make bench FIGURES="1 2"`.
//!
//! Each figure is measured against its baseline in the same run, in turns, so that whatever else the machine does befalls
//! both. The table of medians is printed and written into `docs/performance.md`, which explains each figure. A figure is a
//! function that returns lines of that table: a new one is written in `figures/` and named in `figures/mod.rs`.
//!
//! The receiver and the API's stand-in run as processes of their own: this program again, told its role by its first argument.

mod api;
mod figures;
mod load;
mod receiver;
mod rounds;
mod stage;
mod table;

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some(receiver::ROLE) => receiver::run(),
        Some(api::ROLE) => api::run(),
        // `make profile`
        Some("profile") => figures::profile(),
        _ => {
            let wanted: Result<Vec<u32>, _> = arguments.drain(..).map(|argument| argument.parse()).collect();
            measure(&wanted.context("the arguments are numbers of figures")?)
        }
    }
}

/// Measures the figures of these numbers; all, if there are none.
fn measure(wanted: &[u32]) -> anyhow::Result<()> {
    stage::log_into_nothing();
    let mut lines = vec![];
    for figure in figures::ALL {
        if !wanted.is_empty() && !figure.numbers.iter().any(|number| wanted.contains(number)) {
            continue;
        }
        eprintln!("measuring: {}", figure.name);
        let measured = (figure.measure)().with_context(|| figure.name)?;
        for line in &measured {
            eprintln!("{}", line.render());
        }
        lines.extend(measured);
    }
    table::write(&lines)
}
