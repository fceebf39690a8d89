//! The open pool: its lock, layout and space. The operations on it are in this module's neighbours.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::backing::{self, Backing, Kind};
use crate::Config;
use crate::error::{Context, Error, Result};
use crate::quota::Quotas;
use crate::sys::btrfs;

pub use super::image::BuiltImage;
pub use super::size::DiskSize;

/// Version of the layout below the pool's root; a pool of a later version is refused.
const LAYOUT: u32 = 1;
/// Directories of the pool.
const ROOMS: [&str; 6] = ["images", "templates", "containers", "snapshots", "kit", "tmp"];

/// Boots a freshly unpacked root file system once and shuts it down again.
pub type FirstBoot = Box<dyn Fn(&Path) -> Result<()> + Send + Sync>;

/// An open pool. One per node; an exclusive lock guards it.
pub struct Pool {
    pub(super) root: PathBuf,
    pub(super) first_boot: Option<FirstBoot>,
    pub(super) quotas: Quotas,
    backing: Backing,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("backing", &self.backing).finish_non_exhaustive()
    }
}

/// Space in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// Size of the pool.
    pub total: u64,
    /// In use.
    pub used: u64,
    /// Can still be written, limited by the host's disk for a sparse file.
    pub free: u64,
}

impl Pool {
    /// Opens the pool under `config.state_dir`, making it on first use: a directory of subvolumes
    /// when the host's file system is btrfs, else a sparse loop file mounted at `pool/`. Removes
    /// what a crash left half-made.
    ///
    /// # Errors
    /// [`Error::Missing`] without btrfs tools, [`Error::Busy`] when another node has it.
    pub fn open(config: &Config) -> Result<Pool> {
        let backing = backing::open(&config.state_dir)?;
        let root = backing.root.clone();
        for room in ROOMS {
            fs::create_dir_all(root.join(room)).at("create", &root.join(room))?;
        }
        check_layout(&root)?;
        let quotas = Quotas::open(&root, backing.kind == Kind::Loop)?;
        let pool = Pool { root, first_boot: None, quotas, backing };
        pool.sweep()?;
        Ok(pool)
    }

    /// Sets what boots a new image once before it is cleaned; without it the steps of a first boot
    /// are done one by one in a chroot.
    pub fn set_first_boot(&mut self, first_boot: FirstBoot) {
        self.first_boot = Some(first_boot);
    }

    /// Where the pool is mounted.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `loop` or `btrfs`.
    pub fn kind(&self) -> &'static str {
        match self.backing.kind {
            Kind::Loop => "loop",
            Kind::Btrfs => "btrfs",
        }
    }

    /// What containers may take of it.
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Space.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn usage(&self) -> Result<PoolUsage> {
        let stat = rustix::fs::statvfs(&self.root).at("ask for space of", &self.root)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let mut free = bytes(stat.f_bavail);
        if let (Kind::Loop, Some(state_dir)) = (self.backing.kind, self.root.parent()) {
            free = free.min(backing::free_on(state_dir)?);
        }
        Ok(PoolUsage { total: bytes(stat.f_blocks), used: bytes(stat.f_blocks - stat.f_bfree), free })
    }

    /// Gives the pool up and unmounts it. A node that ends does not do this: containers run on.
    ///
    /// # Errors
    /// `EBUSY` while containers run.
    pub fn close(self) -> Result<()> {
        let state_dir = self.root.parent().map(Path::to_path_buf).unwrap_or_default();
        drop(self);
        backing::unmount(&state_dir)
    }

    /// A path in `tmp/` that nobody else uses.
    pub(super) fn temporary(&self, what: &str) -> PathBuf {
        self.root.join("tmp").join(format!("{what}-{:016x}", rand::random::<u64>()))
    }

    /// Renames and deletes made so far survive a power cut when this has returned.
    pub(super) fn commit(&self) -> Result<()> {
        btrfs::commit(&self.root).at("commit", &self.root)
    }

    fn sweep(&self) -> Result<()> {
        for name in names(&self.root.join("tmp"))? {
            remove(&self.root.join("tmp").join(name))?;
        }
        self.quotas.sweep(|| self.disks())?;
        self.sweep_images()?;
        self.sweep_imported()
    }
}

fn check_layout(root: &Path) -> Result<()> {
    let path = root.join("layout");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim() == LAYOUT.to_string() => Ok(()),
        Ok(text) => Err(Error::Unsupported(format!(
            "{} has layout {}, this version knows {LAYOUT}; use the version of Cowl that made it",
            root.display(),
            text.trim()
        ))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            fs::write(&path, format!("{LAYOUT}\n")).at("write", &path)
        }
        Err(e) => Err(e).at("read", &path),
    }
}

/// Names in a directory, sorted; none when it does not exist. Names that are not UTF-8 are none of
/// ours and left out.
pub(super) fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).at("list", dir),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.at("list", dir)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes a subvolume, directory or file; a missing one is fine.
pub(super) fn remove(path: &Path) -> Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(meta) => meta.file_type(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).at("ask", path),
    };
    if !kind.is_dir() {
        return fs::remove_file(path).at("delete", path);
    }
    if btrfs::is_subvolume(path).at("ask", path)? {
        return btrfs::delete(path).at("delete", path);
    }
    fs::remove_dir_all(path).at("delete", path)
}

/// Deletes a half-made subvolume unless it was [kept](Scratch::keep).
pub(super) struct Scratch(Option<PathBuf>);

impl Scratch {
    /// Guards a path, whether it exists yet or not.
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// It is no longer half-made, or no longer there.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = remove(&path)
        {
            tracing::warn!(%error, path = %path.display(), "left behind; the next start removes it");
        }
    }
}
