//! The engine: what touches the kernel. Synchronous, no HTTP, no database.
//!
//! Two halves:
//!
//! - [`storage`] keeps images, containers and snapshots as btrfs subvolumes in the pool;
//! - [`launch`] turns a container's disk into a running machine: it spawns one [`shim`] per
//!   container, and the shim makes the namespaces, mounts, cgroups and network, starts systemd,
//!   and stays as its parent.
//!
//! and what they are surrounded by:
//!
//! | | |
//! |---|---|
//! | what separates containers, from whom and why | [`isolation`], [`firewall`] |
//! | what a container may use | [`limits`]: [`cgroup`], [`net::rate`], [`quota`] |
//! | what it uses | [`stats`], [`memory`], [`kmsg`] |
//! | what it sees of that | [`lxcfs`] for files, [`figures`] for system calls |
//! | what is mounted into it | [`lxcfs`], [`ramdisk`], [`shares`] |
//! | how the node reaches it | [`launch::dial`], [`lobby`] |
//! | the host below | [`sysctl`], [`net`], [`sys`] |
//! | what crashes leave | [`leaks`]; [`fault`] brings them about in tests |
//!
//! The node asks; nothing in here decides.

pub mod archive;
pub mod cgroup;
pub mod error;
pub mod fault;
pub mod figures;
pub mod firewall;
pub mod isolation;
pub mod kmsg;
pub mod launch;
pub mod leaks;
pub mod limits;
pub mod lobby;
pub mod lxcfs;
pub mod memory;
pub mod net;
pub mod quota;
pub mod ramdisk;
pub mod shares;
pub mod shim;
pub mod stats;
pub mod storage;
pub mod sys;
pub mod sysctl;

use std::net::Ipv4Addr;
use std::path::PathBuf;

pub use error::{Error, Result};

/// Opens the pool of `config`, ready to build images that boot once on this engine.
///
/// # Errors
/// Those of [`storage::pool::Pool::open`].
pub fn open_pool(config: &Config) -> Result<storage::pool::Pool> {
    /// systemd on a busy machine, for the very first time.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(180);
    let mut pool = storage::pool::Pool::open(config)?;
    let own = config.clone();
    pool.set_first_boot(Box::new(move |tree| launch::boot_once(&own, tree, PATIENCE)));
    Ok(pool)
}

/// Where a node keeps things and how it tells its own from another node's on the same machine.
#[derive(Debug, Clone)]
pub struct Config {
    /// Durable state, default `/var/lib/cowl`. The pool is `pool/` or `pool.img` in it.
    pub state_dir: PathBuf,
    /// Sockets, default `/run/cowl`. One 0700 directory per container in it.
    pub run_dir: PathBuf,
    /// Containers' network; always a /16.
    pub network: Ipv4Net,
    /// First host uid/gid that containers may be mapped to.
    pub id_base: u32,
    /// Debian mirror for image builds; `None` takes the host's apt mirror.
    pub mirror: Option<String>,
    /// Packages downloaded before, by earlier builds.
    pub cache_dir: Option<PathBuf>,
    /// The `cowl` executable, run as `cowl shim`.
    pub cowl_exe: PathBuf,
    /// The `cowl-kit` executable that containers get a copy of.
    pub kit_exe: PathBuf,
}

impl Config {
    /// A short tag that tells this node's interfaces, cgroups and nftables from those of other
    /// nodes on the machine: 4 hex digits from the run directory's path.
    pub fn tag(&self) -> String {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(self.run_dir.as_os_str().as_encoded_bytes());
        format!("{:02x}{:02x}", digest[0], digest[1])
    }
}

/// An IPv4 network in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Net {
    /// Network address.
    pub address: Ipv4Addr,
    /// Prefix length, 0–32.
    pub prefix: u8,
}

impl std::fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl std::str::FromStr for Ipv4Net {
    type Err = String;
    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let (a, p) = s.split_once('/').ok_or("expected ADDRESS/PREFIX, e.g. 10.201.0.0/16")?;
        let address: Ipv4Addr = a.parse().map_err(|_| format!("{a} is not an IPv4 address"))?;
        let prefix: u8 = p.parse().ok().filter(|p| *p <= 32).ok_or_else(|| format!("{p} is not a prefix length"))?;
        let mask = if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) };
        if u32::from(address) & !mask != 0 {
            return Err(format!("{s} has bits set behind its prefix"));
        }
        Ok(Self { address, prefix })
    }
}
