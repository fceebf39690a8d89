//! Reading items out of a file system's trees (`BTRFS_IOC_TREE_SEARCH`).

use std::io;
use std::os::fd::BorrowedFd;

use super::{READ, WRITE, ioctl, request};

/// Length of `struct btrfs_ioctl_search_header`.
const HEADER: usize = 32;
/// Items asked for at once; more than ever fit the buffer.
const AT_ONCE: u32 = 4096;

const IOC_TREE_SEARCH: u64 = request(READ | WRITE, 17, size_of::<SearchArgs>());

/// `struct btrfs_ioctl_search_args`.
#[repr(C)]
struct SearchArgs {
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
    buf: [u8; 4096 - 104],
}

const _: () = assert!(size_of::<SearchArgs>() == 4096);

/// Where an item lies in its tree. Ordered as the kernel orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What it is about, e.g. an inode number.
    pub objectid: u64,
    /// Type of the item.
    pub kind: u8,
    /// Third part, e.g. a position in a file.
    pub offset: u64,
}

/// Calls `each` for all items of a tree from `from` to `to`, in order, until it answers false.
/// `tree` 0 is the subvolume that `fs` lies in.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN, `ENOENT` without such a tree.
pub fn items(
    fs: BorrowedFd<'_>,
    tree: u64,
    from: Key,
    to: Key,
    each: &mut dyn FnMut(Key, &[u8]) -> bool,
) -> io::Result<()> {
    let mut next = from;
    loop {
        let mut args = SearchArgs {
            tree_id: tree,
            min_objectid: next.objectid,
            max_objectid: to.objectid,
            min_offset: next.offset,
            max_offset: to.offset,
            min_transid: 0,
            max_transid: u64::MAX,
            min_type: next.kind.into(),
            max_type: to.kind.into(),
            nr_items: AT_ONCE,
            unused: 0,
            unused_tail: [0; 4],
            buf: [0; 4096 - 104],
        };
        ioctl(fs, IOC_TREE_SEARCH, &mut args)?;
        if args.nr_items == 0 {
            return Ok(());
        }
        let mut rest = args.buf.as_slice();
        for _ in 0..args.nr_items {
            let Some((header, body)) = rest.split_at_checked(HEADER) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            let word = |at: usize| u64::from_ne_bytes(header[at..at + 8].try_into().unwrap_or_default());
            let half = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap_or_default());
            let Ok(kind) = u8::try_from(half(24)) else { return Err(io::ErrorKind::InvalidData.into()) };
            let key = Key { objectid: word(8), kind, offset: word(16) };
            let Some((item, after)) = body.split_at_checked(half(28) as usize) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            if key > to || !each(key, item) {
                return Ok(());
            }
            let Some(following) = key.next() else { return Ok(()) };
            next = following;
            rest = after;
        }
    }
}

impl Key {
    /// The least key above this one; none above the greatest.
    fn next(self) -> Option<Self> {
        if let Some(offset) = self.offset.checked_add(1) {
            return Some(Self { offset, ..self });
        }
        if let Some(kind) = self.kind.checked_add(1) {
            return Some(Self { kind, offset: 0, ..self });
        }
        Some(Self { objectid: self.objectid.checked_add(1)?, kind: 0, offset: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_key_is_the_least_that_is_greater() {
        let key = |objectid, kind, offset| Key { objectid, kind, offset };
        assert_eq!(key(1, 2, 3).next(), Some(key(1, 2, 4)));
        assert_eq!(key(1, 2, u64::MAX).next(), Some(key(1, 3, 0)));
        assert_eq!(key(1, 255, u64::MAX).next(), Some(key(2, 0, 0)));
        assert_eq!(key(u64::MAX, 255, u64::MAX).next(), None);
    }
}
