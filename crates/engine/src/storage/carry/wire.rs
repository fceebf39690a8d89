//! What reader and writer say to each other: JSON packets over a SEQPACKET socket pair, a file's
//! descriptor with its packet.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::sys::fds;
use cowl_api::files::Restored;

/// Longest packet, in bytes.
const PACKET_MAX: usize = 384 << 10;
/// Longest sum of a file's attributes, in bytes; base64 and names fit into a packet then.
pub(super) const ATTRIBUTES_MAX: usize = 128 << 10;

/// Bytes that need not be text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What a file has beside its content. Owners are those inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub accessed: (i64, i64),
    pub modified: (i64, i64),
    pub attributes: Vec<(Bytes, Bytes)>,
}

/// Reader → writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// From now on only look what is in the way, or write.
    Pass { look: bool },
    /// What comes next belongs into this directory; it is made when missing.
    Into { directory: String },
    /// A directory, which is entered.
    Directory { name: Bytes, facts: Facts },
    /// All of the directory entered last was told.
    Leave,
    /// A regular file; its descriptor comes along. `links` names those that are the same file.
    File { name: Bytes, facts: Facts, links: Option<(u64, u64)> },
    /// A symbolic link.
    Link { name: Bytes, facts: Facts, target: Bytes },
    /// A named pipe.
    Pipe { name: Bytes, facts: Facts },
    /// That was all of this pass; a report is expected.
    End,
}

/// Writer → reader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It stands in the target.
    Ready,
    /// What came of a pass.
    Report(Restored),
    /// It cannot go on.
    Failed { message: String, errno: i32 },
}

/// One end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    pub(super) fn pair() -> Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .context(|| "socketpair".into())?;
        for end in [&a, &b] {
            // Root may pass the limit of the system, so that the longest packet fits.
            setsockopt(end, sockopt::SndBufForce, &(4 * PACKET_MAX)).context(|| "widen the socket".into())?;
        }
        Ok((Self(a), Self(b)))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(super) fn send<T: Serialize>(&self, message: &T, attached: Option<BorrowedFd<'_>>) -> Result<()> {
        let bytes = serde_json::to_vec(message).map_err(|e| Error::Shim(e.to_string()))?;
        let fds: Vec<BorrowedFd<'_>> = attached.into_iter().collect();
        fds::send(self.0.as_fd(), &bytes, &fds).context(|| "send to the other half of the copying".into())
    }

    /// The next message; `None` when the other side is gone.
    pub(super) fn receive<T: serde::de::DeserializeOwned>(&self) -> Result<Option<(T, Option<OwnedFd>)>> {
        let mut buf = vec![0u8; PACKET_MAX];
        let (n, mut attached) =
            fds::receive(self.0.as_fd(), &mut buf).context(|| "hear the other half of the copying".into())?;
        if n == 0 {
            return Ok(None);
        }
        let message = serde_json::from_slice(&buf[..n]).map_err(|e| Error::Shim(format!("unreadable packet: {e}")))?;
        Ok(Some((message, attached.pop())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_name_and_attribute_comes_through(name: Vec<u8>, value in prop::collection::vec(any::<u8>(), 0..2000)) {
            let facts = Facts {
                mode: 0o644, uid: 0, gid: 0, accessed: (0, 0), modified: (-1, 5),
                attributes: vec![(Bytes(name.clone()), Bytes(value))],
            };
            let order = Order::Directory { name: Bytes(name), facts };
            let (ours, theirs) = Channel::pair().unwrap();
            ours.send(&order, None).unwrap();
            prop_assert_eq!(theirs.receive::<Order>().unwrap().unwrap().0, order);
        }
    }
}
