//! Opening files that strangers name: only regular files, never waiting.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use super::path::CleanPath;
use crate::error::{KitError, KitResult};

/// Names on procfs that look like regular files and are windows into memory or endless.
const TRAPS: [&str; 8] = ["mem", "kmsg", "kcore", "pagemap", "kpagecount", "kpageflags", "kpagecgroup", "clear_refs"];
/// File systems whose files have no size to go by.
const PSEUDO: [i64; 7] = [0x9fa0, 0x6265_6572, 0x6367_7270, 0x27e_0eb, 0x6462_6720, 0x7472_6163, 0x7363_6673];
/// Most that is read of a file without a size, bytes.
const PSEUDO_LIMIT: u64 = 16 * 1024 * 1024;

/// An open file.
#[derive(Debug)]
pub struct Regular {
    /// Open for what was asked.
    pub file: File,
    /// Its stat.
    pub stat: rustix::fs::Stat,
    /// On procfs and its like: the size is a fiction.
    pub pseudo: bool,
}

impl Regular {
    /// Opens for reading, following links.
    ///
    /// # Errors
    /// 404, 403 for FIFOs, sockets, devices and windows into memory, 409 for directories.
    pub fn open(path: &CleanPath) -> KitResult<Self> {
        Self::open_with(path, OFlags::RDONLY, Mode::empty())
    }

    /// Opens for adding to its end, creating it where there is none.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_to_append(path: &CleanPath) -> KitResult<Self> {
        Self::open_with(path, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE, Mode::from_raw_mode(0o644))
    }

    fn open_with(path: &CleanPath, flags: OFlags, mode: Mode) -> KitResult<Self> {
        let shown = path.display();
        // A FIFO, device or terminal must not even be opened: that alone can have effects.
        match std::fs::metadata(path.as_path()) {
            Ok(found) => check_type(&shown, FileType::from_raw_mode(mode_of(&found)))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && flags.contains(OFlags::CREATE) => {}
            Err(error) => return Err(KitError::from_io(&shown, &error)),
        }
        let steady = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = rustix::fs::open(path.as_path(), flags | steady, mode)
            .map_err(|error| KitError::from_io(&shown, &error.into()))?;
        let failed = |error: rustix::io::Errno| KitError::from_io(&shown, &error.into());
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        check_type(&shown, FileType::from_raw_mode(stat.st_mode))?;
        let pseudo = PSEUDO.contains(&rustix::fs::fstatfs(&fd).map_err(failed)?.f_type);
        if pseudo && (flags.contains(OFlags::WRONLY) || is_trap(path.as_path())) {
            return Err(KitError::forbidden(format!("{shown}: not an ordinary file")));
        }
        Ok(Self { file: fd.into(), stat, pseudo })
    }

    /// All of a file without a size.
    ///
    /// # Errors
    /// What the kernel says; 413 when it does not end.
    pub fn read_pseudo(self, shown: &str) -> KitResult<Vec<u8>> {
        let mut content = Vec::new();
        match self.file.take(PSEUDO_LIMIT + 1).read_to_end(&mut content) {
            // Nothing to read yet; nobody waits here.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(KitError::from_io(shown, &error)),
            Ok(_) if content.len() as u64 > PSEUDO_LIMIT => {
                let message = format!("{shown}: a file without a size is served up to 16 MiB");
                return Err(KitError::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            Ok(_) => {}
        }
        Ok(content)
    }
}

fn mode_of(metadata: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt;
    metadata.mode()
}

fn check_type(shown: &str, kind: FileType) -> KitResult<()> {
    match kind {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(KitError::conflict(format!("{shown}: is a directory"))),
        other => Err(KitError::forbidden(format!("{shown}: not a regular file but a {}", word(other)))),
    }
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => "special file",
    }
}

/// By the name after all links: `/proc/self/mem` under whatever alias.
fn is_trap(path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real.file_name().is_some_and(|name| TRAPS.iter().any(|trap| name == *trap))
}
