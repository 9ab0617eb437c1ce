//! What must hold whatever is sent: a module for each fuzz target, with one `check` that panics if it does not.
//!
//! Both the fuzz targets and the tests include this folder, so it names nothing of either. An input is bytes that read as
//! text, so that a person can write one; one that makes no sense is passed over.

pub mod answer;
mod event;
pub mod page;
mod receiver;
pub mod refusal;
pub mod request;
mod signer;
pub mod token;
mod upstream;
pub mod webhook;

/// A fuzz target: its name, which is its folder in `fuzz/corpus`, and its property.
pub type Target = (&'static str, fn(&[u8]));

/// All fuzz targets.
pub const TARGETS: [Target; 5] = [
    ("request", request::check),
    ("token", token::check),
    ("webhook", webhook::check),
    ("answer", answer::check),
    ("refusal", refusal::check),
];

/// Stands for what must not be repeated in an answer, an error or a log, such as a link.
pub const CANARY: &str = "https://canary.test/j/1?pwd=qz9";

/// That a text for others to read does not repeat the canary.
#[track_caller]
pub fn assert_discreet(what: &str, text: &str) {
    assert!(!text.contains(CANARY), "{what} repeats the canary: {text}");
}

/// The input up to the first line feed, as text, and what follows it.
fn split_line(input: &[u8]) -> Option<(&str, &[u8])> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&input[..end]).ok()?, &input[end + 1..]))
}
