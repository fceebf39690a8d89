//! `GET /api/v1/status`: the box at a glance.

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::NodeState;
use super::reply::{Reply, ok};
use crate::stats;
use cowl_api::server::{NodeStatus, PoolStatus, Versions};

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new().route("/api/v1/status", get(status))
}

async fn status(State(node): State<NodeState>) -> Reply<NodeStatus> {
    let usage = node.engine(|m| m.usage()).await?;
    let containers = node.db(|store| store.container_counts()).await?;
    let place = &node.place;
    let version = env!("CARGO_PKG_VERSION");
    let status = NodeStatus {
        server_id: place.server_id,
        server_name: place.server_name.clone(),
        domains: place.domains.clone(),
        listen: place.listen.to_string(),
        api_url: place.api_url(),
        network: place.network.to_string(),
        network6: place.network6.map(|prefix| format!("{prefix}/64")),
        dns: place.dns.map(|at| at.to_string()),
        pool: PoolStatus {
            path: node.machine.pool_root().display().to_string(),
            kind: node.machine.pool_kind().to_owned(),
            total: usage.total,
            used: usage.used,
            free: usage.free,
        },
        images: node.images.list(),
        host: stats::host(&node.samples).await,
        versions: Versions { cowl: version.to_owned(), kit: version.to_owned(), kernel: place.kernel.clone() },
        pid: std::process::id(),
        started_at: place.started_at.clone(),
        containers,
        hints: place.hints.clone(),
    };
    ok("Node status", status)
}
