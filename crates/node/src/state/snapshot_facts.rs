//! What may be changed of a snapshot that exists, and which one undoes the last restore.

use rusqlite::params;

use super::events::{self, NewEvent};
use super::projects::project_of;
use super::{Error, Result, Store, snapshots};
use cowl_api::event::Event;
use cowl_api::{ContainerId, Snapshot};

/// One change of a snapshot; checked already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Another note, or none.
    Note(Option<String>),
    /// Whether it is pinned.
    Pin(bool),
    /// When it will be removed; `None` is never.
    Expiry(Option<String>),
}

impl Store {
    /// Changes a snapshot, found by its name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn change_snapshot(&self, id: &ContainerId, name: &str, change: &Change) -> Result<(Snapshot, Event)> {
        self.write(|tx| {
            snapshots::one(tx, id, name)?;
            let of = "WHERE container_id = ?1 AND name = ?2";
            match change {
                Change::Note(note) => {
                    tx.execute(&format!("UPDATE snapshots SET note = ?3 {of}"), params![id.as_str(), name, note])
                }
                Change::Pin(on) => {
                    tx.execute(&format!("UPDATE snapshots SET pinned = ?3 {of}"), params![id.as_str(), name, on])
                }
                Change::Expiry(at) => {
                    tx.execute(&format!("UPDATE snapshots SET expires_at = ?3 {of}"), params![id.as_str(), name, at])
                }
            }?;
            let snapshot = snapshots::one(tx, id, name)?;
            let data = serde_json::json!({
                "name": name, "note": snapshot.note, "pinned": snapshot.pinned, "expires_at": snapshot.expires_at,
            });
            let project = project_of(tx, id)?;
            Ok((snapshot, events::insert(tx, NewEvent::container("container.snapshot.updated", project, *id, data))?))
        })
    }

    /// Name of the snapshot that undoes the last restore of a container.
    ///
    /// # Errors
    /// [`Error::Conflict`], in words for people, when there is nothing to undo any more or yet.
    pub fn undo_point(&self, id: &ContainerId) -> Result<String> {
        self.read(|c| {
            let (container, safety): (String, Option<String>) =
                c.query_row("SELECT name, undo_snapshot FROM containers WHERE id = ?1", [id.as_str()], |r| {
                    Ok((r.get(0)?, r.get(1)?))
                })?;
            let Some(safety) = safety else {
                let message = format!("nothing was restored in container {container}, so there is nothing to undo");
                return Err(Error::Conflict(message));
            };
            match snapshots::one(c, id, &safety) {
                Err(Error::NotFound(_)) => Err(Error::Conflict(format!(
                    "the last restore of container {container} cannot be undone: its snapshot {safety} was removed"
                ))),
                other => other.map(|snapshot| snapshot.name),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshots::NewSnapshot;
    use super::*;

    fn world() -> (tempfile::TempDir, Store, ContainerId) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).unwrap();
        let project = store.create_project("demo", "#FFF", None, &Default::default()).unwrap().0.id;
        let id = store.create_container(&project, &crate::tests::plain("web")).unwrap().0.id;
        (dir, store, id)
    }

    fn take(store: &Store, id: &ContainerId, name: &str) {
        let new = NewSnapshot { name: name.into(), ..Default::default() };
        let name = store.begin_snapshot(id, &new).unwrap();
        store.finish_snapshot(id, &name).unwrap();
    }

    #[test]
    fn note_pin_and_expiry_change_one_by_one_and_a_pin_guards() {
        let (_dir, store, id) = world();
        take(&store, &id, "one");
        store.change_snapshot(&id, "one", &Change::Note(Some("why".into()))).unwrap();
        let (s, event) = store.change_snapshot(&id, "one", &Change::Pin(true)).unwrap();
        assert_eq!((s.note.as_deref(), s.pinned), (Some("why"), true));
        assert_eq!(event.event_type, "container.snapshot.updated");
        assert!(matches!(store.begin_delete_snapshot(&id, "one", false), Err(Error::Conflict(_))));
        let (s, _) =
            store.change_snapshot(&id, "one", &Change::Expiry(Some("2030-01-01T00:00:00.000Z".into()))).unwrap();
        assert!(s.expires_at.is_some() && s.pinned);
        store.begin_delete_snapshot(&id, "one", true).unwrap();
        assert!(matches!(store.change_snapshot(&id, "one", &Change::Pin(false)), Err(Error::NotFound(_))));
    }

    #[test]
    fn an_undo_needs_a_restore_and_its_snapshot() {
        let (_dir, store, id) = world();
        let said = |store: &Store| store.undo_point(&id).unwrap_err().to_string();
        assert!(said(&store).contains("nothing was restored"));
        take(&store, &id, "one");
        take(&store, &id, "safety");
        store.mark_restored(&id, "one", "safety").unwrap();
        assert_eq!(store.undo_point(&id).unwrap(), "safety");
        store.forget_snapshot(&id, "safety", true).unwrap();
        assert!(said(&store).contains("was removed"));
    }
}
