//! `/api/v1/containers/{id}/env`: variables of sessions. A running container gets a change with its
//! next start; `synced` says whether that is still to come.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;

use super::extract::{Body, Params, container_id};
use super::reply::{Reply, ok};
use super::{NodeState, checks, put_or_patch};
use crate::state;
use cowl_api::ContainerId;
use cowl_api::container::ContainerState;

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/containers/{id}/env", put_or_patch(set_all).get(list))
        .route("/api/v1/containers/{id}/env/{key}", put_or_patch(set).delete(remove))
}

/// Variables after a change.
#[derive(Debug, serde::Serialize)]
struct Env {
    environment_vars: BTreeMap<String, String>,
    /// Whether what runs has them; a stopped container gets them when it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    synced: Option<bool>,
}

#[derive(Debug, serde::Deserialize)]
struct Value {
    value: String,
}

async fn list(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<Env> {
    let id = container_id(&id)?;
    let row = node.db(move |store| store.container(&id)).await?;
    ok("Environment variables", Env { environment_vars: row.env, synced: None })
}

async fn change(
    node: NodeState,
    id: ContainerId,
    f: impl FnOnce(&mut BTreeMap<String, String>) -> state::Result<()> + Send + 'static,
) -> Reply<Env> {
    let (env, running) = node
        .db(move |store| {
            let env = store.change_env(&id, f)?;
            let state = store.container(&id)?.state;
            Ok((env, matches!(state, ContainerState::Running | ContainerState::Paused)))
        })
        .await?;
    let message = if running {
        "Environment variables changed; running sessions get them after the next start"
    } else {
        "Environment variables changed"
    };
    ok(message, Env { environment_vars: env, synced: Some(!running) })
}

async fn set_all(
    State(node): State<NodeState>,
    Params(id): Params<String>,
    body: Body<BTreeMap<String, String>>,
) -> Reply<Env> {
    let id = container_id(&id)?;
    checks::environment(&body.value)?;
    change(node, id, move |env| {
        *env = body.value;
        Ok(())
    })
    .await
}

async fn set(
    State(node): State<NodeState>,
    Params((id, key)): Params<(String, String)>,
    body: Body<Value>,
) -> Reply<Env> {
    let id = container_id(&id)?;
    checks::variable_name(&key)?;
    checks::variable_value(&key, &body.value.value)?;
    change(node, id, move |env| {
        env.insert(key, body.value.value);
        Ok(())
    })
    .await
}

async fn remove(State(node): State<NodeState>, Params((id, key)): Params<(String, String)>) -> Reply<Env> {
    let id = container_id(&id)?;
    change(node, id, move |env| match env.remove(&key) {
        Some(_) => Ok(()),
        None => Err(state::Error::NotFound("variable")),
    })
    .await
}
