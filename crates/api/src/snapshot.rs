//! Snapshots: read-only pictures of a container's root file system.

use serde::{Deserialize, Serialize};

use super::ids::{ContainerId, ProjectId};

/// Shortest and longest expiry, in whole days.
pub const EXPIRY_DAYS: std::ops::RangeInclusive<u32> = 1..=3650;
/// Longest note, in characters.
pub const NOTE_MAX: usize = 1_000;

/// A snapshot as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Assigned by the node, e.g. `snap-2026-05-04-131502`; unique in its container.
    pub name: String,
    /// A name a person gave, unique in its container.
    pub alias: Option<String>,
    /// ISO 8601, UTC.
    pub created_at: String,
    /// When it was restored last.
    pub last_used_at: Option<String>,
    /// When it will be removed.
    pub expires_at: Option<String>,
    /// Always false: memory is not captured.
    pub stateful: bool,
    /// Bytes only this snapshot holds; 0 while not yet counted.
    pub size: u64,
    /// What it was made for: `user`, `safety` (before a restore), `schedule`.
    #[serde(default)]
    pub kind: String,
    /// Free text of at most 1,000 characters.
    #[serde(default)]
    pub note: Option<String>,
    /// Neither expiry nor a schedule removes it, and deleting it must be forced.
    #[serde(default)]
    pub pinned: bool,
    /// Who asked for it: a user of the box by name, `api token`, `schedule`, `node`.
    #[serde(default)]
    pub created_by: String,
    /// Why it was made, where that is not plain.
    #[serde(default)]
    pub reason: Option<String>,
    /// Bytes of all its files, be they shared or not; 0 while not yet counted.
    #[serde(default)]
    pub referenced: u64,
}

/// Body of `POST /api/v1/containers/{id}/snapshots`; may be empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateSnapshot {
    /// A name a person gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Whole days, 1–3650.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiry: Option<serde_json::Value>,
    /// Free text of at most [`NOTE_MAX`] characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Keep it until it is unpinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
    /// Take the alias away from the snapshot that has it, which stays without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
}

/// `data` of `POST /api/v1/containers/{id}/snapshots`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotCreated {
    /// The container.
    pub container_id: ContainerId,
    /// Its project.
    pub project_id: ProjectId,
    /// The new snapshot.
    pub snapshot: Snapshot,
}

/// `data` of `GET /api/v1/containers/{id}/snapshots`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotList {
    /// The container.
    pub container_id: ContainerId,
    /// Its project.
    pub project_id: ProjectId,
    /// How many there are.
    pub snapshot_count: u64,
    /// None is no limit.
    pub max_snapshots: Option<u64>,
    /// Newest first.
    pub snapshots: Vec<Snapshot>,
}

/// `data` of `PUT|PATCH /api/v1/containers/{id}/snapshots/{name}`: a restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotRestored {
    /// Always true.
    pub success: bool,
    /// One sentence.
    pub message: String,
    /// The snapshot that was restored.
    pub snapshot: Snapshot,
    /// Name of the snapshot of the state before, which undoes this restore.
    pub safety_snapshot: Option<String>,
}

/// Body of `PUT|PATCH …/snapshots/{name}/alias`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotAlias {
    /// JSON null removes it.
    pub alias: Option<String>,
}

/// Body of `PUT|PATCH …/snapshots/{name}/note`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotNote {
    /// JSON null removes it.
    pub note: Option<String>,
}

/// Body of `PUT|PATCH …/snapshots/{name}/pin`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotPin {
    /// Whether it is kept whatever happens.
    pub pinned: bool,
}

/// Body of `PUT|PATCH …/snapshots/{name}/expiry`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotExpiry {
    /// Whole days from now, 1–3650; JSON null keeps it for good.
    pub expiry: Option<serde_json::Value>,
}
