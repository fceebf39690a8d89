//! Waking by a request: whoever asks for a sleeping container waits until it runs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::Node;
use crate::fleet::Live;
use crate::lifecycle::Wish;
use cowl_api::container::ContainerState;
use cowl_api::{ContainerId, ProjectId};

/// How long a request waits for a container to wake. Below the proxy's `Limits::dial`.
const PATIENCE: Duration = Duration::from_secs(25);

impl Node {
    /// A running container of this project, woken if it sleeps; however many ask, it is woken once.
    /// `None` when there is none, or it does not run and does not sleep; an error of kind
    /// `TimedOut` when it did not wake in time.
    pub async fn awake(&self, project: &ProjectId, id: &ContainerId) -> Option<io::Result<Arc<Live>>> {
        let live = self.fleet.live(project, id)?;
        let woken = tokio::time::timeout(PATIENCE, self.until_awake(id, &live)).await;
        match woken {
            // It may have been deleted or marked for it meanwhile.
            Ok(true) => self.fleet.live(project, id).map(Ok),
            Ok(false) => None,
            Err(_) => Some(Err(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Waits until it runs; false when it will not.
    async fn until_awake(&self, id: &ContainerId, live: &Live) -> bool {
        loop {
            let mut changed = std::pin::pin!(live.changed());
            changed.as_mut().enable();
            // Drowsiness is read after the visit was counted; its driver does it the other way round.
            match (live.is_drowsy(), live.state()) {
                (false, ContainerState::Running) => return true,
                (true, ContainerState::Running) | (_, ContainerState::Asleep) => self.ask_to_wake(id, live, "request"),
                _ => return false,
            }
            changed.await;
        }
    }

    /// Asks a container's driver to wake it, unless somebody has.
    pub(super) fn ask_to_wake(&self, id: &ContainerId, live: &Live, by: &'static str) {
        if live.claim_wake() && self.enqueue(id, Wish::Wake(by), None).is_err() {
            // Its queue is full or it goes: who waits sees what becomes of it, or gives up.
            live.end_wake_quietly();
        }
    }
}
