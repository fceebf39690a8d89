//! `POST /api/v1/containers/{id}/{operation}`, and the operations that are not built.

use axum::Router;
use axum::extract::State;
use axum::routing::{any, post};

use super::NodeState;
use super::extract::{Params, container_id};
use super::reply::{Failure, Reply, ok};
use crate::lifecycle::{Done, Wish};
use cowl_api::ApiError;
use cowl_api::container::{Operation, OperationReply};
use cowl_api::envelope::FieldError;

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    let mut router = Router::new()
        .route("/api/v1/containers/{id}/{operation}", post(operate).fallback(super::unknown))
        .route("/api/v1/containers/{id}/authorize", post(authorize));
    for (path, what) in [("kvm", "virtual machines"), ("proxy/{*rest}", "proxy permissions and hooks")] {
        let answer = move |State(node): State<NodeState>, Params(id): Params<Id>| not_built(node, id, what);
        router = router.route(&format!("/api/v1/containers/{{id}}/{path}"), any(answer));
    }
    router
}

#[derive(serde::Deserialize)]
struct Id {
    id: String,
}

async fn not_built(node: NodeState, id: Id, what: &'static str) -> Result<(), Failure> {
    let id = container_id(&id.id)?;
    node.db(move |store| store.container(&id)).await?;
    Err(Failure::not_built(what))
}

async fn authorize(State(node): State<NodeState>, Params(id): Params<String>) -> Result<(), Failure> {
    let id = container_id(&id)?;
    node.db(move |store| store.container(&id)).await?;
    Err(ApiError::new(503, "no signing key: container claims are not built yet").into())
}

async fn operate(State(node): State<NodeState>, Params((id, word)): Params<(String, String)>) -> Reply<OperationReply> {
    let id = container_id(&id)?;
    let row = node.db(move |store| store.container(&id)).await?;
    let operation = Operation::parse(&word).ok_or_else(|| {
        FieldError::new("/operation", "must be start, stop, force-stop, restart, pause, resume, sleep or wake")
    })?;
    let status = match node.ask(&id, Wish::Operate(operation)).await? {
        Done::State(status) => status,
        _ => row.state,
    };
    let message = format!("Container {} is {status}", row.name);
    let reply = OperationReply {
        operation: word,
        container_id: id,
        project_id: row.project_id,
        status,
        message: message.clone(),
    };
    ok(message, reply)
}
