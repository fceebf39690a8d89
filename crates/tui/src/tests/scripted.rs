//! A node that answers from memory, notes what it was asked, and can be made to fail.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::fixtures;
use crate::backend::{
    Backend, BackendError, Call, FilesOf, PtySize, Result, SessionRef, TermInput, TermLink, TermOutput,
};
use cowl_api::container::{CreateContainer, Operation, OperationReply};
use cowl_api::event::Event;
use cowl_api::files::{Entry, Listing, PathType};
use cowl_api::ids::ShareId;
use cowl_api::project::{CreateProject, Project};
use cowl_api::server::{ImageState, NodeStatus};
use cowl_api::share::{CreateShare, IncomingShare, Share, UpdateShare};
use cowl_api::snapshot::{Snapshot, SnapshotCreated, SnapshotRestored};
use cowl_api::{Container, ContainerId, ContainerState, ProjectId};

/// The other end of a terminal.
pub struct Shell {
    pub session: SessionRef,
    pub size: PtySize,
    pub input: mpsc::Receiver<TermInput>,
    pub output: mpsc::Sender<TermOutput>,
}

impl Shell {
    /// Prints.
    pub fn print(&self, text: &str) {
        self.output.try_send(TermOutput::Bytes(text.as_bytes().to_vec())).unwrap();
    }

    /// Everything typed so far.
    pub fn typed(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while let Ok(input) = self.input.try_recv() {
            match input {
                TermInput::Bytes(b) => out.extend(b),
                TermInput::Resize(size) => self.size = size,
            }
        }
        out
    }
}

/// The node.
pub struct Node {
    pub status: Mutex<NodeStatus>,
    pub projects: Mutex<Vec<Project>>,
    pub containers: Mutex<Vec<Container>>,
    pub snapshots: Mutex<Vec<Snapshot>>,
    pub shares: Mutex<Vec<IncomingShare>>,
    pub calls: Mutex<Vec<String>>,
    pub shells: Mutex<Vec<Shell>>,
    pub events: Mutex<Vec<mpsc::Sender<Event>>>,
    pub lost: AtomicBool,
    pub refuse: Mutex<Option<String>>,
}

impl Node {
    /// One with these containers and a ready image.
    pub fn with(containers: Vec<Container>) -> Self {
        Self {
            status: Mutex::new(fixtures::status(fixtures::image(ImageState::Ready))),
            projects: Mutex::new(vec![fixtures::project()]),
            containers: Mutex::new(containers),
            snapshots: Mutex::new(Vec::new()),
            shares: Mutex::default(),
            calls: Mutex::default(),
            shells: Mutex::default(),
            events: Mutex::default(),
            lost: AtomicBool::new(false),
            refuse: Mutex::default(),
        }
    }

    /// Sends an event to everybody who listens.
    pub fn emit(&self, event_type: &str, data: serde_json::Value) {
        let event = Event {
            id: fixtures::id("event"),
            event_type: event_type.into(),
            resource_type: "container".into(),
            resource_id: String::new(),
            project_id: None,
            container_id: None,
            data,
            created_at: "2026-11-23T12:00:00Z".into(),
        };
        self.events.lock().unwrap().retain(|e| e.try_send(event.clone()).is_ok());
    }

    /// Goes away: calls fail and streams end.
    pub fn vanish(&self) {
        self.lost.store(true, Ordering::SeqCst);
        self.events.lock().unwrap().clear();
    }

    /// What was asked that changes something.
    pub fn asked(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn answer<T: Send + 'static>(&self, call: Option<String>, value: impl FnOnce() -> T) -> Call<T> {
        let changes = call.is_some();
        if let Some(call) = call {
            self.calls.lock().unwrap().push(call);
        }
        let refused = self.refuse.lock().unwrap().clone().filter(|_| changes);
        let result: Result<T> = if self.lost.load(Ordering::SeqCst) {
            Err(BackendError::NoNode("/run/cowl/node.sock".into()))
        } else if let Some(message) = refused {
            Err(BackendError::Refused { status: 409, message })
        } else {
            Ok(value())
        };
        async move { result }.boxed()
    }

    fn set(&self, id: ContainerId, status: ContainerState) -> OperationReply {
        let mut containers = self.containers.lock().unwrap();
        let c = containers.iter_mut().find(|c| c.id == id).unwrap();
        c.status = status;
        OperationReply {
            operation: "op".into(),
            container_id: id,
            project_id: c.project_id,
            status,
            message: String::new(),
        }
    }
}

pub fn snapshot(alias: Option<&str>, created_at: &str, size: u64) -> Snapshot {
    Snapshot {
        name: format!("snap-{}", created_at.replace([':', 'T', 'Z'], "-").trim_end_matches('-')),
        alias: alias.map(str::to_owned),
        created_at: created_at.into(),
        last_used_at: None,
        expires_at: None,
        stateful: false,
        note: None,
        pinned: false,
        created_by: String::new(),
        reason: None,
        referenced: 0,
        size,
        kind: "user".into(),
    }
}

/// A share as its target sees it, not accepted yet.
pub fn share(source: ContainerId, body: &CreateShare) -> IncomingShare {
    let share = Share {
        id: fixtures::id(&body.source_path),
        source_container_id: source,
        source_path: body.source_path.clone(),
        target_container_id: body.target_container_id,
        target_project_id: body.target_project_id,
        target_type: "container".into(),
        mode: body.mode,
        alias: body.alias.clone(),
        label: None,
        description: body.description.clone(),
        enabled: true,
        status: "active".into(),
        status_message: None,
        expires_at: body.expires_at,
        expiry_notified: false,
        created_by: "owner".into(),
        realm_ids: Vec::new(),
        created_at: "2026-11-20T12:00:00Z".into(),
        updated_at: "2026-11-20T12:00:00Z".into(),
    };
    let mount_path = format!("/hoody/shares/{}", share.directory());
    IncomingShare { share, mount: false, mount_path }
}

pub fn entry(name: &str, path_type: PathType, size: u64) -> Entry {
    Entry {
        name: name.into(),
        path_type,
        size,
        mtime: 1_795_430_000_000,
        revisions: None,
        permissions: Some("644".into()),
        owner: Some("root".into()),
        group: Some("root".into()),
        symlink_target: matches!(path_type, PathType::SymlinkFile).then(|| "../usr/lib/os-release".into()),
    }
}

impl Backend for Node {
    fn status(&self) -> Call<NodeStatus> {
        self.answer(None, || self.status.lock().unwrap().clone())
    }

    fn projects(&self) -> Call<Vec<Project>> {
        self.answer(None, || self.projects.lock().unwrap().clone())
    }

    fn containers(&self) -> Call<Vec<Container>> {
        self.answer(None, || self.containers.lock().unwrap().clone())
    }

    fn create_project(&self, body: CreateProject) -> Call<Project> {
        self.answer(Some(format!("create project {}", body.alias)), || {
            let made = Project { id: fixtures::id(&body.alias), alias: body.alias.clone(), ..fixtures::project() };
            self.projects.lock().unwrap().push(made.clone());
            made
        })
    }

    fn create_container(&self, project: ProjectId, body: CreateContainer) -> Call<Container> {
        let name = body.name.unwrap_or_default();
        let image = body.container_image.unwrap_or_default();
        self.answer(Some(format!("create {name} from {image} on {}", body.server_id.unwrap_or_default())), || {
            let mut made = fixtures::container(&name, ContainerState::Creating);
            made.project_id = project;
            self.containers.lock().unwrap().push(made.clone());
            made
        })
    }

    fn operate(&self, id: ContainerId, operation: Operation) -> Call<OperationReply> {
        let status = match operation {
            Operation::Stop | Operation::ForceStop => ContainerState::Stopped,
            Operation::Pause => ContainerState::Paused,
            Operation::Sleep => ContainerState::Asleep,
            _ => ContainerState::Running,
        };
        self.answer(Some(format!("{} {id}", operation.as_str())), || self.set(id, status))
    }

    fn delete_container(&self, id: ContainerId) -> Call<()> {
        self.answer(Some(format!("delete {id}")), || self.containers.lock().unwrap().retain(|c| c.id != id))
    }

    fn snapshots(&self, _: ContainerId) -> Call<Vec<Snapshot>> {
        self.answer(None, || self.snapshots.lock().unwrap().clone())
    }

    fn create_snapshot(&self, id: ContainerId, alias: Option<String>) -> Call<SnapshotCreated> {
        self.answer(Some(format!("snapshot {id} {alias:?}")), || {
            let made = snapshot(alias.as_deref(), "2026-11-23T12:00:00Z", 0);
            self.snapshots.lock().unwrap().insert(0, made.clone());
            SnapshotCreated { container_id: id, project_id: fixtures::id("default"), snapshot: made }
        })
    }

    fn restore_snapshot(&self, id: ContainerId, name: String) -> Call<SnapshotRestored> {
        self.answer(Some(format!("restore {id} {name}")), || {
            let all = self.snapshots.lock().unwrap();
            SnapshotRestored {
                success: true,
                message: String::new(),
                snapshot: all.iter().find(|s| s.name == name).unwrap().clone(),
                safety_snapshot: Some("safety-1".into()),
            }
        })
    }

    fn delete_snapshot(&self, id: ContainerId, name: String) -> Call<()> {
        self.answer(Some(format!("delete snapshot {id} {name}")), || {
            self.snapshots.lock().unwrap().retain(|s| s.name != name);
        })
    }

    fn list_files(&self, of: FilesOf, path: String) -> Call<Listing> {
        self.calls.lock().unwrap().push(format!("list {of:?} {path}"));
        let paths = match path.as_str() {
            "/" => vec![entry("etc", PathType::Dir, 0), entry("root", PathType::Dir, 0)],
            "/etc" => vec![
                entry("apt", PathType::Dir, 0),
                entry("evil\u{1b}[31m\u{202e}name", PathType::File, 7),
                entry("hostname", PathType::File, 6),
                entry("os-release", PathType::SymlinkFile, 21),
            ],
            _ => Vec::new(),
        };
        self.answer(None, || Listing {
            kind: "Index".into(),
            href: path,
            paths,
            allow_upload: false,
            allow_delete: false,
            allow_search: false,
            allow_archive: false,
            dir_exists: true,
        })
    }

    fn read_file(&self, _: FilesOf, path: String, _: usize) -> Call<Vec<u8>> {
        self.answer(None, || format!("hello\nfrom\t{path}\n\u{1b}[31mred\n").into_bytes())
    }

    fn rebuild_image(&self, name: String) -> Call<()> {
        self.answer(Some(format!("rebuild {name}")), || ())
    }

    fn events(&self, stats: bool) -> Call<mpsc::Receiver<Event>> {
        let (tx, rx) = mpsc::channel(64);
        self.events.lock().unwrap().push(tx);
        self.calls.lock().unwrap().push(format!("events stats={stats}"));
        self.answer(None, || rx)
    }

    fn terminal(&self, session: SessionRef, size: PtySize) -> Call<TermLink> {
        let (input, inputs) = mpsc::channel(64);
        let (outputs, output) = mpsc::channel(64);
        self.shells.lock().unwrap().push(Shell { session, size, input: inputs, output: outputs });
        self.answer(None, || TermLink { input, output })
    }

    fn shares(&self, id: ContainerId) -> Call<Vec<Share>> {
        let all = self.shares.lock().unwrap();
        let own = all.iter().filter(|s| s.share.source_container_id == id).map(|s| s.share.clone()).collect();
        self.answer(None, || own)
    }

    fn incoming_shares(&self, id: ContainerId) -> Call<Vec<IncomingShare>> {
        let all = self.shares.lock().unwrap();
        let meant = |s: &&IncomingShare| s.share.target_container_id == Some(id);
        let incoming = all.iter().filter(meant).cloned().collect();
        self.answer(None, || incoming)
    }

    fn create_share(&self, source: ContainerId, body: CreateShare) -> Call<Share> {
        let made = share(source, &body);
        let call = format!("share {} {:?} {:?}", body.source_path, body.mode, body.expires_at);
        self.answer(Some(call), || {
            self.shares.lock().unwrap().push(made.clone());
            made.share
        })
    }

    fn update_share(&self, _: ContainerId, id: ShareId, change: UpdateShare) -> Call<()> {
        self.answer(Some(format!("update share {:?} {:?}", change.mode, change.enabled)), || {
            let mut all = self.shares.lock().unwrap();
            let found = all.iter_mut().find(|s| s.share.id == id).unwrap();
            found.share.mode = change.mode.unwrap_or(found.share.mode);
            found.share.enabled = change.enabled.unwrap_or(found.share.enabled);
        })
    }

    fn mount_share(&self, _: ContainerId, id: ShareId, mount: bool) -> Call<()> {
        self.answer(Some(format!("mount share {mount}")), || {
            self.shares.lock().unwrap().iter_mut().filter(|s| s.share.id == id).for_each(|s| s.mount = mount);
        })
    }

    fn delete_share(&self, id: ShareId) -> Call<()> {
        self.answer(Some(format!("delete share {id}")), || {
            self.shares.lock().unwrap().retain(|s| s.share.id != id);
        })
    }
}
