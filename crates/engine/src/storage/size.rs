//! What a subvolume takes. Counting walks all its extents, so it is for the background.

use std::path::Path;
use std::time::Duration;

use super::command::{command, run};
use super::pool::Pool;
use crate::error::{Context, Error, Result};
use crate::sys::btrfs;

/// A disk of a million files takes about this long on a busy box.
const DEADLINE: Duration = Duration::from_secs(180);

/// Size of a subvolume in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskSize {
    /// Bytes only it holds; what deleting it would free.
    pub exclusive: u64,
    /// Bytes of all its files' extents.
    pub referenced: u64,
}

impl Pool {
    /// Bytes that only this subvolume holds, and bytes it refers to in all. Exact for data; the
    /// file system's own metadata is not counted. Takes seconds for a disk of 100,000 files.
    ///
    /// # Errors
    /// When the subvolume does not exist, or counting took longer than three minutes.
    pub fn size(&self, subvolume: &Path) -> Result<DiskSize> {
        of(subvolume)
    }
}

/// As [`Pool::size`], for a pool that somebody else has open.
///
/// # Errors
/// As there.
pub fn of(subvolume: &Path) -> Result<DiskSize> {
    if !btrfs::is_subvolume(subvolume).at("ask", subvolume)? {
        return Err(Error::NotFound(format!("subvolume {}", subvolume.display())));
    }
    let mut du = command("btrfs");
    du.args(["filesystem", "du", "--raw", "-s", "--"]).arg(subvolume);
    let out = run(du, DEADLINE)?;
    parse(&out).ok_or_else(|| Error::Unsupported(format!("btrfs filesystem du printed {out:?}")))
}

/// Reads `Total Exclusive Set-shared Filename` below a heading.
fn parse(out: &str) -> Option<DiskSize> {
    let mut words = out.lines().nth(1)?.split_whitespace();
    Some(DiskSize { referenced: words.next()?.parse().ok()?, exclusive: words.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::Scene;

    #[test]
    fn the_size_tells_what_is_shared_from_what_is_not() {
        let scene = Scene::new();
        let id = scene.disk();
        let disk = scene.pool.disk(&id);
        let mib: Vec<u8> = (0..1 << 20).map(|_| rand::random()).collect();
        std::fs::write(disk.join("rootfs/etc/shared"), &mib).unwrap();
        scene.pool.create_snapshot(&id, "one").unwrap();
        std::fs::write(disk.join("rootfs/etc/own"), &mib).unwrap();
        rustix::fs::syncfs(std::fs::File::open(&disk).unwrap()).unwrap();
        let size = scene.pool.size(&disk).unwrap();
        assert!((1 << 20..1 << 20 | 1 << 16).contains(&size.exclusive), "{size:?}");
        assert!(size.referenced >= 2 << 20, "{size:?}");
        assert!(matches!(scene.pool.size(&disk.join("rootfs")), Err(Error::NotFound(_))));
    }
}
