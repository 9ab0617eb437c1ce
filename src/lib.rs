//! rollcall: exactly one bot on every meeting that should have one.

pub mod app;
pub mod clock;
pub mod config;
pub mod demo;
pub mod domain;
pub mod http;
pub mod recall;
pub mod reconcile;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod worker;
