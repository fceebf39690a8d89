//! Connecting to a TCP port inside a container, without the node entering any namespace.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect as net_connect, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How long a connection inside one machine may take to be made before it is handed over as it is.
const PATIENCE: Duration = Duration::from_millis(20);

/// A socket connected to `port` on the container's loopback, else on its own address, else on IPv6
/// loopback. It may still be connecting when the other side is slow to accept; it never blocks.
///
/// # Errors
/// `ECONNREFUSED` when nothing listens there.
pub fn connect(netns: &File, address: Ipv4Addr, port: u16) -> io::Result<OwnedFd> {
    let targets = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(address), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let mut last = io::Error::from_raw_os_error(libc::ECONNREFUSED);
    for target in targets {
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_in(netns, family)?;
        match try_connect(&socket, SocketAddr::new(target, port)) {
            Ok(()) => return Ok(socket),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Opens a socket in the container's network namespace: a socket stays where it was made.
fn socket_in(netns: &File, family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(within(netns, || socket_with(family, SocketType::STREAM, flags, None))??)
}

/// Does something in a network namespace and returns to our own.
///
/// # Errors
/// When a namespace cannot be entered.
pub fn within<T>(netns: &File, body: impl FnOnce() -> T) -> io::Result<T> {
    let own = File::open("/proc/self/ns/net")?;
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
    let done = body();
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(done)
}

fn try_connect(socket: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    match net_connect(socket, &to) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::INPROGRESS) => {}
        Err(e) => return Err(e.into()),
    }
    let timeout = Timespec { tv_sec: 0, tv_nsec: PATIENCE.subsec_nanos().into() };
    poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&timeout))?;
    Ok(rustix::net::sockopt::socket_error(socket)??)
}
