//! One task per container: takes requests from its queue one by one, does them step by step, and
//! listens to its shim in between ([`super::observe`]). What is allowed when is [`super::lifecycle`]'s.
//!
//! ```text
//!   API ── ask ──► queue ──►┌────────┐── engine: disk, start, stop, freeze …
//!   node start ────────────►│ driver │── store: journal, then state
//!   shim ── events ────────►└────────┘── bus: what happened
//! ```
//!
//! Every step is in the journal before it is done (see [`super::reconcile`] for what a crash
//! leaves). A step that fails leaves a state that is true: `failed` with the reason when nothing
//! runs, the old state when the container still runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Node;
use super::fleet::{Job, Live};
use super::lifecycle::{self, Done, Verdict, Wish};
use super::machine::Boot;
use super::shares;
use super::state::addresses;
use super::state::containers::ContainerRow;
use super::state::journal::Kind;
use super::state::transitions::Transition;
use cowl_api::container::{ContainerState, Operation};
use cowl_api::{ApiError, ContainerId, names};
use cowl_engine::net::ipv6;
use cowl_engine::ramdisk::{self, Ramdisk};
use cowl_engine::shim::protocol::{Event as ShimEvent, Status};

/// What a graceful stop gives init before everything is killed.
pub const GRACE: Duration = Duration::from_secs(10);

/// The engine's failures as the API's.
pub fn failure(e: cowl_engine::Error) -> ApiError {
    let status = match &e {
        cowl_engine::Error::NotFound(_) => 404,
        cowl_engine::Error::Exists(_) | cowl_engine::Error::Busy(_) | cowl_engine::Error::InDoubt(_) => 409,
        cowl_engine::Error::Full(_) => 507,
        _ => 500,
    };
    ApiError::new(status, e.to_string())
}

/// The driver of one container.
pub struct Driver {
    pub(super) node: Arc<Node>,
    pub(super) id: ContainerId,
    pub(super) live: Arc<Live>,
    queue: mpsc::Receiver<Job>,
    pub(super) watch: Option<mpsc::Receiver<ShimEvent>>,
    /// What comes before the queue: a deletion that arrived while creation waited, or what a crash
    /// interrupted.
    next: Option<Job>,
}

/// Waits for the shim's next event; for ever when nothing is watched.
async fn heard(watch: &mut Option<mpsc::Receiver<ShimEvent>>) -> Option<ShimEvent> {
    match watch {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

impl Driver {
    /// A driver; [`Driver::run`] is its life.
    pub fn new(
        node: Arc<Node>,
        id: ContainerId,
        live: Arc<Live>,
        queue: mpsc::Receiver<Job>,
        watch: Option<mpsc::Receiver<ShimEvent>>,
        first: Option<Wish>,
    ) -> Self {
        let next = first.map(|wish| Job { wish, reply: None });
        Self { node, id, live, queue, watch, next }
    }

    /// Serves until the container is deleted or the node ends.
    pub async fn run(mut self) {
        loop {
            let job = match self.next.take() {
                Some(job) => Some(job),
                None => tokio::select! {
                    biased;
                    () = self.node.shutdown.cancelled() => return,
                    event = heard(&mut self.watch) => {
                        Box::pin(self.observe(event)).await;
                        continue;
                    }
                    job = self.queue.recv() => job,
                },
            };
            let Some(job) = job else { return };
            // Boxed, so that a driver that waits is small: most of a thousand containers sleep.
            let result = Box::pin(self.serve(&job.wish)).await;
            if let Err(error) = &result {
                tracing::warn!(container = %self.id, wish = ?job.wish, %error, "refused or failed");
            }
            if matches!(job.wish, Wish::Wake(_)) {
                match &result {
                    Ok(_) => self.live.end_wake(),
                    Err(_) => self.live.end_wake_quietly(),
                }
            }
            let gone = result == Ok(Done::Deleted);
            if gone {
                self.node.fleet.remove(&self.id);
            } else if job.wish.deletes() && self.live.state() != ContainerState::Deleted {
                self.live.condemn(false);
            }
            job.answer(result);
            if gone {
                return;
            }
        }
    }

    pub(super) async fn row(&self) -> Result<ContainerRow, ApiError> {
        let id = self.id;
        Ok(self.node.db(move |store| store.any_container(&id)).await?)
    }

    async fn serve(&mut self, wish: &Wish) -> Result<Done, ApiError> {
        let row = self.row().await?;
        match lifecycle::admit(row.state, wish) {
            Verdict::Already => return Ok(Done::State(row.state)),
            Verdict::Refuse(hint) => return Err(lifecycle::refusal(&row.name, row.state, hint)),
            Verdict::Go => {}
        }
        match wish {
            Wish::Create => self.create(row).await,
            Wish::Operate(Operation::Start) if row.state == ContainerState::Asleep => self.wake(row, "api").await,
            Wish::Wake(by) => self.wake(row, by).await,
            Wish::Operate(Operation::Sleep) => self.sleep(row, "api").await,
            Wish::SleepOn => self.sleep_halted(row.state, "node").await,
            Wish::Doze => self.doze(row).await,
            Wish::Operate(Operation::Start) => self.start(row, "api").await,
            Wish::Boot => self.start(row, "node").await,
            Wish::Operate(Operation::Stop) => self.stop(row.state, GRACE, "api", Some(false)).await,
            Wish::Operate(Operation::ForceStop) => self.stop(row.state, Duration::ZERO, "api", Some(false)).await,
            Wish::Halt if row.state == ContainerState::Asleep => self.sleep_halted(row.state, "node").await,
            Wish::Halt => self.stop(row.state, GRACE, "node", None).await,
            Wish::Operate(Operation::Restart) => self.restart(row).await,
            Wish::Operate(Operation::Pause) => self.freeze(true).await,
            Wish::Operate(Operation::Resume) => self.freeze(false).await,
            Wish::Delete => self.delete(row).await,
            Wish::Purge => self.purge(row.state).await,
            Wish::Undelete(name) => self.undelete(name.clone()).await,
            Wish::Snapshot(new) => self.snapshot(&row, new.clone()).await,
            Wish::DeleteSnapshot(name) => self.delete_snapshot(name.clone(), false).await,
            Wish::ForceDeleteSnapshot(name) => self.delete_snapshot(name.clone(), true).await,
            Wish::Undo => self.undo(row).await,
            Wish::Restore(name) => self.restore(row, name.clone()).await,
            Wish::Limit => self.limit(&row).await,
            Wish::Copy => self.copy(row).await,
            Wish::Sync => self.sync(row).await,
            Wish::Carry(carry) => self.carry(row, Arc::clone(carry)).await,
        }
    }

    /// Writes a change of state, then lets others see it.
    pub(super) async fn go(&self, t: Transition) -> Result<(), ApiError> {
        let (id, to, by, reason) = (self.id, t.to, t.by, t.reason.clone());
        let event = self.node.db(move |store| store.transition(&id, &t)).await?;
        self.live.set(to);
        if event.is_some() {
            match reason {
                Some(reason) => tracing::warn!(container = %id, by, reason, "{to}"),
                None => tracing::info!(container = %id, by, "{to}"),
            }
        }
        self.node.bus.tell_all(event);
        Ok(())
    }

    pub(super) async fn begin(&self, kind: Kind, step: &'static str, args: serde_json::Value) -> Result<(), ApiError> {
        let id = self.id;
        Ok(self.node.db(move |store| store.begin(&id, kind, step, &args)).await?)
    }

    pub(super) async fn step(&self, step: &'static str) -> Result<(), ApiError> {
        let id = self.id;
        Ok(self.node.db(move |store| store.step(&id, step)).await?)
    }

    /// Ends an operation as failed; nothing of the container runs then.
    pub(super) async fn fail(&self, by: &'static str, error: ApiError) -> ApiError {
        let reason = Some(error.message.clone());
        let t = Transition { reason, ends_operation: true, ..Transition::to(ContainerState::Failed, by) };
        if let Err(second) = self.go(t).await {
            tracing::error!(container = %self.id, %second, "a failure could not be written down");
        }
        error
    }

    async fn create(&mut self, row: ContainerRow) -> Result<Done, ApiError> {
        match self.make_disk(&row).await {
            Ok(true) => {}
            // The node ends, or a deletion waits: the journal still says `create`.
            Ok(false) => return Ok(Done::State(ContainerState::Creating)),
            Err(error) => return Err(self.fail("node", error).await),
        }
        self.step("start").await?;
        self.boot("api").await
    }

    /// Waits for the image and makes the disk. False when the wait was cut short.
    async fn make_disk(&mut self, row: &ContainerRow) -> Result<bool, ApiError> {
        if row.image_id.is_none() && self.await_image(&row.tier).await?.is_none() {
            return Ok(false);
        }
        // What it waited for may have been built anew, and pruned, since.
        let node = Arc::clone(&self.node);
        let _chosen = node.images.choose().await;
        let image = match &row.image_id {
            Some(image) => image.clone(),
            None => self.node.images.ready(&row.tier).await.map_err(|reason| ApiError::new(503, reason))?,
        };
        let id = self.id;
        let noted = image.clone();
        self.node.db(move |store| store.set_image(&id, &noted)).await?;
        self.node.engine(move |m| m.create_disk(&id, &image)).await.map_err(failure)?;
        Ok(true)
    }

    /// The image's id once it is ready; `None` when a deletion came first or the node ends.
    async fn await_image(&mut self, tier: &str) -> Result<Option<String>, ApiError> {
        loop {
            tokio::select! {
                () = self.node.shutdown.cancelled() => return Ok(None),
                image = self.node.images.ready(tier) => {
                    return image.map(Some).map_err(|reason| ApiError::new(503, reason));
                }
                job = self.queue.recv() => match job {
                    None => return Ok(None),
                    Some(job) if job.wish.deletes() => {
                        self.next = Some(job);
                        return Ok(None);
                    }
                    // Its start will set them.
                    Some(job) if job.wish == Wish::Limit => job.answer(Ok(Done::State(ContainerState::Creating))),
                    Some(job) => {
                        let hint = self.node.images.describe(tier).unwrap_or_else(|| "wait until it runs".into());
                        job.answer(Err(lifecycle::refusal(self.id.as_str(), ContainerState::Creating, &hint)));
                    }
                },
            }
        }
    }

    pub(super) async fn start(&mut self, row: ContainerRow, by: &'static str) -> Result<Done, ApiError> {
        self.begin(Kind::Start, "start", serde_json::json!({})).await?;
        self.start_again(row, by).await
    }

    /// The part of a start that restart and restore share: the journal has its step already.
    pub(super) async fn start_again(&mut self, row: ContainerRow, by: &'static str) -> Result<Done, ApiError> {
        // A container whose creation failed may still lack its disk.
        if row.image_id.is_none() {
            match self.make_disk(&row).await {
                Ok(true) => {}
                Ok(false) => return Ok(Done::State(row.state)),
                Err(error) => return Err(self.fail(by, error).await),
            }
        }
        self.boot(by).await
    }

    pub(super) async fn boot(&mut self, by: &'static str) -> Result<Done, ApiError> {
        // It may have been changed while creation waited for its image.
        let row = self.row().await?;
        let boot = self.boot_parts(&row);
        let (id, copied) = (self.id, row.source_container_id.is_some());
        let started = self.node.engine(move |m| {
            if copied {
                m.own(&id)?;
            }
            m.start(&boot)
        });
        let status = match started.await {
            Ok(status) => status,
            Err(error) => return Err(self.fail(by, failure(error)).await),
        };
        self.watch = Some(self.node.machine.watch(&id));
        if let Err(error) = self.runs(&status, by, true).await {
            self.watch = None;
            let _ = self.node.engine(move |m| m.stop(&id, Duration::ZERO)).await;
            return Err(error);
        }
        self.check_limits(&row).await;
        shares::sync_soon(&self.node, id, true);
        Ok(Done::State(ContainerState::Running))
    }

    pub(super) async fn runs(&self, status: &Status, by: &'static str, ends_operation: bool) -> Result<(), ApiError> {
        self.live.activity.touch();
        self.go(Transition {
            wanted: Some(true),
            started_at_ms: Some(status.started_at_ms),
            ends_operation,
            ..Transition::to(ContainerState::Running, by)
        })
        .await
    }

    fn boot_parts(&self, row: &ContainerRow) -> Boot {
        let place = &self.node.place;
        let kit_env = [
            ("COWL_CONTAINER_ID", row.id.to_string()),
            ("COWL_CONTAINER_NAME", row.name.clone()),
            ("COWL_PROJECT_ID", row.project_id.to_string()),
            ("COWL_SERVER_NAME", place.server_name.clone()),
            ("COWL_DOMAIN", place.primary_domain().to_owned()),
            ("COWL_PORT", place.listen.port().to_string()),
        ];
        Boot {
            ramdisk: ramdisk_of(row),
            settings: row.effective_settings(),
            id: row.id,
            hostname: names::hostname(&row.name),
            address: addresses::address(place.network, row.address_index),
            address6: place.network6.map(|prefix| ipv6::address(prefix, row.address_index)),
            kit: row.hoody_kit,
            env: row.env.clone(),
            kit_env: kit_env.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        }
    }

    /// Stops it. `wanted` as in [`Transition`]: the node's own end changes no owner's wish.
    async fn stop(
        &mut self,
        state: ContainerState,
        grace: Duration,
        by: &'static str,
        wanted: Option<bool>,
    ) -> Result<Done, ApiError> {
        self.begin(Kind::Stop, "stop", serde_json::json!({ "node_ends": wanted.is_none() })).await?;
        if let Err(error) = self.halt(state, grace).await {
            return Err(self.runs_on(by, error).await);
        }
        let t = Transition { wanted, ends_operation: true, ..Transition::to(ContainerState::Stopped, by) };
        self.go(t).await?;
        Ok(Done::State(ContainerState::Stopped))
    }

    /// Ends whatever runs of the container. Succeeds when nothing does.
    pub(super) async fn halt(&mut self, state: ContainerState, grace: Duration) -> Result<(), ApiError> {
        let id = self.id;
        let frozen = matches!(state, ContainerState::Paused | ContainerState::Asleep | ContainerState::Deleting);
        let stopped = self
            .node
            .engine(move |m| {
                if frozen {
                    // Frozen tasks do not die before they thaw; a failure shows in the stop itself.
                    let _ = m.freeze(&id, false);
                }
                let result = m.stop(&id, grace);
                // It may have ended on its own just before.
                if result.is_err() && m.status(&id).is_none() { Ok(()) } else { result }
            })
            .await;
        if stopped.is_ok() {
            self.watch = None;
        }
        stopped.map_err(failure)
    }

    /// Ends an operation whose stop failed: the container runs on, or is as frozen as it was.
    pub(super) async fn runs_on(&mut self, by: &'static str, error: ApiError) -> ApiError {
        let id = self.id;
        let shim = self.node.engine(move |m| Ok(m.status(&id))).await.ok().flatten();
        let to = match (shim.is_some_and(|s| s.frozen), self.live.state()) {
            (true, ContainerState::Asleep) => ContainerState::Asleep,
            (true, _) => ContainerState::Paused,
            (false, _) => ContainerState::Running,
        };
        if let Err(second) = self.go(Transition { ends_operation: true, ..Transition::to(to, by) }).await {
            tracing::error!(container = %self.id, %second, "a failure could not be written down");
        }
        error
    }

    async fn restart(&mut self, row: ContainerRow) -> Result<Done, ApiError> {
        // What sleeps frozen has to end first, too.
        if !matches!(row.state, ContainerState::Running | ContainerState::Asleep) {
            return self.start(row, "api").await;
        }
        self.begin(Kind::Restart, "stop", serde_json::json!({})).await?;
        if let Err(error) = self.halt(row.state, GRACE).await {
            return Err(self.runs_on("api", error).await);
        }
        self.step("start").await?;
        // Who asks for a sleeper waits until it runs.
        if row.state == ContainerState::Running {
            self.go(Transition::to(ContainerState::Stopped, "api")).await?;
        }
        self.start_again(row, "api").await
    }

    async fn freeze(&mut self, frozen: bool) -> Result<Done, ApiError> {
        let id = self.id;
        self.node.engine(move |m| m.freeze(&id, frozen)).await.map_err(failure)?;
        let to = if frozen { ContainerState::Paused } else { ContainerState::Running };
        self.go(Transition::to(to, "api")).await?;
        Ok(Done::State(to))
    }
}

/// The `/ramdisk` that a container is to have.
pub(super) fn ramdisk_of(row: &ContainerRow) -> Option<Ramdisk> {
    let size = row.effective_settings().limits.ramdisk.map_or(ramdisk::SIZE, |size| size.0);
    row.ramdisk.then(|| Ramdisk { size, project: (row.ramdisk_scope == "project").then_some(row.project_id) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pool_is_507() {
        assert_eq!(failure(cowl_engine::Error::Full("disk".into())).status_code, 507);
    }
}
