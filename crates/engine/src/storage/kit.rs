//! The kit's executable: one copy in the pool for all containers.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::pool::{Pool, Scratch, remove};
use crate::error::{Context, Result};
use crate::sys::btrfs;

impl Pool {
    /// Copies the kit's executable into a read-only subvolume named by its hash; returns that
    /// directory. Idempotent.
    ///
    /// # Errors
    /// When it cannot be read or the pool is full.
    pub fn install_kit(&self, kit_exe: &Path) -> Result<PathBuf> {
        let mut bytes = Vec::new();
        File::open(kit_exe).and_then(|mut f| f.read_to_end(&mut bytes)).at("read", kit_exe)?;
        let hash: String = Sha256::digest(&bytes)[..8].iter().map(|b| format!("{b:02x}")).collect();
        let place = self.root.join("kit").join(hash);
        if btrfs::is_subvolume(&place).at("ask", &place)? {
            if btrfs::is_read_only(&place).at("ask", &place)? {
                return Ok(place);
            }
            // A crash came between the rename and the closing: whether all of it was written is
            // not known.
            remove(&place)?;
        }
        let new = Scratch::new(self.temporary("kit"));
        btrfs::create(new.path()).at("create subvolume", new.path())?;
        let exe = new.path().join("cowl-kit");
        let write = || -> std::io::Result<()> {
            fs::set_permissions(new.path(), Permissions::from_mode(0o755))?;
            let mut file = File::create_new(&exe)?;
            file.write_all(&bytes)?;
            file.set_permissions(Permissions::from_mode(0o555))?;
            file.sync_all()
        };
        write().at("write", &exe)?;
        fs::rename(new.path(), &place).at("rename to", &place)?;
        new.keep();
        btrfs::set_read_only(&place).at("make read-only", &place)?;
        self.commit()?;
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::storage::pool::names;
    use crate::storage::testing::Scene;

    #[test]
    fn the_kit_is_installed_once_per_content_and_cannot_be_written() {
        let scene = Scene::new();
        let exe = scene.dir().join("kit");
        fs::write(&exe, "version one").unwrap();
        let first = scene.pool.install_kit(&exe).unwrap();
        assert_eq!(scene.pool.install_kit(&exe).unwrap(), first);
        fs::write(&exe, "version two").unwrap();
        assert_ne!(scene.pool.install_kit(&exe).unwrap(), first);
        assert_eq!(fs::read(first.join("cowl-kit")).unwrap(), b"version one");
        assert!(fs::write(first.join("cowl-kit"), "evil").is_err());
        assert_eq!(fs::metadata(first.join("cowl-kit")).unwrap().permissions().mode() & 0o777, 0o555);
    }

    #[test]
    fn a_full_pool_fails_cleanly_and_recovers_when_something_is_deleted() {
        let scene = Scene::of_size(256 << 20);
        scene.plant();
        let (id, exe) = (scene.disk(), scene.dir().join("kit"));
        // Noise, for zeroes would compress to nothing.
        let noise: Vec<u8> = (0..4 << 20).map(|_| rand::random()).collect();
        fs::write(&exe, &noise).unwrap();
        let mut hog = File::create(scene.pool.disk(&id).join("rootfs/hog")).unwrap();
        while hog.write_all(&noise).and_then(|()| hog.sync_data()).is_ok() {}
        drop(hog);
        let e = scene.pool.install_kit(&exe).unwrap_err();
        assert!(matches!(e, Error::Full(_)), "{e}");
        assert!(names(&scene.pool.root().join("kit")).unwrap().is_empty());
        assert!(names(&scene.pool.root().join("tmp")).unwrap().is_empty());
        scene.pool.delete_disk(&id).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        // The kernel frees in the background.
        while scene.pool.install_kit(&exe).is_err() {
            assert!(std::time::Instant::now() < deadline, "space did not come back");
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
}
