//! Changing files so that a reader sees the old or the new one, never half of either.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::{HeaderMap, header::CONTENT_LENGTH};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::path::CleanPath;
use super::regular::Regular;
use crate::error::{KitError, KitResult};

/// A new file beside the one it will replace. Removed when dropped before [`Draft::publish`].
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    published: bool,
}

impl Draft {
    /// Makes an empty, private file in `directory`.
    pub fn create(directory: &Path) -> io::Result<(Self, File)> {
        let path = directory.join(draft_name());
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((Self { path, published: false }, file))
    }

    /// A draft whose content is made by other means.
    pub fn reserve(directory: &Path) -> Self {
        Self { path: directory.join(draft_name()), published: false }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in the place of `target`, which is replaced if it is there.
    pub fn publish(mut self, target: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, target)?;
        self.published = true;
        sync_directory(target);
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        // Whichever of the two it is; nothing to do where it was never made.
        if std::fs::remove_file(&self.path).is_err() {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn draft_name() -> String {
    format!(".cowl-draft-{:016x}", rand::random::<u64>())
}

/// Makes a rename last; not all file systems can, and then the rename stands anyway.
pub fn sync_directory(path: &Path) {
    if let Some(directory) = path.parent().and_then(|parent| File::open(parent).ok()) {
        let _ = directory.sync_all();
    }
}

/// Where a write to `path` really goes, what is there, and what a new file there looks like.
struct Place {
    target: PathBuf,
    exists: bool,
    mode: u32,
    owner: (u32, u32),
}

/// Follows a link at the end, refuses what is no regular file, makes missing parents.
fn prepare(path: &CleanPath) -> KitResult<Place> {
    let shown = path.display();
    let failed = |error: io::Error| KitError::from_io(&shown, &error);
    let mut target = path.as_path().to_owned();
    if target.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
        target = target.canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => KitError::conflict(format!("{shown}: a link to nothing")),
            _ => failed(error),
        })?;
    }
    let Some(directory) = target.parent().map(Path::to_owned) else {
        return Err(KitError::conflict(format!("{shown}: is a directory")));
    };
    match target.symlink_metadata() {
        Ok(found) if found.is_dir() => Err(KitError::conflict(format!("{shown}: is a directory"))),
        Ok(found) if !found.is_file() => Err(KitError::forbidden(format!("{shown}: not a regular file"))),
        Ok(found) => Ok(Place { target, exists: true, mode: found.mode() & 0o7777, owner: (found.uid(), found.gid()) }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let owner = make_directories(&directory).map_err(failed)?;
            Ok(Place { target, exists: false, mode: 0o644, owner })
        }
        Err(error) => Err(failed(error)),
    }
}

/// Makes missing directories, each with the owner of the one above it; returns that owner, which new
/// files get too: what is put into a user's home is the user's.
pub fn make_directories(directory: &Path) -> io::Result<(u32, u32)> {
    match directory.metadata() {
        Ok(found) if found.is_dir() => return Ok((found.uid(), found.gid())),
        Ok(_) => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let parent = directory.parent().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let owner = make_directories(parent)?;
    match std::fs::create_dir(directory) {
        // Someone else was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => return Ok(owner),
        made => made?,
    }
    give(directory, owner)?;
    Ok(owner)
}

fn give(path: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    let found = path.symlink_metadata()?;
    if (found.uid(), found.gid()) == (uid, gid) {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Size of the file now, bytes.
    pub size: u64,
    /// Whether there was none before.
    pub created: bool,
}

/// Replaces `path` with the body, keeping mode and owner of what was there. Until the body has come
/// to its end nothing changes.
///
/// # Errors
/// 403, 409 as the place says; 507 when the disk is full; 400 when the body breaks off.
pub async fn replace(path: CleanPath, headers: &HeaderMap, body: Body) -> KitResult<Written> {
    let shown = path.display();
    let promised = content_length(headers);
    let (place, draft, file) = super::blocking({
        let shown = shown.clone();
        move || {
            let place = prepare(&path)?;
            // `prepare` saw a parent.
            let directory = place.target.parent().unwrap_or(Path::new("/"));
            let (draft, file) = Draft::create(directory).map_err(|error| KitError::from_io(&shown, &error))?;
            Ok((place, draft, file))
        }
    })
    .await?;
    let mut file = tokio::fs::File::from_std(file);
    let size = receive(&mut file, body, promised, &shown).await?;
    let file = file.into_std().await;
    super::blocking(move || {
        let finish = || -> io::Result<()> {
            let (uid, gid) = place.owner;
            let now = file.metadata()?;
            if (now.uid(), now.gid()) != (uid, gid) {
                fchown(&file, Some(uid), Some(gid))?;
            }
            file.set_permissions(Permissions::from_mode(place.mode))?;
            file.sync_all()?;
            draft.publish(&place.target)
        };
        finish().map_err(|error| KitError::from_io(&shown, &error))?;
        Ok(Written { size, created: !place.exists })
    })
    .await
}

/// Adds the body to the end of `path`, which is made if there is none. If the body breaks off, what
/// had been added is taken away again.
///
/// # Errors
/// As [`replace`].
pub async fn append(path: CleanPath, headers: &HeaderMap, body: Body) -> KitResult<Written> {
    let shown = path.display();
    let promised = content_length(headers);
    let (file, before, created) = super::blocking(move || {
        let place = prepare(&path)?;
        let opened = Regular::open_to_append(&path)?;
        if !place.exists {
            let (uid, gid) = place.owner;
            let given = fchown(&opened.file, Some(uid), Some(gid));
            given.map_err(|error| KitError::from_io(&path.display(), &error))?;
        }
        Ok((opened.file, u64::try_from(opened.stat.st_size).unwrap_or(0), !place.exists))
    })
    .await?;
    let spare = file.try_clone().map_err(|error| KitError::from_io(&shown, &error))?;
    let mut undo = Truncate { file: Some(spare), to: before };
    let mut file = tokio::fs::File::from_std(file);
    let added = receive(&mut file, body, promised, &shown).await?;
    file.sync_all().await.map_err(|error| KitError::from_io(&shown, &error))?;
    undo.file = None;
    Ok(Written { size: before + added, created })
}

/// Takes away an unfinished addition.
struct Truncate {
    /// None once it is finished.
    file: Option<File>,
    to: u64,
}

impl Drop for Truncate {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // If even this fails, the addition stays: there is no one to tell.
            let _ = file.set_len(self.to);
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Writes the body as it comes; memory does not grow with it.
async fn receive(file: &mut tokio::fs::File, body: Body, promised: Option<u64>, shown: &str) -> KitResult<u64> {
    let failed = |error: io::Error| KitError::from_io(shown, &error);
    let broken_off = || KitError::bad_request(format!("{shown}: the upload broke off; nothing was changed"));
    let mut stream = body.into_data_stream();
    let mut size = 0u64;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| broken_off())?;
        file.write_all(&chunk).await.map_err(failed)?;
        size += chunk.len() as u64;
    }
    if promised.is_some_and(|promised| promised != size) {
        return Err(broken_off());
    }
    file.flush().await.map_err(failed)?;
    Ok(size)
}

/// Makes a directory and its parents; says whether it was not there.
///
/// # Errors
/// 409 where something else is in the way.
pub fn make_directory(path: &CleanPath) -> KitResult<bool> {
    let existed = path.as_path().is_dir();
    make_directories(path.as_path()).map_err(|error| KitError::from_io(&path.display(), &error))?;
    Ok(!existed)
}

/// Removes a file, a link, or a directory with all that is in it.
///
/// # Errors
/// 403 for `/`; what the kernel says.
pub fn remove(path: &CleanPath) -> KitResult<()> {
    if path.is_root() {
        return Err(KitError::forbidden("/: not deleted"));
    }
    let failed = |error: io::Error| KitError::from_io(&path.display(), &error);
    if path.as_path().symlink_metadata().map_err(failed)?.is_dir() {
        // Follows no links, also under attack.
        std::fs::remove_dir_all(path.as_path()).map_err(failed)
    } else {
        std::fs::remove_file(path.as_path()).map_err(failed)
    }
}
