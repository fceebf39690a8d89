//! A container's limits and what it uses, as they are now.

use std::path::Path;
use std::time::Instant;

use super::scale::{self, Machine};
use crate::cgroup::Cgroups;
use crate::error::Result;
use crate::quota::{DiskUse, Quotas};
use cowl_api::ContainerId;

/// Where they are read.
pub struct Present {
    id: ContainerId,
    cgroups: Cgroups,
    quotas: Option<Quotas>,
}

impl Present {
    /// Of container `id` of the node `tag`, whose disk lies at `disk`.
    ///
    /// # Errors
    /// When there are no cgroups.
    pub fn new(id: ContainerId, tag: &str, disk: &Path) -> Result<Self> {
        Ok(Self { id, cgroups: Cgroups::find(tag)?, quotas: Quotas::open(disk, false).ok() })
    }

    fn text(&self, controller: &str, v1: &str, v2: &str) -> String {
        self.cgroups.read(&self.id, controller, v1, v2).unwrap_or_default()
    }

    /// What it may take on disk, and takes; `None` without a limit.
    pub fn disk(&self) -> Option<(u64, u64)> {
        let DiskUse { used, limit } = self.quotas.as_ref()?.usage(&self.id)?;
        Some((limit?, used))
    }

    /// How many CPUs its share keeps busy; `None` without a limit.
    pub fn cpus(&self) -> Option<u32> {
        let (quota, period) = if self.cgroups.is_v1("cpu") {
            (self.text("cpu", "cpu.cfs_quota_us", ""), self.text("cpu", "cpu.cfs_period_us", ""))
        } else {
            let both = self.text("cpu", "", "cpu.max");
            let (quota, period) = both.split_once(' ')?;
            (quota.to_owned(), period.to_owned())
        };
        // No quota is -1 on v1 and `max` on v2.
        Some(scale::cpus(quota.trim().parse().ok()?, period.trim().parse().ok()?))
    }

    /// What sysinfo(2) is to say, for a container that was started at `began`.
    pub fn machine(&self, began: Instant) -> Machine {
        let host = rustix::system::sysinfo();
        let bytes = |blocks: u64| blocks.saturating_mul(host.mem_unit.into());
        let v1 = self.cgroups.is_v1("memory");
        let stat = self.text("memory", "memory.stat", "memory.stat");
        let number = |text: String| text.trim().parse::<u64>().ok();
        let limit = number(self.text("memory", "memory.limit_in_bytes", "memory.max")).unwrap_or(u64::MAX);
        let used = number(self.text("memory", "memory.usage_in_bytes", "memory.current")).unwrap_or(0);
        let (swap_limit, swap_used) = if v1 {
            let both = number(self.text("memory", "memory.memsw.limit_in_bytes", "")).unwrap_or(u64::MAX);
            (both.saturating_sub(limit), keyed(&stat, "total_swap"))
        } else {
            let limit = number(self.text("memory", "", "memory.swap.max")).unwrap_or(u64::MAX);
            (limit, number(self.text("memory", "", "memory.swap.current")).unwrap_or(0))
        };
        let (memory, swap) = (limit.min(bytes(host.totalram)), swap_limit.min(bytes(host.totalswap)));
        Machine {
            uptime: began.elapsed().as_secs(),
            loads: host.loads,
            memory,
            memory_free: memory.saturating_sub(used).min(bytes(host.freeram)),
            shared: keyed(&stat, if v1 { "total_shmem" } else { "shmem" }),
            swap,
            swap_free: swap.saturating_sub(swap_used).min(bytes(host.freeswap)),
            tasks: number(self.text("pids", "pids.current", "pids.current")).unwrap_or_else(|| host.procs.into()),
        }
    }
}

fn keyed(text: &str, key: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok()).unwrap_or(0)
}
