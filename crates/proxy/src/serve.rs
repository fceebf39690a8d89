//! Accept loops: TLS over TCP for everyone, and the node's unix socket for its owner.
//!
//! ```text
//! accept ── handshake ── request ── request … ── closed
//!    │ shutdown: no more accepts, requests in flight get `Limits::drain`, tunnels end at once
//! ```

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::crowd::Crowd;
use super::route::Host;
use super::{Limits, Peer, Proxy, Routes};

/// Rest after an accept that failed for want of file descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// After this much silence the kernel asks whether a TCP peer is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// The client's side of one connection, as requests on it see it.
pub(super) struct Client {
    pub(super) peer: Peer,
    /// What the TLS server name asked for; `Unknown` without one.
    pub(super) named: Host,
    pub(super) tasks: TaskTracker,
    /// Cancelled when the node stops.
    pub(super) drain: CancellationToken,
}

/// One accept loop's connections and their end.
struct Loop {
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    drain: CancellationToken,
    kill: CancellationToken,
    limits: Limits,
}

impl Loop {
    fn new(limits: &Limits, shutdown: CancellationToken) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(limits.connections)),
            tasks: TaskTracker::new(),
            drain: shutdown,
            kill: CancellationToken::new(),
            limits: limits.clone(),
        }
    }

    /// A slot for a connection, or `None` when the node stops.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            slot = Arc::clone(&self.slots).acquire_owned() => slot.ok(),
            () = self.drain.cancelled() => None,
        }
    }

    /// Lets what is in flight end, then ends the rest.
    async fn end(self) {
        self.tasks.close();
        if timeout(self.limits.drain, self.tasks.wait()).await.is_err() {
            tracing::info!(connections = self.tasks.len(), "closing connections that did not end in time");
            self.kill.cancel();
            self.tasks.wait().await;
        }
    }

    fn client(&self, peer: Peer, named: Host) -> Client {
        Client { peer, named, tasks: self.tasks.clone(), drain: self.drain.clone() }
    }
}

/// Serves TLS connections until `shutdown`, then drains; returns when every connection is closed.
pub async fn serve_tls<R: Routes>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    proxy: Proxy<R>,
    shutdown: CancellationToken,
) {
    let all = Loop::new(&proxy.shared.limits, shutdown);
    let acceptor = TlsAcceptor::from(tls);
    let crowd = Crowd::new(all.limits.connections_per_address);
    while let Some(slot) = all.slot().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = all.drain.cancelled() => break,
        };
        let (stream, at) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                rest_after(&error).await;
                continue;
            }
        };
        let Some(place) = crowd.enter(at.ip()) else { continue };
        let client = all.client(Peer::Tcp(at), Host::Unknown);
        let (acceptor, proxy, kill) = (acceptor.clone(), proxy.clone(), all.kill.clone());
        all.tasks.spawn(async move {
            let _held = (slot, place);
            tokio::select! {
                () = serve_one_tls(stream, acceptor, proxy, client) => {}
                () = kill.cancelled() => {}
            }
        });
    }
    drop(listener);
    all.end().await;
}

/// Serves the node's unix socket until `shutdown`, then drains. Requests carry [`Peer::Unix`]; those
/// whose host is no container's go to the API.
pub async fn serve_unix<R: Routes>(listener: UnixListener, proxy: Proxy<R>, shutdown: CancellationToken) {
    let all = Loop::new(&proxy.shared.limits, shutdown);
    while let Some(slot) = all.slot().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = all.drain.cancelled() => break,
        };
        let (stream, peer) = match accepted.and_then(|(stream, _)| credentials(&stream).map(|peer| (stream, peer))) {
            Ok(accepted) => accepted,
            Err(error) => {
                rest_after(&error).await;
                continue;
            }
        };
        let client = all.client(peer, Host::Unknown);
        let (proxy, kill) = (proxy.clone(), all.kill.clone());
        all.tasks.spawn(async move {
            let _held = slot;
            tokio::select! {
                () = serve_http(stream, proxy, client) => {}
                () = kill.cancelled() => {}
            }
        });
    }
    drop(listener);
    all.end().await;
}

async fn rest_after(error: &std::io::Error) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, NotConnected};
    // The client went away while it waited: nothing is short.
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset | NotConnected) {
        tracing::warn!(%error, "cannot accept a connection");
        tokio::time::sleep(ACCEPT_REST).await;
    }
}

fn credentials(stream: &UnixStream) -> std::io::Result<Peer> {
    let cred = stream.peer_cred()?;
    Ok(Peer::Unix { uid: cred.uid(), gid: cred.gid(), pid: cred.pid() })
}

async fn serve_one_tls<R: Routes>(stream: TcpStream, acceptor: TlsAcceptor, proxy: Proxy<R>, mut client: Client) {
    keep_alive(&stream);
    let limit = proxy.shared.limits.handshake;
    let stream = tokio::select! {
        done = timeout(limit, acceptor.accept(stream)) => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!("a TLS handshake took too long"),
        },
        () = client.drain.cancelled() => return,
    };
    if let Some(name) = stream.get_ref().1.server_name() {
        client.named = proxy.shared.grammar.parse(name);
    }
    serve_http(stream, proxy, client).await;
}

/// Small writes go out at once, and a peer that vanished is noticed. Neither is needed to serve.
fn keep_alive(stream: &TcpStream) {
    use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle};
    let _ = stream.set_nodelay(true);
    let _ = set_socket_keepalive(stream, true);
    let _ = set_tcp_keepidle(stream, KEEPALIVE_AFTER);
}

async fn serve_http<S, R>(stream: S, proxy: Proxy<R>, client: Client)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Routes,
{
    let limits = &proxy.shared.limits;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes.max(16 * 1024));
    let drain = client.drain.clone();
    let client = Arc::new(client);
    let service = service_fn(move |req| proxy.clone().answer(Arc::clone(&client), req));
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection broke");
    }
}
