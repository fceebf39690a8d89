//! The proxy on real sockets: TLS in front, kits on unix sockets and programs on ports behind.

mod container;
mod curl;
mod hostile;
mod life;
mod sleep;
mod stream;
mod unix;
mod websocket;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::{Json, Router};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::tls::{Certificates, provider};
use super::{AccessRecord, Activity, Grammar, Limits, Peer, Proxy, Routes, serve_tls, serve_unix};
use cowl_api::{ContainerId, ProjectId};

pub(super) const SERVER: &str = "node-one";
pub(super) const DOMAIN: &str = "cowl.internal";

/// A running computer of the tests.
#[derive(Default)]
struct Computer {
    kit: Option<PathBuf>,
    /// It sleeps and does not wake in time.
    sleeps: bool,
    activity: Arc<Activity>,
    ports: HashMap<u16, SocketAddr>,
}

/// The node of the tests: computers are sockets.
#[derive(Default)]
pub(super) struct Fleet {
    running: Mutex<HashMap<(ProjectId, ContainerId), Computer>>,
    records: Mutex<Vec<AccessRecord>>,
    dials: AtomicUsize,
}

impl Routes for Fleet {
    async fn dial_kit(&self, p: &ProjectId, c: &ContainerId) -> Option<std::io::Result<UnixStream>> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        let (sleeps, kit) = self.running.lock().unwrap().get(&(*p, *c)).map(|c| (c.sleeps, c.kit.clone()))?;
        Some(match kit {
            _ if sleeps => Err(std::io::ErrorKind::TimedOut.into()),
            Some(path) => UnixStream::connect(path).await,
            None => Err(std::io::ErrorKind::ConnectionRefused.into()),
        })
    }

    async fn dial_port(&self, p: &ProjectId, c: &ContainerId, port: u16) -> Option<std::io::Result<TcpStream>> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        let at = self.running.lock().unwrap().get(&(*p, *c))?.ports.get(&port).copied();
        Some(match at {
            Some(at) => TcpStream::connect(at).await,
            None => Err(std::io::ErrorKind::ConnectionRefused.into()),
        })
    }

    fn api(&self) -> Router {
        Router::new().fallback(|req: Request| async move {
            let peer = match req.extensions().get::<Peer>() {
                Some(Peer::Unix { uid, .. }) => format!("unix {uid}"),
                Some(Peer::Tcp(at)) => format!("tcp {}", at.ip()),
                None => "nobody".to_owned(),
            };
            let own = req.headers().keys().any(|k| k.as_str().starts_with("x-cowl-"));
            Json(json!({"api": req.uri().to_string(), "peer": peer, "own": own}))
        })
    }

    fn may_reuse(&self, p: &ProjectId, c: &ContainerId) -> bool {
        self.running.lock().unwrap().contains_key(&(*p, *c))
    }

    fn activity(&self, p: &ProjectId, c: &ContainerId) -> Option<Arc<Activity>> {
        self.running.lock().unwrap().get(&(*p, *c)).map(|c| Arc::clone(&c.activity))
    }

    fn finished(&self, record: &AccessRecord) {
        self.records.lock().unwrap().push(record.clone());
    }
}

/// A reply, read whole.
pub(super) struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }
}

/// A node's front with one running computer.
pub(super) struct House {
    fleet: Arc<Fleet>,
    proxy: Proxy<Fleet>,
    certificates: Arc<Certificates>,
    dir: TempDir,
    at: SocketAddr,
    project: ProjectId,
    container: ContainerId,
    shutdown: CancellationToken,
    loops: Vec<JoinHandle<()>>,
}

impl House {
    pub(super) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        let dir = TempDir::new().unwrap();
        let grammar = Grammar::new(["cowl.localhost", DOMAIN], SERVER).unwrap();
        let certificates = Certificates::open(&dir.path().join("ca"), &grammar).unwrap();
        let fleet = Arc::new(Fleet::default());
        let proxy = Proxy::new(Arc::clone(&fleet), grammar, limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let socket = UnixListener::bind(dir.path().join("node.sock")).unwrap();
        let shutdown = CancellationToken::new();
        let tls = certificates.server_config().unwrap();
        let loops = vec![
            tokio::spawn(serve_tls(listener, tls, proxy.clone(), shutdown.clone())),
            tokio::spawn(serve_unix(socket, proxy.clone(), shutdown.clone())),
        ];
        let (project, container) = (ProjectId::generate(), ContainerId::generate());
        fleet.running.lock().unwrap().insert((project, container), Computer::default());
        Self { fleet, proxy, certificates, dir, at, project, container, shutdown, loops }
    }

    pub(super) fn host(&self, segment: &str) -> String {
        cowl_api::urls::container_host(&self.project, &self.container, segment, SERVER, DOMAIN)
    }

    fn change(&self, change: impl FnOnce(&mut Computer)) {
        change(self.fleet.running.lock().unwrap().get_mut(&(self.project, self.container)).unwrap());
    }

    /// Starts `kit` as the computer's kit.
    pub(super) async fn kit(&self, kit: Router) -> JoinHandle<()> {
        let path = self.dir.path().join(format!("kit-{}.sock", ContainerId::generate()));
        let listener = UnixListener::bind(&path).unwrap();
        self.change(|c| c.kit = Some(path));
        tokio::spawn(async move { axum::serve(listener, kit).await.unwrap() })
    }

    /// Says that `port` inside is the listener at `at`.
    pub(super) fn port(&self, port: u16, at: SocketAddr) {
        self.change(|c| {
            c.ports.insert(port, at);
        });
    }

    /// Starts `program` on `port` inside.
    pub(super) async fn program(&self, port: u16, program: Router) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.port(port, listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, program).await.unwrap() });
    }

    /// A listener on `port` inside that the test answers by hand.
    pub(super) async fn bare_port(&self, port: u16) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.port(port, listener.local_addr().unwrap());
        listener
    }

    /// A TLS connection that trusts only this house's authority.
    pub(super) async fn tls(&self, name: &str) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.at).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(self.trust()).connect(name, stream).await.unwrap()
    }

    fn trust(&self) -> Arc<rustls::ClientConfig> {
        let pem = std::fs::read(self.certificates.ca_path()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        use rustls::pki_types::pem::PemObject;
        roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth())
    }

    pub(super) async fn unix(&self) -> UnixStream {
        UnixStream::connect(self.dir.path().join("node.sock")).await.unwrap()
    }

    pub(super) async fn get(&self, host: &str, path: &str) -> Got {
        self.ask(http::Request::get(path).header(HOST, host).body(Body::empty()).unwrap()).await
    }

    /// Sends a request by TLS to the host it names and reads the reply.
    pub(super) async fn ask(&self, req: http::Request<Body>) -> Got {
        let reply = self.open(req).await;
        let (head, body) = reply.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Got { status: head.status, headers: head.headers, body }
    }

    /// Sends a request by TLS and leaves the reply's body to the caller.
    pub(super) async fn open(&self, req: http::Request<Body>) -> Response<hyper::body::Incoming> {
        let host = req.headers()[HOST].to_str().unwrap().trim_end_matches('.').to_owned();
        let name = host.split(':').next().unwrap();
        send(self.tls(name).await, req).await
    }

    /// Sends raw bytes on a TLS connection to `name` and reads until the proxy closes.
    pub(super) async fn raw(&self, name: &str, bytes: &str) -> String {
        let mut stream = self.tls(name).await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    pub(super) fn records(&self) -> Vec<AccessRecord> {
        self.fleet.records.lock().unwrap().clone()
    }

    pub(super) fn dials(&self) -> usize {
        self.fleet.dials.load(Ordering::SeqCst)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(super) async fn send<S>(stream: S, req: http::Request<Body>) -> Response<hyper::body::Incoming>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let reply = sender.send_request(req).await.unwrap();
    // The connection outlives the reply's head, as a browser's does.
    tokio::spawn(async move { sender.ready().await });
    reply
}

pub(super) async fn read_all<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut all = Vec::new();
    let read = async {
        let mut piece = [0; 4096];
        loop {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(n) => all.extend_from_slice(&piece[..n]),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("the proxy did not close in time");
    String::from_utf8_lossy(&all).into_owned()
}

/// A kit or program that tells what it got.
pub(super) fn echo() -> Router {
    Router::new().fallback(|req: Request| async move {
        let (head, body) = req.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let headers: HashMap<String, String> =
            head.headers.iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned())).collect();
        Json(json!({
            "method": head.method.as_str(),
            "uri": head.uri.to_string(),
            "headers": headers,
            "body": String::from_utf8_lossy(&body),
        }))
    })
}

/// Waits until `done` holds, for at most five seconds.
pub(super) async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not happen: {what}");
}
