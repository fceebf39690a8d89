//! Reading the items of a subvolume's tree by key (`BTRFS_IOC_TREE_SEARCH_V2`), without opening
//! any file in it.
//!
//! Blocks older than a given generation are passed over by the kernel, which is what makes asking
//! "what changed since" cost as much as what changed. Needs `CAP_SYS_ADMIN`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use super::{MAGIC, RawInfo, check, ioctl, open_dir};

/// Tree in which subvolumes are found by UUID.
const UUID_TREE: u64 = 9;
const UUID_KEY_SUBVOL: u32 = 251;
const ROOT_TREE: u64 = super::ROOT_TREE;
const ROOT_ITEM: u32 = super::ROOT_ITEM;

/// `struct btrfs_ioctl_search_key` and `buf_size` of `struct btrfs_ioctl_search_args_v2`.
const HEAD: usize = 112;
/// `struct btrfs_ioctl_search_header`.
const HEADER: usize = 32;
/// Bytes that the kernel may fill at once.
const BUFFER: usize = 256 << 10;
/// No item is longer: a tree block has at most 64 KiB.
const ITEM_MAX: usize = (64 << 10) + HEADER;

const IOC_TREE_SEARCH_V2: u64 = (3 << 30) | ((HEAD as u64) << 16) | (MAGIC << 8) | 17;

/// `struct btrfs_ioctl_search_args_v2` with its buffer.
#[repr(C)]
struct Args {
    tree_id: u64,
    min_objectid: u64,
    max_objectid: u64,
    min_offset: u64,
    max_offset: u64,
    min_transid: u64,
    max_transid: u64,
    min_type: u32,
    max_type: u32,
    nr_items: u32,
    unused: u32,
    unused_tail: [u64; 4],
    buf_size: u64,
    buf: [u8; BUFFER],
}

const _: () = assert!(size_of::<Args>() == HEAD + BUFFER);

/// Where an item is in a tree; items are sorted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Inode number, in a subvolume's tree.
    pub objectid: u64,
    /// What it is; the numbers of `linux/btrfs_tree.h`.
    pub kind: u32,
    /// Depends on the kind.
    pub offset: u64,
}

impl Key {
    /// The first of all.
    pub const MIN: Self = Self { objectid: 0, kind: 0, offset: 0 };
    /// The last of all.
    pub const MAX: Self = Self { objectid: u64::MAX, kind: 255, offset: u64::MAX };

    fn next(self) -> Option<Self> {
        if let Some(offset) = self.offset.checked_add(1) {
            return Some(Self { offset, ..self });
        }
        if self.kind < 255 {
            return Some(Self { kind: self.kind + 1, offset: 0, ..self });
        }
        self.objectid.checked_add(1).map(|objectid| Self { objectid, kind: 0, offset: 0 })
    }
}

/// A subvolume open for searching, and the file system around it. It stays readable while it is being deleted.
pub struct Searcher {
    fs: OwnedFd,
    args: Box<Args>,
}

impl Searcher {
    /// Opens a subvolume.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::on(open_dir(path)?))
    }

    /// The subvolume that an open file or directory lies in.
    pub fn on(fs: OwnedFd) -> Self {
        let args = Args {
            tree_id: 0,
            min_objectid: 0,
            max_objectid: 0,
            min_offset: 0,
            max_offset: 0,
            min_transid: 0,
            max_transid: 0,
            min_type: 0,
            max_type: 0,
            nr_items: 0,
            unused: 0,
            unused_tail: [0; 4],
            buf_size: 0,
            buf: [0; BUFFER],
        };
        Self { fs, args: Box::new(args) }
    }

    /// Facts about the subvolume.
    ///
    /// # Errors
    /// `ENOTTY` on another file system.
    pub fn lineage(&self) -> io::Result<Lineage> {
        // SAFETY: `RawInfo` is made of integers only, for which all zeroes is a value.
        let mut raw: RawInfo = unsafe { std::mem::zeroed() };
        ioctl(self.fs.as_fd(), super::IOC_GET_SUBVOL_INFO, &mut raw)?;
        Ok(Lineage {
            id: raw.treeid,
            uuid: raw.uuid,
            parent_uuid: raw.parent_uuid,
            changed_in: raw.ctransid,
            made_in: raw.otransid,
        })
    }

    /// The same of another subvolume of this file system; `None` when no such one exists any more.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn find(&mut self, uuid: &[u8; 16]) -> io::Result<Option<Lineage>> {
        let half = |at: usize| u64::from_le_bytes(uuid[at..at + 8].try_into().unwrap_or_default());
        let key = Key { objectid: half(0), kind: UUID_KEY_SUBVOL, offset: half(8) };
        let mut id = None;
        self.each_in(UUID_TREE, (key, key), 0, &mut |_, body| {
            id = body.get(..8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
            true
        })?;
        let Some(id) = id else { return Ok(None) };
        let (first, last) =
            (Key { objectid: id, kind: ROOT_ITEM, offset: 0 }, Key { objectid: id, kind: ROOT_ITEM, offset: u64::MAX });
        let mut found = None;
        self.each_in(ROOT_TREE, (first, last), 0, &mut |_, body| {
            found = root_item(id, body);
            true
        })?;
        Ok(found.filter(|f| f.uuid == *uuid))
    }

    /// Hands over all items from the first to the last key, in order, that lie in tree blocks of
    /// generation `since` or later (and the others of the same leaves). Ends early when `f` gives
    /// false.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN`.
    pub fn each(&mut self, range: (Key, Key), since: u64, f: &mut dyn FnMut(Key, &[u8]) -> bool) -> io::Result<()> {
        self.each_in(0, range, since, f)
    }

    /// The same in any tree of the file system.
    ///
    /// # Errors
    /// As [`Searcher::each`].
    pub(super) fn each_in(
        &mut self,
        tree: u64,
        (mut first, last): (Key, Key),
        since: u64,
        f: &mut dyn FnMut(Key, &[u8]) -> bool,
    ) -> io::Result<()> {
        loop {
            self.ask(tree, first, last, since)?;
            let mut rest = self.args.buf.as_slice();
            let (mut used, mut seen) = (0, None);
            for _ in 0..self.args.nr_items {
                let Some((header, body)) = rest.split_at_checked(HEADER) else { break };
                let word = |at: usize| u64::from_ne_bytes(header[at..at + 8].try_into().unwrap_or_default());
                let half = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap_or_default());
                let len = half(28) as usize;
                let Some((body, after)) = body.split_at_checked(len) else { break };
                let key = Key { objectid: word(8), kind: half(24), offset: word(16) };
                seen = Some(key);
                if !f(key, body) {
                    return Ok(());
                }
                used += HEADER + len;
                rest = after;
            }
            // With room left for one more item of any length there was none.
            if used + ITEM_MAX <= BUFFER {
                return Ok(());
            }
            match seen.and_then(Key::next) {
                Some(next) if next <= last => first = next,
                _ => return Ok(()),
            }
        }
    }

    fn ask(&mut self, tree: u64, first: Key, last: Key, since: u64) -> io::Result<()> {
        #[cfg(test)]
        ASKED.set(ASKED.get() + 1);
        let args = &mut *self.args;
        args.tree_id = tree;
        (args.min_objectid, args.min_type, args.min_offset) = (first.objectid, first.kind, first.offset);
        (args.max_objectid, args.max_type, args.max_offset) = (last.objectid, last.kind, last.offset);
        (args.min_transid, args.max_transid) = (since, u64::MAX);
        args.nr_items = u32::MAX;
        args.buf_size = BUFFER as u64;
        // SAFETY: the kernel reads and writes the head, whose size is in the request's number, and
        // at most `buf_size` bytes behind it, which is the length of `buf`; `Args` is `repr(C)`,
        // made of integers only, and lives across the call.
        check(unsafe { libc::ioctl(self.fs.as_raw_fd(), IOC_TREE_SEARCH_V2 as _, std::ptr::from_mut(args)) }.into())
            .map(drop)
    }
}

#[cfg(test)]
thread_local! {
    static ASKED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How many searches this thread has made.
#[cfg(test)]
pub fn asked() -> u64 {
    ASKED.get()
}

/// What tells where a subvolume comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// Its tree's id.
    pub id: u64,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// UUID of the subvolume it is a snapshot of; zero for none.
    pub parent_uuid: [u8; 16],
    /// Transaction of the last change of an inode in it.
    pub changed_in: u64,
    /// Transaction in which it was made.
    pub made_in: u64,
}

/// Reads a `struct btrfs_root_item`; old ones end before the UUIDs.
fn root_item(id: u64, body: &[u8]) -> Option<Lineage> {
    let word = |at: usize| body.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let uuid = |at: usize| body.get(at..at + 16).and_then(|b| <[u8; 16]>::try_from(b).ok());
    Some(Lineage { id, uuid: uuid(247)?, parent_uuid: uuid(263)?, changed_in: word(295)?, made_in: word(303)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_each_other_across_kinds_and_objects() {
        let key = |objectid, kind, offset| Key { objectid, kind, offset };
        assert_eq!(key(1, 2, 3).next(), Some(key(1, 2, 4)));
        assert_eq!(key(1, 2, u64::MAX).next(), Some(key(1, 3, 0)));
        assert_eq!(key(1, 255, u64::MAX).next(), Some(key(2, 0, 0)));
        assert_eq!(Key::MAX.next(), None);
    }
}
