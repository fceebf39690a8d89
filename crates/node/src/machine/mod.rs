//! What the node asks of the machine below it, as one trait.
//!
//! [`real::Real`] hands every call to the engine. Tests put a recording one in its place, so that
//! lifecycle, reconciliation and the API are tested without root. All calls block; async code goes
//! through `Node::engine`.

#[cfg(test)]
pub(crate) mod fake;
pub mod real;
pub mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::carry::Carry;
use cowl_api::dedupe::Figures;
use cowl_api::diff::{Change, Summary};
use cowl_api::files::{Listing, Restored, Stat};
use cowl_api::server::BuildProgress;
use cowl_api::settings::Limits;
use cowl_api::space::{Breakdown, DeviceErrors, Dying, Health};
use cowl_api::{ContainerId, Settings};
use cowl_engine::Result;
use cowl_engine::archive::manifest::{About, Manifest};
use cowl_engine::cgroup::limits::Shortfall;
use cowl_engine::firewall::Policy;
use cowl_engine::memory::Memory;
use cowl_engine::quota::DiskUse;
use cowl_engine::ramdisk::{self, Ramdisk};
use cowl_engine::shares::Share;
use cowl_engine::shim::protocol::{Event, Status};
use cowl_engine::stats::Usage;
use cowl_engine::storage::dedupe::Scope;
use cowl_engine::storage::diff::text::Found;
use cowl_engine::storage::export;
use cowl_engine::storage::import::{Terms, Unpacked};
use cowl_engine::storage::pool::{BuiltImage, DiskSize, PoolUsage};
use cowl_engine::storage::prune::{Order, Unneeded};

/// What a container needs to start, beside its disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Boot {
    /// Which container.
    pub id: ContainerId,
    /// Host name inside.
    pub hostname: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its IPv6 address, where the host has IPv6.
    pub address6: Option<Ipv6Addr>,
    /// Whether the kit services run.
    pub kit: bool,
    /// Environment of init and of sessions.
    pub env: BTreeMap<String, String>,
    /// `COWL_*` variables of the kit.
    pub kit_env: BTreeMap<String, String>,
    /// The settings that hold for it.
    pub settings: Settings,
    /// Its `/ramdisk`; `None` for none.
    pub ramdisk: Option<Ramdisk>,
}

/// A file tree of a container that can be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// Its disk.
    Disk(ContainerId),
    /// One of its snapshots.
    Snapshot(ContainerId, String),
}

/// The machine below the node. Errors are the engine's.
#[allow(missing_docs)] // Each method is the engine function of the same name.
pub trait Machine: Send + Sync + 'static {
    fn create_disk(&self, id: &ContainerId, image_id: &str) -> Result<()>;
    fn delete_disk(&self, id: &ContainerId) -> Result<()>;
    fn disks(&self) -> Result<Vec<ContainerId>>;
    fn start(&self, boot: &Boot) -> Result<Status>;
    fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()>;
    fn freeze(&self, id: &ContainerId, frozen: bool) -> Result<()>;
    /// Takes back what memory a frozen container can do without; gives the bytes.
    fn reclaim(&self, id: &ContainerId) -> Result<u64>;
    /// CPU time a running container has used, in microseconds.
    fn cpu_usec(&self, id: &ContainerId) -> Result<u64>;
    fn adopt(&self) -> Result<Vec<Status>>;
    /// The status of a container's shim; `None` when it has none.
    fn status(&self, id: &ContainerId) -> Option<Status>;
    /// Events of a running container's shim. The channel closes when the shim is gone. Must be
    /// called inside a tokio runtime.
    fn watch(&self, id: &ContainerId) -> mpsc::Receiver<Event>;
    /// Makes a container's firewall and egress these, now and whenever it runs.
    fn set_policy(&self, id: &ContainerId, policy: &Policy) -> Result<()>;
    fn create_snapshot(&self, id: &ContainerId, name: &str) -> Result<()>;
    fn delete_snapshot(&self, id: &ContainerId, name: &str) -> Result<()>;
    fn snapshots(&self, id: &ContainerId) -> Result<Vec<String>>;
    fn restore(&self, id: &ContainerId, name: &str, safety: &str) -> Result<()>;
    fn size(&self, tree: &Tree) -> Result<DiskSize>;
    fn image(&self, tier: &str) -> Result<Option<BuiltImage>>;
    fn build_image(&self, tier: &str, log: &Path, progress: &mut dyn FnMut(BuildProgress)) -> Result<BuiltImage>;
    fn import_image(&self, file: &Path) -> Result<BuiltImage>;
    fn usage(&self) -> Result<PoolUsage>;
    fn pool_root(&self) -> PathBuf;
    fn pool_kind(&self) -> &'static str;
    fn ramdisk_usage(&self, id: &ContainerId) -> ramdisk::Usage;
    fn counters(&self, id: &ContainerId) -> Result<Usage>;
    /// Counters of those of these containers that run.
    fn all_counters(&self, ids: &[ContainerId]) -> Vec<(ContainerId, Usage)>;
    /// What a container, running or not, takes on disk; `None` when nobody counts.
    fn disk_use(&self, id: &ContainerId) -> Option<DiskUse>;
    /// Makes limits hold, at once where it runs; gives those that cannot.
    fn limit(&self, id: &ContainerId, limits: &Limits) -> Result<Vec<Shortfall>>;
    fn list(&self, tree: &Tree, path: &str) -> Result<Listing>;
    fn stat(&self, tree: &Tree, path: &str) -> Result<Stat>;
    fn open_file(&self, tree: &Tree, path: &str) -> Result<File>;
    fn shown_shares(&self, id: &ContainerId) -> Vec<String>;
    fn show_share(&self, id: &ContainerId, share: &Share) -> Result<()>;
    fn hide_share(&self, id: &ContainerId, name: &str) -> Result<()>;
    fn kit_socket(&self, id: &ContainerId) -> PathBuf;
    fn dial(&self, id: &ContainerId, port: u16) -> io::Result<OwnedFd>;
    fn breakdown(&self, id: &ContainerId) -> Result<Breakdown>;
    fn dying(&self) -> Result<Dying>;
    fn device_errors(&self) -> DeviceErrors;
    fn health(&self) -> Result<Health>;
    fn scrub(&self) -> Result<()>;
    fn cancel_scrub(&self) -> Result<()>;
    /// Where memory is; of these containers those that run. With `pss` it takes longer.
    fn memory(&self, ids: &[ContainerId], pss: bool) -> Memory;
    /// Lets equal files of disks share their blocks; see [`Pool::dedupe`].
    ///
    /// [`Pool::dedupe`]: cowl_engine::storage::pool::Pool::dedupe
    fn dedupe(&self, scope: &Scope, stop: &dyn Fn() -> bool, tell: &mut dyn FnMut(&Figures)) -> Result<Figures>;
    /// Removes images and kits that nobody needs. Nothing may make a disk meanwhile.
    fn prune(&self, order: &Order) -> Result<Vec<Unneeded>>;
    fn copy_disk(&self, id: &ContainerId, source: &Tree) -> Result<()>;
    fn copy_snapshot(&self, source: &ContainerId, id: &ContainerId, name: &str) -> Result<()>;
    /// Makes a disk that came from another container its container's own.
    fn own(&self, id: &ContainerId) -> Result<()>;
    /// Copies files into a container, running or not; `progress` hears of files and bytes.
    fn carry(
        &self,
        id: &ContainerId,
        carry: &Carry,
        cancelled: &dyn Fn() -> bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Restored>;
    fn sync_disk(&self, id: &ContainerId, source: &ContainerId, safety: &str) -> Result<()>;
    /// Tells what differs at or below a path; `tell` ends it by giving false.
    fn diff(&self, from: &Tree, to: &Tree, below: &[u8], tell: &mut dyn FnMut(Change) -> bool) -> Result<Summary>;
    /// What is at a path in two moments; of files at most `limit` bytes.
    fn peek(&self, from: &Tree, to: &Tree, path: &[u8], limit: u64, follow: bool) -> Result<[Found; 2]>;
    fn export(&self, id: &ContainerId, asked: &export::Asked, about: About) -> Result<export::Export>;
    fn unpack(
        &self,
        id: &ContainerId,
        input: &mut dyn io::Read,
        terms: &mut dyn FnMut(&Manifest) -> Result<Terms>,
    ) -> Result<Unpacked>;
    fn place(&self, id: &ContainerId, unpacked: Unpacked) -> Result<()>;
}
