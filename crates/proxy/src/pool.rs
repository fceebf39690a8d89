//! Idle connections to containers, kept for a few seconds for the next request.
//!
//! A connection only ever serves the door it was dialled for: one project's view of one container's
//! kit or port. What idles too long, or is one too many, is closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::body::Body;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::dial::Door;

/// Idle connections kept per door.
const PER_DOOR: usize = 8;
/// Idle connections kept in all.
const IN_ALL: usize = 512;

/// The idle connections of one proxy.
pub(super) struct Pool {
    idle_for: Duration,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    doors: HashMap<Door, Vec<Idle>>,
    count: usize,
    sweeping: bool,
}

struct Idle {
    since: Instant,
    connection: SendRequest<Body>,
}

impl Pool {
    pub(super) fn new(idle_for: Duration) -> Arc<Self> {
        Arc::new(Self { idle_for, shelf: Mutex::default() })
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Every change under the lock is complete in itself, so a panic elsewhere spoils nothing.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The youngest connection through `door` that still looks alive.
    pub(super) fn take(&self, door: &Door) -> Option<SendRequest<Body>> {
        let mut shelf = self.shelf();
        let shelf = &mut *shelf;
        let idle = shelf.doors.get_mut(door)?;
        let mut found = None;
        while let Some(candidate) = idle.pop() {
            shelf.count -= 1;
            if candidate.connection.is_ready() && candidate.since.elapsed() < self.idle_for {
                found = Some(candidate.connection);
                break;
            }
        }
        if idle.is_empty() {
            shelf.doors.remove(door);
        }
        found
    }

    /// Keeps a connection that is ready for a request.
    pub(super) fn put(self: &Arc<Self>, door: Door, connection: SendRequest<Body>) {
        let mut shelf = self.shelf();
        if shelf.count >= IN_ALL {
            return;
        }
        let idle = shelf.doors.entry(door).or_default();
        if idle.len() >= PER_DOOR {
            return;
        }
        idle.push(Idle { since: Instant::now(), connection });
        shelf.count += 1;
        if !shelf.sweeping {
            shelf.sweeping = true;
            tokio::spawn(Self::sweep(Arc::downgrade(self), self.idle_for));
        }
    }

    /// Closes what idled too long; runs while anything idles and the pool exists.
    async fn sweep(pool: Weak<Self>, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let Some(pool) = pool.upgrade() else { return };
            let mut shelf = pool.shelf();
            shelf.doors.retain(|_, idle| {
                idle.retain(|i| i.since.elapsed() < pool.idle_for && i.connection.is_ready());
                !idle.is_empty()
            });
            shelf.count = shelf.doors.values().map(Vec::len).sum();
            if shelf.count == 0 {
                shelf.sweeping = false;
                return;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shelf().count
    }
}
