//! Containers that come from an archive.

use rusqlite::params;

use super::containers::{self, ContainerRow, NewContainer};
use super::events::{self, NewEvent};
use super::journal::{self, Kind};
use super::{Error, Result, Store};
use crate::clock;
use cowl_api::event::Event;
use cowl_api::{ContainerId, ProjectId};

/// A container that is about to be put in place.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// What it is like.
    pub new: NewContainer,
    /// The image its disk is made from.
    pub image_id: String,
    /// Names of the snapshots that come with it, oldest first.
    pub snapshots: Vec<String>,
    /// Whether it is to run.
    pub wanted: bool,
}

impl Store {
    /// Whether a container of this name could be made in a project now.
    ///
    /// # Errors
    /// [`Error::NotFound`] without that project, [`Error::Conflict`].
    pub fn check_room(&self, project: &ProjectId, name: &str) -> Result<()> {
        self.write(|tx| {
            containers::room_in_project(tx, project)?;
            let taken = tx.query_row(
                "SELECT count(*) FROM containers WHERE project_id = ?1 AND name = ?2",
                [project.as_str(), name],
                |r| r.get::<_, u32>(0),
            )?;
            if taken > 0 {
                return Err(Error::Conflict("a container with this name exists already in the project".into()));
            }
            Ok(())
        })
    }

    /// Writes down a container that is unpacked, before it is put in place: its row in state
    /// `creating`, its snapshots, and the journal's `import`.
    ///
    /// # Errors
    /// As for creating one.
    pub fn create_imported(
        &self,
        project: &ProjectId,
        id: &ContainerId,
        imported: &Imported,
    ) -> Result<(ContainerRow, Event)> {
        let event = self.write(|tx| {
            containers::insert(tx, project, id, &imported.new)?;
            tx.execute(
                "UPDATE containers SET image_id = ?2, wanted = ?3 WHERE id = ?1",
                params![id.as_str(), imported.image_id, imported.wanted],
            )?;
            journal::begin(tx, id, Kind::Import, "place", &serde_json::json!({}))?;
            for name in &imported.snapshots {
                tx.execute(
                    "INSERT INTO snapshots (container_id, name, kind, state, created_at)
                     VALUES (?1, ?2, 'user', 'ready', ?3)",
                    params![id.as_str(), name, clock::now()],
                )?;
            }
            let data = serde_json::json!({ "name": imported.new.name, "status": "creating", "imported": true });
            events::insert(tx, NewEvent::container("container.creating", *project, *id, data))
        })?;
        Ok((self.container(id)?, event))
    }
}
