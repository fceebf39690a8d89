//! What the node knows, in one SQLite file: `STATE/node.db`.
//!
//! One connection behind one mutex; every call is short and blocking, so callers in async code go
//! through `Node::db`. Writes are transactions with `synchronous=FULL`: what was answered with
//! success is on disk.
//!
//! | file | what it keeps |
//! |---|---|
//! | [`schema`] | tables, migrations, the backup before each |
//! | [`meta`] | single facts of this box |
//! | [`projects`], [`containers`], [`snapshots`], [`shares`] | the nouns |
//! | [`share_expiry`] | when the ends of shares come and are told of |
//! | [`snapshot_facts`] | notes, pins, expiry; what undoes a restore |
//! | [`undelete`] | deleted containers that can be had back |
//! | [`transitions`] | the one way a container's state changes |
//! | [`journal`] | operations under way, for after a crash |
//! | [`addresses`] | which index of the network is whose |
//! | [`firewall`] | firewall rules, egress configurations |
//! | [`lineage`] | what was copied from what, and when |
//! | [`known`] | the same from outside, read-only |
//! | [`events`] | what happened |

pub mod addresses;
pub mod containers;
pub mod events;
pub mod exports;
pub mod firewall;
pub mod journal;
pub mod known;
pub mod lineage;
pub mod meta;
pub mod projects;
pub mod schema;
pub mod share_expiry;
pub mod shares;
pub mod snapshot_facts;
pub mod snapshots;
pub mod transitions;
pub mod undelete;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, Row, Transaction};

use cowl_api::ApiError;
use cowl_engine::fault;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite refused.
    #[error("node.db: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Something must be unique and is not; the text says what, for people.
    #[error("{0}")]
    Conflict(String),
    /// No such row; the text names the noun.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// A value is out of range.
    #[error("{}: {}", .0.instance_path, .0.message)]
    Invalid(cowl_api::envelope::FieldError),
    /// The file was written by a newer version.
    #[error("{path} has layout {found}; this version knows up to {known}: install a newer cowl")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its user_version.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// The file could not be opened or backed up.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
    /// The test's power cut.
    #[cfg(test)]
    #[error("power cut")]
    PowerCut,
}

/// Result of the store.
pub type Result<T> = std::result::Result<T, Error>;

impl From<Error> for ApiError {
    fn from(e: Error) -> Self {
        match e {
            Error::Conflict(message) => ApiError::conflict(message),
            Error::NotFound(what) => ApiError::not_found(what),
            Error::Invalid(field) => field.into(),
            other => ApiError::internal(other),
        }
    }
}

/// The open database.
#[derive(Debug)]
pub struct Store {
    conn: Mutex<Connection>,
    path: PathBuf,
    #[cfg(test)]
    pub(crate) fuse: crate::machine::fake::Fuse,
}

impl Store {
    /// Opens or makes the database at `path` and brings it to the newest layout.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::File`], or what a migration said.
    pub fn open(path: &Path) -> Result<Self> {
        let conn = schema::open(path)?;
        Ok(Self {
            conn: Mutex::new(conn),
            path: path.to_owned(),
            #[cfg(test)]
            fuse: Default::default(),
        })
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a reading closure.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        #[cfg(test)]
        if self.fuse.is_blown() {
            return Err(Error::PowerCut);
        }
        f(&self.conn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a closure in one transaction; it is rolled back when the closure fails.
    pub(crate) fn write<T>(&self, f: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        #[cfg(test)]
        if self.fuse.burn() {
            return Err(Error::PowerCut);
        }
        let mut conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let out = f(&tx)?;
        fault::step("commit");
        tx.commit()?;
        fault::step("after commit");
        Ok(out)
    }
}

/// Parses a text column.
pub(crate) fn column<T>(row: &Row<'_>, index: &str) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(index)?;
    text.parse()
        .map_err(|e: T::Err| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e)))
}

/// Parses a text column that may be NULL.
pub(crate) fn optional<T>(row: &Row<'_>, index: &str) -> rusqlite::Result<Option<T>>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: Option<String> = row.get(index)?;
    text.map(|t| {
        t.parse()
            .map_err(|e: T::Err| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e)))
    })
    .transpose()
}

/// Parses a column that holds JSON.
pub(crate) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, index: &str) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    serde_json::from_str(&text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e)))
}

/// Whether an error says that a UNIQUE or PRIMARY KEY constraint was violated.
pub(crate) fn is_unique_violation(e: &rusqlite::Error) -> bool {
    matches!(e, rusqlite::Error::SqliteFailure(f, _) if f.code == rusqlite::ErrorCode::ConstraintViolation)
}

/// One page of a list: how to sort it and which part to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// A column that the caller checked against its own list of names.
    pub sort_by: &'static str,
    /// Newest or greatest first.
    pub descending: bool,
    /// Rows to skip.
    pub offset: u64,
    /// Rows to give.
    pub limit: u64,
}

impl Window {
    pub(crate) fn sql(&self) -> String {
        let direction = if self.descending { "DESC" } else { "ASC" };
        format!(" ORDER BY {} {direction}, rowid {direction} LIMIT {} OFFSET {}", self.sort_by, self.limit, self.offset)
    }
}
