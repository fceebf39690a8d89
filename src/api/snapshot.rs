//! Snapshots: read-only pictures of a container's root file system.

use serde::{Deserialize, Serialize};

use super::ids::{ContainerId, ProjectId};

/// Shortest and longest expiry, in whole days.
pub const EXPIRY_DAYS: std::ops::RangeInclusive<u32> = 1..=3650;

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
    /// Who or what made it: `user`, `safety` (before a restore).
    #[serde(default)]
    pub kind: String,
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
