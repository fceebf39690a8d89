//! Mounts that make a container nicer but that it can boot without: its own view of `/proc`
//! ([`super::proc_files`]), its [`ramdisk`], the door for [`shares`]. One that fails is told in the
//! shim's log and left out.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, move_mount};

use super::proc_files;
use super::stage::{Channel, Message};
use crate::error::Result;
use crate::launch::{Root, ShimSpec};
use crate::{ramdisk, shares};

/// A detached mount and where it goes inside.
pub type Addition = (String, OwnedFd);

/// What the container of `spec` gets; owners are mapped through `userns`.
pub fn gather(spec: &ShimSpec, userns: &File) -> Vec<Addition> {
    // An image that boots for the first time must not see anything of this machine.
    if matches!(spec.root, Root::Plain { .. }) {
        return Vec::new();
    }
    let mut all = proc_files::clone_all(&spec.run_dir);
    match shares::open_door(&spec.run_dir, &spec.container.id) {
        Ok(door) => all.push((shares::INSIDE.to_owned(), door)),
        Err(e) => eprintln!("cowl shim {}: no {}: {e}", spec.container.id, shares::INSIDE),
    }
    if let Some(asked) = &spec.container.ramdisk {
        match ramdisk::clone_mounts(&spec.run_dir, &spec.container.id, asked, userns) {
            Ok(mounts) => all.extend(mounts),
            Err(e) => eprintln!("cowl shim {}: no /ramdisk: {e}", spec.container.id),
        }
    }
    all
}

/// Sends them to the new-born init.
///
/// # Errors
/// When it is gone.
pub fn send(channel: &Channel, additions: &[Addition]) -> Result<()> {
    let at = additions.iter().map(|(path, _)| path.clone()).collect();
    let fds: Vec<_> = additions.iter().map(|(_, mount)| mount.as_fd()).collect();
    channel.send(&Message::Additions { at }, &fds)
}

/// Attaches them, inside and after the container's root has become `/`.
pub fn attach(additions: &[Addition]) {
    for (path, mount) in additions {
        if [ramdisk::INSIDE, shares::INSIDE].contains(&path.as_str()) {
            // Failing to make it fails the attachment, which is told.
            let _ = std::fs::create_dir_all(path);
        }
        // A link that the container has put there is not followed, as T_SYMLINKS is not set.
        if let Err(e) = move_mount(mount, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH) {
            eprintln!("cowl: nothing is mounted at {path}: {e}");
        }
    }
}
