//! Snapshots: taking, removing, restoring; expiry and sizes.
//!
//! A restore keeps the state before as a snapshot of kind `safety`, which undoes it. The swap of
//! disks is the engine's and atomic; whether it happened is told, after a crash, by whether the
//! safety snapshot exists.

use std::sync::Arc;
use std::time::Duration;

use super::Node;
use super::clock;
use super::driver::{Driver, GRACE, failure};
use super::lifecycle::{Done, Wish};
use super::machine::Tree;
use super::shares;
use super::state::containers::ContainerRow;
use super::state::journal::Kind;
use super::state::snapshots::NewSnapshot;
use super::state::transitions::Transition;
use cowl_api::container::ContainerState;
use cowl_api::{ApiError, ContainerId};

/// How long safety snapshots stay, in days.
const SAFETY_DAYS: u32 = 30;
/// Between two looks for expired snapshots.
const SWEEP: Duration = Duration::from_secs(3600);
/// How old a snapshot's counted size may be, in milliseconds.
pub const SIZE_AGE_MS: i64 = 10 * 60 * 1000;
/// The same for somebody who asks what deleting it would free.
pub const PRICE_AGE_MS: i64 = 5 * 1000;

impl Driver {
    pub(super) async fn snapshot(&mut self, row: &ContainerRow, mut new: NewSnapshot) -> Result<Done, ApiError> {
        self.node.room_for_more().await?;
        let id = self.id;
        new.most = row.effective_settings().max_snapshots;
        let name = self.node.db(move |store| store.begin_snapshot(&id, &new)).await?;
        let made = name.clone();
        if let Err(error) = self.node.engine(move |m| m.create_snapshot(&id, &made)).await {
            self.node.db(move |store| store.forget_snapshot(&id, &name, false)).await?;
            return Err(failure(error));
        }
        let (snapshot, event) = self.node.db(move |store| store.finish_snapshot(&id, &name)).await?;
        self.node.bus.tell(event);
        Ok(Done::Snapshot(snapshot))
    }

    pub(super) async fn delete_snapshot(&mut self, name: String, force: bool) -> Result<Done, ApiError> {
        let id = self.id;
        let snapshot = self.node.db(move |store| store.snapshot(&id, &name)).await?;
        remove(&self.node, id, snapshot.name.clone(), force).await?;
        Ok(Done::Snapshot(snapshot))
    }

    /// Puts back what the last restore replaced. That is a restore itself, so the next undo takes this
    /// one back.
    pub(super) async fn undo(&mut self, row: ContainerRow) -> Result<Done, ApiError> {
        let id = self.id;
        let name = self.node.db(move |store| store.undo_point(&id)).await?;
        self.restore(row, name).await
    }

    pub(super) async fn restore(&mut self, row: ContainerRow, name: String) -> Result<Done, ApiError> {
        let id = self.id;
        let snapshot = self.node.db(move |store| store.snapshot(&id, &name)).await?;
        let new = NewSnapshot {
            kind: "safety",
            expires_at: Some(clock::in_days(SAFETY_DAYS)),
            reason: Some(format!("before a restore of {}", snapshot.alias.as_ref().unwrap_or(&snapshot.name))),
            ..Default::default()
        };
        let safety = self.node.db(move |store| store.begin_snapshot(&id, &new)).await?;
        let ran = matches!(row.state, ContainerState::Running | ContainerState::Paused);
        let args = serde_json::json!({ "name": snapshot.name, "safety": safety, "was_running": ran });
        self.begin(Kind::Restore, "stop", args).await?;
        if ran {
            if let Err(error) = self.halt(row.state, GRACE).await {
                self.forget(&safety).await?;
                return Err(self.runs_on("api", error).await);
            }
            self.go(Transition::to(ContainerState::Stopped, "api")).await?;
        } else if row.state == ContainerState::Asleep
            // What sleeps frozen would write to the disk it had.
            && let Err(error) = self.halt(row.state, GRACE).await
        {
            self.forget(&safety).await?;
            return Err(self.runs_on("api", error).await);
        }
        self.step("swap").await?;
        let (from, to) = (snapshot.name.clone(), safety.clone());
        let swapped = self.node.engine(move |m| m.restore(&id, &from, &to)).await;
        let restored = match swapped {
            Ok(()) => {
                let done = self.restored(&snapshot.name, &safety).await?;
                // Others saw the disk that is a snapshot now.
                shares::source_changed(&self.node, id, false).await;
                Ok(done)
            }
            Err(error) => {
                self.forget(&safety).await?;
                Err(failure(error))
            }
        };
        // Whether the swap went well or not, a container that ran runs again.
        self.step("start").await?;
        if ran {
            let row = ContainerRow { state: ContainerState::Stopped, ..row };
            self.start_again(row, "api").await?;
        } else {
            // A disk that is whole again takes a failed container out of its failure.
            let (to, reason) = match row.state {
                ContainerState::Failed if restored.is_ok() => (ContainerState::Stopped, None),
                state => (state, row.reason),
            };
            self.go(Transition { ends_operation: true, reason, ..Transition::to(to, "api") }).await?;
        }
        restored
    }

    /// Writes down a swap that happened.
    pub(super) async fn restored(&self, name: &str, safety: &str) -> Result<Done, ApiError> {
        let (id, name, kept) = (self.id, name.to_owned(), safety.to_owned());
        let (snapshot, events) = self
            .node
            .db(move |store| {
                let (_, made) = store.finish_snapshot(&id, &kept)?;
                let (snapshot, used) = store.mark_restored(&id, &name, &kept)?;
                Ok((snapshot, [made, used]))
            })
            .await?;
        self.node.bus.tell_all(events);
        Ok(Done::Restored { snapshot, safety: safety.to_owned() })
    }

    pub(super) async fn forget(&self, name: &str) -> Result<(), ApiError> {
        let (id, name) = (self.id, name.to_owned());
        self.node.db(move |store| store.forget_snapshot(&id, &name, false)).await?;
        Ok(())
    }
}

/// Removes a snapshot's subvolume and its row; can be repeated, then with `force`.
pub(super) async fn remove(node: &Arc<Node>, id: ContainerId, name: String, force: bool) -> Result<(), ApiError> {
    let gone = name.clone();
    node.db(move |store| store.begin_delete_snapshot(&id, &gone, force)).await?;
    let gone = name.clone();
    node.engine(move |m| m.delete_snapshot(&id, &gone)).await.map_err(failure)?;
    let event = node.db(move |store| store.forget_snapshot(&id, &name, true)).await?;
    node.bus.tell_all(event);
    Ok(())
}

/// Removes expired snapshots now and every hour until the node ends.
pub async fn sweep(node: Arc<Node>) {
    loop {
        sweep_once(&node).await;
        tokio::select! {
            () = node.shutdown.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
    }
}

/// Removes what has expired by now.
pub async fn sweep_once(node: &Arc<Node>) {
    let expired = match node.db(|store| store.expired_snapshots(&clock::now())).await {
        Ok(expired) => expired,
        Err(error) => {
            tracing::error!(%error, "expired snapshots could not be looked up");
            return;
        }
    };
    for (container, name) in expired {
        match node.ask(&container, Wish::DeleteSnapshot(name.clone())).await {
            Ok(_) => tracing::info!(%container, snapshot = name, "expired and removed"),
            Err(error) => {
                tracing::warn!(%container, snapshot = name, %error, "expired but not removed; tried again in an hour")
            }
        }
    }
}

/// Counts the sizes of a container's snapshots in the background where they are older than `age_ms`, or
/// unknown.
/// One container's count at a time: counting walks trees.
pub fn refresh_sizes(node: &Arc<Node>, id: ContainerId, age_ms: i64) {
    if !node.samples.begin_sizing(id) {
        return;
    }
    let counting = Arc::clone(node);
    node.tasks.spawn(async move {
        let before = clock::now_ms() - age_ms;
        let names = counting.db(move |store| store.unsized_snapshots(&id, before)).await.unwrap_or_default();
        for name in names {
            if counting.shutdown.is_cancelled() {
                break;
            }
            let tree = Tree::Snapshot(id, name.clone());
            match counting.engine(move |m| m.size(&tree)).await {
                Ok(size) => {
                    let kept = counting.db(move |store| store.set_snapshot_size(&id, &name, size)).await;
                    if let Err(error) = kept {
                        tracing::debug!(%error, "a snapshot's size was not kept");
                    }
                }
                Err(error) => tracing::debug!(%error, snapshot = name, "a snapshot's size was not counted"),
            }
        }
        counting.samples.end_sizing(&id);
    });
}
