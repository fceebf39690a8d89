//! Letting equal files share their blocks.

use std::time::Duration;

use http::Method;

use super::error::{Error, Result};
use super::lines::Lines;
use super::reply;
use super::transport::{Client, request};
use cowl_api::ServerId;
use cowl_api::dedupe::{DedupeRequest, DedupeRun, DedupeStatus};

/// The node writes at least every half second; more silence than this means it is gone.
const IDLE: Duration = Duration::from_secs(60);

/// A run that goes on for as long as this is held.
#[derive(Debug)]
pub struct DedupeRuns {
    lines: Lines,
}

impl Client {
    /// Begins to search for equal files. Dropping the result ends the search.
    ///
    /// # Errors
    /// 400 with the field named, 404 for an unknown container, 409 while another runs.
    pub async fn dedupe(&self, server: &ServerId, body: &DedupeRequest) -> Result<DedupeRuns> {
        let request = request(Method::POST, &format!("/api/v1/servers/{server}/dedupe"), Some(body))?;
        let response = reply::api_ok(self.send(&self.api_host(), request).await?).await?;
        Ok(DedupeRuns { lines: Lines::new(response.into_body(), IDLE) })
    }

    /// The search of now, and the figures of the last.
    ///
    /// # Errors
    /// 404 when the node is another one.
    pub async fn dedupe_status(&self, server: &ServerId) -> Result<DedupeStatus> {
        self.get(&format!("/api/v1/servers/{server}/dedupe")).await
    }
}

impl DedupeRuns {
    /// How it stands; `None` after its end. Cancel safe.
    ///
    /// # Errors
    /// When the connection breaks or falls silent.
    pub async fn next(&mut self) -> Result<Option<DedupeRun>> {
        let Some(line) = self.lines.next().await? else { return Ok(None) };
        let run = serde_json::from_str(&line);
        run.map(Some).map_err(|e| Error::Broken(format!("the node's report is malformed: {e}")))
    }
}
