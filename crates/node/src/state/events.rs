//! Stored events: the newest [`KEEP`].

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row, Transaction, params, params_from_iter};

use super::{Error, Result, Store, column, json, optional};
use crate::clock;
use cowl_api::event::Event;
use cowl_api::ids::EventId;
use cowl_api::{ContainerId, ProjectId};

/// How many events are kept.
pub const KEEP: i64 = 10_000;

/// An event before it has an id and a time.
#[derive(Debug, Clone)]
pub struct NewEvent {
    event_type: &'static str,
    resource_type: &'static str,
    resource_id: String,
    project_id: Option<ProjectId>,
    container_id: Option<ContainerId>,
    data: serde_json::Value,
}

impl NewEvent {
    /// About a project.
    pub fn project(event_type: &'static str, id: ProjectId, data: serde_json::Value) -> Self {
        let resource_id = id.to_string();
        Self { event_type, resource_type: "project", resource_id, project_id: Some(id), container_id: None, data }
    }

    /// About a container.
    pub fn container(event_type: &'static str, project: ProjectId, id: ContainerId, data: serde_json::Value) -> Self {
        Self {
            event_type,
            resource_type: "container",
            resource_id: id.to_string(),
            project_id: Some(project),
            container_id: Some(id),
            data,
        }
    }

    /// About a container's firewall.
    pub fn firewall(event_type: &'static str, project: ProjectId, id: ContainerId, data: serde_json::Value) -> Self {
        Self { resource_type: "firewall", ..Self::container(event_type, project, id, data) }
    }

    /// About the box itself.
    pub fn server(event_type: &'static str, resource_id: String, data: serde_json::Value) -> Self {
        Self { event_type, resource_type: "server", resource_id, project_id: None, container_id: None, data }
    }

    /// Gives it an id and the present time.
    pub fn stamp(self) -> Event {
        Event {
            id: EventId::generate(),
            event_type: self.event_type.to_owned(),
            resource_type: self.resource_type.to_owned(),
            resource_id: self.resource_id,
            project_id: self.project_id,
            container_id: self.container_id,
            data: self.data,
            created_at: clock::now(),
        }
    }
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Equal to these columns' values; the names are the caller's constants.
    pub equal: Vec<(&'static str, String)>,
    /// Not before this time.
    pub start: Option<String>,
    /// Not after this time.
    pub end: Option<String>,
    /// Oldest first instead of newest first.
    pub ascending: bool,
}

impl Filter {
    fn clause(&self) -> (String, Vec<Value>) {
        let mut sql = String::from(" WHERE 1");
        let mut values = Vec::new();
        for (column, value) in &self.equal {
            sql.push_str(&format!(" AND {column} = ?"));
            values.push(Value::Text(value.clone()));
        }
        for (operator, value) in [(">=", &self.start), ("<=", &self.end)] {
            if let Some(value) = value {
                sql.push_str(&format!(" AND created_at {operator} ?"));
                values.push(Value::Text(value.clone()));
            }
        }
        (sql, values)
    }
}

/// Stores an event in a transaction under way and forgets the oldest beyond [`KEEP`].
pub(super) fn insert(tx: &Transaction<'_>, new: NewEvent) -> Result<Event> {
    let event = new.stamp();
    tx.execute(
        "INSERT INTO events (id, event_type, resource_type, resource_id, project_id, container_id, data, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            event.id.as_str(),
            event.event_type,
            event.resource_type,
            event.resource_id,
            event.project_id.as_ref().map(ProjectId::as_str),
            event.container_id.as_ref().map(ContainerId::as_str),
            event.data.to_string(),
            event.created_at
        ],
    )?;
    tx.execute("DELETE FROM events WHERE seq <= ?1", [tx.last_insert_rowid() - KEEP])?;
    Ok(event)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        id: column(row, "id")?,
        event_type: row.get("event_type")?,
        resource_type: row.get("resource_type")?,
        resource_id: row.get("resource_id")?,
        project_id: optional(row, "project_id")?,
        container_id: optional(row, "container_id")?,
        data: json(row, "data")?,
        created_at: row.get("created_at")?,
    })
}

impl Store {
    /// Stores one event that no other change goes with.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn record(&self, new: NewEvent) -> Result<Event> {
        self.write(|tx| insert(tx, new))
    }

    /// Events that match, and how many do in all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn events(&self, filter: &Filter, limit: u64, offset: u64) -> Result<(Vec<Event>, u64)> {
        self.read(|c| {
            let (clause, values) = filter.clause();
            let total =
                c.query_row(&format!("SELECT count(*) FROM events{clause}"), params_from_iter(values.clone()), |r| {
                    r.get(0)
                })?;
            let direction = if filter.ascending { "ASC" } else { "DESC" };
            let sql = format!("SELECT * FROM events{clause} ORDER BY seq {direction} LIMIT {limit} OFFSET {offset}");
            let events =
                c.prepare(&sql)?.query_map(params_from_iter(values), from_row)?.collect::<rusqlite::Result<_>>()?;
            Ok((events, total))
        })
    }

    /// One event.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn event(&self, id: &EventId) -> Result<Event> {
        self.read(|c| {
            c.query_row("SELECT * FROM events WHERE id = ?1", [id.as_str()], from_row)
                .optional()?
                .ok_or(Error::NotFound("event"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_events_are_kept_and_listed_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).unwrap();
        let project = ProjectId::generate();
        store
            .write(|tx| {
                for n in 0..KEEP + 5 {
                    let kind = if n % 2 == 0 { "project.created" } else { "project.updated" };
                    insert(tx, NewEvent::project(kind, project, serde_json::json!({ "n": n })))?;
                }
                Ok(())
            })
            .unwrap();
        let (events, total) = store.events(&Filter::default(), 2, 0).unwrap();
        assert_eq!(total, KEEP as u64);
        assert_eq!(events[0].data["n"], KEEP + 4);
        let only = Filter { equal: vec![("event_type", "project.created".into())], ..Default::default() };
        assert_eq!(store.events(&only, 1, 0).unwrap().1, KEEP as u64 / 2);
        assert_eq!(store.event(&events[0].id).unwrap(), events[0]);
    }
}
