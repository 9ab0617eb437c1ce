//! The map in `lib.rs` is true: dependencies between the rooms point one way, and SQL is in one room.

use std::{fs, path::Path};

/// Which other rooms a room may name.
const ROOMS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("config", &["domain"]),
    ("domain", &[]),
    ("recall", &["config", "domain", "telemetry"]),
    ("store", &["domain"]),
    ("reconcile", &["clock", "domain", "recall", "store", "telemetry"]),
    ("worker", &["domain", "reconcile", "store", "telemetry"]),
    ("explain", &["domain", "store"]),
    ("http", &["clock", "config", "domain", "explain", "reconcile", "store", "telemetry"]),
    ("operator", &["clock", "config", "domain", "explain", "reconcile", "store"]),
    ("app", &["clock", "config", "http", "recall", "reconcile", "store", "telemetry", "worker"]),
    ("telemetry", &[]),
    ("sim", &["sim"]),
    ("demo", &["app", "clock", "config", "demo", "sim", "store", "telemetry"]),
];

/// The sources of the library: the room of each, its path and its text.
fn sources() -> Vec<(String, String, String)> {
    fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = vec![];
    walk(&root, &mut found);
    let room = |path: &str| {
        let inside = path.strip_prefix(&*root.to_string_lossy()).unwrap().trim_start_matches('/');
        inside.split(['/', '.']).next().unwrap().to_owned()
    };
    found
        .into_iter()
        .map(|(path, text)| (room(&path), path, text))
        .filter(|(room, ..)| !["lib", "main"].contains(&room.as_str()))
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let names: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    for (room, path, text) in sources() {
        let allowed =
            ROOMS.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("{path}: a room without rule")).1;
        // `crate::room`, or `room::` first in a `use crate::{…}`.
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        let mut uses: Vec<&str> = code.split("crate::").skip(1).collect();
        uses.retain(|rest| !rest.starts_with('{'));
        let mut named: Vec<String> =
            uses.iter().map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect();
        for block in code.split("use crate::{").skip(1) {
            let mut depth = 0;
            let mut item = String::new();
            for c in block.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => named.push(std::mem::take(&mut item)),
                    _ if depth == 0 => item.push(c),
                    _ => {}
                }
            }
            named.push(item);
        }
        for item in named {
            let other = item.trim().split("::").next().unwrap();
            let is_room = names.contains(&other) && other != room;
            assert!(!is_room || allowed.contains(&other), "{path} names the room {other}");
        }
    }
}

#[test]
fn sql_is_in_the_store_alone() {
    for (room, path, text) in sources() {
        assert!(room == "store" || !text.contains("sqlx::query"), "{path} has SQL");
    }
}

/// Nor does the driver undo a beginning that was cut off: what is committed without a transaction then is not.
#[test]
fn transactions_begin_in_one_place() {
    for (_, path, text) in sources() {
        let begins = text.matches(".begin(").count();
        assert_eq!(begins, usize::from(path.ends_with("store/mod.rs")), "{path} begins a transaction by itself");
    }
}

#[test]
fn the_domain_is_pure() {
    for (_, path, text) in sources().into_iter().filter(|(room, ..)| room == "domain") {
        for word in ["async ", "std::fs", "std::net", "Utc::now", "tokio", "sqlx", "reqwest"] {
            assert!(!text.contains(word), "{path} has `{word}`");
        }
    }
}

#[test]
fn the_simulator_knows_nothing_of_ours() {
    for (_, path, text) in sources().into_iter().filter(|(room, ..)| room == "sim") {
        let foreign = text.split("crate::").skip(1).find(|rest| !rest.starts_with("sim"));
        assert!(foreign.is_none(), "{path} names {}", &foreign.unwrap_or_default()[..20]);
    }
}
