//! Containers as archives.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};

use super::error::{Error, Result};
use super::files::query_value;
use super::reply;
use super::transport::{Client, request};
use cowl_api::{Container, ContainerId, ProjectId};
use cowl_engine::archive::MEDIA_TYPE;

/// For the head of the answer: the node freezes the disk before.
const HEAD: Duration = Duration::from_secs(120);
/// Between two pieces: packing waits for disks.
const IDLE: Duration = Duration::from_secs(300);
/// For a whole import, which is as long as its archive.
const IMPORT: Duration = Duration::from_secs(7 * 24 * 3600);

/// An archive as it arrives.
#[derive(Debug)]
pub struct Archive(Incoming);

impl Archive {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the node gives up or falls silent.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        reply::piece(&mut self.0, IDLE).await
    }
}

fn with_query(path: String, query: &[(&str, String)]) -> String {
    let pairs: Vec<String> = query.iter().map(|(key, value)| format!("{key}={}", query_value(value))).collect();
    if pairs.is_empty() { path } else { format!("{path}?{}", pairs.join("&")) }
}

impl Client {
    /// Exports a container; `query` are the parameters of the API.
    ///
    /// # Errors
    /// 404, 400; when the node cannot be reached.
    pub async fn export(&self, id: &ContainerId, query: &[(&str, String)]) -> Result<Archive> {
        let path = with_query(format!("/api/v1/containers/{id}/export"), query);
        let request = request::<()>(Method::GET, &path, None)?;
        let host = self.api_host();
        let calling = async { reply::api_ok(self.send(&host, request).await?).await };
        let late = |_| Error::Timeout { what: format!("the node at {}", self.at()), after: HEAD };
        Ok(Archive(tokio::time::timeout(HEAD, calling).await.map_err(late)??.into_body()))
    }

    /// Imports an archive into a project; `query` are the parameters of the API.
    ///
    /// # Errors
    /// What the node says to it.
    pub async fn import<S>(&self, project: &ProjectId, query: &[(&str, String)], bytes: S) -> Result<Container>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
    {
        let path = with_query(format!("/api/v1/projects/{project}/containers/import"), query);
        let body = StreamBody::new(bytes.map(|piece| piece.map(Frame::data)));
        let builder = Request::builder().method(Method::POST).uri(path).header(CONTENT_TYPE, MEDIA_TYPE);
        let request = builder.body(BodyExt::boxed(body)).map_err(|e| Error::Config(e.to_string()))?;
        let host = self.api_host();
        let calling = async { reply::envelope(self.send(&host, request).await?).await };
        let late = |_| Error::Timeout { what: format!("the node at {}", self.at()), after: IMPORT };
        tokio::time::timeout(IMPORT, calling).await.map_err(late)?
    }
}
