//! seccomp user notifications (seccomp_unotify(2)): calls of other processes that wait for our
//! answer.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::check;

// `_IOWR('!', 0, struct seccomp_notif)` and so on, linux/seccomp.h.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const ID_VALID: libc::c_ulong = 0x4008_2102;
const SET_FLAGS: libc::c_ulong = 0x4008_2104;
/// Linux 6.6: who is answered runs at once where the answerer ran.
const SYNC_WAKE_UP: u64 = 1;

/// A call that waits.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// What the kernel knows this wait by.
    pub id: u64,
    /// The calling thread, as we see it.
    pub tid: u32,
    /// Number of the system call.
    pub number: i64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// What a waiting call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The kernel does it as if nobody had listened.
    Continue,
    /// It returns this.
    Value(i64),
    /// It fails with this errno.
    Errno(i32),
}

/// The far end of a filter: where its watched calls arrive. Several threads may use it at once.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Of a descriptor that a filter was loaded with.
    pub fn new(fd: OwnedFd) -> Self {
        let flags = SYNC_WAKE_UP;
        // Only faster: older kernels do without. The kernel takes the flags by value here.
        // SAFETY: no memory is passed.
        unsafe { libc::ioctl(fd.as_raw_fd(), SET_FLAGS, flags) };
        Self(fd)
    }

    /// Waits for the next call.
    ///
    /// # Errors
    /// `ENOENT` when the caller was killed meanwhile; `EINTR`.
    pub fn receive(&self) -> io::Result<Call> {
        let mut raw = libc::seccomp_notif {
            id: 0,
            pid: 0,
            flags: 0,
            data: libc::seccomp_data { nr: 0, arch: 0, instruction_pointer: 0, args: [0; 6] },
        };
        // SAFETY: the request's number carries the size of `raw`, which outlives the call and is
        // zeroed as the kernel asks.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), RECEIVE, &raw mut raw) }.into())?;
        Ok(Call { id: raw.id, tid: raw.pid, number: raw.data.nr.into(), args: raw.data.args })
    }

    /// Whether the call still waits: its thread then is the one that [`Call::tid`] names.
    pub fn waits(&self, call: &Call) -> bool {
        let id = call.id;
        // SAFETY: the request's number carries the size of `id`, which outlives the call.
        unsafe { libc::ioctl(self.0.as_raw_fd(), ID_VALID, &raw const id) == 0 }
    }

    /// Answers a call. A caller that is gone does not mind.
    pub fn answer(&self, call: &Call, answer: Answer) {
        let (val, error, flags) = match answer {
            Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Answer::Value(value) => (value, 0, 0),
            Answer::Errno(errno) => (0, -errno, 0),
        };
        let raw = libc::seccomp_notif_resp { id: call.id, val, error, flags };
        // SAFETY: the request's number carries the size of `raw`, which outlives the call.
        unsafe { libc::ioctl(self.0.as_raw_fd(), SEND, &raw const raw) };
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn requests_carry_the_sizes_of_the_kernels_structs() {
        let size = |request: libc::c_ulong| (request >> 16 & 0x3fff) as usize;
        assert_eq!(size(super::RECEIVE), size_of::<libc::seccomp_notif>());
        assert_eq!(size(super::SEND), size_of::<libc::seccomp_notif_resp>());
        assert_eq!(size(super::ID_VALID), 8);
    }
}
