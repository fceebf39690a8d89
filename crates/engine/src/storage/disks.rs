//! Containers' disks and their snapshots.
//!
//! ```text
//!  template ──create_disk──▶ containers/<id> ──create_snapshot──▶ snapshots/<id>/<name>
//!                                  ▲                                     │
//!                                  └───────── restore: a writable copy, ─┘
//!                                             exchanged for the disk in one step
//! ```
//!
//! Each step is one kernel transaction; a crash between steps leaves the disk as before or as
//! after, and at most garbage in `tmp/`.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::identity;
use super::pool::{Pool, Scratch, names, remove};
use crate::error::{Context, Error, Result};
use crate::fault;
use crate::sys::btrfs;
use cowl_api::ContainerId;

/// Longest name of a snapshot, in bytes.
const NAME_LIMIT: usize = 128;

/// Whether a string may name a snapshot on disk: letters, digits, `.`, `_`, `-`; not beginning with
/// a dot.
pub fn is_snapshot_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_LIMIT
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn check_name(name: &str) -> Result<()> {
    if is_snapshot_name(name) { Ok(()) } else { Err(Error::Unsupported(format!("{name:?} is not a snapshot's name"))) }
}

impl Pool {
    /// Makes a container's disk from an image. Idempotent: an existing disk is kept.
    ///
    /// # Errors
    /// [`Error::NotFound`] without that image, [`Error::Full`].
    pub fn create_disk(&self, id: &ContainerId, image_id: &str) -> Result<()> {
        let disk = self.disk(id);
        if btrfs::is_subvolume(&disk).at("ask", &disk)? {
            return Ok(());
        }
        let template = self.template(image_id)?;
        match btrfs::snapshot(&template, &disk) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.context(|| format!("make the disk of container {id}"))?,
        }
        self.quotas.adopt(id, &disk).map(drop)
    }

    /// The container's subvolume.
    pub fn disk(&self, id: &ContainerId) -> PathBuf {
        self.root.join("containers").join(id.as_str())
    }

    /// Removes a container's disk and all its snapshots. Idempotent.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_disk(&self, id: &ContainerId) -> Result<()> {
        let snapshots = self.snapshots_dir(id);
        for name in names(&snapshots)? {
            fault::step("delete a snapshot of a container that goes");
            remove(&snapshots.join(name))?;
        }
        remove(&snapshots)?;
        fault::step("delete the disk");
        remove(&self.disk(id))?;
        fault::step("commit the deletion of the disk");
        self.commit()?;
        // Groups of earlier deletions; the kernel frees this disk in its own time.
        self.quotas.sweep(|| self.disks())?;
        Ok(())
    }

    /// Ids of all disks in the pool.
    ///
    /// # Errors
    /// When the pool cannot be read.
    pub fn disks(&self) -> Result<Vec<ContainerId>> {
        Ok(names(&self.root.join("containers"))?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Takes a read-only snapshot of a container's disk.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::NotFound`], [`Error::Full`].
    pub fn create_snapshot(&self, id: &ContainerId, name: &str) -> Result<()> {
        check_name(name)?;
        let disk = self.disk(id);
        if !btrfs::is_subvolume(&disk).at("ask", &disk)? {
            return Err(Error::NotFound(format!("container {id}'s disk")));
        }
        let dir = self.snapshots_dir(id);
        std::fs::create_dir_all(&dir).at("create", &dir)?;
        match btrfs::snapshot_read_only(&disk, &dir.join(name)) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::Exists(format!("snapshot {name}"))),
            other => other.context(|| format!("take snapshot {name} of container {id}")),
        }
    }

    /// A snapshot's subvolume. A string that is no snapshot's name gives a path that never exists.
    pub fn snapshot(&self, id: &ContainerId, name: &str) -> PathBuf {
        self.snapshots_dir(id).join(if is_snapshot_name(name) { name } else { ".none" })
    }

    /// Removes a snapshot. Idempotent.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_snapshot(&self, id: &ContainerId, name: &str) -> Result<()> {
        remove(&self.snapshot(id, name))?;
        self.commit()
    }

    /// Names of a container's snapshots.
    ///
    /// # Errors
    /// When the pool cannot be read.
    pub fn snapshots(&self, id: &ContainerId) -> Result<Vec<String>> {
        names(&self.snapshots_dir(id))
    }

    /// Replaces a stopped container's disk by a writable copy of a snapshot, atomically
    /// (RENAME_EXCHANGE). The present disk becomes the read-only snapshot `safety`.
    ///
    /// Can be repeated after a crash: a `safety` that exists already is the state before the first
    /// attempt, and is kept.
    ///
    /// # Errors
    /// [`Error::NotFound`]; the disk is then as before.
    pub fn restore(&self, id: &ContainerId, name: &str, safety: &str) -> Result<()> {
        check_name(safety)?;
        if name == safety {
            return Err(Error::Exists(format!("snapshot {safety}")));
        }
        let source = self.snapshot(id, name);
        if !btrfs::is_subvolume(&source).at("ask", &source)? {
            return Err(Error::NotFound(format!("snapshot {name}")));
        }
        let fresh = Scratch::new(self.temporary("restore"));
        btrfs::snapshot(&source, fresh.path()).context(|| format!("copy snapshot {name}"))?;
        identity::follow(&self.disk(id), fresh.path(), id)?;
        self.put_in_place(id, fresh, safety, &format!("snapshot {name}"))
    }

    /// Exchanges a container's disk for `fresh`, and keeps what it was as the snapshot `safety`.
    pub(super) fn put_in_place(&self, id: &ContainerId, fresh: Scratch, safety: &str, what: &str) -> Result<()> {
        self.quotas.adopt(id, fresh.path())?;
        let made_safety = match self.create_snapshot(id, safety) {
            Ok(()) => true,
            Err(Error::Exists(_)) => false,
            Err(e) => return Err(e),
        };
        let disk = self.disk(id);
        if let Err(e) = rustix::fs::renameat_with(CWD, fresh.path(), CWD, &disk, RenameFlags::EXCHANGE) {
            if made_safety {
                self.delete_snapshot(id, safety)?;
            }
            return Err(e).context(|| format!("put {what} in place of container {id}'s disk"));
        }
        self.commit()?;
        // What the guard holds now is the old disk, which `safety` shares every block with.
        drop(fresh);
        Ok(())
    }

    fn snapshots_dir(&self, id: &ContainerId) -> PathBuf {
        self.root.join("snapshots").join(id.as_str())
    }

    /// The `/usr` of the image this disk or snapshot was made from.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a disk.
    pub fn lower_usr(&self, disk: &Path) -> Result<PathBuf> {
        Ok(self.image_path(&self.image_of(disk)?)?.join("usr"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::storage::testing::Scene;

    #[test]
    fn a_disk_is_made_once_and_a_second_call_keeps_it() {
        let scene = Scene::new();
        let (id, image) = (ContainerId::generate(), scene.image());
        scene.pool.create_disk(&id, &image).unwrap();
        fs::write(scene.pool.disk(&id).join("rootfs/etc/mine"), "x").unwrap();
        scene.pool.create_disk(&id, &image).unwrap();
        assert!(scene.pool.disk(&id).join("rootfs/etc/mine").exists());
        assert_eq!(scene.pool.disks().unwrap(), [id]);
        assert_eq!(
            scene.pool.lower_usr(&scene.pool.disk(&id)).unwrap(),
            scene.pool.root().join("images").join(&image).join("usr")
        );
    }

    #[test]
    fn a_disk_of_an_unknown_image_is_not_found() {
        let scene = Scene::new();
        for image in ["debian-13-20260101-00000000", "../images/x", ""] {
            let e = scene.pool.create_disk(&ContainerId::generate(), image).unwrap_err();
            assert!(matches!(e, Error::NotFound(_)), "{image}: {e}");
        }
        assert!(scene.pool.disks().unwrap().is_empty());
    }

    #[test]
    fn restore_brings_back_owner_mode_links_and_deleted_files_and_drops_added_ones() {
        let scene = Scene::new();
        let id = scene.disk();
        let root = scene.pool.disk(&id).join("rootfs");
        fs::write(root.join("etc/keep"), "before").unwrap();
        fs::set_permissions(root.join("etc/keep"), fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::chown(root.join("etc/keep"), Some(1000), Some(33)).unwrap();
        symlink("keep", root.join("etc/link")).unwrap();
        fs::create_dir(root.join("etc/empty")).unwrap();
        scene.pool.create_snapshot(&id, "good").unwrap();

        fs::remove_file(root.join("etc/link")).unwrap();
        fs::remove_dir(root.join("etc/empty")).unwrap();
        fs::write(root.join("etc/keep"), "after").unwrap();
        fs::write(root.join("etc/added"), "x").unwrap();
        scene.pool.restore(&id, "good", "safety").unwrap();

        assert_eq!(fs::read_to_string(root.join("etc/keep")).unwrap(), "before");
        let meta = fs::metadata(root.join("etc/keep")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1000, 33, 0o640));
        assert_eq!(fs::read_link(root.join("etc/link")).unwrap(), Path::new("keep"));
        assert!(root.join("etc/empty").is_dir() && !root.join("etc/added").exists());
        fs::write(root.join("etc/writable"), "x").unwrap();

        let safety = scene.pool.snapshot(&id, "safety");
        assert_eq!(fs::read_to_string(safety.join("rootfs/etc/keep")).unwrap(), "after");
        assert!(btrfs::is_read_only(&safety).unwrap());
        assert_eq!(scene.pool.snapshots(&id).unwrap(), ["good", "safety"]);
        assert!(names(&scene.pool.root().join("tmp")).unwrap().is_empty());
        // The restore itself can be undone.
        scene.pool.restore(&id, "safety", "safety-2").unwrap();
        assert!(root.join("etc/added").exists());
    }

    #[test]
    fn a_restore_repeated_after_a_crash_keeps_the_first_safety_snapshot() {
        let scene = Scene::new();
        let id = scene.disk();
        let file = scene.pool.disk(&id).join("rootfs/etc/state");
        fs::write(&file, "snapshotted").unwrap();
        scene.pool.create_snapshot(&id, "good").unwrap();
        fs::write(&file, "present").unwrap();
        scene.pool.restore(&id, "good", "safety").unwrap();
        scene.pool.restore(&id, "good", "safety").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "snapshotted");
        let kept = scene.pool.snapshot(&id, "safety").join("rootfs/etc/state");
        assert_eq!(fs::read_to_string(kept).unwrap(), "present");
    }

    #[test]
    fn a_restore_of_nothing_leaves_everything_as_it_was() {
        let scene = Scene::new();
        let id = scene.disk();
        let e = scene.pool.restore(&id, "nope", "safety").unwrap_err();
        assert!(matches!(e, Error::NotFound(_)));
        assert!(scene.pool.snapshots(&id).unwrap().is_empty());
        scene.pool.create_snapshot(&id, "one").unwrap();
        let nobody = ContainerId::generate();
        assert!(matches!(scene.pool.restore(&nobody, "one", "safety"), Err(Error::NotFound(_))));
        assert!(names(&scene.pool.root().join("tmp")).unwrap().is_empty());
    }

    #[test]
    fn snapshots_are_read_only_and_names_are_taken_once() {
        let scene = Scene::new();
        let id = scene.disk();
        scene.pool.create_snapshot(&id, "one").unwrap();
        assert!(fs::write(scene.pool.snapshot(&id, "one").join("rootfs/x"), "x").is_err());
        assert!(matches!(scene.pool.create_snapshot(&id, "one"), Err(Error::Exists(_))));
        assert!(matches!(scene.pool.create_snapshot(&ContainerId::generate(), "one"), Err(Error::NotFound(_))));
        scene.pool.delete_snapshot(&id, "one").unwrap();
        scene.pool.delete_snapshot(&id, "one").unwrap();
        assert!(scene.pool.snapshots(&id).unwrap().is_empty());
        assert!(scene.pool.disk(&id).join("rootfs").exists());
    }

    #[test]
    fn names_that_climb_are_refused_and_reach_nothing() {
        let scene = Scene::new();
        let id = scene.disk();
        for name in ["..", ".", "", "a/b", "../../containers", "-\0", ".hidden", &"x".repeat(129)] {
            assert!(scene.pool.create_snapshot(&id, name).is_err(), "{name:?}");
            assert!(scene.pool.restore(&id, name, "safety").is_err(), "{name:?}");
            assert!(scene.pool.restore(&id, "one", name).is_err(), "{name:?}");
            scene.pool.delete_snapshot(&id, name).unwrap();
        }
        assert!(scene.pool.disk(&id).join("rootfs").exists());
    }

    #[test]
    fn deleting_a_disk_takes_nested_subvolumes_and_all_snapshots_along() {
        let scene = Scene::new();
        let id = scene.disk();
        let machines = scene.pool.disk(&id).join("rootfs/var/machines");
        btrfs::create(&machines).unwrap();
        fs::create_dir(machines.join("deep")).unwrap();
        btrfs::create(&machines.join("deep/deeper")).unwrap();
        fs::write(machines.join("deep/deeper/file"), "x").unwrap();
        scene.pool.create_snapshot(&id, "one").unwrap();
        scene.pool.delete_disk(&id).unwrap();
        assert!(!scene.pool.disk(&id).exists() && !scene.pool.root().join("snapshots").join(id.as_str()).exists());
        scene.pool.delete_disk(&id).unwrap();
    }
}
