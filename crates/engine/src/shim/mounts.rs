//! The file systems a container is born with, made by the shim on the host side as detached
//! mounts. Only their descriptors go inside: no path of the host is ever shared.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::fs::{CWD, FileType, Gid as RGid, Mode, OFlags, Uid as RUid, chownat, mkdirat, mknodat, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
};

use super::devices::{self, Node};
use super::stage::{Channel, Message};
use crate::error::{Context, Error, Result};
use crate::launch::{Root, ShimSpec};
use crate::sys::mount;
use crate::sys::process::{self, Forked};

/// What init gets, in the order of the `Mounts` stage message.
pub struct Mounts {
    /// The container's `/`, owners mapped.
    pub root: OwnedFd,
    /// The overlay for `/usr`; none for an image that boots as it is.
    pub usr: Option<OwnedFd>,
    /// `/dev`: a tmpfs with the few nodes a container may use.
    pub dev: OwnedFd,
}

impl Mounts {
    /// Makes them. `userns` maps owners; `base` is the host id of the container's root.
    ///
    /// # Errors
    /// The step that failed.
    pub fn make(spec: &ShimSpec, userns: &File, base: u32) -> Result<Self> {
        let (path, usr) = match &spec.root {
            Root::Disk { disk, lower_usr } => (disk.join("rootfs"), Some(overlay(disk, lower_usr, userns, base)?)),
            Root::Plain { path } => (path.clone(), None),
        };
        let root = clone_tree(&path)?;
        set(&root, MountAttrFlags::MOUNT_ATTR_NODEV, Some(userns), "map the owners of the root file system")?;
        let nodes = devices::granted(spec.container.settings.devices.as_deref(), Path::new("/dev"));
        Ok(Self { root, usr, dev: dev(base, &nodes)? })
    }

    /// What travels with the `Mounts` message.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        [&self.root, &self.dev].into_iter().chain(&self.usr).map(AsFd::as_fd).collect()
    }
}

fn clone_tree(path: &Path) -> Result<OwnedFd> {
    open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .at("clone the mount of", path)
}

fn set(fd: &OwnedFd, flags: MountAttrFlags, userns: Option<&File>, what: &str) -> Result<()> {
    mount::set_attributes(fd.as_fd(), u64::from(flags.bits()), userns.map(AsFd::as_fd)).context(|| what.to_owned())
}

/// `/usr`: the image's, shared by all containers of it and so cached once, below the container's
/// own changes.
fn overlay(disk: &Path, lower_usr: &Path, userns: &File, base: u32) -> Result<OwnedFd> {
    let lower = clone_tree(lower_usr)?;
    set(&lower, MountAttrFlags::MOUNT_ATTR_RDONLY, Some(userns), "map the owners of the image")?;
    let layers = clone_tree(&disk.join("ovl"))?;
    set(&layers, MountAttrFlags::empty(), Some(userns), "map the owners of the upper layer")?;
    match overlay_by_descriptors(&lower, &layers, base) {
        // Before Linux 6.13 overlayfs takes only paths, and says EBADF (6.12) or EINVAL (older).
        Err(Error::Sys { source, .. }) if matches!(source.raw_os_error(), Some(libc::EBADF | libc::EINVAL)) => {
            overlay_by_paths(&lower, &layers, base)
        }
        other => other,
    }
}

/// The layers stay detached: nothing is attached anywhere, not even for a moment.
fn overlay_by_descriptors(lower: &OwnedFd, layers: &OwnedFd, base: u32) -> Result<OwnedFd> {
    // Upper and work must lie below the same mount.
    let open = |name: &str| {
        openat(layers, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
            .context(|| format!("open ovl/{name}"))
    };
    let (upper, work) = (open("upper")?, open("work")?);
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).context(|| "open overlayfs".into())?;
    for (key, fd) in [("lowerdir+", lower.as_fd()), ("upperdir", upper.as_fd()), ("workdir", work.as_fd())] {
        fsconfig_set_fd(fs.as_fd(), key, fd).context(|| format!("overlay {key}"))?;
    }
    create_overlay(&fs, base)
}

/// For older kernels: a forked child attaches the layers in a mount namespace of its own, names
/// them by path, and sends the finished overlay back.
fn overlay_by_paths(lower: &OwnedFd, layers: &OwnedFd, base: u32) -> Result<OwnedFd> {
    let (ours, theirs) = Channel::pair()?;
    match process::fork(libc::CLONE_NEWNS, None).context(|| "fork for the overlay".into())? {
        Forked::Child => {
            drop(ours);
            let sent = attach_and_mount(lower, layers, base)
                .and_then(|overlay| theirs.send(&Message::Mounts, &[overlay.as_fd()]));
            if let Err(e) = sent {
                let _ = theirs.send(&Message::Failed { message: e.to_string() }, &[]);
            }
            process::exit_now(0)
        }
        Forked::Parent(child) => {
            drop(theirs);
            let made = ours.expect(&Message::Mounts, 1);
            let _ = waitid(Id::PIDFd(child.fd.as_fd()), WaitPidFlag::WEXITED);
            made?.pop().ok_or_else(|| Error::Shim("no overlay came back".into()))
        }
    }
}

fn attach_and_mount(lower: &OwnedFd, layers: &OwnedFd, base: u32) -> Result<OwnedFd> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context(|| "make the host's mounts private".into())?;
    // Two directories that every host has; what lies there is out of sight only in this namespace.
    for (mount, path) in [(lower, "/run"), (layers, "/tmp")] {
        move_mount(mount, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .context(|| format!("attach a layer at {path}"))?;
    }
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).context(|| "open overlayfs".into())?;
    for (key, path) in [("lowerdir", "/run"), ("upperdir", "/tmp/upper"), ("workdir", "/tmp/work")] {
        fsconfig_set_string(fs.as_fd(), key, path).context(|| format!("overlay {key}"))?;
    }
    create_overlay(&fs, base)
}

fn create_overlay(fs: &OwnedFd, base: u32) -> Result<OwnedFd> {
    for (key, value) in [("redirect_dir", "on"), ("index", "off"), ("metacopy", "off")] {
        fsconfig_set_string(fs.as_fd(), key, value).context(|| format!("overlay {key}"))?;
    }
    // The work directory is made with the mounter's fsuid, which must be one that the idmapped
    // mount knows, and with capabilities kept. Without this the overlay is silently read-only.
    process::with_kept_capabilities(|| {
        setfsgid(Gid::from_raw(base));
        setfsuid(Uid::from_raw(base));
        let created = fsconfig_create(fs.as_fd());
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
        created
    })
    .context(|| "keep capabilities".into())?
    .context(|| "mount the overlay on /usr".into())?;
    let mounted = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV)
        .context(|| "mount the overlay on /usr".into())?;
    let state = rustix::fs::fstatvfs(&mounted).context(|| "look at the overlay".into())?;
    if state.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Err(Error::Shim("the overlay on /usr came up read-only".into()));
    }
    Ok(mounted)
}

/// `/dev` as a tmpfs of the host's user namespace, so that its nodes work although nothing inside
/// can make any.
fn dev(base: u32, nodes: &[Node]) -> Result<OwnedFd> {
    const DIRECTORIES: [(&str, u32); 5] =
        [("net", 0o755), ("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o755), (".nest", 0o700)];
    const LINKS: [(&str, &str); 6] = [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("core", "/proc/kcore"),
    ];
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context(|| "open tmpfs".into())?;
    for (key, value) in [("mode", "0755"), ("size", "4M"), ("nr_inodes", "4096")] {
        fsconfig_set_string(fs.as_fd(), key, value).context(|| format!("tmpfs {key}"))?;
    }
    fsconfig_create(fs.as_fd()).context(|| "create /dev".into())?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mounted = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags).context(|| "mount /dev".into())?;
    let at = mounted.as_fd();
    let own = |name: &str| {
        let (uid, gid) = (RUid::from_raw(base), RGid::from_raw(base));
        chownat(at, name, Some(uid), Some(gid), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .context(|| format!("chown /dev/{name}"))
    };
    own(".")?;
    for (name, mode) in DIRECTORIES {
        mkdirat(at, name, Mode::from_raw_mode(0o700)).context(|| format!("create /dev/{name}"))?;
        rustix::fs::chmodat(at, name, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty())
            .context(|| format!("chmod /dev/{name}"))?;
        own(name)?;
    }
    for Node { name, major, minor } in nodes {
        if let Some((directory, _)) = name.split_once('/')
            && mkdirat(at, directory, Mode::from_raw_mode(0o755)).is_ok()
        {
            own(directory)?;
        }
        let device = rustix::fs::makedev(*major, *minor);
        mknodat(at, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)
            .context(|| format!("create /dev/{name}"))?;
        // The umask does not apply to a chmod.
        rustix::fs::chmodat(at, name, Mode::from_raw_mode(0o666), rustix::fs::AtFlags::empty())
            .context(|| format!("chmod /dev/{name}"))?;
        own(name)?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, at, name).context(|| format!("link /dev/{name}"))?;
        own(name)?;
    }
    for sub in [".nest/proc", ".nest/sys", ".nest/empty"] {
        mkdirat(at, sub, Mode::from_raw_mode(0o755)).context(|| format!("create /dev/{sub}"))?;
        own(sub)?;
    }
    openat(at, "console", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))
        .context(|| "create /dev/console".into())?;
    own("console")?;
    Ok(mounted)
}
