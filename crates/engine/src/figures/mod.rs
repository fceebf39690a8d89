//! Figures that system calls give: those of the container, not of the host.
//!
//! [`lxcfs`](super::lxcfs) covers the files of `/proc`. Four calls ask the kernel itself, which knows
//! nothing of quotas:
//!
//! | call | who asks | what it says inside |
//! |---|---|---|
//! | `statfs`, `fstatfs` | df, installers, databases | of `/`, `/usr` and overlays on them: the disk limit and what counts against it |
//! | `sched_getaffinity` | nproc, getconf, runtimes that start a thread a CPU | as many CPUs as the CPU limit gives, rounded up |
//! | `sysinfo` | free and uptime of busybox, `_SC_PHYS_PAGES` of libc | memory, swap, processes and age of the container; the load stays the host's |
//!
//! ```text
//! a process inside ── statfs ──> seccomp filter ── waits ──> listener
//!                                                               │ receive, answer
//! shim ── fork ──> figures process: a thread a listener ── queue ── at most 8 workers
//! ```
//! - **Who pays**: only containers that are started with a limit, and only for calls that it
//!   concerns ([`watched`]). All others load the same filter without them.
//! - **What holds**: the limits of the moment. They are read from the cgroups and the quota group at
//!   each call, so a change while it runs shows at once.
//! - **Nothing of security rests on it.** A call that is not for us, or whose answer does not work
//!   out, is the kernel's (`SECCOMP_USER_NOTIF_FLAG_CONTINUE`): the worst a container gains by racing
//!   its own arguments is a figure of the host, which `isolation` does not hide.
//! - **What the container can do to us**: have us read memory that never comes (a page of a FUSE
//!   file). Such a worker is lost until the container ends; when all are, the kernel answers. The
//!   shim is another process and never waits for this one. Its CPU time is bounded by a budget.
//! - **What it takes from the container**: programs inside that use seccomp notifications themselves
//!   get EBUSY; the kernel allows one listener on a process.

mod answer;
mod caller;
mod present;
mod scale;
pub mod server;
mod workers;

use cowl_api::settings::Limits;

/// Numbers of the calls that wait for an answer in a container with these limits.
pub fn watched(limits: &Limits) -> Vec<libc::c_long> {
    let mut calls = Vec::new();
    if limits.disk.is_some() {
        calls.extend([libc::SYS_statfs, libc::SYS_fstatfs]);
    }
    if limits.cpu.is_some() {
        calls.push(libc::SYS_sched_getaffinity);
    }
    if !calls.is_empty() || limits.memory.is_some() || limits.swap.is_some() {
        calls.push(libc::SYS_sysinfo);
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;
    use cowl_api::settings::Size;

    #[test]
    fn only_limits_that_a_call_shows_have_it_watched() {
        assert!(watched(&Limits::default()).is_empty());
        assert!(watched(&Limits { pids: Some(100), cpu_set: Some("0".into()), ..Limits::default() }).is_empty());
        let memory = Limits { memory: Some(Size(1 << 30)), ..Limits::default() };
        assert_eq!(watched(&memory), [libc::SYS_sysinfo]);
        let disk = Limits { disk: Some(Size(1 << 30)), ..Limits::default() };
        assert_eq!(watched(&disk), [libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_sysinfo]);
        let cpu = Limits { cpu: Some(0.5), ..Limits::default() };
        assert_eq!(watched(&cpu), [libc::SYS_sched_getaffinity, libc::SYS_sysinfo]);
    }
}
