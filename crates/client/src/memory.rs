//! Where the box' memory is.

use super::error::Result;
use super::transport::Client;
use cowl_api::ServerId;
use cowl_api::memory::MemoryReport;

impl Client {
    /// Where the box' memory is; `pss` also reckons each container's proportional set size, which
    /// takes its time.
    ///
    /// # Errors
    /// 404 when the node is another one.
    pub async fn memory(&self, server: &ServerId, pss: bool) -> Result<MemoryReport> {
        let query = if pss { "?pss=true" } else { "" };
        self.get(&format!("/api/v1/servers/{server}/memory{query}")).await
    }
}
