//! The files service.
use std::sync::Arc;

use axum::Router;

use super::Context;

/// The routes.
pub fn router(_context: Arc<Context>) -> Router {
    Router::new()
}
