//! Figures: what containers and the box use. Sampled when somebody asks, and by the [`sampler`].

pub mod history;
pub mod hits;
pub mod sampler;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::history::History;
use self::hits::Hits;
use super::Node;
use super::driver::{failure, ramdisk_of};
use super::machine::Tree;
use super::state::addresses;
use super::state::containers::ContainerRow;
use cowl_api::container::ContainerState;
use cowl_api::server::HostStats;
use cowl_api::stats::{
    ContainerStats, CpuStats, DiskStats, DiskUsage, MemoryStats, NetworkAddress, NetworkCounters, NetworkStats,
    RamdiskStats, RamdiskUsage, StatsHistory,
};
use cowl_api::{ApiError, ContainerId};
use cowl_engine::stats::Usage;

/// Between the two samples of a share of CPU when there is no recent one.
const SHORT: Duration = Duration::from_millis(100);
/// How old an earlier sample may be to compare with.
const RECENT: Duration = Duration::from_secs(10);
/// How long a counted disk size counts.
const DISK_AGE: Duration = Duration::from_secs(30);
/// How long an answer waits for a disk's first count.
const DISK_PATIENCE: Duration = Duration::from_millis(300);

/// Earlier samples, to compare with.
#[derive(Debug, Default)]
pub struct Samples {
    usage: Mutex<HashMap<ContainerId, (Instant, Usage)>>,
    disks: Mutex<HashMap<ContainerId, (Instant, u64)>>,
    sizing: Mutex<HashSet<ContainerId>>,
    host: Mutex<Option<(Instant, CpuTimes)>>,
    history: Mutex<History>,
    hits: Mutex<Hits>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Samples {
    /// Claims the counting of a container's snapshots; false when it is under way.
    pub fn begin_sizing(&self, id: ContainerId) -> bool {
        lock(&self.sizing).insert(id)
    }

    /// Ends the claim.
    pub fn end_sizing(&self, id: &ContainerId) {
        lock(&self.sizing).remove(id);
    }

    fn earlier(&self, id: &ContainerId) -> Option<(Instant, Usage)> {
        lock(&self.usage).get(id).copied().filter(|(at, _)| at.elapsed() < RECENT)
    }

    fn keep(&self, id: ContainerId, now: Usage) {
        let mut usage = lock(&self.usage);
        usage.retain(|_, (at, _)| at.elapsed() < RECENT);
        usage.insert(id, (Instant::now(), now));
    }
}

/// Share of one core between two samples, in percent.
fn cpu_percent(before: &Usage, now: &Usage, between: Duration) -> f64 {
    let micros = between.as_secs_f64() * 1e6;
    if micros > 0.0 { now.cpu_usec.saturating_sub(before.cpu_usec) as f64 / micros * 100.0 } else { 0.0 }
}

fn status_code(state: ContainerState) -> u16 {
    match state {
        ContainerState::Running => 103,
        ContainerState::Paused => 110,
        ContainerState::Failed => 112,
        ContainerState::Creating | ContainerState::Copying => 106,
        ContainerState::Stopped | ContainerState::Asleep | ContainerState::Deleting | ContainerState::Deleted => 102,
    }
}

impl Node {
    /// What a container uses now. Takes 100 ms when there is no recent sample to compare with.
    ///
    /// # Errors
    /// When its counters cannot be read although it runs.
    pub async fn container_stats(self: &Arc<Self>, row: ContainerRow) -> Result<ContainerStats, ApiError> {
        let begun = Instant::now();
        let lives = matches!(row.state, ContainerState::Running | ContainerState::Paused);
        let host = memory();
        let sample = if lives { self.sample(row.id).await? } else { None };
        let disk = self.disk_stats(row.id).await;
        let limits = row.effective_settings().limits;
        let cores = limits.cpu.map_or(f64::from(cores()), |limit| limit.min(f64::from(cores())));
        let memory_total = limits.memory.map_or(host.total, |limit| limit.0.min(host.total));
        let ramdisk = self.ramdisk_stats(&row).await;
        Ok(ContainerStats {
            id: row.id,
            project_id: row.project_id,
            project_name: Some(row.project_alias),
            server_name: Some(self.place.server_name.clone()),
            status: row.state,
            status_code: status_code(row.state),
            processes: sample.map_or(0, |(usage, _)| usage.tasks),
            started_at: row.started_at.unwrap_or_default(),
            cpu: sample.map(|(usage, percent)| CpuStats {
                usage: usage.cpu_usec.saturating_mul(1000),
                allocated_time: (cores * 1e9) as u64,
                usage_percent: percent,
            }),
            memory: sample.map(|(usage, _)| MemoryStats {
                usage: usage.memory,
                total: memory_total,
                usage_percent: if memory_total > 0 { usage.memory as f64 / memory_total as f64 * 100.0 } else { 0.0 },
                usage_peak: usage.memory_peak,
                swap_usage: usage.swap,
                swap_usage_peak: usage.swap,
            }),
            ramdisk,
            disk,
            network: sample
                .map(|(usage, _)| {
                    let address = addresses::address(self.place.network, row.address_index);
                    network(&usage, address.to_string())
                })
                .into_iter()
                .collect(),
            processing_time: format!("{:.1}ms", begun.elapsed().as_secs_f64() * 1000.0),
        })
    }

    /// What a container used over the last hour, or in seconds over the last watched minute.
    pub fn stats_history(&self, id: ContainerId, fast: bool) -> StatsHistory {
        let points = lock(&self.samples.history).of(&id, fast);
        let interval_s = if fast { 1 } else { history::SLOW.as_secs() };
        StatsHistory { id, interval_s, points: points.iter().map(history::Point::shown).collect() }
    }

    /// Counters of a running container and its share of CPU; `None` when it ended meanwhile.
    async fn sample(self: &Arc<Self>, id: ContainerId) -> Result<Option<(Usage, f64)>, ApiError> {
        let (at, before) = match self.samples.earlier(&id) {
            Some(earlier) => earlier,
            None => {
                let first = self.engine(move |m| m.counters(&id)).await;
                let at = Instant::now();
                tokio::time::sleep(SHORT).await;
                match first {
                    Ok(first) => (at, first),
                    Err(_) if self.engine(move |m| Ok(m.status(&id))).await.is_ok_and(|s| s.is_none()) => {
                        return Ok(None);
                    }
                    Err(error) => return Err(failure(error)),
                }
            }
        };
        let Ok(now) = self.engine(move |m| m.counters(&id)).await else { return Ok(None) };
        let percent = cpu_percent(&before, &now, at.elapsed());
        // Two questions in quick succession compare with the same earlier sample.
        if at.elapsed() >= SHORT {
            self.samples.keep(id, now);
        }
        Ok(Some((now, percent)))
    }

    async fn ramdisk_stats(self: &Arc<Self>, row: &ContainerRow) -> RamdiskStats {
        let (id, asked) = (row.id, ramdisk_of(row));
        let held = self.engine(move |m| Ok(m.ramdisk_usage(&id))).await.unwrap_or_default();
        RamdiskStats {
            scope: row.ramdisk_scope.clone(),
            shared_pool_maximum: asked.map(|a| a.size),
            capacity_reserved: false,
            usage: held.private.map(|private| RamdiskUsage {
                private: Some(private),
                secrets: None,
                project: held.project,
            }),
        }
    }

    /// What a container takes on disk beyond its image, of what it may take. Without quotas it is
    /// the size of all it refers to, as counted within the last half minute; 0 while the first count
    /// is slow.
    async fn disk_stats(self: &Arc<Self>, id: ContainerId) -> DiskStats {
        let (pool, counted) =
            self.engine(move |m| Ok((m.usage(), m.disk_use(&id)))).await.unwrap_or((Ok(Default::default()), None));
        let total = pool.map_or(0, |usage| usage.total);
        if let Some(now) = counted {
            let total = now.limit.map_or(total, |limit| limit.min(total));
            return DiskStats { root: DiskUsage { total, usage: now.used } };
        }
        let kept = lock(&self.samples.disks).get(&id).copied();
        let usage = match kept {
            Some((at, bytes)) if at.elapsed() < DISK_AGE => bytes,
            _ => {
                let node = Arc::clone(self);
                let count = self.tasks.spawn(async move {
                    let size = node.engine(move |m| m.size(&Tree::Disk(id))).await.map_or(0, |s| s.referenced);
                    let mut disks = lock(&node.samples.disks);
                    disks.retain(|_, (at, _)| at.elapsed() < DISK_AGE * 20);
                    disks.insert(id, (Instant::now(), size));
                    size
                });
                let counted = tokio::time::timeout(DISK_PATIENCE, count).await;
                counted.ok().and_then(Result::ok).or(kept.map(|(_, bytes)| bytes)).unwrap_or(0)
            }
        };
        DiskStats { root: DiskUsage { total, usage } }
    }
}

fn network(usage: &Usage, address: String) -> NetworkStats {
    NetworkStats {
        interface: "eth0".into(),
        addresses: vec![NetworkAddress {
            address,
            family: "inet".into(),
            netmask: "32".into(),
            scope: "global".into(),
        }],
        counters: NetworkCounters {
            bytes_received: usage.rx_bytes,
            bytes_sent: usage.tx_bytes,
            packets_received: usage.rx_packets,
            packets_sent: usage.tx_packets,
            ..Default::default()
        },
        state: "up".into(),
        kind: "broadcast".into(),
    }
}

/// Number of cores the node may use.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    total: u64,
}

/// Reads the first line of `/proc/stat`: user nice system idle iowait irq softirq steal.
fn parse_cpu(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<u64> = line.split_whitespace().take(8).filter_map(|word| word.parse().ok()).collect();
    let total: u64 = times.iter().sum();
    let idle = times.get(3)? + times.get(4)?;
    Some(CpuTimes { busy: total - idle, total })
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Memory {
    total: u64,
    available: u64,
}

fn parse_memory(meminfo: &str) -> Memory {
    let bytes = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    Memory { total: bytes("MemTotal:").unwrap_or(0) * 1024, available: bytes("MemAvailable:").unwrap_or(0) * 1024 }
}

fn memory() -> Memory {
    fs::read_to_string("/proc/meminfo").map(|text| parse_memory(&text)).unwrap_or_default()
}

/// Load of the box. CPU is compared with the sample before, or over 100 ms without a recent one.
pub async fn host(samples: &Samples) -> HostStats {
    let read = || fs::read_to_string("/proc/stat").ok().and_then(|text| parse_cpu(&text)).unwrap_or_default();
    let earlier = lock(&samples.host).filter(|(at, _)| at.elapsed() < RECENT && at.elapsed() >= SHORT);
    let before = match earlier {
        Some((_, times)) => times,
        None => {
            let times = read();
            tokio::time::sleep(SHORT).await;
            times
        }
    };
    let now = read();
    *lock(&samples.host) = Some((Instant::now(), now));
    let total = now.total.saturating_sub(before.total);
    let busy = now.busy.saturating_sub(before.busy);
    let memory = memory();
    HostStats {
        cores: cores(),
        cpu_percent: if total > 0 { busy as f64 / total as f64 * 100.0 } else { 0.0 },
        memory_total: memory.total,
        memory_used: memory.total.saturating_sub(memory.available),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_cpu_is_of_one_core() {
        let at = |cpu_usec| Usage { cpu_usec, ..Default::default() };
        let percent = cpu_percent(&at(1_000), &at(2_001_000), Duration::from_secs(1));
        assert!((percent - 200.0).abs() < 1e-9);
        assert_eq!(cpu_percent(&at(9), &at(0), Duration::from_secs(1)), 0.0);
        assert_eq!(cpu_percent(&at(0), &at(9), Duration::ZERO), 0.0);
    }

    #[test]
    fn proc_files_are_read_as_the_kernel_writes_them() {
        let stat = "cpu  10 1 9 70 10 0 0 0 5 5\ncpu0 1 1 1 1\n";
        assert_eq!(parse_cpu(stat), Some(CpuTimes { busy: 20, total: 100 }));
        assert_eq!(parse_cpu("nonsense"), None);
        let meminfo = "MemTotal:       100 kB\nMemFree: 1 kB\nMemAvailable:   40 kB\n";
        assert_eq!(parse_memory(meminfo), Memory { total: 102_400, available: 40_960 });
    }

    #[tokio::test]
    async fn the_boxs_load_is_within_bounds() {
        let load = host(&Samples::default()).await;
        assert!((0.0..=100.0).contains(&load.cpu_percent) && load.memory_used <= load.memory_total);
        assert!(load.memory_total > 0 && load.cores > 0);
    }
}
