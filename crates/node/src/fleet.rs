//! All containers' drivers, and the one way to ask them for something.
//!
//! The fleet also answers the proxy's question on every request, from memory: does this container
//! run, and is it this project's? Waking what sleeps is [`super::sleep`]'s.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use super::Node;
use super::driver::Driver;
use super::lifecycle::{Done, Wish};
use super::state::containers::{ContainerRow, NewContainer};
use cowl_api::container::ContainerState;
use cowl_api::{ApiError, ContainerId, ProjectId};
use cowl_engine::shim::protocol::Event as ShimEvent;
use cowl_proxy::Activity;

/// Requests one container may have waiting.
const QUEUE: usize = 64;
/// How long a caller waits for a driver. The engine's own deadlines are shorter; behind several
/// queued requests a caller may give up earlier than the driver does.
const PATIENCE: Duration = Duration::from_secs(170);

/// A request in a driver's queue.
#[derive(Debug)]
pub struct Job {
    /// What is asked.
    pub wish: Wish,
    /// Who waits for the answer, if anybody.
    pub reply: Option<oneshot::Sender<Result<Done, ApiError>>>,
}

impl Job {
    /// Answers whoever waits.
    pub fn answer(self, result: Result<Done, ApiError>) {
        if let Some(reply) = self.reply {
            let _ = reply.send(result);
        }
    }
}

/// What others may know about a container without asking its driver.
#[derive(Debug)]
pub struct Live {
    state: Mutex<ContainerState>,
    condemned: AtomicBool,
    /// It is being put to sleep: whoever comes now has to wait and wake it.
    drowsy: AtomicBool,
    /// Somebody has asked its driver to wake it.
    wake_asked: AtomicBool,
    /// Until when what runs inside may still be starting after a wake.
    rising: Mutex<Option<Instant>>,
    changed: Notify,
    /// Held while what it sees of others' shares changes.
    pub sharing: tokio::sync::Mutex<()>,
    /// Its use through the proxy.
    pub activity: Arc<Activity>,
}

impl Live {
    fn new(state: ContainerState) -> Self {
        Self {
            state: Mutex::new(state),
            condemned: AtomicBool::new(false),
            drowsy: AtomicBool::new(false),
            wake_asked: AtomicBool::new(false),
            rising: Mutex::new(None),
            changed: Notify::new(),
            sharing: tokio::sync::Mutex::default(),
            activity: Arc::default(),
        }
    }

    /// The state its driver wrote last.
    pub fn state(&self) -> ContainerState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For its driver: after the store has it.
    pub fn set(&self, state: ContainerState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.changed.notify_waiters();
    }

    /// Told of every change of what this says.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Says that it is being put to sleep, or that this is over. What comes after is seen by the
    /// one who sets it, or sees it: both sides write before they read.
    pub fn set_drowsy(&self, drowsy: bool) {
        self.drowsy.store(drowsy, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Whether it is being put to sleep.
    pub fn is_drowsy(&self) -> bool {
        self.drowsy.load(Ordering::SeqCst)
    }

    /// Claims the asking to wake it; false when somebody has asked already.
    pub fn claim_wake(&self) -> bool {
        !self.wake_asked.swap(true, Ordering::SeqCst)
    }

    /// The asking was answered.
    pub fn end_wake(&self) {
        self.wake_asked.store(false, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// The asking failed. Tells nobody, or those who wait would ask again at once, for ever.
    pub fn end_wake_quietly(&self) {
        self.wake_asked.store(false, Ordering::SeqCst);
    }

    /// What runs inside may be starting until then; only ever shortened by `at_most`.
    pub fn set_rising(&self, until: Instant, at_most: bool) {
        let mut rising = self.rising.lock().unwrap_or_else(PoisonError::into_inner);
        *rising = match *rising {
            Some(before) if at_most => Some(before.min(until)),
            None if at_most => None,
            _ => Some(until),
        };
    }

    /// Whether what runs inside may still be starting after a wake.
    pub fn is_rising(&self) -> bool {
        self.rising.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
    }

    /// Marks it as about to be deleted (its URLs are gone at once), or takes that back.
    pub fn condemn(&self, condemned: bool) {
        self.condemned.store(condemned, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Whether it is about to be deleted.
    pub(super) fn is_condemned(&self) -> bool {
        self.condemned.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Clone)]
struct Handle {
    project: ProjectId,
    queue: mpsc::Sender<Job>,
    live: Arc<Live>,
}

/// The drivers.
#[derive(Debug, Default)]
pub struct Fleet {
    handles: RwLock<HashMap<ContainerId, Handle>>,
}

impl Fleet {
    fn handle(&self, id: &ContainerId) -> Option<Handle> {
        self.handles.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// State of a container of this project; `None` when there is none, it is another project's,
    /// or it is about to be deleted.
    pub fn state(&self, project: &ProjectId, id: &ContainerId) -> Option<ContainerState> {
        Some(self.live(project, id)?.state())
    }

    /// What is known of a container of this project; `None` as for [`Fleet::state`].
    pub fn live(&self, project: &ProjectId, id: &ContainerId) -> Option<Arc<Live>> {
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        let handle = handles.get(id).filter(|h| h.project == *project && !h.live.is_condemned())?;
        Some(Arc::clone(&handle.live))
    }

    /// What is known of a container, whosever it is.
    pub(super) fn any_live(&self, id: &ContainerId) -> Option<Arc<Live>> {
        self.handle(id).map(|handle| handle.live)
    }

    /// Containers in this state.
    pub fn in_state(&self, state: ContainerState) -> Vec<(ContainerId, ProjectId)> {
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        handles.iter().filter(|(_, h)| h.live.state() == state).map(|(id, h)| (*id, h.project)).collect()
    }

    /// The project of a container that has a driver.
    pub fn project_of(&self, id: &ContainerId) -> Option<ProjectId> {
        Some(self.handles.read().unwrap_or_else(PoisonError::into_inner).get(id)?.project)
    }

    /// For a driver that ends.
    pub fn remove(&self, id: &ContainerId) {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl Node {
    /// Starts the driver of a container that has a row. `watch` are the events of its shim when it
    /// lives, `first` what it does before it hears of anything.
    pub fn drive(self: &Arc<Self>, row: &ContainerRow, watch: Option<mpsc::Receiver<ShimEvent>>, first: Option<Wish>) {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let live = Arc::new(Live::new(row.state));
        live.condemn(matches!(row.state, ContainerState::Deleting | ContainerState::Deleted));
        let handle = Handle { project: row.project_id, queue, live: Arc::clone(&live) };
        self.fleet.handles.write().unwrap_or_else(PoisonError::into_inner).insert(row.id, handle);
        let driver = Driver::new(Arc::clone(self), row.id, live, jobs, watch, first);
        self.tasks.spawn(driver.run());
    }

    /// Writes a new container down and starts making it. Its state is `creating` when this returns.
    ///
    /// # Errors
    /// 404 without that project, 409 when it is full or a name or key is taken.
    pub async fn create_container(
        self: &Arc<Self>,
        project: ProjectId,
        new: NewContainer,
    ) -> Result<ContainerRow, ApiError> {
        self.room_for_more().await?;
        let (row, event) = self.db(move |store| store.create_container(&project, &new)).await?;
        self.bus.tell(event);
        self.drive(&row, None, None);
        self.enqueue(&row.id, Wish::Create, None)?;
        Ok(row)
    }

    /// Asks a container's driver for something and waits for its answer. Giving up waiting does not
    /// stop what was begun.
    ///
    /// # Errors
    /// 404 for an unknown container, 409 when its state does not allow it, 429 when too much waits,
    /// and what went wrong.
    pub async fn ask(&self, id: &ContainerId, wish: Wish) -> Result<Done, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(id, wish, Some(reply))?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            // Its driver ended before it came to this request: the container is gone.
            Ok(Err(_)) => Err(ApiError::not_found("container")),
            Err(_) => Err(ApiError::new(503, "the container is still busy; look at its state later")),
        }
    }

    /// Puts a request into a container's queue.
    ///
    /// # Errors
    /// 404, 429.
    pub fn enqueue(
        &self,
        id: &ContainerId,
        wish: Wish,
        reply: Option<oneshot::Sender<Result<Done, ApiError>>>,
    ) -> Result<(), ApiError> {
        let handle = self.fleet.handle(id).ok_or_else(|| ApiError::not_found("container"))?;
        let deletes = wish.deletes();
        match handle.queue.try_send(Job { wish, reply }) {
            Ok(()) => {
                if deletes {
                    handle.live.condemn(true);
                }
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(ApiError::new(429, "too many requests wait for this container"))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(ApiError::not_found("container")),
        }
    }
}
