//! State and channel together: actions are applied, effects become tasks whose answers are actions.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::app::{Action, App, Done, Effect, Loaded, PREVIEW_MAX, PaneId, Shares, Work};
use super::backend::{Backend, BackendError, PtySize, SessionRef, TermOutput};
use cowl_api::ContainerId;

/// Actions that may wait; beyond that, those who send them wait. Few, so that what a flooding
/// program said before Ctrl-C is soon worked off.
const QUEUE: usize = 32;
/// Seconds a browser launcher may take to fail.
const OPEN_S: u64 = 5;

/// What only the outer terminal can do.
#[derive(Debug, PartialEq, Eq)]
pub enum Aside {
    /// Put this (base64) on the user's clipboard.
    Clipboard(String),
    /// Ring.
    Bell,
}

/// The state, its channel, and the tasks that work for it. Dropping it ends them.
pub struct Core {
    /// The state.
    pub app: App,
    /// Where actions come from.
    pub actions: mpsc::Receiver<Action>,
    sender: mpsc::Sender<Action>,
    backend: Arc<dyn Backend>,
    tasks: JoinSet<()>,
    watch: Option<AbortHandle>,
    clock: fn() -> Timestamp,
}

impl Core {
    /// A core around a fresh state.
    pub fn new(app: App, backend: Arc<dyn Backend>, clock: fn() -> Timestamp) -> Self {
        let (sender, actions) = mpsc::channel(QUEUE);
        Self { app, actions, sender, backend, tasks: JoinSet::new(), watch: None, clock }
    }

    /// Gives a task an owner: it ends with the core.
    pub fn own(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Applies an action and sets its effects going; gives what the outer terminal must do.
    pub fn apply(&mut self, action: Action) -> Vec<Aside> {
        self.app.now = (self.clock)();
        self.app.update(action);
        self.perform()
    }

    /// Sets effects going.
    pub fn perform(&mut self) -> Vec<Aside> {
        while self.tasks.try_join_next().is_some() {}
        let mut asides = Vec::new();
        for effect in self.app.take_effects() {
            match effect {
                Effect::Clipboard(text) => asides.push(Aside::Clipboard(text)),
                Effect::Bell => asides.push(Aside::Bell),
                Effect::Watch { number, stats } => self.follow(number, stats),
                Effect::OpenTerminal(pane, epoch, session, size) => self.attach(pane, epoch, session, size),
                effect => self.call(effect),
            }
        }
        asides
    }

    fn call(&mut self, effect: Effect) {
        let backend = self.backend.clone();
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            if let Some(action) = answer(backend, effect).await {
                // The cockpit is closing when nobody listens.
                let _ = sender.send(action).await;
            }
        });
    }

    fn follow(&mut self, number: u64, stats: bool) {
        if let Some(before) = self.watch.take() {
            before.abort();
        }
        let backend = self.backend.clone();
        let sender = self.sender.clone();
        self.watch = Some(self.tasks.spawn(async move {
            let reason = match backend.events(stats).await {
                Ok(mut events) => {
                    if sender.send(Action::WatchOpened(number)).await.is_err() {
                        return;
                    }
                    while let Some(event) = events.recv().await {
                        if sender.send(Action::Event(number, Box::new(event))).await.is_err() {
                            return;
                        }
                    }
                    None
                }
                Err(e) => Some(e),
            };
            let _ = sender.send(Action::WatchEnded(number, reason)).await;
        }));
    }

    fn attach(&mut self, pane: PaneId, epoch: u64, session: SessionRef, size: PtySize) {
        let backend = self.backend.clone();
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            let mut link = match backend.terminal(session, size).await {
                Ok(link) => link,
                Err(e) => {
                    let _ = sender.send(Action::TerminalFailed(pane, epoch, e)).await;
                    return;
                }
            };
            // The state holds the only sender: when it lets go of the pane, the session closes.
            let mut next = Some(Action::TerminalOpened(pane, epoch, link.input));
            while let Some(action) = next {
                if sender.send(action).await.is_err() {
                    return;
                }
                next = link.output.recv().await.map(|out| Action::TerminalOutput(pane, epoch, out));
            }
            let closed = TermOutput::Closed { clean: false, reason: "the connection was cut".into() };
            let _ = sender.send(Action::TerminalOutput(pane, epoch, closed)).await;
        });
    }
}

async fn answer(backend: Arc<dyn Backend>, effect: Effect) -> Option<Action> {
    Some(match effect {
        Effect::Load => Action::Loaded(load(&*backend).await.map(Box::new)),
        Effect::LoadStatus => Action::Status(backend.status().await.map(Box::new)),
        Effect::Run(id, work) => Action::JobDone(id, Box::new(run(&*backend, work).await)),
        Effect::LoadSnapshots(id) => {
            #[cfg(debug_assertions)]
            super::fault::strike("task");
            Action::Snapshots(id, backend.snapshots(id).await)
        }
        Effect::LoadShares(id) => Action::Shares(id, shares(&*backend, id).await.map(Box::new)),
        Effect::ListFiles(ticket, of, path) => Action::Files(ticket, backend.list_files(of, path).await.map(Box::new)),
        Effect::ReadFile(ticket, of, path) => Action::FileRead(ticket, backend.read_file(of, path, PREVIEW_MAX).await),
        Effect::After(wait, timer) => {
            tokio::time::sleep(wait).await;
            Action::Timer(timer)
        }
        Effect::OpenUrl(url) => {
            if open(&url).await {
                return None;
            }
            Action::OpenFailed(url)
        }
        Effect::Clipboard(_) | Effect::Bell | Effect::Watch { .. } | Effect::OpenTerminal(..) => return None,
    })
}

async fn load(backend: &dyn Backend) -> Result<Loaded, BackendError> {
    let (status, projects, containers) = tokio::join!(backend.status(), backend.projects(), backend.containers());
    Ok(Loaded { status: status?, projects: projects?, containers: containers? })
}

async fn shares(backend: &dyn Backend, id: ContainerId) -> Result<Shares, BackendError> {
    let (outgoing, incoming) = tokio::join!(backend.shares(id), backend.incoming_shares(id));
    Ok(Shares { outgoing: outgoing?, incoming: incoming? })
}

async fn run(backend: &dyn Backend, work: Work) -> Result<Done, BackendError> {
    Ok(match work {
        Work::CreateProject(body) => Done::Project(Box::new(backend.create_project(body).await?)),
        Work::Create(project, body) => Done::Created(Box::new(backend.create_container(project, *body).await?)),
        Work::Operate(id, operation) => Done::Operated(backend.operate(id, operation).await?),
        Work::Delete(id, name) => {
            backend.delete_container(id).await?;
            Done::Deleted(name)
        }
        Work::Snapshot(id, alias) => Done::Snapshot(backend.create_snapshot(id, alias).await?),
        Work::Restore(id, name) => Done::Restored(id, backend.restore_snapshot(id, name).await?),
        Work::DeleteSnapshot(id, name) => {
            backend.delete_snapshot(id, name).await?;
            Done::SnapshotDeleted(id)
        }
        Work::RebuildImage(name) => {
            backend.rebuild_image(name).await?;
            Done::Rebuilding
        }
        Work::CreateShare(id, body) => Done::Shared(Box::new(backend.create_share(id, *body).await?)),
        Work::UpdateShare(id, share, change, told) => {
            backend.update_share(id, share, *change).await?;
            Done::ShareChanged(told)
        }
        Work::MountShare(id, share, mount, told) => {
            backend.mount_share(id, share, mount).await?;
            Done::ShareChanged(told)
        }
        Work::DeleteShare(share, name) => {
            backend.delete_share(share).await?;
            Done::ShareChanged(format!("{name} is no longer shared"))
        }
    })
}

/// Starts a browser; tells whether that seems to have worked.
async fn open(url: &str) -> bool {
    let child = tokio::process::Command::new("xdg-open")
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    match tokio::time::timeout(Duration::from_secs(OPEN_S), child.wait()).await {
        Ok(status) => status.is_ok_and(|s| s.success()),
        // Still running: it is the browser itself.
        Err(_) => true,
    }
}
