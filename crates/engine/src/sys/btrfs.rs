//! The few btrfs ioctls that storage needs, with errno kept.
//!
//! Numbers and layouts are those of `linux/btrfs.h` and `linux/btrfs_tree.h`. Every operation
//! names a subvolume by path; the last component is never followed when it is a link. Quota groups
//! are in [`quota`], the reading of trees in [`search`], pieces of files in [`extents`].

pub mod extents;
pub mod quota;
pub mod search;

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use self::search::{Key, Searcher};
use super::check;

/// `f_type` of a btrfs file system.
pub const SUPER_MAGIC: i64 = 0x9123_683E;
/// Inode number of every subvolume's root directory.
const FIRST_FREE_OBJECTID: u64 = 256;
/// Tree that lists all subvolumes.
const ROOT_TREE: u64 = 1;
/// Item in the root tree: `(parent id, ROOT_REF, child id)`.
const ROOT_REF: u32 = 156;
/// Item in the root tree: a subvolume.
const ROOT_ITEM: u32 = 132;
/// Item in the root tree: `(ORPHAN, ORPHAN_ITEM, id)`, a subvolume that was deleted and is not freed.
const ORPHAN_ITEM: u32 = 48;
/// `BTRFS_ORPHAN_OBJECTID`.
const ORPHAN: u64 = 5u64.wrapping_neg();
/// Item in a subvolume: `(inode, EXTENT_DATA, position in the file)`.
const EXTENT_DATA: u32 = 108;
/// Length of the name field of `btrfs_ioctl_vol_args_v2`, with its NUL.
const NAME_FIELD: usize = 4040;

const SUBVOL_RDONLY: u64 = 1 << 1;
const SPEC_BY_ID: u64 = 1 << 4;

const MAGIC: u64 = 0x94;
const fn request(direction: u64, number: u64, size: usize) -> u64 {
    (direction << 30) | ((size as u64) << 16) | (MAGIC << 8) | number
}
const WRITE: u64 = 1;
const READ: u64 = 2;

const IOC_WAIT_SYNC: u64 = request(WRITE, 22, 8);
const IOC_SNAP_CREATE_V2: u64 = request(WRITE, 23, size_of::<VolumeArgs>());
const IOC_START_SYNC: u64 = request(READ, 24, 8);
const IOC_SUBVOL_CREATE_V2: u64 = request(WRITE, 24, size_of::<VolumeArgs>());
const IOC_SUBVOL_GETFLAGS: u64 = request(READ, 25, 8);
const IOC_SUBVOL_SETFLAGS: u64 = request(WRITE, 26, 8);
const IOC_FS_INFO: u64 = request(READ, 31, size_of::<FsInfo>());
const IOC_GET_SUBVOL_INFO: u64 = request(READ, 60, size_of::<RawInfo>());
const IOC_SNAP_DESTROY_V2: u64 = request(WRITE, 63, size_of::<VolumeArgs>());

/// `struct btrfs_ioctl_vol_args_v2`; the second union is the name or, by id, its first 8 bytes.
#[repr(C)]
struct VolumeArgs {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; NAME_FIELD],
}

/// `struct btrfs_ioctl_fs_info_args`; the UUID lies behind two words.
type FsInfo = [u8; 1024];

/// `struct btrfs_ioctl_timespec`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawTime {
    sec: u64,
    nsec: u32,
}

/// `struct btrfs_ioctl_get_subvol_info_args`.
#[repr(C)]
struct RawInfo {
    treeid: u64,
    name: [u8; 256],
    parent_id: u64,
    dirid: u64,
    generation: u64,
    flags: u64,
    uuid: [u8; 16],
    parent_uuid: [u8; 16],
    received_uuid: [u8; 16],
    ctransid: u64,
    otransid: u64,
    stransid: u64,
    rtransid: u64,
    ctime: RawTime,
    otime: RawTime,
    stime: RawTime,
    rtime: RawTime,
    reserved: [u64; 8],
}

// The sizes are part of the request numbers, so a wrong layout would be refused by the kernel;
// better to be refused by the compiler.
const _: () = assert!(size_of::<VolumeArgs>() == 4096);
const _: () = assert!(size_of::<RawInfo>() == 504);

/// What the kernel says about a subvolume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Its tree's id, unique in the file system for ever.
    pub id: u64,
    /// Seconds since the epoch when it was made.
    pub created_at: i64,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// UUID of the subvolume it is a snapshot of; zero for none.
    pub parent_uuid: [u8; 16],
    /// Transaction that changed it last.
    pub generation: u64,
    /// UUID that it had where it was sent from; zero when it was made here.
    pub received_uuid: [u8; 16],
}

impl Info {
    /// The UUID that it goes by in streams: where it was made first.
    pub fn lineage(&self) -> [u8; 16] {
        if self.received_uuid == [0; 16] { self.uuid } else { self.received_uuid }
    }
}

/// Whether the path lies on a btrfs file system.
///
/// # Errors
/// When the path cannot be asked.
pub fn is_btrfs(path: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statfs(path)?.f_type as i64 == SUPER_MAGIC)
}

/// Whether the path itself is a subvolume; a missing one is not.
///
/// # Errors
/// Others than that it does not exist.
pub fn is_subvolume(path: &Path) -> io::Result<bool> {
    let dir = match open_dir(path) {
        Ok(dir) => dir,
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => return Ok(false),
        Err(e) => return Err(e),
    };
    Ok(rustix::fs::fstat(&dir)?.st_ino == FIRST_FREE_OBJECTID
        && rustix::fs::fstatfs(&dir)?.f_type as i64 == SUPER_MAGIC)
}

/// Makes an empty subvolume, mode 0755 less the umask.
///
/// # Errors
/// `EEXIST`, `ENOSPC`, `ENOTTY` on another file system.
pub fn create(path: &Path) -> io::Result<()> {
    let (parent, mut args) = args_for(path)?;
    ioctl(parent.as_fd(), IOC_SUBVOL_CREATE_V2, &mut args)
}

/// Makes a writable snapshot of `source` at `target`. The kernel commits the transaction, so it
/// survives a power cut once this returns.
///
/// # Errors
/// `EEXIST`, `ENOENT`, `ENOSPC`, `EINVAL` when `source` is no subvolume.
pub fn snapshot(source: &Path, target: &Path) -> io::Result<()> {
    snapshot_with(source, target, 0)
}

/// The same, but the snapshot is read-only from its first moment.
///
/// # Errors
/// As [`snapshot`].
pub fn snapshot_read_only(source: &Path, target: &Path) -> io::Result<()> {
    snapshot_with(source, target, SUBVOL_RDONLY)
}

fn snapshot_with(source: &Path, target: &Path, flags: u64) -> io::Result<()> {
    let source = open_dir(source)?;
    let (parent, mut args) = args_for(target)?;
    args.fd = i64::from(source.as_raw_fd());
    args.flags = flags;
    ioctl(parent.as_fd(), IOC_SNAP_CREATE_V2, &mut args)
}

/// Deletes a subvolume and all subvolumes nested in it, innermost first. Nested ones are found by
/// id in the root tree, so no path inside a foreign tree is ever walked. Space is freed later, by
/// the kernel's cleaner.
///
/// # Errors
/// `ENOENT`; `EPERM` for one that is mounted or being sent.
pub fn delete(path: &Path) -> io::Result<()> {
    if !is_subvolume(path)? {
        return Err(io::Error::from_raw_os_error(if path.symlink_metadata().is_ok() {
            libc::EINVAL
        } else {
            libc::ENOENT
        }));
    }
    let (parent, mut args) = args_for(path)?;
    delete_nested(parent.as_fd(), info(path)?.id)?;
    ioctl(parent.as_fd(), IOC_SNAP_DESTROY_V2, &mut args)
}

/// Deletes the subvolumes nested in this one, which stays.
///
/// # Errors
/// As [`delete`].
pub fn delete_children(path: &Path) -> io::Result<()> {
    let dir = open_dir(path)?;
    delete_nested(dir.as_fd(), info(path)?.id)
}

fn delete_nested(fs: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    // An explicit stack: nesting depth is chosen by whoever made the subvolumes.
    let mut stack = children(fs, id)?;
    let mut order = Vec::new();
    while let Some(child) = stack.pop() {
        stack.extend(children(fs, child)?);
        order.push(child);
    }
    for id in order.into_iter().rev() {
        let mut args = VolumeArgs { fd: 0, transid: 0, flags: SPEC_BY_ID, unused: [0; 4], name: [0; NAME_FIELD] };
        args.name[..8].copy_from_slice(&id.to_ne_bytes());
        ioctl(fs, IOC_SNAP_DESTROY_V2, &mut args)?;
    }
    Ok(())
}

/// Ids of the subvolumes directly inside subvolume `id`.
fn children(fs: BorrowedFd<'_>, id: u64) -> io::Result<Vec<u64>> {
    offsets(fs, id, ROOT_REF)
}

/// Ids of the subvolumes that were deleted and are not freed yet.
///
/// # Errors
/// When the file system cannot be asked.
pub fn dying(dir: &Path) -> io::Result<Vec<u64>> {
    offsets(open_dir(dir)?.as_fd(), ORPHAN, ORPHAN_ITEM)
}

/// Whether a subvolume of this id exists, be it on its way out.
///
/// # Errors
/// When the file system cannot be asked.
pub fn subvolume_exists(dir: &Path, id: u64) -> io::Result<bool> {
    Ok(!offsets(open_dir(dir)?.as_fd(), id, ROOT_ITEM)?.is_empty())
}

/// Last parts of the keys of all items of the root tree with this id and type.
fn offsets(fs: BorrowedFd<'_>, id: u64, kind: u32) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    let key = |offset| Key { objectid: id, kind, offset };
    let mut searcher = Searcher::on(fs.try_clone_to_owned()?);
    searcher.each_in(ROOT_TREE, (key(0), key(u64::MAX)), 0, &mut |key, _| {
        found.push(key.offset);
        true
    })?;
    Ok(found)
}

/// Where a piece of a file's data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Transaction that wrote it.
    pub generation: u64,
    /// Address on the disk, the same wherever it is shared; 0 for a hole.
    pub address: u64,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// Calls `each` for every piece of data that the files of a subvolume refer to, shared ones as often
/// as they are; not for what is so small that it lies within the metadata.
///
/// # Errors
/// When the file system cannot be asked.
pub fn extents(subvolume: &Path, each: &mut dyn FnMut(Extent)) -> io::Result<()> {
    const INLINE: u8 = 0;
    let key = |objectid, offset| Key { objectid, kind: EXTENT_DATA, offset };
    // Between the two keys lie items of all types.
    let range = (key(FIRST_FREE_OBJECTID, 0), key(u64::MAX, u64::MAX));
    Searcher::open(subvolume)?.each(range, 0, &mut |key, item| {
        // `struct btrfs_file_extent_item`, little-endian.
        let word = |at: usize| item.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        if key.kind == EXTENT_DATA
            && item.get(20).is_some_and(|kind| *kind != INLINE)
            && let (Some(generation), Some(address), Some(bytes)) = (word(0), word(21), word(29))
            && address != 0
        {
            each(Extent { generation, address, bytes });
        }
        true
    })
}

/// Whether a subvolume is read-only.
///
/// # Errors
/// `EINVAL` when it is no subvolume.
pub fn is_read_only(path: &Path) -> io::Result<bool> {
    Ok(flags(open_dir(path)?.as_fd())? & SUBVOL_RDONLY != 0)
}

/// Makes a subvolume read-only; files open for writing stay so.
///
/// # Errors
/// `EINVAL` when it is no subvolume.
pub fn set_read_only(path: &Path) -> io::Result<()> {
    let dir = open_dir(path)?;
    set_flags(dir.as_fd(), flags(dir.as_fd())? | SUBVOL_RDONLY)
}

/// Makes a subvolume writable.
///
/// # Errors
/// `EINVAL` when it is no subvolume.
pub fn set_writable(path: &Path) -> io::Result<()> {
    let dir = open_dir(path)?;
    set_flags(dir.as_fd(), flags(dir.as_fd())? & !SUBVOL_RDONLY)
}

fn flags(dir: BorrowedFd<'_>) -> io::Result<u64> {
    word_ioctl(dir, IOC_SUBVOL_GETFLAGS, 0)
}

fn set_flags(dir: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    word_ioctl(dir, IOC_SUBVOL_SETFLAGS, flags).map(drop)
}

/// Commits the running transaction and waits: renames and deletes made before survive a power cut
/// afterwards. Does not flush data of files still being written.
///
/// # Errors
/// When the file system has gone read-only.
pub fn commit(path: &Path) -> io::Result<()> {
    let dir = open_dir(path)?;
    let transid = word_ioctl(dir.as_fd(), IOC_START_SYNC, 0)?;
    word_ioctl(dir.as_fd(), IOC_WAIT_SYNC, transid).map(drop)
}

/// Facts about a subvolume.
///
/// # Errors
/// `ENOTTY` on another file system.
pub fn info(path: &Path) -> io::Result<Info> {
    let dir = open_dir(path)?;
    // SAFETY: `RawInfo` is made of integers only, for which all zeroes is a value.
    let mut raw: RawInfo = unsafe { std::mem::zeroed() };
    ioctl(dir.as_fd(), IOC_GET_SUBVOL_INFO, &mut raw)?;
    Ok(Info {
        id: raw.treeid,
        created_at: i64::try_from(raw.otime.sec).unwrap_or(i64::MAX),
        uuid: raw.uuid,
        parent_uuid: raw.parent_uuid,
        generation: raw.generation,
        received_uuid: raw.received_uuid,
    })
}

/// UUID of the file system that holds a directory, as it is named below `/sys/fs/btrfs`.
///
/// # Errors
/// `ENOTTY` on another file system.
pub fn file_system(dir: &Path) -> io::Result<String> {
    let mut info: FsInfo = [0; 1024];
    ioctl(open_dir(dir)?.as_fd(), IOC_FS_INFO, &mut info)?;
    let mut text = String::with_capacity(36);
    for (i, byte) in info[16..32].iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    Ok(text)
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Splits a path into its open parent directory and arguments that hold its last component.
fn args_for(path: &Path) -> io::Result<(File, VolumeArgs)> {
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let (parent, name) = (path.parent().ok_or_else(invalid)?, path.file_name().ok_or_else(invalid)?);
    let parent = File::from(open_dir(parent)?);
    Ok((parent, VolumeArgs { fd: 0, transid: 0, flags: 0, unused: [0; 4], name: name_field(name)? }))
}

fn name_field(name: &OsStr) -> io::Result<[u8; NAME_FIELD]> {
    let name = CString::new(name.as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let bytes = name.as_bytes_with_nul();
    if bytes.len() > 256 {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    let mut field = [0; NAME_FIELD];
    field[..bytes.len()].copy_from_slice(bytes);
    Ok(field)
}

fn word_ioctl(fd: BorrowedFd<'_>, request: u64, mut value: u64) -> io::Result<u64> {
    ioctl(fd, request, &mut value)?;
    Ok(value)
}

/// Sends a request whose argument is `args`: nothing but integers, of which the kernel may write any.
fn ioctl<T>(fd: BorrowedFd<'_>, request: u64, args: &mut T) -> io::Result<()> {
    assert_eq!((request >> 16) & 0x3fff, size_of::<T>() as u64, "the argument is not the request's");
    // SAFETY: the kernel reads and writes as many bytes as the request's number says, which is the
    // size of `args`, which lives across the call. Every type passed here is made of integers only,
    // and the names in `VolumeArgs` end with a NUL.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_mut(args)) }.into()).map(drop)
}
