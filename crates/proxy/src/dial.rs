//! Reaching a door of a container: its kit, or a port inside, with or without TLS.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::route::{Program, Target};
use super::{Proxy, Routes, reply};
use cowl_api::{ContainerId, ProjectId};

/// Largest reply head read from a container, in bytes.
const REPLY_HEAD_BYTES: usize = 256 * 1024;

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Door {
    pub(super) project: ProjectId,
    pub(super) container: ContainerId,
    pub(super) way: Way,
}

/// How a door is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    Kit,
    Port(u16),
    TlsPort(u16),
}

impl Door {
    /// The door of a target; `None` for a segment that nothing serves.
    pub(super) fn of(target: &Target) -> Option<Self> {
        let way = match target.program {
            Program::Kit(..) | Program::Desktop(_) => Way::Kit,
            Program::Http(port) => Way::Port(port),
            Program::Https(port) => Way::TlsPort(port),
            Program::Unserved(_) => return None,
        };
        Some(Self { project: target.project, container: target.container, way })
    }
}

/// Why a request got no reply from its container.
#[derive(Debug)]
pub(super) enum Failure {
    /// Unknown, another project's, or not running.
    Absent,
    KitIsStarting,
    /// It did not wake in time, or was put to sleep meanwhile.
    Asleep,
    NothingListens(u16),
    Broken,
    TooSlow(&'static str),
}

impl Failure {
    pub(super) fn into_reply(self) -> http::Response<Body> {
        match self {
            Self::Absent => reply::no_such_computer(),
            Self::KitIsStarting => reply::kit_is_starting(),
            Self::Asleep => reply::waking(),
            Self::NothingListens(port) => reply::nothing_listens(port),
            Self::Broken => reply::broken_upstream(),
            Self::TooSlow(what) => reply::too_slow(what),
        }
    }
}

impl<R: Routes> Proxy<R> {
    /// A new connection through `door`.
    pub(super) async fn dial(&self, door: &Door) -> Result<SendRequest<Body>, Failure> {
        let limit = self.shared.limits.dial;
        timeout(limit, self.dial_unhurried(door)).await.map_err(|_| Failure::TooSlow("answer"))?
    }

    /// A connection to a port inside, set to send small writes at once.
    async fn dial_port(&self, door: &Door, port: u16) -> Result<TcpStream, Failure> {
        let dialled = self.shared.routes.dial_port(&door.project, &door.container, port).await;
        let stream = dialled.ok_or(Failure::Absent)?.map_err(|e| said(&e, Failure::NothingListens(port)))?;
        // Only speed hangs on it.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn dial_unhurried(&self, door: &Door) -> Result<SendRequest<Body>, Failure> {
        match door.way {
            Way::Kit => {
                let dialled = self.shared.routes.dial_kit(&door.project, &door.container).await;
                let stream = dialled.ok_or(Failure::Absent)?;
                let stream = stream.map_err(|e| said(&e, Failure::KitIsStarting))?;
                speak_http(stream).await
            }
            Way::Port(port) => speak_http(self.dial_port(door, port).await?).await,
            Way::TlsPort(port) => {
                let stream = self.dial_port(door, port).await?;
                // The name is only a hint to the program inside; nothing is verified by it.
                let name = ServerName::try_from("localhost").map_err(|_| Failure::Broken)?;
                let stream = self.shared.unverified_tls.connect(name, stream).await;
                speak_http(stream.map_err(|e| said(&e, Failure::Broken))?).await
            }
        }
    }
}

fn said(error: &io::Error, failure: Failure) -> Failure {
    let failure = if error.kind() == io::ErrorKind::TimedOut { Failure::Asleep } else { failure };
    tracing::debug!(%error, ?failure, "a container's door stays shut");
    failure
}

/// Starts HTTP/1.1 on a stream. The task that drives it ends with the stream or with its sender.
async fn speak_http<S>(stream: S) -> Result<SendRequest<Body>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_header_size(REPLY_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failure::Broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a container broke");
        }
    });
    Ok(sender)
}

/// TLS towards ports inside containers. Their certificates are not checked: the bytes never leave
/// the box, and what sits in a container's network namespace is the container.
pub(super) fn unverified_tls() -> TlsConnector {
    let provider = super::tls::provider();
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config
        .map(|c| c.dangerous().with_custom_certificate_verifier(Arc::new(Anyone { schemes })).with_no_client_auth());
    match config {
        Ok(mut config) => {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            TlsConnector::from(Arc::new(config))
        }
        Err(error) => unreachable!("ring speaks TLS 1.2 and 1.3: {error}"),
    }
}

#[derive(Debug)]
struct Anyone {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
