//! Images from elsewhere: what is looked at before any of it is used as a root file system.
//!
//! `btrfs receive` runs as root on a stream that anybody may have written. It is confined to the
//! directory it fills; afterwards the tree itself is checked here, because later steps (the
//! template, the overlay of a container) name paths in it.

use std::fs;
use std::path::Path;

use crate::error::{Context, Error, Result};

/// Checks a tree in which nothing runs: `usr` is a directory and no link to elsewhere, and no file
/// carries the marks by which overlayfs sends a reader to another file.
///
/// # Errors
/// [`Error::Unsupported`] naming what is wrong.
pub(super) fn check(tree: &Path) -> Result<()> {
    let usr = tree.join("usr");
    match fs::symlink_metadata(&usr) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(Error::Unsupported("its usr is not a directory: this is no image of Cowl's".into())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Unsupported("it has no usr: this is not a root file system".into()));
        }
        Err(e) => return Err(e).at("ask", &usr),
    }
    let mut buf = vec![0; LIST_MAX];
    let mut dirs = vec![tree.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        no_marks(&dir, &mut buf)?;
        for entry in fs::read_dir(&dir).at("list", &dir)? {
            let entry = entry.at("list", &dir)?;
            if entry.file_type().at("ask", &entry.path())?.is_dir() {
                dirs.push(entry.path());
            } else {
                no_marks(&entry.path(), &mut buf)?;
            }
        }
    }
    Ok(())
}

/// Longest list of attribute names the kernel gives, in bytes.
const LIST_MAX: usize = 65_536;

fn no_marks(path: &Path, buf: &mut [u8]) -> Result<()> {
    let listed = rustix::fs::llistxattr(path, &mut *buf).at("list the attributes of", path)?;
    let marked =
        buf[..listed].split(|b| *b == 0).any(|n| n.starts_with(b"trusted.overlay.") || n.starts_with(b"user.overlay."));
    if marked {
        let path = path.display();
        return Err(Error::Unsupported(format!("{path} carries marks of overlayfs: this is no image of Cowl's")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::super::pool::names;
    use super::super::testing::Scene;
    use super::*;

    /// A stream as `btrfs send` writes it, with whatever in it.
    struct Stream(Vec<u8>);

    const SUBVOL: u16 = 1;
    const MKFILE: u16 = 3;
    const MKDIR: u16 = 4;
    const MKNOD: u16 = 5;
    const SYMLINK: u16 = 8;
    const RENAME: u16 = 9;
    const LINK: u16 = 10;
    const XATTR: u16 = 13;
    const WRITE: u16 = 15;
    const TRUNCATE: u16 = 17;
    const CHMOD: u16 = 18;
    const END: u16 = 21;

    fn path(p: &str) -> (u16, Vec<u8>) {
        (15, p.into())
    }

    fn to(p: &str) -> (u16, Vec<u8>) {
        (16, p.into())
    }

    fn link(p: &str) -> (u16, Vec<u8>) {
        (17, p.into())
    }

    fn number(attribute: u16, n: u64) -> (u16, Vec<u8>) {
        (attribute, n.to_le_bytes().to_vec())
    }

    impl Stream {
        fn new(subvolume: &str) -> Self {
            let mut bytes = b"btrfs-stream\0".to_vec();
            bytes.extend(1u32.to_le_bytes());
            Self(bytes).with(SUBVOL, &[path(subvolume), (1, vec![7; 16]), number(2, 5)])
        }

        /// A root file system's least, so that only what is added can be refused.
        fn root() -> Self {
            Self::new("image").dir("usr").dir("usr/bin").dir("etc")
        }

        fn with(mut self, command: u16, attributes: &[(u16, Vec<u8>)]) -> Self {
            let mut data = Vec::new();
            for (kind, value) in attributes {
                data.extend(kind.to_le_bytes());
                data.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
                data.extend(value);
            }
            let mut message = u32::try_from(data.len()).unwrap().to_le_bytes().to_vec();
            message.extend(command.to_le_bytes());
            message.extend([0; 4]);
            message.extend(data);
            let sum = crc32c(&message);
            message[6..10].copy_from_slice(&sum.to_le_bytes());
            self.0.extend(message);
            self
        }

        fn dir(self, p: &str) -> Self {
            // Made by number and then renamed, as the kernel does; the name alone does as well.
            self.with(MKDIR, &[path(p), number(3, 300)])
        }

        fn file(self, p: &str, text: &str) -> Self {
            self.with(MKFILE, &[path(p), number(3, 301)]).write(p, text)
        }

        fn write(self, p: &str, text: &str) -> Self {
            self.with(WRITE, &[path(p), number(18, 0), (19, text.into())])
        }

        fn symlink(self, p: &str, target: &str) -> Self {
            self.with(SYMLINK, &[path(p), number(3, 302), link(target)])
        }
    }

    fn crc32c(bytes: &[u8]) -> u32 {
        bytes.iter().fold(0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0x82f6_3b78 } else { c >> 1 })
        })
    }

    struct Stage {
        scene: Scene,
        outside: PathBuf,
    }

    impl Stage {
        fn new() -> Self {
            let scene = Scene::empty();
            let outside = scene.dir().join("outside");
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("kept"), "host").unwrap();
            Self { scene, outside }
        }

        fn import(&self, stream: Stream) -> Result<()> {
            let file = self.scene.dir().join("hostile.bin");
            let mut bytes = b"cowl-image 1\n{\"id\":\"debian-13-20261123-1a2b3c4d\",\"created_at\":1}\n".to_vec();
            bytes.extend(stream.with(END, &[]).0);
            fs::write(&file, bytes).unwrap();
            self.scene.pool.import_image(&file).map(drop)
        }

        /// Nothing outside has changed, and nothing half-made is left.
        fn unharmed(&self) {
            assert_eq!(names(&self.outside).unwrap(), ["kept"]);
            assert_eq!(fs::read_to_string(self.outside.join("kept")).unwrap(), "host");
            assert!(names(&self.scene.pool.root().join("tmp")).unwrap().is_empty());
        }

        fn nothing_imported(&self) {
            self.unharmed();
            assert!(names(&self.scene.pool.root().join("images")).unwrap().is_empty());
            assert!(names(&self.scene.pool.root().join("templates")).unwrap().is_empty());
        }
    }

    #[test]
    fn a_plain_stream_of_ours_is_an_image() {
        let stage = Stage::new();
        stage.import(Stream::root().file("usr/bin/hello", "hi")).unwrap();
        let image = stage.scene.pool.root().join("images/debian-13-20261123-1a2b3c4d");
        assert_eq!(fs::read_to_string(image.join("usr/bin/hello")).unwrap(), "hi");
        stage.unharmed();
    }

    #[test]
    fn no_stream_writes_outside_of_what_it_fills() {
        let stage = Stage::new();
        let out = stage.outside.display().to_string();
        let up = format!("{}{}", "../".repeat(20), out.trim_start_matches('/'));
        let evil = |s: &str| format!("{s}/evil");
        for (what, stream) in [
            ("an absolute link", Stream::root().symlink("l", &out).file(&evil("l"), "x")),
            ("a climbing link", Stream::root().symlink("l", &up).file(&evil("l"), "x")),
            ("a climbing path", Stream::root().file(&evil(&up), "x")),
            ("an absolute path", Stream::root().file(&evil(&out), "x")),
            ("a link over a file", Stream::root().symlink("l", &format!("{out}/kept")).write("l", "x")),
            ("a rename", Stream::root().file("f", "x").with(RENAME, &[path("f"), to(&evil(&up))])),
            ("a hard link in", Stream::root().with(LINK, &[path("f"), link(&format!("{up}/kept"))]).write("f", "x")),
            ("a climbing subvolume", Stream::new(&evil(&up)).dir("usr")),
            ("an absolute subvolume", Stream::new(&evil(&out)).dir("usr")),
            (
                "modes through a link",
                Stream::root().symlink("l", &format!("{out}/kept")).with(CHMOD, &[path("l"), number(5, 0o4777)]),
            ),
        ] {
            // Some are refused; in others the name leads to somewhere in the tree itself.
            let _ = stage.import(stream);
            stage.unharmed();
            let kept = fs::metadata(stage.outside.join("kept")).unwrap();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&kept.permissions()) & 0o7777, 0o644, "{what}");
            for room in ["templates", "images"] {
                for name in names(&stage.scene.pool.root().join(room)).unwrap() {
                    super::super::pool::remove(&stage.scene.pool.root().join(room).join(name)).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_usr_that_leads_elsewhere_is_refused_before_anything_follows_it() {
        let stage = Stage::new();
        let out = stage.outside.display().to_string();
        for stream in [
            Stream::new("image").dir("etc").symlink("usr", &out),
            Stream::new("image").dir("etc").file("usr", "x"),
            Stream::new("image").dir("etc"),
            Stream::root().dir("rootfs"),
        ] {
            assert!(stage.import(stream).is_err());
            stage.nothing_imported();
        }
    }

    #[test]
    fn marks_of_overlayfs_are_refused() {
        let stage = Stage::new();
        for (name, value) in [
            ("trusted.overlay.redirect", "/../../../etc"),
            ("trusted.overlay.opaque", "y"),
            ("trusted.overlay.metacopy", ""),
            ("user.overlay.redirect", "/etc"),
        ] {
            let stream =
                Stream::root().dir("usr/lib").with(XATTR, &[path("usr/lib"), (13, name.into()), (14, value.into())]);
            let e = stage.import(stream).unwrap_err();
            assert!(e.to_string().contains("overlayfs"), "{name}: {e}");
            stage.nothing_imported();
        }
    }

    #[test]
    fn huge_sizes_and_devices_are_taken_for_what_they_are() {
        let stage = Stage::new();
        let huge = |s: Stream, p: &str| s.file(p, "").with(TRUNCATE, &[path(p), number(4, i64::MAX as u64)]);
        let stream = huge(huge(huge(Stream::root(), "a"), "b"), "c")
            .with(MKNOD, &[path("usr/disk"), number(3, 305), number(5, 0o060_666), number(8, 0x700)]);
        // Their sizes add up to more than there are numbers; the device works nowhere (nodev).
        stage.import(stream).unwrap();
        stage.unharmed();
        assert!(stage.scene.pool.image("debian-13").unwrap().unwrap().size >= i64::MAX as u64);
    }

    #[test]
    fn streams_cut_short_or_garbled_are_refused() {
        let stage = Stage::new();
        let whole = Stream::root().file("usr/bin/hello", "hi").0;
        for cut in [17, 30, 60, whole.len() - 3] {
            assert!(stage.import(Stream(whole[..cut].to_vec())).is_err(), "cut at {cut}");
            stage.nothing_imported();
        }
        let mut garbled = whole;
        garbled[70] ^= 0xff;
        assert!(stage.import(Stream(garbled)).is_err());
        stage.nothing_imported();
    }

    #[test]
    fn a_link_in_place_of_usr_in_a_plain_tree_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/", dir.path().join("usr")).unwrap();
        assert!(check(dir.path()).is_err());
    }
}
