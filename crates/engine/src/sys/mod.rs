//! System calls the crates do not wrap. All `unsafe` of the project is in this room.
#![allow(unsafe_code)] // The one room where it is allowed; each block has its safety argument.

pub mod btrfs;
pub mod fds;
pub mod filter;
pub mod listener;
pub mod mount;
pub mod process;
pub mod share;

/// Turns a `-1`-on-error return into a result.
pub(crate) fn check(ret: libc::c_long) -> std::io::Result<libc::c_long> {
    if ret < 0 { Err(std::io::Error::last_os_error()) } else { Ok(ret) }
}
