//! What a webhook's sender is told when the answer is not 2xx.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::signature::Unproven;

/// Seconds after which a sender should try again what could not be committed.
const RETRY_AFTER_SECS: &str = "5";

/// Why a delivery was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    /// Nothing proves who sent it.
    #[error("not proven: {0}")]
    Unproven(#[from] Unproven),
    /// The body is larger than a webhook ever is.
    #[error("the body is larger than 64 KiB")]
    TooLarge,
    /// The body did not arrive in time, or not whole.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// Proven, of a topic we act on, and not what the documents say.
    #[error("the body is not a {topic} webhook: {problem}")]
    Malformed {
        /// What it is meant to be.
        topic: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// It could not be committed. The sender has to try again.
    #[error("the delivery could not be stored; send it again")]
    NotCommitted,
}

impl Rejection {
    /// Its name in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Unproven(_) => "unproven",
            Self::TooLarge => "too_large",
            Self::BodyTimeout => "timeout",
            Self::Malformed { .. } => "malformed",
            Self::NotCommitted => "not_committed",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unproven(_) => StatusCode::UNAUTHORIZED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed { .. } => StatusCode::BAD_REQUEST,
            Self::NotCommitted => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(json!({ "error": self.to_string() }))).into_response();
        if matches!(self, Self::NotCommitted) {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER_SECS));
        }
        response
    }
}
