//! Who sent a request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The other end of a client's connection, set on every request as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A process on this box, by the credentials the kernel gives (SO_PEERCRED). Trusted as far as
    /// its user may open the socket.
    Unix {
        /// User id of the process.
        uid: u32,
        /// Group id of the process.
        gid: u32,
        /// Process id, when the kernel tells it.
        pid: Option<i32>,
    },
    /// Someone who came by TLS.
    Tcp(SocketAddr),
}

impl Peer {
    /// The address services are told; a process of this box counts as 127.0.0.1.
    pub fn ip(self) -> IpAddr {
        match self {
            Self::Unix { .. } => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::Tcp(at) => at.ip().to_canonical(),
        }
    }
}
