//! A kit service of one container, e.g. its `files-1`.

use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, Result};
use super::reply;
use super::transport::{Body, Client, Stream, request};
use cowl_api::{Container, Service, urls};

/// Deadline for the head of a reply.
const HEAD: Duration = Duration::from_secs(60);

/// One instance of a service of one container.
#[derive(Debug, Clone)]
pub struct Kit {
    client: Client,
    host: String,
}

impl Client {
    /// The `n`-th instance (from 1) of a service of a container.
    pub fn kit(&self, container: &Container, service: Service, n: u32) -> Kit {
        let segment = format!("{}-{n}", service.slug());
        let host =
            urls::container_host(&container.project_id, &container.id, &segment, &container.server_name, self.domain());
        Kit { client: self.clone(), host }
    }
}

impl Kit {
    /// The host name it is reached by.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>> {
        self.client.connect(&self.host).await
    }

    /// Sends a request and returns the reply with its body still to come; `deadline` is for its head.
    pub(super) async fn send(&self, request: Request<Body>, deadline: Duration) -> Result<Response<Incoming>> {
        let late = |_| Error::Timeout { what: self.host.clone(), after: deadline };
        let response = tokio::time::timeout(deadline, self.client.send(&self.host, request)).await.map_err(late)??;
        reply::kit_ok(response).await
    }

    /// Asks for JSON with an optional JSON body.
    ///
    /// # Errors
    /// [`Error::Kit`] when the service refuses; `502..=504` while the container is not up.
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let response = self.send(request(method, path, body)?, HEAD).await?;
        reply::flat(response).await
    }

    /// Opens the body of a GET.
    pub(super) async fn open(&self, path: &str) -> Result<Response<Incoming>> {
        self.send(request::<()>(Method::GET, path, None)?, HEAD).await
    }
}
