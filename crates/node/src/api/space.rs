//! `/api/v1/servers/{id}/storage` and `/api/v1/containers/{id}/disk`: where the pool's space is.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};

use super::NodeState;
use super::extract::{Params, container_id};
use super::reply::{Reply, ok};
use super::servers::known;
use crate::driver::failure;
use crate::snapshots;
use cowl_api::space::{ContainerDisk, Health, PoolSpace, SnapshotCost};

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/servers/{id}/storage", get(pool))
        .route("/api/v1/servers/{id}/storage/scrub", post(scrub).delete(cancel))
        .route("/api/v1/containers/{id}/disk", get(disk))
}

async fn pool(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<PoolSpace> {
    known(&node, &id)?;
    ok("Storage", node.pool_space().await?)
}

async fn scrub(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<Health> {
    known(&node, &id)?;
    ok("Scrub started", node.engine(|m| m.scrub().and_then(|()| m.health())).await.map_err(failure)?)
}

async fn cancel(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<Health> {
    known(&node, &id)?;
    ok("Scrub ended", node.engine(|m| m.cancel_scrub().and_then(|()| m.health())).await.map_err(failure)?)
}

async fn disk(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<ContainerDisk> {
    let id = container_id(&id)?;
    let snapshots = node.db(move |store| store.container(&id).and_then(|_| store.snapshots(&id))).await?;
    snapshots::refresh_sizes(&node, id, snapshots::PRICE_AGE_MS);
    let bytes = node.engine(move |m| m.breakdown(&id)).await.map_err(failure)?;
    let cost = |s: cowl_api::Snapshot| SnapshotCost {
        name: s.name,
        alias: s.alias,
        would_free: (s.size > 0).then_some(s.size),
    };
    let snapshots = snapshots.into_iter().map(cost).collect();
    ok("Disk", ContainerDisk { container_id: id, bytes, snapshots })
}
