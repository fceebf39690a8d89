//! Images, containers and snapshots as btrfs subvolumes in one pool.
//!
//! ```text
//! POOL/images/<image-id>/                 golden image, full root file system, read-only subvolume
//! POOL/templates/<image-id>/              rootfs/ (usr emptied), ovl/{upper,work}, ino-pin, image
//! POOL/containers/<container-id>/         snapshot of the template; `image` names the image id
//! POOL/snapshots/<container-id>/<name>/   read-only snapshots of the container
//! POOL/kit/<sha256 prefix>/cowl-kit       read-only subvolume
//! ```

pub mod pool;
pub mod view;
