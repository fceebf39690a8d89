//! Descriptors: passing them over unix sockets, and keeping them out of programs we start.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, sendmsg};

use super::check;

/// Most descriptors in one message.
pub const MAX_FDS: usize = 16;

/// Sends `bytes` with `fds` attached as one message.
///
/// # Errors
/// Those of sendmsg(2).
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<()>(socket.as_raw_fd(), &[io::IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives one message of at most `buf.len()` bytes and the descriptors attached to it. An empty
/// message means that the other side has closed.
///
/// # Errors
/// Those of recvmsg(2).
pub fn receive(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = cmsg_space!([RawFd; MAX_FDS]);
    let mut iov = [io::IoSliceMut::new(buf)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel made these descriptors for us; nobody else owns them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, fds))
}

/// Receives one datagram and its sender's credentials; the socket needs SO_PASSCRED. Never blocks.
///
/// # Errors
/// Those of recvmsg(2); `EAGAIN` when there is none.
pub fn receive_with_credentials(
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
) -> io::Result<(usize, Option<UnixCredentials>)> {
    let mut space = cmsg_space!(UnixCredentials, [RawFd; MAX_FDS]);
    let mut iov = [io::IoSliceMut::new(buf)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags)?;
    let mut sender = None;
    for control in message.cmsgs()? {
        match control {
            ControlMessageOwned::ScmCredentials(c) => sender = Some(c),
            // A container may attach descriptors; close them.
            ControlMessageOwned::ScmRights(raw) => {
                // SAFETY: the kernel made these descriptors for us; nobody else owns them.
                raw.into_iter().for_each(|fd| drop(unsafe { OwnedFd::from_raw_fd(fd) }));
            }
            _ => {}
        }
    }
    Ok((message.bytes, sender))
}

/// Marks all descriptors from `first` on close-on-exec.
///
/// # Errors
/// Those of close_range(2), kernel ≥ 5.11.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: takes integers only; with CLOSE_RANGE_CLOEXEC nothing is closed now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// Closes all descriptors from `first` on, in a forked child that does not return: whatever its copy
/// of the parent's memory holds of them is never used or dropped.
///
/// # Errors
/// Those of close_range(2).
pub fn close_in_child_from(first: RawFd) -> io::Result<()> {
    // SAFETY: takes integers only. The caller's promise is that no owner of these descriptors is
    // used any more; a broken promise shows as EBADF.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) }).map(drop)
}

/// Makes `fd` the process' descriptor `number` (0, 1 or 2), without close-on-exec.
///
/// # Errors
/// Those of dup2(2).
pub fn install(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    assert!((0..=2).contains(&number), "only the standard descriptors may be replaced");
    // SAFETY: only the standard descriptors are replaced, which std never owns as OwnedFd.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into()).map(drop)
}

/// Opens the other end of a pty master, without going through any path.
///
/// # Errors
/// Those of TIOCGPTPEER.
pub fn pty_peer(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags and gives a fresh descriptor.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())?;
    // SAFETY: the descriptor is fresh and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
