//! Starting, finding and reaching running containers, as the node sees them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::cgroup::Cgroups;
use super::error::{Context, Error, Result};
use super::ramdisk::{self, Ramdisk};
use super::shim::protocol::{Event, Reply, Request, Status};
use super::sys::fds;
use super::{Config, fault, firewall, lxcfs, net, shares, sysctl};
use cowl_api::{ContainerId, Settings};

/// How long a shim may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a start may take until PID 1 runs.
const BIRTH: Duration = Duration::from_secs(30);

/// What a container is to be started as.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Which container.
    pub id: ContainerId,
    /// Host name inside.
    pub hostname: String,
    /// The container's subvolume: holds `rootfs/` and `ovl/{upper,work}`.
    pub disk: PathBuf,
    /// The image's `/usr`: the lower layer.
    pub lower_usr: PathBuf,
    /// Its address; /32 inside.
    pub address: Ipv4Addr,
    /// Its IPv6 address; /128 inside. None where the host has no IPv6.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    /// The kit's directory on the host (a read-only subvolume) holding `cowl-kit`; `None` runs no kit.
    pub kit_dir: Option<PathBuf>,
    /// Environment of init and of the kit's sessions.
    pub env: BTreeMap<String, String>,
    /// Container host names' parts, told to the kit as `COWL_*` variables.
    pub kit_env: BTreeMap<String, String>,
    /// Limits, devices and the like.
    #[serde(default)]
    pub settings: Settings,
    /// Its `/ramdisk`; `None` for none.
    #[serde(default)]
    pub ramdisk: Option<Ramdisk>,
}

/// A [`ContainerSpec`] and what its shim must know of the node; `RUN/<id>/spec.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShimSpec {
    /// What to start.
    pub container: ContainerSpec,
    /// Where its root file system comes from.
    pub root: Root,
    /// The node's run directory.
    pub run_dir: PathBuf,
    /// The node's tag.
    pub tag: String,
    /// Where the search for a free range of host ids begins.
    pub id_base: u32,
}

/// Where a root file system comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// A container's subvolume: `rootfs/`, and an overlay of `ovl/` over the image on its `/usr`.
    Disk {
        /// The subvolume.
        disk: PathBuf,
        /// The image's `/usr`.
        lower_usr: PathBuf,
    },
    /// A whole root file system as it is: an image that boots for the first time.
    Plain {
        /// The root file system.
        path: PathBuf,
    },
}

impl Root {
    /// What must not be mounted twice.
    pub fn path(&self) -> &Path {
        match self {
            Self::Disk { disk, .. } => disk,
            Self::Plain { path } => path,
        }
    }
}

impl ShimSpec {
    /// The container's own directory, 0700.
    pub fn dir(&self) -> PathBuf {
        self.run_dir.join(self.container.id.as_str())
    }

    /// Name of the host-side interface.
    pub fn veth(&self) -> String {
        net::veth_name(&self.tag, &self.container.id)
    }
}

/// Starts a container: spawns its shim and waits until PID 1 and the kit's socket exist (not until
/// systemd is ready; that arrives as an event).
///
/// # Errors
/// The step that failed; nothing of the container is left behind then.
pub fn start(config: &Config, container: &ContainerSpec) -> Result<Status> {
    let root = Root::Disk { disk: container.disk.clone(), lower_usr: container.lower_usr.clone() };
    start_from(config, container, root)
}

/// Boots a whole root file system once, without a kit, and halts it when systemd is ready.
///
/// # Errors
/// When it cannot be started, or is not ready after `patience`.
pub fn boot_once(config: &Config, path: &Path, patience: Duration) -> Result<()> {
    let container = ContainerSpec {
        id: ContainerId::generate(),
        hostname: "cowl".into(),
        disk: path.to_owned(),
        lower_usr: path.join("usr"),
        // The node gives containers none of the first addresses.
        address: Ipv4Addr::from(u32::from(config.network.address) + 2),
        address6: None,
        kit_dir: None,
        env: BTreeMap::new(),
        kit_env: BTreeMap::new(),
        settings: Settings::default(),
        ramdisk: None,
    };
    fs::create_dir_all(&config.run_dir).at("create", &config.run_dir)?;
    start_from(config, &container, Root::Plain { path: path.to_owned() })?;
    let ready = wait_until_ready(config, &container.id, patience);
    let stopped = stop(config, &container.id, Duration::from_secs(20));
    ready.and(stopped)
}

/// Waits until systemd of a container whose shim runs has said READY.
///
/// # Errors
/// When it ends before, or is not ready after `patience`.
pub fn wait_until_ready(config: &Config, id: &ContainerId, patience: Duration) -> Result<()> {
    let watch = send(config, id, &Request::Watch).context(|| format!("reach the shim of {id}"))?;
    watch.set_read_timeout(Some(patience)).context(|| "set a timeout".into())?;
    for line in BufReader::new(watch).lines() {
        let line = line.context(|| "wait for systemd to be ready".into())?;
        if matches!(serde_json::from_str(&line), Ok(Reply::Status(Status { ready: true, .. }))) {
            return Ok(());
        }
        match serde_json::from_str(&line) {
            Ok(Event::Ready) => return Ok(()),
            Ok(Event::Exited { console_tail, .. }) => {
                return Err(Error::Shim(format!("the system ended before it was ready: {}", console_tail.join(" | "))));
            }
            _ => {}
        }
    }
    Err(Error::Shim("the shim went away before the system was ready".into()))
}

fn start_from(config: &Config, container: &ContainerSpec, root: Root) -> Result<Status> {
    let spec = ShimSpec {
        container: container.clone(),
        root,
        run_dir: config.run_dir.clone(),
        tag: config.tag(),
        id_base: config.id_base,
    };
    let dir = spec.dir();
    if connect(&shim_socket(config, &container.id)).is_ok() {
        return Err(Error::Exists(format!("a shim of container {}", container.id)));
    }
    clear(config, &container.id, &dir)?;
    ramdisk::settle(&config.run_dir, &container.id, container.ramdisk.as_ref())?;
    if container.settings.ksm == Some(true) {
        merge_equal_pages();
    }
    fault::step("make the run directory");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).at("create", &dir)?;
    let path = dir.join("spec.json");
    let text = serde_json::to_vec(&spec).map_err(|e| Error::Shim(e.to_string()))?;
    fs::write(&path, text).at("write", &path)?;
    fault::step("spawn the shim");
    spawn_shim(config, &dir, &path).inspect_err(|_| {
        let _ = clear(config, &container.id, &dir);
    })
}

/// Starts the kernel's search for equal pages (KSM), once a container asks for it. Never stopped
/// again: that is the host's administrator's to decide, who may use it for other things.
fn merge_equal_pages() {
    let run = Path::new("/sys/kernel/mm/ksm/run");
    if fs::read_to_string(run).is_ok_and(|now| now.trim() == "0")
        && let Err(e) = fs::write(run, "1")
    {
        tracing::warn!(error = %e, "the kernel does not merge equal memory");
    }
}

/// Runs `cowl shim` in its own session and reads the one line it reports.
fn spawn_shim(config: &Config, dir: &Path, spec: &Path) -> Result<Status> {
    let log = fs::File::options().create(true).append(true).open(dir.join("shim.log")).at("open the log in", dir)?;
    let mut command = Command::new(&config.cowl_exe);
    command.arg("shim").arg(spec).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    let mut child = command.spawn().at("run", &config.cowl_exe)?;
    fault::step("hear that the shim started");
    let mut report = String::new();
    let read = match child.stdout.take() {
        Some(stdout) => read_report(stdout, &mut report),
        None => Ok(()),
    };
    // The shim outlives us; a thread reaps it if it does not.
    let pid = child.id();
    let reaper = std::thread::Builder::new().name(format!("reap-{pid}")).stack_size(64 * 1024);
    let _ = reaper.spawn(move || child.wait());
    read.context(|| "read the shim's report".into())?;
    match serde_json::from_str(&report) {
        Ok(Reply::Status(status)) => Ok(status),
        Ok(Reply::Error { message, errno: libc::ENOSPC }) => Err(Error::Full(message)),
        Ok(Reply::Error { message, .. }) => Err(Error::Shim(message)),
        _ => {
            let log = fs::read_to_string(dir.join("shim.log")).unwrap_or_default();
            let tail = log.lines().next_back().unwrap_or("it said nothing").to_owned();
            Err(Error::Shim(format!("the shim died before PID 1 ran: {tail}")))
        }
    }
}

fn read_report(stdout: std::process::ChildStdout, report: &mut String) -> io::Result<()> {
    let deadline = Instant::now() + BIRTH;
    let fd = stdout.as_fd().try_clone_to_owned()?;
    let mut reader = BufReader::new(stdout.take(64 * 1024));
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            rustix::event::Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut polled = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        if rustix::event::poll(&mut polled, Some(&timeout))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if reader.read_line(report)? == 0 || report.ends_with('\n') {
            return Ok(());
        }
    }
}

/// Shims that are alive under the run directory, e.g. after the node was restarted. Clears away
/// what dead ones left.
///
/// # Errors
/// When the run directory cannot be read.
pub fn adopt(config: &Config) -> Result<Vec<Status>> {
    let mut alive = Vec::new();
    for entry in fs::read_dir(&config.run_dir).at("read", &config.run_dir)?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|n| n.parse::<ContainerId>().ok()) else { continue };
        match request(config, &id, &Request::Status) {
            Ok(Reply::Status(status)) => alive.push(status),
            _ => clear(config, &id, &entry.path())?,
        }
    }
    Ok(alive)
}

/// Removes what a dead shim left: cgroups (and whoever is still in them), veth, door, directory.
fn clear(config: &Config, id: &ContainerId, dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let tag = config.tag();
    Cgroups::find(&tag)?.remove(id);
    net::remove(&net::veth_name(&tag, id));
    shares::close_door(&config.run_dir, id)?;
    fs::remove_dir_all(dir).at("remove", dir)
}

/// Path of the socket that carries requests to, and events from, a container's shim.
pub fn shim_socket(config: &Config, id: &ContainerId) -> PathBuf {
    config.run_dir.join(id.as_str()).join("shim.sock")
}

/// Path of the socket on which a container's kit serves HTTP.
pub fn kit_socket(config: &Config, id: &ContainerId) -> PathBuf {
    config.run_dir.join(id.as_str()).join("kit.sock")
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    Ok(stream)
}

fn send(config: &Config, id: &ContainerId, request: &Request) -> io::Result<UnixStream> {
    let mut stream = connect(&shim_socket(config, id))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(stream)
}

/// Asks a shim one thing.
///
/// # Errors
/// When it does not run or answers nonsense.
pub fn request(config: &Config, id: &ContainerId, request: &Request) -> Result<Reply> {
    let stream = send(config, id, request).context(|| format!("reach the shim of {id}"))?;
    let mut line = String::new();
    BufReader::new(stream.take(64 * 1024)).read_line(&mut line).context(|| format!("hear the shim of {id}"))?;
    serde_json::from_str(&line).map_err(|e| Error::Shim(format!("unreadable answer of the shim of {id}: {e}")))
}

fn expect_done(reply: Reply) -> Result<()> {
    match reply {
        Reply::Ok | Reply::Status(_) => Ok(()),
        Reply::Error { message, .. } => Err(Error::Shim(message)),
    }
}

/// Asks init to halt and waits at most `grace`, then kills everything. Returns when nothing of the
/// container runs any more and its shim is gone.
///
/// # Errors
/// When the container does not run, or could not be killed.
pub fn stop(config: &Config, id: &ContainerId, grace: Duration) -> Result<()> {
    let watch = send(config, id, &Request::Watch).context(|| format!("reach the shim of {id}"))?;
    fault::step("ask the shim to stop");
    let grace_ms = grace.as_millis().try_into().unwrap_or(u64::MAX);
    expect_done(request(config, id, &Request::Stop { grace_ms })?)?;
    fault::step("hear that it stopped");
    let deadline = Instant::now() + grace + Duration::from_secs(10);
    watch.set_read_timeout(Some(grace + Duration::from_secs(10))).context(|| "set a timeout".into())?;
    let mut lines = BufReader::new(watch);
    let mut line = String::new();
    loop {
        line.clear();
        match lines.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) if matches!(serde_json::from_str(&line), Ok(Event::Exited { .. })) => return Ok(()),
            Ok(_) if Instant::now() < deadline => {}
            Ok(_) => return Err(Error::Shim(format!("container {id} does not stop"))),
            Err(e) => return Err(e).context(|| format!("wait for container {id} to stop")),
        }
    }
}

/// Freezes (`true`) or thaws the whole container.
///
/// # Errors
/// When the container does not run.
pub fn freeze(config: &Config, id: &ContainerId, frozen: bool) -> Result<()> {
    expect_done(request(config, id, &Request::Freeze { frozen })?)
}

/// A TCP connection made inside the container's network namespace to `127.0.0.1:port`, then to the
/// container's own address when loopback refuses. Non-blocking; it may still be connecting.
///
/// # Errors
/// `ConnectionRefused` when nothing listens there.
pub fn dial(config: &Config, id: &ContainerId, port: u16) -> io::Result<OwnedFd> {
    let stream = send(config, id, &Request::Dial { port })?;
    let mut buf = [0u8; 4096];
    let (n, mut attached) = fds::receive(stream.as_fd(), &mut buf)?;
    match serde_json::from_slice(&buf[..n]) {
        Ok(Reply::Ok) => attached.pop().ok_or_else(|| io::ErrorKind::InvalidData.into()),
        Ok(Reply::Error { errno, .. }) if errno != 0 => Err(io::Error::from_raw_os_error(errno)),
        Ok(Reply::Error { message, .. }) => Err(io::Error::other(message)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Makes the node's share of the host ready: nftables table, forwarding, sysctls, lxcfs. Idempotent.
///
/// # Errors
/// The step that failed, with what to do.
pub fn prepare_host(config: &Config, plan: &firewall::Plan) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&config.run_dir).at("create", &config.run_dir)?;
    firewall::load(&config.tag(), plan)?;
    let forward = "/proc/sys/net/ipv4/ip_forward";
    fs::write(forward, "1").at("write", Path::new(forward))?;
    if plan.six.is_some() {
        net::ipv6::prepare()?;
    }
    sysctl::raise();
    // Containers can do without; the node tries again later.
    if let Err(e) = lxcfs::ensure(config) {
        tracing::warn!(error = %e, "containers see the host's memory and CPUs");
    }
    Ok(())
}

/// Removes what [`prepare_host`] made, and all ramdisks. Containers keep running but lose the
/// network.
///
/// # Errors
/// The step that failed.
pub fn release_host(config: &Config) -> Result<()> {
    lxcfs::stop(config);
    ramdisk::release_all(&config.run_dir);
    Cgroups::find(&config.tag())?.remove_node();
    firewall::unload(&config.tag())
}
