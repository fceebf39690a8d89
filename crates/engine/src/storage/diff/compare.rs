//! One entry in both moments: does it differ, and in what.
//!
//! Content is the same when its extents are: copies, copied-up files and snapshots share them, and
//! then nothing is read. Where extents differ but sizes do not, the bytes decide, within a budget.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::items::{Extent, Facts, Inode};
use super::merged::{Layer, Merged, Node};
use cowl_api::diff::{Aspect, Change, ChangeKind, FileType};

/// Longest file whose bytes are compared; a longer one with other extents is told as changed.
const FILE_BUDGET: u64 = 16 << 20;
/// Bytes that are compared in one diff.
const BUDGET: u64 = 512 << 20;

/// One moment: its tree, and where its files can be opened.
pub struct Moment {
    /// The merged tree.
    pub tree: Merged,
    /// The disk's subvolume.
    pub disk: PathBuf,
    /// The image's subvolume.
    pub image: PathBuf,
}

/// Compares entries of two moments.
pub struct Comparer {
    /// Whether both moments have the same image.
    pub same_image: bool,
    budget: u64,
}

impl Comparer {
    /// With the whole budget.
    pub fn new(same_image: bool) -> Self {
        Self { same_image, budget: BUDGET }
    }

    /// The change of an entry that exists in both moments, if there is one. Both must be of one
    /// type.
    ///
    /// # Errors
    /// When a tree cannot be read.
    pub fn change(
        &mut self,
        path: &[u8],
        a: (&mut Moment, Node),
        b: (&mut Moment, Node),
    ) -> io::Result<Option<Change>> {
        let (before, after) = (a.0.tree.facts(a.1)?, b.0.tree.facts(b.1)?);
        let kind = after.inode.file_type();
        let mut what = Vec::new();
        match kind {
            FileType::File if !self.same_content((a.0, a.1, &before), (b.0, b.1, &after)) => what.push(Aspect::Content),
            // A link's target is an extent in the tree.
            FileType::Link if before.extents != after.extents => what.push(Aspect::Target),
            FileType::Char | FileType::Block if before.inode.device != after.inode.device => what.push(Aspect::Device),
            _ => {}
        }
        let content = !what.is_empty();
        if before.inode.mode != after.inode.mode {
            what.push(Aspect::Mode);
        }
        if owner(&before.inode) != owner(&after.inode) {
            what.push(Aspect::Owner);
        }
        if before.attributes != after.attributes {
            what.push(Aspect::Attributes);
        }
        if what.is_empty() {
            return Ok(None);
        }
        let mut change = Change::new(if content { ChangeKind::Changed } else { ChangeKind::Mode }, path, kind);
        change.size_before = size(&before.inode);
        change.size_after = size(&after.inode);
        if what.contains(&Aspect::Mode) {
            change.mode_before = Some(mode(&before.inode));
            change.mode_after = Some(mode(&after.inode));
        }
        if what.contains(&Aspect::Owner) {
            change.owner_before = Some(owner(&before.inode));
            change.owner_after = Some(owner(&after.inode));
        }
        change.what = what;
        Ok(Some(change))
    }

    fn same_content(
        &mut self,
        (from, a, before): (&mut Moment, Node, &Facts),
        (to, b, after): (&mut Moment, Node, &Facts),
    ) -> bool {
        let size = before.inode.size;
        if size != after.inode.size {
            return false;
        }
        if size == 0 || (before.extents.is_some() && same_extents(before, after)) {
            return true;
        }
        // Two images have no block in common; a file of the same package has the same time.
        if a.layer == Layer::Image && b.layer == Layer::Image && before.inode.mtime == after.inode.mtime {
            return true;
        }
        if size > FILE_BUDGET || size > self.budget {
            return false;
        }
        self.budget -= size;
        // What cannot be read is told as changed: nobody can say that it is not.
        match (open(from, a), open(to, b)) {
            (Ok(Some(a)), Ok(Some(b))) => same_bytes(a, b).unwrap_or(false),
            _ => false,
        }
    }
}

fn same_extents(a: &Facts, b: &Facts) -> bool {
    // Parts of one extent that lie behind each other are one part.
    let joined = |facts: &Facts| {
        let mut all: Vec<Extent> = Vec::new();
        for extent in facts.extents.iter().flatten() {
            if let (Some(Extent::At(at, kind, address, skip, len)), Extent::At(at2, kind2, address2, skip2, len2)) =
                (all.last_mut(), extent)
                && (*kind, *address, at.wrapping_add(*len), skip.wrapping_add(*len))
                    == (*kind2, *address2, *at2, *skip2)
            {
                *len = len.wrapping_add(*len2);
            } else {
                all.push(extent.clone());
            }
        }
        all
    };
    joined(a) == joined(b)
}

fn same_bytes(a: File, b: File) -> io::Result<bool> {
    let limit = FILE_BUDGET + 1;
    let (mut a, mut b) = (a.take(limit), b.take(limit));
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let n = fill(&mut a, &mut left)?;
        if fill(&mut b, &mut right)? != n || left[..n] != right[..n] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match from.read(&mut buffer[n..])? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}

/// Opens a regular file by its place in its subvolume; `None` where that is too long to be opened.
fn open(moment: &mut Moment, node: Node) -> io::Result<Option<File>> {
    let Some(path) = moment.tree.raw_path(node)? else { return Ok(None) };
    let root = match node.layer {
        Layer::Disk => &moment.disk,
        Layer::Image => &moment.image,
    };
    let root: OwnedFd = rustix::fs::openat(
        CWD,
        root as &Path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let file = rustix::fs::openat2(
        &root,
        path,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
    )?;
    Ok(Some(File::from(file)))
}

/// Bytes of what has some.
pub fn size(inode: &Inode) -> Option<u64> {
    matches!(inode.file_type(), FileType::File | FileType::Link).then_some(inode.size)
}

fn mode(inode: &Inode) -> String {
    format!("{:04o}", inode.mode & 0o7777)
}

fn owner(inode: &Inode) -> String {
    format!("{}:{}", inode.uid, inode.gid)
}
