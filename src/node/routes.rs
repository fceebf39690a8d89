//! The proxy's questions: connections to kits and ports of running containers.

use std::io;
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};

use super::{Node, api};
use crate::api::container::ContainerState;
use crate::api::{ContainerId, ProjectId};
use crate::engine::lobby;
use crate::proxy::Routes;

/// A node as the proxy sees it.
#[derive(Debug, Clone)]
pub struct NodeRoutes(pub Arc<Node>);

impl NodeRoutes {
    fn runs(&self, project: &ProjectId, id: &ContainerId) -> bool {
        self.0.fleet.state(project, id) == Some(ContainerState::Running)
    }
}

impl Routes for NodeRoutes {
    async fn dial_kit(&self, project: &ProjectId, id: &ContainerId) -> Option<io::Result<UnixStream>> {
        if !self.runs(project, id) {
            return None;
        }
        // Never blocks: a unix socket connects at once or not at all.
        Some(lobby::connect(&self.0.machine.kit_socket(id)).and_then(UnixStream::from_std))
    }

    async fn dial_port(&self, project: &ProjectId, id: &ContainerId, port: u16) -> Option<io::Result<TcpStream>> {
        if !self.runs(project, id) {
            return None;
        }
        let (machine, id) = (Arc::clone(&self.0.machine), *id);
        let dialled = tokio::task::spawn_blocking(move || machine.dial(&id, port)).await;
        Some(dialled.unwrap_or_else(|e| Err(io::Error::other(e))).and_then(|fd| {
            let stream = std::net::TcpStream::from(fd);
            stream.set_nonblocking(true)?;
            TcpStream::from_std(stream)
        }))
    }

    fn may_reuse(&self, project: &ProjectId, id: &ContainerId) -> bool {
        self.runs(project, id)
    }

    fn api(&self) -> axum::Router {
        api::router(Arc::clone(&self.0))
    }
}
