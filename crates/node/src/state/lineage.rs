//! What was copied from what, and when; the rows of copies.

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::containers::{NewContainer, explain, room_in_project, text};
use super::events::{self, NewEvent};
use super::journal::{self, Kind};
use super::{Result, Store, addresses, column, containers::ContainerRow};
use crate::clock;
use cowl_api::event::Event;
use cowl_api::lineage::{KinSnapshot, Origin};
use cowl_api::{ContainerId, ProjectId};

/// What a copy is to be made from.
#[derive(Debug, Clone)]
pub struct NewCopy {
    /// `copy` or `branch`.
    pub kind: &'static str,
    /// The source.
    pub source: ContainerRow,
    /// Name of the source's snapshot and when it was taken; the present state when `None`.
    pub snapshot: Option<(String, String)>,
    /// Whether its snapshots come along.
    pub copy_snapshots: bool,
    /// Whether its firewall rules come along.
    pub copy_firewall_rules: bool,
    /// Whether its egress configuration comes along.
    pub copy_network_rules: bool,
    /// Whether it is started when it is made.
    pub start: bool,
}

/// One line of descent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descent {
    /// What came from another; it may be gone.
    pub id: ContainerId,
    /// Its name, or the last it had.
    pub name: String,
    /// From what.
    pub origin: Origin,
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Descent> {
    Ok(Descent {
        id: column(row, "container_id")?,
        name: row.get("name")?,
        origin: Origin {
            kind: row.get("kind")?,
            source_id: column(row, "source_id")?,
            source_name: row.get("source_name")?,
            source_snapshot: row.get("source_snapshot")?,
            taken_at: row.get("taken_at")?,
            synced_at: row.get("synced_at")?,
        },
    })
}

/// Forgets copies that are gone and that nothing came from, until only those are left that
/// something did.
fn prune(tx: &Transaction<'_>) -> Result<()> {
    let sql = "DELETE FROM lineage WHERE container_id NOT IN (SELECT id FROM containers)
               AND container_id NOT IN (SELECT source_id FROM lineage)";
    while tx.execute(sql, [])? > 0 {}
    Ok(())
}

impl Store {
    /// Writes a copy down: its row in state `copying` with what it takes from its source's, its
    /// address, its descent, its first status log, its event and the journal's `copy`.
    ///
    /// # Errors
    /// `NotFound` without that project, `Conflict` when it is full or a name or key is taken.
    pub fn copy_container(
        &self,
        project: &ProjectId,
        new: &NewContainer,
        copy: &NewCopy,
    ) -> Result<(ContainerRow, Event)> {
        let (id, now, source) = (ContainerId::generate(), clock::now(), &copy.source);
        let (snapshot, taken_at) = match &copy.snapshot {
            Some((name, at)) => (Some(name.clone()), at.clone()),
            None => (None, now.clone()),
        };
        let event = self.write(|tx| {
            room_in_project(tx, project)?;
            let index = addresses::lease(tx, &id)?;
            tx.execute(
                "INSERT INTO containers (id, project_id, name, color, tier, image_id, hoody_kit, dev_kit, ai, autostart,
                    ramdisk, ramdisk_scope, is_default, state, wanted, env, ssh_public_key, comment,
                    source_container_id, address_idx, warnings, created_at, updated_at, state_since_ms, settings)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, 'copying', ?13, ?14, ?15, ?16, ?17, ?18,
                    ?19, ?20, ?20, ?21, ?22)",
                params![
                    id.as_str(),
                    project.as_str(),
                    new.name,
                    new.color,
                    new.tier,
                    source.image_id,
                    new.hoody_kit,
                    new.dev_kit,
                    new.ai,
                    new.autostart,
                    new.ramdisk,
                    source.ramdisk_scope,
                    copy.start,
                    text(&new.env),
                    new.ssh_public_key,
                    new.comment,
                    source.id.as_str(),
                    index,
                    text(&new.warnings),
                    now,
                    clock::now_ms(),
                    text(&new.settings)
                ],
            )
            .map_err(explain)?;
            if copy.copy_firewall_rules {
                tx.execute(
                    "INSERT INTO firewall_rules (container_id, direction, enabled, rule)
                     SELECT ?1, direction, enabled, rule FROM firewall_rules WHERE container_id = ?2 ORDER BY seq",
                    [id.as_str(), source.id.as_str()],
                )?;
            }
            if copy.copy_network_rules {
                tx.execute(
                    "UPDATE containers SET network = (SELECT network FROM containers WHERE id = ?2) WHERE id = ?1",
                    [id.as_str(), source.id.as_str()],
                )?;
            }
            prune(tx)?;
            tx.execute(
                "INSERT INTO lineage (container_id, name, kind, source_id, source_name, source_snapshot, taken_at,
                    created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![id.as_str(), new.name, copy.kind, source.id.as_str(), source.name, snapshot, taken_at, now],
            )?;
            let args = serde_json::json!({
                "source": source.id, "snapshot": snapshot, "copy_snapshots": copy.copy_snapshots, "start": copy.start
            });
            journal::begin(tx, &id, Kind::Copy, "disk", &args)?;
            tx.execute(
                "INSERT INTO status_logs (container_id, from_status, to_status, transition_time, triggered_by, metadata)
                 VALUES (?1, NULL, 'copying', ?2, 'api', '{}')",
                [id.as_str(), &now],
            )?;
            let data = serde_json::json!({
                "name": new.name, "status": "copying", "source_container_id": source.id, "source_snapshot": snapshot
            });
            events::insert(tx, NewEvent::container("container.copying", *project, id, data))
        })?;
        Ok((self.container(&id)?, event))
    }

    /// Writes that a container is about to get its source's snapshots, with all that is known of
    /// them; gives the names of those that are still to be made. Can be repeated.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn begin_snapshot_copies(&self, source: &ContainerId, id: &ContainerId) -> Result<Vec<String>> {
        self.write(|tx| {
            let mut query = tx.prepare("SELECT name FROM pragma_table_info('snapshots')")?;
            let columns = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
            // Everything is taken along but what is counted or happened to the copied one itself.
            let values = columns.iter().map(|column| match column.as_str() {
                "container_id" => "?1",
                "state" => "'creating'",
                "size" | "sized_at_ms" | "last_used_at" => "NULL",
                other => other,
            });
            let sql = format!(
                "INSERT OR IGNORE INTO snapshots ({}) SELECT {} FROM snapshots WHERE container_id = ?2
                 AND state = 'ready' ORDER BY created_at, rowid",
                columns.join(", "),
                values.collect::<Vec<_>>().join(", ")
            );
            tx.execute(&sql, [id.as_str(), source.as_str()])?;
            let mut left = tx.prepare("SELECT name FROM snapshots WHERE container_id = ?1 AND state = 'creating'")?;
            Ok(left.query_map([id.as_str()], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Writes that all snapshots of a container that were to be made exist.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn finish_snapshot_copies(&self, id: &ContainerId) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE snapshots SET state = 'ready' WHERE container_id = ?1 AND state = 'creating'",
                [id.as_str()],
            )?;
            Ok(())
        })
    }

    /// Where a container comes from.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn descent(&self, id: &ContainerId) -> Result<Option<Descent>> {
        self.read(|c| {
            Ok(c.query_row("SELECT * FROM lineage WHERE container_id = ?1", [id.as_str()], from_row).optional()?)
        })
    }

    /// All lines of descent, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn descents(&self) -> Result<Vec<Descent>> {
        self.read(|c| {
            let mut query = c.prepare("SELECT * FROM lineage ORDER BY created_at, rowid")?;
            Ok(query.query_map([], from_row)?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// All snapshots of all containers, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn all_snapshots(&self) -> Result<Vec<(ContainerId, KinSnapshot)>> {
        self.read(|c| {
            let mut query = c.prepare(
                "SELECT container_id, name, alias, created_at, size FROM snapshots WHERE state = 'ready'
                 ORDER BY created_at, rowid",
            )?;
            let rows = query.query_map([], |row| {
                let snapshot = KinSnapshot {
                    name: row.get("name")?,
                    alias: row.get("alias")?,
                    created_at: row.get("created_at")?,
                    size: row.get::<_, Option<u64>>("size")?.unwrap_or(0),
                    branches: Vec::new(),
                };
                Ok((column(row, "container_id")?, snapshot))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Writes that a copy has its source's present state.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn mark_synced(&self, id: &ContainerId) -> Result<()> {
        self.write(|tx| {
            let now = Value::Text(clock::now());
            tx.execute(
                "UPDATE lineage SET synced_at = ?2, taken_at = ?2, source_snapshot = NULL WHERE container_id = ?1",
                params![id.as_str(), now],
            )?;
            tx.execute(
                "UPDATE containers SET image_id = coalesce((SELECT s.image_id FROM containers s
                    WHERE s.id = containers.source_container_id), image_id) WHERE id = ?1",
                [id.as_str()],
            )?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::snapshots::NewSnapshot;
    use crate::tests::plain;
    use cowl_api::container::ContainerState;
    use cowl_api::container::UpdateContainer;

    fn copy_of(source: &ContainerRow) -> NewCopy {
        NewCopy {
            kind: "copy",
            source: source.clone(),
            snapshot: None,
            copy_snapshots: true,
            copy_firewall_rules: true,
            copy_network_rules: true,
            start: true,
        }
    }

    #[test]
    fn descent_is_kept_with_names_while_something_came_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).unwrap();
        let project = store.create_project("demo", "#FFF", None, &Default::default()).unwrap().0.id;
        let (first, _) = store.create_container(&project, &plain("first")).unwrap();
        let (second, event) = store.copy_container(&project, &plain("second"), &copy_of(&first)).unwrap();
        assert_eq!((second.state, second.source_container_id), (ContainerState::Copying, Some(first.id)));
        assert_eq!(event.event_type, "container.copying");
        assert_eq!(store.operation(&second.id).unwrap().unwrap().kind, Kind::Copy);
        let (third, _) = store.copy_container(&project, &plain("third"), &copy_of(&second)).unwrap();
        let renamed = UpdateContainer { name: Some("other".into()), ..Default::default() };
        store.update_container(&second.id, &renamed).unwrap();
        store.remove_container(&second.id).unwrap();
        store.remove_container(&first.id).unwrap();
        store.copy_container(&project, &plain("fourth"), &copy_of(&third)).unwrap();
        let descent = store.descent(&third.id).unwrap().unwrap();
        assert_eq!(descent.origin.source_name, "other");
        assert_eq!(store.descent(&second.id).unwrap().unwrap().name, "other");
        store.remove_container(&third.id).unwrap();
        let (fifth, _) = store.create_container(&project, &plain("fifth")).unwrap();
        let fourth = store.all_containers().unwrap().into_iter().find(|row| row.name == "fourth").unwrap();
        store.remove_container(&fourth.id).unwrap();
        store.copy_container(&project, &plain("sixth"), &copy_of(&fifth)).unwrap();
        assert_eq!(store.descents().unwrap().len(), 1, "what nothing came from is forgotten with its container");
    }

    #[test]
    fn snapshots_come_along_with_all_that_is_known_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).unwrap();
        let project = store.create_project("demo", "#FFF", None, &Default::default()).unwrap().0.id;
        let (source, _) = store.create_container(&project, &plain("source")).unwrap();
        let new = NewSnapshot {
            name: "snap".into(),
            alias: Some("gold".into()),
            kind: "user",
            expires_at: Some("2030-01-01T00:00:00.000Z".into()),
            ..Default::default()
        };
        store.begin_snapshot(&source.id, &new).unwrap();
        store.finish_snapshot(&source.id, "snap").unwrap();
        store
            .set_snapshot_size(&source.id, "snap", cowl_engine::storage::pool::DiskSize { exclusive: 5, referenced: 5 })
            .unwrap();
        let (copy, _) = store.copy_container(&project, &plain("copy"), &copy_of(&source)).unwrap();
        for _ in 0..2 {
            assert_eq!(store.begin_snapshot_copies(&source.id, &copy.id).unwrap(), ["snap"]);
        }
        store.finish_snapshot_copies(&copy.id).unwrap();
        let (theirs, ours) = (store.snapshot(&source.id, "gold").unwrap(), store.snapshot(&copy.id, "gold").unwrap());
        assert_eq!((ours.size, theirs.size), (0, 5));
        assert_eq!((&ours.created_at, &ours.expires_at), (&theirs.created_at, &theirs.expires_at));
        assert!(store.begin_snapshot_copies(&source.id, &copy.id).unwrap().is_empty());
    }
}
