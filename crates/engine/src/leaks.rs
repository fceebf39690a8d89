//! What dead containers of this node left on the host, and taking it away.
//!
//! Every thing that the engine makes carries in its name whose it is: the node's tag or directories,
//! and the container's id. A thing is a leak when no shim of that container lives and, for what
//! outlasts a run, the database does not know the container.
//!
//! Nothing of a container that is being started is ever taken for a leak: things are listed first
//! and the living are looked up afterwards, and whoever makes a thing is alive before it exists.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::cgroup::Cgroups;
use super::error::{Context, Error, Result};
use super::shim::lease;
use super::sys::btrfs;
use super::{Config, firewall, net};
use cowl_api::{ContainerId, ProjectId};

/// A run directory is made before its shim; for so long it may be without one.
const GRACE: Duration = Duration::from_secs(10);

/// What kind of thing was left. In the order in which they are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A mount below the node's directories.
    Mount,
    /// Control groups, with whoever is still in them.
    Cgroup,
    /// A host-side interface.
    Interface,
    /// Chains and elements of nftables.
    Firewall,
    /// A directory of sockets.
    RunDirectory,
    /// A disk or a snapshot.
    Subvolume,
    /// A loop device on a file of the node.
    LoopDevice,
    /// The lock file of a range of ids.
    IdLease,
}

/// One thing that was left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Leak {
    /// What it is.
    pub kind: Kind,
    /// Its path or name.
    pub what: String,
}

/// What the node's database knows.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// All containers.
    pub containers: HashSet<ContainerId>,
    /// All projects: their ramdisks are mounts, too.
    pub projects: HashSet<ProjectId>,
    /// All snapshots, finished or not.
    pub snapshots: HashSet<(ContainerId, String)>,
}

/// Containers of this node whose shim lives: a process that was told to serve their spec file.
fn living(run_dir: &Path) -> HashSet<ContainerId> {
    let mut found = HashSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // A process may end while it is looked at.
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let words = line.split(|b| *b == 0).filter_map(|w| std::str::from_utf8(w).ok());
        found.extend(words.filter_map(|word| id_of_spec(run_dir, Path::new(word))));
    }
    found
}

fn id_of_spec(run_dir: &Path, path: &Path) -> Option<ContainerId> {
    let rest = path.strip_prefix(run_dir).ok()?;
    let (dir, file) = (rest.parent()?, rest.file_name()?);
    if file != "spec.json" { None } else { dir.to_str()?.parse().ok() }
}

/// Everything that carries this node's names, as it was at one moment.
#[derive(Debug, Default)]
pub struct Listed {
    mounts: Vec<PathBuf>,
    sources: HashSet<String>,
    cgroups: Vec<ContainerId>,
    /// Names of interfaces that belong to containers of the node.
    interfaces: Vec<String>,
    firewall: Vec<String>,
    run_directories: Vec<ContainerId>,
    disks: Vec<ContainerId>,
    snapshots: Vec<(ContainerId, String)>,
    /// Device and file.
    loops: Vec<(String, PathBuf)>,
    leases: Vec<PathBuf>,
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
}

fn ids(dir: &Path) -> Vec<ContainerId> {
    names(dir).iter().filter_map(|name| name.parse().ok()).collect()
}

fn is_young(dir: &Path) -> bool {
    let made = fs::metadata(dir).and_then(|m| m.modified());
    made.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < GRACE))
}

impl Listed {
    /// Lists it. Ask the database afterwards, not before.
    ///
    /// # Errors
    /// When something cannot be listed.
    pub fn now(config: &Config) -> Result<Self> {
        let tag = config.tag();
        let table = fs::read_to_string("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo".into())?;
        let (mounts, sources) = parse_mounts(&table);
        let pool = config.state_dir.join("pool");
        let of_snapshots = |id: ContainerId| {
            let names = names(&pool.join("snapshots").join(id.as_str()));
            names.into_iter().map(move |name| (id, name)).collect::<Vec<_>>()
        };
        Ok(Self {
            mounts: mounts
                .into_iter()
                .filter(|m| m.starts_with(&config.run_dir) || m.starts_with(&config.state_dir))
                .collect(),
            sources,
            cgroups: Cgroups::find(&tag)?.ids(),
            interfaces: names(Path::new("/sys/class/net"))
                .into_iter()
                .filter(|name| net::owner_of(&tag, name).is_some())
                .collect(),
            firewall: firewall::known(&tag)?,
            run_directories: ids(&config.run_dir)
                .into_iter()
                .filter(|id| !is_young(&config.run_dir.join(id.as_str())))
                .collect(),
            disks: ids(&pool.join("containers")),
            snapshots: ids(&pool.join("snapshots")).into_iter().flat_map(of_snapshots).collect(),
            loops: loops(&config.state_dir),
            leases: lease::abandoned(),
        })
    }

    /// What of it was left. Without a database nothing is said about what only a database can tell.
    pub fn leaks(self, config: &Config, known: Option<&Known>) -> Vec<Leak> {
        let mut leaks = self.without(config, &living(&config.run_dir), known);
        leaks.sort();
        leaks
    }

    fn without(self, config: &Config, living: &HashSet<ContainerId>, known: Option<&Known>) -> Vec<Leak> {
        let tag = config.tag();
        let pool = config.state_dir.join("pool");
        let lives = |id: &ContainerId| living.contains(id);
        let short_lives = |short: &str| living.iter().any(|id| id.as_str().starts_with(short));
        let mut leaks = Vec::new();
        let mut add = |kind, what: String| leaks.push(Leak { kind, what });
        for mount in &self.mounts {
            if is_left(mount, config, living, known) {
                add(Kind::Mount, mount.display().to_string());
            }
        }
        for id in self.cgroups.iter().filter(|id| !lives(id)) {
            add(Kind::Cgroup, id.to_string());
        }
        let is_owned = |name: &str| net::owner_of(&tag, name).is_some_and(short_lives);
        for name in self.interfaces.iter().filter(|name| !is_owned(name)) {
            add(Kind::Interface, name.clone());
        }
        for id in self.run_directories.iter().filter(|id| !lives(id)) {
            add(Kind::RunDirectory, config.run_dir.join(id.as_str()).display().to_string());
        }
        if let Some(known) = known {
            let has = |short: &str| known.containers.iter().any(|id| id.as_str().starts_with(short));
            for short in self.firewall.iter().filter(|short| !has(short)) {
                add(Kind::Firewall, short.clone());
            }
            for id in self.disks.iter().filter(|id| !known.containers.contains(*id) && !lives(id)) {
                add(Kind::Subvolume, pool.join("containers").join(id.as_str()).display().to_string());
            }
            for (id, name) in self.snapshots.iter().filter(|s| !known.snapshots.contains(*s)) {
                let path = pool.join("snapshots").join(id.as_str()).join(name);
                add(Kind::Subvolume, path.display().to_string());
            }
        }
        for (device, file) in &self.loops {
            // The pool may be mounted in containers only, where this table does not show it.
            let is_pool = file == &config.state_dir.join("pool.img") && !living.is_empty();
            if !self.sources.contains(device) && !is_pool {
                add(Kind::LoopDevice, device.clone());
            }
        }
        for path in &self.leases {
            add(Kind::IdLease, path.display().to_string());
        }
        leaks
    }
}

/// Whether a mount belongs to a container or project that is no more: one below a container's run
/// directory, or below any other directory that is named by an id.
fn is_left(mount: &Path, config: &Config, living: &HashSet<ContainerId>, known: Option<&Known>) -> bool {
    let id_in = |path: &Path| {
        path.components().find_map(|c| c.as_os_str().to_str().and_then(|name| name.parse::<ContainerId>().ok()))
    };
    let below_run = mount.strip_prefix(&config.run_dir).ok();
    let first = below_run.and_then(|rest| rest.components().next()).and_then(|c| id_in(Path::new(c.as_os_str())));
    if let Some(id) = first {
        return !living.contains(&id);
    }
    let rest = below_run.or_else(|| mount.strip_prefix(&config.state_dir).ok());
    let (Some(id), Some(known)) = (rest.and_then(id_in), known) else { return false };
    // Ids of containers and of projects look alike.
    let is_project = known.projects.iter().any(|project| project.as_str() == id.as_str());
    !is_project && !living.contains(&id) && !known.containers.contains(&id)
}

/// Mount points and sources of a mount table.
fn parse_mounts(table: &str) -> (Vec<PathBuf>, HashSet<String>) {
    let mut points = Vec::new();
    let mut sources = HashSet::new();
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        if let Some(point) = left.split(' ').nth(4) {
            points.push(PathBuf::from(unescape(point)));
        }
        sources.extend(right.split(' ').nth(1).map(unescape));
    }
    (points, sources)
}

/// mountinfo writes space, tab, newline and backslash as `\ooo`.
fn unescape(word: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(word.to_owned(), |w, (from, to)| w.replace(from, to))
}

/// Loop devices on files below a directory, deleted ones among them.
fn loops(dir: &Path) -> Vec<(String, PathBuf)> {
    let all = names(Path::new("/sys/block")).into_iter().filter(|name| name.starts_with("loop"));
    let file = |name: String| {
        let text = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
        let text = text.trim_end();
        Some((format!("/dev/{name}"), PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(text))))
    };
    all.filter_map(file).filter(|(_, file)| file.starts_with(dir)).collect()
}

/// Takes a leak away. Succeeds when it is gone already.
///
/// # Errors
/// When the kernel refuses.
pub fn fix(config: &Config, leak: &Leak) -> Result<()> {
    let tag = config.tag();
    let path = Path::new(&leak.what);
    match leak.kind {
        Kind::Mount => {
            use nix::mount::{MntFlags, umount2};
            umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).at("unmount", path)
        }
        Kind::Cgroup => {
            let id = leak.what.parse().map_err(|_| Error::NotFound(leak.what.clone()))?;
            Cgroups::find(&tag)?.remove(&id);
            Ok(())
        }
        Kind::Interface => {
            net::remove(&leak.what);
            Ok(())
        }
        Kind::Firewall => firewall::forget(&tag, &leak.what),
        Kind::RunDirectory => absent_is_fine(fs::remove_dir_all(path)).at("remove", path),
        Kind::Subvolume => {
            absent_is_fine(btrfs::delete(path)).at("delete", path)?;
            // Snapshots lie in a directory of their container's; the last one takes it along.
            if let Some(parent) = path.parent().filter(|p| p.parent().is_some_and(|g| g.ends_with("pool/snapshots"))) {
                let _ = fs::remove_dir(parent);
            }
            Ok(())
        }
        Kind::LoopDevice => detach(&leak.what),
        Kind::IdLease => {
            lease::forget(path);
            Ok(())
        }
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn detach(device: &str) -> Result<()> {
    let done = std::process::Command::new("losetup").args(["--detach", device]).output();
    let done = done.context(|| "run losetup".into())?;
    if done.status.success() {
        return Ok(());
    }
    let tail = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(Error::Program { program: "losetup".into(), status: done.status.to_string(), tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> Config {
        Config {
            state_dir: dir.join("state"),
            run_dir: dir.join("run"),
            network: "10.201.0.0/16".parse().unwrap(),
            id_base: 0x7000_0000,
            mirror: None,
            cache_dir: None,
            cowl_exe: "/nonexistent/cowl".into(),
            kit_exe: "/nonexistent/cowl-kit".into(),
        }
    }

    #[test]
    fn only_what_nobody_living_or_known_owns_is_a_leak() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let tag = config.tag();
        let [alive, stopped, dead]: [ContainerId; 3] = std::array::from_fn(|_| ContainerId::generate());
        let project = ProjectId::generate();
        let short = |id: &ContainerId| id.as_str()[..8].to_owned();
        let all = vec![alive, stopped, dead];
        let interfaces = |kind: &str, of: &[ContainerId]| {
            of.iter().map(|id| format!("{kind}{tag}{}", short(id))).collect::<Vec<_>>()
        };
        let listed = Listed {
            mounts: vec![
                config.run_dir.join(alive.as_str()).join("x"),
                config.run_dir.join(dead.as_str()).join("x"),
                config.run_dir.join("ramdisk").join(stopped.as_str()),
                config.run_dir.join("ramdisk").join(dead.as_str()),
                config.run_dir.join("ramdisk").join(project.as_str()).join("fs"),
                config.state_dir.join("pool"),
            ],
            cgroups: all.clone(),
            interfaces: [interfaces("cw", &all), interfaces("ci", &all)].concat(),
            firewall: all.iter().map(short).collect(),
            disks: all.clone(),
            snapshots: vec![(stopped, "kept".into()), (dead, "left".into())],
            ..Listed::default()
        };
        let known = Known {
            containers: [alive, stopped].into_iter().collect(),
            projects: [project].into_iter().collect(),
            snapshots: [(stopped, "kept".into())].into_iter().collect(),
        };
        let leaks = listed.without(&config, &HashSet::from([alive]), Some(&known));
        let of = |kind| leaks.iter().filter(|l| l.kind == kind).map(|l| l.what.clone()).collect::<Vec<_>>();
        assert_eq!(of(Kind::Mount).len(), 2);
        // What exists only while a container runs is a leak of a stopped one, too.
        assert_eq!(of(Kind::Cgroup), [stopped.to_string(), dead.to_string()]);
        let ended = [stopped, dead];
        assert_eq!(of(Kind::Interface), [interfaces("cw", &ended), interfaces("ci", &ended)].concat());
        assert_eq!(of(Kind::Firewall), [short(&dead)]);
        let pool = config.state_dir.join("pool");
        let disk = pool.join("containers").join(dead.as_str()).display().to_string();
        let snapshot = pool.join("snapshots").join(dead.as_str()).join("left").display().to_string();
        assert_eq!(of(Kind::Subvolume), [disk, snapshot]);
    }

    #[test]
    fn without_a_database_no_disk_is_a_leak() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let listed = Listed { disks: vec![ContainerId::generate()], ..Listed::default() };
        assert!(listed.without(&config, &HashSet::new(), None).is_empty());
    }

    #[test]
    fn a_shim_is_known_by_the_spec_it_serves() {
        let id = ContainerId::generate();
        let run = Path::new("/run/cowl");
        assert_eq!(id_of_spec(run, &run.join(id.as_str()).join("spec.json")), Some(id));
        assert_eq!(id_of_spec(run, &Path::new("/run/other").join(id.as_str()).join("spec.json")), None);
        assert_eq!(id_of_spec(run, &run.join("x").join(id.as_str()).join("spec.json")), None);
    }
}
