//! The node's DNS: names under its own domains lead to the node, all others go to the host's
//! resolvers.
//!
//! ```text
//! container ── UDP or TCP ──> Resolver ── own name ──> answered here (`dns/own`)
//!                                └── any other ──> forwarded as it came (`dns/upstream`)
//! host ───────────────────────> Resolver ── own name ──> answered here
//!                                ├── NAME.PROJECT.domain ──> that container's own address (`dns/find`)
//!                                └── any other ──> refused
//! ```
//! Containers are not told each other's addresses: to them every own name leads to the node.
//! It promises to keep answering own names while upstreams hang, and that no single address can
//! take every forwarding slot. It caches nothing: the host's resolver does.

mod find;
mod own;
mod upstream;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use find::{Directory, Found, Rows};
pub use own::Answer;
use own::{OwnNames, Verdict};
use upstream::{Transport, Upstreams};

use cowl_proxy::crowd::Crowd;

/// Queries being forwarded at once; further ones over UDP are dropped, and clients ask again.
const IN_FLIGHT: usize = 512;
/// Of these, queries of one address.
const IN_FLIGHT_PER_ADDRESS: usize = 64;
/// TCP clients at once.
const TCP_CLIENTS: usize = 128;
/// Of these, connections of one address.
const TCP_CLIENTS_PER_ADDRESS: usize = 8;
/// How long a TCP client may idle, and take to read a reply.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Largest UDP query that is read; EDNS clients stay far below.
const UDP_QUERY_BYTES: usize = 4096;
/// How often a port is looked for that is free for UDP and TCP alike.
const BIND_TRIES: usize = 16;

/// How the resolver is set up.
#[derive(Clone)]
pub struct DnsConfig {
    /// Where it listens, UDP and TCP. The address need not exist yet (IP_FREEBIND); port 0 takes
    /// a free one, see [`Resolver::local_addr`].
    pub listen: SocketAddr,
    /// The node's domains; every name at or under one is its own.
    pub domains: Vec<String>,
    /// Where own names lead those who ask this listener: for containers the gateway, 169.254.1.1.
    pub answer: Answer,
    /// Who knows the containers by name; with one, `NAME.PROJECT.domain` is a container.
    pub directory: Option<Arc<dyn Directory>>,
    /// Whether other names are asked for elsewhere; else they are refused.
    pub forward: bool,
    /// The file that names the host's resolvers; read again when it changes.
    pub resolv_conf: PathBuf,
    /// The port of the host's resolvers.
    pub upstream_port: u16,
    /// How long one resolver may take for one try.
    pub upstream_timeout: Duration,
}

impl DnsConfig {
    /// Listening at `listen`, leading `domains` to `answer`, with the host's `/etc/resolv.conf` and
    /// two seconds per try.
    pub fn new(listen: SocketAddr, domains: Vec<String>, answer: Answer) -> Self {
        Self {
            listen,
            domains,
            answer,
            directory: None,
            forward: true,
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            upstream_port: 53,
            upstream_timeout: Duration::from_secs(2),
        }
    }
}

/// A resolver that holds its port but does not answer yet.
pub struct Resolver {
    udp: UdpSocket,
    tcp: TcpListener,
    at: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    own: OwnNames,
    directory: Option<Arc<dyn Directory>>,
    upstreams: Upstreams,
    slots: Semaphore,
    crowd: Arc<Crowd>,
}

/// Binds and serves until `shutdown`.
///
/// # Errors
/// When the address cannot be bound or a domain is not a name.
pub async fn serve(cfg: DnsConfig, shutdown: CancellationToken) -> io::Result<()> {
    Resolver::bind(cfg)?.serve(shutdown).await;
    Ok(())
}

impl Resolver {
    /// Binds the listener. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound or a domain is not a name.
    pub fn bind(cfg: DnsConfig) -> io::Result<Self> {
        let own = OwnNames::new(&cfg.domains, cfg.answer, cfg.directory.is_some(), cfg.forward)?;
        let (udp, tcp, at) = bind_both(cfg.listen)?;
        let upstreams = Upstreams::new(&cfg, at);
        let crowd = Crowd::new(IN_FLIGHT_PER_ADDRESS);
        let directory = cfg.directory;
        let shared = Arc::new(Shared { own, directory, upstreams, slots: Semaphore::new(IN_FLIGHT), crowd });
        Ok(Self { udp, tcp, at, shared })
    }

    /// The address it listens on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.at
    }

    /// Answers until `shutdown`; queries in flight end then.
    pub async fn serve(self, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        let udp = serve_udp(Arc::new(self.udp), Arc::clone(&self.shared), tasks.clone(), shutdown.clone());
        let tcp = serve_tcp(self.tcp, self.shared, tasks.clone(), shutdown.clone());
        tokio::select! {
            () = async { tokio::join!(udp, tcp); } => {}
            () = shutdown.cancelled() => {}
        }
        tasks.close();
        tasks.wait().await;
    }
}

impl Shared {
    /// The reply to a query that is not answered here.
    async fn forward(&self, query: &[u8], by: Transport) -> Option<Vec<u8>> {
        match self.upstreams.ask(query, by).await {
            Some(reply) => Some(reply),
            None => own::server_failure(query),
        }
    }

    /// The reply to a query for a container by name.
    async fn find(&self, asked: own::Asked) -> Option<Vec<u8>> {
        let directory = Arc::clone(self.directory.as_ref()?);
        let (name, project) = (asked.name.clone(), asked.project.clone());
        // The database may be busy; that must not hold up the other queries.
        let found = tokio::task::spawn_blocking(move || directory.find(&name, &project)).await.ok()?;
        self.own.found(asked, found)
    }
}

async fn serve_udp(udp: Arc<UdpSocket>, shared: Arc<Shared>, tasks: TaskTracker, shutdown: CancellationToken) {
    let mut room = [0; UDP_QUERY_BYTES];
    loop {
        let (len, from) = match udp.recv_from(&mut room).await {
            Ok(got) => got,
            Err(error) => {
                // An ICMP error of an earlier reply, or no memory; neither ends the service.
                tracing::debug!(%error, "a DNS query could not be read");
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
        };
        match shared.own.judge(&room[..len]) {
            Verdict::Ignore => {}
            Verdict::Reply(reply) => drop(udp.try_send_to(&reply, from)),
            Verdict::Find(asked) => {
                let Some(place) = shared.crowd.enter(from.ip()) else { continue };
                let (udp, shared) = (Arc::clone(&udp), Arc::clone(&shared));
                tasks.spawn(shutdown.clone().run_until_cancelled_owned(async move {
                    let _place = place;
                    if let Some(reply) = shared.find(asked).await {
                        let _ = udp.send_to(&reply, from).await;
                    }
                }));
            }
            Verdict::Forward => {
                let Some(place) = shared.crowd.enter(from.ip()) else { continue };
                let query = room[..len].to_vec();
                let (udp, shared) = (Arc::clone(&udp), Arc::clone(&shared));
                tasks.spawn(shutdown.clone().run_until_cancelled_owned(async move {
                    let _place = place;
                    let Ok(_slot) = shared.slots.try_acquire() else { return };
                    if let Some(reply) = shared.forward(&query, Transport::Udp).await {
                        // A client that cannot be reached has no use for its reply.
                        let _ = udp.send_to(&reply, from).await;
                    }
                }));
            }
        }
    }
}

async fn serve_tcp(tcp: TcpListener, shared: Arc<Shared>, tasks: TaskTracker, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(TCP_CLIENTS));
    let crowd = Crowd::new(TCP_CLIENTS_PER_ADDRESS);
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let (stream, from) = match tcp.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a DNS client could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(place) = crowd.enter(from.ip()) else { continue };
        let shared = Arc::clone(&shared);
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(async move {
            let _held = (slot, place);
            // How a client's connection ends is its own business.
            let _ = serve_tcp_client(stream, from, &shared).await;
        }));
    }
}

async fn serve_tcp_client(mut stream: TcpStream, from: SocketAddr, shared: &Shared) -> io::Result<()> {
    loop {
        let query = timeout(TCP_IDLE, read_framed(&mut stream)).await??;
        let reply = match shared.own.judge(&query) {
            Verdict::Ignore => return Ok(()),
            Verdict::Reply(reply) => Some(reply),
            Verdict::Find(asked) => shared.find(asked).await,
            Verdict::Forward => {
                let place = shared.crowd.enter(from.ip());
                match (place, shared.slots.try_acquire()) {
                    (Some(_place), Ok(_slot)) => shared.forward(&query, Transport::Tcp).await,
                    _ => own::server_failure(&query),
                }
            }
        };
        let Some(reply) = reply else { return Ok(()) };
        timeout(TCP_IDLE, write_framed(&mut stream, &reply)).await??;
    }
}

/// Reads one message of DNS over TCP: two bytes of length, then as many.
async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let len = stream.read_u16().await?;
    let mut message = vec![0; usize::from(len)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes one message of DNS over TCP, length and all in one segment.
async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let len = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut framed = Vec::with_capacity(2 + message.len());
    framed.extend_from_slice(&len.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// Binds UDP and TCP to one port; with port 0, to one that is free for both.
fn bind_both(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    for _ in 1..BIND_TRIES {
        match try_bind_both(listen) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && listen.port() == 0 => {}
            done => return done,
        }
    }
    try_bind_both(listen)
}

fn try_bind_both(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let udp = UdpSocket::from_std(free_bound(listen, SocketType::DGRAM)?.into())?;
    let at = udp.local_addr()?;
    let tcp = free_bound(at, SocketType::STREAM)?;
    rustix::net::listen(&tcp, 128)?;
    Ok((udp, TcpListener::from_std(tcp.into())?, at))
}

/// A socket bound to an address that need not exist yet.
pub(super) fn free_bound(at: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if at.is_ipv4() {
        sockopt::set_ip_freebind(&fd, true)?;
    } else {
        sockopt::set_ipv6_freebind(&fd, true)?;
    }
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&fd, true)?;
    }
    rustix::net::bind(&fd, &at)?;
    Ok(fd)
}

#[cfg(test)]
mod tests;
