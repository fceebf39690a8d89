//! The merged tree of one moment as nodes: `rootfs/`, and for its `usr` what overlayfs makes of
//! `ovl/upper` over the image's `/usr`.
//!
//! The marks of overlayfs are `trusted.*` attributes, which nothing inside a container can set;
//! what they say is followed inside the image's `/usr` only.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::items::{Entry, Facts, Inode, Items, ROOT_DIR};
use super::touched::Touched;
use crate::error::{Context, Error, Result};
use cowl_api::diff::FileType;

const OPAQUE: &[u8] = b"trusted.overlay.opaque";
const REDIRECT: &[u8] = b"trusted.overlay.redirect";
const ORIGIN: &[u8] = b"trusted.overlay.origin";
const MARKS: &[u8] = b"trusted.overlay.";

/// Which subvolume an inode is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The container's disk.
    Disk,
    /// The image.
    Image,
}

/// Something in the merged tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Where its inode is.
    pub layer: Layer,
    /// Its inode.
    pub ino: u64,
    /// Directory of the image that shines through this directory.
    pub lower: Option<u64>,
    /// Whether it belongs to the overlay.
    pub in_usr: bool,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Nodes of a directory by name.
pub type Children = BTreeMap<Box<[u8]>, Node>;

/// The merged tree of one moment.
pub struct Merged {
    disk: Items,
    image: Items,
    rootfs: u64,
    upper: u64,
    usr: u64,
    /// What changed in the disk since both moments were one.
    pub touched: Touched,
}

fn child_dir(items: &mut Items, dir: u64, name: &[u8]) -> io::Result<Option<u64>> {
    Ok(items.entries(dir)?.get(name).filter(|e| e.is_dir).map(|e| e.ino))
}

impl Merged {
    /// The tree of a disk that does not change, over its image.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is no disk.
    pub fn open(disk: Items, image: Items, at: &Path) -> Result<Self> {
        let (mut disk, mut image) = (disk, image);
        let found = (|| {
            let Some(rootfs) = child_dir(&mut disk, ROOT_DIR, b"rootfs")? else { return Ok(None) };
            let Some(ovl) = child_dir(&mut disk, ROOT_DIR, b"ovl")? else { return Ok(None) };
            let Some(upper) = child_dir(&mut disk, ovl, b"upper")? else { return Ok(None) };
            let Some(usr) = child_dir(&mut image, ROOT_DIR, b"usr")? else { return Ok(None) };
            Ok::<_, io::Error>(Some((rootfs, upper, usr)))
        })();
        let (rootfs, upper, usr) =
            found.at("read", at)?.ok_or_else(|| Error::NotFound(format!("disk {}", at.display())))?;
        Ok(Self { disk, image, rootfs, upper, usr, touched: Touched::All })
    }

    /// Finds out what changed since a transaction.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn touch(&mut self, since: u64) -> io::Result<()> {
        self.touched = Touched::since(&mut self.disk, since)?;
        Ok(())
    }

    /// The disk's subvolume.
    pub fn disk(&mut self) -> &mut Items {
        &mut self.disk
    }

    /// `/`.
    pub fn root(&self) -> Node {
        Node { layer: Layer::Disk, ino: self.rootfs, lower: None, in_usr: false, is_dir: true }
    }

    fn layer(&mut self, layer: Layer) -> &mut Items {
        match layer {
            Layer::Disk => &mut self.disk,
            Layer::Image => &mut self.image,
        }
    }

    /// A node's inode.
    ///
    /// # Errors
    /// When the tree cannot be read, or does not hold it.
    pub fn inode(&mut self, node: Node) -> io::Result<Inode> {
        self.layer(node.layer).inode(node.ino)?.ok_or_else(gone)
    }

    /// All about a node but its entries, without the marks of overlayfs on it.
    ///
    /// # Errors
    /// When the tree cannot be read, or does not hold it.
    pub fn facts(&mut self, node: Node) -> io::Result<Facts> {
        let mut facts = self.layer(node.layer).facts(node.ino)?.ok_or_else(gone)?;
        if node.in_usr {
            facts.attributes.retain(|name, _| !name.starts_with(MARKS));
        }
        Ok(facts)
    }

    /// Inode of the image that a node of the overlay was, or is.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn origin(&mut self, node: Node) -> io::Result<Option<u64>> {
        Ok(match node {
            Node { layer: Layer::Image, ino, .. } => Some(ino),
            Node { is_dir: true, lower, .. } => lower,
            Node { in_usr: true, ino, .. } => {
                let image = self.image.lineage.id;
                let facts = self.disk.facts(ino)?.unwrap_or_default();
                facts.attributes.get(ORIGIN).and_then(|handle| origin(handle, image))
            }
            _ => None,
        })
    }

    /// The names of a file's inode below its subvolume's root, as bytes; `None` for a path that is
    /// too long to be opened.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn raw_path(&mut self, node: Node) -> io::Result<Option<Vec<u8>>> {
        const PATH_MAX: usize = 4_000;
        let items = self.layer(node.layer);
        let (mut ino, mut parts, mut len) = (node.ino, Vec::new(), 0);
        while ino != ROOT_DIR {
            let Some((parent, name)) = items.names(ino)?.into_iter().next() else { return Err(gone()) };
            len += name.len() + 1;
            if len > PATH_MAX {
                return Ok(None);
            }
            parts.push(name);
            ino = parent;
        }
        parts.reverse();
        Ok(Some(parts.join(&b'/')))
    }

    /// What is in a directory.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn children(&mut self, dir: Node) -> io::Result<Children> {
        let mut children = Children::new();
        let own = self.layer(dir.layer).entries(dir.ino)?;
        let shining = match dir.lower {
            Some(lower) => self.image.entries(lower)?,
            None => Default::default(),
        };
        for (name, entry) in &own {
            if let Some(node) = self.child(dir, *entry, shining.get(name).copied())? {
                children.insert(name.clone(), node);
            }
        }
        for (name, entry) in shining {
            if !own.contains_key(&name) {
                children.insert(name, of_image(entry));
            }
        }
        if dir == self.root() {
            children.insert(b"usr"[..].into(), self.usr());
        }
        Ok(children)
    }

    /// `/usr`.
    fn usr(&self) -> Node {
        Node { layer: Layer::Disk, ino: self.upper, lower: Some(self.usr), in_usr: true, is_dir: true }
    }

    /// Whether something below a directory of the disk may have changed.
    pub fn leads(&self, dir: Node) -> bool {
        let usr = dir == self.root() && (self.touched.is(self.upper) || self.touched.leads(self.upper));
        dir.layer == Layer::Disk && (usr || self.touched.leads(dir.ino))
    }

    /// What may have changed in a directory that has not changed itself: some of its children.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn ways(&mut self, dir: Node) -> io::Result<Children> {
        let mut children = Children::new();
        for (name, ino) in self.touched.ways(dir.ino) {
            let Some(inode) = self.disk.inode(ino)? else { continue };
            let kind = inode.file_type();
            let entry = Entry { ino, is_dir: kind == FileType::Dir, is_char: kind == FileType::Char };
            let below = match dir.lower {
                Some(lower) if entry.is_dir => self.image.entries(lower)?.get(&name).copied(),
                _ => None,
            };
            if let Some(node) = self.child(dir, entry, below)? {
                children.insert(name, node);
            }
        }
        if dir == self.root() {
            children.insert(b"usr"[..].into(), self.usr());
        }
        Ok(children)
    }

    /// What an entry of a directory of the disk or the image is in the merged tree; `None` for a
    /// deletion. `below` is the entry of the same name that shines through.
    fn child(&mut self, dir: Node, entry: Entry, below: Option<Entry>) -> io::Result<Option<Node>> {
        let Entry { ino, is_dir, is_char } = entry;
        let mut node = Node { layer: dir.layer, ino, lower: None, in_usr: dir.in_usr, is_dir };
        if dir.layer == Layer::Image || !dir.in_usr {
            return Ok(Some(node));
        }
        if is_char && self.disk.inode(ino)?.is_some_and(|i| i.is_whiteout()) {
            return Ok(None);
        }
        if is_dir {
            let marks = self.disk.facts(ino)?.unwrap_or_default().attributes;
            node.lower = match (marks.get(OPAQUE), marks.get(REDIRECT)) {
                (Some(opaque), _) if **opaque == *b"y" => None,
                (_, Some(redirect)) => self.redirected(dir.lower, redirect)?,
                _ => below.filter(|e| e.is_dir).map(|e| e.ino),
            };
        }
        Ok(Some(node))
    }

    /// Directory of the image that a redirect names: from its `/usr` on when absolute, else beside.
    fn redirected(&mut self, beside: Option<u64>, redirect: &[u8]) -> io::Result<Option<u64>> {
        let (mut here, path) = match redirect.strip_prefix(b"/") {
            Some(path) => (Some(self.usr), path),
            None => (beside, redirect),
        };
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            let Some(dir) = here else { return Ok(None) };
            here = child_dir(&mut self.image, dir, name)?;
        }
        Ok(here)
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "an inode is gone from a snapshot")
}

fn of_image(entry: Entry) -> Node {
    Node { layer: Layer::Image, ino: entry.ino, lower: None, in_usr: true, is_dir: entry.is_dir }
}

/// The inode that a `struct ovl_fb` names when it is in the subvolume `image`: five bytes, a UUID,
/// then the handle of btrfs.
fn origin(handle: &[u8], image: u64) -> Option<u64> {
    let word = |at: usize| handle.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_ne_bytes);
    (word(29)? == image).then(|| word(21))?
}
