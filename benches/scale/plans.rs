//! The plans of all statements that run, as `auto_explain` tells them in notices, and what is wrong with them.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// Tables that grow with the workspace or with time: none of them is read from end to end.
const GROWING: [&str; 8] = [
    "calendars",
    "decision_history",
    "decisions",
    "deliveries",
    "events",
    "reconcile_queue",
    "settings",
    "unreadable_events",
];
/// Rows that a scan may pass for nothing.
const MAX_REMOVED: f64 = 20_000.0;
/// Statements that may read a growing table from end to end: how their text begins, and why.
const ALLOWED: [(&str, &str); 4] = [
    ("select kind, state as \"state!\", count(*)", "counts the queue for `/metrics`, for all who ask at once"),
    ("select count(*) as \"connected!\"", "counts the calendars for `/metrics`, for all who ask at once"),
    ("select count(distinct scheduled_key)", "at a start with another `DEDUPLICATION` alone"),
    ("select scope, id, series, aspect", "all settings, because somebody asked for them"),
];

/// A statement, and how it was carried out.
#[derive(Default)]
pub struct Statement {
    runs: u64,
    worst_ms: f64,
    /// Of the run that took longest.
    plan: Value,
    problems: Vec<String>,
}

/// All statements, by their text.
#[derive(Clone, Default)]
pub struct Plans(Arc<Mutex<BTreeMap<String, Statement>>>);

impl<S: Subscriber> Layer<S> for Plans {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::postgres::notice" {
            event.record(&mut Notice(self));
        }
    }
}

/// Takes a notice's text.
struct Notice<'a>(&'a Plans);

impl Visit for Notice<'_> {
    fn record_str(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            self.0.add(text);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl Plans {
    /// `duration: 0.123 ms  plan:` and the plan as JSON.
    fn add(&self, notice: &str) {
        let Some((head, json)) = notice.split_once("plan:") else { return };
        let Ok(mut explained) = serde_json::from_str::<Value>(json) else { return };
        let ms = head.split_whitespace().nth(1).and_then(|ms| ms.parse().ok()).unwrap_or(0.0);
        let text = in_one_line(explained["Query Text"].as_str().unwrap_or_default());
        let plan = explained["Plan"].take();
        let mut problems = vec![];
        find_problems(&plan, &mut problems);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let statement = all.entry(text).or_default();
        statement.runs += 1;
        if ms >= statement.worst_ms {
            (statement.worst_ms, statement.plan) = (ms, plan);
        }
        problems.retain(|problem| !statement.problems.contains(problem));
        statement.problems.append(&mut problems);
    }

    /// As Markdown, and the statements whose plans are bad.
    pub fn report(&self) -> (String, Vec<String>) {
        let (mut text, mut bad) = (String::new(), vec![]);
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = all.iter().filter(|(_, statement)| mentions_table(&statement.plan));
        for (query, statement) in ours.filter(|(query, _)| !is_the_bench(query)) {
            let allowed = ALLOWED.iter().find(|(beginning, _)| query.starts_with(beginning));
            let _ = writeln!(text, "\n```sql\n{query}\n```\n");
            let _ = writeln!(text, "{} runs, the longest {:.2} ms:\n\n```", statement.runs, statement.worst_ms);
            write_plan(&statement.plan, 0, &mut text);
            let _ = writeln!(text, "```");
            for problem in &statement.problems {
                match allowed {
                    Some((_, why)) => _ = writeln!(text, "\n{problem}; allowed: {why}."),
                    None => {
                        _ = writeln!(text, "\n**{problem}.**");
                        bad.push(format!("{problem}: {query}"));
                    }
                }
            }
        }
        let idle: Vec<String> = all_statements().into_iter().filter(|query| !all.contains_key(query)).collect();
        let _ = writeln!(text, "\n## Not run here\n\nWhat touches no table, or was not called for:\n\n```sql");
        idle.iter().for_each(|query| _ = writeln!(text, "{query}"));
        let _ = writeln!(text, "```");
        println!("{} statements ran, {} did not", all.len(), idle.len());
        (text, bad)
    }
}

/// All statements that the compiler has checked.
fn all_statements() -> Vec<String> {
    let files = std::fs::read_dir(".sqlx").into_iter().flatten().flatten();
    let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    let mut all: Vec<String> = texts
        .filter_map(|text| serde_json::from_str::<Value>(&text).ok())
        .filter_map(|query| query["query"].as_str().map(in_one_line))
        .collect();
    all.sort();
    all
}

/// Without comments and line breaks.
fn in_one_line(query: &str) -> String {
    let lines = query.lines().map(|line| line.split("--").next().unwrap_or(""));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// What the benchmark itself asks.
fn is_the_bench(query: &str) -> bool {
    query.contains("/* bench */")
}

fn children(plan: &Value) -> impl Iterator<Item = &Value> {
    plan["Plans"].as_array().into_iter().flatten()
}

fn mentions_table(plan: &Value) -> bool {
    plan["Relation Name"].is_string() || children(plan).any(mentions_table)
}

fn find_problems(plan: &Value, problems: &mut Vec<String>) {
    let node = plan["Node Type"].as_str().unwrap_or_default();
    let table = plan["Relation Name"].as_str().unwrap_or_default();
    let number = |field: &str| plan[field].as_f64().unwrap_or(0.0);
    let removed = (number("Rows Removed by Filter") + number("Rows Removed by Index Recheck")) * number("Actual Loops");
    // By an index as well, if nothing is looked up in it.
    let is_lookup = plan["Index Cond"].is_string() || plan["Recheck Cond"].is_string() || plan["TID Cond"].is_string();
    let read = number("Actual Rows") * number("Actual Loops") + removed;
    if GROWING.contains(&table) && !is_lookup && (node == "Seq Scan" || node.starts_with("Index") && read > MAX_REMOVED)
    {
        problems.push(format!("reads all of `{table}`"));
    } else if removed > MAX_REMOVED {
        problems.push(format!("a scan of `{table}` passes more than {MAX_REMOVED} rows for nothing"));
    }
    if plan["Sort Space Type"] == "Disk" || number("Hash Batches") > 1.0 || number("Disk Usage") > 0.0 {
        problems.push(format!("{node} spills to disk"));
    }
    children(plan).for_each(|child| find_problems(child, problems));
}

fn write_plan(plan: &Value, depth: usize, text: &mut String) {
    let word = |field: &str| plan[field].as_str().unwrap_or_default();
    let _ = write!(text, "{:1$}{2}", "", depth * 2, word("Node Type"));
    for (before, field) in
        [(" ", "Operation"), (" using ", "Index Name"), (" on ", "Relation Name"), (" on ", "CTE Name")]
    {
        if plan[field].is_string() && !(field == "CTE Name" && plan["Relation Name"].is_string()) {
            let _ = write!(text, "{before}{}", word(field));
        }
    }
    let _ = writeln!(text, " (rows {}, loops {})", plan["Actual Rows"], plan["Actual Loops"]);
    children(plan).for_each(|child| write_plan(child, depth + 1, text));
}
