//! Bodies of the files service.

use serde::{Deserialize, Serialize};

/// Kind of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // The names are the wire's.
pub enum PathType {
    File,
    Dir,
    SymlinkFile,
    SymlinkDir,
}

/// One entry of a [`Listing`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Name without directory.
    pub name: String,
    /// What it is.
    pub path_type: PathType,
    /// Bytes; for directories the number of entries is not counted and this is 0.
    pub size: u64,
    /// Milliseconds since the epoch.
    pub mtime: i64,
    /// Recorded revisions, where a journal keeps them.
    #[serde(default)]
    pub revisions: Option<u64>,
    /// Octal permission bits, e.g. `644`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<String>,
    /// Owner's name, or number when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Group's name, or number when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Where a link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symlink_target: Option<String>,
}

/// A directory, `GET /api/v1/files/{dir}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// Always `Index`.
    pub kind: String,
    /// The directory, absolute.
    pub href: String,
    /// Its entries, directories first, then by name.
    pub paths: Vec<Entry>,
    /// Whether writing is allowed.
    pub allow_upload: bool,
    /// Whether deleting is allowed.
    pub allow_delete: bool,
    /// Whether searching is allowed.
    pub allow_search: bool,
    /// Whether archives can be fetched.
    pub allow_archive: bool,
    /// Always true for a listing.
    pub dir_exists: bool,
}

/// Reply of `GET /api/v1/files/stat/{path}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stat {
    /// Name without directory.
    pub name: String,
    /// Absolute path.
    pub path: String,
    /// What it is.
    pub path_type: PathType,
    /// Bytes.
    pub size: u64,
    /// Octal, e.g. `644`.
    pub permissions: String,
    /// Owner's name or number.
    pub owner: String,
    /// Group's name or number.
    pub group: String,
    /// Milliseconds since the epoch.
    pub mtime: i64,
    /// Recorded revisions.
    pub revisions: Option<u64>,
    /// Whether the path itself is a link.
    pub is_symlink: bool,
    /// Where it points.
    pub symlink_target: Option<String>,
}

/// What to do when something is where a file is to be copied to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overwrite {
    /// Copy nothing at all, and tell what is in the way.
    #[default]
    Fail,
    /// Leave what is there.
    Skip,
    /// Put the copy in its place; a directory never gives way to a file.
    Replace,
}

/// Body of `POST …/files/restore` of a snapshot, or of a container that does not run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreFiles {
    /// Absolute paths of files and directories, 1 to 1,000.
    pub paths: Vec<String>,
    /// Id of the container that gets them; the one they are from when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_container: Option<String>,
    /// The directory they get into; each goes where it was when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// What to do with what is in the way.
    pub overwrite: Overwrite,
    /// Only tell what would be copied, and what is in the way.
    pub dry_run: bool,
}

/// `data` of a copy of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Files, directories and links that were made, or would be.
    pub copied: u64,
    /// Bytes of the files among them.
    pub bytes: u64,
    /// How many of them took the place of others.
    #[serde(default)]
    pub replaced: u64,
    /// What was left out; at most 1,000 are told.
    pub skipped: Vec<String>,
    /// What is in the way; at most 1,000 are told. Nothing was copied then.
    #[serde(default)]
    pub conflicts: Vec<String>,
    /// Whether this only says what would be.
    #[serde(default)]
    pub dry_run: bool,
}
