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
//! | [`image`] | images and the templates made from them |
//! | [`build`] | a new image from Debian's packages |
//! | [`transfer`] | an image as one file |
//! | [`export`], [`import`] | a container as one file ([`crate::engine::archive`]) |
//! | `streams` | running `btrfs send` and `btrfs receive` |
//! | `arrived`, `identity` | what is looked at and changed in a disk from elsewhere |
//! | [`kit`] | the kit's executable, one copy for all |
//! | [`size`] | what a subvolume takes |
//! | [`view`] | looking into a disk that does not run |
//! | `tree`, `owners` | the merged tree behind the view, and its users' names |
//! | `command` | running a program with a deadline |

mod arrived;
pub mod backing;
pub mod build;
mod command;
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
pub mod size;
mod streams;
#[cfg(test)]
pub(crate) mod testing;
pub mod transfer;
mod tree;
pub mod view;
