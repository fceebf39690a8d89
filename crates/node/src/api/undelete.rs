//! `/api/v1/containers/{id}/undelete`.

use axum::Router;
use axum::extract::State;
use axum::routing::post;

use super::NodeState;
use super::extract::{Body, Params, container_id};
use super::reply::{Reply, ok};
use crate::lifecycle::Wish;
use cowl_api::container::{Container, Undelete};
use cowl_api::names;

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new().route("/api/v1/containers/{id}/undelete", post(undelete))
}

async fn undelete(State(node): State<NodeState>, Params(id): Params<String>, body: Body<Undelete>) -> Reply<Container> {
    let id = container_id(&id)?;
    if let Some(name) = &body.value.name {
        names::container_name(name)?;
    }
    node.ask(&id, Wish::Undelete(body.value.name)).await?;
    let row = node.db(move |store| store.container(&id)).await?;
    ok("Container undeleted", node.present(row))
}
