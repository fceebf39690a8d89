//! Where a file's bytes lie on disk, from the subvolume's own tree: much cheaper than FIEMAP, which
//! looks for sharers of every extent.

use std::io;
use std::os::fd::BorrowedFd;

use super::{SearchArgs, ioctl};

/// Item in a subvolume's tree: `(inode, EXTENT_DATA, offset in the file)`.
const EXTENT_DATA: u32 = 108;
/// `type` of an item whose bytes lie elsewhere on disk.
const REGULAR: u8 = 1;
/// Bytes of `struct btrfs_ioctl_search_header`.
const HEADER: usize = 32;

/// A piece of a file that lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Where in the file.
    pub at: u64,
    /// Where on disk the extent begins, in btrfs' own address space.
    pub disk: u64,
    /// Where in the (uncompressed) extent the piece begins.
    pub offset: u64,
    /// Bytes of the file.
    pub length: u64,
}

impl Extent {
    /// Lengthens it by a piece that follows it in the file and on disk alike; false when it does
    /// not. Where one file has one piece, another that shares its blocks may have two.
    fn take(&mut self, next: &Self) -> bool {
        let follows = next.disk == self.disk
            && self.at.checked_add(self.length) == Some(next.at)
            && self.offset.checked_add(self.length) == Some(next.offset);
        if follows {
            self.length = self.length.saturating_add(next.length);
        }
        follows
    }
}

/// Tells all pieces of a file in order, each as long as it can be. Holes, what is preallocated, what is small enough to lie
/// in the tree and what is not written yet are left out.
///
/// # Errors
/// `ENOTTY` on another file system, `EPERM` without CAP_SYS_ADMIN.
pub fn each(file: BorrowedFd<'_>, inode: u64, mut tell: impl FnMut(Extent)) -> io::Result<()> {
    let mut min_offset = 0;
    let mut held: Option<Extent> = None;
    let mut join = |next: Extent| {
        if !held.as_mut().is_some_and(|held| held.take(&next))
            && let Some(whole) = held.replace(next)
        {
            tell(whole);
        }
    };
    loop {
        let mut args = SearchArgs {
            // The tree of the subvolume the file is in.
            tree_id: 0,
            min_objectid: inode,
            max_objectid: inode,
            min_offset,
            max_offset: u64::MAX,
            min_transid: 0,
            max_transid: u64::MAX,
            min_type: EXTENT_DATA,
            max_type: EXTENT_DATA,
            nr_items: 4096,
            unused: 0,
            unused_tail: [0; 4],
            buf: [0; 4096 - 104],
        };
        ioctl(file, super::IOC_TREE_SEARCH, &mut args)?;
        match parse(&args.buf, args.nr_items, &mut join).and_then(|last| last.checked_add(1)) {
            Some(next) => min_offset = next,
            None => break,
        }
    }
    if let Some(last) = held {
        tell(last);
    }
    Ok(())
}

/// Reads the items of a search; gives the offset of the last, `None` when there was none.
fn parse(buf: &[u8], items: u32, tell: &mut impl FnMut(Extent)) -> Option<u64> {
    let word = |bytes: &[u8], at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let mut rest = buf;
    let mut last = None;
    for _ in 0..items {
        let (header, body) = rest.split_at_checked(HEADER)?;
        // The header is in the machine's order, the item in the disk's.
        let at = u64::from_ne_bytes(header[16..24].try_into().ok()?);
        let length = u32::from_ne_bytes(header[28..32].try_into().ok()?) as usize;
        let (item, after) = body.split_at_checked(length)?;
        last = Some(at);
        rest = after;
        if item.get(20) != Some(&REGULAR) {
            continue;
        }
        if let (Some(disk), Some(offset), Some(length)) = (word(item, 21), word(item, 37), word(item, 45))
            && disk != 0
        {
            tell(Extent { at, disk, offset, length });
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pieces_that_continue_each_other_are_one() {
        let mut piece = Extent { at: 0, disk: 1 << 30, offset: 4096, length: 8192 };
        assert!(piece.take(&Extent { at: 8192, disk: 1 << 30, offset: 12_288, length: 4096 }));
        assert_eq!(piece.length, 12_288);
        for other in [
            Extent { at: 12_288, disk: 2 << 30, offset: 16_384, length: 4096 },
            Extent { at: 16_384, disk: 1 << 30, offset: 16_384, length: 4096 },
            Extent { at: 12_288, disk: 1 << 30, offset: 0, length: 4096 },
        ] {
            assert!(!piece.take(&other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_breaks_the_reader(buf in prop::collection::vec(any::<u8>(), 0..600), items in 0u32..50) {
            let mut seen = 0;
            parse(&buf, items, &mut |_| seen += 1);
            prop_assert!(seen <= items);
        }
    }
}
