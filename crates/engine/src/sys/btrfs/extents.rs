//! Where a file's bytes lie on disk, from the subvolume's own tree: much cheaper than FIEMAP, which
//! looks for sharers of every extent.

use std::io;
use std::os::fd::BorrowedFd;

use super::search::{Key, Searcher};

/// Item in a subvolume's tree: `(inode, EXTENT_DATA, offset in the file)`.
const EXTENT_DATA: u32 = 108;
/// `type` of an item whose bytes lie elsewhere on disk.
const REGULAR: u8 = 1;

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
    let mut held: Option<Extent> = None;
    let mut join = |next: Extent| {
        if !held.as_mut().is_some_and(|held| held.take(&next))
            && let Some(whole) = held.replace(next)
        {
            tell(whole);
        }
    };
    let key = |offset| Key { objectid: inode, kind: EXTENT_DATA, offset };
    Searcher::on(file.try_clone_to_owned()?).each((key(0), key(u64::MAX)), 0, &mut |key, item| {
        if let Some(piece) = piece(key.offset, item) {
            join(piece);
        }
        true
    })?;
    if let Some(last) = held {
        tell(last);
    }
    Ok(())
}

/// Reads a `struct btrfs_file_extent_item`; none of what does not lie elsewhere on disk.
fn piece(at: u64, item: &[u8]) -> Option<Extent> {
    let word = |at: usize| Some(u64::from_le_bytes(item.get(at..at + 8)?.try_into().ok()?));
    if item.get(20) != Some(&REGULAR) {
        return None;
    }
    let (disk, offset, length) = (word(21)?, word(37)?, word(45)?);
    (disk != 0).then_some(Extent { at, disk, offset, length })
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
        fn no_item_breaks_the_reader(at: u64, item in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(piece) = piece(at, &item) {
                prop_assert!(piece.at == at && piece.disk != 0);
            }
        }
    }
}
