//! The control plane.
use super::shared::Shared;
use axum::Router;
use std::sync::Arc;
pub(crate) fn router(_shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    Router::new()
}
