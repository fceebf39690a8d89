//! Sharing equal ranges between files, and what a polite reader of many files needs: the idle I/O
//! class, and whether a file is in memory already.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// `struct file_dedupe_range` of `linux/fs.h` with room for one destination.
#[repr(C)]
struct Ranges {
    src_offset: u64,
    src_length: u64,
    dest_count: u16,
    reserved1: u16,
    reserved2: u32,
    dest_fd: i64,
    dest_offset: u64,
    bytes_deduped: u64,
    status: i32,
    reserved: u32,
}

const _: () = assert!(size_of::<Ranges>() == 56);

/// `_IOWR(0x94, 54, struct file_dedupe_range)`: the size is that without destinations, 24.
const FIDEDUPERANGE: u64 = (3 << 30) | (24 << 16) | (0x94 << 8) | 54;
/// `FILE_DEDUPE_RANGE_DIFFERS`.
const DIFFERS: i32 = 1;

/// Bytes that one call of [`dedupe`] may be asked to share; btrfs does no more at once.
pub const DEDUPE_MAX: u64 = 16 << 20;

/// Outcome of [`dedupe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deduped {
    /// So many bytes share their blocks now.
    Bytes(u64),
    /// The ranges are not equal; nothing was changed.
    Differs,
}

/// Lets a range of `dest` share the blocks of the same range of `source` if both hold the same
/// bytes. The kernel compares and exchanges under the locks of both files, so nobody who reads or
/// writes them notices. Neither needs to be open for writing when the caller is root.
///
/// # Errors
/// Those of ioctl_fideduperange(2): `EINVAL` on other file systems and for files that cannot share,
/// `ETXTBSY` for swap, `EAGAIN` for a snapshot that is being sent.
pub fn dedupe(source: BorrowedFd<'_>, dest: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<Deduped> {
    let mut ranges = Ranges {
        src_offset: offset,
        src_length: length,
        dest_count: 1,
        reserved1: 0,
        reserved2: 0,
        dest_fd: i64::from(dest.as_raw_fd()),
        dest_offset: offset,
        bytes_deduped: 0,
        status: 0,
        reserved: 0,
    };
    // SAFETY: the kernel reads and writes the header and as many destinations as `dest_count` says,
    // one, which is all of `ranges`; it is made of integers only and lives across the call.
    check(unsafe { libc::ioctl(source.as_raw_fd(), FIDEDUPERANGE as _, &raw mut ranges) }.into())?;
    match ranges.status {
        0 => Ok(Deduped::Bytes(ranges.bytes_deduped)),
        DIFFERS => Ok(Deduped::Differs),
        errno => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
    }
}

/// Lets this thread read and write only when nobody else wants to (the idle class of
/// ioprio_set(2)). Schedulers that know no classes (`none`, `kyber`) pay no heed.
///
/// # Errors
/// Those of ioprio_set(2).
pub fn idle_io() -> io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: takes integers only; 0 is the calling thread.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE) }).map(drop)
}

/// Pages of a file that are in memory (cachestat(2), Linux ≥ 6.5).
///
/// # Errors
/// `ENOSYS` on older kernels; `EPERM` for a file of somebody else.
pub fn cached_pages(file: BorrowedFd<'_>) -> io::Result<u64> {
    const CACHESTAT: libc::c_long = 451;
    /// Offset and length; 0 is to the end.
    type Range = [u64; 2];
    /// `struct cachestat`: cached, dirty, under writeback, evicted, evicted lately.
    type Stat = [u64; 5];
    let (range, mut stat): (Range, Stat) = ([0; 2], [0; 5]);
    // SAFETY: the kernel reads `range` and writes `stat`, both of the size it expects and alive
    // across the call.
    check(unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut stat, 0) })?;
    Ok(stat[0])
}
