//! Snapshots' rows. A row is written as `creating` before the subvolume is made and as `deleting`
//! before it is removed; only `ready` ones are shown.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::events::{self, NewEvent};
use super::projects::project_of;
use super::{Error, Result, Store, column, is_unique_violation};
use crate::clock;
use cowl_api::event::Event;
use cowl_api::{ContainerId, Snapshot};
use cowl_engine::storage::pool::DiskSize;

/// What a snapshot to be taken is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its name in its container; empty for one made of its kind and the time.
    pub name: String,
    /// A name a person gave.
    pub alias: Option<String>,
    /// Whether a snapshot that has the alias loses it to this one.
    pub replace: bool,
    /// `user`, `safety` or `schedule`.
    pub kind: &'static str,
    /// When it will be removed.
    pub expires_at: Option<String>,
    /// Free text.
    pub note: Option<String>,
    /// Whether it is kept whatever happens.
    pub pinned: bool,
    /// Who asked.
    pub created_by: String,
    /// Why, where that is not plain.
    pub reason: Option<String>,
    /// How many the container may have, safety snapshots apart.
    pub most: Option<u32>,
}

impl Default for NewSnapshot {
    fn default() -> Self {
        Self {
            name: String::new(),
            alias: None,
            replace: false,
            kind: "user",
            expires_at: None,
            note: None,
            pinned: false,
            created_by: "node".to_owned(),
            reason: None,
            most: None,
        }
    }
}

impl NewSnapshot {
    fn base_name(&self) -> String {
        match (self.name.as_str(), self.kind) {
            ("", "user") => format!("snap-{}", clock::stamp()),
            ("", kind) => format!("{kind}-{}", clock::stamp()),
            (name, _) => name.to_owned(),
        }
    }
}

/// A snapshot whose making or removal was interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedSnapshot {
    /// Its container.
    pub container: ContainerId,
    /// Its name.
    pub name: String,
    /// Whether it was being removed; else it was being made.
    pub deleting: bool,
}

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Snapshot> {
    Ok(Snapshot {
        name: row.get("name")?,
        alias: row.get("alias")?,
        created_at: row.get("created_at")?,
        last_used_at: row.get("last_used_at")?,
        expires_at: row.get("expires_at")?,
        stateful: false,
        size: row.get::<_, Option<u64>>("size")?.unwrap_or(0),
        kind: row.get("kind")?,
        note: row.get("note")?,
        pinned: row.get("pinned")?,
        created_by: row.get("created_by")?,
        reason: row.get("reason")?,
        referenced: row.get::<_, Option<u64>>("referenced")?.unwrap_or(0),
    })
}

fn alias_taken(alias: &str) -> Error {
    Error::Conflict(format!("another snapshot of this container has the alias {alias}"))
}

/// Refuses one more snapshot than a container may have.
fn room(c: &Connection, id: &ContainerId, most: u32) -> Result<()> {
    let (name, present): (String, u32) = c.query_row(
        "SELECT name, (SELECT count(*) FROM snapshots WHERE container_id = ?1 AND kind <> 'safety')
         FROM containers WHERE id = ?1",
        [id.as_str()],
        |r| Ok((r.get(0)?, r.get(1)?)),
    )?;
    if present < most {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "container {name} has {present} of at most {most} snapshots; delete one or raise max_snapshots"
    )))
}

/// Gives a snapshot that exists now the alias that waits for it; who loses it by that.
fn move_alias(c: &Connection, id: &ContainerId, name: &str) -> Result<Option<String>> {
    let find = "SELECT next_alias FROM snapshots WHERE container_id = ?1 AND name = ?2";
    let next: Option<String> = c.query_row(find, [id.as_str(), name], |r| r.get(0)).optional()?.flatten();
    let Some(alias) = next else { return Ok(None) };
    let before = c
        .query_row("SELECT name FROM snapshots WHERE container_id = ?1 AND alias = ?2", [id.as_str(), &alias], |r| {
            r.get(0)
        })
        .optional()?;
    c.execute("UPDATE snapshots SET alias = NULL WHERE container_id = ?1 AND alias = ?2", [id.as_str(), &alias])?;
    c.execute(
        "UPDATE snapshots SET alias = next_alias, next_alias = NULL WHERE container_id = ?1 AND name = ?2",
        [id.as_str(), name],
    )?;
    Ok(before)
}

pub(super) fn one(c: &Connection, id: &ContainerId, name: &str) -> Result<Snapshot> {
    c.query_row(
        "SELECT * FROM snapshots WHERE container_id = ?1 AND name = ?2 AND state = 'ready'",
        [id.as_str(), name],
        from_row,
    )
    .optional()?
    .ok_or(Error::NotFound("snapshot"))
}

impl Store {
    /// Writes that a snapshot is about to be taken. The name gets `-2`, `-3`, … when it is taken.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the alias is taken or there are too many, [`Error::NotFound`] without
    /// that container.
    pub fn begin_snapshot(&self, id: &ContainerId, new: &NewSnapshot) -> Result<String> {
        self.write(|tx| {
            project_of(tx, id)?;
            if let Some(most) = new.most {
                room(tx, id, most)?;
            }
            let base = new.base_name();
            let mut name = base.clone();
            let mut n = 1;
            while tx
                .query_row(
                    "SELECT 1 FROM snapshots WHERE container_id = ?1 AND name = ?2",
                    [id.as_str(), &name],
                    |_| Ok(()),
                )
                .optional()?
                .is_some()
            {
                n += 1;
                name = format!("{base}-{n}");
            }
            tx.execute(
                "INSERT INTO snapshots (container_id, name, alias, kind, state, created_at, expires_at, note, pinned,
                    created_by, reason, next_alias)
                 VALUES (?1, ?2, ?3, ?4, 'creating', ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    id.as_str(),
                    name,
                    new.alias.as_ref().filter(|_| !new.replace),
                    new.kind,
                    clock::now(),
                    new.expires_at,
                    new.note,
                    new.pinned,
                    new.created_by,
                    new.reason,
                    new.alias.as_ref().filter(|_| new.replace),
                ],
            )
            .map_err(|e| match &new.alias {
                Some(alias) if is_unique_violation(&e) => alias_taken(alias),
                _ => e.into(),
            })?;
            Ok(name)
        })
    }

    /// Writes that a snapshot exists.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn finish_snapshot(&self, id: &ContainerId, name: &str) -> Result<(Snapshot, Event)> {
        self.write(|tx| {
            tx.execute(
                "UPDATE snapshots SET state = 'ready' WHERE container_id = ?1 AND name = ?2",
                [id.as_str(), name],
            )?;
            let lost_alias = move_alias(tx, id, name)?;
            let snapshot = one(tx, id, name)?;
            let mut data = serde_json::json!({ "name": name, "alias": snapshot.alias, "kind": snapshot.kind });
            if let Some(other) = lost_alias {
                data["alias_taken_from"] = other.into();
            }
            let project = project_of(tx, id)?;
            Ok((snapshot, events::insert(tx, NewEvent::container("container.snapshot.created", project, *id, data))?))
        })
    }

    /// Writes that a snapshot is about to be removed. A pinned one goes only by `force`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] when it is pinned.
    pub fn begin_delete_snapshot(&self, id: &ContainerId, name: &str, force: bool) -> Result<()> {
        self.write(|tx| {
            if !force && one(tx, id, name)?.pinned {
                return Err(Error::Conflict(format!("snapshot {name} is pinned: unpin it, or delete it with force")));
            }
            match tx.execute(
                "UPDATE snapshots SET state = 'deleting', alias = NULL WHERE container_id = ?1 AND name = ?2",
                [id.as_str(), name],
            )? {
                0 => Err(Error::NotFound("snapshot")),
                _ => Ok(()),
            }
        })
    }

    /// Forgets a snapshot; `told` makes an event of it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_snapshot(&self, id: &ContainerId, name: &str, told: bool) -> Result<Option<Event>> {
        self.write(|tx| {
            tx.execute("DELETE FROM snapshots WHERE container_id = ?1 AND name = ?2", [id.as_str(), name])?;
            if !told {
                return Ok(None);
            }
            let project = project_of(tx, id)?;
            let data = serde_json::json!({ "name": name });
            Ok(Some(events::insert(tx, NewEvent::container("container.snapshot.deleted", project, *id, data))?))
        })
    }

    /// Writes that a snapshot was restored, which `safety` undoes.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn mark_restored(&self, id: &ContainerId, name: &str, safety: &str) -> Result<(Snapshot, Event)> {
        self.write(|tx| {
            tx.execute(
                "UPDATE snapshots SET last_used_at = ?3 WHERE container_id = ?1 AND name = ?2",
                [id.as_str(), name, &clock::now()],
            )?;
            tx.execute(
                "UPDATE containers SET last_used_snapshot = ?2, undo_snapshot = ?3 WHERE id = ?1",
                [id.as_str(), name, safety],
            )?;
            let project = project_of(tx, id)?;
            let data = serde_json::json!({ "name": name });
            let event = events::insert(tx, NewEvent::container("container.snapshot.restored", project, *id, data))?;
            Ok((one(tx, id, name)?, event))
        })
    }

    /// Gives a snapshot another alias, or none.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`].
    pub fn set_snapshot_alias(&self, id: &ContainerId, name: &str, alias: Option<&str>) -> Result<(Snapshot, Event)> {
        self.write(|tx| {
            tx.execute(
                "UPDATE snapshots SET alias = ?3 WHERE container_id = ?1 AND name = ?2",
                params![id.as_str(), name, alias],
            )
            .map_err(|e| match alias {
                Some(alias) if is_unique_violation(&e) => alias_taken(alias),
                _ => e.into(),
            })?;
            let snapshot = one(tx, id, name)?;
            let project = project_of(tx, id)?;
            let data = serde_json::json!({ "name": name, "alias": alias });
            Ok((snapshot, events::insert(tx, NewEvent::container("container.snapshot.renamed", project, *id, data))?))
        })
    }

    /// A snapshot by name, else by alias.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn snapshot(&self, id: &ContainerId, name_or_alias: &str) -> Result<Snapshot> {
        self.read(|c| match one(c, id, name_or_alias) {
            Err(Error::NotFound(_)) => c
                .query_row(
                    "SELECT * FROM snapshots WHERE container_id = ?1 AND alias = ?2 AND state = 'ready'",
                    [id.as_str(), name_or_alias],
                    from_row,
                )
                .optional()?
                .ok_or(Error::NotFound("snapshot")),
            other => other,
        })
    }

    /// A container's snapshots, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn snapshots(&self, id: &ContainerId) -> Result<Vec<Snapshot>> {
        self.read(|c| {
            let mut query = c.prepare(
                "SELECT * FROM snapshots WHERE container_id = ?1 AND state = 'ready'
                 ORDER BY created_at DESC, rowid DESC",
            )?;
            Ok(query.query_map([id.as_str()], from_row)?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// How many snapshots each container has that has any.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn snapshot_counts(&self) -> Result<HashMap<ContainerId, u64>> {
        self.read(|c| {
            let mut query =
                c.prepare("SELECT container_id, count(*) FROM snapshots WHERE state = 'ready' GROUP BY container_id")?;
            let rows = query.query_map([], |row| Ok((column(row, "container_id")?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Names of a container's snapshots whose size was last counted before `before_ms`, or never.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn unsized_snapshots(&self, id: &ContainerId, before_ms: i64) -> Result<Vec<String>> {
        self.read(|c| {
            let mut query = c.prepare(
                "SELECT name FROM snapshots WHERE container_id = ?1 AND state = 'ready'
                 AND coalesce(sized_at_ms, 0) < ?2",
            )?;
            Ok(query.query_map(params![id.as_str(), before_ms], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Keeps a snapshot's size as counted now.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_snapshot_size(&self, id: &ContainerId, name: &str, size: DiskSize) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE snapshots SET size = ?3, referenced = ?4, sized_at_ms = ?5
                 WHERE container_id = ?1 AND name = ?2",
                params![id.as_str(), name, size.exclusive, size.referenced, clock::now_ms()],
            )?;
            Ok(())
        })
    }

    /// Snapshots whose time is over; not pinned ones, nor those of deleted containers.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn expired_snapshots(&self, now: &str) -> Result<Vec<(ContainerId, String)>> {
        self.read(|c| {
            let mut query = c.prepare(
                "SELECT s.container_id, s.name FROM snapshots s JOIN containers c ON c.id = s.container_id
                     WHERE s.state = 'ready' AND s.pinned = 0 AND c.state <> 'deleted' AND s.expires_at <= ?1",
            )?;
            let rows = query.query_map([now], |r| Ok((column(r, "container_id")?, r.get("name")?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Snapshots whose making or removal was interrupted.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn unfinished_snapshots(&self) -> Result<Vec<UnfinishedSnapshot>> {
        self.read(|c| {
            let mut query = c.prepare("SELECT container_id, name, state FROM snapshots WHERE state != 'ready'")?;
            let rows = query.query_map([], |r| {
                let state: String = r.get("state")?;
                Ok(UnfinishedSnapshot {
                    container: column(r, "container_id")?,
                    name: r.get("name")?,
                    deleting: state == "deleting",
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::containers::NewContainer;
    use super::super::snapshot_facts::Change;
    use super::*;

    fn container() -> (tempfile::TempDir, Store, ContainerId) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).unwrap();
        let (project, _) = store.create_project("demo", "#FFF", None, &Default::default()).unwrap();
        let new = NewContainer { name: "web".into(), tier: "debian-13".into(), ..Default::default() };
        let (row, _) = store.create_container(&project.id, &new).unwrap();
        (dir, store, row.id)
    }

    fn new(alias: Option<&str>) -> NewSnapshot {
        NewSnapshot { name: "snap-a".into(), alias: alias.map(Into::into), ..Default::default() }
    }

    fn take(store: &Store, id: &ContainerId, alias: Option<&str>) -> String {
        let name = store.begin_snapshot(id, &new(alias)).unwrap();
        store.finish_snapshot(id, &name).unwrap();
        name
    }

    #[test]
    fn names_are_made_unique_and_only_finished_snapshots_are_shown() {
        let (_dir, store, id) = container();
        assert_eq!(take(&store, &id, None), "snap-a");
        assert_eq!(take(&store, &id, None), "snap-a-2");
        let third = store.begin_snapshot(&id, &new(None)).unwrap();
        assert_eq!(store.snapshots(&id).unwrap().len(), 2);
        assert_eq!(store.container(&id).unwrap().snapshot_count, 2);
        assert_eq!(
            store.unfinished_snapshots().unwrap(),
            [UnfinishedSnapshot { container: id, name: third, deleting: false }]
        );
    }

    #[test]
    fn an_alias_is_unique_and_finds_its_snapshot_after_names_were_tried() {
        let (_dir, store, id) = container();
        let first = take(&store, &id, Some("base"));
        assert!(matches!(store.begin_snapshot(&id, &new(Some("base"))), Err(Error::Conflict(_))));
        let second = take(&store, &id, Some("snap-a.alias"));
        assert_eq!(store.snapshot(&id, "base").unwrap().name, first);
        assert!(matches!(store.set_snapshot_alias(&id, &second, Some("base")), Err(Error::Conflict(_))));
        // A name wins over another snapshot's alias.
        store.set_snapshot_alias(&id, &second, Some(&first)).unwrap();
        assert_eq!(store.snapshot(&id, &first).unwrap().name, first);
        assert_eq!(store.set_snapshot_alias(&id, &first, None).unwrap().0.alias, None);
        assert!(matches!(store.set_snapshot_alias(&id, "nope", None), Err(Error::NotFound(_))));
    }

    #[test]
    fn an_alias_moves_only_once_its_new_snapshot_exists() {
        let (_dir, store, id) = container();
        let first = take(&store, &id, Some("latest"));
        let replacing = NewSnapshot { replace: true, ..new(Some("latest")) };
        let failed = store.begin_snapshot(&id, &replacing).unwrap();
        store.forget_snapshot(&id, &failed, false).unwrap();
        assert_eq!(store.snapshot(&id, "latest").unwrap().name, first);
        let second = store.begin_snapshot(&id, &replacing).unwrap();
        assert_eq!(store.finish_snapshot(&id, &second).unwrap().1.data["alias_taken_from"], first);
        assert_eq!(store.snapshot(&id, "latest").unwrap().name, second);
        assert_eq!(store.snapshot(&id, &first).unwrap().alias, None);
    }

    #[test]
    fn no_more_snapshots_than_allowed_are_taken_safety_ones_apart() {
        let (_dir, store, id) = container();
        let limited = NewSnapshot { most: Some(1), ..new(None) };
        store.begin_snapshot(&id, &NewSnapshot { kind: "safety", ..new(None) }).unwrap();
        store.begin_snapshot(&id, &limited).unwrap();
        let said = store.begin_snapshot(&id, &limited).unwrap_err().to_string();
        assert!(said.contains("1 of at most 1") && said.contains("max_snapshots"), "{said}");
    }

    #[test]
    fn expired_snapshots_are_found_and_sizes_are_kept() {
        let (_dir, store, id) = container();
        let name = store
            .begin_snapshot(&id, &NewSnapshot { expires_at: Some("2020-01-01T00:00:00.000Z".into()), ..new(None) })
            .unwrap();
        store.finish_snapshot(&id, &name).unwrap();
        assert_eq!(store.expired_snapshots(&clock::now()).unwrap(), [(id, name.clone())]);
        assert_eq!(store.unsized_snapshots(&id, clock::now_ms()).unwrap(), std::slice::from_ref(&name));
        store.set_snapshot_size(&id, &name, DiskSize { exclusive: 77, referenced: 99 }).unwrap();
        let sized = store.snapshot(&id, &name).unwrap();
        assert_eq!((sized.size, sized.referenced), (77, 99));
        store.change_snapshot(&id, &name, &Change::Pin(true)).unwrap();
        assert!(store.expired_snapshots(&clock::now()).unwrap().is_empty(), "what is pinned does not expire");
        assert!(store.unsized_snapshots(&id, clock::now_ms() - 60_000).unwrap().is_empty());
    }
}
