//! How a container is born, from the shim's side: namespaces, ids, cgroups, network, mounts.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};

use super::figures::Watch;
use super::lease::WIDTH;
use super::mounts::Mounts;
use super::stage::{Channel, Message};
use super::{additions, init};
use crate::cgroup::Cgroups;
use crate::cgroup::limits::{Groups, Shortfall};
use crate::error::{Context, Error, Result};
use crate::isolation::namespaces;
use crate::launch::ShimSpec;
use crate::sys::fds;
use crate::sys::process::{self, Forked, Process};
use crate::{limits, net};

/// A booting machine as its shim holds it.
pub struct Machine {
    /// systemd, PID 1 inside.
    pub init: Process,
    /// The far side of /dev/console.
    pub console: OwnedFd,
    /// /dev/console itself, held open: while nobody inside has it open, the far side would report
    /// a hang-up without end, and whoever polls it would spin.
    pub console_open: OwnedFd,
    /// Where systemd says READY=1.
    pub notify: OwnedFd,
    /// The container's network namespace.
    pub netns: File,
}

/// Brings a container to the point where systemd runs. `base` is its first host id; `watch` has its
/// figures shown.
///
/// # Errors
/// The step that failed; what was made until then is removed.
pub fn bear(spec: &ShimSpec, cgroups: &Cgroups, base: u32, watch: Option<&Watch<'_>>) -> Result<Machine> {
    let id = &spec.container.id;
    cgroups.create(id, base)?;
    let limits = &spec.container.settings.limits;
    tell(spec, cgroups.limit(id, limits, spec.root.path(), Groups::Fresh));
    let (ours, theirs) = Channel::pair()?;
    let payload = cgroups.open_payload(id)?;
    let forked = process::fork_owned(namespaces::at_birth(), Some(payload.as_fd()), base);
    let init = match forked.context(|| "make the namespaces".into())? {
        Forked::Child => {
            drop(ours);
            init::run(&theirs, spec, watch);
            process::exit_now(1)
        }
        Forked::Parent(init) => init,
    };
    drop(theirs);
    furnish(spec, cgroups, base, &init, &ours)
        .and_then(|(console, notify, netns)| {
            let console_open = fds::pty_peer(console.as_fd()).context(|| "hold the console open".into())?;
            Ok(Machine { init, console, console_open, notify, netns })
        })
        .inspect_err(|_| bury(spec, cgroups))
}

/// The parent's steps while the child waits for them.
fn furnish(
    spec: &ShimSpec,
    cgroups: &Cgroups,
    base: u32,
    init: &Process,
    channel: &Channel,
) -> Result<(OwnedFd, OwnedFd, File)> {
    let proc = |name: &str| format!("/proc/{}/{name}", init.pid);
    let map = format!("0 {base} {WIDTH}\n");
    for file in ["uid_map", "gid_map"] {
        fs::write(proc(file), &map).context(|| format!("write {file}"))?;
    }
    cgroups.place(&spec.container.id, init.pid)?;
    let open = |name: &str| File::open(proc(name)).context(|| format!("open {name}"));
    let (userns, netns) = (open("ns/user")?, open("ns/net")?);
    net::create(&spec.veth(), netns.as_fd(), spec.container.address, spec.container.address6)?;
    tell(spec, limits::network(&spec.veth(), &spec.container.settings.limits, Groups::Fresh));
    let mounts = Mounts::make(spec, &userns, base)?;
    channel.send(&Message::Mounts, &mounts.fds())?;
    additions::send(channel, &additions::gather(spec, &userns))?;
    let inside = channel.expect(&Message::Inside, 2)?;
    let [console, notify] = inside.try_into().map_err(|_| Error::Shim("wrong number of descriptors".into()))?;
    channel.expect_exec()?;
    Ok((console, notify, netns))
}

/// Notes limits that do not hold in the shim's log; the node finds out for itself and warns.
fn tell(spec: &ShimSpec, short: Vec<Shortfall>) {
    for Shortfall { field, says } in short {
        eprintln!("cowl shim {}: limit {field} does not hold: {says}", spec.container.id);
    }
}

/// Removes what a birth made outside the container's own namespaces.
pub fn bury(spec: &ShimSpec, cgroups: &Cgroups) {
    cgroups.remove(&spec.container.id);
    net::remove(&spec.veth());
}
