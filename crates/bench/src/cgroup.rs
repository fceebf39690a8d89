//! Control groups of what is measured: one path in every hierarchy, so that CPU and memory can be
//! read, and so that two nspawn machines on a host without systemd do not meet in one `payload`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One mounted hierarchy: where, and its v1 controllers (`None` for v2).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    v1: Option<String>,
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.v1.as_deref().is_some_and(|names| names.split(',').any(|name| name == controller))
    }
}

/// All hierarchies of `/proc/self/mountinfo` a process can simply be put into: a new group of
/// `cpuset` has no CPUs until somebody gives it some.
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(mount) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
        let v1 = match right.split(' ').next() {
            Some("cgroup2") => None,
            Some("cgroup") => Some(right.rsplit(' ').next().unwrap_or_default().to_owned()),
            _ => continue,
        };
        let next = Hierarchy { mount, v1 };
        if !next.has("cpuset") && !found.iter().any(|h| h.v1 == next.v1) {
            found.push(next);
        }
    }
    found
}

/// A group of one path in every hierarchy.
#[derive(Debug)]
pub struct Group {
    hierarchies: Vec<Hierarchy>,
    path: PathBuf,
}

impl Group {
    /// Names a group, without making it.
    ///
    /// # Errors
    /// When the mount table cannot be read.
    pub fn named(path: impl Into<PathBuf>) -> io::Result<Self> {
        Ok(Self { hierarchies: hierarchies(&fs::read_to_string("/proc/self/mountinfo")?), path: path.into() })
    }

    /// Makes it everywhere, with all controllers that v2 offers.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub fn make(&self) -> io::Result<()> {
        for h in &self.hierarchies {
            let mut dir = h.mount.clone();
            for part in &self.path {
                if h.v1.is_none() {
                    for controller in ["cpu", "memory", "pids", "io"] {
                        // On hybrid hosts they sit elsewhere.
                        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
                    }
                }
                dir.push(part);
                match fs::create_dir(&dir) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn dirs(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.hierarchies.iter().map(|h| h.mount.join(&self.path))
    }

    /// The files a process writes itself into to join it everywhere.
    pub fn doors(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.dirs().map(|dir| dir.join("cgroup.procs"))
    }

    fn read(&self, controller: &str, v1_file: &str, v2_file: &str) -> io::Result<String> {
        let v1 = self.hierarchies.iter().find(|h| h.has(controller)).map(|h| (h, v1_file));
        let v2 = self.hierarchies.iter().find(|h| h.v1.is_none()).map(|h| (h, v2_file));
        let (h, file) = v1.or(v2).ok_or(io::ErrorKind::NotFound)?;
        fs::read_to_string(h.mount.join(&self.path).join(file))
    }

    /// CPU time it and all below it have used, in seconds. A group that is not there used none.
    pub fn cpu_seconds(&self) -> f64 {
        let text = self.read("cpuacct", "cpuacct.usage", "cpu.stat").unwrap_or_default();
        match text.lines().find_map(|line| line.strip_prefix("usage_usec ")) {
            Some(micros) => micros.trim().parse::<f64>().unwrap_or(0.0) / 1e6,
            None => text.trim().parse::<f64>().unwrap_or(0.0) / 1e9,
        }
    }

    /// Bytes charged to it and all below it.
    ///
    /// # Errors
    /// When it is gone, or the host accounts no memory.
    pub fn memory(&self) -> io::Result<u64> {
        let text = self.read("memory", "memory.usage_in_bytes", "memory.current")?;
        text.trim().parse().map_err(io::Error::other)
    }

    /// Processes in it and below it.
    pub fn pids(&self) -> Vec<u32> {
        let Some(h) = self.hierarchies.iter().find(|h| h.v1.is_none()).or(self.hierarchies.first()) else {
            return Vec::new();
        };
        let mut dirs = vec![h.mount.join(&self.path)];
        let mut pids = Vec::new();
        while let Some(dir) = dirs.pop() {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
            dirs.extend(children(&dir));
        }
        pids
    }

    /// Kills what is left in it and removes it. Gives up after two seconds.
    pub fn remove(&self) {
        if let Some(h) = self.hierarchies.iter().find(|h| h.v1.is_none()) {
            let _ = fs::write(h.mount.join(&self.path).join("cgroup.kill"), "1");
        }
        let end = Instant::now() + Duration::from_secs(2);
        for dir in self.dirs() {
            while dir.exists() && remove_tree(&dir).is_err() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in children(dir) {
        remove_tree(&child)?;
    }
    fs::remove_dir(dir)
}

/// Memory of a process that is its own, and its share of what it shares, in bytes.
///
/// # Errors
/// When it has ended.
pub fn pss(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib: u64 = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0);
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hierarchy_but_cpuset_is_found_once() {
        let table = "30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                     31 20 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
                     32 20 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                     33 20 0:29 / /sys/fs/cgroup/unified rw shared:3 - cgroup2 cgroup2 rw\n\
                     34 20 0:29 / /elsewhere rw - cgroup2 cgroup2 rw\n";
        let found = hierarchies(table);
        let mounts: Vec<_> = found.iter().map(|h| h.mount.to_str().unwrap()).collect();
        assert_eq!(mounts, ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"]);
        assert!(found[1].has("cpuacct") && !found[2].has("cpuacct"));
    }

    #[test]
    fn a_process_has_memory() {
        assert!(pss(std::process::id()).unwrap() > 0);
        assert!(pss(u32::MAX).is_err());
    }
}
