//! Single facts of this box: its id, its name in URLs, its network, its owner's id.

use rusqlite::OptionalExtension;

use super::{Result, Store};

impl Store {
    /// Reads a fact.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        self.read(|c| Ok(c.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()?))
    }

    /// Writes a fact.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [key, value],
            )?;
            Ok(())
        })
    }

    /// Reads a fact, and makes and keeps it when it is not there yet.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub fn meta_or(&self, key: &str, make: impl FnOnce() -> String) -> Result<String> {
        if let Some(value) = self.meta(key)? {
            return Ok(value);
        }
        let value = make();
        self.set_meta(key, &value)?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;

    #[test]
    fn a_fact_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.db");
        let first = Store::open(&path).unwrap().meta_or("server_id", || "a".into()).unwrap();
        let second = Store::open(&path).unwrap().meta_or("server_id", || "b".into()).unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("a", "a"));
    }
}
