//! One request, one connection: HTTP/1.1 over the node's unix socket, with deadlines.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::super::backend::{BackendError, Result};
use cowl_api::envelope::{ApiError, KitError};

/// Longest body that is read, in bytes.
pub const BODY_MAX: usize = 16 << 20;
/// Seconds until a connection must stand.
const CONNECT_S: u64 = 5;

/// A request to be sent.
#[derive(Debug)]
pub struct Request {
    method: &'static str,
    host: String,
    path: String,
    body: Bytes,
}

impl Request {
    /// A request for a host.
    pub fn new(method: &'static str, host: &str, path: &str) -> Self {
        Self { method, host: host.into(), path: path.into(), body: Bytes::new() }
    }

    /// A request for the API.
    pub fn api(method: &'static str, path: &str) -> Self {
        Self::new(method, "localhost", path)
    }

    /// Adds a JSON body.
    pub fn with_json(mut self, body: &impl Serialize) -> Result<Self> {
        self.body = serde_json::to_vec(body).map_err(|e| BackendError::Protocol(e.to_string()))?.into();
        Ok(self)
    }

    fn build(self) -> Result<http::Request<Full<Bytes>>> {
        let mut builder = http::Request::builder()
            .method(self.method)
            .uri(self.path)
            .header("host", self.host)
            .header("accept", "application/json, text/event-stream, */*");
        if !self.body.is_empty() {
            builder = builder.header("content-type", "application/json");
        }
        builder.body(Full::new(self.body)).map_err(|e| BackendError::Protocol(e.to_string()))
    }
}

/// The socket.
#[derive(Debug, Clone)]
pub struct Wire {
    socket: Arc<Path>,
}

impl Wire {
    /// A wire to this socket.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Dials.
    pub async fn connect(&self) -> Result<UnixStream> {
        let place = self.socket.display().to_string();
        match timeout(Duration::from_secs(CONNECT_S), UnixStream::connect(&self.socket)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(e)) if e.kind() == ErrorKind::PermissionDenied => Err(BackendError::NoPermission(place)),
            Ok(Err(_)) => Err(BackendError::NoNode(place)),
            Err(_) => Err(BackendError::Timeout(CONNECT_S)),
        }
    }

    /// Sends and waits for the head of the answer; a refusal becomes an error with its reason.
    pub async fn open(&self, request: Request, seconds: u64) -> Result<http::Response<Incoming>> {
        let work = async {
            let stream = self.connect().await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(&e))?;
            // Ends when the body has been read or dropped.
            tokio::spawn(connection);
            let reply = sender.send_request(request.build()?).await.map_err(|e| self.broken(&e))?;
            if reply.status().is_success() {
                return Ok(reply);
            }
            let status = reply.status().as_u16();
            let body = read(reply.into_body(), BODY_MAX).await.unwrap_or_default();
            Err(BackendError::Refused { status, message: reason(status, &body) })
        };
        timeout(Duration::from_secs(seconds), work).await.unwrap_or(Err(BackendError::Timeout(seconds)))
    }

    /// Sends and reads at most `limit` bytes of the answer.
    pub async fn bytes(&self, request: Request, seconds: u64, limit: usize) -> Result<Vec<u8>> {
        let reply = self.open(request, seconds).await?;
        let reading = read(reply.into_body(), limit);
        let body = timeout(Duration::from_secs(seconds), reading).await;
        body.unwrap_or(Err(BackendError::Timeout(seconds)))
    }

    /// Sends and parses the answer.
    pub async fn json<T: DeserializeOwned>(&self, request: Request, seconds: u64) -> Result<T> {
        let body = self.bytes(request, seconds, BODY_MAX).await?;
        serde_json::from_slice(&body).map_err(|e| BackendError::Protocol(e.to_string()))
    }

    fn broken(&self, e: &hyper::Error) -> BackendError {
        if e.is_parse() {
            BackendError::Protocol(e.to_string())
        } else {
            BackendError::NoNode(self.socket.display().to_string())
        }
    }
}

async fn read(mut body: Incoming, limit: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| BackendError::Protocol(e.to_string()))?;
        if let Some(data) = frame.data_ref() {
            let room = limit.saturating_sub(out.len());
            out.extend_from_slice(&data[..data.len().min(room)]);
            if out.len() >= limit {
                break;
            }
        }
    }
    Ok(out)
}

/// The reason in an error body: the API's envelope, the kit's flat form, or the bare status.
fn reason(status: u16, body: &[u8]) -> String {
    if let Ok(e) = serde_json::from_slice::<ApiError>(body) {
        return e.message;
    }
    if let Ok(e) = serde_json::from_slice::<KitError>(body) {
        return e.message;
    }
    let phrase = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("error");
    format!("the node answered {status} {phrase}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_refusal_is_read_from_both_error_forms() {
        assert_eq!(reason(409, br#"{"statusCode":409,"error":"Conflict","message":"it runs"}"#), "it runs");
        assert_eq!(reason(404, br#"{"error":"Not Found","message":"no such file"}"#), "no such file");
        assert_eq!(reason(502, b"<html>"), "the node answered 502 Bad Gateway");
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_no_node() {
        let dir = tempfile::tempdir().unwrap();
        let wire = Wire::new(dir.path().join("node.sock"));
        let e = wire.json::<serde_json::Value>(Request::api("GET", "/"), 5).await.unwrap_err();
        assert!(matches!(e, BackendError::NoNode(_)), "{e:?}");
    }
}
