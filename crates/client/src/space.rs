//! Calls about the pool's space.

use http::Method;

use super::api::CHANGE;
use super::error::Result;
use super::transport::Client;
use cowl_api::ContainerId;
use cowl_api::space::{ContainerDisk, Health, PoolSpace};

impl Client {
    /// What the pool holds, and how it is. `server` is an id or a name.
    ///
    /// # Errors
    /// 404 for another server; so for all calls about a server.
    pub async fn pool_space(&self, server: &str) -> Result<PoolSpace> {
        self.get(&format!("/api/v1/servers/{server}/storage")).await
    }

    /// Begins a scrub.
    ///
    /// # Errors
    /// 409 while one is under way.
    pub async fn start_scrub(&self, server: &str) -> Result<Health> {
        self.call(Method::POST, &format!("/api/v1/servers/{server}/storage/scrub"), None::<&()>, CHANGE).await
    }

    /// Ends a scrub.
    ///
    /// # Errors
    /// 404 when none is under way.
    pub async fn cancel_scrub(&self, server: &str) -> Result<Health> {
        self.call(Method::DELETE, &format!("/api/v1/servers/{server}/storage/scrub"), None::<&()>, CHANGE).await
    }

    /// What a container's bytes on disk are.
    ///
    /// # Errors
    /// 404 when there is no such container.
    pub async fn disk(&self, id: &ContainerId) -> Result<ContainerDisk> {
        self.get(&format!("/api/v1/containers/{id}/disk")).await
    }
}
