//! Tables, forward migrations, and the backup before each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::{Error, Result};

/// One entry per layout version; entry `n` brings version `n` to `n + 1`. Never edit one that was
/// released: append.
const MIGRATIONS: [&str; 3] = [include_str!("v1.sql"), include_str!("v2.sql"), include_str!("v3.sql")];

/// Opens the database and migrates it.
pub(super) fn open(path: &Path) -> Result<Connection> {
    let at = |source| Error::File { path: path.to_owned(), source };
    let mut conn = Connection::open(path).map_err(at)?;
    conn.busy_timeout(Duration::from_secs(5)).map_err(at)?;
    conn.pragma_update(None, "journal_mode", "WAL").map_err(at)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(at)?;
    conn.pragma_update(None, "foreign_keys", true).map_err(at)?;
    migrate(&mut conn, path, &MIGRATIONS)?;
    Ok(conn)
}

fn migrate(conn: &mut Connection, path: &Path, migrations: &[&str]) -> Result<()> {
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = migrations.len() as i64;
    if found > known {
        return Err(Error::Newer { path: path.to_owned(), found, known });
    }
    for version in found..known {
        // A fresh database has nothing to lose.
        if found > 0 {
            back_up(conn, path, version)?;
        }
        let tx = conn.transaction()?;
        tx.execute_batch(migrations[version as usize])?;
        tx.pragma_update(None, "user_version", version + 1)?;
        tx.commit()?;
    }
    Ok(())
}

/// Copies the database to `node.db.v<version>.bak`, through a temporary name.
fn back_up(conn: &Connection, path: &Path, version: i64) -> Result<()> {
    let backup = backup_path(path, version);
    let partial = backup.with_extension("part");
    conn.backup("main", &partial, None::<fn(rusqlite::backup::Progress)>)
        .map_err(|source| Error::File { path: partial.clone(), source })?;
    std::fs::rename(&partial, &backup)
        .map_err(|e| Error::File { path: backup.clone(), source: rusqlite::Error::ToSqlConversionFailure(Box::new(e)) })
}

fn backup_path(path: &Path, version: i64) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".v{version}.bak"));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_database_has_the_newest_layout_and_no_backup() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.db");
        drop(open(&path).unwrap());
        let conn = open(&path).unwrap();
        let version: i64 = conn.pragma_query_value(None, "user_version", |r| r.get(0)).unwrap();
        assert_eq!(version, MIGRATIONS.len() as i64);
        assert!(!backup_path(&path, 1).exists());
    }

    #[test]
    fn a_migration_backs_the_old_layout_up_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.db");
        let mut conn = open(&path).unwrap();
        conn.execute("INSERT INTO meta VALUES ('k', 'old')", []).unwrap();
        migrate(&mut conn, &path, &[&MIGRATIONS[..], &["UPDATE meta SET value = 'new'"]].concat()).unwrap();
        let value = |c: &Connection| c.query_row("SELECT value FROM meta", [], |r| r.get::<_, String>(0)).unwrap();
        assert_eq!(value(&conn), "new");
        assert_eq!(value(&Connection::open(backup_path(&path, MIGRATIONS.len() as i64)).unwrap()), "old");
    }

    #[test]
    fn a_failed_migration_leaves_the_old_layout() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.db");
        let mut conn = open(&path).unwrap();
        assert!(migrate(&mut conn, &path, &[&MIGRATIONS[..], &["CREATE TABLE x(a); NONSENSE"]].concat()).is_err());
        let version: i64 = conn.pragma_query_value(None, "user_version", |r| r.get(0)).unwrap();
        assert_eq!(version, MIGRATIONS.len() as i64);
        assert!(conn.prepare("SELECT * FROM x").is_err());
    }

    #[test]
    fn a_newer_layout_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.db");
        open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(open(&path), Err(Error::Newer { found: 99, .. })));
    }
}
