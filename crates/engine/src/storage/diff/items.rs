//! A subvolume as its tree tells it: inodes, names, attributes and extents, read by key.
//!
//! Nothing is opened and no path is followed, so names and links in a container's disk are bytes
//! and nothing more. Layouts are those of `linux/btrfs_tree.h`, all little-endian.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::sys::btrfs::search::{Key, Lineage, Searcher};
use cowl_api::diff::FileType;

const INODE_ITEM: u32 = 1;
const INODE_REF: u32 = 12;
const INODE_EXTREF: u32 = 13;
const XATTR_ITEM: u32 = 24;
const DIR_INDEX: u32 = 96;
const EXTENT_DATA: u32 = 108;
/// Inode number of a subvolume's root directory.
pub const ROOT_DIR: u64 = 256;
/// Greatest inode number; above are the file system's own objects.
const LAST_INODE: u64 = u64::MAX - 256;
/// Extents of one file that are compared; a file of more is compared by its bytes.
const EXTENTS_MAX: usize = 100_000;

/// What an `INODE_ITEM` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inode {
    /// Transaction in which it was made; with the number it is the inode's identity.
    pub generation: u64,
    /// Transaction of its last change.
    pub changed_in: u64,
    /// Bytes.
    pub size: u64,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permission bits.
    pub mode: u32,
    /// Device number of a device.
    pub device: u64,
    /// Seconds and nanoseconds since the epoch.
    pub mtime: (u64, u32),
}

impl Inode {
    fn parse(body: &[u8]) -> Option<Self> {
        Some(Self {
            generation: word(body, 0)?,
            changed_in: word(body, 8)?,
            size: word(body, 16)?,
            uid: half(body, 44)?,
            gid: half(body, 48)?,
            mode: half(body, 52)?,
            device: word(body, 56)?,
            mtime: (word(body, 136)?, half(body, 144)?),
        })
    }

    /// What it is; what the kernel does not know is a file.
    pub fn file_type(&self) -> FileType {
        match self.mode & libc::S_IFMT {
            libc::S_IFDIR => FileType::Dir,
            libc::S_IFLNK => FileType::Link,
            libc::S_IFIFO => FileType::Fifo,
            libc::S_IFSOCK => FileType::Socket,
            libc::S_IFCHR => FileType::Char,
            libc::S_IFBLK => FileType::Block,
            _ => FileType::File,
        }
    }

    /// Whether overlayfs takes it for a deletion: a character device 0:0.
    pub fn is_whiteout(&self) -> bool {
        self.file_type() == FileType::Char && self.device == 0
    }
}

/// A name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The inode.
    pub ino: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Whether it is a character device, which may be a deletion.
    pub is_char: bool,
}

/// Entries of a directory by name.
pub type Entries = BTreeMap<Box<[u8]>, Entry>;

/// A part of a file as it lies on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// In the tree itself: offset, compression, bytes.
    Inline(u64, u8, u64, Box<[u8]>),
    /// Offset in the file, kind and compression, address, offset in the extent, length.
    At(u64, [u8; 2], u64, u64, u64),
}

/// All that lies under one inode number, but for a directory's entries.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Its own item.
    pub inode: Inode,
    /// Extended attributes by name.
    pub attributes: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// Where its bytes are; `None` for a file of more parts than are compared.
    pub extents: Option<Vec<Extent>>,
}

/// A subvolume open for reading.
pub struct Items {
    searcher: Searcher,
    /// Where it comes from.
    pub lineage: Lineage,
}

fn inode_key(ino: u64, kind: u32) -> Key {
    Key { objectid: ino, kind, offset: 0 }
}

impl Items {
    /// Opens a subvolume.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let searcher = Searcher::open(path)?;
        Ok(Self { lineage: searcher.lineage()?, searcher })
    }

    /// Another subvolume of this file system, by its UUID.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn find(&mut self, uuid: &[u8; 16]) -> io::Result<Option<Lineage>> {
        self.searcher.find(uuid)
    }

    /// Hands over every inode changed in transaction `since` or later. Ends early when `f` gives
    /// false.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn changed_since(&mut self, since: u64, f: &mut dyn FnMut(u64) -> bool) -> io::Result<()> {
        let range = (inode_key(ROOT_DIR, 0), Key { objectid: LAST_INODE, ..Key::MAX });
        self.searcher.each(range, since, &mut |key, body| {
            let changed = key.kind == INODE_ITEM && word(body, 8).is_some_and(|transid| transid >= since);
            !changed || f(key.objectid)
        })
    }

    /// One inode.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn inode(&mut self, ino: u64) -> io::Result<Option<Inode>> {
        let key = inode_key(ino, INODE_ITEM);
        let mut found = None;
        self.searcher.each((key, key), 0, &mut |_, body| {
            found = Inode::parse(body);
            false
        })?;
        Ok(found)
    }

    /// The names of an inode: the directory and the name in it.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn names(&mut self, ino: u64) -> io::Result<Vec<(u64, Box<[u8]>)>> {
        let mut found = Vec::new();
        let range = (inode_key(ino, INODE_REF), Key { objectid: ino, kind: INODE_EXTREF, offset: u64::MAX });
        self.searcher.each(range, 0, &mut |key, mut body| {
            // Several names in one directory lie behind each other.
            let (parent_at, head) = if key.kind == INODE_EXTREF { (Some(0), 18) } else { (None, 10) };
            while let Some(len) = short(body, head - 2) {
                let parent = parent_at.map_or(Some(key.offset), |at| word(body, at));
                let (Some(parent), Some(name)) = (parent, body.get(head..head + usize::from(len))) else { break };
                found.push((parent, name.into()));
                body = &body[head + usize::from(len)..];
            }
            true
        })?;
        Ok(found)
    }

    /// The entries of a directory. Subvolumes in it are none: no snapshot holds them.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn entries(&mut self, dir: u64) -> io::Result<Entries> {
        let mut found = Entries::new();
        let range = (inode_key(dir, DIR_INDEX), Key { objectid: dir, kind: DIR_INDEX, offset: u64::MAX });
        self.searcher.each(range, 0, &mut |_, body| {
            if let Some((name, entry)) = dir_entry(body) {
                found.insert(name.into(), entry);
            }
            true
        })?;
        Ok(found)
    }

    /// All about an inode but its names and entries.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn facts(&mut self, ino: u64) -> io::Result<Option<Facts>> {
        let mut facts = Facts { extents: Some(Vec::new()), ..Facts::default() };
        let mut found = false;
        let wanted = [
            (inode_key(ino, INODE_ITEM), inode_key(ino, INODE_ITEM)),
            (inode_key(ino, XATTR_ITEM), Key { objectid: ino, kind: XATTR_ITEM, offset: u64::MAX }),
            (inode_key(ino, EXTENT_DATA), Key { objectid: ino, kind: EXTENT_DATA, offset: u64::MAX }),
        ];
        // One question for all three, but not past a directory's thousands of entries.
        let whole = [(wanted[0].0, wanted[2].1)];
        let ranges = match self.inode(ino)? {
            None => return Ok(None),
            Some(inode) if inode.file_type() == FileType::Dir => &wanted[..2],
            Some(_) => &whole,
        };
        for range in ranges {
            self.searcher.each(*range, 0, &mut |key, body| {
                match key.kind {
                    INODE_ITEM => {
                        if let Some(inode) = Inode::parse(body) {
                            (facts.inode, found) = (inode, true);
                        }
                    }
                    XATTR_ITEM => attributes(body, &mut facts.attributes),
                    EXTENT_DATA => match &mut facts.extents {
                        Some(all) if all.len() == EXTENTS_MAX => facts.extents = None,
                        Some(all) => all.extend(extent(key.offset, body)),
                        None => return false,
                    },
                    _ => {}
                }
                true
            })?;
        }
        Ok(found.then_some(facts))
    }
}

fn short(body: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(body.get(at..at + 2)?.try_into().ok()?))
}

fn half(body: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(body.get(at..at + 4)?.try_into().ok()?))
}

fn word(body: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?))
}

/// Reads a `struct btrfs_dir_item` with its name: key of the inode, transaction, lengths, type.
fn dir_entry(body: &[u8]) -> Option<(&[u8], Entry)> {
    const FT_DIR: u8 = 2;
    const FT_CHRDEV: u8 = 3;
    let (ino, kind, len, file_type) = (word(body, 0)?, *body.get(8)?, short(body, 27)?, *body.get(29)?);
    let name = body.get(30..30 + usize::from(len))?;
    let entry = Entry { ino, is_dir: file_type == FT_DIR, is_char: file_type == FT_CHRDEV };
    (u32::from(kind) == INODE_ITEM).then_some((name, entry))
}

/// Reads the attributes in an item; those whose names have the same hash lie behind each other.
fn attributes(mut body: &[u8], all: &mut BTreeMap<Box<[u8]>, Box<[u8]>>) {
    while let (Some(value_len), Some(name_len)) = (short(body, 25), short(body, 27)) {
        let name_end = 30 + usize::from(name_len);
        let end = name_end + usize::from(value_len);
        let (Some(name), Some(value)) = (body.get(30..name_end), body.get(name_end..end)) else { return };
        all.insert(name.into(), value.into());
        body = &body[end..];
    }
}

/// Reads a `struct btrfs_file_extent_item`. Holes are left out: they may be written down or not.
fn extent(offset: u64, body: &[u8]) -> Option<Extent> {
    const INLINE: u8 = 0;
    let (compression, kind) = (*body.get(16)?, *body.get(20)?);
    if kind == INLINE {
        return Some(Extent::Inline(offset, compression, word(body, 8)?, body.get(21..)?.into()));
    }
    let address = word(body, 21)?;
    (address != 0).then_some(Extent::At(offset, [kind, compression], address, word(body, 37)?, word(body, 45)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_bytes_of_an_item_confuse_its_readers() {
        proptest!(|(body in proptest::collection::vec(any::<u8>(), 0..200))| {
            let _ = (dir_entry(&body), Inode::parse(&body), extent(0, &body));
            let mut all = BTreeMap::new();
            attributes(&body, &mut all);
            let bytes: usize = all.iter().map(|(name, value)| name.len() + value.len()).sum();
            prop_assert!(bytes <= body.len());
        });
    }
}
