//! rollcall: exactly one bot on every meeting that should have one.

pub mod sim;
