//! What shim and new-born init say to each other while a container is born.
//!
//! A SEQPACKET socket pair: one JSON message per packet, descriptors by SCM_RIGHTS. A message that
//! is not the expected one is an error that names both. The child's end closes on exec, which is
//! how the parent learns that init runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::sys::fds;

/// The steps, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Parent → child: ids are mapped, cgroups joined; here are the mounts (root, dev, usr).
    Mounts,
    /// Parent → child: one mount each for these paths, beside those the container needs to boot.
    Additions {
        /// Absolute, inside; parents come before what lies below them.
        at: Vec<String>,
    },
    /// Child → parent: the world inside stands; here are the console's master and the notify
    /// socket. Exec follows.
    Inside,
    /// Child → parent: this step failed.
    Failed {
        /// What, with its cause.
        message: String,
    },
}

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends: the parent's and the child's.
    ///
    /// # Errors
    /// Those of socketpair(2).
    pub fn pair() -> Result<(Channel, Channel)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .context(|| "socketpair".into())?;
        Ok((Channel(a), Channel(b)))
    }

    /// Sends a message with descriptors.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn send(&self, message: &Message, attached: &[BorrowedFd<'_>]) -> Result<()> {
        let bytes = serde_json::to_vec(message).map_err(|e| Error::Shim(e.to_string()))?;
        fds::send(self.0.as_fd(), &bytes, attached).context(|| "send to the other half of the birth".into())
    }

    /// Waits for `expected` with `count` descriptors.
    ///
    /// # Errors
    /// What the other side says failed; or that it said something else, or died.
    pub fn expect(&self, expected: &Message, count: usize) -> Result<Vec<OwnedFd>> {
        match self.receive()? {
            Some((message, attached)) if message == *expected && attached.len() == count => Ok(attached),
            Some((Message::Failed { message }, _)) => Err(Error::Shim(message)),
            Some((other, attached)) => Err(Error::Shim(format!(
                "expected {expected:?} with {count} descriptors, got {other:?} with {}",
                attached.len()
            ))),
            None => Err(Error::Shim(format!("expected {expected:?}, but the other half of the birth died"))),
        }
    }

    /// Waits for the additions: paths and what is to be mounted there.
    ///
    /// # Errors
    /// That the other side said something else, or died.
    pub fn expect_additions(&self) -> Result<Vec<(String, OwnedFd)>> {
        match self.receive()? {
            Some((Message::Additions { at }, mounts)) if at.len() == mounts.len() => {
                Ok(at.into_iter().zip(mounts).collect())
            }
            Some((other, mounts)) => {
                Err(Error::Shim(format!("expected additions, got {other:?} with {} descriptors", mounts.len())))
            }
            None => Err(Error::Shim("expected additions, but the other half of the birth died".into())),
        }
    }

    /// Waits for the exec that closes the other end.
    ///
    /// # Errors
    /// What the child says failed.
    pub fn expect_exec(&self) -> Result<()> {
        match self.receive()? {
            None => Ok(()),
            Some((Message::Failed { message }, _)) => Err(Error::Shim(message)),
            Some((other, _)) => Err(Error::Shim(format!("expected exec, got {other:?}"))),
        }
    }

    fn receive(&self) -> Result<Option<(Message, Vec<OwnedFd>)>> {
        let mut buf = [0u8; 4096];
        let (n, attached) =
            fds::receive(self.0.as_fd(), &mut buf).context(|| "receive from the other half of the birth".into())?;
        if n == 0 {
            return Ok(None);
        }
        let message = serde_json::from_slice(&buf[..n]).map_err(|e| Error::Shim(format!("unreadable stage: {e}")))?;
        Ok(Some((message, attached)))
    }
}
