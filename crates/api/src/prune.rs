//! Removing images and kits that nobody needs.

use serde::{Deserialize, Serialize};

/// Body of `POST /api/v1/images/prune`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Prune {
    /// Only tell what would go.
    pub dry_run: bool,
}

/// `data` of its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Whether nothing was removed but only told.
    pub dry_run: bool,
    /// Images that nobody needs, each with its template.
    pub images: Vec<Gone>,
    /// Versions of the kit that nobody needs.
    pub kits: Vec<Gone>,
    /// Bytes freed at most: files that the pool holds compressed took fewer.
    pub frees: u64,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Id of the image, or hash of the kit.
    pub id: String,
    /// Bytes of its files.
    pub frees: u64,
}
