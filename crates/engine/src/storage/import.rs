//! A container on its way in, from anybody: unpacked in `tmp/` under its quota, looked at, and only
//! then put in place, by renames of which the disk's is the last.
//!
//! The image that it needs is one of ours, when ours has the UUID that the archive names. Else the
//! archive has to bring it. An image that came in an archive is kept apart by its stream's digest
//! and used by nobody but who brings the same one: whatever it says it is, nothing else is ever made
//! from it. [`Pool::sweep_imported`] removes those that no disk is made from any more.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::export::IMPORTED;
use super::image::{Origin, tier_of};
use super::pool::{Pool, Scratch, names, remove};
use super::streams::Room;
use super::{arrived, identity};
use crate::archive::manifest::{self, Base, ImageRef, Manifest, Role};
use crate::archive::stream::Rules;
use crate::archive::{self, Reader};
use crate::error::{Context, Error, Result};
use crate::fault;
use crate::sys::btrfs;
use cowl_api::ContainerId;

/// Share of the pool that an import leaves free when it has no limit of its own: one in so many.
const RESERVE: u64 = 20;

/// What the receiver makes of a manifest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// Bytes the container may take while it is unpacked; `None` is what the pool can spare.
    pub limit: Option<u64>,
    /// Whether it goes on being the machine it was.
    pub keep_identity: bool,
}

/// A container that is unpacked but not in place. Goes when it is dropped.
pub struct Unpacked {
    /// What the last archive said.
    pub manifest: Manifest,
    /// The image it is made from, as it is called here.
    pub image_id: String,
    /// Names of the snapshots that came with it, oldest first.
    pub snapshots: Vec<String>,
    disk: PathBuf,
    kept: Vec<(String, PathBuf)>,
    /// All of it.
    room: Room,
}

impl std::fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacked").field("image_id", &self.image_id).finish_non_exhaustive()
    }
}

/// What has been received so far.
#[derive(Default)]
struct Progress {
    /// Received subvolumes by the UUID they go by.
    known: HashMap<String, PathBuf>,
    kept: Vec<(String, PathBuf)>,
    count: usize,
}

impl Pool {
    /// Unpacks an archive, or a chain of them, for a container that is to have this id. `terms`
    /// decides about each archive before anything of it is unpacked.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what is damaged, hostile or does not fit; [`Error::Full`]; what
    /// `terms` says. Nothing is left then.
    pub fn unpack_container(
        &self,
        id: &ContainerId,
        input: &mut dyn Read,
        terms: &mut dyn FnMut(&Manifest) -> Result<Terms>,
    ) -> Result<Unpacked> {
        let mut reader = Reader::new(input)?;
        let mut room = Room::new(self)?;
        let mut progress = Progress::default();
        let mut last = None;
        while let Some(manifest) = reader.manifest()? {
            let agreed = terms(&manifest)?;
            let limit = match agreed.limit {
                Some(limit) => limit,
                None => self.spare()?,
            };
            fault::step("import: set the limit");
            room.limit(&self.quotas, id, limit)?;
            let (image_id, received) = self.take(&mut reader, &manifest, &room, &mut progress, limit)?;
            last = Some((manifest, agreed, image_id, received));
        }
        let Some((manifest, agreed, image_id, received)) = last else {
            return Err(Error::Unsupported("this is not an archive of a Cowl container".into()));
        };
        let disk = room.path().join("disk");
        btrfs::snapshot(&received, &disk).context(|| "make the disk".into())?;
        // Overlayfs makes it anew; whatever lies there is not for it to find.
        let work = disk.join("ovl/work");
        for name in names(&work)? {
            remove(&work.join(name))?;
        }
        match agreed.keep_identity {
            true => identity::keep(&disk)?,
            false => identity::renew(&disk, id)?,
        }
        let snapshots = progress.kept.iter().map(|(name, _)| name.clone()).collect();
        Ok(Unpacked { manifest, image_id, snapshots, disk, kept: progress.kept, room })
    }

    /// Receives the sections of one archive; gives the image here and the disk's subvolume.
    fn take(
        &self,
        reader: &mut Reader<&mut dyn Read>,
        manifest: &Manifest,
        room: &Room,
        progress: &mut Progress,
        limit: u64,
    ) -> Result<(String, PathBuf)> {
        let base = manifest.base.as_ref().map(|base| self.base(base, progress)).transpose()?;
        let (image_id, mut parent) = match base {
            Some(path) => (self.image_of(&path)?, path),
            None => {
                let image_id = self.image_for(reader, manifest, limit)?;
                let template = self.template(&image_id)?;
                (image_id, template)
            }
        };
        let mut disk = PathBuf::new();
        for section in manifest.sections.iter().filter(|s| s.role != Role::Image) {
            let n = progress.count;
            progress.count += 1;
            // What a stream is put on must lie in the room, beyond which receiving sees nothing.
            let under = match parent.starts_with(room.path()) {
                true => parent,
                false => {
                    let copy = room.path().join(format!("base-{n}"));
                    btrfs::snapshot_read_only(&parent, &copy).at("snapshot", &parent)?;
                    copy
                }
            };
            let chosen = btrfs::info(&under).at("ask", &under)?.uuid;
            let name = format!("received-{n}");
            fault::step("import: receive a stream");
            let rules = Rules { name: &name, parent: Some(chosen), uuid: Some(&section.uuid) };
            let made = room.receive(&mut reader.section(), rules)?;
            arrived::check(&made, &image_id)?;
            if let Some(name) = &section.name {
                progress.kept.retain(|(known, _)| known != name);
                progress.kept.push((name.clone(), made.clone()));
            }
            progress.known.insert(section.uuid.clone(), made.clone());
            (disk, parent) = (made.clone(), made);
        }
        reader.end()?;
        Ok((image_id, disk))
    }

    /// Bytes that an import without a limit of its own may take.
    fn spare(&self) -> Result<u64> {
        let usage = self.usage()?;
        match usage.free.saturating_sub(usage.total / RESERVE) {
            0 => Err(Error::Full("there is no room for an import; delete snapshots or containers".into())),
            spare => Ok(spare),
        }
    }

    /// The snapshot that an increment is put on: received just before, or in the pool.
    fn base(&self, base: &Base, progress: &Progress) -> Result<PathBuf> {
        if let Some(path) = progress.known.get(&base.uuid) {
            return Ok(path.clone());
        }
        for id in self.disks()? {
            for name in self.snapshots(&id)? {
                let path = self.snapshot(&id, &name);
                let Ok(info) = btrfs::info(&path) else { continue };
                if manifest::uuid(&info.lineage()) == base.uuid && btrfs::is_read_only(&path).at("ask", &path)? {
                    return Ok(path);
                }
            }
        }
        Err(Error::Unsupported(format!(
            "the archive is an increment on snapshot {} ({}), which is not here; import the archive that holds it \
             first, or both in a row",
            base.name, base.uuid
        )))
    }

    /// The image that a whole archive's disk is put on; what the archive brings is received if it
    /// is not here.
    fn image_for(&self, reader: &mut Reader<&mut dyn Read>, manifest: &Manifest, limit: u64) -> Result<String> {
        let ours = self.own_image(&manifest.image)?;
        if !manifest.has_image() {
            return ours.ok_or_else(|| {
                Error::Unsupported(format!(
                    "the archive is made from image {}, which is neither in it nor here; export it with its image",
                    manifest.image.id
                ))
            });
        }
        match ours {
            Some(id) => {
                let copied = std::io::copy(&mut reader.section(), &mut std::io::sink());
                copied.map_err(|e| match e.kind() {
                    std::io::ErrorKind::InvalidData => Error::Unsupported(e.to_string()),
                    _ => Error::Sys { what: "read the archive".into(), source: e },
                })?;
                Ok(id)
            }
            None => self.receive_image(reader, &manifest.image, limit),
        }
    }

    /// An image built here, or brought by the owner, that is the one named.
    fn own_image(&self, image: &ImageRef) -> Result<Option<String>> {
        for id in names(&self.root.join("templates"))? {
            if tier_of(&id).is_none() || id.starts_with(IMPORTED) {
                continue;
            }
            let path = self.image_path(&id)?;
            let info = btrfs::info(&path).at("ask", &path)?;
            if manifest::uuid(&info.lineage()) == image.uuid {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    fn receive_image(&self, reader: &mut Reader<&mut dyn Read>, image: &ImageRef, limit: u64) -> Result<String> {
        // In a group of its own: an image counts for nobody.
        let group = ContainerId::generate();
        let mut room = Room::new(self)?;
        room.limit(&self.quotas, &group, limit)?;
        fault::step("import: receive the image");
        let mut section = Summed { input: reader.section(), sum: Sha256::new() };
        let tree = room.receive(&mut section, Rules { name: "image", parent: None, uuid: Some(&image.uuid) })?;
        let digest = archive::hex(&section.sum.finalize());
        let id = imported_id(&image.id, &digest)?;
        if self.template(&id).is_ok() {
            return match self.stream_of(&id)? {
                Some(known) if known == digest => Ok(id),
                _ => Err(Error::Unsupported(format!("the archive's image is not the one that is here as {id}"))),
            };
        }
        // Nothing of it is part of the group once it has a place.
        self.quotas.release(&group, &tree)?;
        btrfs::set_writable(&tree).at("make writable", &tree)?;
        fault::step("import: keep the image");
        self.adopt(Scratch::new(tree), &id, image.created_at, Origin { recipe: None, stream: Some(digest) })?;
        Ok(id)
    }

    /// Puts an unpacked container in place. Until the last step nothing of it can be seen.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is such a disk already.
    pub fn place(&self, id: &ContainerId, unpacked: Unpacked) -> Result<()> {
        let disk = self.disk(id);
        if btrfs::is_subvolume(&disk).at("ask", &disk)? {
            return Err(Error::Exists(format!("container {id}'s disk")));
        }
        let dir = self.root.join("snapshots").join(id.as_str());
        if !unpacked.kept.is_empty() {
            std::fs::create_dir_all(&dir).at("create", &dir)?;
        }
        for (name, path) in &unpacked.kept {
            fault::step("import: keep a snapshot");
            let place = dir.join(name);
            // A copy rather than a rename, which what is read-only does not take; it keeps the UUID
            // that increments go by.
            btrfs::snapshot_read_only(path, &place).at("snapshot", path)?;
            self.quotas.adopt(id, &place)?;
        }
        self.quotas.adopt(id, &unpacked.disk)?;
        fault::step("import: put the disk in place");
        std::fs::rename(&unpacked.disk, &disk).at("move the disk to", &disk)?;
        fault::step("import: commit");
        self.commit()?;
        // With it goes the limit of the unpacking; its own is set when it starts.
        drop(unpacked.room);
        Ok(())
    }

    /// Removes images that came in archives and that no disk or snapshot is made from any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn sweep_imported(&self) -> Result<()> {
        let mut used = Vec::new();
        let note = |path: &Path, used: &mut Vec<String>| used.extend(self.image_of(path));
        for id in self.disks()? {
            note(&self.disk(&id), &mut used);
        }
        for owner in names(&self.root.join("snapshots"))? {
            let dir = self.root.join("snapshots").join(owner);
            for name in names(&dir)? {
                note(&dir.join(name), &mut used);
            }
        }
        for id in names(&self.root.join("templates"))? {
            if id.starts_with(IMPORTED) && !used.contains(&id) {
                remove(&self.root.join("templates").join(&id))?;
                remove(&self.root.join("images").join(&id))?;
            }
        }
        Ok(())
    }
}

/// What an image of an archive is called here.
fn imported_id(id: &str, digest: &str) -> Result<String> {
    let stem = id.rsplit_once('-').map_or(id, |(stem, _)| stem);
    let id = format!("{IMPORTED}{stem}-{}", &digest[..8]);
    match tier_of(&id) {
        Some(_) => Ok(id),
        None => Err(Error::Unsupported("the archive's image has too long a name".into())),
    }
}

/// A reader that sums up what is read.
struct Summed<R> {
    input: R,
    sum: Sha256,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let n = self.input.read(room)?;
        self.sum.update(&room[..n]);
        Ok(n)
    }
}
