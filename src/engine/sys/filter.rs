//! Loading a seccomp program without `no_new_privs`, which would break sudo, su and ping inside.

use std::io;

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
