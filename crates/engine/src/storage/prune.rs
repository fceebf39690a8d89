//! Images and kits that nobody needs any more.
//!
//! What is needed is read from the pool itself and from the shims, never from the database alone:
//!
//! | thing | needed by |
//! |---|---|
//! | image with its template | new containers, if it is the newest of its tier; every disk, snapshot or half-made copy whose `image` file names it; a shim whose `/usr` it is; whatever the caller keeps |
//! | kit | a shim that starts it; whatever the caller keeps |
//!
//! In doubt nothing goes: a subvolume that does not tell its image, an unreadable `spec.json` or a
//! build under way refuse the whole of it. An image goes template first, so a crash in between
//! leaves what the next [`Pool::open`] removes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::image::tier_of;
use super::pool::{Pool, names, remove};
use crate::error::{Context, Error, Result};
use crate::fault;
use crate::launch::{Root, ShimSpec};
use crate::sys::btrfs;
use cowl_api::ContainerId;

/// Rooms of the pool that hold what is pruned; everything in any other refers to it.
const PRUNED: [&str; 3] = ["images", "templates", "kit"];
/// Levels of plain directories below the pool's root in which subvolumes lie.
const DEPTH: usize = 4;
/// Longest `image` file that is one, in bytes.
const IMAGE_FILE_MAX: u64 = 256;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Look at images, too: all but these ids and the newest of each tier.
    pub images_but: Option<BTreeSet<String>>,
    /// Only tell what would go.
    pub dry_run: bool,
}

/// Something that nobody needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unneeded {
    /// An image with its template, or a kit.
    pub kind: UnneededKind,
    /// Id of the image, or hash of the kit.
    pub id: String,
    /// Bytes of its files: what is freed at most, for a pool that compresses holds them in fewer.
    pub bytes: u64,
}

/// What kind of thing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum UnneededKind {
    Image,
    Kit,
}

/// What shims refer to.
#[derive(Debug, Default)]
struct Shims {
    images: BTreeSet<String>,
    kits: BTreeSet<String>,
}

fn doubt(why: impl Into<String>) -> Error {
    Error::InDoubt(why.into())
}

impl Pool {
    /// Removes, or only tells, what nobody needs: kits other than `kit_dir`, and images when asked
    /// for. Nothing may make a disk meanwhile.
    ///
    /// # Errors
    /// [`Error::InDoubt`] when it cannot be told what is needed; then nothing was removed.
    pub fn prune(&self, run_dir: &Path, kit_dir: &Path, order: &Order) -> Result<Vec<Unneeded>> {
        let shims = shims(run_dir, &self.root)?;
        let mut found = self.unneeded_kits(kit_dir, &shims)?;
        if let Some(keep) = &order.images_but {
            found.extend(self.unneeded_images(keep, &shims)?);
        }
        if order.dry_run {
            return Ok(found);
        }
        for thing in &found {
            match thing.kind {
                UnneededKind::Kit => {
                    fault::step("prune a kit");
                    remove(&self.root.join("kit").join(&thing.id))?;
                }
                UnneededKind::Image => {
                    fault::step("prune a template");
                    remove(&self.root.join("templates").join(&thing.id))?;
                    fault::step("prune an image");
                    remove(&self.root.join("images").join(&thing.id))?;
                }
            }
        }
        if !found.is_empty() {
            fault::step("commit what was pruned");
            self.commit()?;
        }
        Ok(found)
    }

    fn unneeded_kits(&self, kit_dir: &Path, shims: &Shims) -> Result<Vec<Unneeded>> {
        let room = self.root.join("kit");
        let mut out = Vec::new();
        for id in names(&room)? {
            let path = room.join(&id);
            let is_kit = id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
            if path == kit_dir || shims.kits.contains(&id) || !is_kit {
                continue;
            }
            // A crash between rename and close leaves one that is only half a kit; it has a size all the
            // same, or none.
            let bytes = fs::metadata(path.join("cowl-kit")).map_or(0, |meta| meta.len());
            out.push(Unneeded { kind: UnneededKind::Kit, id, bytes });
        }
        Ok(out)
    }

    fn unneeded_images(&self, keep: &BTreeSet<String>, shims: &Shims) -> Result<Vec<Unneeded>> {
        let needed = self.referred_images()?;
        let mut out = Vec::new();
        // One without a template is being made.
        for id in names(&self.root.join("templates"))? {
            if tier_of(&id).is_none() || keep.contains(&id) || needed.contains(&id) || shims.images.contains(&id) {
                continue;
            }
            let built = self.built(&id)?;
            // What new containers are made from.
            if self.image(&built.tier)?.is_none_or(|newest| newest.id == id) {
                continue;
            }
            let bytes = built.size;
            out.push(Unneeded { kind: UnneededKind::Image, id, bytes });
        }
        Ok(out)
    }

    /// Ids of all images that something in the pool was made from.
    fn referred_images(&self) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        // Twice: what moves from one room to another while it is looked for is seen the second time.
        for _ in 0..2 {
            for entry in fs::read_dir(&self.root).at("list", &self.root)? {
                let entry = entry.at("list", &self.root)?;
                if !PRUNED.iter().any(|room| entry.file_name() == *room) {
                    referred_below(&entry.path(), DEPTH, &mut found)?;
                }
            }
        }
        Ok(found)
    }
}

/// Adds the images that `path`, or any subvolume below it, was made from. A subvolume is not
/// entered: what is in it belongs to a container.
fn referred_below(path: &Path, depth: usize, found: &mut BTreeSet<String>) -> Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(meta) => meta.file_type(),
        // Deleted since it was listed: it refers to nothing any more.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).at("ask", path),
    };
    if !kind.is_dir() {
        return Ok(());
    }
    if btrfs::is_subvolume(path).at("ask", path)? {
        found.extend(named_image(path)?);
        return Ok(());
    }
    let Some(depth) = depth.checked_sub(1) else {
        return Err(doubt(format!("{} lies too deep in the pool to be looked at", path.display())));
    };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).at("list", path),
    };
    for entry in entries {
        referred_below(&entry.at("list", path)?.path(), depth, found)?;
    }
    Ok(())
}

/// The image a subvolume names; `None` when it has gone meanwhile.
fn named_image(subvolume: &Path) -> Result<Option<String>> {
    let path = subvolume.join("image");
    let meta = match fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if !subvolume.exists() {
                return Ok(None);
            }
            return Err(doubt(format!(
                "{} does not tell its image: it may be half made; try again when no build, import or copy is under way",
                subvolume.display()
            )));
        }
        Err(e) => return Err(e).at("ask", &path),
    };
    let text = if meta.is_file() && meta.len() <= IMAGE_FILE_MAX {
        fs::read_to_string(&path).at("read", &path)?
    } else {
        String::new()
    };
    let id = text.trim();
    if tier_of(id).is_none() {
        return Err(doubt(format!("{} does not name an image", path.display())));
    }
    Ok(Some(id.to_owned()))
}

/// What the shims below a run directory were started with, also of those that have died since.
fn shims(run_dir: &Path, pool: &Path) -> Result<Shims> {
    let mut shims = Shims::default();
    for name in names(run_dir)? {
        if name.parse::<ContainerId>().is_err() {
            continue;
        }
        let path = run_dir.join(&name).join("spec.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // Its directory goes, or comes, without a shim.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !run_dir.join(&name).join("shim.sock").exists() => {
                continue;
            }
            Err(e) => return Err(e).at("read", &path),
        };
        let spec: ShimSpec = serde_json::from_str(&text)
            .map_err(|e| doubt(format!("{} is not what this version writes: {e}", path.display())))?;
        let image = |usr: &PathBuf| entry_of(&pool.join("images"), usr);
        shims.images.extend(image(&spec.container.lower_usr));
        match &spec.root {
            Root::Disk { lower_usr, .. } => shims.images.extend(image(lower_usr)),
            Root::Plain { .. } => {}
        }
        shims.kits.extend(spec.container.kit_dir.iter().filter_map(|kit| entry_of(&pool.join("kit"), kit)));
    }
    Ok(shims)
}

/// Which entry of `room` a path is, or lies in.
fn entry_of(room: &Path, path: &Path) -> Option<String> {
    Some(path.strip_prefix(room).ok()?.components().next()?.as_os_str().to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::ContainerSpec;
    use crate::storage::testing::Scene;

    struct World {
        scene: Scene,
        kit: PathBuf,
        old: String,
        new: String,
    }

    impl World {
        /// A pool with two images of one tier and two kits, of which the later ones are in use.
        fn new() -> Self {
            let scene = Scene::new();
            scene.plant();
            let all = names(&scene.pool.root().join("images")).unwrap();
            // Both are of the same second: which of them is the newer one is the pool's word.
            let new = scene.image();
            let old = all.into_iter().find(|id| *id != new).unwrap();
            let exe = scene.dir().join("kit");
            fs::write(&exe, "version one").unwrap();
            scene.pool.install_kit(&exe).unwrap();
            fs::write(&exe, "version two").unwrap();
            let kit = scene.pool.install_kit(&exe).unwrap();
            Self { scene, kit, old, new }
        }

        fn order(&self, dry_run: bool) -> Order {
            Order { images_but: Some(BTreeSet::new()), dry_run }
        }

        fn prune(&self) -> Result<Vec<(UnneededKind, String)>> {
            let found = self.scene.pool.prune(&self.scene.dir().join("run"), &self.kit, &self.order(false))?;
            Ok(found.into_iter().map(|thing| (thing.kind, thing.id)).collect())
        }

        fn images(&self) -> Vec<String> {
            let root = self.scene.pool.root();
            assert_eq!(names(&root.join("images")).unwrap(), names(&root.join("templates")).unwrap());
            names(&root.join("images")).unwrap()
        }

        fn kits(&self) -> usize {
            names(&self.scene.pool.root().join("kit")).unwrap().len()
        }

        /// Prunes kits, so that only images are left to be told of.
        fn without_old_kit(self) -> Self {
            self.scene.pool.prune(&self.scene.dir().join("run"), &self.kit, &Order::default()).unwrap();
            self
        }

        fn shim(&self, id: &ContainerId, usr: &Path, kit: &Path) -> PathBuf {
            let dir = self.scene.dir().join("run").join(id.as_str());
            fs::create_dir_all(&dir).unwrap();
            let (disk, lower_usr) = (PathBuf::from("/gone"), usr.to_owned());
            let spec = ShimSpec {
                container: ContainerSpec {
                    id: *id,
                    hostname: "x".into(),
                    disk: disk.clone(),
                    lower_usr: lower_usr.clone(),
                    address: [10, 201, 0, 5].into(),
                    address6: None,
                    kit_dir: Some(kit.to_owned()),
                    env: Default::default(),
                    kit_env: Default::default(),
                    settings: Default::default(),
                    ramdisk: None,
                },
                root: Root::Disk { disk, lower_usr },
                run_dir: self.scene.dir().join("run"),
                tag: "t".into(),
                id_base: 1,
            };
            fs::write(dir.join("spec.json"), serde_json::to_string(&spec).unwrap()).unwrap();
            dir
        }
    }

    #[test]
    fn what_nobody_needs_is_told_first_and_then_goes() {
        let w = World::new();
        let run = w.scene.dir().join("run");
        let told = w.scene.pool.prune(&run, &w.kit, &w.order(true)).unwrap();
        assert_eq!((w.images().len(), w.kits()), (2, 2), "a dry run removes nothing");
        assert_eq!(w.scene.pool.prune(&run, &w.kit, &w.order(false)).unwrap(), told);
        let kinds: Vec<_> = told.iter().map(|thing| (thing.kind, thing.bytes > 0)).collect();
        assert_eq!(kinds, [(UnneededKind::Kit, true), (UnneededKind::Image, true)]);
        assert_eq!(told[1].id, w.old);
        assert_eq!((w.images(), w.kits()), (vec![w.new.clone()], 1));
        assert!(w.kit.join("cowl-kit").exists());
        assert!(w.prune().unwrap().is_empty(), "what is in use stays");
    }

    #[test]
    fn what_the_caller_keeps_stays() {
        let w = World::new().without_old_kit();
        let order = Order { images_but: Some([w.old.clone()].into()), dry_run: false };
        assert!(w.scene.pool.prune(&w.scene.dir().join("run"), &w.kit, &order).unwrap().is_empty());
        assert_eq!(w.images().len(), 2);
    }

    #[test]
    fn kits_alone_are_pruned_without_a_look_at_images() {
        let w = World::new();
        // Even where images are in doubt.
        btrfs::create(&w.scene.pool.root().join("tmp/build-1")).unwrap();
        let gone = w.scene.pool.prune(&w.scene.dir().join("run"), &w.kit, &Order::default()).unwrap();
        assert_eq!(gone.len(), 1);
        assert_eq!((w.images().len(), w.kits()), (2, 1));
    }

    #[test]
    fn a_disk_a_snapshot_and_a_half_made_copy_each_keep_their_image() {
        let w = World::new().without_old_kit();
        let (pool, id) = (&w.scene.pool, ContainerId::generate());
        pool.create_disk(&id, &w.old).unwrap();
        assert!(w.prune().unwrap().is_empty());
        pool.create_snapshot(&id, "one").unwrap();
        // The disk alone goes, as in a restore to another image's snapshot.
        remove(&pool.disk(&id)).unwrap();
        assert!(w.prune().unwrap().is_empty());
        let half = pool.root().join("tmp/restore-1");
        btrfs::snapshot(&pool.snapshot(&id, "one"), &half).unwrap();
        pool.delete_snapshot(&id, "one").unwrap();
        assert!(w.prune().unwrap().is_empty());
        // Neither do rooms that this version does not know.
        let kept = pool.root().join("trash").join(id.as_str()).join("disk");
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::rename(&half, &kept).unwrap();
        assert!(w.prune().unwrap().is_empty());
        assert_eq!(w.images().len(), 2);
        remove(&kept).unwrap();
        assert_eq!(w.prune().unwrap(), [(UnneededKind::Image, w.old.clone())]);
    }

    #[test]
    fn a_shim_keeps_its_image_and_its_kit() {
        let w = World::new();
        let root = w.scene.pool.root();
        let kits = names(&root.join("kit")).unwrap();
        let old_kit = root.join("kit").join(kits.iter().find(|k| root.join("kit").join(k) != w.kit).unwrap());
        let dir = w.shim(&ContainerId::generate(), &root.join("images").join(&w.old).join("usr"), &old_kit);
        assert!(w.prune().unwrap().is_empty());
        fs::write(dir.join("spec.json"), "{\"of\": \"another version\"}").unwrap();
        assert!(matches!(w.prune(), Err(Error::InDoubt(_))));
        fs::remove_file(dir.join("spec.json")).unwrap();
        fs::write(dir.join("shim.sock"), "").unwrap();
        assert!(w.prune().is_err(), "a shim that does not tell what it has");
        assert_eq!((w.images().len(), w.kits()), (2, 2));
        fs::remove_file(dir.join("shim.sock")).unwrap();
        assert_eq!(w.prune().unwrap().len(), 2);
    }

    #[test]
    fn in_doubt_nothing_goes() {
        let w = World::new();
        let (pool, id) = (&w.scene.pool, w.scene.disk());
        let refused = |what: &str| {
            let e = w.prune().unwrap_err();
            assert!(matches!(e, Error::InDoubt(_)), "{what}: {e}");
            assert_eq!((w.images().len(), w.kits()), (2, 2), "{what}");
        };
        // A build, an import: subvolumes that do not tell what they are.
        let half = pool.root().join("tmp/import-1/tree");
        fs::create_dir(half.parent().unwrap()).unwrap();
        btrfs::create(&half).unwrap();
        refused("an import under way");
        remove(&half).unwrap();
        let file = pool.disk(&id).join("image");
        for (what, text) in [("an empty file", ""), ("a path", "../../etc"), ("a long one", &"x".repeat(300))] {
            fs::write(&file, text).unwrap();
            refused(what);
        }
        fs::remove_file(&file).unwrap();
        refused("none at all");
        std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
        refused("a link");
    }

    #[test]
    fn an_image_that_lost_its_template_to_a_crash_goes_when_the_pool_is_opened() {
        let w = World::new();
        remove(&w.scene.pool.root().join("templates").join(&w.old)).unwrap();
        let World { scene, new, .. } = w;
        let scene = scene.reopen();
        assert_eq!(names(&scene.pool.root().join("images")).unwrap(), [new]);
    }

    #[test]
    fn an_image_in_the_making_is_left_alone() {
        let w = World::new().without_old_kit();
        let making = w.scene.pool.root().join("images/tiny-20260101-0badf00d");
        btrfs::create(&making).unwrap();
        assert_eq!(w.prune().unwrap(), [(UnneededKind::Image, w.old.clone())]);
        assert!(making.exists());
    }
}
