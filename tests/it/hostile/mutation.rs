//! Mutations as a fuzzer makes them, without its guidance.

use fastrand::Rng;

/// What parsers stumble over.
const ODD: [&[u8]; 24] = [
    b"\0",
    b"\xff",
    b"\n",
    b"\"",
    b"{",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\\u0000",
    b"\\ud800",
    b"+262142-12-31T23:59:59Z",
    b"-262143-01-01T00:00:00Z",
    b"-0001-12-31T23:59:59Z",
    b"2026-01-15T09:30:60.999999999+23:59",
    b"urn:uuid:",
    b"token=",
    b"&",
    b"%00",
    b"v1,",
    b"https://canary.test/j/1?pwd=qz9",
    b"\xed\xa0\x80",
];
/// Longer inputs are cut.
const MAX_BYTES: usize = 4096;

/// One of the inputs with one to four changes; the same for the same seed.
pub fn mutate(inputs: &[&[u8]], seed: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let mut input = inputs[rng.usize(..inputs.len())].to_vec();
    for _ in 0..rng.usize(1..=4) {
        change(&mut input, inputs, &mut rng);
    }
    input.truncate(MAX_BYTES);
    input
}

fn change(input: &mut Vec<u8>, inputs: &[&[u8]], rng: &mut Rng) {
    let at = rng.usize(..=input.len());
    let end = (at + rng.usize(1..=16)).min(input.len());
    match rng.u8(..6) {
        0 => drop(input.drain(at..end)),
        1 => {
            let copied = input[at..end].to_vec();
            input.splice(at..at, copied);
        }
        2 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
        3 => drop(input.splice(at..end, ODD[rng.usize(..ODD.len())].iter().copied())),
        4 => drop(input.splice(at..at, ODD[rng.usize(..ODD.len())].iter().copied())),
        _ => {
            let other = inputs[rng.usize(..inputs.len())];
            input.splice(at.., other[rng.usize(..=other.len())..].iter().copied());
        }
    }
}
