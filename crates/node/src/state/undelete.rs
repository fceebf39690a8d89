//! Deleted containers that can be had back.
//!
//! Their row stays, in state `deleted`, but gives up what must be free at once: its name (it keeps
//! `deleted:<id>`, which nobody else can have), its ssh key and its address. [`Store::container`]
//! does not find it; [`Store::any_container`] does.

use rusqlite::{OptionalExtension, Transaction, params};

use super::containers::{self, ContainerRow};
use super::events::{self, NewEvent};
use super::journal::{self, Kind};
use super::transitions::{self, Transition};
use super::{Error, Result, Store, addresses, column, json};
use crate::clock;
use cowl_api::container::{ContainerState, Warning};
use cowl_api::event::Event;
use cowl_api::{ContainerId, ProjectId};

/// What a deleted container gave up.
struct Grave {
    project: ProjectId,
    name: String,
    key: Option<String>,
    state: String,
    warnings: Vec<Warning>,
}

fn grave(tx: &Transaction<'_>, id: &ContainerId) -> Result<Grave> {
    tx.query_row(
        "SELECT project_id, deleted_name, deleted_key, deleted_state, warnings FROM containers
         WHERE id = ?1 AND state = 'deleted'",
        [id.as_str()],
        |r| {
            Ok(Grave {
                project: column(r, "project_id")?,
                name: r.get("deleted_name")?,
                key: r.get("deleted_key")?,
                state: r.get::<_, Option<String>>("deleted_state")?.unwrap_or_default(),
                warnings: json(r, "warnings")?,
            })
        },
    )
    .optional()?
    .ok_or(Error::NotFound("deleted container"))
}

impl Store {
    /// One container, a deleted one, too.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn any_container(&self, id: &ContainerId) -> Result<ContainerRow> {
        self.read(|c| containers::one(c, id))
    }

    /// Writes that a container is about to be put away: `deleting`, and what it was before.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn begin_burial(&self, id: &ContainerId) -> Result<Option<Event>> {
        self.write(|tx| {
            // When it is repeated after a crash, the state before is known already.
            tx.execute(
                "UPDATE containers SET deleted_state = state WHERE id = ?1 AND state <> 'deleting'",
                [id.as_str()],
            )?;
            journal::begin(tx, id, Kind::Bury, "stop", &serde_json::json!({}))?;
            transitions::apply(tx, id, &Transition::to(ContainerState::Deleting, "api"))
        })
    }

    /// Writes that a container is put away until `purge_at`: name, key and address are free.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn bury(&self, id: &ContainerId, purge_at: &str) -> Result<Option<Event>> {
        self.write(|tx| {
            addresses::free(tx, id)?;
            tx.execute(
                "UPDATE containers SET deleted_name = name, name = 'deleted:' || id, deleted_key = ssh_public_key,
                    ssh_public_key = NULL, deleted_at = ?2, purge_at = ?3
                 WHERE id = ?1 AND deleted_name IS NULL",
                [id.as_str(), &clock::now(), purge_at],
            )?;
            let t = Transition { ends_operation: true, ..Transition::to(ContainerState::Deleted, "api") };
            transitions::apply(tx, id, &t)
        })
    }

    /// Takes a container back, under its own name or another. True when it is to be started, which
    /// the journal has. A key that another container has by now stays away, with a warning.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not deleted, [`Error::Conflict`] when its name is taken or its
    /// project is full.
    pub fn undelete(&self, id: &ContainerId, name: Option<&str>) -> Result<(bool, Vec<Event>)> {
        self.write(|tx| {
            let mut was = grave(tx, id)?;
            containers::room_in_project(tx, &was.project)?;
            let index = addresses::lease(tx, id)?;
            let taken = "SELECT 1 FROM containers WHERE ssh_public_key = ?1";
            if let Some(key) = &was.key
                && tx.query_row(taken, [key], |_| Ok(())).optional()?.is_some()
            {
                was.key = None;
                let message = "its ssh_public_key belongs to another container by now".to_owned();
                was.warnings.push(Warning { kind: "ssh_key_taken".into(), message });
            }
            let name = name.unwrap_or(&was.name);
            tx.execute(
                "UPDATE containers SET name = ?2, ssh_public_key = ?3, address_idx = ?4, warnings = ?5,
                    deleted_name = NULL, deleted_key = NULL, deleted_state = NULL, deleted_at = NULL, purge_at = NULL
                 WHERE id = ?1",
                params![id.as_str(), name, was.key, index, containers::text(&was.warnings)],
            )
            .map_err(|e| match containers::explain(e) {
                Error::Conflict(said) => Error::Conflict(format!("{said}; give it another one to have it back")),
                other => other,
            })?;
            let starts = matches!(was.state.as_str(), "running" | "paused");
            if starts {
                journal::begin(tx, id, Kind::Restart, "start", &serde_json::json!({}))?;
            }
            let to = if was.state == "asleep" { ContainerState::Asleep } else { ContainerState::Stopped };
            let moved = transitions::apply(tx, id, &Transition::to(to, "api"))?;
            let data = serde_json::json!({ "name": name, "status": to.as_str() });
            let told = events::insert(tx, NewEvent::container("container.undeleted", was.project, *id, data))?;
            Ok((starts, moved.into_iter().chain([told]).collect()))
        })
    }

    /// Deleted containers and when each is to be gone, the next first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn purges(&self) -> Result<Vec<(ContainerId, String)>> {
        self.read(|c| {
            let mut query =
                c.prepare("SELECT id, purge_at FROM containers WHERE state = 'deleted' ORDER BY purge_at")?;
            let rows = query.query_map([], |r| Ok((column(r, "id")?, r.get("purge_at")?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::containers::NewContainer;
    use super::*;

    const LATER: &str = "2030-01-01T00:00:00.000Z";

    fn new(name: &str) -> NewContainer {
        NewContainer { ssh_public_key: Some("ssh-ed25519 A".into()), ..crate::tests::plain(name) }
    }

    fn world(most: u32) -> (tempfile::TempDir, Store, ProjectId, ContainerId) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).unwrap();
        let project = store.create_project("demo", "#FFF", Some(most), &Default::default()).unwrap().0.id;
        let id = store.create_container(&project, &new("web")).unwrap().0.id;
        store.transition(&id, &Transition::to(ContainerState::Running, "api")).unwrap();
        store.begin_burial(&id).unwrap();
        (dir, store, project, id)
    }

    #[test]
    fn what_a_deleted_container_had_is_free_at_once_and_comes_back() {
        let (_dir, store, _, id) = world(1);
        let address = store.container(&id).unwrap().address_index;
        // A crash may repeat either step.
        store.begin_burial(&id).unwrap();
        store.bury(&id, LATER).unwrap();
        assert!(store.bury(&id, LATER).unwrap().is_none());
        assert!(matches!(store.container(&id), Err(Error::NotFound(_))));
        let row = store.any_container(&id).unwrap();
        assert_eq!((row.name.as_str(), row.state, row.ssh_public_key), ("web", ContainerState::Deleted, None));
        assert_eq!(row.purge_at.as_deref(), Some(LATER));
        assert_eq!(store.purges().unwrap(), [(id, LATER.to_owned())]);
        assert!(store.container_counts().unwrap().is_empty());
        let (starts, _) = store.undelete(&id, None).unwrap();
        let row = store.container(&id).unwrap();
        assert!(starts && row.address_index != address && row.purge_at.is_none() && row.deleted_at.is_none());
        assert_eq!((row.name.as_str(), row.ssh_public_key.as_deref()), ("web", Some("ssh-ed25519 A")));
        assert_eq!(store.operations().unwrap()[0].kind, Kind::Restart);
        assert!(matches!(store.undelete(&id, None), Err(Error::NotFound(_))));
    }

    #[test]
    fn a_name_or_key_that_is_taken_meanwhile_and_a_full_project_are_told() {
        let (_dir, store, project, id) = world(2);
        store.bury(&id, LATER).unwrap();
        store.create_container(&project, &new("web")).unwrap();
        let said = store.undelete(&id, None).unwrap_err().to_string();
        assert!(said.contains("another one"), "{said}");
        store.undelete(&id, Some("web-2")).unwrap();
        let row = store.container(&id).unwrap();
        assert_eq!((row.name.as_str(), row.ssh_public_key), ("web-2", None));
        assert_eq!(row.warnings[0].kind, "ssh_key_taken");
        store.begin_burial(&id).unwrap();
        store.bury(&id, LATER).unwrap();
        let other = NewContainer { ssh_public_key: None, ..new("other") };
        store.create_container(&project, &other).unwrap();
        assert!(store.undelete(&id, None).unwrap_err().to_string().contains("at most 2"));
        assert_eq!(store.any_container(&id).unwrap().state, ContainerState::Deleted, "nothing was half done");
    }
}
