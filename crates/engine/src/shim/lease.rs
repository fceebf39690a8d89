//! Leases of host id ranges: each running container maps its users to a range of its own.
//!
//! A range is 131,072 ids wide: 65,536 for the container and as many for subordinate ids inside
//! it, so that rootless podman works. A lease is a lock file in a directory all nodes of the
//! machine share; the kernel frees it when the shim ends, however it ends. Whoever holds the lock
//! may remove the file: who gets the lock of a file that is gone tries again.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Context, Error, Result};

/// Ids per container.
pub const WIDTH: u32 = 131_072;
/// Where all nodes of a machine keep their lock files. Not below /run/lock, which anyone may write.
const DIRECTORY: &str = "/run/cowl-ids";

/// A range of host ids, ours until dropped.
#[derive(Debug)]
pub struct Lease {
    /// First host id of the range.
    pub base: u32,
    lock: Flock<File>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        remove(&self.lock, &path(self.base));
    }
}

fn path(base: u32) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{base:08x}"))
}

/// Whether the locked file is still the one at its path.
fn is_there(file: &File, path: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(held), Ok(there)) if same(&held, &there))
}

fn remove(lock: &Flock<File>, path: &Path) {
    if is_there(lock, path) {
        let _ = fs::remove_file(path);
    }
}

/// Lock files that nobody holds: their shims were killed.
pub fn abandoned() -> Vec<PathBuf> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten().map(|e| e.path());
    entries.filter(|path| try_lock(path).is_some()).collect()
}

/// Removes such a file, unless somebody holds it now.
pub fn forget(path: &Path) {
    if let Some(lock) = try_lock(path) {
        remove(&lock, path);
    }
}

fn try_lock(path: &Path) -> Option<Flock<File>> {
    let file = File::options().write(true).open(path).ok()?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}

/// Takes the first free range at or above `from`. Ranges begin at multiples of [`WIDTH`], so that
/// those of nodes with different bases never overlap in part.
///
/// # Errors
/// When all ranges up to 2³² are taken, or the lock directory cannot be used.
pub fn take(from: u32) -> Result<Lease> {
    let none_left = || Error::Unsupported("no free range of user ids is left on this machine".into());
    let mut base = from.max(WIDTH).checked_next_multiple_of(WIDTH).ok_or_else(none_left)?;
    let directory = Path::new(DIRECTORY);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).at("create", directory)?;
    loop {
        let path = path(base);
        let file = File::options().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
        if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            if is_there(&lock, &path) {
                return Ok(Lease { base, lock });
            }
            continue;
        }
        // The last range would end at the reserved id 2³² − 1.
        base = base.checked_add(WIDTH).filter(|b| b.checked_add(WIDTH).is_some()).ok_or_else(none_left)?;
    }
}
