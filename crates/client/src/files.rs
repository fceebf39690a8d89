//! The files service: read, write, list, stat, delete, make directories.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::error::{Error, Result};
use super::kit::Kit;
use super::reply;
use super::transport::request;
use cowl_api::files::{Listing, Stat};

/// What stays as it is in a path or a query value.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const IN_PATH: &AsciiSet = &UNRESERVED.remove(b'/');
/// An upload may take as long as its disk takes to sync after the last byte.
const UPLOAD: Duration = Duration::from_secs(24 * 3600);
const HEAD: Duration = Duration::from_secs(60);

pub(super) fn query_value(value: &str) -> String {
    percent_encode(value.as_bytes(), UNRESERVED).to_string()
}

/// An absolute path without its leading slashes, fit for a URL.
pub(super) fn in_path(path: &str) -> String {
    percent_encode(path.trim_start_matches('/').as_bytes(), IN_PATH).to_string()
}

fn url(prefix: &str, path: &str, query: &str) -> String {
    format!("/api/v1/files/{prefix}{}{query}", in_path(path))
}

/// The bytes of a file as they arrive.
#[derive(Debug)]
pub struct Download {
    body: Incoming,
    /// Its size in bytes, where the service says it.
    pub size: Option<u64>,
}

impl Download {
    pub(super) fn new(body: Incoming, size: Option<u64>) -> Self {
        Self { body, size }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks or falls silent.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        reply::piece(&mut self.body, reply::IDLE).await
    }
}

/// Bytes on their way into a file.
#[derive(Debug)]
pub struct Upload<S> {
    /// The bytes.
    pub bytes: S,
    /// How many there will be, when that is known; a stream that ends early is then refused.
    pub size: Option<u64>,
}

impl Kit {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`Error::Kit`] with 404 when there is no such file; [`Error::Config`] for a directory.
    pub async fn file(&self, path: &str) -> Result<Download> {
        let stat = self.stat(path).await?;
        if matches!(stat.path_type, cowl_api::files::PathType::Dir | cowl_api::files::PathType::SymlinkDir) {
            return Err(Error::Config(format!("{path} is a directory; list it with `cowl files list`")));
        }
        let response = self.open(&url("", path, "")).await?;
        let size = response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        Ok(Download { body: response.into_body(), size })
    }

    /// Writes a whole file; readers see the old or the new one, never a part.
    ///
    /// # Errors
    /// When the service refuses or the source fails.
    pub async fn put<S>(&self, path: &str, upload: Upload<S>) -> Result<serde_json::Value>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
    {
        let body = StreamBody::new(upload.bytes.map(|piece| piece.map(Frame::data)));
        let mut builder = Request::builder()
            .method(Method::PUT)
            .uri(url("", path, ""))
            .header(CONTENT_TYPE, "application/octet-stream");
        if let Some(size) = upload.size {
            builder = builder.header(CONTENT_LENGTH, size);
        }
        let request = builder.body(BodyExt::boxed(body)).map_err(|e| Error::Config(e.to_string()))?;
        reply::flat(self.send(request, UPLOAD).await?).await
    }

    /// Lists a directory.
    ///
    /// # Errors
    /// [`Error::Kit`] with 404 when there is none; [`Error::Config`] when it is a file.
    pub async fn list(&self, path: &str) -> Result<Listing> {
        let stat = self.stat(path).await?;
        if matches!(stat.path_type, cowl_api::files::PathType::File | cowl_api::files::PathType::SymlinkFile) {
            return Err(Error::Config(format!("{path} is not a directory")));
        }
        self.json(Method::GET, &url("", path, ""), None::<&()>).await
    }

    /// Facts about one path.
    ///
    /// # Errors
    /// [`Error::Kit`] with 404 when there is none.
    pub async fn stat(&self, path: &str) -> Result<Stat> {
        self.json(Method::GET, &url("stat/", path, ""), None::<&()>).await
    }

    /// Deletes a file or a whole tree.
    ///
    /// # Errors
    /// [`Error::Kit`] with 404 when there is none.
    pub async fn delete(&self, path: &str) -> Result<serde_json::Value> {
        let response = self.send(request::<()>(Method::DELETE, &url("", path, ""), None)?, HEAD).await?;
        reply::flat(response).await
    }

    /// Makes a directory and its parents.
    ///
    /// # Errors
    /// [`Error::Kit`] when something else has that name.
    pub async fn mkdir(&self, path: &str) -> Result<serde_json::Value> {
        self.json(Method::POST, &url("", path, "?mkdir=true"), None::<&()>).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_into_the_url_with_only_its_slashes_bare() {
        assert_eq!(url("", "/etc/a b?#%", ""), "/api/v1/files/etc/a%20b%3F%23%25");
        assert_eq!(url("stat/", "//x/é", "?q=1"), "/api/v1/files/stat/x/%C3%A9?q=1");
    }
}
