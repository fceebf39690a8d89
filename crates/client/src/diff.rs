//! What differs between two moments of a container.

use std::time::Duration;

use http::Method;

use super::api::CHANGE;
use super::error::{Error, Result};
use super::files::query_value;
use super::lines::Lines;
use super::reply;
use super::transport::{Client, request};
use cowl_api::ContainerId;
use cowl_api::diff::{Change, Diff, DiffLine, DiffSummary, FileDiff, PackageDiff, Summary};

/// Longest silence of a diff that finds nothing for a while.
const IDLE: Duration = Duration::from_secs(180);

/// Two moments of a container, and what of them is asked for.
#[derive(Debug, Clone)]
pub struct Moments<'a> {
    /// The container.
    pub container: &'a ContainerId,
    /// Name or alias of the snapshot that is the earlier side.
    pub from: &'a str,
    /// Name or alias of another; `None` for now.
    pub to: Option<&'a str>,
    /// Only what is at or below this absolute path.
    pub path: Option<&'a str>,
}

impl Moments<'_> {
    fn url(&self, what: &str, more: &str) -> String {
        let to = query_value(self.to.unwrap_or("now"));
        let path = self.path.map(|path| format!("&path={}", query_value(path))).unwrap_or_default();
        let (id, from) = (self.container, query_value(self.from));
        format!("/api/v1/containers/{id}/snapshots/{from}/diff{what}?to={to}{path}{more}")
    }
}

/// Changes as they are found.
#[derive(Debug)]
pub struct DiffStream {
    lines: Lines,
    summary: Option<DiffSummary>,
}

impl Client {
    /// At most `limit` changes at once, with the sums of all.
    ///
    /// # Errors
    /// 404 without such a container or snapshot; so for all below.
    pub async fn diff(&self, moments: &Moments<'_>, limit: u64) -> Result<Diff> {
        self.look(&moments.url("", &format!("&limit={limit}"))).await
    }

    /// All changes one by one.
    ///
    /// # Errors
    /// As [`Client::diff`].
    pub async fn diff_stream(&self, moments: &Moments<'_>) -> Result<DiffStream> {
        let request = request::<()>(Method::GET, &moments.url("", "&stream=true"), None)?;
        let response = reply::api_ok(self.send(&self.api_host(), request).await?).await?;
        Ok(DiffStream { lines: Lines::new(response.into_body(), IDLE), summary: None })
    }

    /// The sums of all changes.
    ///
    /// # Errors
    /// As [`Client::diff`].
    pub async fn diff_summary(&self, moments: &Moments<'_>) -> Result<DiffSummary> {
        self.look(&moments.url("/summary", "")).await
    }

    /// One file, the `path` of the moments, as text.
    ///
    /// # Errors
    /// 404 also when it is in neither moment; 422 when it is larger than 1 MiB.
    pub async fn diff_file(&self, moments: &Moments<'_>) -> Result<FileDiff> {
        self.look(&moments.url("/file", "")).await
    }

    /// The packages that were installed, removed or came in another version.
    ///
    /// # Errors
    /// As [`Client::diff`].
    pub async fn diff_packages(&self, moments: &Moments<'_>) -> Result<PackageDiff> {
        self.look(&moments.url("/packages", "")).await
    }

    async fn look<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, None::<&()>, CHANGE).await
    }
}

impl DiffStream {
    /// The next change; `None` at the end.
    ///
    /// # Errors
    /// When the connection or the diff breaks off.
    pub async fn next(&mut self) -> Result<Option<Change>> {
        if self.summary.is_some() {
            return Ok(None);
        }
        let cut = || Error::Broken("the diff broke off before its end".into());
        let line = self.lines.next().await?.ok_or_else(cut)?;
        match serde_json::from_str(&line) {
            Ok(DiffLine::Change(change)) => Ok(Some(*change)),
            Ok(DiffLine::End(end)) => {
                self.summary = Some(end);
                Ok(None)
            }
            Ok(DiffLine::Failed { error }) => Err(Error::Broken(format!("the diff broke off: {error}"))),
            Err(e) => Err(Error::Broken(format!("a line of the diff is malformed: {e}"))),
        }
    }

    /// The sums, once the end was reached.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref().map(|end| &end.summary)
    }
}
