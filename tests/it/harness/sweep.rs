//! Removing what tests made: at the end of each node, and at the start of a run for those who died.
//!
//! Everything lives below, or carries in its command line, a directory `/tmp/cowlt-<pid>-<starttime>-…`.
//! A pid together with its start time names a process for good, so it can be told whether the owner lives.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::run::{Ran, program, run};
use super::{cowl, host};

const PREFIX: &str = "cowlt-";

/// Start time of a living process, in clock ticks since boot.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets; fields count from behind its last bracket.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    // A zombie is dead; only nobody has looked.
    let dead = matches!(fields.first(), Some(&"Z" | &"X"));
    fields.get(19).filter(|_| !dead)?.parse().ok()
}

/// `cowlt-<pid>-<starttime>` of this process.
pub fn own_prefix() -> String {
    let pid = std::process::id();
    format!("{PREFIX}{pid}-{}", start_time(pid).unwrap_or(0))
}

/// Pid and start time in a name.
fn owner(name: &str) -> Option<(u32, u64)> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn test_directories() -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir("/tmp").expect("read /tmp").flatten();
    entries
        .map(|e| (e.file_name().to_string_lossy().into_owned(), e.path()))
        .filter(|(name, _)| owner(name).is_some())
        .collect()
}

/// Removes what runs left whose process is gone.
pub fn dead_runs() {
    for (name, dir) in test_directories() {
        let alive = owner(&name).is_some_and(|(pid, start)| start_time(pid) == Some(start));
        if !alive {
            eprintln!("removing what a dead run left: {}", dir.display());
            remove(&dir);
        }
    }
    for name in namespaces().into_iter().filter(|name| owner(name).is_some()) {
        if owner(&name).is_none_or(|(pid, start)| start_time(pid) != Some(start)) {
            tell(&run(program("ip").args(["netns", "delete", &name])));
        }
    }
}

/// Names of network namespaces.
fn namespaces() -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
}

/// Removes one node's directory and all that hangs on it. Says on stderr what resists.
pub fn remove(dir: &Path) {
    let (state, run_dir) = (dir.join("state"), dir.join("run"));
    if state.exists() {
        let mut clean = program(cowl());
        clean.args(["clean-state", "--yes", "--state-dir"]).arg(&state).arg("--run-dir").arg(&run_dir);
        tell(&run(&mut clean));
    }
    cut_power(dir);
    if let Err(e) = fs::remove_dir_all(dir) {
        eprintln!("cannot remove {}: {e}", dir.display());
    }
}

/// What a power cut leaves of a node: its files.
pub fn cut_power(dir: &Path) {
    kill_all(&processes_naming(dir));
    for mount in mounts_below(dir) {
        tell(&run(program("umount").arg("--lazy").arg(&mount)));
    }
    for device in loops_below(dir) {
        tell(&run(program("losetup").arg("--detach").arg(&device)));
    }
}

fn tell(ran: &Ran) {
    if ran.code != 0 {
        eprintln!("{}: {}{}", ran.line, ran.stdout, ran.stderr);
    }
}

/// Processes, other than this one, whose command line names the directory.
fn processes_naming(dir: &Path) -> Vec<u32> {
    let name = dir.to_string_lossy().into_owned();
    host::pids()
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            let line = host::command_line(*pid);
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let ours = line.starts_with(cowl().as_bytes())
                || line.windows(5).any(|w| w == b"cowl\0")
                || line.starts_with(b"/usr/bin/lxcfs\0");
            let names = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&name);
            ours && (names(&line) || names(&environment))
        })
        .collect()
}

fn kill_all(pids: &[u32]) {
    for pid in pids {
        // One that has just ended needs no signal.
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }
    let gone = || pids.iter().all(|pid| start_time(*pid).is_none());
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !gone() && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Mount points below a directory, deepest first.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("read the mount table");
    let points = table.lines().filter_map(|l| l.split(' ').nth(4)).map(PathBuf::from);
    let mut below: Vec<PathBuf> = points.filter(|m| m.starts_with(dir)).collect();
    below.reverse();
    below.sort_by_key(|m| std::cmp::Reverse(m.components().count()));
    below
}

fn loops_below(dir: &Path) -> Vec<String> {
    let listed = run(program("losetup").args(["--noheadings", "--output", "NAME,BACK-FILE"]));
    let name = dir.to_string_lossy().into_owned();
    let lines = listed.stdout.lines().filter(|l| l.contains(&name));
    lines.filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect()
}

/// Tags of this run's nodes: what their interfaces, cgroups and firewall tables are named by.
static TAGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Remembers that a node with this tag was here.
pub fn remember(tag: String) {
    TAGS.lock().unwrap_or_else(PoisonError::into_inner).push(tag);
}

/// What is named by the tag of one of this run's nodes.
fn named_by_tags() -> Vec<String> {
    let tags = TAGS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let links = run(program("ip").args(["-brief", "link"])).stdout;
    let tables = run(program("nft").args(["list", "tables"])).stdout;
    let mut left = Vec::new();
    for tag in tags {
        let veth = format!("cw{tag}");
        // What an interface's rate limit hangs on.
        let ifb = format!("ci{tag}");
        let ours = |l: &&str| l.starts_with(&veth) || l.starts_with(&ifb);
        left.extend(links.lines().filter(ours).map(|l| format!("interface {l}")));
        let table = format!("cowl_{tag}");
        left.extend(tables.lines().filter(|l| l.ends_with(&table)).map(|l| format!("firewall {l}")));
        left.extend(host::groups_of_node(&tag).iter().map(|g| format!("cgroup {}", g.display())));
    }
    left
}

/// What this run has left on the machine now that all its nodes are gone.
pub fn own_leftovers() -> Vec<String> {
    let prefix = PathBuf::from("/tmp").join(own_prefix());
    let name = prefix.to_string_lossy().into_owned();
    let mut left: Vec<String> = test_directories()
        .into_iter()
        .filter(|(n, _)| n.starts_with(&own_prefix()))
        .map(|(_, dir)| format!("directory {}", dir.display()))
        .collect();
    left.extend(processes_naming(&prefix).into_iter().map(|pid| format!("process {pid}")));
    let worlds = namespaces().into_iter().filter(|n| n.starts_with(&own_prefix()));
    left.extend(worlds.map(|n| format!("network namespace {n}")));
    left.extend(loops_below(&prefix).into_iter().map(|d| format!("loop device {d}")));
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    left.extend(table.lines().filter(|l| l.contains(&name)).map(|l| format!("mount {l}")));
    left.extend(named_by_tags());
    left
}
