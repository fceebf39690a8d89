//! A disk from elsewhere: what is looked at before anything runs from it.
//!
//! It is laid out as ours are (see [`super::image`]), and holds no device but overlayfs' whiteouts.
//! Marks of overlayfs are there in the upper layer only, and only those that cannot lead a reader
//! out of the tree: no `metacopy`, and redirects without `..`.

use std::fs::{self, FileType};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::error::{Context, Error, Result};

/// What a disk holds at its top, and whether it is a directory.
const TOP: [(&str, bool); 5] =
    [("rootfs", true), ("ovl", true), ("image", false), ("image.json", false), ("ino-pin", false)];
/// Marks that overlayfs may have left in an upper layer.
const MARKS: [&[u8]; 6] = [b"opaque", b"redirect", b"origin", b"impure", b"protattr", b"uuid"];
const PREFIX: &[u8] = b"trusted.overlay.";
/// Longest list of attribute names, and longest redirect, in bytes.
const LIST_MAX: usize = 65_536;

fn refuse(what: impl std::fmt::Display) -> Error {
    Error::Unsupported(format!("the archive's disk is not taken: {what}"))
}

/// Checks a disk in which nothing runs, made from the image `image_id`.
///
/// # Errors
/// [`Error::Unsupported`] naming what is wrong.
pub(super) fn check(disk: &Path, image_id: &str) -> Result<()> {
    let kind = |path: &Path| -> Result<FileType> {
        let meta = fs::symlink_metadata(path);
        meta.map(|m| m.file_type()).map_err(|_| refuse(format!("it lacks {}", inside(disk, path))))
    };
    for (name, is_dir) in TOP {
        let found = kind(&disk.join(name))?;
        if !(if is_dir { found.is_dir() } else { found.is_file() }) {
            return Err(refuse(format!("its {name} is something else")));
        }
    }
    for dir in ["rootfs/usr", "ovl/upper", "ovl/work"] {
        if !kind(&disk.join(dir))?.is_dir() {
            return Err(refuse(format!("its {dir} is no directory")));
        }
    }
    for (dir, names) in [("", &["rootfs", "ovl", "image", "image.json", "ino-pin"][..]), ("ovl", &["upper", "work"])] {
        let at = disk.join(dir);
        for entry in fs::read_dir(&at).at("list", &at)? {
            let name = entry.at("list", &at)?.file_name();
            if !names.iter().any(|known| name == **known) {
                return Err(refuse(format!("it holds {:.60}", name.to_string_lossy().escape_debug().to_string())));
            }
        }
    }
    let image = disk.join("image");
    let size = fs::symlink_metadata(&image).at("ask", &image)?.size();
    if size > 256 || fs::read_to_string(&image).at("read", &image)?.trim() != image_id {
        return Err(refuse("it says that it was made from another image"));
    }
    walk(disk, &disk.join("rootfs"), &[])?;
    walk(disk, &disk.join("ovl/work"), &MARKS)?;
    walk(disk, &disk.join("ovl/upper"), &MARKS)
}

/// A path as the message tells it.
fn inside(disk: &Path, path: &Path) -> String {
    let rest = path.strip_prefix(disk).unwrap_or(path);
    format!("{:.200}", rest.to_string_lossy().escape_debug().to_string())
}

fn walk(disk: &Path, top: &Path, allowed: &[&[u8]]) -> Result<()> {
    let mut buf = vec![0; LIST_MAX];
    let mut dirs = vec![top.to_path_buf()];
    marks(disk, top, true, allowed, &mut buf)?;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).at("list", &dir)? {
            let path = entry.at("list", &dir)?.path();
            let meta = fs::symlink_metadata(&path).at("ask", &path)?;
            let kind = meta.file_type();
            // A whiteout is a character device 0:0, which opens nothing.
            if kind.is_block_device() || kind.is_char_device() && meta.rdev() != 0 {
                return Err(refuse(format!("{} is a device", inside(disk, &path))));
            }
            marks(disk, &path, kind.is_dir(), allowed, &mut buf)?;
            if kind.is_dir() {
                dirs.push(path);
            }
        }
    }
    Ok(())
}

fn marks(disk: &Path, path: &Path, is_dir: bool, allowed: &[&[u8]], buf: &mut [u8]) -> Result<()> {
    let listed = rustix::fs::llistxattr(path, &mut *buf).at("list the attributes of", path)?;
    let found: Vec<Vec<u8>> =
        buf[..listed].split(|b| *b == 0).filter_map(|name| name.strip_prefix(PREFIX)).map(<[u8]>::to_vec).collect();
    for mark in found {
        let known = allowed.contains(&mark.as_slice());
        if !known || mark == b"redirect" && !(is_dir && stays(path, buf)?) {
            return Err(refuse(format!("{} carries marks of overlayfs that do not belong there", inside(disk, path))));
        }
    }
    Ok(())
}

/// Whether a directory's redirect names a directory below the layer's root.
fn stays(path: &Path, buf: &mut [u8]) -> Result<bool> {
    let length = rustix::fs::lgetxattr(path, "trusted.overlay.redirect", &mut *buf).at("read the redirect of", path)?;
    let value = &buf[..length];
    let mut parts = value.split(|b| *b == b'/');
    let absolute = value.first() == Some(&b'/') && parts.next().is_some();
    let fine = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
    let parts: Vec<&[u8]> = parts.collect();
    Ok(parts.iter().all(|part| fine(part)) && (absolute || parts.len() == 1) && !parts.is_empty())
}
