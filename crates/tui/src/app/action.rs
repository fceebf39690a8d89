//! The only ways in and out of the state: actions come in, effects go out.

use std::time::Duration;

use tokio::sync::mpsc;

use super::jobs::JobId;
use super::shares::Shares;
use super::terminals::PaneId;
use crate::backend::{BackendError, FilesOf, PtySize, SessionRef, TermInput, TermOutput};
use cowl_api::container::{CreateContainer, Operation, OperationReply};
use cowl_api::event::Event;
use cowl_api::files::Listing;
use cowl_api::ids::ShareId;
use cowl_api::project::{CreateProject, Project};
use cowl_api::server::NodeStatus;
use cowl_api::share::{CreateShare, Share, UpdateShare};
use cowl_api::snapshot::{Snapshot, SnapshotCreated, SnapshotRestored};
use cowl_api::{Container, ContainerId, ProjectId};

/// Everything the node was asked at once.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The box.
    pub status: NodeStatus,
    /// All projects.
    pub projects: Vec<Project>,
    /// All containers.
    pub containers: Vec<Container>,
}

/// What happened. The state changes only by these.
#[derive(Debug)]
pub enum Action {
    /// A key, a paste, the mouse, a new size.
    Input(crossterm::event::Event),
    /// SIGTERM, SIGHUP, SIGINT from outside.
    Terminate,
    /// The answer to [`Effect::Load`].
    Loaded(Result<Box<Loaded>, BackendError>),
    /// The answer to [`Effect::LoadStatus`].
    Status(Result<Box<NodeStatus>, BackendError>),
    /// The event stream stands; carries the watch's number.
    WatchOpened(u64),
    /// Something happened on the box.
    Event(u64, Box<Event>),
    /// The event stream ended.
    WatchEnded(u64, Option<BackendError>),
    /// A piece of work ended.
    JobDone(JobId, Box<Result<Done, BackendError>>),
    /// The answer to [`Effect::LoadSnapshots`].
    Snapshots(ContainerId, Result<Vec<Snapshot>, BackendError>),
    /// The answer to [`Effect::LoadShares`].
    Shares(ContainerId, Result<Box<Shares>, BackendError>),
    /// The answer to [`Effect::ListFiles`]; the number tells whether it is still wanted.
    Files(u64, Result<Box<Listing>, BackendError>),
    /// The answer to [`Effect::ReadFile`].
    FileRead(u64, Result<Vec<u8>, BackendError>),
    /// A session is attached.
    TerminalOpened(PaneId, u64, mpsc::Sender<TermInput>),
    /// A session could not be attached.
    TerminalFailed(PaneId, u64, BackendError),
    /// A session said something.
    TerminalOutput(PaneId, u64, TermOutput),
    /// A browser could not be started for this URL.
    OpenFailed(String),
    /// A moment that was waited for.
    Timer(Timer),
}

/// Moments that are waited for; nothing ticks by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Draw again: something fades or counts down.
    Redraw,
    /// A job may have become worth showing, or its line moves on.
    Jobs,
    /// Try the node again or count down to it.
    Reconnect,
    /// Offer typed bytes again to a connection that was busy.
    Flush,
}

/// Work that changes the box; shown in the job list.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // Each is the API call of the same name.
pub enum Work {
    CreateProject(CreateProject),
    Create(ProjectId, Box<CreateContainer>),
    Operate(ContainerId, Operation),
    /// With its name, for when it is gone.
    Delete(ContainerId, String),
    Snapshot(ContainerId, Option<String>),
    Restore(ContainerId, String),
    DeleteSnapshot(ContainerId, String),
    RebuildImage(String),
    CreateShare(ContainerId, Box<CreateShare>),
    /// With what is told when it is done.
    UpdateShare(ContainerId, ShareId, Box<UpdateShare>, String),
    /// The same.
    MountShare(ContainerId, ShareId, bool, String),
    /// With what it is called.
    DeleteShare(ShareId, String),
}

/// How a piece of work ended well.
#[derive(Debug)]
#[allow(missing_docs)] // Named like the work.
pub enum Done {
    Project(Box<Project>),
    Created(Box<Container>),
    Operated(OperationReply),
    Deleted(String),
    Snapshot(SnapshotCreated),
    Restored(ContainerId, SnapshotRestored),
    SnapshotDeleted(ContainerId),
    Rebuilding,
    Shared(Box<Share>),
    /// What to tell.
    ShareChanged(String),
}

/// What the state asks of the world outside.
#[derive(Debug)]
pub enum Effect {
    /// Ask for status, projects and containers.
    Load,
    /// Ask for the status only.
    LoadStatus,
    /// Follow the event stream under this number; earlier ones end.
    Watch {
        /// Number of this watch.
        number: u64,
        /// Whether `container.stats` events are wanted.
        stats: bool,
    },
    /// Do a piece of work.
    Run(JobId, Work),
    /// Ask for the snapshots of a container.
    LoadSnapshots(ContainerId),
    /// Ask for what a container lends and is lent.
    LoadShares(ContainerId),
    /// Ask for a directory.
    ListFiles(u64, FilesOf, String),
    /// Ask for the beginning of a file.
    ReadFile(u64, FilesOf, String),
    /// Attach to a session.
    OpenTerminal(PaneId, u64, SessionRef, PtySize),
    /// Put text on the user's clipboard; already base64.
    Clipboard(String),
    /// Ring.
    Bell,
    /// Start a browser.
    OpenUrl(String),
    /// Come back later.
    After(Duration, Timer),
}
