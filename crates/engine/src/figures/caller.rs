//! Who made a call: its memory, its files, its rights. All of it is chosen by the container and may
//! change while we look.
//!
//! Everything is opened below one descriptor of `/proc/TID`, taken while the call was known to wait,
//! so a number used anew can never lead to another process. Files are opened by `O_PATH` only, which
//! asks no file system of the container anything. Paths are resolved on the first mount alone, else
//! from what the kernel has cached, else in full where the caller sees no FUSE that could hang.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, openat, openat2, readlinkat, statx};
use rustix::io::Errno;

/// Longest path with its end, as the kernel has it.
const PATH_MAX: usize = 4096;
const PAGE: u64 = 4096;
/// CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
const SEES_ALL: u64 = 1 << 1 | 1 << 2;

/// A thread whose call waits.
pub struct Caller {
    proc: OwnedFd,
}

/// What a thread may see, from `/proc/TID/status`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// File system uid, as the host knows it.
    pub uid: u32,
    /// File system gid.
    pub gid: u32,
    /// Other groups.
    pub groups: Vec<u32>,
    /// Effective capabilities.
    pub capabilities: u64,
    /// Its number in its own pid namespace.
    pub own_tid: u32,
}

impl Rights {
    fn parse(text: &str) -> Self {
        let mut rights = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let mut numbers = value.split_ascii_whitespace().map(|n| n.parse().unwrap_or(u32::MAX));
            match key {
                // Real, effective, saved, file system.
                "Uid" => rights.uid = numbers.nth(3).unwrap_or(u32::MAX),
                "Gid" => rights.gid = numbers.nth(3).unwrap_or(u32::MAX),
                "Groups" => rights.groups = numbers.collect(),
                "CapEff" => rights.capabilities = u64::from_str_radix(value.trim(), 16).unwrap_or(0),
                "NSpid" => rights.own_tid = numbers.next_back().unwrap_or(0),
                _ => {}
            }
        }
        rights
    }
}

/// A file system by a file on it.
pub struct Found {
    /// The file, by `O_PATH`.
    pub file: OwnedFd,
    /// Device number as stat(2) gives it.
    pub device: (u32, u32),
    /// Number of its mount in `mountinfo`.
    pub mount: u64,
}

impl Caller {
    /// The thread `tid`; the caller of this function checks afterwards that its call still waits.
    ///
    /// # Errors
    /// When it is gone.
    pub fn open(tid: u32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { proc: rustix::fs::open(format!("/proc/{tid}"), flags, Mode::empty())? })
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let mut text = Vec::new();
        let file = openat(&self.proc, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        // More mounts than fit are none of a machine in its senses.
        File::from(file).take(1 << 20).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// What it may see.
    ///
    /// # Errors
    /// When it is gone.
    pub fn rights(&self) -> io::Result<Rights> {
        self.read("status").map(|text| Rights::parse(&text))
    }

    fn walk(&self, top: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
        walk(top, path, || self.may_hang())
    }

    fn memory(&self) -> io::Result<File> {
        Ok(openat(&self.proc, "mem", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?.into())
    }

    /// Writes into its memory.
    ///
    /// # Errors
    /// Where nothing is.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.memory()?.write_all_at(bytes, at)
    }

    /// Reads a path from its memory.
    ///
    /// # Errors
    /// Where nothing is; when it does not end.
    pub fn path(&self, at: u64) -> io::Result<PathBuf> {
        read_path(&self.memory()?, at)
    }

    /// The file system of one of its descriptors.
    ///
    /// # Errors
    /// When there is none of that number.
    pub fn descriptor(&self, number: i32) -> io::Result<Found> {
        // A path to the open file: nothing is asked of its file system, and closing it tells nobody.
        let file = openat(&self.proc, format!("fd/{number}"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        found(file)
    }

    /// The file system of one of its paths, if its own rights reach it. `root` is the container's
    /// root user.
    ///
    /// # Errors
    /// When there is no such path, or only by asking a file system that may not answer.
    pub fn resolve(&self, path: &Path, root: u32) -> io::Result<Found> {
        let place =
            |name: &str| openat(&self.proc, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let top = place("root")?;
        let rights = self.rights()?;
        if path.is_absolute() {
            return with_rights(&rights, root, || self.walk(&top, path)).and_then(found);
        }
        let link = readlinkat(&self.proc, "cwd", Vec::new())?;
        let here = PathBuf::from(OsString::from_vec(link.into_bytes()));
        // The name may be of a place outside of its root, or deleted: it must lead back to the place.
        let named = found(self.walk(&top, &here)?)?;
        let real = place("cwd")?;
        if inode(&named.file)? != inode(&real)? {
            return Err(Errno::XDEV.into());
        }
        with_rights(&rights, root, || self.walk(&top, &here.join(path))).and_then(found)
    }

    /// Whether a file system may be mounted where it is that waits for a program of the container.
    fn may_hang(&self) -> bool {
        self.read("mountinfo").map_or(true, |text| has_fuse(&text))
    }

    /// The type of the file system of a mount in its mount namespace, e.g. `overlay`.
    pub fn mount_type(&self, mount: u64) -> Option<String> {
        mount_type(&self.read("mountinfo").ok()?, mount)
    }
}

/// Whether a table of mounts has a FUSE other than lxcfs.
fn has_fuse(mountinfo: &str) -> bool {
    let kinds = mountinfo.lines().filter_map(|line| line.split_once(" - ")?.1.split(' ').next());
    kinds.into_iter().any(|kind| kind.starts_with("fuse") && kind != "fuse.lxcfs")
}

fn read_path(memory: &impl FileExt, at: u64) -> io::Result<PathBuf> {
    let mut path = Vec::new();
    while path.len() < PATH_MAX {
        let from = at.checked_add(path.len() as u64).ok_or(Errno::FAULT)?;
        // Never beyond a page: the next one need not be there.
        let step = usize::try_from(PAGE - from % PAGE).unwrap_or(1);
        let mut piece = vec![0; step];
        let n = memory.read_at(&mut piece, from)?;
        if n == 0 {
            return Err(Errno::FAULT.into());
        }
        piece.truncate(n);
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            path.extend_from_slice(&piece[..end]);
            if path.len() >= PATH_MAX {
                break;
            }
            return Ok(PathBuf::from(OsString::from_vec(path)));
        }
        path.extend_from_slice(&piece);
    }
    Err(Errno::NAMETOOLONG.into())
}

/// Resolves a path as somebody does whose root is `top`, asking other mounts than the first only if
/// none can hang.
fn walk(top: &OwnedFd, path: &Path, may_hang: impl Fn() -> bool) -> io::Result<OwnedFd> {
    let confined = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let open = |more| openat2(top, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), confined | more);
    match open(ResolveFlags::NO_XDEV) {
        // On other mounts there may be a FUSE that never answers: what is cached can be had even so.
        Err(Errno::XDEV) => match open(ResolveFlags::CACHED) {
            Err(Errno::AGAIN) if !may_hang() => Ok(open(ResolveFlags::empty())?),
            other => Ok(other?),
        },
        other => Ok(other?),
    }
}

/// Runs `body` with the rights of a thread inside, so that nobody learns by us of what lies in
/// directories closed to them. Only this thread of ours changes.
fn with_rights<T>(rights: &Rights, root: u32, body: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
    if rights.uid == root && rights.capabilities & SEES_ALL != 0 {
        return body();
    }
    let groups: Vec<_> =
        rights.groups.iter().filter(|n| **n != u32::MAX).map(|n| rustix::fs::Gid::from_raw(*n)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    setfsgid(Gid::from_raw(rights.gid));
    // Away from 0 the kernel takes the capabilities over files, and gives them back at 0.
    setfsuid(Uid::from_raw(rights.uid));
    // Both say nothing when they fail; asking again tells.
    let changed = setfsuid(Uid::from_raw(rights.uid)).as_raw() == rights.uid
        && setfsgid(Gid::from_raw(rights.gid)).as_raw() == rights.gid;
    let out = if changed { body() } else { Err(Errno::PERM.into()) };
    setfsuid(Uid::from_raw(0));
    setfsgid(Gid::from_raw(0));
    rustix::thread::set_thread_groups(&[])?;
    out
}

fn found(file: OwnedFd) -> io::Result<Found> {
    let about = look(&file, StatxFlags::MNT_ID)?;
    Ok(Found { device: (about.stx_dev_major, about.stx_dev_minor), mount: about.stx_mnt_id, file })
}

/// What the kernel knows of a file without asking its file system.
fn look(file: &OwnedFd, what: StatxFlags) -> io::Result<rustix::fs::Statx> {
    Ok(statx(file, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, what)?)
}

fn inode(file: &OwnedFd) -> io::Result<(u32, u32, u64)> {
    let about = look(file, StatxFlags::INO)?;
    Ok((about.stx_dev_major, about.stx_dev_minor, about.stx_ino))
}

fn mount_type(mountinfo: &str, mount: u64) -> Option<String> {
    let line = mountinfo.lines().find(|line| line.split(' ').next().and_then(|n| n.parse().ok()) == Some(mount))?;
    Some(line.split_once(" - ")?.1.split(' ').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rights_are_those_over_files() {
        let text = "Name:\tUid: 7\nUid:\t1\t2\t3\t1000\nGid:\t1\t2\t3\t100\nGroups:\t4 24 \nNSpid:\t900\t17\n\
            CapEff:\t0000000000000002\n";
        let rights = Rights { uid: 1000, gid: 100, groups: vec![4, 24], capabilities: 2, own_tid: 17 };
        assert_eq!(Rights::parse(text), rights);
    }

    #[test]
    fn our_own_memory_gives_a_path_and_takes_bytes() {
        let me = Caller::open(std::process::id()).unwrap();
        let text = std::ffi::CString::new("/etc/../usr").unwrap();
        assert_eq!(me.path(text.as_ptr() as u64).unwrap(), Path::new("/etc/../usr"));
        let long = vec![b'x'; PATH_MAX + 10];
        assert!(me.path(long.as_ptr() as u64).is_err());
        for nowhere in [0, 8, u64::MAX, u64::MAX / 2] {
            assert!(me.path(nowhere).is_err() && me.write(nowhere, &[1]).is_err(), "{nowhere:x}");
        }
    }

    #[test]
    fn a_mount_is_found_by_its_number() {
        let text = "36 35 98:0 /mnt1 /mnt2 rw - ext3 /dev/root rw\n361 35 0:9 / / rw shared:1 - overlay overlay rw\n";
        assert_eq!(mount_type(text, 361).as_deref(), Some("overlay"));
        assert_eq!(mount_type(text, 3), None);
        assert!(!has_fuse(text) && !has_fuse("1 2 0:9 / /proc/stat rw - fuse.lxcfs lxcfs rw"));
        assert!(has_fuse("1 2 0:9 / /mnt rw - fuse hang rw") && has_fuse("1 2 0:9 / /mnt rw - fuse.sshfs x rw"));
    }

    #[test]
    fn paths_stay_below_their_root_and_other_mounts_are_not_asked() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
        let top: OwnedFd = File::open(dir.path()).unwrap().into();
        let expected = inode(&File::open(dir.path().join("etc")).unwrap().into()).unwrap();
        for path in ["/etc", "link", "/../../etc", "/link/../link"] {
            assert_eq!(inode(&walk(&top, Path::new(path), || true).unwrap()).unwrap(), expected, "{path}");
        }
        let host: OwnedFd = File::open("/").unwrap().into();
        // Its magic link is not followed, whatever is cached.
        assert!(walk(&host, Path::new("/proc/self/root/etc"), || false).is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parsers(text in ".{0,400}", number: u64) {
            let _ = Rights::parse(&text);
            let _ = (mount_type(&text, number), has_fuse(&text));
        }

        #[test]
        fn a_path_is_read_up_to_its_end_wherever_pages_end(at in 0u64..9000, length in 0usize..5000) {
            let file = tempfile::tempfile().unwrap();
            let path = vec![b'p'; length];
            file.write_all_at(&path, at).unwrap();
            file.write_all_at(&[0, b'x'], at + length as u64).unwrap();
            match read_path(&file, at) {
                Ok(read) => prop_assert_eq!(read.as_os_str().len(), length),
                Err(_) => prop_assert!(length >= PATH_MAX),
            }
        }
    }
}
