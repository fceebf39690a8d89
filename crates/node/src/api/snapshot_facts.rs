//! `/api/v1/containers/{id}/snapshots/{name}/note`, `/pin` and `/expiry`. A PUT of the snapshot itself is a
//! restore.

use axum::Router;
use axum::extract::State;

use super::extract::{Body, Params, container_id};
use super::reply::{Reply, ok};
use super::snapshots::expiry_days;
use super::{NodeState, put_or_patch};
use crate::clock;
use crate::state::snapshot_facts::Change;
use cowl_api::envelope::FieldError;
use cowl_api::names;
use cowl_api::snapshot::{NOTE_MAX, SnapshotCreated, SnapshotExpiry, SnapshotNote, SnapshotPin};

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/containers/{id}/snapshots/{name}/note", put_or_patch(set_note))
        .route("/api/v1/containers/{id}/snapshots/{name}/pin", put_or_patch(set_pin))
        .route("/api/v1/containers/{id}/snapshots/{name}/expiry", put_or_patch(set_expiry))
}

/// Checks a note: at most [`NOTE_MAX`] characters, none of them a control character.
///
/// # Errors
/// Names the field `note`.
pub(super) fn check_note(note: Option<&str>) -> Result<(), FieldError> {
    names::at_most("/note", note, NOTE_MAX)?;
    match note {
        Some(text) if text.chars().any(char::is_control) => {
            Err(FieldError::new("/note", "must not hold control characters"))
        }
        _ => Ok(()),
    }
}

/// Container and snapshot of a path; the snapshot by name or alias.
type Of = Params<(String, String)>;

async fn change(node: NodeState, of: Of, change: Change, said: &'static str) -> Reply<SnapshotCreated> {
    let Params((id, name)) = of;
    let id = container_id(&id)?;
    let (row, snapshot, event) = node
        .db(move |store| {
            let row = store.container(&id)?;
            let found = store.snapshot(&id, &name)?;
            let (snapshot, event) = store.change_snapshot(&id, &found.name, &change)?;
            Ok((row, snapshot, event))
        })
        .await?;
    node.bus.tell(event);
    ok(said, SnapshotCreated { container_id: id, project_id: row.project_id, snapshot })
}

async fn set_note(State(node): State<NodeState>, of: Of, body: Body<SnapshotNote>) -> Reply<SnapshotCreated> {
    if !body.sent.contains_key("note") {
        return Err(FieldError::new("/note", "is required: a text, or null to remove it").into());
    }
    check_note(body.value.note.as_deref())?;
    change(node, of, Change::Note(body.value.note), "Note changed").await
}

async fn set_pin(State(node): State<NodeState>, of: Of, body: Body<SnapshotPin>) -> Reply<SnapshotCreated> {
    change(node, of, Change::Pin(body.value.pinned), "Pin changed").await
}

async fn set_expiry(State(node): State<NodeState>, of: Of, body: Body<SnapshotExpiry>) -> Reply<SnapshotCreated> {
    if !body.sent.contains_key("expiry") {
        return Err(FieldError::new("/expiry", "is required: a number of days, or null for none").into());
    }
    let days = body.value.expiry.as_ref().map_or(Ok(None), expiry_days)?;
    change(node, of, Change::Expiry(days.map(clock::in_days)), "Expiry changed").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_short_and_plain() {
        assert!(check_note(None).is_ok() && check_note(Some("")).is_ok());
        assert!(check_note(Some(&"é".repeat(NOTE_MAX))).is_ok());
        for bad in ["x".repeat(NOTE_MAX + 1), "a\nb".into(), "\u{1b}[31m".into(), "\u{0}".into(), "\u{85}".into()] {
            assert_eq!(check_note(Some(&bad)).unwrap_err().instance_path, "/note", "{bad:?}");
        }
    }
}
