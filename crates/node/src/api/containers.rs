//! `/api/v1/containers` and `/api/v1/projects/{id}/containers`: making, finding, changing, deleting.

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::extract::{Asked, Body, Params, container_id, project_id};
use super::reply::{Failure, Reply, created, ok};
use super::{NodeState, checks, put_or_patch};
use crate::lifecycle::{Done, Wish};
use crate::remarks;
use crate::state::containers::{DELETED, PRESENT, SORT, WITH_DELETING};
use cowl_api::container::{Container, ContainerList, CreateContainer, StatusLog, UpdateContainer};
use cowl_api::envelope::{FieldError, Pagination};
use cowl_api::stats::{ContainerStats, StatsHistory};
use cowl_api::{ApiError, ProjectId, names};

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/containers", get(list))
        .route("/api/v1/projects/{id}/containers", get(list_of_project).post(create))
        .route("/api/v1/containers/{id}", put_or_patch(update).get(one).delete(remove))
        .route("/api/v1/containers/{id}/stats", get(stats))
        .route("/api/v1/containers/{id}/stats/history", get(stats_history))
        .route("/api/v1/containers/{id}/status-logs", get(status_logs))
}

async fn page(node: NodeState, project: Option<ProjectId>, asked: Asked) -> Reply<ContainerList> {
    let page = asked.page(20, 100, &SORT)?;
    let states = match (asked.flag("deleted")?, asked.flag("include_deleting")?) {
        (true, _) => DELETED,
        (false, true) => WITH_DELETING,
        (false, false) => PRESENT,
    };
    let window = page.window.clone();
    let (rows, total) = node.db(move |store| store.containers(project.as_ref(), states, &window)).await?;
    let containers = rows.into_iter().map(|row| node.present(row)).collect();
    ok("Containers", ContainerList { containers, pagination: page.of(total) })
}

async fn list(State(node): State<NodeState>, asked: Asked) -> Reply<ContainerList> {
    page(node, None, asked).await
}

async fn list_of_project(
    State(node): State<NodeState>,
    Params(id): Params<String>,
    asked: Asked,
) -> Reply<ContainerList> {
    let id = project_id(&id)?;
    node.db(move |store| store.project(&id)).await?;
    page(node, Some(id), asked).await
}

async fn create(
    State(node): State<NodeState>,
    Params(project): Params<String>,
    body: Body<CreateContainer>,
) -> Reply<Container> {
    let project = project_id(&project)?;
    node.db(move |store| store.project(&project)).await?;
    let named = body.value.name.as_deref().is_some_and(|name| name != "rand");
    let mut new = checks::new_container(body, &node.place)?;
    for _ in 0..8 {
        match node.create_container(project, new.clone()).await {
            Ok(row) => return created("Container is being created", node.present(row)),
            // A random name may be taken; another may not.
            Err(e) if !named && e.status_code == 409 && e.message.contains("with this name") => {
                new.name = names::random_name();
            }
            Err(e) => return Err(e.into()),
        }
    }
    Err(Failure(cowl_api::ApiError::conflict("no free random name was found; give one")))
}

async fn one(State(node): State<NodeState>, Params(id): Params<String>, asked: Asked) -> Reply<Container> {
    let id = container_id(&id)?;
    let deleted = asked.flag("deleted")?;
    let row = node.db(move |store| if deleted { store.any_container(&id) } else { store.container(&id) }).await?;
    ok("Container", node.present(row))
}

async fn update(
    State(node): State<NodeState>,
    Params(id): Params<String>,
    body: Body<UpdateContainer>,
) -> Reply<Container> {
    let id = container_id(&id)?;
    let change = checks::container_update(body.value)?;
    let before = node.db(move |store| store.container(&id)).await?;
    let limits = change.settings.is_some();
    let (row, events) = node.db(move |store| store.update_container(&id, &change)).await?;
    node.bus.tell_all(events);
    if limits {
        node.apply_settings(&id).await;
    }
    let remarks = remarks::of_change(&before, &row);
    let mut shown = node.present(row);
    shown.warnings.extend(remarks);
    ok("Container updated", shown)
}

async fn remove(State(node): State<NodeState>, Params(id): Params<String>, asked: Asked) -> Reply<serde_json::Value> {
    let id = container_id(&id)?;
    let wish = if asked.flag("purge")? { Wish::Purge } else { Wish::Delete };
    let mut data = serde_json::json!({ "id": id, "status": "deleted" });
    if node.ask(&id, wish).await? != Done::Deleted {
        let row = node.db(move |store| store.any_container(&id)).await?;
        data["purge_at"] = row.purge_at.into();
    }
    ok("Container deleted", data)
}

async fn stats(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<ContainerStats> {
    let id = container_id(&id)?;
    let row = node.db(move |store| store.container(&id)).await?;
    ok("Container statistics", node.container_stats(row).await?)
}

async fn stats_history(State(node): State<NodeState>, Params(id): Params<String>, asked: Asked) -> Reply<StatsHistory> {
    let id = container_id(&id)?;
    let fast = match asked.get("interval") {
        None | Some("30") => false,
        Some("1") => true,
        Some(_) => return Err(ApiError::from(FieldError::new("/interval", "must be 1 or 30 seconds")).into()),
    };
    node.db(move |store| store.container(&id)).await?;
    ok("Container statistics of the last hour", node.stats_history(id, fast))
}

/// `data` of the status logs.
#[derive(Debug, serde::Serialize)]
struct StatusLogs {
    logs: Vec<StatusLog>,
    pagination: Pagination,
}

async fn status_logs(State(node): State<NodeState>, Params(id): Params<String>, asked: Asked) -> Reply<StatusLogs> {
    let id = container_id(&id)?;
    // Logs are written in the order of their times, so every sort is one of these two.
    let columns = [("transition_time", "id"), ("created_at", "id")];
    let page = asked.page(50, 200, &columns)?;
    let newest_first = asked.descending(true)?;
    let window = page.window.clone();
    let (logs, total) = node
        .db(move |store| {
            store.container(&id)?;
            store.status_logs(&id, window.limit, window.offset, newest_first)
        })
        .await?;
    ok("Status logs", StatusLogs { logs, pagination: page.of(total) })
}
