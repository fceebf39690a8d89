//! `/api/v1/containers/{id}/network`: how a container reaches the world.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};

use super::NodeState;
use super::extract::{Body, Params, container_id};
use super::reply::{Reply, ok};
use crate::clock;
use crate::firewall::Turn;
use cowl_api::ContainerId;
use cowl_api::network::{Egress, EgressBody, EgressChanged, EgressStatus, EgressView, RemoteStatus};

/// Resolvers where none were named.
const DNS_SERVERS: [std::net::IpAddr; 2] = [
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(1, 1, 1, 1)),
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8)),
];

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/containers/{id}/network", get(show).put(configure).patch(configure).delete(remove))
        .route("/api/v1/containers/{id}/network/start", post(start))
        .route("/api/v1/containers/{id}/network/stop", post(stop))
}

fn view(id: ContainerId, egress: Option<Egress>) -> EgressView {
    let check = egress.as_ref().map(|e| RemoteStatus {
        is_running: e.blocks(),
        last_check: e.last_status_check.clone().unwrap_or_else(|| e.configured_at.clone()),
    });
    EgressView {
        container_id: id,
        configured: egress.is_some(),
        credentials_configured: false,
        status: egress.as_ref().map(|e| e.status),
        configured_at: egress.as_ref().map(|e| e.configured_at.clone()),
        last_status_check: egress.as_ref().and_then(|e| e.last_status_check.clone()),
        remote_status: check,
        body: egress.map(|e| EgressBody {
            dns_servers: Some(e.body.dns_servers.unwrap_or_else(|| DNS_SERVERS.to_vec())),
            ..e.body
        }),
    }
}

async fn show(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<EgressView> {
    let id = container_id(&id)?;
    let row = node.db(move |store| store.network(&id)).await?;
    ok("Network configuration", view(id, row.egress))
}

async fn configure(
    State(node): State<NodeState>,
    Params(id): Params<String>,
    body: Body<EgressBody>,
) -> Reply<EgressView> {
    let id = container_id(&id)?;
    let egress = node.change_egress(id, Turn::Configure(body.value)).await?;
    ok("Network configured; nothing leaves the container until it is stopped or removed", view(id, egress))
}

async fn remove(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<()> {
    let id = container_id(&id)?;
    node.change_egress(id, Turn::Remove).await?;
    ok("Network configuration removed", ())
}

async fn change(node: NodeState, id: String, turn: Turn, message: &str) -> Reply<EgressChanged> {
    let id = container_id(&id)?;
    let egress = node.change_egress(id, turn).await?;
    let is_running = egress.as_ref().is_some_and(Egress::blocks);
    let status = egress.map_or(EgressStatus::Stopped, |e| e.status);
    ok(message, EgressChanged { container_id: id, status, is_running, last_check: clock::now() })
}

async fn start(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<EgressChanged> {
    change(node, id, Turn::Start, "Network configuration holds").await
}

async fn stop(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<EgressChanged> {
    change(node, id, Turn::Stop, "Network configuration stopped; the container reaches the world directly").await
}
