//! Images, and the templates that containers' disks are snapshots of.
//!
//! An image is a full root file system in a read-only subvolume; its `/usr` is the lower layer of
//! every container made from it. The template is a *snapshot of the image* in which the root lies
//! in `rootfs/`, with `usr` emptied, beside the layers of the `/usr` overlay:
//!
//! ```text
//! rootfs/         the container's /, without what /usr holds
//! ovl/upper/      what the container changes in /usr
//! ovl/work/       overlayfs's own
//! image           id of the image
//! image.json      its size and age
//! ino-pin         made last: every inode made later gets a number above all of the image's
//! ```
//!
//! Why a snapshot and why the pin: overlayfs takes the layers for one file system, so a file of
//! the upper layer must never get the inode number that another file has in the lower one, or
//! `cp` and `mv` take them for the same.
//!
//! An image is complete once its template exists; a crash before leaves only what
//! [`Pool::open`] removes.

use std::collections::HashSet;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hostile;
use super::pool::{Pool, Scratch, names, remove};
use crate::error::{Context, Error, Result};
use crate::sys::btrfs;

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
    /// What it is made of, as [`recipe`](super::build::recipe) names it; `None` for images of versions
    /// that did not write it down.
    pub recipe: Option<String>,
}

/// Where an image came from; nothing is known of those that versions without this made.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Origin {
    /// What it is made of, as [`recipe`](super::build::recipe) names it; none for a stranger's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// SHA-256 of the stream it came by in somebody's archive; none for an image of our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
}

/// `image.json` of a template.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    size: u64,
    created_at: i64,
    #[serde(flatten)]
    origin: Origin,
}

/// The tier of an image id, `TIER-YYYYMMDD-XXXXXXXX`; `None` for what is no image id.
pub fn tier_of(id: &str) -> Option<&str> {
    let (rest, random) = id.rsplit_once('-')?;
    let (tier, date) = rest.rsplit_once('-')?;
    let ok = random.len() == 8
        && random.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && date.len() == 8
        && date.bytes().all(|b| b.is_ascii_digit())
        && is_tier(tier);
    ok.then_some(tier)
}

/// Whether a string can name a tier: 1–40 lowercase letters, digits and dashes, not at the edges.
pub fn is_tier(tier: &str) -> bool {
    (1..=40).contains(&tier.len())
        && !tier.starts_with('-')
        && !tier.ends_with('-')
        && tier.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A new image's id.
pub(super) fn new_id(tier: &str) -> String {
    let date = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y%m%d").to_string();
    format!("{tier}-{date}-{:08x}", rand::random::<u32>())
}

impl Pool {
    /// The newest built image of a tier.
    ///
    /// # Errors
    /// When the pool cannot be read.
    pub fn image(&self, tier: &str) -> Result<Option<BuiltImage>> {
        let mut newest: Option<BuiltImage> = None;
        for id in names(&self.root.join("templates"))? {
            if tier_of(&id) != Some(tier) {
                continue;
            }
            let image = self.built(&id)?;
            if newest.as_ref().is_none_or(|n| (n.created_at, &n.id) < (image.created_at, &image.id)) {
                newest = Some(image);
            }
        }
        Ok(newest)
    }

    /// Facts about one complete image.
    pub(super) fn built(&self, id: &str) -> Result<BuiltImage> {
        let facts = self.facts(id)?;
        Ok(BuiltImage {
            id: id.to_owned(),
            tier: tier_of(id).unwrap_or_default().to_owned(),
            size: facts.size,
            created_at: facts.created_at,
            recipe: facts.origin.recipe,
        })
    }

    fn facts(&self, id: &str) -> Result<Facts> {
        let path = self.template(id)?.join("image.json");
        let text = fs::read_to_string(&path).at("read", &path)?;
        serde_json::from_str(&text)
            .map_err(|e| Error::Unsupported(format!("{} is not what Cowl wrote: {e}", path.display())))
    }

    /// The template of a complete image.
    pub(super) fn template(&self, id: &str) -> Result<PathBuf> {
        self.existing("templates", id)
    }

    /// The image's own subvolume.
    pub(super) fn image_path(&self, id: &str) -> Result<PathBuf> {
        self.existing("images", id)
    }

    fn existing(&self, room: &str, id: &str) -> Result<PathBuf> {
        let path = self.root.join(room).join(id);
        if tier_of(id).is_some() && btrfs::is_subvolume(&path).at("ask", &path)? {
            Ok(path)
        } else {
            Err(Error::NotFound(format!("image {id:?}")))
        }
    }

    /// Id of the image a disk or snapshot was made from.
    pub(super) fn image_of(&self, disk: &Path) -> Result<String> {
        // Outside `rootfs/`, so no container can change it.
        match fs::read_to_string(disk.join("image")) {
            Ok(id) => Ok(id.trim().to_owned()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::NotFound(format!("disk {}", disk.display())))
            }
            Err(e) => Err(e).at("read", &disk.join("image")),
        }
    }

    /// SHA-256 of the stream by which an image came in an archive.
    pub(super) fn stream_of(&self, id: &str) -> Result<Option<String>> {
        Ok(self.facts(id)?.origin.stream)
    }

    /// Makes an image of a writable subvolume in `tmp/` that holds a finished root file system.
    pub(super) fn adopt(&self, tree: Scratch, id: &str, created_at: i64, origin: Origin) -> Result<BuiltImage> {
        let image = self.root.join("images").join(id);
        // A subvolume nested in the image would be an empty stub in every snapshot.
        btrfs::delete_children(tree.path()).at("remove nested subvolumes of", tree.path())?;
        hostile::check(tree.path())?;
        let facts = Facts { size: bytes_of(tree.path())?, created_at, origin };
        fs::rename(tree.path(), &image).at("move the new image to", &image)?;
        tree.keep();
        let image = Scratch::new(image);
        btrfs::set_read_only(image.path()).at("make read-only", image.path())?;

        let template = Scratch::new(self.temporary("template"));
        btrfs::snapshot(image.path(), template.path()).at("snapshot", image.path())?;
        fill_template(image.path(), template.path(), id, &facts)?;
        rustix::fs::syncfs(File::open(&self.root).at("open", &self.root)?).at("sync", &self.root)?;
        let place = self.root.join("templates").join(id);
        fs::rename(template.path(), &place).at("move the new template to", &place)?;
        template.keep();
        image.keep();
        btrfs::set_read_only(&place).at("make read-only", &place)?;
        self.commit()?;
        self.built(id)
    }

    /// Removes what a crash in [`Pool::adopt`] left, and completes what it had all but finished.
    pub(super) fn sweep_images(&self) -> Result<()> {
        let templates = names(&self.root.join("templates"))?;
        for id in names(&self.root.join("images"))? {
            let path = self.root.join("images").join(&id);
            if !templates.contains(&id) {
                remove(&path)?;
            }
        }
        for id in templates {
            let path = self.root.join("templates").join(&id);
            if self.image_path(&id).is_err() {
                remove(&path)?;
            } else if !btrfs::is_read_only(&path).at("ask", &path)? {
                btrfs::set_read_only(&path).at("make read-only", &path)?;
            }
        }
        Ok(())
    }
}

fn fill_template(image: &Path, template: &Path, id: &str, facts: &Facts) -> Result<()> {
    let root = fs::metadata(image).at("ask", image)?;
    let rootfs = template.join("rootfs");
    let top = names(template)?;
    if !top.iter().any(|n| n == "usr") || top.iter().any(|n| n == "rootfs") {
        return Err(Error::Unsupported(format!("{} is not a root file system", image.display())));
    }
    make_dir(&rootfs, root.mode() & 0o7777)?;
    for name in top {
        fs::rename(template.join(&name), rootfs.join(&name)).at("move", &template.join(&name))?;
    }
    let usr = rootfs.join("usr");
    for name in names(&usr)? {
        remove(&usr.join(name))?;
    }
    let meta = fs::metadata(image.join("usr")).at("ask", &image.join("usr"))?;
    let upper = template.join("ovl/upper");
    make_dir(&template.join("ovl"), 0o755)?;
    make_dir(&upper, meta.mode() & 0o7777)?;
    make_dir(&template.join("ovl/work"), 0o755)?;
    chown(&upper, Some(meta.uid()), Some(meta.gid())).at("chown", &upper)?;
    fs::write(template.join("image"), format!("{id}\n")).at("write", &template.join("image"))?;
    let text = serde_json::to_string(facts).map_err(|e| Error::Unsupported(e.to_string()))?;
    fs::write(template.join("image.json"), text).at("write", &template.join("image.json"))?;
    // systemd compares the age of /usr with that of /etc and /var: a younger /usr makes it rebuild
    // caches at every first boot.
    let times = FileTimes::new()
        .set_accessed(meta.accessed().at("ask", image)?)
        .set_modified(meta.modified().at("ask", image)?);
    for dir in [&usr, &upper] {
        File::open(dir).and_then(|f| f.set_times(times)).at("set the times of", dir)?;
    }
    File::create(template.join("ino-pin")).at("create", &template.join("ino-pin"))?;
    Ok(())
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path).at("create", path)?;
    // Apart from the creation, which the umask would narrow.
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).at("chmod", path)
}

/// Bytes of all regular files of a tree; a file with several links counts once.
fn bytes_of(tree: &Path) -> Result<u64> {
    let mut seen = HashSet::new();
    let mut total = 0;
    let mut dirs = vec![tree.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).at("list", &dir)? {
            let entry = entry.at("list", &dir)?;
            let meta = entry.metadata().at("ask", &entry.path())?;
            if meta.is_dir() {
                dirs.push(entry.path());
            } else if meta.is_file() && (meta.nlink() == 1 || seen.insert(meta.ino())) {
                total = u64::saturating_add(total, meta.len());
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::Scene;

    #[test]
    fn an_image_id_tells_its_tier_and_nothing_else_is_one() {
        assert_eq!(tier_of("debian-13-20261123-1a2b3c4d"), Some("debian-13"));
        for bad in [
            "debian-13",
            "debian-13-2026-1a2b3c4d",
            "../-20261123-1a2b3c4d",
            "x-20261123-1A2B3C4D",
            "-20261123-1a2b3c4d",
        ] {
            assert_eq!(tier_of(bad), None, "{bad}");
        }
        assert_eq!(tier_of(&new_id("debian-13")), Some("debian-13"));
    }

    #[test]
    fn a_template_is_a_read_only_snapshot_with_an_emptied_usr_of_the_same_age() {
        let scene = Scene::new();
        let image = scene.pool.root().join("images").join(scene.image());
        let template = scene.pool.root().join("templates").join(scene.image());
        assert!(btrfs::is_read_only(&image).unwrap() && btrfs::is_read_only(&template).unwrap());
        assert_eq!(btrfs::info(&template).unwrap().parent_uuid, btrfs::info(&image).unwrap().uuid);
        assert!(names(&template.join("rootfs/usr")).unwrap().is_empty());
        assert!(template.join("rootfs/etc/passwd").exists());
        let age = fs::metadata(image.join("usr")).unwrap().mtime();
        for dir in ["rootfs/usr", "ovl/upper"] {
            assert_eq!(fs::metadata(template.join(dir)).unwrap().mtime(), age, "{dir}");
        }
    }

    #[test]
    fn every_file_made_in_a_disk_has_an_inode_above_all_of_the_image() {
        let scene = Scene::new();
        let image = scene.pool.root().join("images").join(scene.image());
        let mut highest = 0;
        let mut dirs = vec![image];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap().map(|e| e.unwrap()) {
                highest = highest.max(entry.metadata().unwrap().ino());
                if entry.file_type().unwrap().is_dir() {
                    dirs.push(entry.path());
                }
            }
        }
        let disk = scene.pool.disk(&scene.disk());
        fs::write(disk.join("ovl/upper/new"), "x").unwrap();
        assert!(fs::metadata(disk.join("ovl/upper/new")).unwrap().ino() > highest);
    }

    #[test]
    fn opening_again_removes_half_made_things_and_keeps_whole_ones() {
        let scene = Scene::new();
        let id = scene.disk();
        let root = scene.pool.root().to_path_buf();
        let image = scene.image();
        btrfs::create(&root.join("images/debian-13-20260101-0badf00d")).unwrap();
        btrfs::create(&root.join("tmp/build-1")).unwrap();
        fs::create_dir(root.join("tmp/build-1/dir")).unwrap();
        btrfs::set_read_only(&root.join("tmp/build-1")).unwrap();
        fs::create_dir(root.join("tmp/plain")).unwrap();
        btrfs::set_writable(&root.join("templates").join(&image)).unwrap();

        let scene = scene.reopen();
        assert_eq!(names(&root.join("images")).unwrap().join(" "), image);
        assert!(names(&root.join("tmp")).unwrap().is_empty());
        assert!(btrfs::is_read_only(&root.join("templates").join(&image)).unwrap());
        assert_eq!(scene.pool.image("tiny").unwrap().unwrap().id, image);
        assert_eq!(scene.pool.image("debian-13").unwrap(), None);
        assert!(scene.pool.disk(&id).join("rootfs").exists());
    }
}
