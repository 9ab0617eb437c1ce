//! Hostile input (P2, P9, P10): the properties that `make fuzz` looks for exceptions to, on its corpus and on a few thousand
//! mutations of it, the same each time.

mod mutation;
mod properties;
mod stored;

use std::{fs, path::Path};

/// Mutations of a corpus, for properties that are checked within the process, and for those that need a connection.
const MANY: usize = 1000;
const SOME: usize = 300;

#[test]
fn a_request_is_proven_if_and_only_if_the_specification_says_so() {
    replay("request", MANY);
}

#[test]
fn a_query_proves_by_a_configured_token_alone_and_is_never_repeated() {
    replay("token", MANY);
}

#[test]
fn a_signed_body_is_read_or_refused_and_never_repeated() {
    replay("webhook", MANY);
}

#[test]
fn whatever_the_api_answers_each_item_is_read_or_reported_and_can_be_stored() {
    replay("answer", SOME);
}

#[test]
fn whatever_the_api_refuses_with_its_status_tells_the_kind_and_no_pause_is_longer_than_an_hour() {
    replay("refusal", SOME);
}

/// Checks the property of a target on its corpus, and on so many mutations of it.
fn replay(target: &str, mutations: usize) {
    let (_, check) = properties::TARGETS.into_iter().find(|(name, _)| *name == target).unwrap();
    let corpus = corpus(target);
    for (name, input) in &corpus {
        let _input = ShowOnPanic(name, input);
        check(input);
    }
    let inputs: Vec<&[u8]> = corpus.iter().map(|(_, input)| input.as_slice()).collect();
    for seed in 0..mutations {
        let input = mutation::mutate(&inputs, seed as u64);
        let _input = ShowOnPanic(&format!("mutation {seed}"), &input);
        check(&input);
    }
}

/// The inputs of a target that were worth keeping, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "the corpus of {target} is there");
    files.iter().map(|path| (path.file_name().unwrap().to_string_lossy().into(), fs::read(path).unwrap())).collect()
}

/// Shows the input that a property does not hold of.
struct ShowOnPanic<'a>(&'a str, &'a [u8]);

impl Drop for ShowOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}: {}", self.0, self.1.escape_ascii());
        }
    }
}
