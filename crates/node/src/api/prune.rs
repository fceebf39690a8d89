//! `/api/v1/images/prune`: removing images and kits that nobody needs.

use axum::Router;
use axum::extract::State;
use axum::routing::post;

use super::NodeState;
use super::extract::Body;
use super::reply::{Reply, ok};
use crate::prune;
use cowl_api::prune::{Prune, Pruned};

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new().route("/api/v1/images/prune", post(remove))
}

async fn remove(State(node): State<NodeState>, body: Body<Prune>) -> Reply<Pruned> {
    let pruned = prune::prune(&node, body.value).await?;
    ok(if pruned.dry_run { "Would be removed" } else { "Removed" }, pruned)
}
