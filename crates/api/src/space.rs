//! Space of the pool, and what it is taken by. All figures are bytes.

use serde::{Deserialize, Serialize};

use super::ids::ContainerId;

/// What a container's bytes on disk are: data; the file system's own metadata is not told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breakdown {
    /// Shared with the image it was made from; costs nothing more.
    pub from_image: u64,
    /// Written since, and in its files now. Snapshots and branches may share it.
    pub own: u64,
    /// Written by it, and held by nothing but snapshots; none when the pool does not count.
    pub only_in_snapshots: Option<u64>,
    /// What it may write in all.
    pub limit: Option<u64>,
}

/// `data` of `GET /api/v1/containers/{id}/disk`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerDisk {
    /// The container.
    pub container_id: ContainerId,
    /// Its bytes.
    #[serde(flatten)]
    pub bytes: Breakdown,
    /// What deleting one of its snapshots would free, newest first.
    pub snapshots: Vec<SnapshotCost>,
}

/// What a snapshot costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotCost {
    /// Its name.
    pub name: String,
    /// Its alias.
    pub alias: Option<String>,
    /// What deleting it alone would free; none while not counted. Deleting several may free more
    /// than the sum: what only they share.
    pub would_free: Option<u64>,
}

/// Subvolumes that were deleted and whose space the kernel has not freed yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dying {
    /// How many.
    pub subvolumes: u64,
    /// At most so much comes free; none when the pool does not count.
    pub bytes: Option<u64>,
}

/// Errors of the pool's devices since they were made part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // The kernel's names.
pub struct DeviceErrors {
    pub write: u64,
    pub read: u64,
    pub flush: u64,
    pub corruption: u64,
    pub generation: u64,
}

impl DeviceErrors {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.write + self.read + self.flush + self.corruption + self.generation
    }
}

/// A reading of everything to compare it with its checksums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrub {
    /// `running`, `finished`, `aborted`, `interrupted`.
    pub status: String,
    /// Whether it is under way.
    pub running: bool,
    /// When it began, in words of the host.
    pub begun: Option<String>,
    /// How long it took so far, `h:mm:ss`.
    pub took: Option<String>,
    /// Read so far.
    pub read_bytes: u64,
    /// Errors that were mended.
    pub corrected: u64,
    /// Errors that could not be.
    pub uncorrectable: u64,
}

/// How the pool's file system is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Errors of its devices.
    pub errors: DeviceErrors,
    /// Long work under way, in the kernel's words: `balance`, `balance paused`, `device remove`, …
    pub working_on: Option<String>,
    /// Whether it has become read-only, which the kernel does when it finds it damaged.
    pub read_only: bool,
    /// The last scrub; none when there never was one.
    pub scrub: Option<Scrub>,
}

/// How full a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// There is room.
    Ok,
    /// Less than a tenth is left.
    Low,
    /// Only the reserve is left: nothing new is made; what runs runs on.
    Full,
}

/// `data` of `GET /api/v1/servers/{id}/storage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSpace {
    /// `loop` or `btrfs`.
    pub kind: String,
    /// Size of the pool.
    pub total: u64,
    /// In use, what is dying included.
    pub used: u64,
    /// Can still be written.
    pub free: u64,
    /// Kept for what runs; with less free nothing new is made.
    pub reserve: u64,
    /// How full it is.
    pub level: Level,
    /// Deleted, not yet free.
    pub dying: Dying,
    /// How the file system is.
    pub health: Health,
    /// What containers take, most first.
    pub containers: Vec<ContainerSpace>,
}

/// What a container takes of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpace {
    /// The container.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its project's alias.
    pub project: String,
    /// Written by it and still there, snapshots included; none when the pool does not count.
    pub used: Option<u64>,
    /// What it may write in all.
    pub limit: Option<u64>,
    /// How many snapshots it has.
    pub snapshots: u64,
}
