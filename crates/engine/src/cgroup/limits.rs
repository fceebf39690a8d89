//! What a container may use, written into its groups: before its init runs, and while it runs.
//!
//! | setting | v2 | v1 |
//! |---|---|---|
//! | `cpu` | `cpu.max`, period 100 ms | `cpu.cfs_quota_us` |
//! | `cpu_weight` | `cpu.weight` | `cpu.shares`, 1024 for 100 |
//! | `cpu_set` | `cpuset.cpus` | `cpuset.cpus` of a group made only then |
//! | `memory` | `memory.max` | `memory.limit_in_bytes` |
//! | `memory_high` | `memory.high` | – |
//! | `swap` | `memory.swap.max` | `memory.memsw.limit_in_bytes`, memory and swap together |
//! | `pids` | `pids.max` | `pids.max` |
//! | `io_weight` | `io.weight` or `io.bfq.weight` | `blkio.bfq.weight` |
//! | `io_read`, `io_write` | `io.max` of the pool's disks | `blkio.throttle.*`; direct writes only |
//!
//! The groups written here are never delegated, so nothing inside can lift a limit. What cannot
//! hold on this host is told as a [`Shortfall`]; it never fails a start. Cores and the disk, which
//! need more than a line in a file, are in [`cores`] and [`io`].
//!
//! **Defaults.** Where nothing is set, two limits hold all the same, for a machine of containers
//! must survive any one of them:
//!
//! - tasks: [`PIDS_DEFAULT`], what systemd gives each machine it runs (`systemd-nspawn@.service`),
//!   and never more than half of what the host can run at all. A fork bomb ends there.
//! - memory: all of the host's but a sixteenth, at least 256 MiB. A memory bomb is killed in its
//!   own group before the host runs out and picks a victim anywhere.
//!
//! **Lowering memory below what is used.** The kernel is asked to reclaim the difference first. When
//! that is not enough, the old limit stays and the shortfall says so: a change of a setting kills
//! nothing (v2 would). The new limit holds from the next start, or when it is set again.

mod cores;
mod io;

use std::fs;
use std::path::{Path, PathBuf};

use super::Cgroups;
use cowl_api::ContainerId;
use cowl_api::settings::{self, Limits, Size};

/// Tasks of a container without a limit of its own.
pub const PIDS_DEFAULT: u32 = 16_384;
/// Microseconds over which a share of CPU is kept: the kernel's own default.
const PERIOD: f64 = 100_000.0;

/// A limit that does not hold, or not in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// The setting, e.g. `memory_high`.
    pub field: &'static str,
    /// Why, and what to do, in one sentence.
    pub says: String,
}

impl Shortfall {
    /// Of this setting.
    pub fn new(field: &'static str, says: impl Into<String>) -> Self {
        Self { field, says: says.into() }
    }
}

/// Whether groups are as the kernel made them, or may hold earlier limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// Just made: only what is set is written.
    Fresh,
    /// In use: what is not set is put back.
    Used,
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Bytes of memory the host has.
fn host_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map_or(u64::MAX, |kib: u64| kib.saturating_mul(1024))
}

/// Bytes of memory that a container with these limits may use.
pub fn memory(limits: &Limits) -> u64 {
    let most = memory_default(host_memory());
    limits.memory.map_or(most, |Size(bytes)| bytes)
}

fn memory_default(host: u64) -> u64 {
    host.saturating_sub((host / 16).max(256 << 20)).max(settings::MEMORY_MIN)
}

fn pids_default() -> u32 {
    let most = ["pid_max", "threads-max"].iter().filter_map(|f| read_number(&Path::new("/proc/sys/kernel").join(f)));
    let half = most.min().map_or(PIDS_DEFAULT, |n| u32::try_from(n / 2).unwrap_or(u32::MAX));
    PIDS_DEFAULT.min(half).max(settings::PIDS_MIN)
}

/// Writing into one group, with the shortfalls gathered.
struct Pen {
    short: Vec<Shortfall>,
    groups: Groups,
}

impl Pen {
    fn short(&mut self, field: &'static str, says: impl Into<String>) {
        self.short.push(Shortfall::new(field, says));
    }

    /// Writes what is set, or in used groups what stands for nothing. A host without the file falls
    /// short only of what is set.
    fn put(&mut self, field: &'static str, file: Option<PathBuf>, set: Option<String>, unset: &str) {
        let Some(file) = file.filter(|f| f.exists()) else {
            if set.is_some() {
                self.short(field, "this host's kernel does not offer it to containers");
            }
            return;
        };
        let text = match &set {
            Some(text) => text.as_str(),
            None if self.groups == Groups::Used => unset,
            None => return,
        };
        if let Err(e) = fs::write(&file, text)
            && set.is_some()
        {
            self.short(field, format!("the kernel refuses {text:?}: {e}"));
        }
    }
}

impl Cgroups {
    /// A container's directory for a controller, and whether it is a v1 one.
    fn seat(&self, id: &ContainerId, controller: &str) -> Option<(PathBuf, bool)> {
        if let Some(h) = self.hierarchies.iter().find(|h| h.has(controller)) {
            return Some((self.container_dir(h, id), true));
        }
        Some((self.container_dir(self.v2().ok()?, id), false))
    }

    /// Makes a container's limits hold, as far as this host can, and has them seen inside. `pool` is a
    /// path on the file system whose I/O is limited.
    pub fn limit(&self, id: &ContainerId, limits: &Limits, pool: &Path, groups: Groups) -> Vec<Shortfall> {
        let mut pen = Pen { short: Vec::new(), groups };
        self.limit_cpu(id, limits, &mut pen);
        self.limit_cores(id, limits, &mut pen);
        self.limit_memory(id, limits, &mut pen);
        self.limit_tasks(id, limits, &mut pen);
        self.limit_io(id, limits, pool, &mut pen);
        self.show_limits_inside(id);
        pen.short
    }

    /// Repeats a container's v2 limits in its `payload`, where its systemd, lxcfs and programs that
    /// size themselves by their cgroup look for them. They stay unwritable inside.
    fn show_limits_inside(&self, id: &ContainerId) {
        let Ok(h) = self.v2() else { return };
        let dir = self.container_dir(h, id);
        for file in ["cpu.max", "memory.max", "memory.high", "memory.swap.max", "pids.max"] {
            if let Ok(limit) = fs::read_to_string(dir.join(file)) {
                // The group above enforces it anyway.
                let _ = fs::write(dir.join("payload").join(file), limit.trim());
            }
        }
    }

    fn limit_tasks(&self, id: &ContainerId, limits: &Limits, pen: &mut Pen) {
        let file = self.seat(id, "pids").map(|(dir, _)| dir.join("pids.max")).filter(|f| f.exists());
        // Nobody asked for the default: a host without the file falls short only of what is set.
        let most = limits.pids.or_else(|| file.is_some().then(pids_default));
        pen.put("pids", file, most.map(|n| n.to_string()), "max");
    }

    fn limit_cpu(&self, id: &ContainerId, limits: &Limits, pen: &mut Pen) {
        let Some((dir, v1)) = self.seat(id, "cpu") else { return };
        let quota = limits.cpu.map(|cores| (cores * PERIOD).round().max(1000.0) as u64);
        if v1 {
            pen.put("cpu", Some(dir.join("cpu.cfs_quota_us")), quota.map(|q| q.to_string()), "-1");
            let shares = limits.cpu_weight.map(|w| (u64::from(w) * 1024 / 100).max(2).to_string());
            pen.put("cpu_weight", Some(dir.join("cpu.shares")), shares, "1024");
        } else {
            pen.put("cpu", Some(dir.join("cpu.max")), quota.map(|q| format!("{q} 100000")), "max 100000");
            pen.put("cpu_weight", Some(dir.join("cpu.weight")), limits.cpu_weight.map(|w| w.to_string()), "100");
        }
    }

    fn limit_memory(&self, id: &ContainerId, limits: &Limits, pen: &mut Pen) {
        let Some((dir, v1)) = self.seat(id, "memory") else { return };
        let bytes = memory(limits);
        let swap = limits.swap.map(|Size(bytes)| bytes);
        if !v1 {
            let high = limits.memory_high.map(|Size(bytes)| bytes.to_string());
            pen.put("memory_high", Some(dir.join("memory.high")), high, "max");
        } else if limits.memory_high.is_some() {
            pen.short("memory_high", "this host's memory controller is cgroup v1, which slows nothing down");
        }
        let names =
            if v1 { ("memory.limit_in_bytes", "memory.usage_in_bytes") } else { ("memory.max", "memory.current") };
        let (max, used) = (dir.join(names.0), dir.join(names.1));
        if !max.exists() {
            if limits.memory.is_some() {
                pen.short("memory", "this host's kernel does not offer it to containers");
            }
            if swap.is_some() {
                pen.short("swap", "this host's kernel does not offer it to containers");
            }
            return;
        }
        let memsw = dir.join("memory.memsw.limit_in_bytes");
        if v1 && (pen.groups == Groups::Used || swap.is_some()) {
            // Memory with swap can never be limited lower than memory alone.
            let _ = fs::write(&memsw, "-1");
        }
        if pen.groups == Groups::Used && !v1 {
            let above = read_number(&used).unwrap_or(0).saturating_sub(bytes);
            if above > 0 {
                let _ = fs::write(dir.join("memory.reclaim"), above.to_string());
            }
        }
        let in_use = read_number(&used).unwrap_or(0);
        let lowered = if !v1 && pen.groups == Groups::Used && in_use > bytes {
            Err(std::io::Error::from_raw_os_error(libc::EBUSY))
        } else {
            fs::write(&max, bytes.to_string())
        };
        match lowered {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
                let says = format!(
                    "{in_use} bytes are in use and cannot be reclaimed, so the limit before stays; \
                     end something inside and set it again, or restart the container"
                );
                pen.short("memory", says);
            }
            Err(e) => pen.short("memory", format!("the kernel refuses {bytes}: {e}")),
        }
        if v1 {
            let holds = read_number(&max).unwrap_or(bytes);
            let both = swap.map(|swap| holds.saturating_add(swap).to_string());
            pen.put("swap", Some(memsw), both, "-1");
        } else {
            pen.put("swap", Some(dir.join("memory.swap.max")), swap.map(|s| s.to_string()), "max");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Hierarchy;
    use super::*;

    /// Directories that look like a container's groups, with files as the kernel first fills them.
    fn groups(v1: &[&str], files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroups, ContainerId) {
        let dir = tempfile::tempdir().unwrap();
        let id = ContainerId::generate();
        let mut hierarchies = vec![Hierarchy { mount: dir.path().join("unified"), names: Vec::new() }];
        hierarchies.extend(v1.iter().map(|c| Hierarchy { mount: dir.path().join(c), names: vec![(*c).to_owned()] }));
        for (file, text) in files {
            let (hierarchy, name) = file.split_once('/').unwrap();
            let group = dir.path().join(hierarchy).join("cowl-t").join(id.as_str());
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join(name), text).unwrap();
        }
        (dir, Cgroups { hierarchies, group: "cowl-t".into() }, id)
    }

    fn text(dir: &tempfile::TempDir, id: &ContainerId, file: &str) -> String {
        let (hierarchy, name) = file.split_once('/').unwrap();
        fs::read_to_string(dir.path().join(hierarchy).join("cowl-t").join(id.as_str()).join(name)).unwrap()
    }

    const V2: [(&str, &str); 9] = [
        ("unified/cpu.max", "max 100000"),
        ("unified/cpu.weight", "100"),
        ("unified/memory.max", "max"),
        ("unified/memory.high", "max"),
        ("unified/memory.swap.max", "max"),
        ("unified/memory.current", "1000"),
        ("unified/memory.reclaim", ""),
        ("unified/pids.max", "max"),
        ("unified/cpuset.cpus", ""),
    ];

    #[test]
    fn limits_are_written_and_put_back_on_v2() {
        let (dir, groups, id) = groups(&[], &V2);
        let limits = Limits {
            cpu: Some(1.5),
            cpu_weight: Some(50),
            cpu_set: Some("0".into()),
            memory: Some(Size(64 << 20)),
            memory_high: Some(Size(48 << 20)),
            swap: Some(Size(0)),
            pids: Some(100),
            ..Limits::default()
        };
        assert_eq!(groups.limit(&id, &limits, dir.path(), Groups::Fresh), []);
        for (file, holds) in [
            ("cpu.max", "150000 100000"),
            ("cpu.weight", "50"),
            ("cpuset.cpus", "0"),
            ("memory.max", "67108864"),
            ("memory.high", "50331648"),
            ("memory.swap.max", "0"),
            ("pids.max", "100"),
        ] {
            assert_eq!(text(&dir, &id, &format!("unified/{file}")), holds, "{file}");
        }
        assert_eq!(groups.limit(&id, &Limits::default(), dir.path(), Groups::Used), []);
        let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
        for (file, holds) in [("cpu.max", "max 100000"), ("cpuset.cpus", online.trim()), ("memory.high", "max")] {
            assert_eq!(text(&dir, &id, &format!("unified/{file}")), holds, "{file}");
        }
        // Tasks and memory are never without bounds.
        assert!(text(&dir, &id, "unified/pids.max").parse::<u32>().unwrap() <= PIDS_DEFAULT);
        assert!(text(&dir, &id, "unified/memory.max").parse::<u64>().unwrap() < host_memory());
    }

    #[test]
    fn memory_is_not_lowered_below_what_is_in_use() {
        let (dir, groups, id) = groups(&[], &V2);
        fs::write(dir.path().join("unified/cowl-t").join(id.as_str()).join("memory.current"), "99000000").unwrap();
        let limits = Limits { memory: Some(Size(64 << 20)), ..Limits::default() };
        let short = groups.limit(&id, &limits, dir.path(), Groups::Used);
        assert_eq!((short.len(), short[0].field), (1, "memory"));
        assert!(short[0].says.contains("99000000"), "{short:?}");
        assert_eq!(text(&dir, &id, "unified/memory.max"), "max");
        assert_eq!(text(&dir, &id, "unified/memory.reclaim"), (99_000_000 - (64 << 20)).to_string());
    }

    #[test]
    fn v1_controllers_get_their_own_words() {
        let (dir, groups, id) = groups(
            &["cpu", "memory", "pids", "blkio"],
            &[
                ("cpu/cpu.cfs_quota_us", "-1"),
                ("cpu/cpu.shares", "1024"),
                ("memory/memory.limit_in_bytes", "9223372036854771712"),
                ("memory/memory.memsw.limit_in_bytes", "9223372036854771712"),
                ("memory/memory.usage_in_bytes", "1"),
                ("pids/pids.max", "max"),
                ("blkio/blkio.throttle.read_bps_device", ""),
            ],
        );
        let limits = Limits {
            cpu: Some(0.5),
            cpu_weight: Some(200),
            memory: Some(Size(64 << 20)),
            memory_high: Some(Size(48 << 20)),
            swap: Some(Size(1 << 20)),
            ..Limits::default()
        };
        let short = groups.limit(&id, &limits, dir.path(), Groups::Fresh);
        assert_eq!(short.iter().map(|s| s.field).collect::<Vec<_>>(), ["memory_high"]);
        assert_eq!(text(&dir, &id, "cpu/cpu.cfs_quota_us"), "50000");
        assert_eq!(text(&dir, &id, "cpu/cpu.shares"), "2048");
        assert_eq!(text(&dir, &id, "memory/memory.memsw.limit_in_bytes"), (65 << 20).to_string());
    }

    #[test]
    fn what_the_host_lacks_is_named_and_only_when_it_was_asked_for() {
        let (dir, groups, id) = groups(&[], &[("unified/cgroup.procs", "")]);
        assert_eq!(groups.limit(&id, &Limits::default(), dir.path(), Groups::Used), []);
        let limits = Limits {
            cpu: Some(1.0),
            cpu_set: Some("0,8000".into()),
            memory: Some(Size(64 << 20)),
            pids: Some(64),
            io_weight: Some(10),
            io_read: Some(Size(1 << 20)),
            ..Limits::default()
        };
        let short = groups.limit(&id, &limits, dir.path(), Groups::Used);
        let mut fields: Vec<_> = short.iter().map(|s| s.field).collect();
        fields.dedup();
        assert_eq!(fields, ["cpu", "cpu_set", "memory", "pids", "io_weight", "io_read"], "{short:?}");
    }

    #[test]
    fn the_host_keeps_something_for_itself() {
        assert_eq!(memory_default(64 << 30), 60 << 30);
        assert_eq!(memory_default(1 << 30), 768 << 20);
        assert!(memory_default(0) >= settings::MEMORY_MIN);
        assert!((settings::PIDS_MIN..=PIDS_DEFAULT).contains(&pids_default()));
    }
}
