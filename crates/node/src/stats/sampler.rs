//! Sampling: every second while somebody listens to figures, every 30 s otherwise.
//!
//! One pass reads every running container's counters once, in one go on one thread: eight small
//! files each and one table of interfaces for all. What one pass gives goes three ways: to the
//! listeners, into the [history](super::history), and to where [limits](super::hits) are watched.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::history::{Point, SLOW};
use super::hits::Hit;
use super::{cpu_percent, lock};
use crate::state::events::NewEvent;
use crate::{Node, clock};
use cowl_api::container::ContainerState;
use cowl_api::{ContainerId, ProjectId};
use cowl_engine::kmsg::{self, Notice};
use cowl_engine::stats::Usage;

/// Between two samples for listeners.
const EVERY: Duration = Duration::from_secs(1);

type Before = HashMap<ContainerId, (Instant, Usage)>;

/// Samples until the node ends.
pub async fn run(node: Arc<Node>) {
    let mut before = Before::new();
    let mut at = tokio::time::Instant::now();
    loop {
        before = sample_all(&node, before).await;
        let watched = node.bus.stats_are_wanted();
        at = (at + if watched { EVERY } else { SLOW }).max(tokio::time::Instant::now());
        tokio::select! {
            () = node.shutdown.cancelled() => return,
            () = tokio::time::sleep_until(at) => {}
            // Whoever begins to listen need not wait for the next half minute.
            () = node.bus.until_stats_are_wanted(), if !watched => at = tokio::time::Instant::now(),
        }
    }
}

async fn sample_all(node: &Arc<Node>, before: Before) -> Before {
    let running: HashMap<ContainerId, ProjectId> = node.fleet.in_state(ContainerState::Running).into_iter().collect();
    let ids: Vec<ContainerId> = running.keys().copied().collect();
    let fresh = node.engine(move |m| Ok(m.all_counters(&ids))).await.unwrap_or_default();
    let (now, watched) = (Instant::now(), node.bus.stats_are_wanted());
    let mut after = HashMap::with_capacity(fresh.len());
    for (id, usage) in &fresh {
        after.insert(*id, (now, *usage));
        let Some((then, earlier)) = before.get(id) else { continue };
        let point = point(earlier, usage, now.duration_since(*then));
        lock(&node.samples.history).add(*id, point, watched, now);
        if let Some(project) = running.get(id).filter(|_| watched) {
            node.bus.tell_stats(NewEvent::container("container.stats", *project, *id, figures(id, &point)).stamp());
        }
    }
    lock(&node.samples.history).keep(|id| node.fleet.project_of(id).is_some(), now);
    let hits = lock(&node.samples.hits).compare(&fresh, now);
    tell(node, hits).await;
    after
}

fn point(earlier: &Usage, usage: &Usage, between: Duration) -> Point {
    let rate = |now: u64, was: u64| (now.saturating_sub(was) as f64 / between.as_secs_f64()).round() as u64;
    Point {
        at_ms: clock::now_ms(),
        cpu_percent: cpu_percent(earlier, usage, between) as f32,
        tasks: u32::try_from(usage.tasks).unwrap_or(u32::MAX),
        memory: usage.memory,
        swap: usage.swap,
        disk: usage.disk,
        rx_bytes_per_s: rate(usage.rx_bytes, earlier.rx_bytes),
        tx_bytes_per_s: rate(usage.tx_bytes, earlier.tx_bytes),
    }
}

/// `data` of a `container.stats` event.
fn figures(id: &ContainerId, point: &Point) -> serde_json::Value {
    serde_json::json!({
        "id": id,
        "cpu_percent": point.cpu_percent,
        "memory": point.memory,
        "rx_bytes_per_s": point.rx_bytes_per_s,
        "tx_bytes_per_s": point.tx_bytes_per_s,
        "tasks": point.tasks,
        "disk": point.disk,
    })
}

/// Stores and tells what ran into a limit.
async fn tell(node: &Arc<Node>, hits: impl IntoIterator<Item = Hit>) {
    for hit in hits {
        let Some(project) = node.fleet.project_of(&hit.id) else { continue };
        let mut data = hit.data();
        data["id"] = serde_json::json!(hit.id);
        tracing::warn!(container = %hit.id, %data, "{}", hit.event_type());
        let event = NewEvent::container(hit.event_type(), project, hit.id, data);
        match node.db(move |store| store.record(event)).await {
            Ok(event) => node.bus.tell(event),
            Err(error) => tracing::error!(%error, "an event could not be stored"),
        }
    }
}

/// Listens to the kernel's log until the node ends. Without it, limits are told by counters alone.
pub async fn listen_to_kernel(node: Arc<Node>, tag: String) {
    let (notices, mut heard) = mpsc::channel(64);
    if let Err(error) = kmsg::follow(tag, move |notice| notices.blocking_send(notice).is_ok()) {
        return tracing::warn!(%error, "the kernel's log cannot be read; kills are told without the process' name");
    }
    loop {
        tokio::select! {
            () = node.shutdown.cancelled() => return,
            notice = heard.recv() => {
                let Some(notice) = notice else { return };
                let hit = noticed(&node, notice);
                tell(&node, hit).await;
            }
        }
    }
}

fn noticed(node: &Node, notice: Notice) -> Option<Hit> {
    let mut hits = lock(&node.samples.hits);
    match notice {
        Notice::Killed { id, process, pid } => hits.killed(id, process, pid, Instant::now()),
        Notice::ForkRefused { id, .. } => hits.refused_fork(id, Instant::now()),
    }
}
