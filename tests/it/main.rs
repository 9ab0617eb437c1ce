//! The tests that prove the promises: the real service over a real Postgres, real HTTP on both sides, the simulated Recall,
//! and a clock that the test sets. `make test` brings the Postgres.
//!
//! Each world ends with `finish`, which looks at what no test should have to ask for: the queue is empty, nothing is parked,
//! no error was logged, and no secret is in any log line or row.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(unreachable_pub, reason = "one binary: everything in it is private")]

mod accept;
mod bad_data;
mod bots;
mod budget;
mod calendars;
mod catch_up;
mod configurations;
mod demo;
mod documents;
mod doubts;
mod early;
mod failures;
mod faults;
mod histories;
mod hostile;
mod life;
mod operator;
mod policy;
mod process;
mod queue;
mod receive;
mod redaction;
mod retention;
mod rooms;
mod sweep;
mod sync;
mod world;
