//! The state machine behind the API.

pub(crate) mod bot;
pub(crate) mod meeting;
