//! `/ramdisk`: a tmpfs that outlives its container's stops and starts, and the node.
//!
//! ```text
//! RUN/ramdisk/<container id>/fs            mounted as /ramdisk
//! RUN/ramdisk/<project id>/fs              mounted as /ramdisk/project where the scope is `project`
//! RUN/ramdisk/<project id>/members/<id>    who has it; it goes with the last of them
//! ```
//! The host's mount namespace holds it, so only deletion, another setting or a reboot of the box
//! empty it. A container gets a clone of the mount with owners mapped, as its ids differ from start
//! to start: tmpfs can do that since Linux 6.3.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{OpenTreeFlags, open_tree};
use serde::{Deserialize, Serialize};

use super::error::{Context, Result};
use super::sys;
use cowl_api::{ContainerId, ProjectId};

/// Where it is inside.
pub const INSIDE: &str = "/ramdisk";
/// Where the project's is inside.
const INSIDE_PROJECT: &str = "/ramdisk/project";
/// Bytes it may hold unless settings say otherwise.
pub const SIZE: u64 = 512 << 20;
/// Files and directories it may hold: each costs the host about 1 KiB that no size limit counts.
const INODES: u32 = 131_072;
/// `f_type` of statfs(2) for tmpfs.
const TMPFS: i64 = 0x0102_1994;

/// What a container is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ramdisk {
    /// Bytes it may hold.
    pub size: u64,
    /// The project whose ramdisk it shares.
    pub project: Option<ProjectId>,
}

/// Bytes in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the container's own.
    pub private: Option<u64>,
    /// Of its project's.
    pub project: Option<u64>,
}

fn owner_dir(run_dir: &Path, owner: &str) -> PathBuf {
    run_dir.join("ramdisk").join(owner)
}

fn mount_point(run_dir: &Path, owner: &str) -> PathBuf {
    owner_dir(run_dir, owner).join("fs")
}

fn members(run_dir: &Path, project: &ProjectId) -> PathBuf {
    owner_dir(run_dir, project.as_str()).join("members")
}

/// Makes what `asked` says and removes what it does not: before each start.
///
/// # Errors
/// When a tmpfs cannot be mounted.
pub fn settle(run_dir: &Path, id: &ContainerId, asked: Option<&Ramdisk>) -> Result<()> {
    let project = asked.and_then(|a| a.project);
    for other in memberships(run_dir, id).into_iter().filter(|p| Some(*p) != project) {
        leave(run_dir, &other, id);
    }
    let Some(asked) = asked else {
        remove(run_dir, id.as_str());
        return Ok(());
    };
    hold(run_dir, id.as_str(), asked.size)?;
    if let Some(project) = project {
        hold(run_dir, project.as_str(), asked.size.max(SIZE))?;
        make_dir(&members(run_dir, &project).join(id.as_str()))?;
    }
    Ok(())
}

/// Mounts an owner's tmpfs, or gives the one that is there its new size.
fn hold(run_dir: &Path, owner: &str, size: u64) -> Result<()> {
    let at = mount_point(run_dir, owner);
    make_dir(&at)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if used(&at).is_some() {
        let options = format!("size={size}");
        // What it holds already may not fit a smaller size; then the old one stays.
        let _ = mount(None::<&str>, &at, None::<&str>, flags | MsFlags::MS_REMOUNT, Some(options.as_str()));
        return Ok(());
    }
    let options = format!("size={size},nr_inodes={INODES},mode=1777");
    mount(Some("cowl-ramdisk"), &at, Some("tmpfs"), flags, Some(options.as_str())).at("mount a tmpfs at", &at)
}

fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).at("create", path)
}

/// Detached mounts for a container, in the order to attach them.
///
/// # Errors
/// When the node has made none, or the kernel cannot map owners on tmpfs (Linux < 6.3).
pub fn clone_mounts(
    run_dir: &Path,
    id: &ContainerId,
    asked: &Ramdisk,
    userns: &File,
) -> Result<Vec<(String, OwnedFd)>> {
    let own = mount_point(run_dir, id.as_str());
    let mut all = vec![(INSIDE.to_owned(), mapped(&own, userns)?)];
    if let Some(project) = &asked.project {
        // The container may have put anything of this name there; it gets no project's then.
        let root = File::open(&own).at("open", &own)?;
        if rustix::fs::mkdirat(&root, "project", Mode::from_raw_mode(0o755)).is_ok() {
            let _ = rustix::fs::chmodat(&root, "project", Mode::from_raw_mode(0o755), rustix::fs::AtFlags::empty());
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&root, "project", flags, Mode::empty(), resolve).context(|| format!("open {INSIDE_PROJECT}"))?;
        all.push((INSIDE_PROJECT.to_owned(), mapped(&mount_point(run_dir, project.as_str()), userns)?));
    }
    Ok(all)
}

fn mapped(at: &Path, userns: &File) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, at, flags).at("clone the mount of", at)?;
    sys::mount::set_attributes(tree.as_fd(), 0, Some(userns.as_fd()))
        .context(|| "map the owners of the ramdisk, which needs Linux 6.3".into())?;
    Ok(tree)
}

/// What a container's ramdisks hold.
pub fn usage(run_dir: &Path, id: &ContainerId) -> Usage {
    let project = memberships(run_dir, id).into_iter().next();
    Usage {
        private: used(&mount_point(run_dir, id.as_str())),
        project: project.and_then(|p| used(&mount_point(run_dir, p.as_str()))),
    }
}

fn used(at: &Path) -> Option<u64> {
    let about = rustix::fs::statfs(at).ok().filter(|about| about.f_type == TMPFS)?;
    // The directory it would be mounted on may lie on a tmpfs itself.
    let parent = rustix::fs::stat(at.parent()?).ok()?;
    if rustix::fs::stat(at).ok()?.st_dev == parent.st_dev {
        return None;
    }
    Some((about.f_blocks.saturating_sub(about.f_bfree)).saturating_mul(about.f_bsize.unsigned_abs()))
}

fn memberships(run_dir: &Path, id: &ContainerId) -> Vec<ProjectId> {
    let owners = fs::read_dir(run_dir.join("ramdisk")).into_iter().flatten().flatten();
    owners
        .filter_map(|entry| entry.file_name().to_str()?.parse::<ProjectId>().ok())
        .filter(|owner| members(run_dir, owner).join(id.as_str()).exists())
        .collect()
}

fn leave(run_dir: &Path, project: &ProjectId, id: &ContainerId) {
    let members = members(run_dir, project);
    let _ = fs::remove_dir(members.join(id.as_str()));
    // Succeeds for the last one only.
    if fs::remove_dir(&members).is_ok() {
        remove(run_dir, project.as_str());
    }
}

fn remove(run_dir: &Path, owner: &str) {
    let dir = owner_dir(run_dir, owner);
    let at = dir.join("fs");
    while used(&at).is_some() && umount2(&at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok() {}
    let _ = fs::remove_dir(&at);
    let _ = fs::remove_dir(&dir);
}

/// Gives up a deleted container's ramdisk, and its project's when it was the last.
pub fn release(run_dir: &Path, id: &ContainerId) {
    for project in memberships(run_dir, id) {
        leave(run_dir, &project, id);
    }
    remove(run_dir, id.as_str());
}

/// Gives up all ramdisks of a node.
pub fn release_all(run_dir: &Path) {
    let root = run_dir.join("ramdisk");
    for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
        let members = entry.path().join("members");
        for member in fs::read_dir(&members).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(member.path());
        }
        let _ = fs::remove_dir(&members);
        if let Some(owner) = entry.file_name().to_str() {
            remove(run_dir, owner);
        }
    }
    let _ = fs::remove_dir(&root);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_on_a_tmpfs_is_not_taken_for_a_mount() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let at = dir.path().join("fs");
        fs::create_dir(&at).unwrap();
        assert_eq!(used(&at), None);
    }

    #[test]
    fn who_shares_a_projects_ramdisk_is_kept_as_directories() {
        let dir = tempfile::tempdir().unwrap();
        let (project, a, b) = (ProjectId::generate(), ContainerId::generate(), ContainerId::generate());
        for id in [&a, &b] {
            make_dir(&members(dir.path(), &project).join(id.as_str())).unwrap();
        }
        assert_eq!(memberships(dir.path(), &a), [project]);
        leave(dir.path(), &project, &a);
        assert_eq!((memberships(dir.path(), &a), memberships(dir.path(), &b)), (vec![], vec![project]));
        leave(dir.path(), &project, &b);
        assert!(!owner_dir(dir.path(), project.as_str()).exists());
    }
}
