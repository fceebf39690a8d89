//! The files service: the container's whole file system over HTTP.
//!
//! Two faces: REST under `/api/v1/files/`, and plain GET, HEAD, PUT and DELETE on every other path. The
//! process lives in the container, so the container's root is the end of the world for `..` and links.

mod attributes;
mod info;
mod lines;
mod path;
mod plain;
mod range;
mod read;
mod regular;
mod rest;
mod search;
mod transfer;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use super::error::{KitError, KitResult};
use super::{Context, health};

/// Where the REST face begins.
const REST: &str = "/api/v1/files";

/// The routes. Paths are taken raw: the clients send encoded and doubled slashes.
pub fn router(context: Arc<Context>) -> Router {
    Router::new().fallback(move |request: Request| {
        let context = context.clone();
        async move { route(&context, request).await.unwrap_or_else(IntoResponse::into_response) }
    })
}

async fn route(context: &Context, request: Request) -> KitResult<Response> {
    let path = request.uri().path();
    if let Some(rest) = path.strip_prefix(REST).filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        if rest == "/health" {
            return Ok(health::report(context, "files", request.headers()).into_response());
        }
        let rest = rest.strip_prefix('/').unwrap_or(rest).to_owned();
        return rest::answer(&rest, request).await;
    }
    if path == "/api/v1/version" {
        let version = env!("CARGO_PKG_VERSION");
        return Ok(axum::Json(serde_json::json!({ "version": version, "server_version": version })).into_response());
    }
    for word in ["backends", "mounts", "journal", "downloads", "extractions"] {
        if path.strip_prefix("/api/v1/").is_some_and(|rest| rest.split('/').next() == Some(word)) {
            return Err(KitError::not_built(format!("{word} of the files service are not built yet")));
        }
    }
    plain::answer(request).await
}

/// Runs what may wait for the disk beside the one thread that serves.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> KitResult<T> + Send + 'static) -> KitResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(KitError::internal(format!("a file operation failed: {error}"))),
    }
}
