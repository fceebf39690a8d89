//! Files of `/proc` and `/sys` that show the container instead of the host.
//!
//! The node runs one [`lxcfs`]; each of its files is bound over the one of the same name. The bare
//! proc in `/dev/.nest` stays unmasked, so nested user namespaces may still mount a proc of their
//! own (and see the host's figures in it: lxcfs is not for them).
//!
//! When lxcfs dies, what is bound answers ENOTCONN for ever. The node starts it again and asks each
//! shim to [`renew`] the binds from the host's side.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};
use rustix::thread::ThreadNameSpaceType;

use super::additions::Addition;
use super::birth::Machine;
use crate::error::{Context, Error, Result};
use crate::lxcfs;
use crate::sys::process::{self, Forked};

/// What lxcfs serves below its mount point, and at which path inside it goes: the same.
const FILES: [&str; 8] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/sys/devices/system/cpu/online",
];
/// `f_type` of statfs(2) for the file systems that these files are on by birth.
const PROC: i64 = 0x9fa0;
const SYSFS: i64 = 0x6265_6572;
/// How long a renewal may take; it takes milliseconds.
const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// One detached mount per file; none when no lxcfs runs.
pub fn clone_all(run_dir: &Path) -> Vec<Addition> {
    let root = lxcfs::mount_point(run_dir);
    if !lxcfs::serves(&root) {
        return Vec::new();
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    FILES
        .into_iter()
        .filter_map(|path| match open_tree(CWD, root.join(&path[1..]), flags) {
            Ok(mount) => Some((path.to_owned(), mount)),
            Err(e) => {
                eprintln!("cowl shim: lxcfs has no {path}: {e}");
                None
            }
        })
        .collect()
}

/// Binds the files anew in a running container: in place of dead ones, and where there are none.
///
/// # Errors
/// When its mount namespace cannot be entered.
pub fn renew(run_dir: &Path, machine: &Machine) -> Result<()> {
    let files = clone_all(run_dir);
    match process::fork(0, None).context(|| "fork to bind files of /proc".into())? {
        Forked::Child => {
            let code = match enter_and_bind(machine, &files) {
                Ok(()) => 0,
                Err(e) => {
                    eprintln!("cowl shim: {e}");
                    1
                }
            };
            process::exit_now(code)
        }
        Forked::Parent(child) => {
            // Inside, /proc may be a file system of the container's own that never answers.
            let mut polled = [PollFd::new(&child.fd, PollFlags::IN)];
            if !poll(&mut polled, Some(&PATIENCE)).is_ok_and(|ready| ready > 0) {
                let _ = process::signal(child.fd.as_fd(), libc::SIGKILL);
            }
            match waitid(Id::PIDFd(child.fd.as_fd()), WaitPidFlag::WEXITED) {
                Ok(WaitStatus::Exited(_, 0)) => Ok(()),
                _ => Err(Error::Shim("the files of /proc could not be bound anew; see shim.log".into())),
            }
        }
    }
}

fn enter_and_bind(machine: &Machine, files: &[Addition]) -> Result<()> {
    // Only the mount namespace: with the host's own credentials nothing inside can stop us, and
    // all paths below are resolved inside, without links.
    rustix::thread::move_into_thread_name_spaces(machine.init.fd.as_fd(), ThreadNameSpaceType::MOUNT)
        .context(|| "join the container's mounts".into())?;
    for (path, file) in files {
        rebind(path, file);
    }
    Ok(())
}

/// Whether /dev/null lies over a file, as `isolation::masks` puts it.
fn is_mask(path: &str) -> bool {
    rustix::fs::lstat(path).is_ok_and(|at| at.st_rdev == rustix::fs::makedev(1, 3))
}

fn rebind(path: &str, file: &OwnedFd) {
    // More than one when lxcfs died twice while something else was on top.
    for _ in 0..4 {
        match rustix::fs::statfs(path) {
            Err(rustix::io::Errno::NOTCONN) => {
                let _ = unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
            }
            // Whatever lives there was put there from inside, or is ours and well.
            Ok(about) if !matches!(about.f_type, PROC | SYSFS) && !is_mask(path) => return,
            _ => break,
        }
    }
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let Ok(target) = openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) else { return };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    if let Err(e) = move_mount(file, "", &target, "", flags) {
        eprintln!("cowl shim: nothing is mounted at {path}: {e}");
    }
}
