//! Keeps what containers see below `/hoody/shares` equal to what is offered and taken.
//!
//! [`sync`] compares for one target and is called whenever something may have changed: it started
//! or rebooted, a share was made, changed, taken or expired, a source was restored or goes away.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Node;
use super::clock;
use crate::api::container::ContainerState;
use crate::api::ids::ShareId;
use crate::api::share::{Share, ShareMode};
use crate::api::{ApiError, ContainerId};
use crate::engine;

/// Longest time between two looks for expired shares.
const SWEEP: Duration = Duration::from_secs(30);

/// What could not be shown, and why.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<(ShareId, ContainerId), String>>);

impl Failures {
    fn set(&self, share: ShareId, target: ContainerId, reason: Option<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => all.insert((share, target), reason),
            None => all.remove(&(share, target)),
        };
    }

    /// Fills in a share's status.
    pub fn tell(&self, mut share: Share) -> Share {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, reason)) = all.iter().find(|((id, _), _)| *id == share.id) {
            (share.status, share.status_message) = ("failed".to_owned(), Some(reason.clone()));
        }
        share
    }
}

fn now_s() -> u64 {
    u64::try_from(clock::now_ms() / 1000).unwrap_or(0)
}

/// What a container is to see: everything offered to it that it takes.
async fn wanted(node: &Node, target: ContainerId) -> Result<Vec<Share>, ApiError> {
    let incoming = node.db(move |store| store.incoming_shares(&target)).await?;
    let now = now_s();
    Ok(incoming.into_iter().filter(|(share, taken)| *taken && share.offered(now)).map(|(share, _)| share).collect())
}

/// Makes a running container see what it is to see. With `anew`, what it sees already is shown again
/// (its namespaces, or a source's disk, are others now).
///
/// # Errors
/// When the database cannot be read; what cannot be shown is the share's `failed` status instead.
pub async fn sync(node: &Arc<Node>, target: ContainerId, anew: bool) -> Result<(), ApiError> {
    let shares = wanted(node, target).await?;
    let keep = node.machine.pool_root();
    let results = node
        .engine(move |m| {
            let shown = m.shown_shares(&target);
            let mut results = Vec::new();
            for name in &shown {
                let still = !anew && shares.iter().any(|share| share.directory() == name);
                if !still {
                    m.hide_share(&target, name)?;
                }
            }
            for share in &shares {
                let name = share.directory().to_owned();
                if !anew && shown.contains(&name) {
                    continue;
                }
                let root: PathBuf = keep.join("containers").join(share.source_container_id.as_str()).join("rootfs");
                let what = engine::shares::Share {
                    name,
                    root,
                    path: share.source_path.clone(),
                    read_only: share.mode == ShareMode::Readonly,
                };
                results.push((share.id, m.show_share(&target, &what).err().map(|e| e.to_string())));
            }
            Ok(results)
        })
        .await
        .map_err(super::driver::failure)?;
    for (share, failed) in results {
        if let Some(reason) = &failed {
            tracing::warn!(container = %target, %share, reason, "a share could not be shown");
        }
        node.shares.set(share, target, failed);
    }
    Ok(())
}

/// Shows a container that just started everything it is to see, without making its start wait.
pub fn sync_soon(node: &Arc<Node>, target: ContainerId) {
    let own = Arc::clone(node);
    node.tasks.spawn(async move {
        if let Err(error) = sync(&own, target, true).await {
            tracing::warn!(container = %target, %error, "shares could not be shown");
        }
    });
}

/// Running containers that a share is offered to.
fn targets(node: &Node, share: &Share) -> Vec<ContainerId> {
    let running = node.fleet.in_state(ContainerState::Running).into_iter();
    let meant = running.filter(|(id, project)| {
        *id != share.source_container_id
            && (share.target_container_id == Some(*id) || share.target_project_id == Some(*project))
    });
    meant.map(|(id, _)| id).collect()
}

/// Takes a share out of sight everywhere.
pub async fn withdraw(node: &Arc<Node>, share: &Share) {
    for id in targets(node, share) {
        let name = share.directory().to_owned();
        if let Err(error) = node.engine(move |m| m.hide_share(&id, &name)).await {
            tracing::warn!(container = %id, share = %share.id, %error, "a share could not be taken away");
        }
    }
}

/// Shows a share to all running containers that take it.
pub async fn offer(node: &Arc<Node>, share: &Share) {
    for id in targets(node, share) {
        if let Err(error) = sync(node, id, false).await {
            tracing::warn!(container = %id, %error, "shares could not be brought up to date");
        }
    }
}

/// The disk of `source` is another one now, or goes away: all who see something of it see it anew,
/// or no more.
pub async fn source_changed(node: &Arc<Node>, source: ContainerId, gone: bool) {
    let Ok(shares) = node.db(|store| store.shares()).await else { return };
    for share in shares.into_iter().filter(|share| share.source_container_id == source) {
        withdraw(node, &share).await;
        if !gone {
            offer(node, &share).await;
        }
    }
}

/// Takes expired shares away until the node ends.
pub async fn sweep(node: Arc<Node>) {
    loop {
        let shares = node.db(|store| store.shares()).await.unwrap_or_default();
        let now = now_s();
        for share in shares.iter().filter(|s| s.expires_at.is_some_and(|at| at <= now)) {
            let id = share.id;
            match node.db(move |store| store.delete_share(&id, "storage.share.expired")).await {
                Ok((share, event)) => {
                    node.bus.tell(event);
                    withdraw(&node, &share).await;
                }
                Err(error) => tracing::warn!(share = %id, %error, "an expired share could not be removed"),
            }
        }
        let next = shares.iter().filter_map(|s| s.expires_at).filter(|at| *at > now).map(|at| at - now).min();
        let wait = next.map_or(SWEEP, |s| Duration::from_secs(s).min(SWEEP));
        tokio::select! {
            () = node.shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
