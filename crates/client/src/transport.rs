//! How requests reach a node: its unix socket, or HTTPS with a token.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::error::{Error, Result};
use cowl_api::urls;

/// Longest time a connection may take to open.
const CONNECT: Duration = Duration::from_secs(10);
/// Certificates trusted when none are named; `cowl ca install` adds the node's own to it.
const SYSTEM_CAS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A connection, whatever carries it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A body on its way to the node.
pub(super) type Body = BoxBody<Bytes, io::Error>;

/// A node one can talk to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    route: Arc<Route>,
}

#[derive(Debug)]
enum Route {
    Unix(PathBuf),
    Https(Remote),
}

#[derive(Debug)]
struct Remote {
    host: String,
    port: u16,
    authorization: HeaderValue,
    tls: Arc<rustls::ClientConfig>,
}

impl Client {
    /// The node whose run directory this is; nothing is opened yet.
    pub fn local(run_dir: &Path) -> Self {
        Self { route: Arc::new(Route::Unix(run_dir.join("node.sock"))) }
    }

    /// A node behind HTTPS. `api_url` is `https://api.DOMAIN[:PORT]`; `ca` a PEM file of trusted
    /// certificates, the system's when `None`.
    ///
    /// # Errors
    /// [`Error::Config`] for a wrong URL, token or CA file.
    pub fn remote(api_url: &str, token: &str, ca: Option<&Path>) -> Result<Self> {
        let uri: http::Uri = api_url.parse().map_err(|e| Error::Config(format!("{api_url} is not a URL: {e}")))?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let host =
            host.ok_or_else(|| Error::Config(format!("{api_url} is not of the form https://api.DOMAIN[:PORT]")))?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| Error::Config("the token holds characters that no token has".into()))?;
        authorization.set_sensitive(true);
        let remote = Remote {
            host: host.to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(443),
            authorization,
            tls: trusting(ca.unwrap_or(Path::new(SYSTEM_CAS)))?,
        };
        Ok(Self { route: Arc::new(Route::Https(remote)) })
    }

    /// Where this client connects to, for people.
    pub fn at(&self) -> String {
        match &*self.route {
            Route::Unix(path) => path.display().to_string(),
            Route::Https(remote) => format!("{}:{}", remote.host, remote.port),
        }
    }

    /// Host header of the API.
    pub(super) fn api_host(&self) -> String {
        match &*self.route {
            Route::Unix(_) => urls::api_host(self.domain()),
            Route::Https(remote) => remote.host.clone(),
        }
    }

    /// The domain under which container hosts are formed. A node always answers for the default
    /// ones, so over the socket any of them will do.
    pub(super) fn domain(&self) -> &str {
        match &*self.route {
            Route::Unix(_) => urls::DEFAULT_DOMAINS[0],
            Route::Https(remote) => remote.host.strip_prefix("api.").unwrap_or(&remote.host),
        }
    }

    /// Opens a connection that will carry requests for `host`.
    pub(super) async fn connect(&self, host: &str) -> Result<Box<dyn Stream>> {
        let opening = async {
            match &*self.route {
                Route::Unix(path) => {
                    let stream = UnixStream::connect(path).await.map_err(|e| unreachable(&self.at(), &e))?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                }
                Route::Https(remote) => remote.connect(host).await,
            }
        };
        let late = |_| Error::Timeout { what: self.at(), after: CONNECT };
        tokio::time::timeout(CONNECT, opening).await.map_err(late)?
    }

    /// Sends one request and returns the reply's head with its body still to come.
    pub(super) async fn send(&self, host: &str, mut request: Request<Body>) -> Result<Response<Incoming>> {
        let value = HeaderValue::from_str(host).map_err(|_| Error::Config(format!("{host} is not a host name")))?;
        request.headers_mut().insert(HOST, value);
        if let Some(token) = self.authorization(host) {
            request.headers_mut().insert(AUTHORIZATION, token);
        }
        let stream = self.connect(host).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends by itself: when the reply's body is read or dropped, as the sender is gone by then.
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!("connection to the node: {e}");
            }
        });
        Ok(sender.send_request(request).await?)
    }

    /// The bearer token goes to the API only, never to what runs inside a container.
    pub(super) fn authorization(&self, host: &str) -> Option<HeaderValue> {
        match &*self.route {
            Route::Https(remote) if remote.host == host => Some(remote.authorization.clone()),
            _ => None,
        }
    }
}

impl Remote {
    /// All hosts of a node share one address: the API's. SNI tells them apart.
    async fn connect(&self, host: &str) -> Result<Box<dyn Stream>> {
        let at = format!("{}:{}", self.host, self.port);
        // Resolvers need not know *.localhost; RFC 6761 says where it is.
        let local = self.host.ends_with(".localhost");
        let address = if local { ("127.0.0.1", self.port) } else { (self.host.as_str(), self.port) };
        let tcp = TcpStream::connect(address).await.map_err(|e| unreachable(&at, &e))?;
        tcp.set_nodelay(true).map_err(|e| unreachable(&at, &e))?;
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| Error::Config(format!("{host} is not a host name")))?;
        let tls = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await;
        let tls = tls.map_err(|e| Error::Broken(format!("TLS with {at} failed: {e}")))?;
        Ok(Box::new(tls))
    }
}

fn unreachable(at: &str, e: &io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NoNode { at: at.to_owned() },
        io::ErrorKind::PermissionDenied => Error::Permission { at: at.to_owned() },
        _ => Error::Broken(format!("cannot connect to {at}: {e}")),
    }
}

fn trusting(ca: &Path) -> Result<Arc<rustls::ClientConfig>> {
    let bad =
        |e: &dyn std::fmt::Display| Error::Config(format!("cannot use the certificates in {}: {e}", ca.display()));
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|e| bad(&e))? {
        // One odd certificate in a system's store must not lock the others out.
        let _ = roots.add(certificate.map_err(|e| bad(&e))?);
    }
    if roots.is_empty() {
        return Err(bad(&"none found"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(&e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A request without or with a JSON body.
pub(super) fn request<B: serde::Serialize>(method: Method, path: &str, body: Option<&B>) -> Result<Request<Body>> {
    let unsendable = |e: &dyn std::fmt::Display| Error::Config(format!("cannot form a request for {path}: {e}"));
    let bytes = match body {
        Some(body) => serde_json::to_vec(body).map_err(|e| unsendable(&e))?,
        None => Vec::new(),
    };
    let mut builder = Request::builder().method(method).uri(path);
    if body.is_some() {
        builder = builder.header(CONTENT_TYPE, "application/json");
    }
    builder.body(Full::from(bytes).map_err(|e| match e {}).boxed()).map_err(|e| unsendable(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_socket_is_no_node_and_a_forbidden_one_is_no_permission() {
        let missing = unreachable("/x/node.sock", &io::ErrorKind::NotFound.into());
        assert!(matches!(missing, Error::NoNode { .. }), "{missing}");
        let forbidden = unreachable("/x/node.sock", &io::ErrorKind::PermissionDenied.into());
        assert!(matches!(forbidden, Error::Permission { .. }), "{forbidden}");
    }

    #[test]
    fn only_https_urls_lead_to_a_remote_node() {
        for url in ["http://api.cowl.localhost", "api.cowl.localhost", "https://", "not a url"] {
            assert!(matches!(Client::remote(url, "t", None), Err(Error::Config(_))), "{url}");
        }
    }

    #[tokio::test]
    async fn a_client_of_an_empty_run_directory_finds_no_node() {
        let dir = tempfile::tempdir().unwrap();
        let error = Client::local(dir.path()).status().await.unwrap_err();
        assert!(matches!(error, Error::NoNode { .. }), "{error}");
    }
}
