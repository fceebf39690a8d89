//! Projects.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::events::{self, NewEvent};
use super::{Error, Result, Store, Window, column, containers, is_unique_violation, json};
use crate::clock;
use cowl_api::event::Event;
use cowl_api::project::UpdateProject;
use cowl_api::{ContainerId, Project, ProjectId, Settings};

/// Columns a list of projects may be sorted by, as the API names them.
pub const SORT: [&str; 5] = ["id", "alias", "created_at", "updated_at", "name"];

fn from_row(row: &Row<'_>, owner: &str) -> rusqlite::Result<Project> {
    Ok(Project {
        id: column(row, "id")?,
        user_id: owner.to_owned(),
        alias: row.get("alias")?,
        color: row.get("color")?,
        max_containers: row.get("max_containers")?,
        is_default: row.get("is_default")?,
        realm_ids: Vec::new(),
        settings: json(row, "settings")?,
        warnings: Vec::new(),
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

fn owner(c: &Connection) -> Result<String> {
    Ok(c.query_row("SELECT value FROM meta WHERE key = 'owner_id'", [], |r| r.get(0)).optional()?.unwrap_or_default())
}

fn taken(alias: &str) -> Error {
    Error::Conflict(format!("a project named {alias} exists already"))
}

/// The project of a container.
///
/// # Errors
/// [`Error::NotFound`] when there is no such container.
pub(super) fn project_of(c: &Connection, id: &ContainerId) -> Result<ProjectId> {
    c.query_row("SELECT project_id FROM containers WHERE id = ?1", [id.as_str()], |r| column(r, "project_id"))
        .optional()?
        .ok_or(Error::NotFound("container"))
}

impl Store {
    /// Makes a project. One named `default` is the box' default project.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the alias is taken.
    pub fn create_project(
        &self,
        alias: &str,
        color: &str,
        max: Option<u32>,
        settings: &Settings,
    ) -> Result<(Project, Event)> {
        let id = ProjectId::generate();
        let now = clock::now();
        let event = self.write(|tx| {
            tx.execute(
                "INSERT INTO projects (id, alias, color, max_containers, is_default, created_at, updated_at, settings)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)",
                params![id.as_str(), alias, color, max, alias == "default", now, containers::text(settings)],
            )
            .map_err(|e| if is_unique_violation(&e) { taken(alias) } else { e.into() })?;
            events::insert(tx, NewEvent::project("project.created", id, serde_json::json!({ "alias": alias })))
        })?;
        Ok((self.project(&id)?, event))
    }

    /// One project; one that is being deleted is not found.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn project(&self, id: &ProjectId) -> Result<Project> {
        self.read(|c| {
            let owner = owner(c)?;
            c.query_row("SELECT * FROM projects WHERE id = ?1 AND deleting = 0", [id.as_str()], |r| from_row(r, &owner))
                .optional()?
                .ok_or(Error::NotFound("project"))
        })
    }

    /// A page of projects and how many there are in all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn projects(&self, window: &Window) -> Result<(Vec<Project>, u64)> {
        self.read(|c| {
            let owner = owner(c)?;
            let total = c.query_row("SELECT count(*) FROM projects WHERE deleting = 0", [], |r| r.get(0))?;
            let sql = format!("SELECT * FROM projects WHERE deleting = 0{}", window.sql());
            let rows = c.prepare(&sql)?.query_map([], |r| from_row(r, &owner))?.collect::<rusqlite::Result<_>>()?;
            Ok((rows, total))
        })
    }

    /// Changes a project; absent fields stay.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`].
    pub fn update_project(&self, id: &ProjectId, change: &UpdateProject) -> Result<(Project, Event)> {
        let event = self.write(|tx| {
            if let Some(patch) = &change.settings {
                containers::patch_settings(tx, "projects", id.as_str(), patch.as_ref())?;
            }
            let changed = tx
                .execute(
                    "UPDATE projects SET alias = coalesce(?2, alias), color = coalesce(?3, color),
                        max_containers = CASE WHEN ?4 THEN ?5 ELSE max_containers END, updated_at = ?6
                     WHERE id = ?1 AND deleting = 0",
                    params![
                        id.as_str(),
                        change.alias,
                        change.color,
                        change.max_containers.is_some(),
                        change.max_containers.flatten(),
                        clock::now()
                    ],
                )
                .map_err(|e| match &change.alias {
                    Some(alias) if is_unique_violation(&e) => taken(alias),
                    _ => e.into(),
                })?;
            if changed == 0 {
                return Err(Error::NotFound("project"));
            }
            events::insert(tx, NewEvent::project("project.updated", *id, serde_json::json!({})))
        })?;
        Ok((self.project(id)?, event))
    }

    /// Notes that a project is to go: from now on it cannot be found and takes no containers. False
    /// takes that back.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn condemn_project(&self, id: &ProjectId, condemned: bool) -> Result<()> {
        let sql = "UPDATE projects SET deleting = ?2 WHERE id = ?1";
        self.write(|tx| match tx.execute(sql, params![id.as_str(), condemned])? {
            0 => Err(Error::NotFound("project")),
            _ => Ok(()),
        })
    }

    /// Projects whose deletion is under way.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn condemned_projects(&self) -> Result<Vec<ProjectId>> {
        self.read(|c| {
            let mut query = c.prepare("SELECT id FROM projects WHERE deleting = 1")?;
            Ok(query.query_map([], |r| column(r, "id"))?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Removes a project that holds no containers any more.
    ///
    /// # Errors
    /// When containers are left.
    pub fn remove_project(&self, id: &ProjectId) -> Result<Event> {
        self.write(|tx| {
            let alias: String = tx
                .query_row("SELECT alias FROM projects WHERE id = ?1", [id.as_str()], |r| r.get(0))
                .optional()?
                .ok_or(Error::NotFound("project"))?;
            tx.execute("DELETE FROM projects WHERE id = ?1", [id.as_str()])?;
            events::insert(tx, NewEvent::project("project.deleted", *id, serde_json::json!({ "alias": alias })))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).unwrap();
        (dir, store)
    }

    #[test]
    fn a_projects_alias_is_unique() {
        let (_dir, store) = store();
        store.create_project("demo", "#FFF", None, &Default::default()).unwrap();
        assert!(matches!(store.create_project("demo", "#FFF", None, &Default::default()), Err(Error::Conflict(_))));
        let (other, _) = store.create_project("other", "#FFF", Some(3), &Default::default()).unwrap();
        let rename = UpdateProject { alias: Some("demo".into()), ..Default::default() };
        assert!(matches!(store.update_project(&other.id, &rename), Err(Error::Conflict(_))));
    }

    #[test]
    fn an_update_changes_only_what_it_names_and_null_lifts_the_limit() {
        let (_dir, store) = store();
        let (p, _) = store.create_project("demo", "#FFF", Some(3), &Default::default()).unwrap();
        let (p, _) =
            store.update_project(&p.id, &UpdateProject { color: Some("#000".into()), ..Default::default() }).unwrap();
        assert_eq!((p.alias.as_str(), p.color.as_str(), p.max_containers), ("demo", "#000", Some(3)));
        let (p, _) =
            store.update_project(&p.id, &UpdateProject { max_containers: Some(None), ..Default::default() }).unwrap();
        assert_eq!(p.max_containers, None);
    }

    #[test]
    fn a_condemned_project_is_not_found() {
        let (_dir, store) = store();
        let (p, _) = store.create_project("demo", "#FFF", None, &Default::default()).unwrap();
        store.condemn_project(&p.id, true).unwrap();
        assert!(matches!(store.project(&p.id), Err(Error::NotFound(_))));
        assert_eq!(store.condemned_projects().unwrap(), [p.id]);
        store.remove_project(&p.id).unwrap();
        assert!(store.condemned_projects().unwrap().is_empty());
    }
}
