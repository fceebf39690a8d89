//! Copies, branches, syncs, and what came from what.

use http::Method;

use super::api::CHANGE;
use super::error::Result;
use super::transport::Client;
use crate::api::lineage::{BranchContainer, Copied, CopyContainer, Forest, Lineage, Synced};
use crate::api::{ContainerId, ProjectId};

impl Client {
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
