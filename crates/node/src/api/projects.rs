//! `/api/v1/projects`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::extract::{Asked, Body, Params, project_id};
use super::reply::{Reply, created, ok};
use super::{NodeState, put_or_patch};
use cowl_api::container::ContainerState;
use cowl_api::project::{CreateProject, ProjectList, UpdateProject};
use cowl_api::stats::ProjectStats;
use cowl_api::{Project, names, settings};

const SORT: [(&str, &str); 5] =
    [("id", "id"), ("name", "alias"), ("alias", "alias"), ("created_at", "created_at"), ("updated_at", "updated_at")];

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/projects", get(list).post(create))
        .route("/api/v1/projects/{id}", put_or_patch(update).get(one).delete(remove))
        .route("/api/v1/projects/{id}/stats", get(stats))
}

/// A random colour, as things without one get.
pub fn random_color() -> String {
    let [r, g, b]: [u8; 3] = rand::random();
    format!("#{r:02X}{g:02X}{b:02X}")
}

async fn list(State(node): State<NodeState>, asked: Asked) -> Reply<ProjectList> {
    let page = asked.page(20, 100, &SORT)?;
    let window = page.window.clone();
    let (projects, total) = node.db(move |store| store.projects(&window)).await?;
    ok("Projects", ProjectList { projects, pagination: page.of(total) })
}

async fn create(State(node): State<NodeState>, body: Body<CreateProject>) -> Reply<Project> {
    let new = body.value;
    names::project_alias(&new.alias)?;
    let color = new.color.as_deref().map_or_else(|| Ok(random_color()), names::color)?;
    let settings = settings::given(new.settings.as_ref())?;
    let (project, event) =
        node.db(move |store| store.create_project(&new.alias, &color, new.max_containers, &settings)).await?;
    node.bus.tell(event);
    created("Project created", project)
}

async fn one(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<Project> {
    let id = project_id(&id)?;
    ok("Project", node.db(move |store| store.project(&id)).await?)
}

async fn update(
    State(node): State<NodeState>,
    Params(id): Params<String>,
    body: Body<UpdateProject>,
) -> Reply<Project> {
    let id = project_id(&id)?;
    let mut change = body.value;
    if let Some(alias) = &change.alias {
        names::project_alias(alias)?;
    }
    change.color = change.color.as_deref().map(names::color).transpose()?;
    let limits = change.settings.is_some();
    let (mut project, event) = node.db(move |store| store.update_project(&id, &change)).await?;
    node.bus.tell(event);
    if limits {
        project.warnings = node.apply_project_settings(id).await?;
    }
    ok("Project updated", project)
}

async fn remove(State(node): State<NodeState>, Params(id): Params<String>, asked: Asked) -> Reply<serde_json::Value> {
    let id = project_id(&id)?;
    let with_items = asked.flag("include_deleted_items")?;
    node.db(move |store| store.project(&id)).await?;
    // The work goes on when the client leaves.
    let working = Arc::clone(&node);
    let deletion = node.tasks.spawn(async move { working.delete_project(id).await });
    let gone = deletion.await.map_err(cowl_api::ApiError::internal)??;
    let mut data = serde_json::json!({
        "id": id,
        "deleted": { "containers": gone.len(), "permissions": 0, "aliases": 0 },
    });
    if with_items {
        let items: Vec<_> = gone.iter().map(|(id, name)| serde_json::json!({ "id": id, "name": name })).collect();
        data["deleted_items"] = serde_json::json!({ "containers": items });
    }
    ok("Project deleted", data)
}

async fn stats(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<ProjectStats> {
    let id = project_id(&id)?;
    node.db(move |store| store.project(&id)).await?;
    let rows = node.db(|store| store.all_containers()).await?;
    let stats = futures_util::future::try_join_all(
        rows.into_iter()
            .filter(|row| row.project_id == id && row.state != ContainerState::Deleted)
            .map(|row| node.container_stats(row)),
    )
    .await?;
    ok("Project statistics", ProjectStats { stats })
}
