//! `/api/v1/containers/{id}/snapshots`.

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::extract::{Body, Params, container_id};
use super::reply::{Failure, Reply, created, ok};
use super::{NodeState, put_or_patch};
use crate::api::envelope::FieldError;
use crate::api::snapshot::{
    CreateSnapshot, EXPIRY_DAYS, SnapshotAlias, SnapshotCreated, SnapshotList, SnapshotRestored,
};
use crate::api::{ApiError, names};
use crate::node::clock;
use crate::node::lifecycle::{Done, Wish};
use crate::node::snapshots::SIZE_AGE_MS;

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/containers/{id}/snapshots", get(list).post(create))
        .route("/api/v1/containers/{id}/snapshots/{name}", put_or_patch(restore).get(one).delete(remove))
        .route("/api/v1/containers/{id}/snapshots/{name}/alias", put_or_patch(set_alias))
}

/// Checks an expiry: a whole number of days. A string of digits is none.
fn expiry_days(value: &serde_json::Value) -> Result<Option<u32>, FieldError> {
    if value.is_null() {
        return Ok(None);
    }
    let (least, most) = (EXPIRY_DAYS.start(), EXPIRY_DAYS.end());
    let days = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| EXPIRY_DAYS.contains(n));
    days.map(Some).ok_or_else(|| FieldError::new("/expiry", format!("must be a whole number of days, {least}–{most}")))
}

/// The engine of a driver answered something it cannot have been asked.
fn unexpected(done: &Done) -> Failure {
    Failure(ApiError::internal(format!("unexpected answer {done:?}")))
}

async fn list(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<SnapshotList> {
    let id = container_id(&id)?;
    let (row, snapshots) = node.db(move |store| Ok((store.container(&id)?, store.snapshots(&id)?))).await?;
    crate::node::snapshots::refresh_sizes(&node, id, SIZE_AGE_MS);
    let list = SnapshotList {
        container_id: id,
        project_id: row.project_id,
        snapshot_count: snapshots.len() as u64,
        max_snapshots: None,
        snapshots,
    };
    ok("Snapshots", list)
}

async fn create(
    State(node): State<NodeState>,
    Params(id): Params<String>,
    body: Body<CreateSnapshot>,
) -> Reply<SnapshotCreated> {
    let id = container_id(&id)?;
    let row = node.db(move |store| store.container(&id)).await?;
    let alias = body.value.alias.filter(|_| body.sent.get("alias").is_some_and(|a| !a.is_null()));
    if let Some(alias) = &alias {
        names::snapshot_alias(alias)?;
    }
    let days = body.value.expiry.as_ref().map_or(Ok(None), expiry_days)?;
    let wish = Wish::Snapshot { alias, expires_at: days.map(clock::in_days) };
    match node.ask(&id, wish).await? {
        Done::Snapshot(snapshot) => {
            crate::node::snapshots::refresh_sizes(&node, id, SIZE_AGE_MS);
            let message = format!("Snapshot {} created", snapshot.name);
            created(message, SnapshotCreated { container_id: id, project_id: row.project_id, snapshot })
        }
        other => Err(unexpected(&other)),
    }
}

async fn one(State(node): State<NodeState>, Params((id, name)): Params<(String, String)>) -> Reply<SnapshotCreated> {
    let id = container_id(&id)?;
    let (row, snapshot) = node.db(move |store| Ok((store.container(&id)?, store.snapshot(&id, &name)?))).await?;
    ok("Snapshot", SnapshotCreated { container_id: id, project_id: row.project_id, snapshot })
}

async fn restore(
    State(node): State<NodeState>,
    Params((id, name)): Params<(String, String)>,
) -> Reply<SnapshotRestored> {
    let id = container_id(&id)?;
    match node.ask(&id, Wish::Restore(name)).await? {
        Done::Restored { snapshot, safety } => {
            let message = format!("Restored to {}; restore {safety} to undo this", snapshot.name);
            let restored =
                SnapshotRestored { success: true, message: message.clone(), snapshot, safety_snapshot: Some(safety) };
            ok(message, restored)
        }
        other => Err(unexpected(&other)),
    }
}

async fn remove(
    State(node): State<NodeState>,
    Params((id, name)): Params<(String, String)>,
) -> Reply<serde_json::Value> {
    let id = container_id(&id)?;
    let row = node.db(move |store| store.container(&id)).await?;
    match node.ask(&id, Wish::DeleteSnapshot(name)).await? {
        Done::Snapshot(snapshot) => {
            let data = serde_json::json!({
                "container_id": id, "project_id": row.project_id, "snapshot_name": snapshot.name
            });
            ok(format!("Snapshot {} deleted", snapshot.name), data)
        }
        other => Err(unexpected(&other)),
    }
}

async fn set_alias(
    State(node): State<NodeState>,
    Params((id, name)): Params<(String, String)>,
    body: Body<SnapshotAlias>,
) -> Reply<SnapshotCreated> {
    let id = container_id(&id)?;
    if !body.sent.contains_key("alias") {
        return Err(FieldError::new("/alias", "is required: a name, or null to remove it").into());
    }
    if let Some(alias) = &body.value.alias {
        names::snapshot_alias(alias)?;
    }
    let (row, snapshot, event) = node
        .db(move |store| {
            let row = store.container(&id)?;
            let found = store.snapshot(&id, &name)?;
            let (snapshot, event) = store.set_snapshot_alias(&id, &found.name, body.value.alias.as_deref())?;
            Ok((row, snapshot, event))
        })
        .await?;
    node.bus.tell(event);
    ok("Alias changed", SnapshotCreated { container_id: id, project_id: row.project_id, snapshot })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_whole_number_of_days_in_range() {
        use serde_json::json;
        assert_eq!(expiry_days(&json!(null)), Ok(None));
        assert_eq!(expiry_days(&json!(1)), Ok(Some(1)));
        assert_eq!(expiry_days(&json!(3650)), Ok(Some(3650)));
        for bad in [json!(0), json!(3651), json!(-1), json!("7"), json!(1.5), json!(true), json!([7]), json!(u64::MAX)]
        {
            assert_eq!(expiry_days(&bad).unwrap_err().instance_path, "/expiry", "{bad}");
        }
    }
}
