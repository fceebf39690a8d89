//! The terminal service: shells that many clients share, and commands on them.
//!
//! A session is one PTY under one number. Whoever asks for the number (a browser, the cockpit, curl)
//! sees the same screen. What of the public contract is not built answers 501 by name.

mod account;
mod automation;
mod bus;
mod clients;
mod command;
mod execute;
mod frames;
mod integration;
mod keys;
mod launch;
mod logind;
mod manage;
mod marker;
mod pipes;
mod pty;
mod screen;
mod session;
mod sessions;
mod shellwork;
mod stream;
mod system;
mod text;
mod ws;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Html;
use axum::routing::{delete, get, post};

use super::error::KitError;
use super::{Context, health};
use sessions::Sessions;

/// The routes.
pub fn router(context: Arc<Context>) -> Router {
    let sessions = Sessions::new(context.clone());
    Router::new()
        .route(
            "/api/v1/terminal/health",
            get(move |headers: HeaderMap| async move { health::report(&context, "terminal", &headers) }),
        )
        .route("/", get(page))
        .route("/api/v1/terminal/execute", post(execute::execute))
        .route("/api/v1/terminal/execute/{command_id}/abort", post(execute::abort))
        .route("/api/v1/terminal/result/{command_id}", get(execute::result))
        .route("/api/v1/terminal/create", post(manage::create))
        .route("/api/v1/terminal/sessions", get(manage::list))
        .route("/api/v1/terminal/history/{terminal_id}", get(manage::history))
        .route("/api/v1/terminal/raw", get(manage::raw))
        .route("/api/v1/terminal/{terminal_id}", delete(manage::delete).fallback(absent))
        .route("/api/v1/terminal/ws", get(ws::connect))
        .route("/api/v1/terminal/snapshot", get(automation::snapshot))
        .route("/api/v1/terminal/find", get(automation::find))
        .route("/api/v1/terminal/keys", get(automation::list_keys))
        .route("/api/v1/terminal/write", post(automation::write))
        .route("/api/v1/terminal/press", post(automation::press))
        .route("/api/v1/terminal/paste", post(automation::paste))
        .route("/api/v1/terminal/wait", post(automation::wait))
        .merge(system::router())
        .fallback(absent)
        .method_not_allowed_fallback(wrong_method)
        .with_state(sessions)
}

/// The terminal in a browser: our own page, which needs nothing else.
async fn page() -> Html<&'static str> {
    Html(include_str!("../pages/terminal.html"))
}

/// Paths of the contract that are not built, by their beginnings.
const NOT_BUILT: [&str; 8] = [
    "/api/v1/terminal/screenshot",
    "/api/v1/terminal/drop",
    "/api/v1/terminal/upload",
    "/api/v1/terminal/mouse",
    "/api/v1/terminal/state",
    "/api/v1/terminal/automation",
    "/api/v1/terminal/openapi",
    "/api/v1/system/",
];

async fn absent(request: Request) -> KitError {
    let path = request.uri().path();
    let known = path.ends_with("/automation") || NOT_BUILT.iter().any(|start| path.starts_with(start));
    if known {
        return KitError::not_built(format!("{path} of the terminal service is not built yet"));
    }
    KitError::not_found(format!("the terminal service has no {path}"))
}

async fn wrong_method(request: Request) -> KitError {
    let message = format!("{} is not allowed on {}", request.method(), request.uri().path());
    KitError::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, message)
}

/// What the stories in `kit::tests` look through.
#[cfg(test)]
pub mod testing {
    use super::pty::Size;
    pub use super::screen::Picture;

    impl Picture {
        /// An empty screen.
        pub fn sized(cols: u16, rows: u16) -> Self {
            Self::new(Size { cols, rows })
        }
    }
}
