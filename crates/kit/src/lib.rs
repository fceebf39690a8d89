//! The services inside each container, one folder per service.
//!
//! One process serves all of them over HTTP/1.1 on one unix socket that it is given at birth. The
//! front names the service and the instance of each request in two headers; this module only
//! dispatches on them. What is not built answers 501 and says so.

mod body;
mod cors;
mod error;
pub mod files;
mod health;
mod params;
mod server;
pub mod terminal;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

use cowl_api::service::{INSTANCE_HEADER, SERVICE_HEADER, Service};
pub use error::KitError;
pub use server::{main, serve};

/// What the services share.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where short-lived private files may be put. Created on demand, because the kit may be up
    /// before anything of the container's boot.
    pub runtime_dir: PathBuf,
    /// When this process began to serve.
    pub started: jiff::Timestamp,
}

impl Context {
    /// A context that keeps its private files in `runtime_dir`.
    pub fn new(runtime_dir: impl Into<PathBuf>) -> Arc<Self> {
        Arc::new(Self { runtime_dir: runtime_dir.into(), started: jiff::Timestamp::now() })
    }
}

/// The host index a request came to, put into its extensions by [`router`].
#[derive(Debug, Clone, Copy)]
pub struct Instance(pub u32);

/// All services behind one door.
pub fn router(context: Arc<Context>) -> Router {
    let terminal = terminal::router(context.clone());
    let files = files::router(context);
    Router::new()
        .fallback(move |request: Request| {
            let (terminal, files) = (terminal.clone(), files.clone());
            async move { dispatch(terminal, files, request).await }
        })
        .layer(axum::middleware::from_fn(cors::open_to_all))
}

async fn dispatch(terminal: Router, files: Router, mut request: Request<Body>) -> Response {
    let (service, instance) = match addressed(&request) {
        Ok(found) => found,
        Err(error) => return error.into_response(),
    };
    request.extensions_mut().insert(Instance(instance));
    let answer = match service {
        Service::Terminal => terminal.oneshot(request).await,
        Service::Files => files.oneshot(request).await,
        other => return KitError::not_built(format!("the {other} service is not built yet")).into_response(),
    };
    answer.into_response()
}

fn addressed(request: &Request<Body>) -> Result<(Service, u32), KitError> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let slug =
        header(SERVICE_HEADER).ok_or_else(|| KitError::bad_request(format!("missing header {SERVICE_HEADER}")))?;
    let service = Service::from_slug(slug)
        .ok_or_else(|| KitError::bad_request(format!("{SERVICE_HEADER}: {slug:?} is not a service")))?;
    let instance = match header(INSTANCE_HEADER) {
        None => 1,
        Some(text) => {
            text.parse().map_err(|_| KitError::bad_request(format!("{INSTANCE_HEADER}: {text:?} is not a number")))?
        }
    };
    Ok((service, instance))
}

#[cfg(test)]
mod tests;
