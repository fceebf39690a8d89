//! The processes of a container, from its groups. What hangs below the delegated group was made
//! inside, so the walk is bounded in groups, depth and processes.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, openat};

use super::Cgroups;
use cowl_api::ContainerId;

/// Groups looked into at most: more than a container may make.
const GROUPS_MAX: usize = 4_096;
/// Depth followed at most; each level is an open directory.
const DEPTH_MAX: usize = 64;
/// Processes told at most: more than tasks a container has by default.
const MEMBERS_MAX: usize = 32_768;

impl Cgroups {
    /// Process ids of everything in a container, its kit included; empty when it does not run. Of a
    /// tree of groups that is deeper than 64 the rest is left out.
    pub fn members(&self, id: &ContainerId) -> Vec<u32> {
        // A v1 controller has all of them in one group that is not delegated; v2 has a tree.
        let v1 = self.hierarchies.iter().find(|h| h.has("memory"));
        let Ok(h) = v1.map_or_else(|| self.v2(), Ok) else { return Vec::new() };
        members_below(&self.container_dir(h, id))
    }

    /// Process ids of the shims and of what outlives the node beside them.
    pub fn shims(&self) -> Vec<u32> {
        let Ok(h) = self.v2() else { return Vec::new() };
        members_below(&self.node_dir(h).join("shim"))
    }
}

fn members_below(dir: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(dir) = openat(CWD, dir, flags, Mode::empty()) {
        let mut left = GROUPS_MAX;
        gather(dir, DEPTH_MAX, &mut left, &mut found);
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn gather(dir: OwnedFd, depth: usize, left: &mut usize, found: &mut Vec<u32>) {
    if let Ok(file) = openat(&dir, "cgroup.procs", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        // A threaded group refuses; its processes stand in the group above.
        let text = std::io::read_to_string(fs::File::from(file)).unwrap_or_default();
        let room = MEMBERS_MAX.saturating_sub(found.len());
        found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid > 0).take(room));
    }
    if depth == 0 {
        return;
    }
    let Ok(entries) = Dir::read_from(&dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if entry.file_type() != FileType::Directory || name == c"." || name == c".." {
            continue;
        }
        if *left == 0 {
            return;
        }
        *left -= 1;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(below) = openat(&dir, name, flags, Mode::empty()) {
            gather(below, depth - 1, left, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_a_tree_are_told_once_and_a_deep_tree_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut at = dir.path().to_owned();
        for level in 0..100 {
            fs::write(at.join("cgroup.procs"), format!("{}\n7\n0\nnonsense\n", 1000 + level)).unwrap();
            at.push("x");
            fs::create_dir(&at).unwrap();
        }
        let found = members_below(dir.path());
        assert_eq!(found[0], 7);
        assert_eq!(found.len(), 1 + DEPTH_MAX + 1);
        assert!(members_below(&dir.path().join("missing")).is_empty());
    }
}
