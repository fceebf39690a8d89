//! The API of the node: `/api/v1`, one file per noun. Handlers parse, ask one thing, and answer.
//!
//! A request passes, in this order: [`normal`] (trailing slashes) → [`auth`] → its handler. The
//! proxy sends here what comes for `api.{domain}` and what comes by the node's unix socket.

pub mod auth;
mod checks;
mod containers;
mod dedupe;
mod diff;
mod env;
mod events;
mod exports;
mod extract;
mod files;
mod firewall;
mod images;
mod lineage;
mod memory;
mod network;
mod operations;
mod projects;
mod prune;
mod reply;
mod restore_files;
mod servers;
mod shares;
mod snapshot_facts;
mod snapshots;
mod space;
mod status;
mod undelete;
mod users;
mod who;

pub use exports::import_checks;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Uri;
use axum::routing::{MethodFilter, MethodRouter, on};
use tower::ServiceExt;

use self::reply::Failure;
use super::Node;
use cowl_api::ApiError;

/// What handlers share.
type NodeState = Arc<Node>;

/// The whole API.
pub fn router(node: Arc<Node>) -> Router {
    let inner = Router::new()
        .merge(projects::router())
        .merge(containers::router())
        .merge(operations::router())
        .merge(env::router())
        .merge(lineage::router())
        .merge(firewall::router())
        .merge(network::router())
        .merge(snapshots::router())
        .merge(diff::router())
        .merge(exports::router())
        .merge(snapshot_facts::router())
        .merge(undelete::router())
        .merge(files::router())
        .merge(restore_files::router())
        .merge(status::router())
        .merge(images::router())
        .merge(servers::router())
        .merge(prune::router())
        .merge(shares::router())
        .merge(space::router())
        .merge(events::router())
        .merge(users::router())
        .merge(memory::router())
        .merge(dedupe::router())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&node), auth::require))
        .with_state(node);
    Router::new().fallback_service(inner.map_request(normal))
}

/// Routes for PUT and PATCH alike: clients differ in which they send.
fn put_or_patch<H, T>(handler: H) -> MethodRouter<NodeState>
where
    H: Handler<T, NodeState>,
    T: 'static,
{
    on(MethodFilter::PUT.or(MethodFilter::PATCH), handler)
}

async fn unknown(uri: Uri) -> Failure {
    Failure(ApiError::new(404, format!("there is no route {}", uri.path())))
}

async fn wrong_method(method: http::Method, uri: Uri) -> Failure {
    Failure(ApiError::new(405, format!("{method} is not possible on {}", uri.path())))
}

/// Takes trailing slashes off the path, so that collections answer with and without.
fn normal(mut request: Request) -> Request {
    let uri = request.uri();
    let trimmed = uri.path().trim_end_matches('/');
    if trimmed.len() == uri.path().len() || trimmed.is_empty() {
        return request;
    }
    let path_and_query = match uri.query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    // Part of a valid URI stays valid; were it not, the request goes on as it came.
    if let Ok(path_and_query) = path_and_query.parse() {
        parts.path_and_query = Some(path_and_query);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}
