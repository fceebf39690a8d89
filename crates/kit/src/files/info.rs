//! What is known about files: directory listings and `stat`.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::path::CleanPath;
use crate::error::{KitError, KitResult};
use cowl_api::files::{Entry, Listing, PathType, Stat};

/// Entries of one listing.
const ENTRY_LIMIT: usize = 200_000;

/// The container's own names for users and groups.
#[derive(Debug)]
pub struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    /// Reads `/etc/passwd` and `/etc/group`. Missing files mean that only numbers are known.
    pub fn load() -> Self {
        let table = |file: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let entry = |line: &str| {
                let mut fields = line.split(':');
                let name = fields.next()?.to_owned();
                Some((fields.nth(1)?.parse().ok()?, name))
            };
            // Of several names for a number the first counts.
            text.lines().rev().filter_map(entry).collect()
        };
        Self { users: table("/etc/passwd"), groups: table("/etc/group") }
    }

    /// A user's name, or number.
    pub fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// A group's name, or number.
    pub fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }

    /// The number of a user given by name or number.
    pub fn uid(&self, text: &str) -> Option<u32> {
        find(&self.users, text)
    }

    /// The number of a group given by name or number.
    pub fn gid(&self, text: &str) -> Option<u32> {
        find(&self.groups, text)
    }
}

fn find(table: &HashMap<u32, String>, text: &str) -> Option<u32> {
    // The last number means "no change" to the kernel and is nobody's.
    let number = || text.parse().ok().filter(|number| *number != u32::MAX);
    table.iter().find(|(_, name)| *name == text).map(|(number, _)| *number).or_else(number)
}

/// A path seen with and without following a last link.
struct Seen {
    itself: Metadata,
    target: Option<Metadata>,
    link: Option<String>,
}

impl Seen {
    fn look(path: &Path) -> io::Result<Self> {
        let itself = path.symlink_metadata()?;
        if !itself.is_symlink() {
            return Ok(Self { itself, target: None, link: None });
        }
        let link = std::fs::read_link(path).ok().map(|target| target.to_string_lossy().into_owned());
        Ok(Self { itself, target: path.metadata().ok(), link })
    }

    /// What counts for size, time and owner: the target of a link, the link itself when it dangles.
    fn metadata(&self) -> &Metadata {
        self.target.as_ref().unwrap_or(&self.itself)
    }

    fn path_type(&self) -> PathType {
        match (self.itself.is_symlink(), self.metadata().is_dir()) {
            (false, false) => PathType::File,
            (false, true) => PathType::Dir,
            (true, false) => PathType::SymlinkFile,
            (true, true) => PathType::SymlinkDir,
        }
    }

    fn size(&self) -> u64 {
        if self.metadata().is_dir() { 0 } else { self.metadata().len() }
    }

    fn mtime(&self) -> i64 {
        self.metadata().mtime().saturating_mul(1000).saturating_add(self.metadata().mtime_nsec() / 1_000_000)
    }

    fn permissions(&self) -> String {
        format!("{:o}", self.metadata().mode() & 0o7777)
    }
}

/// Lists a directory. Entries that vanish meanwhile are left out.
///
/// # Errors
/// What the kernel says; 413 for more than 200,000 entries.
pub fn list(path: &CleanPath) -> KitResult<Listing> {
    let shown = path.display();
    let failed = |error: &io::Error| KitError::from_io(&shown, error);
    let names = Names::load();
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(path.as_path()).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let Ok(seen) = Seen::look(&entry.path()) else { continue };
        if paths.len() >= ENTRY_LIMIT {
            let message = format!("{shown}: more than {ENTRY_LIMIT} entries; use glob");
            return Err(KitError::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        paths.push(Entry {
            name: entry.file_name().to_string_lossy().into_owned(),
            path_type: seen.path_type(),
            size: seen.size(),
            mtime: seen.mtime(),
            revisions: None,
            permissions: Some(seen.permissions()),
            owner: Some(names.user(seen.metadata().uid())),
            group: Some(names.group(seen.metadata().gid())),
            symlink_target: seen.link,
        });
    }
    let is_file = |entry: &Entry| matches!(entry.path_type, PathType::File | PathType::SymlinkFile);
    paths.sort_by(|a, b| is_file(a).cmp(&is_file(b)).then_with(|| a.name.cmp(&b.name)));
    Ok(Listing {
        kind: "Index".into(),
        href: shown,
        paths,
        allow_upload: true,
        allow_delete: true,
        allow_search: true,
        allow_archive: false,
        dir_exists: true,
    })
}

/// Describes one path.
///
/// # Errors
/// What the kernel says.
pub fn stat(path: &CleanPath) -> KitResult<Stat> {
    let seen = Seen::look(path.as_path()).map_err(|error| KitError::from_io(&path.display(), &error))?;
    let names = Names::load();
    Ok(Stat {
        name: path.name(),
        path: path.display(),
        path_type: seen.path_type(),
        size: seen.size(),
        permissions: seen.permissions(),
        owner: names.user(seen.metadata().uid()),
        group: names.group(seen.metadata().gid()),
        mtime: seen.mtime(),
        revisions: None,
        is_symlink: seen.itself.is_symlink(),
        symlink_target: seen.link,
    })
}
