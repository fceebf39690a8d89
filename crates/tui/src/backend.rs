//! What the cockpit needs from a node. [`super::backend_http`] asks a real one; tests script one.

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use cowl_api::container::{CreateContainer, Operation, OperationReply};
use cowl_api::event::Event;
use cowl_api::files::Listing;
use cowl_api::ids::ShareId;
use cowl_api::project::{CreateProject, Project};
use cowl_api::server::NodeStatus;
use cowl_api::share::{CreateShare, IncomingShare, Share, UpdateShare};
use cowl_api::snapshot::{Snapshot, SnapshotCreated, SnapshotRestored};
use cowl_api::{Container, ContainerId, ProjectId};

/// Why a call gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// Nobody listens on the socket.
    #[error("no node answers at {0}")]
    NoNode(String),
    /// The socket is not for this user.
    #[error("no permission for {0}: use sudo or join group cowl")]
    NoPermission(String),
    /// The node refused, with its status and reason.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// One sentence.
        message: String,
    },
    /// The answer made no sense.
    #[error("the node's answer makes no sense: {0}")]
    Protocol(String),
    /// No answer within the deadline.
    #[error("no answer within {0} s")]
    Timeout(u64),
}

impl BackendError {
    /// Whether the node itself is out of reach, as opposed to refusing this one thing.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::NoNode(_) | Self::Timeout(_))
    }
}

/// A call's result.
pub type Result<T> = std::result::Result<T, BackendError>;
/// A call under way.
pub type Call<T> = BoxFuture<'static, Result<T>>;

/// Whose files are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesOf {
    /// A running container: its kit answers.
    Running(ProjectId, ContainerId),
    /// A container that does not run: the node answers.
    Stopped(ContainerId),
    /// A snapshot, by name.
    Snapshot(ContainerId, String),
}

/// A terminal session of a container's kit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRef {
    /// Its project.
    pub project: ProjectId,
    /// Its container.
    pub container: ContainerId,
    /// 1–39999.
    pub session: u16,
}

/// Columns and rows, each at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtySize {
    /// Cells across.
    pub columns: u16,
    /// Cells down.
    pub rows: u16,
}

/// What is sent to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TermInput {
    /// Bytes for the PTY.
    Bytes(Vec<u8>),
    /// A new size.
    Resize(PtySize),
}

/// What comes from a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TermOutput {
    /// Bytes from the PTY.
    Bytes(Vec<u8>),
    /// A title the kit tells.
    Title(String),
    /// The connection ended; `clean` when the shell ended (close code 1000).
    Closed {
        /// Whether the shell ended by itself.
        clean: bool,
        /// What happened, for people.
        reason: String,
    },
}

/// Both directions of an open session. Dropping `input` closes it.
#[derive(Debug)]
pub struct TermLink {
    /// Towards the session.
    pub input: mpsc::Sender<TermInput>,
    /// From the session; the last item is [`TermOutput::Closed`].
    pub output: mpsc::Receiver<TermOutput>,
}

/// The calls the cockpit makes. Every call ends by itself within a deadline.
#[allow(missing_docs)] // Each is the API call of the same name.
pub trait Backend: Send + Sync + 'static {
    fn status(&self) -> Call<NodeStatus>;
    fn projects(&self) -> Call<Vec<Project>>;
    fn containers(&self) -> Call<Vec<Container>>;
    fn create_project(&self, body: CreateProject) -> Call<Project>;
    fn create_container(&self, project: ProjectId, body: CreateContainer) -> Call<Container>;
    fn operate(&self, id: ContainerId, operation: Operation) -> Call<OperationReply>;
    fn delete_container(&self, id: ContainerId) -> Call<()>;
    fn snapshots(&self, id: ContainerId) -> Call<Vec<Snapshot>>;
    fn create_snapshot(&self, id: ContainerId, alias: Option<String>) -> Call<SnapshotCreated>;
    fn restore_snapshot(&self, id: ContainerId, name: String) -> Call<SnapshotRestored>;
    fn delete_snapshot(&self, id: ContainerId, name: String) -> Call<()>;
    /// Lists a directory, given absolutely.
    fn list_files(&self, of: FilesOf, path: String) -> Call<Listing>;
    /// The first `limit` bytes of a file, or fewer.
    fn read_file(&self, of: FilesOf, path: String, limit: usize) -> Call<Vec<u8>>;
    /// Builds an image tier again, e.g. `debian/13`.
    fn rebuild_image(&self, name: String) -> Call<()>;
    /// Events from now on, with `container.stats` when asked; ends when the connection does.
    fn events(&self, stats: bool) -> Call<mpsc::Receiver<Event>>;
    /// Attaches to a session, making it if it does not exist.
    fn terminal(&self, session: SessionRef, size: PtySize) -> Call<TermLink>;
    /// What a container shares with others.
    fn shares(&self, id: ContainerId) -> Call<Vec<Share>>;
    fn incoming_shares(&self, id: ContainerId) -> Call<Vec<IncomingShare>>;
    fn create_share(&self, source: ContainerId, body: CreateShare) -> Call<Share>;
    fn update_share(&self, source: ContainerId, id: ShareId, change: UpdateShare) -> Call<()>;
    fn mount_share(&self, target: ContainerId, id: ShareId, mount: bool) -> Call<()>;
    fn delete_share(&self, id: ShareId) -> Call<()>;
}
