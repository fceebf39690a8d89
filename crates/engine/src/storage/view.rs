//! Looking into a disk or snapshot that does not run: the merged tree a person would see, read-only.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::FileType;

use super::owners::Owners;
use super::pool::Pool;
use super::tree::{Node, Tree};
use crate::error::{Error, Result};
use cowl_api::files::{Entry, Listing, PathType, Stat};

/// Entries of a directory that are listed at most; one with more is refused.
pub const LISTING_LIMIT: usize = 100_000;

impl Pool {
    /// Lists a directory of a disk or snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`]; nothing outside the tree can be named. [`Error::Unsupported`] for a
    /// directory of more than [`LISTING_LIMIT`] entries.
    pub fn list(&self, subvolume: &Path, path: &str) -> Result<Listing> {
        let mut tree = self.tree(subvolume)?;
        let dir = walk(&mut tree, path, true)?;
        let owners = Owners::of(&mut tree);
        let found = tree.entries(&dir, LISTING_LIMIT).map_err(|e| explain(e, path))?;
        let mut paths: Vec<Entry> =
            found.into_iter().map(|(name, stat)| entry(&mut tree, &owners, &dir, &name, &stat)).collect();
        paths.sort_by(|a, b| (!is_dir(a.path_type), &a.name).cmp(&(!is_dir(b.path_type), &b.name)));
        Ok(Listing {
            kind: "Index".into(),
            href: absolute(path, &dir),
            paths,
            allow_upload: false,
            allow_delete: false,
            allow_search: false,
            allow_archive: false,
            dir_exists: true,
        })
    }

    /// Facts about one path of a disk or snapshot; of a link at its end, the link's own.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn stat(&self, subvolume: &Path, path: &str) -> Result<Stat> {
        let mut tree = self.tree(subvolume)?;
        let node = walk(&mut tree, path, false)?;
        let owners = Owners::of(&mut tree);
        let is_symlink = node.kind() == FileType::Symlink;
        let leads_to = if is_symlink { walk(&mut tree, path, true).ok().map(|n| n.kind()) } else { None };
        let path = absolute(path, &node);
        Ok(Stat {
            name: path.rsplit('/').next().unwrap_or_default().to_owned(),
            path_type: path_type(node.kind(), leads_to),
            size: size(&node.stat),
            permissions: permissions(&node.stat),
            owner: owners.user(node.stat.st_uid),
            group: owners.group(node.stat.st_gid),
            mtime: mtime(&node.stat),
            revisions: None,
            is_symlink,
            symlink_target: if is_symlink {
                node.target().ok().map(|t| t.to_string_lossy().into_owned())
            } else {
                None
            },
            path,
        })
    }

    /// Opens a regular file of a disk or snapshot for reading.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for what is not a regular file.
    pub fn open_file(&self, subvolume: &Path, path: &str) -> Result<File> {
        let mut tree = self.tree(subvolume)?;
        walk(&mut tree, path, true)?.open().map_err(|e| explain(e, path))
    }

    pub(super) fn tree(&self, subvolume: &Path) -> Result<Tree> {
        let lower = self.lower_usr(subvolume)?;
        Tree::new(subvolume, &lower)
            .map_err(|source| Error::Sys { what: format!("look into {}", subvolume.display()), source })
    }
}

fn walk(tree: &mut Tree, path: &str, follow_last: bool) -> Result<Node> {
    tree.walk(OsStr::new(path), follow_last).map_err(|e| explain(e, path))
}

pub(super) fn explain(error: io::Error, path: &str) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EINVAL | libc::ENAMETOOLONG | libc::EXDEV) => {
            Error::NotFound(path.to_owned())
        }
        Some(libc::EFBIG) => Error::Unsupported(format!("{path} has more than {LISTING_LIMIT} entries")),
        _ => Error::Sys { what: format!("read {path}"), source: error },
    }
}

/// The path as asked for, tidied; where it climbs, the real one.
fn absolute(path: &str, node: &Node) -> String {
    let parts: Vec<_> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if parts.contains(&"..") { node.path() } else { format!("/{}", parts.join("/")) }
}

fn entry(tree: &mut Tree, owners: &Owners, dir: &Node, name: &OsStr, stat: &rustix::fs::Stat) -> Entry {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let is_link = kind == FileType::Symlink;
    let target = if is_link { tree.follow(dir, name).ok() } else { None };
    Entry {
        name: name.to_string_lossy().into_owned(),
        path_type: path_type(kind, target.as_ref().map(Node::kind)),
        size: size(target.as_ref().map_or(stat, |t| &t.stat)),
        mtime: mtime(stat),
        revisions: None,
        permissions: Some(permissions(stat)),
        owner: Some(owners.user(stat.st_uid)),
        group: Some(owners.group(stat.st_gid)),
        symlink_target: if is_link { tree.link_target(dir, name).ok() } else { None },
    }
}

fn path_type(kind: FileType, leads_to: Option<FileType>) -> PathType {
    match (kind, leads_to) {
        (FileType::Directory, _) => PathType::Dir,
        (FileType::Symlink, Some(FileType::Directory)) => PathType::SymlinkDir,
        (FileType::Symlink, _) => PathType::SymlinkFile,
        _ => PathType::File,
    }
}

fn is_dir(kind: PathType) -> bool {
    matches!(kind, PathType::Dir | PathType::SymlinkDir)
}

/// Directories count nothing.
fn size(stat: &rustix::fs::Stat) -> u64 {
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        0
    } else {
        u64::try_from(stat.st_size).unwrap_or(0)
    }
}

fn permissions(stat: &rustix::fs::Stat) -> String {
    format!("{:03o}", stat.st_mode & 0o7777)
}

fn mtime(stat: &rustix::fs::Stat) -> i64 {
    #[allow(clippy::unnecessary_cast)] // The types differ between architectures.
    let (seconds, nanoseconds) = (stat.st_mtime as i64, stat.st_mtime_nsec as i64);
    seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;
    use crate::storage::testing::{Scene, in_merged_usr};

    struct Disk {
        scene: Scene,
        disk: PathBuf,
    }

    impl Disk {
        fn new() -> Self {
            let scene = Scene::new();
            let disk = scene.pool.disk(&scene.disk());
            Self { scene, disk }
        }

        fn root(&self, path: &str) -> PathBuf {
            self.disk.join("rootfs").join(path)
        }

        fn text(&self, path: &str) -> Result<String> {
            let mut text = String::new();
            self.scene.pool.open_file(&self.disk, path)?.read_to_string(&mut text).unwrap();
            Ok(text)
        }

        fn names(&self, path: &str) -> Vec<String> {
            self.scene.pool.list(&self.disk, path).unwrap().paths.into_iter().map(|e| e.name).collect()
        }

        fn absent(&self, path: &str) -> bool {
            matches!(self.text(path), Err(Error::NotFound(_)))
        }

        /// Does in the disk's merged `/usr` what a running container would.
        fn change_usr(&self, script: &str) {
            in_merged_usr(&self.scene.pool, &self.disk, script);
        }
    }

    #[test]
    fn the_merged_tree_shows_the_image_and_what_was_changed() {
        let d = Disk::new();
        assert_eq!(d.text("/usr/bin/hello").unwrap(), "#!/bin/sh\necho hello\n");
        assert_eq!(d.text("/bin/hello").unwrap(), "#!/bin/sh\necho hello\n");
        assert_eq!(d.text("etc/os-release").unwrap(), "ID=tiny\n");
        d.change_usr(
            "echo new > bin/added; rm share/doc/README; mv share/doc share/docs; echo changed > lib/os-release",
        );
        assert_eq!(d.names("/usr/bin"), ["added", "hello"]);
        assert_eq!(d.names("/usr/share"), ["docs"]);
        assert!(d.names("/usr/share/docs").is_empty() && d.absent("/usr/share/doc/README"));
        assert_eq!(d.text("/etc/os-release").unwrap(), "changed\n");
    }

    #[test]
    fn files_of_both_layers_are_never_taken_for_the_same_after_an_import() {
        let here = Scene::new();
        let file = here.dir().join("image.bin");
        here.pool.export_image(&here.image(), &file).unwrap();
        let there = Scene::empty();
        there.pool.import_image(&file).unwrap();
        let disk = there.pool.disk(&there.disk());
        let d = Disk { scene: there, disk };
        // `cp` and `mv` refuse what has one device and inode number.
        d.change_usr(
            "for i in 1 2 3 4 5 6 7 8 9; do echo $i > bin/n$i; cp bin/hello bin/n$i; cp bin/n$i lib/os-release; mv bin/n$i share/doc/README; done; \
             find . -type f -printf '%D:%i\\n' | sort | uniq -d | wc -l | grep -qx 0",
        );
        assert_eq!(d.text("/usr/share/doc/README").unwrap(), "#!/bin/sh\necho hello\n");
    }

    #[test]
    fn a_listing_has_directories_first_owners_by_name_and_links_by_what_they_lead_to() {
        let d = Disk::new();
        fs::write(d.root("home/user/b"), "12345").unwrap();
        fs::create_dir(d.root("home/user/z")).unwrap();
        symlink("/usr", d.root("home/user/to-usr")).unwrap();
        symlink("nowhere", d.root("home/user/dangling")).unwrap();
        std::os::unix::fs::chown(d.root("home/user/b"), Some(1000), Some(4)).unwrap();
        std::os::unix::fs::chown(d.root("home/user/z"), Some(4711), Some(0)).unwrap();
        let listing = d.scene.pool.list(&d.disk, "//home/./user/").unwrap();
        assert_eq!(listing.href, "/home/user");
        let kinds: Vec<_> = listing.paths.iter().map(|e| (e.name.as_str(), e.path_type)).collect();
        use PathType::{Dir, File, SymlinkDir, SymlinkFile};
        assert_eq!(kinds, [("to-usr", SymlinkDir), ("z", Dir), ("b", File), ("dangling", SymlinkFile)]);
        let b = &listing.paths[2];
        assert_eq!((b.owner.as_deref(), b.group.as_deref(), b.size), (Some("user"), Some("adm"), 5));
        assert_eq!(listing.paths[1].owner.as_deref(), Some("4711"));
        assert_eq!(listing.paths[0].symlink_target.as_deref(), Some("/usr"));
        assert!(!listing.allow_upload && !listing.allow_delete);
        assert!(d.names("/").contains(&"usr".to_owned()));
    }

    #[test]
    fn a_stat_tells_of_the_link_itself() {
        let d = Disk::new();
        let stat = d.scene.pool.stat(&d.disk, "/bin").unwrap();
        assert!(stat.is_symlink && stat.path_type == PathType::SymlinkDir);
        assert_eq!((stat.symlink_target.as_deref(), stat.name.as_str()), (Some("usr/bin"), "bin"));
        let stat = d.scene.pool.stat(&d.disk, "/usr/bin/hello").unwrap();
        assert_eq!((stat.permissions.as_str(), stat.owner.as_str(), stat.size), ("4755", "root", 21));
        let root = d.scene.pool.stat(&d.disk, "/").unwrap();
        assert_eq!((root.path.as_str(), root.path_type), ("/", PathType::Dir));
    }

    #[test]
    fn no_path_and_no_link_leads_out_of_the_tree() {
        let d = Disk::new();
        let secret = d.scene.dir().join("secret");
        fs::write(&secret, "host").unwrap();
        let outside = secret.to_str().unwrap();
        symlink(outside, d.root("etc/absolute")).unwrap();
        symlink(format!("../../../../../../../../..{outside}"), d.root("etc/climbing")).unwrap();
        symlink("/proc/self/root", d.root("etc/magic")).unwrap();
        symlink("loop", d.root("etc/loop")).unwrap();
        for path in [
            outside,
            &format!("../../../../..{outside}"),
            "/etc/absolute",
            "/etc/climbing",
            &format!("/etc/magic{outside}"),
            "/etc/loop",
            "/etc/passwd/..",
            "/etc",
            "/../image",
            "/usr/../../image",
            "nul\0byte",
        ] {
            assert!(d.absent(path), "{path:?}");
        }
        // Climbing above the root stays at the root, as in any system.
        assert_eq!(d.text("/../../etc/../usr/../etc/os-release").unwrap(), "ID=tiny\n");
        assert_eq!(d.scene.pool.list(&d.disk, "/usr/bin/..").unwrap().href, "/usr");
    }

    #[test]
    fn pipes_sockets_and_devices_are_listed_but_never_opened() {
        let d = Disk::new();
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        for (name, kind, device) in
            [("pipe", FileType::Fifo, 0), ("zero", FileType::CharacterDevice, rustix::fs::makedev(1, 5))]
        {
            rustix::fs::mknodat(rustix::fs::CWD, d.root("etc").join(name), kind, mode, device).unwrap();
            assert!(d.absent(&format!("/etc/{name}")), "{name}");
            assert!(d.names("/etc").contains(&name.to_owned()));
        }
        // Not even for the names of owners.
        fs::remove_file(d.root("etc/passwd")).unwrap();
        symlink("pipe", d.root("etc/passwd")).unwrap();
        assert_eq!(d.scene.pool.stat(&d.disk, "/etc").unwrap().owner, "0");
    }

    #[test]
    fn a_snapshot_is_looked_into_like_a_disk() {
        let d = Disk::new();
        let id = d.scene.pool.disks().unwrap().remove(0);
        d.change_usr("echo old > bin/tool");
        d.scene.pool.create_snapshot(&id, "one").unwrap();
        d.change_usr("echo new > bin/tool");
        let mut text = String::new();
        let snapshot = d.scene.pool.snapshot(&id, "one");
        d.scene.pool.open_file(&snapshot, "/bin/tool").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "old\n");
        assert!(matches!(d.scene.pool.list(&d.scene.pool.snapshot(&id, "none"), "/"), Err(Error::NotFound(_))));
    }

    #[test]
    fn a_directory_of_hostile_link_chains_can_be_listed() {
        let d = Disk::new();
        fs::create_dir(d.root("evil")).unwrap();
        let long = "./x/../".repeat(580);
        fs::create_dir(d.root("evil/x")).unwrap();
        for i in 0..400 {
            symlink(format!("{long}l{}", i + 1), d.root("evil").join(format!("l{i}"))).unwrap();
        }
        // Following them all to their ends would take 400 × 400 × 580 steps and never come back.
        assert_eq!(d.names("/evil").len(), 401);
    }

    #[test]
    fn whatever_is_asked_for_only_files_of_the_tree_are_read() {
        use proptest::prelude::*;
        let d = Disk::new();
        fs::write(d.scene.dir().join("secret"), "host").unwrap();
        let up = "../".repeat(12);
        for (i, target) in
            ["/", "..", &up, "/usr/..", &format!("{up}{}", d.scene.dir().display()), "self"].iter().enumerate()
        {
            symlink(target, d.root("etc").join(format!("l{i}"))).unwrap();
        }
        let dir = d.scene.dir().to_str().unwrap().trim_start_matches('/').to_owned();
        let known: Vec<String> =
            ["/etc/passwd", "/etc/group", "/etc/os-release", "/bin/hello", "/usr/share/doc/README"]
                .map(|p| d.text(p).unwrap())
                .into();
        let word = prop_oneof![
            Just("..".to_owned()),
            Just("etc".into()),
            Just("usr".into()),
            Just("bin".into()),
            Just("passwd".into()),
            Just("hello".into()),
            Just("os-release".into()),
            Just("secret".into()),
            Just("image".into()),
            Just(dir),
            Just("rootfs".into()),
            "l[0-5]",
            "\\PC{0,5}",
        ];
        let mut runner =
            proptest::test_runner::TestRunner::new(ProptestConfig { failure_persistence: None, ..Default::default() });
        let paths = proptest::collection::vec(word, 0..10).prop_map(|words| words.join("/"));
        runner
            .run(&paths, |path| {
                match d.text(&path) {
                    Ok(text) => prop_assert!(known.contains(&text), "{path}: {text}"),
                    Err(e) => prop_assert!(matches!(e, Error::NotFound(_)), "{path}: {e}"),
                }
                Ok(())
            })
            .unwrap();
    }
}
