//! Copies, branches, syncs, what came from what; single files out of snapshots.

use std::time::Duration;

use http::Method;
use http::header::CONTENT_LENGTH;

use super::api::CHANGE;
use super::error::Result;
use super::files::{Download, in_path, query_value};
use super::reply;
use super::transport::{Client, request};
use cowl_api::files::{RestoreFiles, Restored, Stat};
use cowl_api::lineage::{BranchContainer, Copied, CopyContainer, Forest, Lineage, Synced};
use cowl_api::{ContainerId, ProjectId};

/// Copying may take as long as the files are big.
const COPY: Duration = Duration::from_secs(24 * 3600);

impl Client {
    /// Copies files and directories out of a snapshot into a container; leaving ends it.
    ///
    /// # Errors
    /// 400 with the field named, 404, 409 with what is in the way.
    pub async fn restore_files(&self, id: &ContainerId, snapshot: &str, body: &RestoreFiles) -> Result<Restored> {
        let path = format!("/api/v1/containers/{id}/snapshots/{}/files/restore", query_value(snapshot));
        self.call(Method::POST, &path, Some(body), COPY).await
    }

    /// Facts about a path in a snapshot.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn snapshot_stat(&self, id: &ContainerId, snapshot: &str, path: &str) -> Result<Stat> {
        let snapshot = query_value(snapshot);
        self.get(&format!("/api/v1/containers/{id}/snapshots/{snapshot}/files/{}?stat", in_path(path))).await
    }

    /// Opens a file of a snapshot for reading.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn snapshot_file(&self, id: &ContainerId, snapshot: &str, path: &str) -> Result<Download> {
        let snapshot = query_value(snapshot);
        let path = format!("/api/v1/containers/{id}/snapshots/{snapshot}/files/{}", in_path(path));
        let asked = request(Method::GET, &path, None::<&()>)?;
        let response = reply::api_ok(self.send(&self.api_host(), asked).await?).await?;
        let size = response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        Ok(Download::new(response.into_body(), size))
    }

    /// Asks for a copy of a container; the reply comes at once, its state is `copying`.
    ///
    /// # Errors
    /// 400 with the field named, 404, 409, 422.
    pub async fn copy_container(&self, id: &ContainerId, body: &CopyContainer) -> Result<Copied> {
        self.call(Method::POST, &format!("/api/v1/containers/{id}/copy"), Some(body), CHANGE).await
    }

    /// Asks for a branch of a container; the reply comes at once, its state is `copying`.
    ///
    /// # Errors
    /// 400 with the field named, 404, 409.
    pub async fn branch_container(&self, id: &ContainerId, body: &BranchContainer) -> Result<Copied> {
        self.call(Method::POST, &format!("/api/v1/containers/{id}/branch"), Some(body), CHANGE).await
    }

    /// Puts a copy to its source's present state. The state before is kept.
    ///
    /// # Errors
    /// 400 when it is no copy, 404 when its source is gone, 409 when either is busy.
    pub async fn sync_container(&self, id: &ContainerId) -> Result<Synced> {
        self.call(Method::POST, &format!("/api/v1/containers/{id}/sync"), None::<&()>, CHANGE).await
    }

    /// Where a container comes from, and what came from it.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn lineage(&self, id: &ContainerId) -> Result<Lineage> {
        self.get(&format!("/api/v1/containers/{id}/lineage")).await
    }

    /// The families of all containers, or of those of one project.
    ///
    /// # Errors
    /// 404 when there is no such project.
    pub async fn forest(&self, project: Option<&ProjectId>) -> Result<Forest> {
        let query = project.map(|id| format!("?project_id={id}")).unwrap_or_default();
        self.get(&format!("/api/v1/lineage{query}")).await
    }
}
