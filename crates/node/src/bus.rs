//! Events to whoever listens now. What must outlast the moment is in the store already.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, broadcast};

use cowl_api::event::Event;

/// How many events a slow listener may lag behind before it misses some.
const BACKLOG: usize = 1_024;

/// Two channels: what happened, and figures every second for those who want them.
#[derive(Debug)]
pub struct Bus {
    events: broadcast::Sender<Event>,
    stats: broadcast::Sender<Event>,
    stats_listeners: AtomicUsize,
    wanted: Notify,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            events: broadcast::Sender::new(BACKLOG),
            stats: broadcast::Sender::new(BACKLOG),
            stats_listeners: AtomicUsize::new(0),
            wanted: Notify::new(),
        }
    }
}

impl Bus {
    /// Tells all listeners. Nobody listening is fine.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Tells what happened, if something did.
    pub fn tell_all(&self, events: impl IntoIterator<Item = Event>) {
        events.into_iter().for_each(|event| self.tell(event));
    }

    /// Tells those who listen to figures.
    pub fn tell_stats(&self, event: Event) {
        let _ = self.stats.send(event);
    }

    /// Listens to what happens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Listens to figures; sampling goes on as long as one of these lives.
    pub fn listen_stats(self: &Arc<Self>) -> StatsListener {
        let receiver = self.stats.subscribe();
        self.stats_listeners.fetch_add(1, Ordering::SeqCst);
        self.wanted.notify_one();
        StatsListener { receiver, bus: Arc::clone(self) }
    }

    /// Whether anybody listens to figures.
    pub fn stats_are_wanted(&self) -> bool {
        self.stats_listeners.load(Ordering::SeqCst) > 0
    }

    /// Waits until somebody listens to figures. For one waiter.
    pub async fn until_stats_are_wanted(&self) {
        while !self.stats_are_wanted() {
            self.wanted.notified().await;
        }
    }
}

/// A listener to figures. Dropping it ends its share in the sampling.
#[derive(Debug)]
pub struct StatsListener {
    receiver: broadcast::Receiver<Event>,
    bus: Arc<Bus>,
}

impl StatsListener {
    /// The next figures; those missed by a slow listener are passed over. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for StatsListener {
    fn drop(&mut self) {
        self.bus.stats_listeners.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn figures_are_wanted_only_while_somebody_listens() {
        let bus = Arc::new(Bus::default());
        assert!(!bus.stats_are_wanted());
        let listener = bus.listen_stats();
        bus.until_stats_are_wanted().await;
        drop(listener);
        assert!(!bus.stats_are_wanted());
    }
}
