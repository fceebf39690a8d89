//! What runs in the container and what it uses, read from `/proc`.

mod ports;
mod processes;
mod resources;

use axum::Router;
use axum::routing::{get, post};

/// The routes under `/api/v1/system/`.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/api/v1/system/processes", get(processes::list))
        .route("/api/v1/system/processes/{pid}", get(processes::one))
        .route("/api/v1/system/process/signal", post(processes::signal))
        .route("/api/v1/system/ports", get(ports::list))
        .route("/api/v1/system/resources", get(resources::report))
}
