//! Starting the kit inside a running container.
//!
//! Its executable is one host file for all containers, run by descriptor: nothing of it is looked
//! up inside. It gets the listening end of `kit.sock` as stdin and joins the container's cgroups
//! first and then its namespaces, because only a member of the cgroups may be moved by systemd.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;

use rustix::thread::ThreadNameSpaceType;

use super::birth::Machine;
use super::figures::Watch;
use super::{init, sandbox};
use crate::cgroup::Cgroups;
use crate::error::{Context, Error, Result};
use crate::launch::ShimSpec;
use crate::sys::fds;
use crate::sys::process::{self, Forked, Process};

/// Starts the kit in `machine`; `listener` outlives it, so requests wait while it restarts.
///
/// # Errors
/// When it cannot be forked; a failing exec shows as its early death.
pub fn start(
    spec: &ShimSpec,
    cgroups: &Cgroups,
    machine: &Machine,
    exe: &File,
    listener: &UnixListener,
    watch: Option<&Watch<'_>>,
) -> Result<Process> {
    let group = cgroups.open_kit(&spec.container.id)?;
    let own = File::open("/proc/self/ns/pid").context(|| "open our pid namespace".into())?;
    let join = |fd: BorrowedFd<'_>, kinds| rustix::thread::move_into_thread_name_spaces(fd, kinds);
    // Only children are affected by a pid namespace; we go back right after the fork.
    join(machine.init.fd.as_fd(), ThreadNameSpaceType::PROCESS_ID).context(|| "join the pid namespace".into())?;
    let forked = process::fork(0, Some(group.as_fd()));
    if let Ok(Forked::Child) = forked {
        if let Err(e) = become_kit(spec, cgroups, machine, exe, listener, watch) {
            // stderr is the container's console by now, or the shim's log.
            eprintln!("cowl: the kit did not start: {e}");
        }
        process::exit_now(1);
    }
    rustix::thread::move_into_link_name_space(own.as_fd(), None).context(|| "return to our pid namespace".into())?;
    match forked.context(|| "fork the kit".into())? {
        Forked::Parent(kit) => Ok(kit),
        Forked::Child => process::exit_now(1),
    }
}

fn become_kit(
    spec: &ShimSpec,
    cgroups: &Cgroups,
    machine: &Machine,
    exe: &File,
    listener: &UnixListener,
    watch: Option<&Watch<'_>>,
) -> Result<()> {
    // 0 is "the writer", whatever its pid is where.
    cgroups.place(&spec.container.id, 0)?;
    let console = fds::pty_peer(machine.console.as_fd()).context(|| "open the console".into())?;
    let kinds = ThreadNameSpaceType::USER
        | ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::CONTROL_GROUP;
    rustix::thread::move_into_thread_name_spaces(machine.init.fd.as_fd(), kinds)
        .context(|| "join the container's namespaces".into())?;
    init::become_root()?;
    std::env::set_current_dir("/").context(|| "enter /".into())?;
    nix::unistd::setsid().context(|| "setsid".into())?;
    fds::install(listener.as_fd(), 0).context(|| "attach the listening socket".into())?;
    for number in 1..=2 {
        fds::install(console.as_fd(), number).context(|| "attach the console".into())?;
    }
    fds::close_on_exec_from(3).context(|| "close descriptors on exec".into())?;
    process::default_signals();
    process::leave_keys_behind().context(|| "new session keyring".into())?;
    if spec.container.settings.ksm == Some(true) {
        // Without it in the kernel the container is the same, only larger.
        let _ = process::merge_memory();
    }
    sandbox::apply(watch)?;
    process::die_with_parent(libc::SIGKILL).context(|| "tie the kit to the shim".into())?;
    let error = process::exec_fd(exe.as_fd(), &[CString::from(c"cowl-kit")], &environment(spec));
    Err(Error::Sys { what: "exec the kit".into(), source: error })
}

fn environment(spec: &ShimSpec) -> Vec<CString> {
    let fixed = [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "USER=root",
        "LANG=C.UTF-8",
    ];
    let own = spec.container.env.iter().chain(&spec.container.kit_env).map(|(k, v)| format!("{k}={v}"));
    fixed.into_iter().map(str::to_owned).chain(own).filter_map(|v| CString::new(v).ok()).collect()
}
