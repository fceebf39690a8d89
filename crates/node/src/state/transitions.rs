//! The one way a container's state changes: row, status log, event and journal in one transaction.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::containers::state;
use super::events::{self, NewEvent};
use super::{Error, Result, Store, addresses, column, json};
use crate::clock;
use cowl_api::container::{ContainerState, StatusLog};
use cowl_api::event::Event;
use cowl_api::{ContainerId, ProjectId};

/// How many status logs a container keeps.
const KEEP_LOGS: i64 = 1_000;

/// A change of state to be written.
#[derive(Debug, Clone)]
pub struct Transition {
    /// The state after.
    pub to: ContainerState,
    /// Who asked: `api`, `node`, `container`, `sleep`, `request`, `cron`.
    pub by: &'static str,
    /// Why it failed.
    pub reason: Option<String>,
    /// The last lines of its console, when it crashed; kept in the status log.
    pub console: Vec<String>,
    /// Sets whether its owner wants it to run; `None` leaves that as it is.
    pub wanted: Option<bool>,
    /// When PID 1 was started, in milliseconds since the epoch; for running states.
    pub started_at_ms: Option<u64>,
    /// The operation under way ends with this.
    pub ends_operation: bool,
}

impl Transition {
    /// A transition that leaves everything else as it is.
    pub fn to(to: ContainerState, by: &'static str) -> Self {
        Self { to, by, reason: None, console: Vec::new(), wanted: None, started_at_ms: None, ends_operation: false }
    }
}

fn event_type(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Creating => "container.creating",
        ContainerState::Running => "container.running",
        ContainerState::Paused => "container.paused",
        ContainerState::Stopped => "container.stopped",
        ContainerState::Asleep => "container.asleep",
        ContainerState::Failed => "container.failed",
        ContainerState::Copying => "container.copying",
        ContainerState::Deleting => "container.deleting",
        ContainerState::Deleted => "container.deleted",
    }
}

/// The log line of a container's birth.
pub(super) fn log_first(tx: &Transaction<'_>, id: &ContainerId, now: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO status_logs (container_id, from_status, to_status, transition_time, duration_ms, triggered_by,
            metadata) VALUES (?1, NULL, 'creating', ?2, NULL, 'api', '{}')",
        [id.as_str(), now],
    )?;
    Ok(())
}

fn log(tx: &Transaction<'_>, id: &ContainerId, from: ContainerState, since_ms: i64, t: &Transition) -> Result<()> {
    let mut metadata = serde_json::json!({});
    if let Some(reason) = &t.reason {
        metadata["reason"] = reason.as_str().into();
    }
    if !t.console.is_empty() {
        metadata["console"] = t.console.clone().into();
    }
    tx.execute(
        "INSERT INTO status_logs (container_id, from_status, to_status, transition_time, duration_ms, triggered_by,
            metadata) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            id.as_str(),
            from.as_str(),
            t.to.as_str(),
            clock::now(),
            (clock::now_ms() - since_ms).max(0),
            t.by,
            metadata.to_string()
        ],
    )?;
    tx.execute(
        "DELETE FROM status_logs WHERE container_id = ?1 AND id <=
            (SELECT id FROM status_logs WHERE container_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        params![id.as_str(), KEEP_LOGS],
    )?;
    Ok(())
}

pub(super) fn apply(tx: &Transaction<'_>, id: &ContainerId, t: &Transition) -> Result<Option<Event>> {
    let found: Option<(Option<ContainerState>, i64, ProjectId, String)> = tx
        .query_row("SELECT state, state_since_ms, project_id, coalesce(deleted_name, name) AS name FROM containers WHERE id = ?1", [id.as_str()], |r| {
            Ok((state(r, "state")?, r.get("state_since_ms")?, column(r, "project_id")?, r.get("name")?))
        })
        .optional()?;
    let (from, since_ms, project, name) = found.ok_or(Error::NotFound("container"))?;
    let from = from.unwrap_or(ContainerState::Failed);
    let started = match t.to {
        ContainerState::Running | ContainerState::Paused => {
            t.started_at_ms.map(|ms| clock::iso_ms(i64::try_from(ms).unwrap_or(i64::MAX)))
        }
        _ => None,
    };
    let lives = matches!(t.to, ContainerState::Running | ContainerState::Paused);
    tx.execute(
        "UPDATE containers SET reason = ?2, wanted = coalesce(?3, wanted),
            started_at = CASE WHEN ?4 THEN coalesce(?5, started_at) ELSE NULL END WHERE id = ?1",
        params![id.as_str(), t.reason, t.wanted, lives, started],
    )?;
    if t.ends_operation {
        tx.execute("DELETE FROM operations WHERE container_id = ?1", [id.as_str()])?;
    }
    if from == t.to {
        return Ok(None);
    }
    tx.execute(
        "UPDATE containers SET state = ?2, state_since_ms = ?3, updated_at = ?4 WHERE id = ?1",
        params![id.as_str(), t.to.as_str(), clock::now_ms(), clock::now()],
    )?;
    log(tx, id, from, since_ms, t)?;
    let mut data = serde_json::json!({ "name": name, "from": from.as_str(), "status": t.to.as_str() });
    if let Some(reason) = &t.reason {
        data["reason"] = reason.as_str().into();
    }
    Ok(Some(events::insert(tx, NewEvent::container(event_type(t.to), project, *id, data))?))
}

fn log_from_row(row: &Row<'_>) -> rusqlite::Result<StatusLog> {
    let id: i64 = row.get("id")?;
    Ok(StatusLog {
        id: id.to_string(),
        from_status: state(row, "from_status")?,
        to_status: state(row, "to_status")?.unwrap_or(ContainerState::Failed),
        transition_time: row.get("transition_time")?,
        duration_ms: row.get("duration_ms")?,
        triggered_by: row.get("triggered_by")?,
        metadata: json(row, "metadata")?,
    })
}

impl Store {
    /// Writes a change of state. `None` when the container was in that state already; reason,
    /// `wanted` and the journal are brought up to date all the same.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn transition(&self, id: &ContainerId, t: &Transition) -> Result<Option<Event>> {
        self.write(|tx| apply(tx, id, t))
    }

    /// Removes a deleted container's row with all that hangs on it, and frees its address.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn remove_container(&self, id: &ContainerId) -> Result<Event> {
        self.write(|tx| {
            let (project, name, buried): (ProjectId, String, bool) = tx
                .query_row(
                    "SELECT project_id, coalesce(deleted_name, name) AS name, deleted_name IS NOT NULL AS buried
                     FROM containers WHERE id = ?1",
                    [id.as_str()],
                    |r| Ok((column(r, "project_id")?, r.get("name")?, r.get("buried")?)),
                )
                .optional()?
                .ok_or(Error::NotFound("container"))?;
            addresses::free(tx, id)?;
            tx.execute("DELETE FROM containers WHERE id = ?1", [id.as_str()])?;
            let data = serde_json::json!({ "name": name, "status": "deleted" });
            // That it was deleted has been told already.
            let kind = if buried { "container.purged" } else { "container.deleted" };
            events::insert(tx, NewEvent::container(kind, project, *id, data))
        })
    }

    /// A page of a container's status logs, and how many there are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn status_logs(
        &self,
        id: &ContainerId,
        limit: u64,
        offset: u64,
        newest_first: bool,
    ) -> Result<(Vec<StatusLog>, u64)> {
        let direction = if newest_first { "DESC" } else { "ASC" };
        self.read(|c| {
            let total = c.query_row("SELECT count(*) FROM status_logs WHERE container_id = ?1", [id.as_str()], |r| {
                r.get(0)
            })?;
            let sql = format!(
                "SELECT * FROM status_logs WHERE container_id = ?1 ORDER BY id {direction} LIMIT {limit} OFFSET {offset}"
            );
            let logs = c.prepare(&sql)?.query_map([id.as_str()], log_from_row)?.collect::<rusqlite::Result<_>>()?;
            Ok((logs, total))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::containers::NewContainer;
    use super::*;

    fn container() -> (tempfile::TempDir, Store, ContainerId) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).unwrap();
        let (project, _) = store.create_project("demo", "#FFF", None, &Default::default()).unwrap();
        let new = NewContainer { name: "web".into(), tier: "debian-13".into(), ..Default::default() };
        let (row, _) = store.create_container(&project.id, &new).unwrap();
        (dir, store, row.id)
    }

    #[test]
    fn a_transition_writes_row_log_event_and_journal_together() {
        let (_dir, store, id) = container();
        let up = Transition {
            started_at_ms: Some(5),
            ends_operation: true,
            ..Transition::to(ContainerState::Running, "api")
        };
        let event = store.transition(&id, &up).unwrap().unwrap();
        assert_eq!((event.event_type.as_str(), &event.data["from"]), ("container.running", &"creating".into()));
        assert_eq!(store.container(&id).unwrap().started_at.as_deref(), Some("1970-01-01T00:00:00.005Z"));
        assert!(store.operations().unwrap().is_empty());
        assert!(store.transition(&id, &up).unwrap().is_none());
        let down = Transition { reason: Some("boom".into()), ..Transition::to(ContainerState::Failed, "container") };
        store.transition(&id, &down).unwrap();
        let row = store.container(&id).unwrap();
        assert_eq!((row.state, row.reason.as_deref(), row.started_at), (ContainerState::Failed, Some("boom"), None));
        let (logs, total) = store.status_logs(&id, 10, 0, true).unwrap();
        assert_eq!(total, 3);
        assert_eq!((logs[0].from_status, logs[0].to_status), (Some(ContainerState::Running), ContainerState::Failed));
        assert_eq!(logs[0].metadata["reason"], "boom");
    }

    #[test]
    fn a_removed_container_leaves_only_events() {
        let (_dir, store, id) = container();
        assert_eq!(store.remove_container(&id).unwrap().event_type, "container.deleted");
        assert!(matches!(store.container(&id), Err(Error::NotFound(_))));
        assert!(store.operations().unwrap().is_empty());
        assert_eq!(store.status_logs(&id, 10, 0, true).unwrap().1, 0);
    }
}
