//! What differs between two moments of a container, from btrfs' own knowledge.
//!
//! ```text
//!   disk or snapshot ──► a subvolume that stays as it is (of a disk: a snapshot of this moment)
//!        │
//!        ├─ lineage   as of which transaction were both one?
//!        ├─ touched   which inodes changed since, by TREE_SEARCH: unchanged blocks are not read
//!        ├─ merged    the tree a person sees, `/usr` as overlayfs merges it
//!        ├─ walk      both trees side by side, only along the ways to what changed
//!        ├─ compare   does this entry differ, in what: extents before bytes
//!        └─ renames   what moved, what is new, what is gone
//! ```
//!
//! The cost is that of what changed, not that of what is there. Two disks without a common past
//! (another image) are compared entry by entry; also then by their trees' items, without opening
//! files that cannot be the same.
//!
//! What is told: the entries of the merged tree whose existence, type, content, link target,
//! device, mode, owner or extended attributes differ. Times alone are no difference. Subvolumes
//! inside a disk are in no snapshot and in no diff.
//!
//! | file | what |
//! |---|---|
//! | [`text`] | one file of both moments, as a unified diff |
//! | [`packages`], [`version`] | the packages of both moments |

mod compare;
mod items;
mod lineage;
mod merged;
pub mod packages;
mod path;
mod renames;
#[cfg(test)]
mod tests;
pub mod text;
mod touched;
pub mod version;
mod walk;

use std::path::{Path, PathBuf};

use super::pool::{Pool, Scratch};
use crate::error::{Context, Error, Result};
use crate::sys::btrfs;
use crate::sys::btrfs::search::Lineage;
use cowl_api::diff::{Change, Summary};

/// A disk as it was when this was made, or a snapshot. A copy that was made for it is removed when
/// it is dropped.
pub struct Still {
    path: PathBuf,
    _copy: Option<Scratch>,
}

impl Still {
    /// Its subvolume, which does not change.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Pool {
    /// A subvolume that holds what a disk or snapshot holds now, and goes on holding it.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a subvolume, [`Error::Full`].
    pub fn still(&self, subvolume: &Path) -> Result<Still> {
        if !btrfs::is_subvolume(subvolume).at("ask", subvolume)? {
            return Err(Error::NotFound(format!("disk {}", subvolume.display())));
        }
        if btrfs::is_read_only(subvolume).at("ask", subvolume)? {
            return Ok(Still { path: subvolume.to_owned(), _copy: None });
        }
        let copy = Scratch::new(self.temporary("diff"));
        btrfs::snapshot_read_only(subvolume, copy.path()).at("snapshot", subvolume)?;
        Ok(Still { path: copy.path().to_owned(), _copy: Some(copy) })
    }

    /// Tells what differs between two moments, entry by entry, at or below the path `below` (`/` for
    /// all). `tell` may end it by giving false; the sums are then those of what was told.
    ///
    /// # Errors
    /// [`Error::NotFound`] when a side does not exist.
    pub fn diff(
        &self,
        from: &Still,
        to: &Still,
        below: &[u8],
        tell: &mut dyn FnMut(Change) -> bool,
    ) -> Result<Summary> {
        let (image_a, image_b) = (self.image_of(from.path())?, self.image_of(to.path())?);
        let same_image = image_a == image_b;
        let (mut a, mut b) = (self.moment(from.path(), &image_a)?, self.moment(to.path(), &image_b)?);
        let template = if same_image { self.template_lineage(&image_a)? } else { None };
        let parted_in =
            lineage::parted_in(a.tree.disk(), b.tree.disk(), template).context(|| "compare pasts".into())?;
        a.tree.touch(parted_in).at("read", from.path())?;
        b.tree.touch(parted_in).at("read", to.path())?;
        let mut walk = walk::Walk::new(&mut a, &mut b, parted_in, same_image, tell);
        walk.below = below.strip_suffix(b"/").unwrap_or(below).to_vec();
        walk.run()
    }

    fn moment(&self, disk: &Path, image: &str) -> Result<compare::Moment> {
        let image = self.image_path(image)?;
        let open = |path: &Path| items::Items::open(path).at("open", path);
        let tree = merged::Merged::open(open(disk)?, open(&image)?, disk)?;
        Ok(compare::Moment { tree, disk: disk.to_owned(), image })
    }

    /// All disks of an image come from its template, which does not change once it is made.
    fn template_lineage(&self, image: &str) -> Result<Option<Lineage>> {
        match self.template(image) {
            Ok(path) => items::Items::open(&path).at("open", &path).map(|items| Some(items.lineage)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }
}
