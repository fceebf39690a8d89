//! Calls about images that nobody needs, and about building one anew.

use http::Method;

use super::api::CHANGE;
use super::error::Result;
use super::transport::Client;
use cowl_api::prune::{Prune, Pruned};

impl Client {
    /// Removes, or only tells, images and kits that nobody needs.
    ///
    /// # Errors
    /// 409 while an image is being built, or when it cannot be told what is needed.
    pub async fn prune_images(&self, body: Prune) -> Result<Pruned> {
        self.call(Method::POST, "/api/v1/images/prune", Some(&body), CHANGE).await
    }
}
