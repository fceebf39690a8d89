//! Storage shares' rows, and what each target said about them.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::events::{self, NewEvent};
use super::projects::project_of;
use super::share_expiry::set_end;
use super::{Error, Result, Store, column, optional};
use crate::clock;
use cowl_api::event::Event;
use cowl_api::ids::ShareId;
use cowl_api::share::{CreateShare, Share, ShareMode, UpdateShare};
use cowl_api::{ContainerId, ProjectId};

const SELECT: &str = "SELECT s.*, c.project_id AS source_project_id,
    (SELECT value FROM meta WHERE key = 'owner_id') AS owner
    FROM shares s JOIN containers c ON c.id = s.source_container_id";

/// A share with what its row knows beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareRow {
    /// The share; its status is the node's to fill in.
    pub share: Share,
    /// Project of the source.
    pub source_project: ProjectId,
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<ShareRow> {
    let target_container_id: Option<ContainerId> = optional(row, "target_container_id")?;
    let mode: String = row.get("mode")?;
    let share = Share {
        id: column(row, "id")?,
        source_container_id: column(row, "source_container_id")?,
        source_path: row.get("source_path")?,
        target_type: if target_container_id.is_some() { "container" } else { "project" }.to_owned(),
        target_container_id,
        target_project_id: optional(row, "target_project_id")?,
        mode: if mode == "readwrite" { ShareMode::Readwrite } else { ShareMode::Readonly },
        alias: row.get("alias")?,
        label: row.get("label")?,
        description: row.get("description")?,
        enabled: row.get("enabled")?,
        status: "active".to_owned(),
        status_message: None,
        expires_at: row.get("expires_at")?,
        expiry_notified: row.get("expiry_notified")?,
        created_by: row.get::<_, Option<String>>("owner")?.unwrap_or_default(),
        realm_ids: Vec::new(),
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    };
    Ok(ShareRow { share, source_project: column(row, "source_project_id")? })
}

/// Refuses an alias that one of the targets would see twice.
fn check_alias(tx: &Transaction<'_>, share: &Share) -> Result<()> {
    let Some(alias) = &share.alias else { return Ok(()) };
    // A container's own shares and its project's share one directory.
    let taken: Option<String> = tx
        .query_row(
            "SELECT s.id FROM shares s WHERE s.alias = ?1 AND s.id <> ?2 AND (
                s.target_container_id = ?3 OR s.target_project_id = ?4
                OR s.target_project_id = (SELECT project_id FROM containers WHERE id = ?3)
                OR (SELECT project_id FROM containers WHERE id = s.target_container_id) = ?4)",
            params![
                alias,
                share.id.as_str(),
                share.target_container_id.as_ref().map(ContainerId::as_str),
                share.target_project_id.as_ref().map(ProjectId::as_str)
            ],
            |r| r.get(0),
        )
        .optional()?;
    match taken {
        Some(other) => Err(Error::Conflict(format!("share {other} is called {alias} for the same target already"))),
        None => Ok(()),
    }
}

/// One share's row.
pub(super) fn one(tx: &rusqlite::Connection, id: &ShareId) -> Result<ShareRow> {
    tx.query_row(&format!("{SELECT} WHERE s.id = ?1"), [id.as_str()], from_row)
        .optional()?
        .ok_or(Error::NotFound("share"))
}

/// Stores what happened to a share.
pub(super) fn told(tx: &Transaction<'_>, kind: &'static str, row: &ShareRow) -> Result<Event> {
    let s = &row.share;
    let data = serde_json::json!({
        "share_id": s.id, "source_path": s.source_path, "target_container_id": s.target_container_id,
        "target_project_id": s.target_project_id, "mode": s.mode, "enabled": s.enabled, "expires_at": s.expires_at,
    });
    events::insert(tx, NewEvent::container(kind, row.source_project, s.source_container_id, data))
}

impl Store {
    /// Makes a share; everything in `new` is checked already.
    ///
    /// # Errors
    /// [`Error::NotFound`] without source or target, [`Error::Conflict`] when the alias is taken.
    pub fn create_share(&self, source: &ContainerId, new: &CreateShare) -> Result<(Share, Event)> {
        let id = ShareId::generate();
        self.write(|tx| {
            let exists = |sql: &str, id: &str| tx.query_row(sql, [id], |_| Ok(())).optional();
            if let Some(target) = &new.target_container_id
                && exists("SELECT 1 FROM containers WHERE id = ?1 AND state <> 'deleted'", target.as_str())?.is_none()
            {
                return Err(Error::NotFound("target container"));
            }
            if let Some(target) = &new.target_project_id
                && exists("SELECT 1 FROM projects WHERE id = ?1 AND deleting = 0", target.as_str())?.is_none()
            {
                return Err(Error::NotFound("target project"));
            }
            tx.execute(
                "INSERT INTO shares (id, source_container_id, source_path, target_container_id, target_project_id,
                    mode, alias, label, description, enabled, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11)",
                params![
                    id.as_str(),
                    source.as_str(),
                    new.source_path,
                    new.target_container_id.as_ref().map(ContainerId::as_str),
                    new.target_project_id.as_ref().map(ProjectId::as_str),
                    new.mode.as_str(),
                    new.alias,
                    new.label,
                    new.description,
                    new.enabled.unwrap_or(true),
                    clock::now()
                ],
            )?;
            set_end(tx, &id, new.expires_at, clock::now_s())?;
            let row = one(tx, &id)?;
            check_alias(tx, &row.share)?;
            let event = told(tx, "storage.share.created", &row)?;
            Ok((row.share, event))
        })
    }

    /// One share.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn share(&self, id: &ShareId) -> Result<Share> {
        self.read(|c| Ok(one(c, id)?.share))
    }

    /// All shares, in the order they were made; not those from or for deleted containers.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn shares(&self) -> Result<Vec<Share>> {
        self.read(|c| {
            let mut query = c.prepare(&format!(
                "{SELECT} LEFT JOIN containers t ON t.id = s.target_container_id
                 WHERE c.state <> 'deleted' AND coalesce(t.state, '') <> 'deleted' ORDER BY s.created_at, s.id"
            ))?;
            let rows = query.query_map([], from_row)?.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(rows.into_iter().map(|row| row.share).collect())
        })
    }

    /// What is offered to a container, with whether it takes each: what it said, else yes for its
    /// project's and no for its own.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn incoming_shares(&self, id: &ContainerId) -> Result<Vec<(Share, bool)>> {
        self.read(|c| {
            let mut query = c.prepare(
                "SELECT s.*, c.project_id AS source_project_id,
                    (SELECT value FROM meta WHERE key = 'owner_id') AS owner, m.mount AS mount
                 FROM shares s JOIN containers c ON c.id = s.source_container_id
                 LEFT JOIN share_mounts m ON m.share_id = s.id AND m.container_id = ?1
                 WHERE c.state <> 'deleted' AND s.source_container_id <> ?1 AND (s.target_container_id = ?1
                    OR s.target_project_id = (SELECT project_id FROM containers WHERE id = ?1))
                 ORDER BY s.created_at, s.id",
            )?;
            let rows =
                query.query_map([id.as_str()], |r| Ok((from_row(r)?.share, r.get::<_, Option<bool>>("mount")?)))?;
            let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(rows
                .into_iter()
                .map(|(share, said)| {
                    let by_default = share.target_project_id.is_some();
                    (share, said.unwrap_or(by_default))
                })
                .collect())
        })
    }

    /// Notes whether a container takes a share.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not offered to it.
    pub fn set_share_mount(&self, id: &ContainerId, share: &ShareId, mount: bool) -> Result<Event> {
        if !self.incoming_shares(id)?.iter().any(|(s, _)| s.id == *share) {
            return Err(Error::NotFound("share"));
        }
        self.write(|tx| {
            tx.execute(
                "INSERT INTO share_mounts (share_id, container_id, mount) VALUES (?1, ?2, ?3)
                 ON CONFLICT (share_id, container_id) DO UPDATE SET mount = ?3",
                params![share.as_str(), id.as_str(), mount],
            )?;
            let project = project_of(tx, id)?;
            let data = serde_json::json!({ "share_id": share, "mount": mount });
            events::insert(tx, NewEvent::container("storage.share.mount_changed", project, *id, data))
        })
    }

    /// Changes a share of `source`; absent fields stay.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`].
    pub fn update_share(&self, source: &ContainerId, id: &ShareId, change: &UpdateShare) -> Result<(Share, Event)> {
        self.write(|tx| {
            let before = one(tx, id)?.share;
            if before.source_container_id != *source {
                return Err(Error::NotFound("share"));
            }
            tx.execute(
                "UPDATE shares SET mode = ?2, alias = ?3, label = ?4, description = ?5, enabled = ?6,
                    updated_at = ?7 WHERE id = ?1",
                params![
                    id.as_str(),
                    change.mode.unwrap_or(before.mode).as_str(),
                    change.alias.clone().unwrap_or(before.alias),
                    change.label.clone().unwrap_or(before.label),
                    change.description.clone().unwrap_or(before.description),
                    change.enabled.unwrap_or(before.enabled),
                    clock::now()
                ],
            )?;
            if let Some(end) = change.expires_at.filter(|end| *end != before.expires_at) {
                set_end(tx, id, end, clock::now_s())?;
            }
            let row = one(tx, id)?;
            check_alias(tx, &row.share)?;
            let event = told(tx, "storage.share.updated", &row)?;
            Ok((row.share, event))
        })
    }

    /// Removes a share. `kind` tells why.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete_share(&self, id: &ShareId, kind: &'static str) -> Result<(Share, Event)> {
        self.write(|tx| {
            let row = one(tx, id)?;
            let event = told(tx, kind, &row)?;
            tx.execute("DELETE FROM shares WHERE id = ?1", [id.as_str()])?;
            Ok((row.share, event))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::containers::NewContainer;

    struct World {
        _dir: tempfile::TempDir,
        store: Store,
        project: ProjectId,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(&dir.path().join("node.db")).unwrap();
            let project = store.create_project("demo", "#FFF", None, &Default::default()).unwrap().0.id;
            Self { _dir: dir, store, project }
        }

        fn container(&self, name: &str) -> ContainerId {
            let new = NewContainer { name: name.into(), ..Default::default() };
            self.store.create_container(&self.project, &new).unwrap().0.id
        }
    }

    fn new(target: Option<ContainerId>, project: Option<ProjectId>, alias: Option<&str>) -> CreateShare {
        CreateShare {
            source_path: "/srv".into(),
            target_container_id: target,
            target_project_id: project,
            mode: ShareMode::Readonly,
            alias: alias.map(Into::into),
            label: None,
            description: None,
            enabled: None,
            expires_at: None,
        }
    }

    #[test]
    fn a_targets_word_counts_and_a_projects_share_needs_none() {
        let w = World::new();
        let (a, b) = (w.container("aaa"), w.container("bbb"));
        let (one, _) = w.store.create_share(&a, &new(Some(b), None, None)).unwrap();
        let (all, _) = w.store.create_share(&a, &new(None, Some(w.project), None)).unwrap();
        let seen = |id| w.store.incoming_shares(id).unwrap().into_iter().map(|(s, m)| (s.id, m)).collect::<Vec<_>>();
        let mut got = seen(&b);
        got.sort();
        let mut expected = vec![(one.id, false), (all.id, true)];
        expected.sort();
        assert_eq!(got, expected);
        assert!(seen(&a).is_empty(), "a source does not see its own");
        w.store.set_share_mount(&b, &one.id, true).unwrap();
        w.store.set_share_mount(&b, &all.id, false).unwrap();
        assert!(seen(&b).contains(&(one.id, true)) && seen(&b).contains(&(all.id, false)));
        assert!(matches!(w.store.set_share_mount(&a, &one.id, true), Err(Error::NotFound(_))));
    }

    #[test]
    fn no_target_sees_one_alias_twice() {
        let w = World::new();
        let (a, b, c) = (w.container("aaa"), w.container("bbb"), w.container("ccc"));
        w.store.create_share(&a, &new(Some(b), None, Some("data"))).unwrap();
        assert!(matches!(w.store.create_share(&c, &new(Some(b), None, Some("data"))), Err(Error::Conflict(_))));
        assert!(matches!(w.store.create_share(&c, &new(None, Some(w.project), Some("data"))), Err(Error::Conflict(_))));
        let (other, _) = w.store.create_share(&a, &new(Some(c), None, Some("data"))).unwrap();
        let rename = UpdateShare { alias: Some(None), ..Default::default() };
        assert_eq!(w.store.update_share(&a, &other.id, &rename).unwrap().0.alias, None);
        assert!(matches!(w.store.update_share(&b, &other.id, &rename), Err(Error::NotFound(_))));
    }

    #[test]
    fn shares_go_with_their_source() {
        let w = World::new();
        let (a, b) = (w.container("aaa"), w.container("bbb"));
        w.store.create_share(&a, &new(Some(b), None, None)).unwrap();
        w.store.remove_container(&a).unwrap();
        assert!(w.store.shares().unwrap().is_empty());
    }
}
