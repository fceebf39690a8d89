//! A container on its way out: the subvolumes that are sent, one against the other.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use super::pool::{Pool, Scratch};
use super::streams::send;
use crate::archive::manifest::{self, About, Base, ImageRef, Manifest, Role, Section, TEMPLATE_LAYOUT};
use crate::archive::{LEVEL, Writer};
use crate::error::{Context, Error, Result};
use crate::fault;
use crate::sys::btrfs;
use cowl_api::ContainerId;

/// Prefix of the ids of images that came in somebody's archive. They are never what new containers
/// are made from.
pub(super) const IMPORTED: &str = "imported-";

/// What to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// This snapshot instead of the disk as it is now.
    pub snapshot: Option<String>,
    /// Only what came after this snapshot.
    pub since: Option<String>,
    /// These snapshots as well, oldest first.
    pub snapshots: Vec<String>,
    /// The image as well; means nothing with `since`.
    pub with_image: bool,
    /// Level of compression.
    pub level: i32,
}

impl Default for Asked {
    fn default() -> Self {
        Self { snapshot: None, since: None, snapshots: Vec::new(), with_image: true, level: LEVEL }
    }
}

/// An export that is ready to be written. What was made for it goes when it is dropped.
pub struct Export {
    manifest: Manifest,
    level: i32,
    /// What is sent, and against what.
    streams: Vec<(PathBuf, Option<PathBuf>)>,
    /// The disk as it was.
    frozen: Option<Scratch>,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl Pool {
    /// Prepares an export: what is missing is told here, before anything is written.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a snapshot or disk that is not there, [`Error::Full`].
    pub fn export(&self, id: &ContainerId, asked: &Asked, about: About) -> Result<Export> {
        let present = |name: &String| {
            let path = self.snapshot(id, name);
            match btrfs::is_subvolume(&path).at("ask", &path)? {
                true => Ok(path),
                false => Err(Error::NotFound(format!("snapshot {name}"))),
            }
        };
        let since = asked.since.as_ref().map(present).transpose()?;
        let chosen = asked.snapshot.as_ref().map(present).transpose()?;
        let between = asked.snapshots.iter().filter(|name| Some(*name) != asked.snapshot.as_ref());
        let between: Vec<&String> = between.filter(|name| Some(*name) != asked.since.as_ref()).collect();
        let (state, frozen) = match chosen {
            Some(path) => (path, None),
            None => {
                let frozen = Scratch::new(self.temporary("export"));
                let disk = self.disk(id);
                if !btrfs::is_subvolume(&disk).at("ask", &disk)? {
                    return Err(Error::NotFound(format!("container {id}'s disk")));
                }
                fault::step("export: freeze the disk as it is");
                btrfs::snapshot_read_only(&disk, frozen.path()).context(|| format!("freeze container {id}'s disk"))?;
                (frozen.path().to_owned(), Some(frozen))
            }
        };
        let image_id = self.image_of(&state)?;
        let image = self.image_path(&image_id)?;
        let lineage =
            |path: &PathBuf| -> Result<String> { Ok(manifest::uuid(&btrfs::info(path).at("ask", path)?.lineage())) };
        let image_ref = ImageRef {
            id: image_id.strip_prefix(IMPORTED).unwrap_or(&image_id).to_owned(),
            uuid: lineage(&image)?,
            created_at: self.built(&image_id)?.created_at,
        };
        let (mut streams, mut sections) = (Vec::new(), Vec::new());
        let mut before = match &since {
            Some(path) => path.clone(),
            None => self.template(&image_id)?,
        };
        if asked.with_image && since.is_none() {
            sections.push(Section { role: Role::Image, uuid: image_ref.uuid.clone(), name: None });
            streams.push((image, None));
        }
        for name in between {
            let path = present(name)?;
            sections.push(Section { role: Role::Snapshot, uuid: lineage(&path)?, name: Some(name.clone()) });
            streams.push((path.clone(), Some(before)));
            before = path;
        }
        sections.push(Section { role: Role::Disk, uuid: lineage(&state)?, name: asked.snapshot.clone() });
        streams.push((state, Some(before)));
        let base = match (&asked.since, &since) {
            (Some(name), Some(path)) => Some(Base { name: name.clone(), uuid: lineage(path)? }),
            _ => None,
        };
        let manifest = Manifest {
            tool: concat!("cowl ", env!("CARGO_PKG_VERSION")).into(),
            created_at: jiff::Timestamp::now().to_string(),
            template_layout: TEMPLATE_LAYOUT,
            container: about,
            image: image_ref,
            base,
            sections,
        };
        Ok(Export { manifest, level: asked.level, streams, frozen })
    }
}

impl Export {
    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Writes it.
    ///
    /// # Errors
    /// Of sending, packing and writing; what was written by then is of no use.
    pub fn write(&self, out: &mut (dyn Write + Send)) -> Result<()> {
        let mut writer = Writer::begin(out, &self.manifest, self.level)?;
        for (subvolume, parent) in &self.streams {
            fault::step("export: send a stream");
            let (mut reader, pipe) = std::io::pipe().context(|| "make a pipe".into())?;
            let (sent, written) = std::thread::scope(|scope| {
                let sending = scope.spawn(move || send(subvolume, parent.as_deref(), Stdio::from(pipe)));
                let written = writer.section(&mut reader, self.level);
                // Whoever sends what nobody reads ends.
                drop(reader);
                (sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), written)
            });
            written?;
            sent?;
        }
        fault::step("export: end the archive");
        writer.end()?;
        Ok(())
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        fault::step("export: remove the frozen disk");
        drop(self.frozen.take());
    }
}
