//! Where memory is: what containers hold, what KSM saves them, what Cowl itself takes.
//!
//! | figure | v2 | v1 |
//! |---|---|---|
//! | charged | `memory.current` | `memory.usage_in_bytes` |
//! | anon | `anon` | `total_rss` |
//! | file | `file` | `total_cache` |
//! | kernel | `kernel` | `memory.kmem.usage_in_bytes` |
//! | swap | `memory.swap.current` | `total_swap` |
//!
//! Each is one small file. KSM is `/proc/PID/ksm_stat` of every process in the container's groups
//! (some tens of microseconds each). PSS is `/proc/PID/smaps_rollup`, for which the kernel walks every page of a process
//! and holds up its `mmap` meanwhile. For idle containers that is too little to be seen beside the
//! rest, but it grows with their memory: only when asked for.

pub mod savings;

use std::fs;
use std::path::Path;

use super::cgroup::Cgroups;
use super::error::Result;
use super::storage::cached::PAGE;
use cowl_api::ContainerId;
use cowl_api::memory::{ContainerUse, HostKsm, HostMemory, KsmUse, ProcessMemory, SharedUsr};

/// All that is known of memory at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Containers that run.
    pub containers: Vec<(ContainerId, ContainerUse)>,
    /// The `/usr` they share.
    pub usr: Vec<SharedUsr>,
    /// KSM of the machine.
    pub ksm: Option<HostKsm>,
    /// This process.
    pub node: ProcessMemory,
    /// Shims and what else outlives the node.
    pub shims: ProcessMemory,
    /// The machine.
    pub host: HostMemory,
}

/// Reads what a running container holds.
///
/// # Errors
/// When it has no groups.
pub fn container(cgroups: &Cgroups, id: &ContainerId, pss: bool) -> Result<ContainerUse> {
    let v1 = cgroups.is_v1("memory");
    let charged = cgroups.read(id, "memory", "memory.usage_in_bytes", "memory.current")?;
    let text = |v1: &str, v2: &str| cgroups.read(id, "memory", v1, v2).unwrap_or_default();
    let stat = text("memory.stat", "memory.stat");
    let mut used = if v1 {
        let kernel = number(&text("memory.kmem.usage_in_bytes", ""));
        let [anon, file, swap] = ["total_rss", "total_cache", "total_swap"].map(|key| keyed(&stat, key));
        ContainerUse { anon, file, kernel, swap, ..ContainerUse::default() }
    } else {
        let swap = number(&text("", "memory.swap.current"));
        ContainerUse {
            anon: keyed(&stat, "anon"),
            file: keyed(&stat, "file"),
            kernel: kernel(&stat),
            swap,
            ..ContainerUse::default()
        }
    };
    used.charged = number(&charged);
    let members = cgroups.members(id);
    used.processes = members.len() as u64;
    for pid in &members {
        let text = fs::read_to_string(format!("/proc/{pid}/ksm_stat")).unwrap_or_default();
        add(&mut used.ksm, ksm_of(&text));
    }
    used.pss = pss.then(|| members.iter().filter_map(|pid| pss_of(*pid)).sum());
    Ok(used)
}

/// Bytes of the kernel's own in a v2 group: `kernel`, or before Linux 5.18 its parts.
fn kernel(stat: &str) -> u64 {
    match keyed(stat, "kernel") {
        0 => ["kernel_stack", "pagetables", "percpu", "vmalloc", "slab"].iter().map(|key| keyed(stat, key)).sum(),
        bytes => bytes,
    }
}

fn add(sum: &mut KsmUse, one: KsmUse) {
    sum.processes += one.processes;
    sum.merged += one.merged;
    sum.profit = sum.profit.saturating_add(one.profit);
}

/// Reads `/proc/PID/ksm_stat`.
fn ksm_of(text: &str) -> KsmUse {
    let pages = keyed(text, "ksm_merging_pages").saturating_add(keyed(text, "ksm_zero_pages"));
    KsmUse {
        processes: u64::from(text.lines().any(|line| line == "ksm_merge_any: yes")),
        merged: pages.saturating_mul(PAGE),
        profit: signed(text, "ksm_process_profit"),
    }
}

/// KSM of the machine; `None` on a kernel without it.
pub fn host_ksm() -> Option<HostKsm> {
    let read = |name: &str| fs::read_to_string(Path::new("/sys/kernel/mm/ksm").join(name)).ok();
    let figure = |name: &str| read(name).map_or(0, |text| number(&text));
    let pages = |name: &str| figure(name).saturating_mul(PAGE);
    Some(HostKsm {
        runs: read("run")?.trim() == "1",
        shared: pages("pages_shared"),
        sharing: pages("pages_sharing"),
        unshared: pages("pages_unshared"),
        zero: pages("ksm_zero_pages"),
        profit: read("general_profit").and_then(|text| text.trim().parse().ok()),
        full_scans: figure("full_scans"),
    })
}

/// What processes of the host take; those that are gone take nothing.
pub fn processes(pids: &[u32]) -> ProcessMemory {
    let found: Vec<u64> = pids.iter().filter_map(|pid| pss_of(*pid)).collect();
    ProcessMemory { processes: found.len() as u64, pss: found.iter().sum() }
}

/// The machine's memory.
pub fn host() -> HostMemory {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    HostMemory { total: kib(&text, "MemTotal:").unwrap_or(0), available: kib(&text, "MemAvailable:").unwrap_or(0) }
}

/// Proportional set size of a process in bytes; `None` when it is gone.
fn pss_of(pid: u32) -> Option<u64> {
    kib(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:")
}

/// A line like `Pss:   12 kB`, in bytes.
fn kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

fn keyed(text: &str, key: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).map_or(0, number)
}

fn signed(text: &str, key: &str) -> i64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.and_then(|figure| figure.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ksm_says_of_a_process_is_read_as_the_kernel_writes_it() {
        let text = "ksm_rmap_items 76\nksm_zero_pages 3\nksm_merging_pages 9\nksm_process_profit -4864\n\
                    ksm_merge_any: yes\nksm_mergeable: yes\n";
        assert_eq!(ksm_of(text), KsmUse { processes: 1, merged: 12 * PAGE, profit: -4864 });
        assert_eq!(ksm_of("ksm_merge_any: no\n"), KsmUse::default());
        assert_eq!(ksm_of(""), KsmUse::default());
    }

    #[test]
    fn the_kernels_part_is_one_figure_or_the_sum_of_its_parts() {
        assert_eq!(kernel("anon 1\nkernel 500\nslab 300\n"), 500);
        assert_eq!(kernel("kernel_stack 1\npagetables 2\npercpu 3\nslab 10\nslab_reclaimable 9\n"), 16);
    }

    #[test]
    fn this_process_and_this_machine_have_memory() {
        let own = processes(&[std::process::id(), u32::MAX]);
        assert!(own.processes == 1 && own.pss > 1 << 20, "{own:?}");
        let host = host();
        assert!(host.available > 0 && host.available <= host.total, "{host:?}");
        assert_eq!(kib("Pss:  12 kB\n", "Pss:"), Some(12 << 10));
        assert_eq!(kib("Pss: lots\n", "Pss:"), None);
    }
}
