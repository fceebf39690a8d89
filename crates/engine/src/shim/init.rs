//! The half of a birth that runs inside: from the fresh namespaces to systemd as PID 1.
//!
//! Order matters, and each step has its reason in the comments. All file systems are made as
//! detached mounts while the host's tree is still visible (a new proc or sysfs in a user namespace
//! is only granted where a full one can be seen); after `pivot_root` they are attached by path, so
//! that no symbolic link of the container can ever point at the host.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, setsockopt, socket, sockopt};
use nix::unistd::{Gid, Uid, pivot_root, setgroups, sethostname, setresgid, setresuid, setsid};
use rustix::fs::{CWD, Mode};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};

use super::figures::Watch;
use super::stage::{Channel, Message};
use super::{additions, host_keys, sandbox};
use crate::cgroup::limits;
use crate::error::{Context, Error, Result};
use crate::isolation::masks::{Cover, MASKS};
use crate::launch::{Root, ShimSpec};
use crate::net;
use crate::sys::{fds, mount, process};

/// Where systemd finds the socket to say READY=1 on.
const NOTIFY: &str = "/run/host/notify";

/// Becomes the container's init. Returns only on failure, having told the parent.
pub fn run(channel: &Channel, spec: &ShimSpec, watch: Option<&Watch<'_>>) {
    if let Err(e) = become_init(channel, spec, watch) {
        let _ = channel.send(&Message::Failed { message: e.to_string() }, &[]);
    }
}

fn become_init(channel: &Channel, spec: &ShimSpec, watch: Option<&Watch<'_>>) -> Result<()> {
    let plain = matches!(spec.root, Root::Plain { .. });
    let mut received = channel.expect(&Message::Mounts, if plain { 2 } else { 3 })?.into_iter();
    let (Some(root), Some(dev), usr) = (received.next(), received.next(), received.next()) else {
        return Err(Error::Shim("mounts are missing".into()));
    };
    let additions = channel.expect_additions()?;
    become_root()?;
    // A container without its shim cannot be reached or stopped: they end together.
    process::die_with_parent(libc::SIGKILL).context(|| "tie init to the shim".into())?;
    // After the placement in cgroups, so that the namespace's root is the payload group.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP).context(|| "new cgroup namespace".into())?;
    setsid().context(|| "setsid".into())?;
    sethostname(&spec.container.hostname).context(|| "set the host name".into())?;
    net::configure_inside(spec.container.address, spec.container.address6)?;

    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context(|| "make the host's mounts private".into())?;
    let made = Made::make(limits::memory(&spec.container.settings.limits))?;
    enter(&root)?;
    if let Some(usr) = usr {
        attach(&usr, "/usr")?;
    }
    attach(&dev, "/dev")?;
    made.attach()?;
    let console = make_console()?;
    mask()?;
    additions::attach(&additions);
    let notify = make_notify()?;
    name_once(&spec.container.hostname)?;
    host_keys::make_if_missing();
    // systemd hands credentials to its services through mounts: private propagation breaks that
    // silently (engine survey, section 2).
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).context(|| "make / shared".into())?;

    channel.send(&Message::Inside, &[console.master.as_fd(), notify.as_fd()])?;
    for number in 0..=2 {
        fds::install(console.slave.as_fd(), number).context(|| "attach the console".into())?;
    }
    fds::close_on_exec_from(3).context(|| "close descriptors on exec".into())?;
    process::default_signals();
    process::leave_keys_behind().context(|| "new session keyring".into())?;
    if spec.container.settings.ksm == Some(true) {
        // Without it in the kernel the container is the same, only larger.
        let _ = process::merge_memory();
    }
    sandbox::apply(watch)?;
    let argv = [CString::from(c"/sbin/init")];
    let error = process::exec_path(&argv[0], &argv, &environment(spec));
    Err(Error::Sys { what: "exec /sbin/init".into(), source: error })
}

/// Becomes uid and gid 0 of the user namespace, without other groups.
pub(crate) fn become_root() -> Result<()> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[]).context(|| "drop groups".into())?;
    setresgid(gid, gid, gid).context(|| "become group 0".into())?;
    setresuid(uid, uid, uid).context(|| "become user 0".into())
}

fn attach(mount: &OwnedFd, path: &str) -> Result<()> {
    move_mount(mount, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).context(|| format!("attach {path}"))
}

/// A new file system as a detached mount; options are `key` or `key=value`.
fn file_system(kind: &str, options: &[&str], flags: MountAttrFlags) -> Result<OwnedFd> {
    let what = || format!("mount a new {kind}");
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).context(what)?;
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(fs.as_fd(), key, value),
            None => fsconfig_set_flag(fs.as_fd(), *option),
        }
        .context(|| format!("{kind} option {option}"))?;
    }
    fsconfig_create(fs.as_fd()).context(what)?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags).context(what)
}

/// The file systems that the container's own namespaces make.
struct Made {
    parts: Vec<(&'static str, OwnedFd)>,
}

impl Made {
    /// `memory` is what the container may use, in bytes; no file system in memory may take all of it.
    fn make(memory: u64) -> Result<Self> {
        let nosuid = MountAttrFlags::MOUNT_ATTR_NOSUID;
        let nodev = MountAttrFlags::MOUNT_ATTR_NODEV;
        let plain = nosuid | nodev | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let parts = vec![
            ("/proc", file_system("proc", &[], plain)?),
            // Read-only sysfs tells systemd that there are no devices to manage (udev).
            ("/sys", file_system("sysfs", &[], plain | MountAttrFlags::MOUNT_ATTR_RDONLY)?),
            ("/sys/fs/cgroup", file_system("cgroup2", &[], plain)?),
            (
                "/dev/pts",
                file_system(
                    "devpts",
                    &["newinstance", "ptmxmode=0666", "mode=0620", "gid=5", "max=1024"],
                    nosuid | MountAttrFlags::MOUNT_ATTR_NOEXEC,
                )?,
            ),
            ("/dev/shm", file_system("tmpfs", &["mode=1777", &format!("size={}", memory / 2)], nosuid | nodev)?),
            // The share that systemd gives /run of the machine's memory.
            (
                "/run",
                file_system(
                    "tmpfs",
                    &["mode=0755", &format!("size={}", memory / 5), "nr_inodes=800k"],
                    nosuid | nodev,
                )?,
            ),
            // Masks on /proc forbid mounting a proc in nested user namespaces; a second, unmasked
            // pair where only root looks allows it again (LXC's trick).
            ("/dev/.nest/proc", file_system("proc", &[], plain)?),
            ("/dev/.nest/sys", file_system("sysfs", &[], plain)?),
        ];
        Ok(Self { parts })
    }

    fn attach(&self) -> Result<()> {
        for dir in ["/proc", "/sys", "/run"] {
            let _ = rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755));
        }
        self.parts.iter().try_for_each(|(path, mount)| attach(mount, path))
    }
}

/// Makes `root` the root directory and lets go of the host's tree.
fn enter(root: &OwnedFd) -> Result<()> {
    // Any directory of the host that the container's root may enter; the mount on it exists in
    // this mount namespace only.
    let staging = Path::new("/run");
    move_mount(root, "", CWD, staging, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .at("attach the root file system at", staging)?;
    std::env::set_current_dir(staging).at("enter", staging)?;
    pivot_root(".", ".").context(|| "pivot_root".into())?;
    unmount(".", UnmountFlags::DETACH).context(|| "let go of the host's tree".into())?;
    std::env::set_current_dir("/").context(|| "enter /".into())
}

struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
}

/// The console: a pty of the container's own devpts, its far end on /dev/console.
fn make_console() -> Result<Terminal> {
    use rustix::fs::{OFlags, open};
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let master = open("/dev/pts/ptmx", flags, Mode::empty()).context(|| "open the console's pty".into())?;
    rustix::pty::unlockpt(&master).context(|| "unlock the console's pty".into())?;
    let slave = fds::pty_peer(master.as_fd()).context(|| "open the console".into())?;
    let name = rustix::pty::ptsname(&master, Vec::new()).context(|| "name the console".into())?;
    rustix::fs::fchown(&slave, Some(rustix::fs::Uid::ROOT), Some(rustix::fs::Gid::from_raw(5)))
        .context(|| "own the console".into())?;
    bind(name.to_str().map_err(|e| Error::Shim(e.to_string()))?, "/dev/console", MountAttrFlags::empty())?;
    Ok(Terminal { master, slave })
}

/// Binds `source` on `target`.
fn bind(source: &str, target: &str, flags: MountAttrFlags) -> Result<()> {
    let tree = open_tree(CWD, source, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .context(|| format!("bind {source}"))?;
    if !flags.is_empty() {
        mount::set_attributes(tree.as_fd(), u64::from(flags.bits()), None).context(|| format!("restrict {target}"))?;
    }
    attach(&tree, target)
}

fn mask() -> Result<()> {
    let read_only =
        MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    for mask in MASKS.iter().filter(|m| Path::new(m.path).exists()) {
        match mask.cover {
            Cover::Hidden => bind("/dev/null", mask.path, MountAttrFlags::empty()),
            Cover::Empty => bind("/dev/.nest/empty", mask.path, read_only),
            Cover::ReadOnly => bind(mask.path, mask.path, read_only),
            // Taken from the unmasked pair.
            Cover::Open => bind(&format!("/dev/.nest{}", mask.path), mask.path, MountAttrFlags::empty()),
        }?;
    }
    Ok(())
}

fn make_notify() -> Result<OwnedFd> {
    let dir = Path::new("/run/host");
    std::fs::create_dir_all(dir).at("create", dir)?;
    std::fs::write("/run/host/container-manager", "cowl\n").context(|| "write /run/host/container-manager".into())?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let notify =
        socket(AddressFamily::Unix, SockType::Datagram, flags, None).context(|| "open the notify socket".into())?;
    setsockopt(&notify, sockopt::PassCred, &true).context(|| "ask for credentials".into())?;
    let address = UnixAddr::new(NOTIFY).context(|| "name the notify socket".into())?;
    nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&notify), &address).context(|| format!("bind {NOTIFY}"))?;
    Ok(notify)
}

/// Writes the host's name on the first start. Later it is the container's own affair.
fn name_once(hostname: &str) -> Result<()> {
    // Whatever lies there, even a dangling link, was put there from inside.
    if Path::new("/etc/hostname").symlink_metadata().is_ok() {
        return Ok(());
    }
    std::fs::write("/etc/hostname", format!("{hostname}\n")).context(|| "write /etc/hostname".into())?;
    if Path::new("/etc/hosts").symlink_metadata().is_ok_and(|m| m.is_file()) {
        let hosts = std::fs::read_to_string("/etc/hosts").context(|| "read /etc/hosts".into())?;
        std::fs::write("/etc/hosts", format!("{}\n127.0.1.1\t{hostname}\n", hosts.trim_end()))
            .context(|| "write /etc/hosts".into())?;
    }
    Ok(())
}

fn environment(spec: &ShimSpec) -> Vec<CString> {
    let id = spec.container.id.as_str();
    let mut variables: Vec<String> = vec![
        "container=cowl".into(),
        // A machine id has 32 digits; ours derives from the container's id.
        format!("container_uuid={}", machine_id(id)),
        format!("NOTIFY_SOCKET={NOTIFY}"),
        "TERM=linux".into(),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
    ];
    variables.extend(spec.container.env.iter().map(|(k, v)| format!("{k}={v}")));
    variables.into_iter().filter_map(|v| CString::new(v).ok()).collect()
}

/// 32 hex digits that tell nothing about the container's id, which is a secret.
fn machine_id(id: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("cowl machine-id {id}"));
    digest.iter().take(16).map(|b| format!("{b:02x}")).collect()
}
