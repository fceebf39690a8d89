//! The TLS front of the node: host name → container, service, instance → kit or port.
//!
//! A request's way, one file per step, in this order:
//!
//! | step | file |
//! |---|---|
//! | a connection is accepted, its TLS ended | `serve`, `tls` (certificates by name), `ca` |
//! | the request's host is parsed | `answer`, `route` (the grammar) |
//! | the API answers, or the request goes on to a container | `answer`, `forward` |
//! | its headers are cleaned and completed | `headers` |
//! | a connection to kit or port is dialled or reused | `dial`, `pool` |
//! | WebSockets become a tunnel | `upgrade` |
//! | what the proxy says by itself | `reply` |
//! | it is logged and counted | `log`, `activity` |
//!
//! The proxy knows hosts and bytes; whether a computer exists and runs is the node's to say, through
//! [`Routes`].

mod activity;
mod answer;
pub mod ca;
pub mod crowd;
mod dial;
mod forward;
mod headers;
mod label;
pub mod log;
mod peer;
mod pool;
mod reply;
pub mod route;
mod serve;
pub mod tls;
mod upgrade;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

pub use activity::{Activity, Visit};
pub use label::Label;
pub use log::AccessRecord;
pub use peer::Peer;
pub use route::{Grammar, Host, Instance, Program, Target};
pub use serve::{serve_tls, serve_unix};

use cowl_api::{ContainerId, ProjectId};

/// What the proxy asks the node. Implemented by `node`; a test implements it with plain sockets.
pub trait Routes: Send + Sync + 'static {
    /// Connects to the kit of a running container of this project.
    /// `None` when there is no such container, it is another project's, or it does not run: from
    /// outside these look alike. One that sleeps is woken first; an error of kind `TimedOut` says
    /// that it did not wake in time.
    fn dial_kit(&self, p: &ProjectId, c: &ContainerId) -> impl Future<Output = Option<io::Result<UnixStream>>> + Send;

    /// Connects to a TCP port inside a running container of this project; `None` as above.
    fn dial_port(
        &self,
        p: &ProjectId,
        c: &ContainerId,
        port: u16,
    ) -> impl Future<Output = Option<io::Result<TcpStream>>> + Send;

    /// The API's router, for `api.{domain}` and for the unix socket. Asked once, by [`Proxy::new`].
    fn api(&self) -> axum::Router;

    /// Whether a connection to this container that idles in the pool may carry another request:
    /// yes while a dial would succeed at once. A container that is stopping or frozen must be
    /// dialled. Must not block.
    fn may_reuse(&self, _p: &ProjectId, _c: &ContainerId) -> bool {
        false
    }

    /// Where the use of this container is counted; `None` for one that is not there.
    fn activity(&self, _p: &ProjectId, _c: &ContainerId) -> Option<Arc<Activity>> {
        None
    }

    /// A request is over: its last byte was sent, or its client went away. Must not block.
    fn finished(&self, _record: &AccessRecord) {}
}

/// Bounds of what clients and containers may cost. All have defaults fit for a node.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once on one listener; more wait in the kernel's backlog.
    pub connections: usize,
    /// Connections open at once from one address; more are closed at once.
    pub connections_per_address: usize,
    /// From a connection's first byte to the end of its TLS handshake.
    pub handshake: Duration,
    /// To read a request's head; also how long a connection may idle between two requests.
    pub head: Duration,
    /// Largest request head, in bytes.
    pub head_bytes: usize,
    /// To reach a kit or a port, waking the container included.
    pub dial: Duration,
    /// From a request's head to its reply's head. Long, because waiting is a feature of some
    /// services (`execute` with `wait`, `pipe`); a client that leaves ends the wait at once.
    pub first_byte: Duration,
    /// What requests in flight get when the node stops.
    pub drain: Duration,
    /// How long a connection to a container may idle in the pool.
    pub idle_upstream: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_address: 1024,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            head_bytes: 64 * 1024,
            dial: Duration::from_secs(30),
            first_byte: Duration::from_secs(3600),
            drain: Duration::from_secs(5),
            idle_upstream: Duration::from_secs(4),
        }
    }
}

/// The proxy of one node; cheap to clone.
pub struct Proxy<R> {
    shared: Arc<Shared<R>>,
}

struct Shared<R> {
    routes: Arc<R>,
    api: axum::Router,
    grammar: Grammar,
    limits: Limits,
    pool: Arc<pool::Pool>,
    unverified_tls: tokio_rustls::TlsConnector,
}

impl<R> Clone for Proxy<R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<R: Routes> Proxy<R> {
    /// A proxy for the hosts of `grammar` that asks `routes`.
    pub fn new(routes: Arc<R>, grammar: Grammar, limits: Limits) -> Self {
        let api = routes.api();
        let pool = pool::Pool::new(limits.idle_upstream);
        let unverified_tls = dial::unverified_tls();
        Self { shared: Arc::new(Shared { routes, api, grammar, limits, pool, unverified_tls }) }
    }
}

#[cfg(test)]
mod tests;
