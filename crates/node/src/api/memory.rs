//! `GET /api/v1/servers/{id}/memory`: where the box' memory is. `?pss=true` also reckons each
//! container's proportional set size, for which the kernel walks all its pages.

use std::collections::HashMap;

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::NodeState;
use super::extract::{Asked, Params};
use super::reply::{Reply, ok};
use super::servers::known;
use cowl_api::container::ContainerState;
use cowl_api::memory::{ContainerMemory, MemoryReport};

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new().route("/api/v1/servers/{id}/memory", get(show))
}

async fn show(State(node): State<NodeState>, Params(id): Params<String>, asked: Asked) -> Reply<MemoryReport> {
    known(&node, &id)?;
    let pss = asked.flag("pss")?;
    let mut rows = node.db(|store| store.all_containers()).await?;
    rows.retain(|row| matches!(row.state, ContainerState::Running | ContainerState::Paused));
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let memory = node.engine(move |m| Ok(m.memory(&ids, pss))).await?;
    let mut used: HashMap<_, _> = memory.containers.into_iter().collect();
    let name = |row: crate::state::containers::ContainerRow| {
        let used = used.remove(&row.id)?;
        let ksm_asked = row.effective_settings().ksm == Some(true);
        Some(ContainerMemory {
            id: row.id,
            name: row.name,
            project_id: row.project_id,
            project_alias: row.project_alias,
            status: row.state,
            ksm_asked,
            used,
        })
    };
    let containers = rows.into_iter().filter_map(name).collect();
    let report = MemoryReport {
        containers,
        usr: memory.usr,
        ksm: memory.ksm,
        node: memory.node,
        shims: memory.shims,
        host: memory.host,
    };
    ok("Memory", report)
}
