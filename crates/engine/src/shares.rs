//! Directories of one container shown in another, below `/hoody/shares`, while both run on.
//!
//! Each running container has a *door*: a small tmpfs at `RUN/shares/<id>`, a shared mount of the
//! host's namespace, of which the container holds a slave at `/hoody/shares`. What the node mounts
//! into the door appears inside by propagation, and what it unmounts disappears.
//!
//! ```text
//!  source's disk ─ openat2 in root ─ open_tree(CLONE) ─ idmap ─ move_mount ─► RUN/shares/<target>/NAME
//!                                                                                   │ propagation
//!                                                               /hoody/shares/NAME ◄┘ flags locked
//! ```
//! Propagation is what makes a read-only share read-only: a mount that arrives in a less privileged
//! user namespace has its flags locked (mount_namespaces(7)), whereas one attached there directly
//! could be remounted by the container's root. The idmap is the target's, so owners inside are those
//! of the source. Set-uid bits of a foreign container count for nothing (`nosuid`).
//!
//! A running target may bind what it sees elsewhere in its own namespace; such a copy lives until
//! that container stops. That is a property of Linux mounts and told in the documentation.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree, unmount,
};

use super::error::{Context, Error, Result};
use super::sys::mount;
use cowl_api::ContainerId;

/// Where a container sees what is shared with it.
pub const INSIDE: &str = "/hoody/shares";

/// One directory to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Its name below [`INSIDE`]: one path component.
    pub name: String,
    /// Root file system of the source: `rootfs/` of its disk.
    pub root: PathBuf,
    /// Absolute path in the source.
    pub path: String,
    /// Whether the target may only read.
    pub read_only: bool,
}

/// The door of a container. Deliberately not in the container's own run directory, which is removed
/// recursively: nobody's files may be below that.
pub fn door(run_dir: &Path, id: &ContainerId) -> PathBuf {
    run_dir.join("shares").join(id.as_str())
}

/// Makes the door of a container that starts (one that is there stays, with all that is shown) and
/// gives the detached slave of it that the container is to attach.
///
/// # Errors
/// The step that failed.
pub(super) fn open_door(run_dir: &Path, id: &ContainerId) -> Result<OwnedFd> {
    let door = door(run_dir, id);
    if !is_mount_point(&door) {
        fs::create_dir_all(&door).at("create", &door)?;
        let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context(|| "open tmpfs".into())?;
        for (key, value) in [("mode", "0755"), ("size", "64k"), ("nr_inodes", "1024")] {
            fsconfig_set_string(fs.as_fd(), key, value).context(|| format!("tmpfs {key}"))?;
        }
        fsconfig_create(fs.as_fd()).context(|| "make the door for shares".into())?;
        let flags =
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let made =
            fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags).context(|| "make the door for shares".into())?;
        move_mount(&made, "", CWD, &door, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at("mount", &door)?;
        mount_change(&door, MountPropagationFlags::SHARED).at("share the mount", &door)?;
    }
    let clone = open_tree(CWD, &door, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .at("clone the mount of", &door)?;
    mount::make_slave(clone.as_fd()).at("make a slave of", &door)?;
    Ok(clone)
}

/// Takes a container's door away with all that is shown in it. Idempotent.
///
/// # Errors
/// When something is still mounted there.
pub(super) fn close_door(run_dir: &Path, id: &ContainerId) -> Result<()> {
    take_away(&door(run_dir, id))
}

/// Unmounts all that is mounted at a path, and removes its directory.
fn take_away(at: &Path) -> Result<()> {
    while is_mount_point(at) {
        unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).at("unmount", at)?;
    }
    // Not recursive: should a mount be left after all, its files are safe.
    match fs::remove_dir(at) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at("remove", at),
        _ => Ok(()),
    }
}

/// Takes all doors of a node away whose containers have ended.
///
/// # Errors
/// When something is still mounted.
pub fn close_all(run_dir: &Path) -> Result<()> {
    let doors = run_dir.join("shares");
    for entry in fs::read_dir(&doors).into_iter().flatten().flatten() {
        if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            close_door(run_dir, &id)?;
        }
    }
    // Not ours is what is left.
    let _ = fs::remove_dir(&doors);
    Ok(())
}

/// What is shown to a container now.
pub fn shown(run_dir: &Path, id: &ContainerId) -> Vec<String> {
    let entries = fs::read_dir(door(run_dir, id)).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
}

/// Shows a directory to a running container whose init is `init_pid`.
///
/// # Errors
/// [`Error::NotFound`] when the source has no such directory, or the container no door.
pub fn show(run_dir: &Path, id: &ContainerId, init_pid: u32, share: &Share) -> Result<()> {
    let door = door(run_dir, id);
    if !is_mount_point(&door) {
        return Err(Error::NotFound(format!("{INSIDE} of container {id} (restart it)")));
    }
    check_name(&share.name)?;
    let dir = open_source(share)?;
    let tree = open_tree(
        dir.as_fd(),
        "",
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH,
    )
    .context(|| format!("clone the mount of {}", share.path))?;
    let ns = format!("/proc/{init_pid}/ns/user");
    let userns = File::open(&ns).at("open", Path::new(&ns))?;
    let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    if share.read_only {
        flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    mount::set_attributes(tree.as_fd(), u64::from(flags.bits()), Some(userns.as_fd()))
        .context(|| format!("map the owners of {}", share.path))?;
    hide(run_dir, id, &share.name)?;
    let at = door.join(&share.name);
    fs::create_dir(&at).at("create", &at)?;
    move_mount(&tree, "", CWD, &at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at("mount", &at).inspect_err(|_| {
        let _ = fs::remove_dir(&at);
    })
}

/// Takes a shown directory away again. Idempotent.
///
/// # Errors
/// When it cannot be unmounted.
pub fn hide(run_dir: &Path, id: &ContainerId, name: &str) -> Result<()> {
    check_name(name)?;
    take_away(&door(run_dir, id).join(name))
}

/// Opens the source's directory. Its owner may put links anywhere in the way; they lead nowhere but
/// to other places of the same disk, and no other mount is entered.
fn open_source(share: &Share) -> Result<OwnedFd> {
    let root = rustix::fs::open(&share.root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at("open", &share.root)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(&root, share.path.as_str(), flags, Mode::empty(), resolve).map_err(|e| match e {
        rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => {
            Error::NotFound(format!("directory {} of the source", share.path))
        }
        other => Error::Sys { what: format!("open {} of the source", share.path), source: other.into() },
    })
}

fn check_name(name: &str) -> Result<()> {
    let fine = !name.is_empty()
        && name.len() <= 100
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if fine { Ok(()) } else { Err(Error::Unsupported(format!("{name:?} cannot name a share"))) }
}

/// Whether a mount sits on this very path; kernel ≥ 5.8 for the attribute.
fn is_mount_point(path: &Path) -> bool {
    rustix::fs::statx(CWD, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW, rustix::fs::StatxFlags::empty())
        .is_ok_and(|s| s.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_component() {
        for bad in ["", ".", "..", ".hidden", "a/b", "a b", "ü"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name("team-data_1.0").is_ok());
    }

    #[test]
    fn a_source_never_leads_out_of_its_disk() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        fs::create_dir_all(root.join("srv/data")).unwrap();
        fs::create_dir_all(dir.path().join("secret")).unwrap();
        fs::write(root.join("srv/file"), "x").unwrap();
        std::os::unix::fs::symlink("/secret", root.join("srv/absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../secret", root.join("srv/climbing")).unwrap();
        std::os::unix::fs::symlink("/srv/data", root.join("srv/fine")).unwrap();
        std::os::unix::fs::symlink("/proc/self/root", root.join("srv/magic")).unwrap();
        let open = |path: &str| {
            open_source(&Share { name: "n".into(), root: root.clone(), path: path.into(), read_only: true })
        };
        assert!(open("/srv/data").is_ok() && open("/srv/fine").is_ok());
        for bad in ["/srv/absolute", "/srv/climbing", "/srv/file", "/none", "/srv/magic", "/../../secret"] {
            assert!(matches!(open(bad), Err(Error::NotFound(_))), "{bad}");
        }
    }
}
