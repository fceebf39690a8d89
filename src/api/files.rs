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
