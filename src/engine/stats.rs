//! What a running container uses, read from its cgroups and its veth: a handful of small files.

use super::cgroup::Cgroups;
use super::error::Result;
use super::{Config, net};
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

/// Reads the counters of a running container. Figures the host does not keep are 0.
///
/// # Errors
/// When it does not run.
pub fn read(config: &Config, id: &ContainerId) -> Result<Usage> {
    let tag = config.tag();
    let cgroups = Cgroups::find(&tag)?;
    let cpu_usec = cpu(&cgroups, id)?;
    let charged = cgroups.read(id, "memory", "memory.usage_in_bytes", "memory.current");
    let stat = cgroups.read(id, "memory", "memory.stat", "memory.stat").unwrap_or_default();
    let v1_memory = cgroups.is_v1("memory");
    let cache = keyed(&stat, if v1_memory { "total_inactive_file" } else { "inactive_file" });
    let swap = if v1_memory {
        keyed(&stat, "total_swap")
    } else {
        number(&cgroups.read(id, "memory", "", "memory.swap.current").unwrap_or_default())
    };
    let veth = net::veth_name(&tag, id);
    // The veth's far end is the container: what the host sends, it receives.
    Ok(Usage {
        cpu_usec,
        memory: number(&charged.unwrap_or_default()).saturating_sub(cache),
        memory_peak: number(
            &cgroups.read(id, "memory", "memory.max_usage_in_bytes", "memory.peak").unwrap_or_default(),
        ),
        swap,
        tasks: number(&cgroups.read(id, "pids", "pids.current", "pids.current").unwrap_or_default()),
        rx_bytes: counter(&veth, "tx_bytes"),
        tx_bytes: counter(&veth, "rx_bytes"),
        rx_packets: counter(&veth, "tx_packets"),
        tx_packets: counter(&veth, "rx_packets"),
    })
}

/// CPU time a running container has used, in microseconds.
///
/// # Errors
/// When it does not run.
pub fn cpu_usec(config: &Config, id: &ContainerId) -> Result<u64> {
    cpu(&Cgroups::find(&config.tag())?, id)
}

fn cpu(cgroups: &Cgroups, id: &ContainerId) -> Result<u64> {
    if cgroups.is_v1("cpuacct") {
        Ok(number(&cgroups.read(id, "cpuacct", "cpuacct.usage", "")?) / 1000)
    } else {
        Ok(keyed(&cgroups.read(id, "cpuacct", "", "cpu.stat")?, "usage_usec"))
    }
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

fn keyed(text: &str, key: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).map_or(0, number)
}

fn counter(interface: &str, name: &str) -> u64 {
    std::fs::read_to_string(format!("/sys/class/net/{interface}/statistics/{name}")).map_or(0, |t| number(&t))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyed_file_gives_the_line_with_exactly_that_key() {
        let text = "usage_usec 1200\nuser_usec 7\ninactive_file 4096\n";
        assert_eq!(keyed(text, "usage_usec"), 1200);
        assert_eq!(keyed(text, "usage"), 0);
        assert_eq!(keyed(text, "inactive_file"), 4096);
    }
}
