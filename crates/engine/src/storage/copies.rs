//! Disks made from other containers' disks, and made anew from them.
//!
//! ```text
//!  containers/<source> ─┐                                    ┌─ exchanged for ─▶ containers/<copy>
//!  snapshots/<source>/x ┴ copy_disk ─▶ containers/<copy>     │  (sync)
//!  snapshots/<source>/* ─ copy_snapshot ─▶ snapshots/<copy>/*│
//!  containers/<source> ───────────────────────── tmp/sync ───┘
//! ```
//! A copy is one kernel transaction, also of a disk that is being written: it is what a power cut
//! at that moment would have left. It takes no space until one of both changes something.

use std::path::Path;

use super::identity;
use super::pool::{Pool, Scratch};
use crate::error::{Context, Error, Result};
use crate::fault;
use crate::sys::btrfs;
use cowl_api::ContainerId;

/// Attempts to copy a disk that a restore of its container replaces meanwhile.
const ATTEMPTS: usize = 3;

impl Pool {
    /// Makes a container's disk from another disk or a snapshot. Idempotent: an existing disk is kept.
    ///
    /// # Errors
    /// [`Error::NotFound`] without that source, [`Error::Full`].
    pub fn copy_disk(&self, id: &ContainerId, source: &Path) -> Result<()> {
        let disk = self.disk(id);
        if !btrfs::is_subvolume(&disk).at("ask", &disk)? {
            snapshot(source, &disk)?;
        }
        self.quotas.adopt(id, &disk).map(drop)
    }

    /// Gives a container a snapshot of another one, under the same name. Idempotent.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the source has no such snapshot (any more), [`Error::Full`].
    pub fn copy_snapshot(&self, source: &ContainerId, id: &ContainerId, name: &str) -> Result<()> {
        let (from, to) = (self.snapshot(source, name), self.snapshot(id, name));
        if !btrfs::is_subvolume(&from).at("ask", &from)? {
            return Err(Error::NotFound(format!("snapshot {name} of container {source}")));
        }
        if let Some(dir) = to.parent() {
            std::fs::create_dir_all(dir).at("create", dir)?;
        }
        match btrfs::snapshot_read_only(&from, &to) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other.context(|| format!("copy snapshot {name} of container {source}")),
        }
    }

    /// Replaces a stopped container's disk by a copy of another's, atomically; its identity stays.
    /// The present disk becomes the read-only snapshot `safety`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; the disk is then as before.
    pub fn sync_disk(&self, id: &ContainerId, source: &ContainerId, safety: &str) -> Result<()> {
        let fresh = Scratch::new(self.temporary("sync"));
        snapshot(&self.disk(source), fresh.path())?;
        fault::step("carry the identity over");
        identity::carry_over(&self.disk(id), fresh.path(), id)?;
        self.put_in_place(id, fresh, safety, &format!("container {source}'s state"))
    }
}

fn snapshot(source: &Path, target: &Path) -> Result<()> {
    for attempt in 1.. {
        if !btrfs::is_subvolume(source).at("ask", source)? {
            return Err(Error::NotFound(format!("the disk or snapshot to copy, {}", source.display())));
        }
        match btrfs::snapshot(source, target) {
            // Replaced by a restore between its opening and its copying.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && attempt < ATTEMPTS => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => break,
            other => return other.context(|| format!("copy {}", source.display())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::storage::testing::Scene;

    #[test]
    fn a_copy_has_its_sources_files_and_goes_its_own_way() {
        let scene = Scene::new();
        let (source, copy) = (scene.disk(), ContainerId::generate());
        let root = |id| scene.pool.disk(id).join("rootfs/etc");
        fs::write(root(&source).join("both"), "x").unwrap();
        scene.pool.create_snapshot(&source, "then").unwrap();
        fs::write(root(&source).join("later"), "x").unwrap();
        scene.pool.copy_disk(&copy, &scene.pool.snapshot(&source, "then")).unwrap();
        assert!(root(&copy).join("both").exists() && !root(&copy).join("later").exists());
        fs::write(root(&copy).join("mine"), "x").unwrap();
        assert!(!root(&source).join("mine").exists());
        // Again after a crash: what is there is kept.
        scene.pool.copy_disk(&copy, &scene.pool.disk(&source)).unwrap();
        assert!(root(&copy).join("mine").exists());
        for _ in 0..2 {
            scene.pool.copy_snapshot(&source, &copy, "then").unwrap();
        }
        assert!(btrfs::is_read_only(&scene.pool.snapshot(&copy, "then")).unwrap());
        assert!(matches!(scene.pool.copy_snapshot(&source, &copy, "none"), Err(Error::NotFound(_))));
        scene.pool.delete_disk(&source).unwrap();
        assert!(root(&copy).join("both").exists() && scene.pool.snapshots(&copy).unwrap() == ["then"]);
        let nobody = ContainerId::generate();
        assert!(matches!(scene.pool.copy_disk(&nobody, &scene.pool.disk(&source)), Err(Error::NotFound(_))));
    }

    #[test]
    fn a_sync_takes_the_sources_files_and_leaves_the_copys_name() {
        let scene = Scene::new();
        let (source, copy) = (scene.disk(), ContainerId::generate());
        let root = |id| scene.pool.disk(id).join("rootfs/etc");
        scene.pool.copy_disk(&copy, &scene.pool.disk(&source)).unwrap();
        scene.pool.own(&copy).unwrap();
        for (id, name) in [(&source, "source\n"), (&copy, "copy\n")] {
            fs::write(root(id).join("hostname"), name).unwrap();
            fs::write(root(id).join("hosts"), format!("::1 localhost\n127.0.1.1 {name}")).unwrap();
        }
        fs::write(root(&source).join("new"), "x").unwrap();
        fs::write(root(&copy).join("mine"), "x").unwrap();
        scene.pool.sync_disk(&copy, &source, "safety").unwrap();
        assert!(root(&copy).join("new").exists() && !root(&copy).join("mine").exists());
        assert_eq!(fs::read_to_string(root(&copy).join("hostname")).unwrap(), "copy\n");
        assert_eq!(fs::read_to_string(root(&copy).join("hosts")).unwrap(), "::1 localhost\n127.0.1.1 copy\n");
        scene.pool.own(&copy).unwrap();
        assert!(root(&copy).join("hostname").exists(), "it is the copy's own already");
        assert!(scene.pool.snapshot(&copy, "safety").join("rootfs/etc/mine").exists());
    }
}
