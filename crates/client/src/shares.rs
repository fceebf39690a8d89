//! Calls about storage shares.

use http::Method;

use super::api::CHANGE;
use super::error::Result;
use super::transport::Client;
use cowl_api::ContainerId;
use cowl_api::ids::ShareId;
use cowl_api::share::{CreateShare, IncomingShare, Share, ToggleMount, UpdateShare};

impl Client {
    /// All shares of the box, also those that have expired.
    ///
    /// # Errors
    /// When the node is gone or refuses; so for all calls below.
    pub async fn shares(&self) -> Result<Vec<Share>> {
        self.get("/api/v1/storage/shares?include_expired=true").await
    }

    /// Offers a directory.
    ///
    /// # Errors
    /// 400 with the field named, 404 without source or target, 409 when the alias is taken.
    pub async fn create_share(&self, source: &ContainerId, body: &CreateShare) -> Result<Share> {
        self.call(Method::POST, &format!("/api/v1/containers/{source}/storage/shares"), Some(body), CHANGE).await
    }

    /// Changes a share.
    ///
    /// # Errors
    /// As [`Client::create_share`].
    pub async fn update_share(&self, source: &ContainerId, id: &ShareId, body: &UpdateShare) -> Result<Share> {
        let path = format!("/api/v1/containers/{source}/storage/shares/{id}");
        self.call(Method::PATCH, &path, Some(body), CHANGE).await
    }

    /// Takes a share away from all.
    ///
    /// # Errors
    /// 404.
    pub async fn delete_share(&self, id: &ShareId) -> Result<()> {
        let path = format!("/api/v1/storage/shares/{id}");
        self.call::<serde_json::Value>(Method::DELETE, &path, None::<&()>, CHANGE).await.map(drop)
    }

    /// What is offered to a container.
    ///
    /// # Errors
    /// 404.
    pub async fn incoming_shares(&self, id: &ContainerId) -> Result<Vec<IncomingShare>> {
        self.get(&format!("/api/v1/containers/{id}/storage/incoming")).await
    }

    /// Takes an offered share, or stops taking it.
    ///
    /// # Errors
    /// 404 when it is not offered.
    pub async fn mount_share(&self, target: &ContainerId, id: &ShareId, mount: bool) -> Result<serde_json::Value> {
        let path = format!("/api/v1/containers/{target}/storage/incoming/{id}/mount");
        self.call(Method::PATCH, &path, Some(&ToggleMount { mount }), CHANGE).await
    }
}
