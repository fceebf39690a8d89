//! The box itself: status, images, pool.

use serde::{Deserialize, Serialize};

use super::ids::ServerId;

/// Where an image is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageState {
    /// Not asked for yet.
    Absent,
    /// Being built.
    Building,
    /// Containers can be made from it.
    Ready,
    /// The last build failed; it can be retried.
    Failed,
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildProgress {
    /// What is being done, for people: `downloading packages`, `unpacking`, `configuring`, `first boot`.
    pub step: String,
    /// Share of the whole build done, 0–100.
    pub percent: f64,
    /// More, e.g. the package at hand or `31 of 66 MB`.
    pub detail: String,
    /// Seconds since the build began.
    pub elapsed_s: f64,
    /// Estimate of the seconds left.
    pub remaining_s: Option<f64>,
}

/// An image tier of this box.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// `debian/13`.
    pub name: String,
    /// The version's id, e.g. `debian-13-20261123-1a2b3c4d`; absent until built.
    pub id: Option<String>,
    /// Where it is in its life.
    pub state: ImageState,
    /// Bytes of its root file system.
    pub size: u64,
    /// ISO 8601, UTC.
    pub created_at: Option<String>,
    /// While building.
    pub progress: Option<BuildProgress>,
    /// Why the last build failed.
    pub error: Option<String>,
    /// Where the build's log is.
    pub log: Option<String>,
    /// Whether it was built by an older recipe than this version's; a new build takes its place.
    #[serde(default)]
    pub outdated: bool,
}

/// Space of the pool, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Where it is mounted.
    pub path: String,
    /// `loop` (a sparse file) or `btrfs` (the host's own).
    pub kind: String,
    /// Size of the pool.
    pub total: u64,
    /// In use.
    pub used: u64,
    /// What can still be written, limited by the host's disk for a sparse file.
    pub free: u64,
}

/// Load of the box.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HostStats {
    /// Number of cores.
    pub cores: u32,
    /// Share of all cores in use, 0–100.
    pub cpu_percent: f64,
    /// Bytes.
    pub memory_total: u64,
    /// Bytes not available for new programs.
    pub memory_used: u64,
}

/// Versions of the parts that talk to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// This program.
    pub cowl: String,
    /// The kit new containers get.
    pub kit: String,
    /// The host's kernel.
    pub kernel: String,
}

/// `data` of `GET /api/v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Id of the box.
    pub server_id: ServerId,
    /// Its name in URLs.
    pub server_name: String,
    /// All domains the proxy answers for; the first is primary.
    pub domains: Vec<String>,
    /// Where the proxy listens, e.g. `127.0.0.1:443`.
    pub listen: String,
    /// The API's base URL with the primary domain.
    pub api_url: String,
    /// The containers' network, e.g. `10.201.0.0/16`.
    pub network: String,
    /// The containers' IPv6 network; absent where the host has no IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network6: Option<String>,
    /// Where the names of containers resolve for programs of this host, `127.0.0.1:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// Space.
    pub pool: PoolStatus,
    /// Images.
    pub images: Vec<Image>,
    /// Load.
    pub host: HostStats,
    /// Versions.
    pub versions: Versions,
    /// Process id of the node.
    pub pid: u32,
    /// ISO 8601, UTC.
    pub started_at: String,
    /// Containers by state.
    pub containers: std::collections::BTreeMap<String, u64>,
    /// Things the owner should know, e.g. that 443 was taken.
    pub hints: Vec<String>,
}

/// `data.images` of `GET /api/v1/images`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageList {
    /// All tiers.
    pub images: Vec<Image>,
}
