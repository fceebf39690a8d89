//! Who is connected to a shim's socket: their requests come in, replies and events go out.
//!
//! Nobody is waited for. Who sends too much, does not read, or went away is let go; a client's index
//! holds until the next call that changes who is connected.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use super::protocol::{Event, Reply, Request};
use crate::sys::fds;

/// Longest request line.
const REQUEST_MAX: usize = 4096;
/// Most clients at once; the oldest go first.
const CLIENTS_MAX: usize = 64;

struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    watching: bool,
}

/// The clients of one shim.
pub struct Clients {
    listener: UnixListener,
    connected: Vec<Client>,
}

impl Clients {
    /// Those who will come to `listener`, which does not block.
    pub fn new(listener: UnixListener) -> Self {
        Self { listener, connected: Vec::new() }
    }

    /// Readable when somebody wants to connect.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// All who are connected, by index.
    pub fn streams(&self) -> impl Iterator<Item = &UnixStream> {
        self.connected.iter().map(|client| &client.stream)
    }

    /// Takes in who wants to connect.
    pub fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.connected.len() >= CLIENTS_MAX {
                let oldest = self.connected.iter().position(|c| !c.watching).unwrap_or(0);
                self.connected.remove(oldest);
            }
            self.connected.push(Client { stream, input: Vec::new(), watching: false });
        }
    }

    /// Reads what a client has sent: its request, once it is whole.
    pub fn read(&mut self, index: usize) -> Option<serde_json::Result<Request>> {
        let client = self.connected.get_mut(index)?;
        let mut buf = [0u8; REQUEST_MAX];
        match client.stream.read(&mut buf) {
            Ok(n) if n > 0 && client.input.len() + n <= REQUEST_MAX => client.input.extend_from_slice(&buf[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
            _ => {
                self.connected.remove(index);
                return None;
            }
        }
        let end = client.input.iter().position(|b| *b == b'\n')?;
        let request = serde_json::from_slice(&client.input[..end]);
        client.input.clear();
        Some(request)
    }

    /// Answers a client, with a descriptor. It is let go unless it watches from now on.
    pub fn reply(&mut self, index: usize, reply: &Reply, attached: Option<&OwnedFd>, watches: bool) {
        let Some(client) = self.connected.get_mut(index) else { return };
        let fds: Vec<_> = attached.map(AsFd::as_fd).into_iter().collect();
        let sent = fds::send(client.stream.as_fd(), &line(reply), &fds);
        client.watching = watches;
        if sent.is_err() || !watches {
            self.connected.remove(index);
        }
    }

    /// Sends an event to all who watch. Who does not keep up is cut off rather than skipped.
    pub fn tell(&mut self, event: &Event) {
        let line = line(event);
        self.connected.retain_mut(|c| !c.watching || c.stream.write(&line).is_ok_and(|n| n == line.len()));
    }
}

fn line(message: &impl serde::Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    fn connected(dir: &tempfile::TempDir) -> (Clients, UnixStream) {
        let path = dir.path().join("shim.sock");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut clients = Clients::new(listener);
        let ours = UnixStream::connect(&path).unwrap();
        clients.accept();
        (clients, ours)
    }

    #[test]
    fn a_request_in_pieces_is_read_once_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (mut clients, mut ours) = connected(&dir);
        ours.write_all(b"\"wat").unwrap();
        assert!(clients.read(0).is_none());
        ours.write_all(b"ch\"\n").unwrap();
        assert_eq!(clients.read(0).unwrap().unwrap(), Request::Watch);
        clients.reply(0, &Reply::Ok, None, true);
        clients.tell(&Event::Ready);
        let lines: Vec<String> = BufReader::new(ours).lines().take(2).map(Result::unwrap).collect();
        assert_eq!(lines, ["\"ok\"", "\"ready\""]);
    }

    #[test]
    fn a_watcher_that_is_gone_when_something_is_told_harms_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (mut clients, mut ours) = connected(&dir);
        ours.write_all(b"\"watch\"\n").unwrap();
        assert!(clients.read(0).is_some());
        clients.reply(0, &Reply::Ok, None, true);
        drop(ours);
        clients.tell(&Event::Ready);
        assert_eq!(clients.streams().count(), 0);
        // As the loop may do that has seen its hang-up before.
        assert!(clients.read(0).is_none());
        clients.reply(0, &Reply::Ok, None, true);
    }
}
