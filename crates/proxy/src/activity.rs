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
    /// How often it was cut.
    cuts: AtomicU64,
    cut: Notify,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            in_flight: AtomicU32::new(0),
            last: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            cut: Notify::new(),
        }
    }
}

impl Activity {
    /// A request begins; it lasts until the visit is dropped.
    pub fn enter(self: &Arc<Self>) -> Visit {
        self.visit(self.cuts.load(Ordering::SeqCst))
    }

    fn visit(self: &Arc<Self>, cuts: u64) -> Visit {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        Visit { to: Arc::clone(self), cuts }
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
        self.cuts.fetch_add(1, Ordering::SeqCst);
        self.cut.notify_waiters();
    }
}

/// One request or tunnel under way.
#[derive(Debug)]
pub struct Visit {
    to: Arc<Activity>,
    /// How often it had been cut when the visit began.
    cuts: u64,
}

impl Visit {
    /// Waits for an [`Activity::cut`] since the visit began: one between a request's answer and its
    /// tunnel is not missed.
    pub async fn cut(&self) {
        let cut = self.to.cut.notified();
        if self.to.cuts.load(Ordering::SeqCst) == self.cuts {
            cut.await;
        }
    }
}

impl Clone for Visit {
    fn clone(&self) -> Self {
        self.to.visit(self.cuts)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.to.touch();
        self.to.in_flight.fetch_sub(1, Ordering::SeqCst);
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
        tokio::time::sleep(Duration::from_millis(5)).await;
        let cut = tokio::spawn(async move { tunnel.cut().await });
        activity.cut();
        cut.await.expect("the tunnel ends");
        let ended = activity.idle_since().expect("nothing goes on");
        assert!(ended >= activity.since + Duration::from_millis(5));
    }

    #[tokio::test]
    async fn a_cut_before_it_is_waited_for_is_not_missed_and_one_before_the_visit_does_not_count() {
        let activity = Arc::new(Activity::default());
        let early = activity.enter();
        activity.cut();
        tokio::time::timeout(Duration::from_secs(5), early.clone().cut()).await.expect("the cut was missed");
        let late = activity.enter();
        let cut = tokio::time::timeout(Duration::from_millis(20), late.cut()).await;
        assert!(cut.is_err(), "cut by what was before it");
    }
}
