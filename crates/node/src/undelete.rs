//! Deleting: at once, or put away for a while first.
//!
//! A deletion ends the container for everybody: its URLs are gone before it halts, its name, ssh key
//! and address are free when this is done, its shares are hidden. Its disk and its snapshots stay for
//! `settings.undelete_hours`, else what the node was told; then [`sweep`] removes them. It halts
//! gracefully, so that what comes back is whole; a container without a disk has nothing to come back.
//! Deleting a project removes all of it at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Node;
use super::clock;
use super::driver::{Driver, GRACE, failure};
use super::lifecycle::{Done, Wish};
use super::shares;
use super::state::containers::ContainerRow;
use super::state::journal::Kind;
use super::state::transitions::Transition;
use cowl_api::ApiError;
use cowl_api::container::ContainerState;

/// Longest time between two looks for what is to be purged.
const LOOK: Duration = Duration::from_secs(3600);

fn in_hours(hours: u32) -> String {
    let later = Timestamp::now().checked_add(SignedDuration::from_hours(i64::from(hours)));
    clock::iso(later.unwrap_or(Timestamp::MAX))
}

impl Driver {
    pub(super) async fn delete(&mut self, row: ContainerRow) -> Result<Done, ApiError> {
        let hours = row.effective_settings().undelete_hours.unwrap_or(self.node.place.undelete_hours);
        if hours > 0 && self.has_disk(&row).await? {
            self.bury(row.state, hours).await
        } else {
            self.purge(row.state).await
        }
    }

    /// Whether there is something to come back: not while it is being made, nor when that failed.
    async fn has_disk(&self, row: &ContainerRow) -> Result<bool, ApiError> {
        if matches!(row.state, ContainerState::Creating | ContainerState::Copying) {
            return Ok(false);
        }
        let disks = self.node.engine(|m| m.disks()).await.map_err(failure)?;
        Ok(disks.contains(&self.id))
    }

    async fn bury(&mut self, state: ContainerState, hours: u32) -> Result<Done, ApiError> {
        let id = self.id;
        let event = self.node.db(move |store| store.begin_burial(&id)).await?;
        self.live.set(ContainerState::Deleting);
        self.node.bus.tell_all(event);
        if let Err(error) = self.halt(state, GRACE).await {
            return Err(self.runs_on("node", error).await);
        }
        shares::source_changed(&self.node, id, true).await;
        let event = self.node.db(move |store| store.bury(&id, &in_hours(hours))).await?;
        self.live.set(ContainerState::Deleted);
        self.node.bus.tell_all(event);
        self.node.shortfalls.forget(&id);
        self.node.shares.forget(&id);
        tracing::info!(container = %id, hours, "deleted; it can be undeleted");
        Ok(Done::State(ContainerState::Deleted))
    }

    /// Removes it for good, whether it was deleted before or not.
    pub(super) async fn purge(&mut self, state: ContainerState) -> Result<Done, ApiError> {
        self.begin(Kind::Delete, "delete", serde_json::json!({})).await?;
        let id = self.id;
        let buried = self.row().await?.deleted_at.is_some();
        self.go(Transition::to(ContainerState::Deleting, "api")).await?;
        // Its files go anyway, so there is nothing to shut down gracefully for.
        if let Err(error) = self.halt(state, Duration::ZERO).await {
            return Err(self.runs_on("node", error).await);
        }
        shares::source_changed(&self.node, id, true).await;
        if let Err(error) = self.node.engine(move |m| m.delete_disk(&id)).await.map_err(failure) {
            let message = format!("could not be deleted: {}", error.message);
            let error = ApiError { message, ..error };
            if buried {
                // Nobody sees it, so it cannot show that it failed; the sweep tries again.
                let back = Transition { ends_operation: true, ..Transition::to(ContainerState::Deleted, "node") };
                self.go(back).await?;
                return Err(error);
            }
            return Err(self.fail("node", error).await);
        }
        let event = self.node.db(move |store| store.remove_container(&id)).await?;
        self.node.bus.tell(event);
        self.node.shortfalls.forget(&id);
        self.node.shares.forget(&id);
        tracing::info!(container = %id, "deleted");
        Ok(Done::Deleted)
    }

    /// Takes it back: running if it ran, asleep if it slept, stopped else.
    pub(super) async fn undelete(&mut self, name: Option<String>) -> Result<Done, ApiError> {
        let id = self.id;
        let (starts, events) = self.node.db(move |store| store.undelete(&id, name.as_deref())).await?;
        let row = self.row().await?;
        self.live.set(row.state);
        self.live.condemn(false);
        self.node.bus.tell_all(events);
        shares::source_changed(&self.node, id, false).await;
        if starts {
            return self.start_again(row, "api").await;
        }
        Ok(Done::State(row.state))
    }
}

/// Purges what was deleted long enough ago, until the node ends.
pub async fn sweep(node: Arc<Node>) {
    loop {
        let wait = sweep_once(&node).await;
        tokio::select! {
            () = node.shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Purges what is due; says when to look again.
pub async fn sweep_once(node: &Arc<Node>) -> Duration {
    let purges = match node.db(|store| store.purges()).await {
        Ok(purges) => purges,
        Err(error) => {
            tracing::error!(%error, "deleted containers could not be looked up");
            return LOOK;
        }
    };
    let now = Timestamp::now();
    for (id, at) in purges {
        let left = at.parse::<Timestamp>().map_or(SignedDuration::ZERO, |at| at.duration_since(now));
        if let Ok(left) = Duration::try_from(left)
            && !left.is_zero()
        {
            // They come in the order of their times.
            return left.min(LOOK);
        }
        match node.ask(&id, Wish::Purge).await {
            Ok(_) => tracing::info!(container = %id, "deleted for good"),
            Err(error) => tracing::warn!(container = %id, %error, "not deleted for good; tried again in an hour"),
        }
    }
    LOOK
}
