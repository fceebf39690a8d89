//! Copying and moving inside the container.
//!
//! A copy is made beside its destination and put in place when whole. What an `overwrite` replaces is
//! exchanged for it in one step and only then removed.

use std::fs::{Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::path::CleanPath;
use super::write::{Draft, make_directories, sync_directory};
use crate::error::{KitError, KitResult};

/// Deepest tree that is copied.
const DEPTH_LIMIT: usize = 256;

/// Copies a file or a tree. Links stay links; modes and owners are kept; FIFOs, sockets and devices
/// are refused.
///
/// # Errors
/// 404, 409 for a destination that exists (without `overwrite`) or lies in the source, 403, 507.
pub fn copy(from: &CleanPath, to: &CleanPath, overwrite: bool) -> KitResult<()> {
    let directory = check(from, to)?;
    if !overwrite && to.as_path().symlink_metadata().is_ok() {
        return Err(exists(to));
    }
    let draft = Draft::reserve(&directory);
    copy_tree(from.as_path(), draft.path(), 0).map_err(|error| KitError::from_io(&from.display(), &error))?;
    place(draft, to, overwrite)
}

/// Moves a file or a tree, by copying where it crosses file systems.
///
/// # Errors
/// As [`copy`].
pub fn relocate(from: &CleanPath, to: &CleanPath, overwrite: bool) -> KitResult<()> {
    check(from, to)?;
    if from.is_root() {
        return Err(KitError::forbidden("/: not moved"));
    }
    let (source, target) = (from.as_path(), to.as_path());
    let flags =
        if overwrite && target.symlink_metadata().is_ok() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    match renameat_with(CWD, source, CWD, target, flags) {
        Ok(()) => {
            sync_directory(target);
            if flags == RenameFlags::EXCHANGE {
                // What was replaced is now at the source's name.
                super::write::remove(from)?;
            }
            sync_directory(source);
            Ok(())
        }
        Err(rustix::io::Errno::EXIST) => Err(exists(to)),
        // Another file system, or one without these flags.
        Err(rustix::io::Errno::XDEV | rustix::io::Errno::INVAL) => {
            copy(from, to, overwrite)?;
            super::write::remove(from)
        }
        Err(error) => Err(KitError::from_io(&from.display(), &error.into())),
    }
}

/// The directory of a possible destination, made if missing.
fn check(from: &CleanPath, to: &CleanPath) -> KitResult<std::path::PathBuf> {
    from.as_path().symlink_metadata().map_err(|error| KitError::from_io(&from.display(), &error))?;
    if to.as_path().starts_with(from.as_path()) {
        let message = format!("{}: lies in what is to be copied or moved", to.display());
        return Err(KitError::conflict(message));
    }
    if from.as_path().starts_with(to.as_path()) {
        return Err(KitError::conflict(format!("{}: contains what is to be copied or moved", to.display())));
    }
    let directory = to.as_path().parent().unwrap_or(Path::new("/")).to_owned();
    make_directories(&directory).map_err(|error| KitError::from_io(&directory.to_string_lossy(), &error))?;
    Ok(directory)
}

fn exists(to: &CleanPath) -> KitError {
    KitError::conflict(format!("{}: exists already (overwrite=true replaces it)", to.display()))
}

fn place(draft: Draft, to: &CleanPath, overwrite: bool) -> KitResult<()> {
    let failed = |error: io::Error| KitError::from_io(&to.display(), &error);
    match renameat_with(CWD, draft.path(), CWD, to.as_path(), RenameFlags::NOREPLACE) {
        Ok(()) => sync_directory(to.as_path()),
        Err(rustix::io::Errno::EXIST) if overwrite => {
            let exchanged = renameat_with(CWD, draft.path(), CWD, to.as_path(), RenameFlags::EXCHANGE);
            exchanged.map_err(|error| failed(error.into()))?;
            sync_directory(to.as_path());
        }
        Err(rustix::io::Errno::EXIST) => return Err(exists(to)),
        Err(error) => return Err(failed(error.into())),
    }
    // Dropping the draft removes what was exchanged for it, if anything.
    drop(draft);
    Ok(())
}

fn copy_tree(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth > DEPTH_LIMIT {
        return Err(io::Error::other(format!("{}: deeper than {DEPTH_LIMIT} directories", from.display())));
    }
    let found = from.symlink_metadata()?;
    if found.is_symlink() {
        symlink(std::fs::read_link(from)?, to)?;
        return lchown(to, Some(found.uid()), Some(found.gid()));
    }
    if found.is_dir() {
        std::fs::create_dir(to)?;
        for entry in std::fs::read_dir(from)? {
            let name = entry?.file_name();
            copy_tree(&from.join(&name), &to.join(&name), depth + 1)?;
        }
    } else if found.is_file() {
        // Shares blocks where the file system can.
        std::fs::copy(from, to)?;
        std::fs::File::open(to)?.sync_all()?;
    } else {
        let message = format!("{}: not a regular file, directory or link", from.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    like(to, &found)
}

/// Owner before mode: changing the owner clears the set-id bits.
fn like(path: &Path, model: &Metadata) -> io::Result<()> {
    let now = path.symlink_metadata()?;
    if (now.uid(), now.gid()) != (model.uid(), model.gid()) {
        lchown(path, Some(model.uid()), Some(model.gid()))?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(model.mode() & 0o7777))
}
