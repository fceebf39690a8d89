//! Figures: what a container uses now, and what it used over the last hour.

use serde::{Deserialize, Serialize};

use super::container::ContainerState;
use super::ids::{ContainerId, ProjectId};

/// CPU figures of [`ContainerStats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuStats {
    /// CPU time used since start, in nanoseconds.
    pub usage: u64,
    /// CPU time that would be all the cores it may use, in nanoseconds per second.
    pub allocated_time: u64,
    /// Share of one core over the last sample, in percent (200 = two cores).
    pub usage_percent: f64,
}

/// Memory figures of [`ContainerStats`], in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryStats {
    /// Charged to the container's cgroup, without reclaimable page cache.
    pub usage: u64,
    /// The limit, or the box' memory without one.
    pub total: u64,
    /// `usage / total`, in percent.
    pub usage_percent: f64,
    /// Highest `usage` seen by the kernel.
    pub usage_peak: u64,
    /// Swapped out.
    pub swap_usage: u64,
    /// Highest `swap_usage`.
    pub swap_usage_peak: u64,
}

/// Disk figures of [`ContainerStats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStats {
    /// The root file system.
    pub root: DiskUsage,
}

/// Bytes of one file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUsage {
    /// Bytes that may be used.
    pub total: u64,
    /// Bytes in use.
    pub usage: u64,
}

/// One address of [`NetworkStats`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAddress {
    /// The address.
    pub address: String,
    /// `inet` or `inet6`.
    pub family: String,
    /// Prefix length as text.
    pub netmask: String,
    /// `global`, `link` or `local`.
    pub scope: String,
}

/// Counters of one interface, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it all; they are the wire's.
pub struct NetworkCounters {
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub packets_received: u64,
    pub packets_sent: u64,
    pub errors_received: u64,
    pub errors_sent: u64,
    pub packets_dropped_inbound: u64,
    pub packets_dropped_outbound: u64,
}

/// One interface of [`ContainerStats`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStats {
    /// Name inside the container.
    pub interface: String,
    /// Its addresses.
    pub addresses: Vec<NetworkAddress>,
    /// Seen from inside: received is what came in.
    pub counters: NetworkCounters,
    /// `up` or `down`.
    pub state: String,
    /// `broadcast`, as the public API says.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A container's `/ramdisk`, as it was last mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RamdiskStats {
    /// `container` or `project`.
    pub scope: String,
    /// Bytes that `/ramdisk` may hold; None when there is none.
    pub shared_pool_maximum: Option<u64>,
    /// Always false: its memory is taken when it is written to.
    pub capacity_reserved: bool,
    /// None before the first start, and without one.
    pub usage: Option<RamdiskUsage>,
}

/// Bytes in a container's ramdisks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RamdiskUsage {
    /// In its own.
    pub private: Option<u64>,
    /// Always None: there is no ramdisk for secrets.
    pub secrets: Option<u64>,
    /// In the one it shares with its project.
    pub project: Option<u64>,
}

/// `data` of `GET /api/v1/containers/{id}/stats`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerStats {
    /// The container.
    pub id: ContainerId,
    /// Its project.
    pub project_id: ProjectId,
    /// That project's name.
    pub project_name: Option<String>,
    /// The box' name.
    pub server_name: Option<String>,
    /// Its state as a word.
    pub status: ContainerState,
    /// Its state as the public API's number: 103 running, 102 stopped, 110 frozen, 112 error.
    pub status_code: u16,
    /// Processes and threads in the container's cgroup.
    pub processes: u64,
    /// ISO 8601, UTC; empty when not running.
    pub started_at: String,
    /// None unless running or paused.
    pub cpu: Option<CpuStats>,
    /// None unless running or paused.
    pub memory: Option<MemoryStats>,
    /// Its `/ramdisk`.
    pub ramdisk: RamdiskStats,
    /// Its disk.
    pub disk: DiskStats,
    /// Its interfaces.
    pub network: Vec<NetworkStats>,
    /// How long it took to gather this, e.g. `0.4ms`.
    pub processing_time: String,
}

/// `data` of `GET /api/v1/projects/{id}/stats`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProjectStats {
    /// One per container.
    pub stats: Vec<ContainerStats>,
}

/// One moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatsPoint {
    /// ISO 8601, UTC.
    pub at: String,
    /// Share of one core since the point before, in percent (200 = two cores).
    pub cpu_percent: f64,
    /// Bytes charged, without reclaimable page cache.
    pub memory: u64,
    /// Bytes swapped out.
    pub swap: u64,
    /// Bytes on disk that count against its quota; absent when nobody counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// Processes and threads.
    pub tasks: u64,
    /// Bytes received per second since the point before.
    pub rx_bytes_per_s: u64,
    /// Bytes sent per second since the point before.
    pub tx_bytes_per_s: u64,
}

/// `data` of `GET /api/v1/containers/{id}/stats/history`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatsHistory {
    /// The container.
    pub id: ContainerId,
    /// Seconds between two points: 30 over the last hour, or 1 over the last minute that somebody
    /// watched.
    pub interval_s: u64,
    /// Oldest first.
    pub points: Vec<StatsPoint>,
}
