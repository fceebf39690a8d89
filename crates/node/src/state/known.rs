//! A look into a node's database from outside, whether the node runs or not.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{Error, Result, column};
use cowl_engine::leaks::Known;

/// Which containers, projects and snapshots the database at `path` knows; `None` when there is no such file.
///
/// # Errors
/// When it cannot be read.
pub fn known(path: &Path) -> Result<Option<Known>> {
    if !path.exists() {
        return Ok(None);
    }
    let file = |source| Error::File { path: path.to_owned(), source };
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(file)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    let mut known = Known::default();
    let mut query = conn.prepare("SELECT id FROM containers")?;
    for id in query.query_map([], |row| column(row, "id"))? {
        known.containers.insert(id?);
    }
    let mut query = conn.prepare("SELECT id FROM projects")?;
    for id in query.query_map([], |row| column(row, "id"))? {
        known.projects.insert(id?);
    }
    let mut query = conn.prepare("SELECT container_id, name FROM snapshots")?;
    for snapshot in query.query_map([], |row| Ok((column(row, "container_id")?, row.get("name")?)))? {
        known.snapshots.insert(snapshot?);
    }
    Ok(Some(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Store;

    #[test]
    fn a_database_in_use_can_be_looked_into() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.db");
        assert!(known(&path).unwrap().is_none());
        let store = Store::open(&path).unwrap();
        let project = store.create_project("demo", "#FFF", None, &Default::default()).unwrap().0.id;
        let row = store.create_container(&project, &crate::tests::plain("web")).unwrap().0;
        let known = known(&path).unwrap().unwrap();
        assert!(known.containers.contains(&row.id) && known.projects.contains(&project));
    }
}
