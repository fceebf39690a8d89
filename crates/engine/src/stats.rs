//! What running containers use, read from their cgroups, their quota groups and the host's table of
//! interfaces: ten small files each, and one table for all.

use std::collections::HashMap;
use std::fs;

use super::cgroup::Cgroups;
use super::error::Result;
use super::net;
use super::quota::Quotas;
use cowl_api::ContainerId;

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
    /// Bytes on disk that count against its quota; `None` when nobody counts.
    pub disk: Option<u64>,
    /// Its disk quota in bytes.
    pub disk_limit: Option<u64>,
    /// How often it ran into its limits since start.
    pub hits: Hits,
}

/// How often a container ran into its limits since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hits {
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// Allocations that met the memory limit.
    pub memory: u64,
    /// Allocations that met the high mark; v2 only.
    pub memory_high: u64,
    /// Forks that were refused.
    pub pids: u64,
}

/// Figures of the host's interfaces at one moment.
#[derive(Debug, Clone, Default)]
pub struct Interfaces(HashMap<String, [u64; 4]>);

impl Interfaces {
    /// Reads them all at once.
    pub fn read() -> Self {
        Self(parse_interfaces(&fs::read_to_string("/proc/net/dev").unwrap_or_default()))
    }
}

/// Reads `/proc/net/dev`: received bytes and packets, sent bytes and packets of each interface.
fn parse_interfaces(text: &str) -> HashMap<String, [u64; 4]> {
    let line = |line: &str| {
        let (name, figures) = line.split_once(':')?;
        // Other interfaces are none of ours.
        let name = name.trim();
        if !name.starts_with("cw") {
            return None;
        }
        let mut figures = figures.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0));
        let (bytes_in, packets_in) = (figures.next()?, figures.next()?);
        // Between them: errors, drops, fifo, frame, compressed, multicast.
        let (bytes_out, packets_out) = (figures.nth(6)?, figures.next()?);
        Some((name.to_owned(), [bytes_in, packets_in, bytes_out, packets_out]))
    };
    text.lines().filter_map(line).collect()
}

/// Where counters are read from; made once.
#[derive(Debug, Clone)]
pub struct Meter {
    cgroups: Cgroups,
    tag: String,
    quotas: Quotas,
}

impl Meter {
    /// Of the node with this tag.
    pub fn new(cgroups: Cgroups, tag: String, quotas: Quotas) -> Self {
        Self { cgroups, tag, quotas }
    }

    /// Reads the counters of a running container. Figures the host does not keep are 0.
    ///
    /// # Errors
    /// When it does not run.
    pub fn read(&self, id: &ContainerId, interfaces: &Interfaces) -> Result<Usage> {
        let get = |controller: &str, v1: &str, v2: &str| self.cgroups.read(id, controller, v1, v2);
        let text = |controller: &str, v1: &str, v2: &str| get(controller, v1, v2).unwrap_or_default();
        let cpu_usec = self.cpu_usec(id)?;
        let v1_memory = self.cgroups.is_v1("memory");
        let stat = text("memory", "memory.stat", "memory.stat");
        let cache = keyed(&stat, if v1_memory { "total_inactive_file" } else { "inactive_file" });
        let swap =
            if v1_memory { keyed(&stat, "total_swap") } else { number(&text("memory", "", "memory.swap.current")) };
        let disk = self.quotas.usage(id);
        let veth = net::veth_name(&self.tag, id);
        // The veth's far end is the container: what the host sends, it receives.
        let [tx_bytes, tx_packets, rx_bytes, rx_packets] = interfaces.0.get(&veth).copied().unwrap_or_default();
        Ok(Usage {
            cpu_usec,
            memory: number(&text("memory", "memory.usage_in_bytes", "memory.current")).saturating_sub(cache),
            memory_peak: number(&text("memory", "memory.max_usage_in_bytes", "memory.peak")),
            swap,
            tasks: number(&text("pids", "pids.current", "pids.current")),
            rx_bytes,
            tx_bytes,
            rx_packets,
            tx_packets,
            disk: disk.map(|d| d.used),
            disk_limit: disk.and_then(|d| d.limit),
            hits: self.hits(id, v1_memory, &text),
        })
    }

    /// CPU time a running container has used, in microseconds.
    ///
    /// # Errors
    /// When it does not run.
    pub fn cpu_usec(&self, id: &ContainerId) -> Result<u64> {
        if self.cgroups.is_v1("cpuacct") {
            Ok(number(&self.cgroups.read(id, "cpuacct", "cpuacct.usage", "")?) / 1000)
        } else {
            Ok(keyed(&self.cgroups.read(id, "cpuacct", "", "cpu.stat")?, "usage_usec"))
        }
    }

    fn hits(&self, id: &ContainerId, v1_memory: bool, text: &impl Fn(&str, &str, &str) -> String) -> Hits {
        let pids = if self.cgroups.tells_refusals_apart(id) {
            own(&self.cgroups.read_both(id, "pids.events.local"), "max")
        } else {
            keyed(&text("pids", "pids.events", "pids.events"), "max")
        };
        if v1_memory {
            let oom_kills = keyed(&text("memory", "memory.oom_control", ""), "oom_kill");
            return Hits { oom_kills, memory: number(&text("memory", "memory.failcnt", "")), memory_high: 0, pids };
        }
        v2_hits(&text("memory", "", "memory.events"), &self.cgroups.read_both(id, "memory.events.local"), pids)
    }
}

/// `all` counts the whole tree, with limits that were set inside; `local` only those of the container's
/// own groups. Victims are counted in `all` alone: at most as many as found no memory here are ours.
fn v2_hits(all: &str, local: &[String], pids: u64) -> Hits {
    Hits {
        oom_kills: keyed(all, "oom_kill").min(own(local, "oom")),
        memory: own(local, "max"),
        memory_high: own(local, "high"),
        pids,
    }
}

fn own(texts: &[String], key: &str) -> u64 {
    texts.iter().map(|text| keyed(text, key)).sum()
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

fn keyed(text: &str, key: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).map_or(0, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyed_file_gives_the_line_with_exactly_that_key() {
        let text = "usage_usec 1200\nuser_usec 7\ninactive_file 4096\noom 3\noom_kill 2\n";
        assert_eq!(keyed(text, "usage_usec"), 1200);
        assert_eq!(keyed(text, "usage"), 0);
        assert_eq!(keyed(text, "inactive_file"), 4096);
        assert_eq!((keyed(text, "oom"), keyed(text, "oom_kill")), (3, 2));
    }

    #[test]
    fn limits_that_were_set_inside_are_not_its_own() {
        let all = "low 0\nhigh 7\nmax 900\noom 12\noom_kill 12\noom_group_kill 0\n";
        let none = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n".to_owned();
        assert_eq!(v2_hits(all, &[none.clone(), none.clone()], 0), Hits::default());
        // Met by two at once, who are content with one victim.
        let met = "low 0\nhigh 3\nmax 40\noom 14\noom_kill 0\n".to_owned();
        let hits = Hits { oom_kills: 12, memory: 40, memory_high: 3, pids: 5 };
        assert_eq!(v2_hits(all, &[none, met], 5), hits);
    }

    #[test]
    fn the_table_of_interfaces_is_read_as_the_kernel_writes_it() {
        let text = "Inter-|   Receive                            |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop\n    \
             lo:     500       5    0    0    0     0          0         0      500       5    0    0    0     0       0          0\n\
             cw12ab01234567: 1234567 89 0 1 0 0 0 0 42 7 0 0 0 0 0 0\n";
        let read = parse_interfaces(text);
        assert_eq!(read.len(), 1);
        assert_eq!(read["cw12ab01234567"], [1_234_567, 89, 42, 7]);
        assert!(parse_interfaces("cwx: 1 2\nnonsense").is_empty());
    }
}
