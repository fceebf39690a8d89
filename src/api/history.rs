//! What a container used over the last hour.

use serde::{Deserialize, Serialize};

use super::ids::ContainerId;

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
