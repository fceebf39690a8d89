//! Processes: clone3 into new namespaces, exec by descriptor, signals by pidfd.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;

/// `struct clone_args` of clone3(2), version 2 (with `cgroup`), kernel ≥ 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which side of [`fork`] we are on.
pub enum Forked {
    /// The new process.
    Child,
    /// The old one.
    Parent(Process),
}

/// A child by pid and pidfd.
#[derive(Debug)]
pub struct Process {
    /// Process id as we see it.
    pub pid: libc::pid_t,
    /// Its pidfd.
    pub fd: OwnedFd,
}

/// Forks into the namespaces of `flags` (`CLONE_NEW*`, 0 for none), born in `cgroup` (an open v2
/// cgroup directory) when given.
///
/// # Errors
/// Those of clone3(2); `EBUSY` when this process has more than one thread, because the child of a
/// threaded process may only call async-signal-safe functions.
pub fn fork(flags: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: u64::from(flags.cast_unsigned()) | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(fd) = cgroup {
        args.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP
        args.cgroup = u64::from(fd.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM and with a null stack clone3 behaves like fork(2); we are the only
    // thread (checked above), so the child's copy of the heap and of all locks is consistent.
    // `args` and `pidfd` outlive the call.
    let ret = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    if ret == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel stored a fresh descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Forked::Parent(Process { pid: ret as libc::pid_t, fd }))
}

/// As [`fork`], with a new user namespace that belongs to the host uid `owner`, which nobody is.
/// What the kernel counts by user (inotify instances, namespaces, message queues) is then counted
/// for this container alone: owned by root, one container could use up what all have together.
///
/// # Errors
/// As [`fork`]; those of setresuid(2) and prctl(2).
pub fn fork_owned(flags: libc::c_int, cgroup: Option<BorrowedFd<'_>>, owner: u32) -> io::Result<Forked> {
    let effective = |uid: u32| {
        let same = nix::unistd::Uid::from_raw(u32::MAX);
        nix::unistd::setresuid(same, nix::unistd::Uid::from_raw(uid), same)
    };
    with_kept_capabilities(|| {
        effective(owner)?;
        let forked = fork(flags, cgroup);
        if !matches!(forked, Ok(Forked::Child)) {
            effective(0)?;
        }
        forked
    })?
}

/// Lets signals do again what they do by default, and blocks none. Whoever started us, say `nohup`
/// or a shell's background job, may have had some ignored, and the shim blocks SIGTERM for itself:
/// both would be inherited down to every program inside.
pub fn default_signals() {
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
    set_default(&[libc::SIGTERM, libc::SIGPIPE, libc::SIGCHLD]);
    hear_interrupts();
}

/// The part of [`default_signals`] that `nohup` and background jobs make necessary, for a process
/// that runs on and wants its broken pipes as errors.
pub fn hear_interrupts() {
    set_default(&[libc::SIGHUP, libc::SIGINT, libc::SIGQUIT]);
}

fn set_default(signals: &[libc::c_int]) {
    for &signal in signals {
        // SAFETY: SIG_DFL installs no handler, so no code of ours runs in signal context.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Ends this process at once, without running destructors or exit handlers: for children that
/// could not exec.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Replaces the process image by the program behind `file`.
///
/// # Errors
/// Always, when it returns: those of execveat(2).
pub fn exec_fd(file: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> io::Error {
    let argv = pointers(args);
    let envp = pointers(env);
    // SAFETY: both arrays are null-terminated and point to C strings that outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Replaces the process image by the program at `path`.
///
/// # Errors
/// Always, when it returns: those of execve(2).
pub fn exec_path(path: &CString, args: &[CString], env: &[CString]) -> io::Error {
    let argv = pointers(args);
    let envp = pointers(env);
    // SAFETY: both arrays are null-terminated and point to C strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Sends a signal to exactly the process behind `pidfd`.
///
/// # Errors
/// `ESRCH` when it is gone.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is passed but a null siginfo.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    })
    .map(drop)
}

/// Sends this process `signal` when its parent dies.
///
/// # Errors
/// Those of prctl(2).
pub fn die_with_parent(signal: i32) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) }.into()).map(drop)
}

/// Leaves the keys of whoever started us behind: joins a new, empty session keyring.
///
/// # Errors
/// Those of keyctl(2); a kernel without keys has none to leave.
pub fn leave_keys_behind() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; no other memory is passed.
    let joined = check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())
    });
    match joined {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        other => other.map(drop),
    }
}

/// Lets the kernel merge this process' pages with equal ones of others that asked for it too (KSM);
/// holds across fork and exec (Linux ≥ 6.4).
///
/// # Errors
/// `EINVAL` on kernels without it.
pub fn merge_memory() -> io::Result<()> {
    const PR_SET_MEMORY_MERGE: libc::c_int = 67;
    // SAFETY: takes integers only.
    check(unsafe { libc::prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) }.into()).map(drop)
}

/// The CPUs a thread may run on, as the kernel gives them to a buffer of 8,192 CPUs: as many bytes
/// as it would give to anybody.
///
/// # Errors
/// `ESRCH` when it is gone.
pub fn affinity(tid: u32) -> io::Result<Vec<u8>> {
    let mut mask = vec![0u8; 1024];
    // SAFETY: the kernel writes at most `mask.len()` bytes into `mask`, which outlives the call.
    let written = check(unsafe { libc::syscall(libc::SYS_sched_getaffinity, tid, mask.len(), mask.as_mut_ptr()) })?;
    mask.truncate(usize::try_from(written).unwrap_or(0));
    Ok(mask)
}

/// CPU time that this process has used.
pub fn cpu_time() -> std::time::Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills `now`, which outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut now) };
    std::time::Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// Keeps capabilities when the fsuid changes (`SECBIT_NO_SETUID_FIXUP`) while `body` runs, and
/// restores the bits after it.
///
/// # Errors
/// Those of prctl(2).
pub fn with_kept_capabilities<T>(body: impl FnOnce() -> T) -> io::Result<T> {
    const SECBIT_NO_SETUID_FIXUP: libc::c_long = 1 << 2;
    // SAFETY: takes and gives integers only.
    let before = check(unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) }.into())?;
    // SAFETY: as above.
    check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, before | SECBIT_NO_SETUID_FIXUP, 0, 0, 0) }.into())?;
    let out = body();
    // SAFETY: as above.
    check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, before, 0, 0, 0) }.into())?;
    Ok(out)
}
