//! The proxy's questions: connections to kits and ports of running containers.

use std::io;
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};

use super::{Node, api};
use cowl_api::container::ContainerState;
use cowl_api::{ContainerId, ProjectId};
use cowl_engine::lobby;
use cowl_proxy::{Activity, Routes};

/// Between two attempts to reach a program that is being started.
const REDIAL: std::time::Duration = std::time::Duration::from_millis(50);

/// A node as the proxy sees it.
#[derive(Debug, Clone)]
pub struct NodeRoutes(pub Arc<Node>);

impl NodeRoutes {
    /// Whether requests reach it without waiting.
    fn runs(&self, project: &ProjectId, id: &ContainerId) -> bool {
        let live = self.0.fleet.live(project, id);
        live.is_some_and(|live| live.state() == ContainerState::Running && !live.is_drowsy())
    }

    async fn dial_once(&self, id: &ContainerId, port: u16) -> io::Result<TcpStream> {
        let (machine, id) = (Arc::clone(&self.0.machine), *id);
        let dialled = tokio::task::spawn_blocking(move || machine.dial(&id, port)).await;
        dialled.unwrap_or_else(|e| Err(io::Error::other(e))).and_then(|fd| {
            let stream = std::net::TcpStream::from(fd);
            stream.set_nonblocking(true)?;
            TcpStream::from_std(stream)
        })
    }
}

impl Routes for NodeRoutes {
    async fn dial_kit(&self, project: &ProjectId, id: &ContainerId) -> Option<io::Result<UnixStream>> {
        match self.0.awake(project, id).await? {
            // Never blocks: a unix socket connects at once or not at all.
            Ok(_) => Some(lobby::connect(&self.0.machine.kit_socket(id)).and_then(UnixStream::from_std)),
            Err(late) => Some(Err(late)),
        }
    }

    async fn dial_port(&self, project: &ProjectId, id: &ContainerId, port: u16) -> Option<io::Result<TcpStream>> {
        let live = match self.0.awake(project, id).await? {
            Ok(live) => live,
            Err(late) => return Some(Err(late)),
        };
        loop {
            match self.dial_once(id, port).await {
                // The program that listens there is being started by the boot that woke its machine.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && live.is_rising() => {
                    tokio::time::sleep(REDIAL).await;
                }
                dialled => return Some(dialled),
            }
        }
    }

    fn may_reuse(&self, project: &ProjectId, id: &ContainerId) -> bool {
        self.runs(project, id)
    }

    fn activity(&self, project: &ProjectId, id: &ContainerId) -> Option<Arc<Activity>> {
        self.0.fleet.live(project, id).map(|live| Arc::clone(&live.activity))
    }

    fn api(&self) -> axum::Router {
        api::router(Arc::clone(&self.0))
    }
}
