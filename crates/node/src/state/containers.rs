//! Containers' rows: making, finding, listing and changing them. Their state changes elsewhere:
//! [`super::transitions`].

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, params_from_iter};

use super::events::{self, NewEvent};
use super::journal::{self, Kind};
use super::{Error, Result, Store, Window, addresses, column, is_unique_violation, json, optional, transitions};
use crate::clock;
use cowl_api::container::{ContainerState, UpdateContainer, Warning};
use cowl_api::event::Event;
use cowl_api::settings::{self, Settings};
use cowl_api::{ContainerId, ProjectId};

/// Columns a list of containers may be sorted by: the API's name and the column.
pub const SORT: [(&str, &str); 5] = [
    ("id", "c.id"),
    ("name", "c.name"),
    ("status", "c.state"),
    ("created_at", "c.created_at"),
    ("updated_at", "c.updated_at"),
];

/// A container as the database keeps it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // The fields are those of `api::Container` unless said otherwise.
pub struct ContainerRow {
    pub id: ContainerId,
    pub project_id: ProjectId,
    pub project_alias: String,
    pub name: String,
    pub color: String,
    /// Image tier as the engine names it, e.g. `debian-13`.
    pub tier: String,
    /// The image its disk was made from; `None` until it has one.
    pub image_id: Option<String>,
    pub hoody_kit: bool,
    pub dev_kit: bool,
    pub ai: bool,
    pub autostart: bool,
    pub ramdisk: bool,
    pub ramdisk_scope: String,
    pub is_default: bool,
    pub state: ContainerState,
    /// Why it failed, or what creation waits for.
    pub reason: Option<String>,
    /// Whether its owner wants it to run; what the node goes by after a reboot of the box.
    pub wanted: bool,
    pub env: BTreeMap<String, String>,
    pub settings: Settings,
    /// What the project's containers fall back on.
    pub project_settings: Settings,
    pub ssh_public_key: Option<String>,
    pub comment: Option<String>,
    pub source_container_id: Option<ContainerId>,
    /// Index of its address in the node's network.
    pub address_index: u32,
    pub warnings: Vec<Warning>,
    pub created_at: String,
    pub updated_at: String,
    pub started_at: Option<String>,
    pub last_used_snapshot: Option<String>,
    pub snapshot_count: u64,
    pub last_snapshot_at: Option<String>,
    pub deleted_at: Option<String>,
    pub purge_at: Option<String>,
}

impl ContainerRow {
    /// The settings that hold: its own, else its project's.
    pub fn effective_settings(&self) -> Settings {
        self.settings.over(&self.project_settings)
    }
}

/// What a container to be made is like; every field is checked already.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)] // As in `ContainerRow`.
pub struct NewContainer {
    pub name: String,
    pub color: String,
    pub tier: String,
    pub hoody_kit: bool,
    pub dev_kit: bool,
    pub ai: bool,
    pub autostart: bool,
    pub ramdisk: bool,
    pub env: BTreeMap<String, String>,
    pub settings: Settings,
    pub ssh_public_key: Option<String>,
    pub comment: Option<String>,
    pub warnings: Vec<Warning>,
}

/// Containers that are there.
pub const PRESENT: &str = " AND c.state NOT IN ('deleting', 'deleted')";
/// The same, and those on their way out.
pub const WITH_DELETING: &str = " AND c.state <> 'deleted'";
/// Those that can be undeleted.
pub const DELETED: &str = " AND c.state = 'deleted'";

const SELECT: &str = "SELECT c.*, coalesce(c.deleted_name, c.name) AS own_name, p.alias AS project_alias, p.settings AS project_settings,
    (SELECT count(*) FROM snapshots s WHERE s.container_id = c.id AND s.state = 'ready') AS snapshot_count,
    (SELECT max(s.created_at) FROM snapshots s WHERE s.container_id = c.id AND s.state = 'ready') AS last_snapshot_at
    FROM containers c JOIN projects p ON p.id = c.project_id";

/// Reads a state column.
pub(super) fn state(row: &Row<'_>, index: &str) -> rusqlite::Result<Option<ContainerState>> {
    let word: Option<String> = row.get(index)?;
    Ok(word.and_then(|w| ContainerState::parse(&w)))
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<ContainerRow> {
    Ok(ContainerRow {
        id: column(row, "id")?,
        project_id: column(row, "project_id")?,
        project_alias: row.get("project_alias")?,
        name: row.get("own_name")?,
        color: row.get("color")?,
        tier: row.get("tier")?,
        image_id: row.get("image_id")?,
        hoody_kit: row.get("hoody_kit")?,
        dev_kit: row.get("dev_kit")?,
        ai: row.get("ai")?,
        autostart: row.get("autostart")?,
        ramdisk: row.get("ramdisk")?,
        ramdisk_scope: row.get("ramdisk_scope")?,
        is_default: row.get("is_default")?,
        state: state(row, "state")?.unwrap_or(ContainerState::Failed),
        reason: row.get("reason")?,
        wanted: row.get("wanted")?,
        env: json(row, "env")?,
        settings: json(row, "settings")?,
        project_settings: json(row, "project_settings")?,
        ssh_public_key: row.get("ssh_public_key")?,
        comment: row.get("comment")?,
        source_container_id: optional(row, "source_container_id")?,
        address_index: row.get("address_idx")?,
        warnings: json(row, "warnings")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        started_at: row.get("started_at")?,
        last_used_snapshot: row.get("last_used_snapshot")?,
        snapshot_count: row.get("snapshot_count")?,
        last_snapshot_at: row.get("last_snapshot_at")?,
        deleted_at: row.get("deleted_at")?,
        purge_at: row.get("purge_at")?,
    })
}

/// One container, whatever its state.
pub(super) fn one(c: &Connection, id: &ContainerId) -> Result<ContainerRow> {
    c.query_row(&format!("{SELECT} WHERE c.id = ?1"), [id.as_str()], from_row)
        .optional()?
        .ok_or(Error::NotFound("container"))
}

pub(super) fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Says in words which uniqueness a change would break.
pub(super) fn explain(e: rusqlite::Error) -> Error {
    if !is_unique_violation(&e) {
        return e.into();
    }
    let said = e.to_string();
    if said.contains("containers.name") {
        Error::Conflict("a container with this name exists already in the project".into())
    } else if said.contains("containers.ssh_public_key") {
        Error::Conflict("this ssh_public_key belongs to another container".into())
    } else {
        Error::Sqlite(e)
    }
}

pub(super) fn room_in_project(tx: &Transaction<'_>, project: &ProjectId) -> Result<String> {
    let found: Option<(String, Option<u32>, u32)> = tx
        .query_row(
            "SELECT p.alias, p.max_containers,
                (SELECT count(*) FROM containers c WHERE c.project_id = p.id AND c.state <> 'deleted')
             FROM projects p WHERE p.id = ?1 AND p.deleting = 0",
            [project.as_str()],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
        )
        .optional()?;
    let (alias, max, present) = found.ok_or(Error::NotFound("project"))?;
    match max {
        Some(max) if present >= max => Err(Error::Conflict(format!(
            "project {alias} holds {present} of at most {max} containers; delete one or raise max_containers"
        ))),
        _ => Ok(alias),
    }
}

/// Writes a new container's row in state `creating`, its address and its first status log.
pub(super) fn insert(tx: &Transaction<'_>, project: &ProjectId, id: &ContainerId, new: &NewContainer) -> Result<()> {
    let now = clock::now();
    let alias = room_in_project(tx, project)?;
    let index = addresses::lease(tx, id)?;
    tx.execute(
        "INSERT INTO containers (id, project_id, name, color, tier, hoody_kit, dev_kit, ai, autostart,
            ramdisk, ramdisk_scope, is_default, state, wanted, env, ssh_public_key, comment, address_idx,
            warnings, created_at, updated_at, state_since_ms, settings)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'container', ?11, 'creating', 1, ?12, ?13, ?14,
            ?15, ?16, ?17, ?17, ?18, ?19)",
        params![
            id.as_str(),
            project.as_str(),
            new.name,
            new.color,
            new.tier,
            new.hoody_kit,
            new.dev_kit,
            new.ai,
            new.autostart,
            new.ramdisk,
            alias == "default" && new.name == "hello",
            text(&new.env),
            new.ssh_public_key,
            new.comment,
            index,
            text(&new.warnings),
            now,
            clock::now_ms(),
            text(&new.settings)
        ],
    )
    .map_err(explain)?;
    transitions::log_first(tx, id, &now)
}

impl Store {
    /// Writes a new container down: its row in state `creating`, its address, its first status log,
    /// its event and the journal's `create`.
    ///
    /// # Errors
    /// [`Error::NotFound`] without that project, [`Error::Conflict`] when the project is full or a
    /// name or key is taken.
    pub fn create_container(&self, project: &ProjectId, new: &NewContainer) -> Result<(ContainerRow, Event)> {
        let id = ContainerId::generate();
        let event = self.write(|tx| {
            insert(tx, project, &id, new)?;
            journal::begin(tx, &id, Kind::Create, "disk", &serde_json::json!({}))?;
            let data = serde_json::json!({ "name": new.name, "status": "creating" });
            events::insert(tx, NewEvent::container("container.creating", *project, id, data))
        })?;
        Ok((self.container(&id)?, event))
    }

    /// One container; a deleted one is not found ([`Store::any_container`] does).
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn container(&self, id: &ContainerId) -> Result<ContainerRow> {
        match self.any_container(id)? {
            row if row.state == ContainerState::Deleted => Err(Error::NotFound("container")),
            row => Ok(row),
        }
    }

    /// Every container, deleted ones, too.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn all_containers(&self) -> Result<Vec<ContainerRow>> {
        self.read(|c| {
            let mut query = c.prepare(&format!("{SELECT} ORDER BY c.created_at, c.id"))?;
            Ok(query.query_map([], from_row)?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// A page of containers, of one project or of all, and how many there are in all. `states` is one of
    /// [`PRESENT`], [`WITH_DELETING`] and [`DELETED`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn containers(
        &self,
        project: Option<&ProjectId>,
        states: &'static str,
        window: &Window,
    ) -> Result<(Vec<ContainerRow>, u64)> {
        let mut clause = String::from(" WHERE 1");
        let mut values = Vec::new();
        if let Some(project) = project {
            clause.push_str(" AND c.project_id = ?");
            values.push(Value::Text(project.to_string()));
        }
        clause.push_str(states);
        self.read(|c| {
            let count = format!("SELECT count(*) FROM containers c{clause}");
            let total = c.query_row(&count, params_from_iter(values.clone()), |r| r.get(0))?;
            let sql = format!("{SELECT}{clause}{}", window.sql().replace("rowid", "c.rowid"));
            let rows =
                c.prepare(&sql)?.query_map(params_from_iter(values), from_row)?.collect::<rusqlite::Result<_>>()?;
            Ok((rows, total))
        })
    }

    /// How many containers there are in each state; deleted ones do not count.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn container_counts(&self) -> Result<BTreeMap<String, u64>> {
        self.read(|c| {
            let mut query =
                c.prepare("SELECT state, count(*) FROM containers WHERE state <> 'deleted' GROUP BY state")?;
            Ok(query.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Changes what a person may change; absent fields stay. The events say what is different.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`].
    pub fn update_container(&self, id: &ContainerId, change: &UpdateContainer) -> Result<(ContainerRow, Vec<Event>)> {
        let before = self.container(id)?;
        let events = self.write(|tx| {
            if let Some(patch) = &change.settings {
                patch_settings(tx, "containers", id.as_str(), patch.as_ref())?;
            }
            tx.execute(
                "UPDATE containers SET name = coalesce(?2, name), color = coalesce(?3, color), ai = coalesce(?4, ai),
                    autostart = coalesce(?5, autostart), ramdisk = coalesce(?6, ramdisk),
                    ramdisk_scope = coalesce(?7, ramdisk_scope), env = coalesce(?8, env),
                    ssh_public_key = CASE WHEN ?9 THEN ?10 ELSE ssh_public_key END,
                    comment = CASE WHEN ?11 THEN ?12 ELSE comment END, updated_at = ?13
                 WHERE id = ?1",
                params![
                    id.as_str(),
                    change.name,
                    change.color,
                    change.ai,
                    change.autostart,
                    change.ramdisk,
                    change.ramdisk_scope,
                    change.environment_vars.as_ref().map(text),
                    change.ssh_public_key.is_some(),
                    change.ssh_public_key.clone().flatten(),
                    change.comment.is_some(),
                    change.comment.clone().flatten(),
                    clock::now()
                ],
            )
            .map_err(explain)?;
            changes(&before, change)
                .into_iter()
                .map(|(kind, data)| events::insert(tx, NewEvent::container(kind, before.project_id, *id, data)))
                .collect::<Result<Vec<_>>>()
        })?;
        Ok((self.container(id)?, events))
    }

    /// Changes a container's variables by a closure, so that two changes at once both count.
    ///
    /// # Errors
    /// [`Error::NotFound`], or what the closure says.
    pub fn change_env(
        &self,
        id: &ContainerId,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<()>,
    ) -> Result<BTreeMap<String, String>> {
        self.write(|tx| {
            let mut env: BTreeMap<String, String> = tx
                .query_row("SELECT env FROM containers WHERE id = ?1", [id.as_str()], |r| json(r, "env"))
                .optional()?
                .ok_or(Error::NotFound("container"))?;
            change(&mut env)?;
            tx.execute(
                "UPDATE containers SET env = ?2, updated_at = ?3 WHERE id = ?1",
                params![id.as_str(), text(&env), clock::now()],
            )?;
            Ok(env)
        })
    }

    /// Notes which image a container's disk is made from, before it is made.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_image(&self, id: &ContainerId, image_id: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute("UPDATE containers SET image_id = ?2 WHERE id = ?1", [id.as_str(), image_id])?;
            Ok(())
        })
    }

    /// Says what a container waits for, or nothing.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_reason(&self, id: &ContainerId, reason: Option<&str>) -> Result<()> {
        self.write(|tx| {
            tx.execute("UPDATE containers SET reason = ?2 WHERE id = ?1", params![id.as_str(), reason])?;
            Ok(())
        })
    }
}

/// Applies a merge patch to the settings of a row of `table` (containers or projects).
///
/// # Errors
/// [`Error::Invalid`], or [`Error::NotFound`].
pub(super) fn patch_settings(
    tx: &Transaction<'_>,
    table: &'static str,
    id: &str,
    patch: Option<&serde_json::Value>,
) -> Result<()> {
    let now: Settings = tx
        .query_row(&format!("SELECT settings FROM {table} WHERE id = ?1"), [id], |r| json(r, "settings"))
        .optional()?
        .ok_or(Error::NotFound("settings"))?;
    let then = settings::patched(&now, patch.unwrap_or(&serde_json::Value::Null)).map_err(Error::Invalid)?;
    tx.execute(&format!("UPDATE {table} SET settings = ?2 WHERE id = ?1"), [id, &text(&then)])?;
    Ok(())
}

/// The events that a change gives rise to.
fn changes(before: &ContainerRow, change: &UpdateContainer) -> Vec<(&'static str, serde_json::Value)> {
    let mut out = Vec::new();
    if let Some(name) = change.name.as_ref().filter(|name| **name != before.name) {
        out.push(("container.renamed", serde_json::json!({ "from": before.name, "name": name })));
    }
    if let Some(on) = change.autostart.filter(|on| *on != before.autostart) {
        let kind = if on { "container.autostart_enabled" } else { "container.autostart_disabled" };
        out.push((kind, serde_json::json!({})));
    }
    if change.settings.is_some() {
        out.push(("container.resource_updated", serde_json::json!({})));
    }
    match &change.ssh_public_key {
        Some(Some(key)) if before.ssh_public_key.as_ref() != Some(key) => {
            out.push(("container.ssh_key.added", serde_json::json!({})));
        }
        Some(None) if before.ssh_public_key.is_some() => {
            out.push(("container.ssh_key.removed", serde_json::json!({})));
        }
        _ => {}
    }
    if out.is_empty() {
        out.push(("container.resource_updated", serde_json::json!({})));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str) -> NewContainer {
        NewContainer { name: name.into(), color: "#FFF".into(), tier: "debian-13".into(), ..Default::default() }
    }

    fn store() -> (tempfile::TempDir, Store, ProjectId) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).unwrap();
        let (project, _) = store.create_project("demo", "#FFF", Some(2), &Default::default()).unwrap();
        (dir, store, project.id)
    }

    #[test]
    fn a_new_container_is_written_down_whole() {
        let (_dir, store, project) = store();
        let (row, event) = store.create_container(&project, &new("web")).unwrap();
        assert_eq!((row.state, row.wanted, row.address_index), (ContainerState::Creating, true, 16));
        assert_eq!(event.event_type, "container.creating");
        assert_eq!(store.operations().unwrap()[0].kind, Kind::Create);
        assert_eq!(store.status_logs(&row.id, 10, 0, true).unwrap().1, 1);
    }

    #[test]
    fn names_keys_and_limits_are_kept() {
        let (_dir, store, project) = store();
        let keyed = NewContainer { ssh_public_key: Some("ssh-ed25519 A".into()), ..new("web") };
        store.create_container(&project, &keyed).unwrap();
        let said = |r: Result<(ContainerRow, Event)>| r.unwrap_err().to_string();
        assert!(said(store.create_container(&project, &new("web"))).contains("name"));
        let twin = NewContainer { name: "two".into(), ..keyed };
        assert!(said(store.create_container(&project, &twin)).contains("ssh_public_key"));
        store.create_container(&project, &new("three")).unwrap();
        assert!(said(store.create_container(&project, &new("four"))).contains("at most 2"));
    }

    #[test]
    fn an_update_tells_by_events_what_changed() {
        let (_dir, store, project) = store();
        let (row, _) = store.create_container(&project, &new("web")).unwrap();
        let change = UpdateContainer {
            name: Some("app".into()),
            autostart: Some(true),
            comment: Some(Some("hi".into())),
            ..Default::default()
        };
        let (row, events) = store.update_container(&row.id, &change).unwrap();
        let kinds: Vec<_> = events.iter().map(|e| e.event_type.as_str()).collect();
        assert_eq!(kinds, ["container.renamed", "container.autostart_enabled"]);
        assert_eq!((row.name.as_str(), row.comment.as_deref()), ("app", Some("hi")));
        let cleared = UpdateContainer { comment: Some(None), ..Default::default() };
        assert_eq!(store.update_container(&row.id, &cleared).unwrap().0.comment, None);
    }

    fn set(env: &mut BTreeMap<String, String>, name: &str, value: &str) -> Result<()> {
        env.insert(name.into(), value.into());
        Ok(())
    }

    #[test]
    fn variables_change_one_by_one() {
        let (_dir, store, project) = store();
        let (row, _) = store.create_container(&project, &new("web")).unwrap();
        store.change_env(&row.id, |env| set(env, "A", "1")).unwrap();
        let env = store.change_env(&row.id, |env| set(env, "B", "2")).unwrap();
        assert_eq!(env.len(), 2);
        assert_eq!(store.container(&row.id).unwrap().env, env);
    }
}
