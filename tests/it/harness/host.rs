//! What the host's kernel shows: processes, and control groups on v1, v2 or both.

use std::fs;
use std::path::PathBuf;

/// Ids of all processes.
pub fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("read /proc").flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// A process's command line, each word ended by a zero; empty when it is gone.
pub fn command_line(pid: u32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Where hierarchies may be mounted: beside each other, or one v2 alone.
fn hierarchies() -> impl Iterator<Item = PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let below = fs::read_dir(&root).expect("read the cgroups").flatten().map(|e| e.path());
    below.chain([root])
}

/// The groups of the node with this tag, one a hierarchy.
pub fn groups_of_node(tag: &str) -> Vec<PathBuf> {
    hierarchies().map(|h| h.join(format!("cowl-{tag}"))).filter(|group| group.exists()).collect()
}

/// The groups of a container of the node with this tag, one a hierarchy.
pub fn groups(tag: &str, id: &str) -> Vec<PathBuf> {
    groups_of_node(tag).into_iter().map(|group| group.join(id)).filter(|group| group.exists()).collect()
}
