//! Regular files of a hostile tree: found by path, opened beneath its root or not at all.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat2, statat};
use rustix::io::Errno;

/// Bytes that directories still to be read may take in memory.
pub(super) const PENDING_MAX: usize = 32 << 20;
/// Longest path, in bytes: shorter than the kernel's limit, so that a name can be added.
const PATH_MAX: usize = 3_800;

/// A subvolume that is searched.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    tops: &'static [&'static str],
    /// It is never changed.
    pub(super) fixed: bool,
}

impl Tree {
    /// Opens a subvolume of which the directories `tops` are searched.
    pub(super) fn open(path: &Path, tops: &'static [&'static str], fixed: bool) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::openat(CWD, path, flags, Mode::empty())?, tops, fixed })
    }

    fn beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        openat2(&self.root, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `ENOENT` for what is no regular file; it is not opened then.
    pub(super) fn file(&self, path: &[u8]) -> io::Result<File> {
        let found = self.beneath(path, OFlags::PATH)?;
        if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::RegularFile {
            return Err(Errno::NOENT.into());
        }
        // By descriptor, not by name: what was looked at is what is opened.
        let path = format!("/proc/self/fd/{}", found.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOATIME | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Tells path and size of every regular file of at least `least` bytes; gives the number of
    /// directories that were passed over because they are too deep, too many, or cannot be read.
    pub(super) fn files(&self, least: u64, stop: &dyn Fn() -> bool, found: &mut dyn FnMut(&[u8], u64)) -> u64 {
        let mut pending: Vec<Box<[u8]>> = self.tops.iter().map(|top| top.as_bytes().into()).collect();
        let (mut held, mut passed_over) = (0, 0);
        while let Some(path) = pending.pop() {
            held -= path.len().min(held);
            match self.directory(&path, least, stop, found) {
                Ok(below) => {
                    for dir in below.dirs {
                        if held + dir.len() > PENDING_MAX {
                            passed_over += 1;
                        } else {
                            held += dir.len();
                            pending.push(dir);
                        }
                    }
                    passed_over += below.passed_over;
                }
                // Gone or replaced since, or not there at all.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(_) => passed_over += 1,
            }
            if stop() {
                break;
            }
        }
        passed_over
    }

    fn directory(
        &self,
        path: &[u8],
        least: u64,
        stop: &dyn Fn() -> bool,
        found: &mut dyn FnMut(&[u8], u64),
    ) -> Result<Below, Errno> {
        let dir = self.beneath(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOATIME)?;
        let (mut below, mut held) = (Below::default(), 0);
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if stop() {
                break;
            }
            if name == c"."
                || name == c".."
                || !matches!(entry.file_type(), FileType::Directory | FileType::RegularFile)
            {
                continue;
            }
            let full = [path, b"/", name.to_bytes()].concat();
            if entry.file_type() == FileType::Directory {
                held += full.len();
                if full.len() > PATH_MAX || held > PENDING_MAX {
                    below.passed_over += 1;
                } else {
                    below.dirs.push(full.into());
                }
                continue;
            }
            let Ok(stat) = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && size >= least && stat.st_blocks > 0 {
                found(&full, size);
            }
        }
        Ok(below)
    }
}

/// What a directory holds beside files.
#[derive(Default)]
struct Below {
    dirs: Vec<Box<[u8]>>,
    passed_over: u64,
}
