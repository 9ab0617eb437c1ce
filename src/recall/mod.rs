//! The upstream API as it is: the client, its wire types, and errors that say what kind of failure they are.

pub mod client;
pub mod error;
mod wire;

pub use client::{CALL_TIMEOUT, CalendarPage, Client, EventPage, PageQuery, UnreadableEvent};
pub use error::{Error, Failure};
