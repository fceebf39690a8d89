//! Files out of a snapshot, or out of a container that does not run, into a container.
//!
//! The target's driver does it, so that the target is not started, stopped or restored meanwhile;
//! who asked waits as long as it takes, and ends it by leaving.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::Node;
use super::driver::{Driver, failure};
use super::lifecycle::{Done, Wish};
use super::machine::Tree;
use super::state::containers::ContainerRow;
use super::state::events::NewEvent;
use cowl_api::container::ContainerState;
use cowl_api::files::{Overwrite, Restored};
use cowl_api::{ApiError, ContainerId};
use cowl_engine::storage::carry::Move;

/// Between two events about how far it is.
const TELL_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// What is to be copied.
#[derive(Debug)]
pub struct Carry {
    /// From where.
    pub from: Tree,
    /// What, and where to.
    pub moves: Vec<Move>,
    /// What to do with what is in the way.
    pub overwrite: Overwrite,
    /// Only look.
    pub dry_run: bool,
    /// Set when nobody waits for it any more.
    pub cancelled: AtomicBool,
}

/// Orders are told apart by who gave them.
impl PartialEq for Carry {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Carry {}

/// Cancels what its owner waited for.
struct Waiting(Arc<Carry>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Node {
    /// Copies files into a container; dropping this ends it with the file it is at.
    ///
    /// # Errors
    /// 404 without that container or those files, 409 when it is paused, 507.
    pub async fn carry_files(&self, to: ContainerId, carry: Carry) -> Result<Restored, ApiError> {
        let waiting = Waiting(Arc::new(carry));
        let (reply, answer) = oneshot::channel();
        self.enqueue(&to, Wish::Carry(Arc::clone(&waiting.0)), Some(reply))?;
        match answer.await {
            Ok(Ok(Done::Carried(report))) => Ok(report),
            Ok(Ok(other)) => Err(ApiError::internal(format!("unexpected answer {other:?}"))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ApiError::not_found("container")),
        }
    }
}

impl Driver {
    pub(super) async fn carry(&mut self, row: ContainerRow, carry: Arc<Carry>) -> Result<Done, ApiError> {
        if row.state == ContainerState::Paused {
            return Err(super::lifecycle::refusal(&row.name, row.state, "resume it first"));
        }
        let (id, project, live, node) = (self.id, row.project_id, Arc::clone(&self.live), Arc::clone(&self.node));
        if row.state == ContainerState::Asleep
            && self.node.engine(move |m| Ok(m.status(&id))).await.map_err(failure)?.is_some()
        {
            return Err(super::lifecycle::refusal(&row.name, row.state, "it sleeps with its programs; wake it first"));
        }
        let told = Mutex::new(Instant::now());
        let done = self.node.engine(move |m| {
            let cancelled =
                || carry.cancelled.load(Ordering::Relaxed) || live.is_condemned() || node.shutdown.is_cancelled();
            let mut progress = |copied, bytes| {
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                if told.elapsed() >= TELL_EVERY {
                    *told = Instant::now();
                    let data = serde_json::json!({ "copied": copied, "bytes": bytes });
                    node.bus.tell(NewEvent::container("container.files.copying", project, id, data).stamp());
                }
            };
            if cancelled() {
                return Err(cowl_engine::Error::Shim("cancelled before it began".into()));
            }
            m.carry(&id, &carry, &cancelled, &mut progress)
        });
        done.await.map(Done::Carried).map_err(failure)
    }
}
