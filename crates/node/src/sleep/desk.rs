//! The one task that looks after sleep: who may fall asleep, and who has to be woken when.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::broadcast::error::RecvError;

use super::due;
use super::idle::{Idle, Policy, Sight};
use crate::Node;
use crate::lifecycle::Wish;
use crate::state::containers::ContainerRow;
use cowl_api::ContainerId;
use cowl_api::container::ContainerState;
use cowl_api::event::Event;

/// How long before an entry falls due its container is woken.
const EARLY: SignedDuration = SignedDuration::from_secs(10);
/// A container with an entry due so soon is not put to sleep.
const SOON: SignedDuration = SignedDuration::from_secs(60);
/// Longest trust in a timer while an entry waits: the clock may be set meanwhile.
const TRUST: Duration = Duration::from_secs(30);
/// The wall clock going so much apart from the time that passed was set, in seconds.
const JUMP: i64 = 5;

/// Looks after sleep until the node ends.
pub async fn watch(node: Arc<Node>) {
    let mut events = node.bus.listen();
    let mut desk = Desk::default();
    desk.reload(&node).await;
    loop {
        let wait = desk.wait(Instant::now(), Timestamp::now());
        tokio::select! {
            biased;
            () = node.shutdown.cancelled() => return,
            event = events.recv() => match event {
                Ok(event) => desk.heard(&node, &event).await,
                Err(RecvError::Lagged(_)) => desk.reload(&node).await,
                Err(RecvError::Closed) => return,
            },
            () = tokio::time::sleep(wait.unwrap_or(TRUST)), if wait.is_some() => desk.turn(&node).await,
        }
    }
}

/// What is known of containers that may fall asleep, and of those that sleep.
#[derive(Debug)]
pub(super) struct Desk {
    awake: HashMap<ContainerId, Idle>,
    /// When to look at each; an entry that does not match [`Idle::next`] is stale.
    looks: BinaryHeap<Reverse<(Instant, ContainerId)>>,
    /// Sleeping containers whose entries are still to be read.
    unread: VecDeque<ContainerId>,
    /// When which sleeping container has an entry due.
    dues: BTreeSet<(Timestamp, ContainerId)>,
    /// Both clocks at the last turn.
    clocks: (Instant, Timestamp),
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            awake: HashMap::new(),
            looks: BinaryHeap::new(),
            unread: VecDeque::new(),
            dues: BTreeSet::new(),
            clocks: (Instant::now(), Timestamp::now()),
        }
    }
}

impl Desk {
    /// How long nothing is to do; `None` is until something happens.
    fn wait(&self, now: Instant, clock: Timestamp) -> Option<Duration> {
        if !self.unread.is_empty() {
            return Some(Duration::ZERO);
        }
        let look = self.looks.peek().map(|Reverse((at, _))| at.saturating_duration_since(now));
        let due = self.dues.first().map(|(at, _)| {
            let left = at.duration_since(clock).saturating_sub(EARLY);
            Duration::try_from(left).unwrap_or_default().min(TRUST)
        });
        look.into_iter().chain(due).min()
    }

    /// Looks at every container anew.
    async fn reload(&mut self, node: &Arc<Node>) {
        match node.db(|store| store.all_containers()).await {
            Ok(rows) => rows.iter().for_each(|row| self.consider(row)),
            Err(error) => tracing::error!(%error, "sleep settings could not be read; nothing falls asleep"),
        }
    }

    /// Takes a container's state and settings into account.
    pub(super) fn consider(&mut self, row: &ContainerRow) {
        let policy = Policy::of(&row.effective_settings());
        match (row.state, policy) {
            (ContainerState::Running, Some(policy)) => {
                self.forget_due(&row.id);
                let now = Instant::now();
                let idle = self.awake.entry(row.id).or_insert_with(|| Idle::new(policy, now));
                (idle.policy, idle.next) = (policy, now);
                self.looks.push(Reverse((now, row.id)));
            }
            (ContainerState::Asleep, _) => {
                self.awake.remove(&row.id);
                self.forget_due(&row.id);
                self.unread.push_back(row.id);
            }
            _ => self.forget(&row.id),
        }
    }

    fn forget(&mut self, id: &ContainerId) {
        self.awake.remove(id);
        self.forget_due(id);
    }

    fn forget_due(&mut self, id: &ContainerId) {
        self.unread.retain(|unread| unread != id);
        self.dues.retain(|(_, due)| due != id);
    }

    async fn heard(&mut self, node: &Arc<Node>, event: &Event) {
        match (event.event_type.as_str(), event.container_id) {
            ("project.updated", _) => self.reload(node).await,
            (
                "container.running" | "container.asleep" | "container.resource_updated" | "container.snapshot.restored",
                Some(id),
            ) => match node.db(move |store| store.container(&id)).await {
                Ok(row) => self.consider(&row),
                Err(_) => self.forget(&id),
            },
            (
                "container.stopped" | "container.paused" | "container.failed" | "container.deleting"
                | "container.deleted",
                Some(id),
            ) => self.forget(&id),
            _ => {}
        }
    }

    /// Does what is due.
    async fn turn(&mut self, node: &Arc<Node>) {
        let (now, clock) = (Instant::now(), Timestamp::now());
        for (due, id) in self.fire(now, clock) {
            tracing::info!(container = %id, %due, "an entry of its crontab falls due; waking it");
            if let Some(live) = node.fleet.any_live(&id) {
                node.ask_to_wake(&id, &live, "cron");
            }
        }
        self.look(node, now).await;
        if let Some(id) = self.unread.pop_front()
            && let Ok(Some(due)) = node.engine(move |m| Ok(due::next(m, &id, Timestamp::now()))).await
        {
            self.expect(due, id);
        }
    }

    /// Notes when an entry falls due.
    pub(super) fn expect(&mut self, due: Timestamp, id: ContainerId) {
        self.dues.insert((due, id));
    }

    #[cfg(test)]
    pub(super) fn to_read(&self) -> Vec<ContainerId> {
        self.unread.iter().copied().collect()
    }

    /// Takes out whose entries fall due. A clock that was set has all entries read again.
    pub(super) fn fire(&mut self, now: Instant, clock: Timestamp) -> Vec<(Timestamp, ContainerId)> {
        let soon = clock.checked_add(EARLY).unwrap_or(Timestamp::MAX);
        let mut due = Vec::new();
        while let Some(first) = self.dues.first().copied().filter(|(at, _)| *at <= soon) {
            self.dues.remove(&first);
            due.push(first);
        }
        let (then, said) = std::mem::replace(&mut self.clocks, (now, clock));
        let passed = i64::try_from(now.saturating_duration_since(then).as_secs()).unwrap_or(i64::MAX);
        if (clock.as_second() - said.as_second()).abs_diff(passed) > JUMP.unsigned_abs() {
            self.unread.extend(std::mem::take(&mut self.dues).into_iter().map(|(_, id)| id));
        }
        due
    }

    /// Looks at those whose time has come, and puts the idle ones to sleep.
    async fn look(&mut self, node: &Arc<Node>, now: Instant) {
        let mut ids = Vec::new();
        while let Some(Reverse((at, id))) = self.looks.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.looks.pop();
            if self.awake.get(&id).is_some_and(|idle| idle.next == at) {
                ids.push(id);
            }
        }
        if ids.is_empty() {
            return;
        }
        let usage = node.engine(move |m| Ok(ids.into_iter().map(|id| (id, m.cpu_usec(&id).ok())).collect::<Vec<_>>()));
        for (id, cpu_usec) in usage.await.unwrap_or_default() {
            let Some(live) = node.fleet.any_live(&id) else {
                self.awake.remove(&id);
                continue;
            };
            let Some(idle) = self.awake.get_mut(&id) else { continue };
            let sight = Sight { idle_since: live.activity.idle_since(), cpu_usec };
            if idle.look(Instant::now(), sight) {
                doze(node, id, idle).await;
            }
            self.looks.push(Reverse((idle.next, id)));
        }
    }
}

/// Asks an idle container's driver to put it to sleep, unless it has something to do soon.
async fn doze(node: &Arc<Node>, id: ContainerId, idle: &mut Idle) {
    let clock = Timestamp::now();
    let due = node.engine(move |m| Ok(due::next(m, &id, clock))).await.ok().flatten();
    match due.map(|due| due.duration_since(clock)) {
        Some(left) if left <= SOON => {
            let left = Duration::try_from(left).unwrap_or_default();
            tracing::debug!(container = %id, seconds = left.as_secs(), "idle, but an entry of its crontab is due soon");
            idle.busy_until(Instant::now() + left);
        }
        _ => {
            // It may be refused, when it was used meanwhile; a later look finds out.
            let _ = node.enqueue(&id, Wish::Doze, None);
        }
    }
}
