//! Quota groups: `LEVEL << 48 | NUMBER`, where a subvolume's own group has level 0 and its id.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::{READ, WRITE, ioctl, open_dir, request};

/// `struct btrfs_ioctl_qgroup_limit_args` with its `struct btrfs_qgroup_limit`.
#[repr(C)]
struct GroupLimit {
    group: u64,
    flags: u64,
    max_referenced: u64,
    max_exclusive: u64,
    reserved: [u64; 2],
}

/// `struct btrfs_ioctl_quota_ctl_args`, `..._qgroup_create_args`: two words.
type Pair = [u64; 2];
/// `struct btrfs_ioctl_qgroup_assign_args`: assign or not, source, destination.
type Triple = [u64; 3];

const IOC_QUOTA_CTL: u64 = request(READ | WRITE, 40, size_of::<Pair>());
const IOC_QGROUP_ASSIGN: u64 = request(WRITE, 41, size_of::<Triple>());
const IOC_QGROUP_CREATE: u64 = request(WRITE, 42, size_of::<Pair>());
const IOC_QGROUP_LIMIT: u64 = request(READ, 43, size_of::<GroupLimit>());
/// `BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA`, Linux 6.7.
const ENABLE_SIMPLE: u64 = 4;
/// `BTRFS_QGROUP_LIMIT_MAX_RFER`.
const LIMIT_REFERENCED: u64 = 1;

/// Turns simple quotas on for a whole file system; what was written before does not count.
///
/// # Errors
/// `EINVAL` before Linux 6.7 and while quotas of the other kind are on.
pub fn enable_simple(dir: &Path) -> io::Result<()> {
    let mut args: Pair = [ENABLE_SIMPLE, 0];
    ioctl(open_dir(dir)?.as_fd(), IOC_QUOTA_CTL, &mut args)
}

/// Makes a group.
///
/// # Errors
/// `EEXIST`; `ENOTCONN` with quotas off.
pub fn make(dir: &Path, group: u64) -> io::Result<()> {
    let mut args: Pair = [1, group];
    ioctl(open_dir(dir)?.as_fd(), IOC_QGROUP_CREATE, &mut args)
}

/// Removes a group.
///
/// # Errors
/// `ENOENT`; `EBUSY` for one that has members; `ENOTCONN` with quotas off.
pub fn remove(dir: &Path, group: u64) -> io::Result<()> {
    let mut args: Pair = [0, group];
    ioctl(open_dir(dir)?.as_fd(), IOC_QGROUP_CREATE, &mut args)
}

/// Makes group `member` part of `group`, of a higher level.
///
/// # Errors
/// `EEXIST` when it is so already; `EINVAL` when one of them does not exist.
pub fn join(dir: &Path, member: u64, group: u64) -> io::Result<()> {
    let mut args: Triple = [1, member, group];
    ioctl(open_dir(dir)?.as_fd(), IOC_QGROUP_ASSIGN, &mut args)
}

/// Takes group `member` out of `group`.
///
/// # Errors
/// `ENOENT` when it is not in it.
pub fn leave(dir: &Path, member: u64, group: u64) -> io::Result<()> {
    let mut args: Triple = [0, member, group];
    ioctl(open_dir(dir)?.as_fd(), IOC_QGROUP_ASSIGN, &mut args)
}

/// Limits what a group may refer to, in bytes; `None` is no limit.
///
/// # Errors
/// `ENOENT` without that group.
pub fn limit(dir: &Path, group: u64, bytes: Option<u64>) -> io::Result<()> {
    // All ones clears a limit.
    let max_referenced = bytes.unwrap_or(u64::MAX);
    let mut args = GroupLimit { group, flags: LIMIT_REFERENCED, max_referenced, max_exclusive: 0, reserved: [0; 2] };
    ioctl(open_dir(dir)?.as_fd(), IOC_QGROUP_LIMIT, &mut args)
}
