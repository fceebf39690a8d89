//! The pool and the operations on its subvolumes.

use std::path::{Path, PathBuf};

use crate::api::ContainerId;
use crate::api::server::BuildProgress;
use crate::engine::Config;
use crate::engine::error::{Error, Result};

/// An open pool. One per node; an exclusive lock guards it.
#[derive(Debug)]
pub struct Pool {
    root: PathBuf,
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

/// A built image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// `debian-13-20261123-1a2b3c4d`.
    pub id: String,
    /// Tier, `debian-13`.
    pub tier: String,
    /// Bytes of its files.
    pub size: u64,
    /// Seconds since the epoch.
    pub created_at: i64,
}

fn unbuilt<T>() -> Result<T> {
    Err(Error::Unsupported("not built".into()))
}

impl Pool {
    /// Opens the pool under `config.state_dir`, making it on first use: a directory of subvolumes
    /// when the host's file system is btrfs, else a sparse loop file mounted at `pool/`.
    ///
    /// # Errors
    /// [`Error::Missing`] without btrfs tools, [`Error::Busy`] when another node has it.
    pub fn open(_config: &Config) -> Result<Pool> {
        unbuilt()
    }

    /// Where the pool is mounted.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `loop` or `btrfs`.
    pub fn kind(&self) -> &'static str {
        "loop"
    }

    /// Space.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn usage(&self) -> Result<PoolUsage> {
        unbuilt()
    }

    /// The newest built image of a tier.
    ///
    /// # Errors
    /// When the pool cannot be read.
    pub fn image(&self, _tier: &str) -> Result<Option<BuiltImage>> {
        unbuilt()
    }

    /// Builds an image: mmdebstrap, first boot, cleaning, template. `progress` is called often.
    ///
    /// # Errors
    /// The reason, with the last lines of the build's log; nothing half-built is left.
    pub fn build_image(
        &self,
        _config: &Config,
        _tier: &str,
        _log: &Path,
        _progress: &mut dyn FnMut(BuildProgress),
    ) -> Result<BuiltImage> {
        unbuilt()
    }

    /// Copies an image that another pool exported with [`Pool::export_image`].
    ///
    /// # Errors
    /// When the file is not such an export.
    pub fn import_image(&self, _file: &Path) -> Result<BuiltImage> {
        unbuilt()
    }

    /// Writes an image to one file that [`Pool::import_image`] reads.
    ///
    /// # Errors
    /// When there is no such image, or the disk is full.
    pub fn export_image(&self, _image_id: &str, _file: &Path) -> Result<()> {
        unbuilt()
    }

    /// Makes a container's disk from an image. Idempotent: an existing disk is kept.
    ///
    /// # Errors
    /// [`Error::NotFound`] without that image, [`Error::Full`].
    pub fn create_disk(&self, _id: &ContainerId, _image_id: &str) -> Result<()> {
        unbuilt()
    }

    /// The container's subvolume.
    pub fn disk(&self, id: &ContainerId) -> PathBuf {
        self.root.join("containers").join(id.as_str())
    }

    /// The `/usr` of the image this disk or snapshot was made from.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a disk.
    pub fn lower_usr(&self, _disk: &Path) -> Result<PathBuf> {
        unbuilt()
    }

    /// Removes a container's disk and all its snapshots. Idempotent.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_disk(&self, _id: &ContainerId) -> Result<()> {
        unbuilt()
    }

    /// Ids of all disks in the pool.
    ///
    /// # Errors
    /// When the pool cannot be read.
    pub fn disks(&self) -> Result<Vec<ContainerId>> {
        unbuilt()
    }

    /// Takes a read-only snapshot of a container's disk.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::NotFound`], [`Error::Full`].
    pub fn create_snapshot(&self, _id: &ContainerId, _name: &str) -> Result<()> {
        unbuilt()
    }

    /// A snapshot's subvolume.
    pub fn snapshot(&self, id: &ContainerId, name: &str) -> PathBuf {
        self.root.join("snapshots").join(id.as_str()).join(name)
    }

    /// Removes a snapshot. Idempotent.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_snapshot(&self, _id: &ContainerId, _name: &str) -> Result<()> {
        unbuilt()
    }

    /// Names of a container's snapshots.
    ///
    /// # Errors
    /// When the pool cannot be read.
    pub fn snapshots(&self, _id: &ContainerId) -> Result<Vec<String>> {
        unbuilt()
    }

    /// Replaces a stopped container's disk by a writable copy of a snapshot, atomically
    /// (RENAME_EXCHANGE). The present disk becomes the read-only snapshot `safety`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; the disk is then as before.
    pub fn restore(&self, _id: &ContainerId, _name: &str, _safety: &str) -> Result<()> {
        unbuilt()
    }

    /// Copies the kit's executable into a read-only subvolume named by its hash; returns that
    /// directory. Idempotent.
    ///
    /// # Errors
    /// When it cannot be read or the pool is full.
    pub fn install_kit(&self, _kit_exe: &Path) -> Result<PathBuf> {
        unbuilt()
    }

    /// Bytes that only this subvolume holds, and bytes it refers to in all.
    ///
    /// # Errors
    /// When the subvolume does not exist.
    pub fn size(&self, _subvolume: &Path) -> Result<DiskSize> {
        unbuilt()
    }
}

/// Size of a subvolume in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskSize {
    /// Bytes only it holds; what deleting it would free.
    pub exclusive: u64,
    /// Bytes of all its files' extents.
    pub referenced: u64,
}
