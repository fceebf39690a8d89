//! Who watches a session, and how a slow watcher is kept from holding up the others.
//!
//! Each client has a bounded queue. When it is full the client *lags*: it gets nothing more until it
//! has emptied its queue, and then one redraw of the whole picture instead of what it missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::frames::ServerFrame;
use super::screen::Picture;

/// Frames a client may be behind.
const QUEUE: usize = 256;

/// The session's end of one client.
#[derive(Debug)]
struct Client {
    id: u64,
    frames: mpsc::Sender<Bytes>,
    lagging: Arc<AtomicBool>,
    /// Came while a full-screen program ran: knows nothing of the screen underneath.
    owed_primary: bool,
}

/// The client's end.
#[derive(Debug)]
pub struct Attached {
    /// For detach and redraw.
    pub client: u64,
    /// What to send. Ends when the session has ended.
    pub frames: mpsc::Receiver<Bytes>,
    /// Set when frames were dropped: ask for a redraw once `frames` is empty.
    pub lagging: Arc<AtomicBool>,
}

/// All clients of one session.
#[derive(Debug, Default)]
pub struct Clients {
    all: Vec<Client>,
    next: u64,
}

impl Clients {
    /// How many.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds a client and queues what it must see first.
    pub fn attach(&mut self, picture: &mut Picture, greeting: impl IntoIterator<Item = Bytes>) -> Attached {
        let (sender, frames) = mpsc::channel(QUEUE);
        let lagging = Arc::new(AtomicBool::new(false));
        self.next += 1;
        let owed_primary = picture.screen().alternate_screen();
        let client = Client { id: self.next, frames: sender, lagging: lagging.clone(), owed_primary };
        for frame in greeting {
            client.send(frame);
        }
        client.send(ServerFrame::Output.with(&picture.replay()));
        self.all.push(client);
        Attached { client: self.next, frames, lagging }
    }

    /// Forgets a client.
    pub fn detach(&mut self, id: u64) {
        self.all.retain(|client| client.id != id);
    }

    /// Sends a frame to all who keep up, and forgets those who left.
    pub fn send(&mut self, frame: &Bytes) {
        self.all.retain(|client| client.send(frame.clone()));
    }

    /// Sends the whole picture to one client that has caught up.
    pub fn redraw(&mut self, id: u64, picture: &mut Picture) {
        if let Some(client) = self.all.iter_mut().find(|client| client.id == id) {
            client.lagging.store(false, Ordering::Relaxed);
            client.owed_primary = picture.screen().alternate_screen();
            client.send(ServerFrame::Output.with(&picture.replay()));
        }
    }

    /// A full-screen program has ended: shows the screen underneath to those who have never seen it.
    pub fn settle_debts(&mut self, picture: &mut Picture) {
        for client in self.all.iter_mut().filter(|client| client.owed_primary) {
            client.owed_primary = false;
            client.send(ServerFrame::Output.with(&picture.replay()));
        }
    }
}

impl Client {
    /// Queues a frame or begins to lag; false when the client has left.
    fn send(&self, frame: Bytes) -> bool {
        if self.lagging.load(Ordering::Relaxed) {
            return !self.frames.is_closed();
        }
        match self.frames.try_send(frame) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.lagging.store(true, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pty::Size;
    use super::*;

    #[test]
    fn a_slow_client_lags_alone_and_gets_one_redraw() {
        let mut picture = Picture::new(Size::DEFAULT);
        let mut clients = Clients::default();
        let mut slow = clients.attach(&mut picture, []);
        let mut quick = clients.attach(&mut picture, []);
        for n in 0..QUEUE * 2 {
            let output = format!("{n}\r\n");
            picture.draw(output.as_bytes());
            clients.send(&ServerFrame::Output.with(output.as_bytes()));
            while quick.frames.try_recv().is_ok() {}
        }
        assert!(slow.lagging.load(Ordering::Relaxed) && !quick.lagging.load(Ordering::Relaxed));
        let mut backlog = 0;
        while slow.frames.try_recv().is_ok() {
            backlog += 1;
        }
        assert_eq!(backlog, QUEUE);
        clients.redraw(slow.client, &mut picture);
        let mut copy = Picture::new(Size::DEFAULT);
        copy.draw(&slow.frames.try_recv().unwrap()[1..]);
        assert_eq!(copy.lines(true, true), picture.lines(true, true));
    }
}
