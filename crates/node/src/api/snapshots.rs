//! `/api/v1/containers/{id}/snapshots`.

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::extract::{Asked, Body, Params, container_id};
use super::reply::{Failure, Reply, created, ok};
use super::who::Who;
use super::{NodeState, put_or_patch, snapshot_facts};
use crate::clock;
use crate::lifecycle::{Done, Wish};
use crate::snapshots::SIZE_AGE_MS;
use crate::state::snapshots::NewSnapshot;
use cowl_api::envelope::FieldError;
use cowl_api::snapshot::{CreateSnapshot, EXPIRY_DAYS, SnapshotAlias, SnapshotCreated, SnapshotList, SnapshotRestored};
use cowl_api::{ApiError, names};

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/containers/{id}/snapshots", get(list).post(create))
        .route("/api/v1/containers/{id}/snapshots/{name}", put_or_patch(restore).get(one).delete(remove).post(undo))
        .route("/api/v1/containers/{id}/snapshots/{name}/alias", put_or_patch(set_alias))
}

/// Checks an expiry: a whole number of days. A string of digits is none.
pub(super) fn expiry_days(value: &serde_json::Value) -> Result<Option<u32>, FieldError> {
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
    crate::snapshots::refresh_sizes(&node, id, SIZE_AGE_MS);
    let list = SnapshotList {
        container_id: id,
        project_id: row.project_id,
        snapshot_count: snapshots.len() as u64,
        max_snapshots: row.effective_settings().max_snapshots.map(u64::from),
        snapshots,
    };
    ok("Snapshots", list)
}

async fn create(
    State(node): State<NodeState>,
    Params(id): Params<String>,
    Who(created_by): Who,
    body: Body<CreateSnapshot>,
) -> Reply<SnapshotCreated> {
    let id = container_id(&id)?;
    let row = node.db(move |store| store.container(&id)).await?;
    let alias = body.value.alias.filter(|_| body.sent.get("alias").is_some_and(|a| !a.is_null()));
    if let Some(alias) = &alias {
        names::snapshot_alias(alias)?;
    }
    let days = body.value.expiry.as_ref().map_or(Ok(None), expiry_days)?;
    let note = body.value.note;
    snapshot_facts::check_note(note.as_deref())?;
    let new = NewSnapshot {
        alias,
        replace: body.value.replace.unwrap_or(false),
        expires_at: days.map(clock::in_days),
        note,
        pinned: body.value.pinned.unwrap_or(false),
        created_by,
        ..Default::default()
    };
    match node.ask(&id, Wish::Snapshot(new)).await? {
        Done::Snapshot(snapshot) => {
            crate::snapshots::refresh_sizes(&node, id, SIZE_AGE_MS);
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
    put_back(&node, &id, Wish::Restore(name)).await
}

/// `POST …/snapshots/undo`. A snapshot may be called `undo`, which the other methods find.
async fn undo(State(node): State<NodeState>, Params((id, name)): Params<(String, String)>) -> Reply<SnapshotRestored> {
    if name != "undo" {
        let message = "a snapshot takes no POST: PUT restores it, and POST …/snapshots/undo undoes a restore";
        return Err(Failure(ApiError::new(405, message)));
    }
    put_back(&node, &id, Wish::Undo).await
}

async fn put_back(node: &NodeState, id: &str, wish: Wish) -> Reply<SnapshotRestored> {
    let id = container_id(id)?;
    match node.ask(&id, wish).await? {
        Done::Restored { snapshot, safety } => {
            let message = format!("Restored to {}; POST …/snapshots/undo takes this back", snapshot.name);
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
    asked: Asked,
) -> Reply<serde_json::Value> {
    let id = container_id(&id)?;
    let row = node.db(move |store| store.container(&id)).await?;
    let wish = if asked.flag("force")? { Wish::ForceDeleteSnapshot(name) } else { Wish::DeleteSnapshot(name) };
    match node.ask(&id, wish).await? {
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
