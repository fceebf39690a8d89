//! Images, containers and snapshots as btrfs subvolumes in one pool.
//!
//! ```text
//! POOL/images/<image-id>/                 golden image, full root file system, read-only subvolume
//! POOL/templates/<image-id>/              rootfs/ (usr emptied), ovl/{upper,work}, ino-pin, image
//! POOL/containers/<container-id>/         snapshot of the template; `image` names the image id
//! POOL/snapshots/<container-id>/<name>/   read-only snapshots of the container
//! POOL/kit/<sha256 prefix>/cowl-kit       read-only subvolume
//! POOL/tmp/                               half-made things; emptied when the pool is opened
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`pool`] | the open pool: its lock, layout and space |
//! | [`backing`] | what the pool lies on: a loop file or the host's btrfs |
//! | [`disks`] | containers' disks, snapshots, restore |
//! | `copies`, `identity` | disks from other containers' disks, and whose a disk is |
//! | [`carry`] | single files out of one tree into another |
//! | [`image`] | images and the templates made from them |
//! | [`build`] | a new image from Debian's packages |
//! | [`transfer`] | an image as one file |
//! | [`export`], [`import`] | a container as one file ([`crate::archive`]) |
//! | `streams` | running `btrfs send` and `btrfs receive` |
//! | `arrived`, `identity` | what is looked at and changed in a disk from elsewhere |
//! | [`kit`] | the kit's executable, one copy for all |
//! | [`prune`] | images and kits that nobody needs any more |
//! | [`size`] | what a subvolume takes |
//! | [`space`] | where the space is; scrubs and errors |
//! | [`dedupe`] | equal files of different disks, made to share their blocks |
//! | [`view`] | looking into a disk that does not run |
//! | `walk`, [`cached`] | regular files of a tree nobody vouches for; what of `/usr` is in memory |
//! | [`diff`] | what differs between two moments of a disk |
//! | `tree`, `owners` | the merged tree behind the view, and its users' names |
//! | `command` | running a program with a deadline |

mod arrived;
pub mod backing;
pub mod build;
pub mod cached;
pub mod carry;
mod command;
mod copies;
pub mod dedupe;
pub mod diff;
pub mod disks;
pub mod export;
mod hostile;
mod identity;
pub mod image;
pub mod import;
pub mod kit;
#[cfg(test)]
mod moved;
mod owners;
pub mod pool;
pub mod prune;
pub mod size;
pub mod space;
mod streams;
#[cfg(test)]
pub(crate) mod testing;
pub mod transfer;
mod tree;
pub mod view;
mod walk;
