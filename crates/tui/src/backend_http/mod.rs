//! The node over its unix socket: the API at `Host: localhost`, kits by their own host names.

mod events;
mod session;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::backend::{Backend, BackendError, Call, FilesOf, PtySize, Result, SessionRef, TermLink};
use cowl_api::container::{ContainerList, CreateContainer, Operation, OperationReply};
use cowl_api::envelope::Envelope;
use cowl_api::event::Event;
use cowl_api::files::Listing;
use cowl_api::ids::ShareId;
use cowl_api::project::{CreateProject, Project, ProjectList};
use cowl_api::server::NodeStatus;
use cowl_api::share::{CreateShare, IncomingShare, Share, ToggleMount, UpdateShare};
use cowl_api::snapshot::{CreateSnapshot, Snapshot, SnapshotCreated, SnapshotList, SnapshotRestored};
use cowl_api::{Container, ContainerId, ProjectId, urls};
use wire::{Request, Wire};

/// Seconds for calls that only read.
const READ_S: u64 = 15;
/// Seconds for calls that change a container.
const CHANGE_S: u64 = 120;
/// Bytes of a path that may stand as they are.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// What is known of the node's place in host names.
#[derive(Debug, Clone)]
struct Site {
    server: String,
    domain: String,
}

/// Talks to the node whose run directory this is.
#[derive(Debug, Clone)]
pub struct HttpBackend {
    wire: Wire,
    site: Arc<OnceLock<Site>>,
}

impl HttpBackend {
    /// A backend for `run_dir/node.sock`; nothing is dialled yet.
    pub fn new(run_dir: &Path) -> Self {
        Self { wire: Wire::new(run_dir.join("node.sock")), site: Arc::default() }
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.wire.socket().to_owned()
    }

    /// Connects and hangs up: tells whether a node listens and lets us in.
    ///
    /// # Errors
    /// [`BackendError::NoNode`] or [`BackendError::NoPermission`].
    pub async fn probe(&self) -> Result<()> {
        self.wire.connect().await.map(drop)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let reply: Envelope<T> = self.wire.json(Request::api("GET", path), READ_S).await?;
        Ok(reply.data)
    }

    async fn send<T: DeserializeOwned>(&self, method: &'static str, path: &str, body: &impl Serialize) -> Result<T> {
        let request = Request::api(method, path).with_json(body)?;
        let reply: Envelope<T> = self.wire.json(request, CHANGE_S).await?;
        Ok(reply.data)
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.wire.bytes(Request::api("DELETE", path), CHANGE_S, wire::BODY_MAX).await.map(drop)
    }

    async fn site(&self) -> Result<Site> {
        if let Some(site) = self.site.get() {
            return Ok(site.clone());
        }
        let status: NodeStatus = self.get("/api/v1/status").await?;
        let domain = status.domains.first().cloned().ok_or_else(|| BackendError::Protocol("no domain".into()))?;
        Ok(self.site.get_or_init(|| Site { server: status.server_name, domain }).clone())
    }

    async fn kit_host(&self, project: &ProjectId, container: &ContainerId, segment: &str) -> Result<String> {
        let site = self.site().await?;
        Ok(urls::container_host(project, container, segment, &site.server, &site.domain))
    }

    async fn files_request(&self, of: &FilesOf, path: &str) -> Result<Request> {
        let path = utf8_percent_encode(path.trim_start_matches('/'), PATH);
        Ok(match of {
            FilesOf::Running(project, container) => {
                let host = self.kit_host(project, container, "files-1").await?;
                Request::new("GET", &host, &format!("/api/v1/files/{path}"))
            }
            FilesOf::Stopped(container) => Request::api("GET", &format!("/api/v1/containers/{container}/files/{path}")),
            FilesOf::Snapshot(container, name) => {
                let name = utf8_percent_encode(name, PATH);
                Request::api("GET", &format!("/api/v1/containers/{container}/snapshots/{name}/files/{path}"))
            }
        })
    }

    async fn pages(&self) -> Result<Vec<Container>> {
        let mut out = Vec::new();
        for page in 1..=100 {
            let list: ContainerList = self.get(&format!("/api/v1/containers/?limit=100&page={page}")).await?;
            let last = list.containers.is_empty() || page >= list.pagination.total_pages;
            out.extend(list.containers);
            if last {
                break;
            }
        }
        Ok(out)
    }
}

macro_rules! call {
    ($self:ident, $me:ident, $body:expr) => {{
        let $me = $self.clone();
        Box::pin(async move { $body })
    }};
}

impl Backend for HttpBackend {
    fn status(&self) -> Call<NodeStatus> {
        call!(self, me, me.get("/api/v1/status").await)
    }

    fn projects(&self) -> Call<Vec<Project>> {
        call!(self, me, me.get::<ProjectList>("/api/v1/projects/?limit=100").await.map(|l| l.projects))
    }

    fn containers(&self) -> Call<Vec<Container>> {
        call!(self, me, me.pages().await)
    }

    fn create_project(&self, body: CreateProject) -> Call<Project> {
        call!(self, me, {
            // The public API wraps what it made in `project`; accept both forms.
            let value: serde_json::Value = me.send("POST", "/api/v1/projects/", &body).await?;
            unwrap(value, "project")
        })
    }

    fn create_container(&self, project: ProjectId, body: CreateContainer) -> Call<Container> {
        call!(self, me, {
            let path = format!("/api/v1/projects/{project}/containers");
            let value: serde_json::Value = me.send("POST", &path, &body).await?;
            unwrap(value, "container")
        })
    }

    fn operate(&self, id: ContainerId, operation: Operation) -> Call<OperationReply> {
        let path = format!("/api/v1/containers/{id}/{}", operation.as_str());
        call!(self, me, me.send("POST", &path, &serde_json::json!({})).await)
    }

    fn delete_container(&self, id: ContainerId) -> Call<()> {
        call!(self, me, me.delete(&format!("/api/v1/containers/{id}")).await)
    }

    fn snapshots(&self, id: ContainerId) -> Call<Vec<Snapshot>> {
        let path = format!("/api/v1/containers/{id}/snapshots");
        call!(self, me, me.get::<SnapshotList>(&path).await.map(|l| l.snapshots))
    }

    fn create_snapshot(&self, id: ContainerId, alias: Option<String>) -> Call<SnapshotCreated> {
        let path = format!("/api/v1/containers/{id}/snapshots");
        call!(self, me, me.send("POST", &path, &CreateSnapshot { alias, ..Default::default() }).await)
    }

    fn restore_snapshot(&self, id: ContainerId, name: String) -> Call<SnapshotRestored> {
        let path = format!("/api/v1/containers/{id}/snapshots/{}", utf8_percent_encode(&name, PATH));
        call!(self, me, me.send("PATCH", &path, &serde_json::json!({})).await)
    }

    fn delete_snapshot(&self, id: ContainerId, name: String) -> Call<()> {
        let path = format!("/api/v1/containers/{id}/snapshots/{}", utf8_percent_encode(&name, PATH));
        call!(self, me, me.delete(&path).await)
    }

    fn list_files(&self, of: FilesOf, path: String) -> Call<Listing> {
        call!(self, me, {
            let request = me.files_request(&of, &path).await?;
            // The kit sends the listing bare, the node in its envelope.
            let value: serde_json::Value = me.wire.json(request, READ_S).await?;
            unwrap(value, "data")
        })
    }

    fn read_file(&self, of: FilesOf, path: String, limit: usize) -> Call<Vec<u8>> {
        call!(self, me, {
            // No Range header: an empty file has none that can be satisfied. Reading just stops.
            let request = me.files_request(&of, &path).await?;
            me.wire.bytes(request, READ_S, limit).await
        })
    }

    fn rebuild_image(&self, name: String) -> Call<()> {
        // Names are `debian/13`; the slash is part of the name.
        let path = format!("/api/v1/images/{}/build", utf8_percent_encode(&name, NON_ALPHANUMERIC));
        call!(self, me, me.send::<serde_json::Value>("POST", &path, &serde_json::json!({})).await.map(drop))
    }

    fn events(&self, stats: bool) -> Call<mpsc::Receiver<Event>> {
        let request = Request::api("GET", &format!("/api/v1/events/stream?stats={stats}"));
        call!(self, me, events::stream(&me.wire, request).await)
    }

    fn terminal(&self, session: SessionRef, size: PtySize) -> Call<TermLink> {
        call!(self, me, {
            let host = me.kit_host(&session.project, &session.container, "terminal-1").await?;
            session::attach(&me.wire, &host, session.session, size).await
        })
    }

    fn shares(&self, id: ContainerId) -> Call<Vec<Share>> {
        let path = format!("/api/v1/containers/{id}/storage/shares");
        call!(self, me, me.get(&path).await)
    }

    fn incoming_shares(&self, id: ContainerId) -> Call<Vec<IncomingShare>> {
        let path = format!("/api/v1/containers/{id}/storage/incoming");
        call!(self, me, me.get(&path).await)
    }

    fn create_share(&self, source: ContainerId, body: CreateShare) -> Call<Share> {
        let path = format!("/api/v1/containers/{source}/storage/shares");
        call!(self, me, me.send("POST", &path, &body).await)
    }

    fn update_share(&self, source: ContainerId, id: ShareId, change: UpdateShare) -> Call<()> {
        let path = format!("/api/v1/containers/{source}/storage/shares/{id}");
        call!(self, me, me.send::<Share>("PATCH", &path, &change).await.map(drop))
    }

    fn mount_share(&self, target: ContainerId, id: ShareId, mount: bool) -> Call<()> {
        let path = format!("/api/v1/containers/{target}/storage/incoming/{id}/mount");
        call!(self, me, me.send::<serde_json::Value>("PATCH", &path, &ToggleMount { mount }).await.map(drop))
    }

    fn delete_share(&self, id: ShareId) -> Call<()> {
        let path = format!("/api/v1/storage/shares/{id}");
        call!(self, me, me.delete(&path).await)
    }
}

/// Takes the object itself, or the one under `key`.
fn unwrap<T: DeserializeOwned>(mut value: serde_json::Value, key: &str) -> Result<T> {
    let inner = match value.get_mut(key) {
        Some(inner) if inner.is_object() => inner.take(),
        _ => value,
    };
    serde_json::from_value(inner).map_err(|e| BackendError::Protocol(e.to_string()))
}
