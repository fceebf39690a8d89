//! Unix sockets that belong to no network.
//!
//! A unix socket remembers the network namespace it was made in, and the kernel tells whoever holds
//! an end of the connection that namespace's interfaces and addresses (`SIOCGIFCONF` and its kin).
//! Root of a container can take any descriptor of its kit. So what the node connects to a kit is
//! made in an empty network namespace: by a thread that lives in one and makes sockets ahead.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as net_connect, socket_with};

/// Sockets made ahead.
const AHEAD: usize = 16;

/// A connection to the socket at `path`, non-blocking. The socket itself is of an empty network
/// namespace.
///
/// # Errors
/// Those of connect(2): `ConnectionRefused`, `NotFound`, `WouldBlock` when the backlog is full; and
/// of making the namespace.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = take()?;
    net_connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

fn take() -> io::Result<OwnedFd> {
    static LOBBY: OnceLock<Mutex<Receiver<io::Result<OwnedFd>>>> = OnceLock::new();
    let lobby = LOBBY.get_or_init(|| {
        let (tx, rx) = sync_channel(AHEAD);
        // Without the thread the channel is closed, which is an error below.
        let _ = std::thread::Builder::new().name("lobby".into()).stack_size(128 * 1024).spawn(move || {
            let entered = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
            let make = || {
                entered?;
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
            };
            while tx.send(make()).is_ok() {}
        });
        Mutex::new(rx)
    });
    let made = lobby.lock().unwrap_or_else(PoisonError::into_inner).recv();
    made.unwrap_or_else(|_| Err(io::Error::other("the thread that makes sockets is gone")))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn both_ends_of_a_connection_know_no_interface_of_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kit.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut ours = connect(&path).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        ours.write_all(b"hello").unwrap();
        let mut buf = [0; 5];
        theirs.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"hello");
        // Interface 2 is the host's first beside the loopback; an empty namespace has only that.
        assert!(rustix::net::netdevice::index_to_name(&listener, 1).is_ok());
        for end in [&ours, &theirs] {
            assert_eq!(rustix::net::netdevice::index_to_name(end, 1).unwrap(), "lo");
            for index in 2..200 {
                assert!(rustix::net::netdevice::index_to_name(end, index).is_err(), "interface {index} is seen");
            }
        }
    }

    #[test]
    fn a_missing_socket_is_not_found() {
        let e = connect(Path::new("/nonexistent/kit.sock")).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::NotFound);
    }
}
