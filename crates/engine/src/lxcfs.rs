//! lxcfs: a FUSE file system whose `/proc/meminfo` and the like answer with the limits of whoever
//! reads them.
//!
//! It takes the reader's PID 1, looks up its cgroups, cuts a trailing `/init.scope`, and reads what
//! holds there. On hybrid hosts that is `<id>/`, which has the limits. On v2 it is `<id>/payload`:
//! for memory it takes the least of all groups above, for CPU only that one, so limits must stand
//! in `payload` too ([`Cgroups::limit`] repeats them there).
//!
//! A node has one of its own, mounted at `RUN/lxcfs`. Like a shim it is outside the node's cgroup and
//! session and outlives the node; who comes next adopts it. When it dies, the node starts it again
//! and has the shims bind its files anew ([`Request::RenewProcFiles`]). Where the Debian package is
//! missing, containers run with the host's figures and `cowl doctor` says so.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::Cgroups;
use super::error::{Context, Error, Result};
use super::shim::protocol::{Reply, Request};
use super::{Config, launch};
use cowl_api::ContainerId;

/// Where Debian puts it.
const PROGRAM: &str = "/usr/bin/lxcfs";
/// `f_type` of statfs(2) for FUSE.
const FUSE: i64 = 0x6573_5546;
/// How long it may take to be mounted.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a node's instance is mounted.
pub fn mount_point(run_dir: &Path) -> PathBuf {
    run_dir.join("lxcfs")
}

/// Whether this machine has it.
pub fn installed() -> bool {
    Path::new(PROGRAM).exists()
}

/// Whether a living instance is mounted there.
pub fn serves(mount_point: &Path) -> bool {
    rustix::fs::statfs(mount_point).is_ok_and(|about| about.f_type == FUSE) && mount_point.join("proc/meminfo").exists()
}

/// The node's instance: the one that runs, else a new one. `None` where lxcfs is not installed.
///
/// # Errors
/// When it does not come up.
pub fn ensure(config: &Config) -> Result<Option<OwnedFd>> {
    let root = mount_point(&config.run_dir);
    if serves(&root)
        && let Some(pid) = find(&root)
        && let Ok(alive) = pidfd_open(pid, PidfdFlags::empty())
    {
        return Ok(Some(alive));
    }
    if !installed() {
        return Ok(None);
    }
    clear(&root);
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&root).at("create", &root)?;
    start(config, &root).map(Some).inspect_err(|_| clear(&root))
}

fn start(config: &Config, root: &Path) -> Result<OwnedFd> {
    let pid_file = config.run_dir.join("lxcfs.pid");
    let mut command = Command::new("setsid");
    // `--enable-cfs` shows as many CPUs as the quota gives; the pid file is only for its own lock.
    command.arg(PROGRAM).args(["--foreground", "--enable-loadavg", "--enable-cfs", "--enable-pidfd", "--pidfile"]);
    command.arg(pid_file).arg(root).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().at("run", Path::new(PROGRAM))?;
    let alive = settle(config, root, &mut child).inspect_err(|_| {
        let _ = child.kill();
        let _ = child.wait();
    })?;
    // It outlives us; a thread reaps it if it does not.
    let reaper = std::thread::Builder::new().name("reap-lxcfs".into()).stack_size(64 * 1024);
    let _ = reaper.spawn(move || child.wait());
    Ok(alive)
}

/// Puts a new instance beside the shims and waits until it serves.
fn settle(config: &Config, root: &Path, child: &mut Child) -> Result<OwnedFd> {
    let number = child.id().cast_signed();
    // `setsid` replaces itself by the program, as a spawned process leads no group.
    let alive = Pid::from_raw(number)
        .ok_or_else(|| Error::Shim("lxcfs has no process id".into()))
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).context(|| "open lxcfs's pidfd".into()))?;
    Cgroups::find(&config.tag())?.keep_beside_shims(number)?;
    let end = Instant::now() + PATIENCE;
    while !serves(root) {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Error::Shim(format!("{PROGRAM} ended ({status})")));
        }
        if Instant::now() >= end {
            return Err(Error::Shim(format!("{PROGRAM} is not mounted in time")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(alive)
}

/// The process that serves `root`, by its command line. Containers' processes can call themselves
/// anything; none of them is the host's root.
fn find(root: &Path) -> Option<Pid> {
    let numbers = fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let of_root = |pid: &i32| fs::metadata(format!("/proc/{pid}")).is_ok_and(|about| about.uid() == 0);
    numbers.into_iter().find(|pid| of_root(pid) && is_instance(*pid, root)).and_then(Pid::from_raw)
}

fn is_instance(pid: i32, root: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|b| *b == 0).filter(|word| !word.is_empty());
    words.next() == Some(PROGRAM.as_bytes()) && words.next_back() == Some(root.as_os_str().as_encoded_bytes())
}

/// Has every running container bind the files anew. Gives those that could not.
pub fn renew_all(config: &Config) -> Vec<(ContainerId, Error)> {
    let ids = fs::read_dir(&config.run_dir).into_iter().flatten().flatten();
    ids.filter_map(|entry| entry.file_name().to_str()?.parse::<ContainerId>().ok())
        .filter(|id| launch::shim_socket(config, id).exists())
        .filter_map(|id| match launch::request(config, &id, &Request::RenewProcFiles) {
            Ok(Reply::Error { message, .. }) => Some((id, Error::Shim(message))),
            Ok(_) => None,
            Err(e) => Some((id, e)),
        })
        .collect()
}

/// Ends the node's instance and takes its mount away. Containers see ENOTCONN until a new one.
pub fn stop(config: &Config) {
    let root = mount_point(&config.run_dir);
    if let Some(alive) = find(&root).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
        let _ = pidfd_send_signal(&alive, Signal::TERM);
        let mut polled = [rustix::event::PollFd::new(&alive, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: 2, tv_nsec: 0 };
        if !rustix::event::poll(&mut polled, Some(&patience)).is_ok_and(|n| n > 0) {
            let _ = pidfd_send_signal(&alive, Signal::KILL);
        }
    }
    clear(&root);
    let _ = fs::remove_dir(&root);
    let _ = fs::remove_file(config.run_dir.join("lxcfs.pid"));
}

/// Takes away what dead instances have left mounted.
fn clear(root: &Path) {
    while unmount(root, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_directory_is_no_instance() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc")).unwrap();
        fs::write(dir.path().join("proc/meminfo"), "").unwrap();
        assert!(!serves(dir.path()));
        assert!(find(dir.path()).is_none());
        assert!(!is_instance(std::process::id().cast_signed(), dir.path()));
    }
}
