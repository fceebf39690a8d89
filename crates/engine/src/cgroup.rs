//! Control groups of containers, on pure v2 hosts and on hybrid ones (v1 controllers beside v2).
//!
//! ```text
//! HIERARCHY/cowl-<tag>/shim/                     all shims of a node: outside the node's own cgroup
//! HIERARCHY/cowl-<tag>/<id>/                     limits and accounting; never delegated
//! HIERARCHY/cowl-<tag>/<id>/payload/             delegated to the container's systemd
//! HIERARCHY/cowl-<tag>/<id>/payload/cowl-kit/    the kit; inside the delegation so that systemd may
//!                                                move the kit's shells into their sessions
//! ```
//! `payload` exists only on v2, which is all that systemd inside looks at. On the v1 hierarchies of a
//! hybrid host everything of a container sits in `<id>/`, unwritable from inside: v1 has no bound on
//! the number of groups (`name=systemd` included, which systemd 257 uses only when it is forced to).

pub mod limits;
mod members;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::{Context, Error, Result};
use super::isolation::bounds::GROUPS;
use cowl_api::ContainerId;

/// v1 controllers we use. A group of cpuset is made only once it is wanted, see [`limits`].
const V1_CONTROLLERS: [&str; 7] = ["memory", "cpu", "cpuacct", "pids", "freezer", "blkio", CPUSET];
const CPUSET: &str = "cpuset";
/// v2 controllers switched on for containers, where the kernel offers them.
const V2_CONTROLLERS: [&str; 5] = ["cpu", "memory", "pids", "io", "cpuset"];

/// How long a container may take to freeze; a shim answers within 5 s.
const FREEZING: Duration = Duration::from_secs(2);

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    /// v1 controllers, `name=systemd`, or empty for v2.
    names: Vec<String>,
}

impl Hierarchy {
    fn is_v2(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether every container has a group here from the start.
    fn is_eager(&self) -> bool {
        !self.has(CPUSET) || self.names.len() > 1
    }

    fn has(&self, controller: &str) -> bool {
        self.names.iter().any(|n| n == controller)
    }
}

/// The host's hierarchies and this node's part of them.
#[derive(Debug, Clone)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    group: String,
}

/// Parses `/proc/self/mountinfo` for cgroup mounts: `(mount point, v1 names)`; empty names are v2.
fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (Some(mount), Some(kind)) = (left.split(' ').nth(4), right.split(' ').next()) else { continue };
        let names: Vec<String> = match kind {
            "cgroup2" => Vec::new(),
            "cgroup" => right
                .rsplit(' ')
                .next()
                .unwrap_or_default()
                .split(',')
                .filter(|o| V1_CONTROLLERS.contains(o) || *o == "name=systemd")
                .map(str::to_owned)
                .collect(),
            _ => continue,
        };
        if kind == "cgroup" && names.is_empty() {
            continue;
        }
        let hierarchy = Hierarchy { mount: PathBuf::from(mount), names };
        if !found.iter().any(|h| h.names == hierarchy.names) {
            found.push(hierarchy);
        }
    }
    found
}

impl Cgroups {
    /// Finds the host's hierarchies. `tag` tells nodes on one machine apart.
    ///
    /// # Errors
    /// When no v2 hierarchy is mounted: systemd inside needs one.
    pub fn find(tag: &str) -> Result<Self> {
        let text = fs::read_to_string("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo".into())?;
        let hierarchies = parse_mountinfo(&text);
        if !hierarchies.iter().any(Hierarchy::is_v2) {
            return Err(Error::Unsupported(
                "no cgroup v2 hierarchy is mounted; boot with systemd.unified_cgroup_hierarchy=1".into(),
            ));
        }
        Ok(Self { hierarchies, group: format!("cowl-{tag}") })
    }

    /// `v2` or `hybrid`.
    pub fn mode(&self) -> &'static str {
        if self.hierarchies.iter().all(Hierarchy::is_v2) { "v2" } else { "hybrid" }
    }

    fn node_dir(&self, h: &Hierarchy) -> PathBuf {
        h.mount.join(&self.group)
    }

    fn container_dir(&self, h: &Hierarchy, id: &ContainerId) -> PathBuf {
        self.node_dir(h).join(id.as_str())
    }

    /// Makes the node's groups and moves this process (a shim) out of the node's own cgroup.
    ///
    /// # Errors
    /// The path that could not be written.
    pub fn enter_shim_group(&self) -> Result<()> {
        // 0 is "the writer".
        self.keep_beside_shims(0)
    }

    /// Moves a process that is to outlive the node to where the shims are.
    ///
    /// # Errors
    /// The path that could not be written.
    pub fn keep_beside_shims(&self, pid: libc::pid_t) -> Result<()> {
        for h in self.hierarchies.iter().filter(|h| h.is_eager()) {
            let node = self.node_dir(h);
            make_dir(&node)?;
            if h.is_v2() {
                enable_controllers(&h.mount);
                enable_controllers(&node);
            }
            let shim = node.join("shim");
            make_dir(&shim)?;
            join(&shim, pid)?;
        }
        Ok(())
    }

    /// Makes a container's groups and hands the delegated ones to the host uid `owner`.
    ///
    /// # Errors
    /// The path that could not be written.
    pub fn create(&self, id: &ContainerId, owner: u32) -> Result<()> {
        for h in self.hierarchies.iter().filter(|h| h.is_eager()) {
            let dir = self.container_dir(h, id);
            make_dir(&dir)?;
            if !h.is_v2() {
                continue;
            }
            enable_controllers(&dir);
            bound_groups(&dir);
            for sub in ["payload", "payload/cowl-kit"] {
                let sub = dir.join(sub);
                make_dir(&sub)?;
                delegate(&sub, owner)?;
            }
        }
        Ok(())
    }

    /// The v2 group in which a container's init is born.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn open_payload(&self, id: &ContainerId) -> Result<fs::File> {
        self.open_v2(id, "payload")
    }

    /// The v2 group in which a container's kit is born.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn open_kit(&self, id: &ContainerId) -> Result<fs::File> {
        self.open_v2(id, "payload/cowl-kit")
    }

    fn open_v2(&self, id: &ContainerId, sub: &str) -> Result<fs::File> {
        let h = self.v2()?;
        let path = self.container_dir(h, id).join(sub);
        fs::File::open(&path).at("open", &path)
    }

    fn v2(&self) -> Result<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.is_v2()).ok_or_else(|| Error::NotFound("cgroup v2 hierarchy".into()))
    }

    /// Moves process `pid` into a container's v1 groups (its v2 group it was born in).
    ///
    /// # Errors
    /// The path that could not be written.
    pub fn place(&self, id: &ContainerId, pid: libc::pid_t) -> Result<()> {
        for h in self.hierarchies.iter().filter(|h| !h.is_v2()) {
            let dir = self.container_dir(h, id);
            if h.is_eager() || dir.exists() {
                join(&dir, pid)?;
            }
        }
        Ok(())
    }

    /// Freezes or thaws everything of a container. Returns when nothing of it runs any more; what
    /// does not freeze in time is thawed again.
    ///
    /// # Errors
    /// When the kernel refuses, or something did not freeze within [`FREEZING`].
    pub fn freeze(&self, id: &ContainerId, frozen: bool) -> Result<()> {
        let v1 = self.hierarchies.iter().find(|h| h.has("freezer"));
        let dir = self.container_dir(v1.map_or_else(|| self.v2(), Ok)?, id);
        // v1 says FREEZING until all are; writing again tries again.
        let (file, on, off, told, done) = match v1 {
            Some(_) => ("freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN"),
            None => ("cgroup.freeze", "1", "0", "cgroup.events", "frozen 1"),
        };
        let (file, told) = (dir.join(file), dir.join(told));
        if !frozen {
            return fs::write(&file, off).at("write", &file);
        }
        let deadline = Instant::now() + FREEZING;
        loop {
            fs::write(&file, on).at("write", &file)?;
            if fs::read_to_string(&told).at("read", &told)?.lines().any(|line| line.trim() == done) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let _ = fs::write(&file, off);
                return Err(Error::Shim(format!("container {id} did not freeze: a task of it waits in the kernel")));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Takes back what memory a container can do without, page cache first. What its programs wrote
    /// to memory can only go to swap: without swap it stays. Gives the bytes that were freed.
    ///
    /// # Errors
    /// When the container has no group; a kernel that cannot do it frees nothing.
    pub fn reclaim(&self, id: &ContainerId) -> Result<u64> {
        let charged = || self.read(id, "memory", "memory.usage_in_bytes", "memory.current");
        let bytes = |text: String| text.trim().parse::<u64>().unwrap_or(0);
        let before = bytes(charged()?);
        // v2: asking for more than can be had ends with EAGAIN when no more comes (Linux 5.19+).
        let (file, how) = match self.hierarchies.iter().find(|h| h.has("memory")) {
            Some(h) => (self.container_dir(h, id).join("memory.force_empty"), "0".to_owned()),
            None => (self.container_dir(self.v2()?, id).join("memory.reclaim"), before.to_string()),
        };
        let _ = fs::write(file, how);
        Ok(before.saturating_sub(bytes(charged()?)))
    }

    /// Kills the kit and everything that was started through it.
    pub fn kill_kit(&self, id: &ContainerId) {
        if let Ok(h) = self.v2() {
            let _ = fs::write(self.container_dir(h, id).join("payload/cowl-kit/cgroup.kill"), "1");
        }
    }

    /// Kills everything of a container that may still run, and removes its groups.
    pub fn remove(&self, id: &ContainerId) {
        if let Ok(h) = self.v2() {
            let _ = fs::write(self.container_dir(h, id).join("cgroup.kill"), "1");
        }
        // The last tasks may take a moment to leave.
        let deadline = Instant::now() + Duration::from_secs(2);
        for h in &self.hierarchies {
            let dir = self.container_dir(h, id);
            while dir.exists() && remove_tree(&dir).is_err() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Containers that have groups here, living or not.
    pub fn ids(&self) -> Vec<ContainerId> {
        let entries = self.hierarchies.iter().flat_map(|h| fs::read_dir(self.node_dir(h)).into_iter().flatten());
        let mut ids: Vec<ContainerId> =
            entries.flatten().filter_map(|e| e.file_name().to_str().and_then(|name| name.parse().ok())).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Removes the node's own groups if nothing is left in them.
    pub fn remove_node(&self) {
        for h in &self.hierarchies {
            let _ = remove_tree(&self.node_dir(h));
        }
    }

    /// Reads a file of a container's group in the hierarchy of a v1 controller, or of v2.
    /// `file` gives the name on v1 and on v2.
    ///
    /// # Errors
    /// When there is no such group or file.
    pub fn read(&self, id: &ContainerId, controller: &str, v1_file: &str, v2_file: &str) -> Result<String> {
        let (h, file) = match self.hierarchies.iter().find(|h| h.has(controller)) {
            Some(h) => (h, v1_file),
            None => (self.v2()?, v2_file),
        };
        let path = self.container_dir(h, id).join(file);
        fs::read_to_string(&path).at("read", &path)
    }

    /// Reads a file of a container's v2 group, and the same of its `payload`, which has the same limits
    /// and meets them first. Empty where there is none.
    pub fn read_both(&self, id: &ContainerId, file: &str) -> [String; 2] {
        let dir = self.v2().map(|h| self.container_dir(h, id)).unwrap_or_default();
        [dir.join(file), dir.join("payload").join(file)].map(|path| fs::read_to_string(path).unwrap_or_default())
    }

    /// Whether the kernel counts refused forks by the group whose limit it was (v2, Linux 6.11).
    pub fn tells_refusals_apart(&self, id: &ContainerId) -> bool {
        self.v2().is_ok_and(|h| self.container_dir(h, id).join("pids.events.local").exists())
    }

    /// Whether a container has groups, so that it runs.
    pub fn holds(&self, id: &ContainerId) -> bool {
        self.v2().is_ok_and(|h| self.container_dir(h, id).exists())
    }

    /// Whether `controller` sits on a v1 hierarchy here.
    pub fn is_v1(&self, controller: &str) -> bool {
        self.hierarchies.iter().any(|h| h.has(controller))
    }
}

fn make_dir(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e).at("create", path),
        _ => Ok(()),
    }
}

fn join(dir: &Path, pid: libc::pid_t) -> Result<()> {
    let procs = dir.join("cgroup.procs");
    fs::write(&procs, pid.to_string()).at("write", &procs)
}

/// Switches on what can be: a controller may be absent, or sit on v1, which is no failure.
fn enable_controllers(dir: &Path) {
    let Ok(mut file) = fs::OpenOptions::new().write(true).open(dir.join("cgroup.subtree_control")) else { return };
    for controller in V2_CONTROLLERS {
        // One write a controller: `write!` would send the sign and the word apart.
        let _ = file.write_all(format!("+{controller}").as_bytes());
    }
}

/// Bounds how many groups there may be below a container's own, the delegated ones among them.
fn bound_groups(dir: &Path) {
    if let Err(error) = fs::write(dir.join(GROUPS.name), GROUPS.most) {
        tracing::warn!(dir = %dir.display(), %error, "root inside may make any number of groups");
    }
}

/// Gives a group to the container's root as cgroups(7) "delegation containment" asks: the
/// directory and the files that move processes, not the limits.
fn delegate(dir: &Path, owner: u32) -> Result<()> {
    chown(dir, Some(owner), Some(owner)).at("chown", dir)?;
    for file in ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"] {
        let path = dir.join(file);
        if path.exists() {
            chown(&path, Some(owner), Some(owner)).at("chown", &path)?;
        }
    }
    Ok(())
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host_gives_v1_controllers_and_v2() {
        let text = "30 20 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                    31 20 0:27 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n\
                    32 20 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
                    33 20 0:29 / /sys/fs/cgroup/unified rw,relatime shared:3 - cgroup2 cgroup2 rw\n";
        let found = parse_mountinfo(text);
        assert_eq!(found.len(), 4);
        assert!(found[0].has("memory") && !found[0].is_v2() && found[0].is_eager());
        assert!(!found[1].is_eager());
        assert!(found[2].is_eager() && !found[2].is_v2());
        assert!(found[3].is_v2() && found[3].is_eager());
    }

    #[test]
    fn a_v2_host_gives_one_hierarchy_even_when_mounted_twice() {
        let text = "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n\
                    99 20 0:26 / /mnt/other rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = parse_mountinfo(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].mount, Path::new("/sys/fs/cgroup"));
    }
}
