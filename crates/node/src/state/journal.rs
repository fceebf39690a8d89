//! Operations under way. A step is written here before it is done; what is left over when the
//! node starts is what a crash interrupted, and `reconcile` finishes it or rolls it back.

use rusqlite::{Row, Transaction, params};

use super::{Result, Store, column, json};
use crate::clock;
use cowl_api::ContainerId;

/// What is being done to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `disk` → `start`.
    Create,
    /// `start`.
    Start,
    /// `stop`; args hold `node_ends`, whether it is for the node's own end.
    Stop,
    /// `stop` → `start`.
    Restart,
    /// `delete`.
    Delete,
    /// `stop` or `freeze`, as it sleeps.
    Sleep,
    /// `stop` → `swap` → `start`; args hold `name`, `safety`, `was_running`.
    Restore,
    /// `disk` → `start`; args hold `source`, `snapshot`, `copy_snapshots`, `start`.
    Copy,
    /// `stop` → `swap` → `start`; args hold `source`, `safety`, `was_running`.
    Sync,
    /// `place`: a container from an archive, unpacked, is put where its disk belongs.
    Import,
    /// `stop`: a deletion that can be undone.
    Bury,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Delete => "delete",
            Self::Sleep => "sleep",
            Self::Restore => "restore",
            Self::Copy => "copy",
            Self::Sync => "sync",
            Self::Import => "import",
            Self::Bury => "bury",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        use Kind::{Bury, Copy, Create, Delete, Import, Restart, Restore, Sleep, Start, Stop, Sync};
        [Create, Start, Stop, Restart, Delete, Sleep, Restore, Copy, Sync, Import, Bury]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// An operation that was begun and not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Whose.
    pub container: ContainerId,
    /// What.
    pub kind: Kind,
    /// The step that was about to be done.
    pub step: String,
    /// Details that the steps need.
    pub args: serde_json::Value,
}

/// Writes the beginning of an operation in a transaction under way; one before it is superseded.
pub(super) fn begin(
    tx: &Transaction<'_>,
    id: &ContainerId,
    kind: Kind,
    step: &str,
    args: &serde_json::Value,
) -> Result<()> {
    tx.execute(
        "INSERT INTO operations (container_id, kind, step, args, started_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (container_id) DO UPDATE SET kind = excluded.kind, step = excluded.step, args = excluded.args,
            started_at = excluded.started_at",
        params![id.as_str(), kind.as_str(), step, args.to_string(), clock::now()],
    )?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Option<Operation>> {
    let word: String = row.get("kind")?;
    let Some(kind) = Kind::parse(&word) else { return Ok(None) };
    Ok(Some(Operation {
        container: column(row, "container_id")?,
        kind,
        step: row.get("step")?,
        args: json(row, "args")?,
    }))
}

impl Store {
    /// Writes that an operation is about to do its first step.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn begin(&self, id: &ContainerId, kind: Kind, step: &str, args: &serde_json::Value) -> Result<()> {
        self.write(|tx| begin(tx, id, kind, step, args))
    }

    /// Writes that an operation is about to do this step.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn step(&self, id: &ContainerId, step: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute("UPDATE operations SET step = ?2 WHERE container_id = ?1", [id.as_str(), step])?;
            Ok(())
        })
    }

    /// The operation of one container that was begun and not ended.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn operation(&self, id: &ContainerId) -> Result<Option<Operation>> {
        Ok(self.operations()?.into_iter().find(|operation| operation.container == *id))
    }

    /// Operations that were begun and not ended.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn operations(&self) -> Result<Vec<Operation>> {
        self.read(|c| {
            let mut query = c.prepare("SELECT * FROM operations ORDER BY started_at")?;
            let rows = query.query_map([], from_row)?.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(rows.into_iter().flatten().collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_operation_reads_back() {
        use Kind::{Bury, Copy, Create, Delete, Import, Restart, Restore, Sleep, Start, Stop, Sync};
        for kind in [Create, Start, Stop, Restart, Delete, Sleep, Restore, Copy, Sync, Import, Bury] {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("else"), None);
    }
}
