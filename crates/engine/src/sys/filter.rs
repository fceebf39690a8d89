//! Loading a seccomp program without `no_new_privs`, which would break sudo, su and ping inside.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use super::check;

/// One classic BPF instruction (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Jump when true.
    pub jt: u8,
    /// Jump when false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

#[repr(C)]
struct Program {
    len: libc::c_ushort,
    filter: *const Instruction,
}

/// Puts this process and all its future children under `program`. Needs CAP_SYS_ADMIN in the
/// process' user namespace.
///
/// # Errors
/// Those of seccomp(2); `EINVAL` for a program that the kernel refuses.
pub fn load(program: &[Instruction]) -> io::Result<()> {
    let len = program.len().try_into().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let prog = Program { len, filter: program.as_ptr() };
    // SAFETY: `prog` describes `program`, which outlives the call; the kernel verifies it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const prog) }).map(drop)
}

/// As [`load`], for a program that has calls wait (`SECCOMP_RET_USER_NOTIF`): gives the descriptor
/// that they are answered through.
///
/// # Errors
/// As [`load`]; `EBUSY` when this process is under such a program already.
pub fn load_listening(program: &[Instruction]) -> io::Result<OwnedFd> {
    // With the second flag (Linux 5.19) a call that was taken up is only interrupted by death.
    let patient = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    match load_with(program, patient) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => load_with(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER),
        other => other,
    }
}

fn load_with(program: &[Instruction], flags: libc::c_ulong) -> io::Result<OwnedFd> {
    let len = program.len().try_into().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let prog = Program { len, filter: program.as_ptr() };
    // SAFETY: `prog` describes `program`, which outlives the call; the kernel verifies it.
    let fd = check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const prog) })?;
    // SAFETY: with NEW_LISTENER the call gives a fresh descriptor (close-on-exec) that is ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}
