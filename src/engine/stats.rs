//! What a running container uses, read from its cgroups and its veth.

use super::Config;
use super::error::{Error, Result};
use crate::api::ContainerId;

/// Raw counters of one container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time since start, in microseconds.
    pub cpu_usec: u64,
    /// Memory charged without reclaimable page cache, in bytes.
    pub memory: u64,
    /// Highest memory charge, in bytes.
    pub memory_peak: u64,
    /// Swap in bytes.
    pub swap: u64,
    /// Tasks.
    pub tasks: u64,
    /// Bytes received by the container.
    pub rx_bytes: u64,
    /// Bytes sent by the container.
    pub tx_bytes: u64,
    /// Packets received by the container.
    pub rx_packets: u64,
    /// Packets sent by the container.
    pub tx_packets: u64,
}

/// Reads the counters of a running container.
///
/// # Errors
/// When it does not run.
pub fn read(_config: &Config, _id: &ContainerId) -> Result<Usage> {
    Err(Error::Unsupported("not built".into()))
}
