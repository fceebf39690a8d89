//! Leases of host id ranges: each running container maps its users to a range of its own.
//!
//! A range is 131,072 ids wide: 65,536 for the container and as many for subordinate ids inside
//! it, so that rootless podman works. A lease is a lock file in a directory all nodes of the
//! machine share; the kernel frees it when the shim ends, however it ends.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use crate::engine::error::{Context, Error, Result};

/// Ids per container.
pub const WIDTH: u32 = 131_072;
/// Where all nodes of a machine keep their lock files. Not below /run/lock, which anyone may write.
const DIRECTORY: &str = "/run/cowl-ids";

/// A range of host ids, ours until dropped.
#[derive(Debug)]
pub struct Lease {
    /// First host id of the range.
    pub base: u32,
    _lock: Flock<File>,
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
        let path = directory.join(format!("{base:08x}"));
        let file = File::options().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
        if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            return Ok(Lease { base, _lock: lock });
        }
        // The last range would end at the reserved id 2³² − 1.
        base = base.checked_add(WIDTH).filter(|b| b.checked_add(WIDTH).is_some()).ok_or_else(none_left)?;
    }
}
