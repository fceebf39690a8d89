//! Starting, finding and reaching running containers, as the node sees them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Config;
use super::error::{Error, Result};
use super::shim::protocol::Status;
use crate::api::ContainerId;

/// All a shim needs to start one container. Written to `RUN/<id>/spec.json` by [`start`].
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
    /// The kit's directory on the host (a read-only subvolume) holding `cowl-kit`; `None` runs no kit.
    pub kit_dir: Option<PathBuf>,
    /// Environment of init and of the kit's sessions.
    pub env: BTreeMap<String, String>,
    /// Container host names' parts, told to the kit as `COWL_*` variables.
    pub kit_env: BTreeMap<String, String>,
}

/// Starts a container: spawns its shim and waits until PID 1 and the kit's socket exist (not until
/// systemd is ready; that arrives as an event). Typically 30–60 ms.
///
/// # Errors
/// The step that failed; nothing of the container is left behind then.
pub fn start(_config: &Config, _spec: &ContainerSpec) -> Result<Status> {
    Err(Error::Unsupported("not built".into()))
}

/// Shims that are alive under the run directory, e.g. after the node was restarted. Clears away
/// what dead ones left.
///
/// # Errors
/// When the run directory cannot be read.
pub fn adopt(_config: &Config) -> Result<Vec<Status>> {
    Err(Error::Unsupported("not built".into()))
}

/// Path of the socket that carries requests to, and events from, a container's shim.
pub fn shim_socket(config: &Config, id: &ContainerId) -> PathBuf {
    config.run_dir.join(id.as_str()).join("shim.sock")
}

/// Path of the socket on which a container's kit serves HTTP.
pub fn kit_socket(config: &Config, id: &ContainerId) -> PathBuf {
    config.run_dir.join(id.as_str()).join("kit.sock")
}

/// Asks init to halt and waits at most `grace`, then kills everything. Returns when nothing of the
/// container runs any more and its shim is gone.
///
/// # Errors
/// When the container does not run, or could not be killed.
pub fn stop(_config: &Config, _id: &ContainerId, _grace: Duration) -> Result<()> {
    Err(Error::Unsupported("not built".into()))
}

/// Freezes (`true`) or thaws the whole container.
///
/// # Errors
/// When the container does not run.
pub fn freeze(_config: &Config, _id: &ContainerId, _frozen: bool) -> Result<()> {
    Err(Error::Unsupported("not built".into()))
}

/// A TCP connection made inside the container's network namespace to `127.0.0.1:port`, then to the
/// container's own address when loopback refuses.
///
/// # Errors
/// `ConnectionRefused` when nothing listens there.
pub fn dial(_config: &Config, _id: &ContainerId, _port: u16) -> std::io::Result<OwnedFd> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Makes the node's share of the host ready: nftables table, sysctls, cgroup roots. Idempotent.
/// `dns_port` is where the node's resolver listens on 169.254.1.1; containers' port 53 is
/// redirected to it.
///
/// # Errors
/// The step that failed, with what to do.
pub fn prepare_host(_config: &Config, _dns_port: u16) -> Result<()> {
    Err(Error::Unsupported("not built".into()))
}

/// Removes what [`prepare_host`] made. Containers keep running but lose the network.
///
/// # Errors
/// The step that failed.
pub fn release_host(_config: &Config) -> Result<()> {
    Err(Error::Unsupported("not built".into()))
}
