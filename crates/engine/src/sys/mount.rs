//! Mounts: mount_setattr(2), which rustix has not yet, and statfs(2) as it lies in memory.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// Sets attributes (`MOUNT_ATTR_*`) on the mount behind `mount` and cuts it off from the peers it
/// was cloned from: on hosts with systemd all mounts are shared, and what a container mounts must
/// never appear there. `idmap` is an open user namespace to map owners through (kernel ≥ 5.12,
/// btrfs ≥ 5.15).
///
/// # Errors
/// Those of mount_setattr(2): `EINVAL` when the file system cannot be idmapped.
pub fn set_attributes(mount: BorrowedFd<'_>, set: u64, idmap: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut attr = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    if let Some(userns) = idmap {
        attr.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attr.userns_fd = u64::from(userns.as_raw_fd().cast_unsigned());
    }
    apply(mount, &attr)
}

/// Makes the mount behind `mount`, a clone of a shared one, a slave: it receives what is mounted
/// there and sends nothing back.
///
/// # Errors
/// Those of mount_setattr(2).
pub fn make_slave(mount: BorrowedFd<'_>) -> io::Result<()> {
    apply(mount, &libc::mount_attr { attr_set: 0, attr_clr: 0, propagation: libc::MS_SLAVE, userns_fd: 0 })
}

fn apply(mount: BorrowedFd<'_>, attr: &libc::mount_attr) -> io::Result<()> {
    // SAFETY: `attr` is a valid mount_attr of the size passed and outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(attr),
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// The sizes of the file system that `file` is on: `struct statfs` as the kernel writes it.
///
/// # Errors
/// Those of fstatfs(2).
pub fn statfs(file: BorrowedFd<'_>) -> io::Result<[u64; 15]> {
    const { assert!(size_of::<libc::statfs>() == 15 * 8) };
    let mut words = [0u64; 15];
    // SAFETY: the kernel writes a `struct statfs`, which is as large as `words` (asserted above), has
    // no stricter alignment, and may hold any bits.
    check(unsafe { libc::syscall(libc::SYS_fstatfs, file.as_raw_fd(), words.as_mut_ptr()) }).map(|_| words)
}
