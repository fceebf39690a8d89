//! `/api/v1/servers`: this box, in the public API's shape of a rented server.

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::NodeState;
use super::extract::Params;
use super::reply::{Reply, ok};
use crate::stats;
use cowl_api::ApiError;

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new().route("/api/v1/servers", get(list)).route("/api/v1/servers/{id}", get(one))
}

async fn this(node: &NodeState) -> Result<serde_json::Value, ApiError> {
    let usage = node.engine(|m| m.usage()).await.map_err(crate::driver::failure)?;
    let used: u64 = node.db(|store| store.container_counts()).await?.values().sum();
    let host = stats::host(&node.samples).await;
    let place = &node.place;
    let gigabytes = |bytes: u64| bytes / 1_000_000_000;
    Ok(serde_json::json!({
        "id": place.server_id,
        "name": place.server_name,
        "status": "active",
        "server_id": place.server_id,
        "is_free_tier": false,
        "server": {
            "id": place.server_id,
            "name": place.server_name,
            "is_vm": false,
            "container_capacity": { "used": used, "max": null },
            "specs": {
                "cpu": { "model": null, "cores": host.cores, "threads": host.cores },
                "ram": { "capacity_gb": gigabytes(host.memory_total) },
                "disks": { "total_gb": gigabytes(usage.total) },
            },
        },
    }))
}

/// Refuses what is neither this box' id nor its name.
///
/// # Errors
/// 404.
pub(super) fn known(node: &NodeState, id: &str) -> Result<(), ApiError> {
    let own = id == node.place.server_id.as_str() || id == node.place.server_name;
    if own { Ok(()) } else { Err(ApiError::not_found("server")) }
}

async fn list(State(node): State<NodeState>) -> Reply<Vec<serde_json::Value>> {
    ok("Servers", vec![this(&node).await?])
}

async fn one(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<serde_json::Value> {
    known(&node, &id)?;
    ok("Server", this(&node).await?)
}
