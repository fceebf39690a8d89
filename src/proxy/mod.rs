//! The TLS front of the node: host name → container, service, instance → kit or port.

use std::future::Future;
use std::io;

use tokio::net::{TcpStream, UnixStream};

use crate::api::{ContainerId, ProjectId};

/// What the proxy asks the node. Implemented by `node`; a test implements it with plain sockets.
pub trait Routes: Send + Sync + 'static {
    /// Connects to the kit of a running container of this project.
    /// `None` when there is no such container, it is another project's, or it does not run: from
    /// outside these look alike.
    fn dial_kit(&self, p: &ProjectId, c: &ContainerId) -> impl Future<Output = Option<io::Result<UnixStream>>> + Send;

    /// Connects to a TCP port inside a running container of this project; `None` as above.
    fn dial_port(
        &self,
        p: &ProjectId,
        c: &ContainerId,
        port: u16,
    ) -> impl Future<Output = Option<io::Result<TcpStream>>> + Send;

    /// The API's router, for `api.{domain}` and for the unix socket.
    fn api(&self) -> axum::Router;
}
