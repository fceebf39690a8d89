//! Keeps what containers see below `/hoody/shares` equal to what is offered and taken.
//!
//! [`sync`] compares for one target and is called whenever something may have changed: it started,
//! rebooted or was adopted, a share was made, changed, taken or expired, a source was restored or goes
//! away. Of one target, one at a time: what was taken away must not come back by an older look.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Node;
use super::clock;
use super::driver::failure;
use cowl_api::container::ContainerState;
use cowl_api::ids::ShareId;
use cowl_api::share::{Share, ShareMode};
use cowl_api::{ApiError, ContainerId};

/// Longest time between two looks for expired shares.
const SWEEP: Duration = Duration::from_secs(30);

/// What could not be shown to whom, and why.
type Failures = HashMap<ContainerId, Vec<(ShareId, String)>>;

/// What the node knows of shares beside its database.
#[derive(Debug, Default)]
pub struct Sharing {
    failed: Mutex<Failures>,
    ends_changed: Notify,
}

impl Sharing {
    fn lock(&self) -> MutexGuard<'_, Failures> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A share got another end: the next one may come sooner now.
    pub fn end_changed(&self) {
        self.ends_changed.notify_one();
    }

    fn set(&self, target: ContainerId, failed: Vec<(ShareId, String)>) {
        if failed.is_empty() {
            self.lock().remove(&target);
        } else {
            self.lock().insert(target, failed);
        }
    }

    /// For a container that is gone.
    pub fn forget(&self, target: &ContainerId) {
        self.lock().remove(target);
    }

    /// Fills in a share's status.
    pub fn tell(&self, mut share: Share) -> Share {
        if let Some((_, reason)) = self.lock().values().flatten().find(|(id, _)| *id == share.id) {
            (share.status, share.status_message) = ("failed".to_owned(), Some(reason.clone()));
        }
        share
    }
}

/// What a container is to see: everything offered to it that it takes.
async fn wanted(node: &Node, target: ContainerId) -> Result<Vec<Share>, ApiError> {
    let incoming = node.db(move |store| store.incoming_shares(&target)).await?;
    let now = clock::now_s();
    Ok(incoming.into_iter().filter(|(share, taken)| *taken && share.offered(now)).map(|(share, _)| share).collect())
}

/// Makes a container see what it is to see; one that has no processes will when it starts. With
/// `anew`, what it sees already is shown again (its namespaces, or a source's disk, are others now).
///
/// # Errors
/// When the database cannot be read; what cannot be shown is the share's `failed` status instead.
pub async fn sync(node: &Node, target: ContainerId, anew: bool) -> Result<(), ApiError> {
    let Some(live) = node.fleet.any_live(&target) else { return Ok(()) };
    let _one_at_a_time = live.sharing.lock().await;
    let shares = wanted(node, target).await?;
    let disks = node.machine.pool_root().join("containers");
    let failed: Vec<(ShareId, String)> = node
        .engine(move |m| {
            let shown = m.shown_shares(&target);
            for name in &shown {
                if anew || !shares.iter().any(|share| share.directory() == name) {
                    m.hide_share(&target, name)?;
                }
            }
            if shares.is_empty() || m.status(&target).is_none() {
                return Ok(Vec::new());
            }
            let missing = shares.iter().filter(|share| anew || !shown.iter().any(|name| name == share.directory()));
            let show = |share: &Share| m.show_share(&target, &directory_of(share, &disks)).err();
            Ok(missing.filter_map(|share| Some((share.id, show(share)?.to_string()))).collect())
        })
        .await
        .map_err(failure)?;
    for (share, reason) in &failed {
        tracing::warn!(container = %target, %share, reason, "a share could not be shown");
    }
    node.shares.set(target, failed);
    Ok(())
}

/// What of the source's disk is shown, and as what.
fn directory_of(share: &Share, disks: &Path) -> cowl_engine::shares::Share {
    cowl_engine::shares::Share {
        name: share.directory().to_owned(),
        root: disks.join(share.source_container_id.as_str()).join("rootfs"),
        path: share.source_path.clone(),
        read_only: share.mode == ShareMode::Readonly,
    }
}

/// The same without making anybody wait.
pub fn sync_soon(node: &Arc<Node>, target: ContainerId, anew: bool) {
    let own = Arc::clone(node);
    node.tasks.spawn(async move {
        if let Err(error) = sync(&own, target, anew).await {
            tracing::warn!(container = %target, %error, "shares could not be shown");
        }
    });
}

/// Containers that a share is offered to and that may see it now: what is frozen keeps its mounts.
fn targets(node: &Node, share: &Share) -> Vec<ContainerId> {
    let states = [ContainerState::Running, ContainerState::Paused, ContainerState::Asleep];
    let there = states.into_iter().flat_map(|state| node.fleet.in_state(state));
    let meant = there.filter(|(id, project)| {
        *id != share.source_container_id
            && (share.target_container_id == Some(*id) || share.target_project_id == Some(*project))
    });
    meant.map(|(id, _)| id).collect()
}

/// Takes a share out of sight everywhere.
pub async fn withdraw(node: &Node, share: &Share) {
    for id in targets(node, share) {
        let Some(live) = node.fleet.any_live(&id) else { continue };
        let _one_at_a_time = live.sharing.lock().await;
        let name = share.directory().to_owned();
        if let Err(error) = node.engine(move |m| m.hide_share(&id, &name)).await {
            tracing::warn!(container = %id, share = %share.id, %error, "a share could not be taken away");
        }
    }
}

/// Shows a share to all containers that take it.
pub async fn offer(node: &Node, share: &Share) {
    for id in targets(node, share) {
        if let Err(error) = sync(node, id, false).await {
            tracing::warn!(container = %id, %error, "shares could not be brought up to date");
        }
    }
}

/// The disk of `source` is another one now, or goes away: all who see something of it see it anew,
/// or no more.
pub async fn source_changed(node: &Node, source: ContainerId, gone: bool) {
    let Ok(shares) = node.db(|store| store.shares()).await else { return };
    for share in shares.into_iter().filter(|share| share.source_container_id == source) {
        withdraw(node, &share).await;
        if !gone {
            offer(node, &share).await;
        }
    }
}

/// Takes expired shares away, and tells of those that soon will be, until the node ends.
pub async fn sweep(node: Arc<Node>) {
    loop {
        let now = clock::now_s();
        let next = look(&node, now).await;
        let wait = next.map_or(SWEEP, |at| Duration::from_secs(at.saturating_sub(now)).min(SWEEP));
        tokio::select! {
            () = node.shutdown.cancelled() => return,
            () = node.shares.ends_changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Does what is due at `now`; gives when the next is, both in seconds since the epoch.
pub(super) async fn look(node: &Node, now: u64) -> Option<u64> {
    let ends = node.db(|store| store.share_ends()).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the ends of shares could not be looked up");
        Vec::new()
    });
    let mut next = None;
    for end in ends {
        let id = end.id;
        if end.expires_at <= now {
            match node.db(move |store| store.delete_share(&id, "storage.share.expired")).await {
                Ok((share, event)) => {
                    node.bus.tell(event);
                    withdraw(node, &share).await;
                }
                Err(error) => tracing::warn!(share = %id, %error, "an expired share could not be removed"),
            }
            continue;
        }
        let due = end.warn_at.is_some_and(|at| at <= now);
        if due {
            match node.db(move |store| store.tell_share_end(&id, now)).await {
                Ok(event) => event.into_iter().for_each(|event| node.bus.tell(event)),
                Err(error) => tracing::warn!(share = %id, %error, "the end of a share could not be told"),
            }
        }
        let comes = end.warn_at.filter(|_| !due).unwrap_or(end.expires_at);
        next = Some(next.map_or(comes, |soonest: u64| soonest.min(comes)));
    }
    next
}
