//! How much a container is used through the proxy: requests and tunnels under way, and when the
//! last of them ended. A request costs a few atomic operations and no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The use of one container.
#[derive(Debug)]
pub struct Activity {
    since: Instant,
    in_flight: AtomicU32,
    /// Milliseconds after `since`.
    last: AtomicU64,
    cut: Notify,
}

impl Default for Activity {
    fn default() -> Self {
        Self { since: Instant::now(), in_flight: AtomicU32::new(0), last: AtomicU64::new(0), cut: Notify::new() }
    }
}

impl Activity {
    /// A request begins; it lasts until the visit is dropped.
    pub fn enter(self: &Arc<Self>) -> Visit {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        Visit(Arc::clone(self))
    }

    /// Counts as a use that ended just now.
    pub fn touch(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::SeqCst);
    }

    /// When the last use ended; `None` while one goes on.
    pub fn idle_since(&self) -> Option<Instant> {
        if self.in_flight.load(Ordering::SeqCst) > 0 {
            return None;
        }
        Some(self.since + Duration::from_millis(self.last.load(Ordering::SeqCst)))
    }

    /// Ends tunnels, and requests that have no answer yet: what they wait for sleeps.
    pub fn cut(&self) {
        self.cut.notify_waiters();
    }
}

/// One request or tunnel under way.
#[derive(Debug)]
pub struct Visit(Arc<Activity>);

impl Visit {
    /// Waits until [`Activity::cut`].
    pub async fn cut(&self) {
        self.0.cut.notified().await;
    }
}

impl Clone for Visit {
    fn clone(&self) -> Self {
        self.0.enter()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.touch();
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_container_is_idle_since_its_last_visit_ended() {
        let activity = Arc::new(Activity::default());
        assert!(activity.idle_since().is_some());
        let visit = activity.enter();
        let tunnel = visit.clone();
        drop(visit);
        assert_eq!(activity.idle_since(), None);
        let cut = tokio::spawn(async move { tunnel.cut().await });
        while !cut.is_finished() {
            activity.cut();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let ended = activity.idle_since().expect("nothing goes on");
        assert!(ended >= activity.since + Duration::from_millis(5));
    }
}
