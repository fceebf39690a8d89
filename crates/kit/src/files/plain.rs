//! The plain face: any path outside `/api/v1/` is a file. The verbs of WebDAV are not built.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::path::CleanPath;
use super::rest;
use crate::error::{KitError, KitResult};
use crate::params::Params;

const ALLOWED: &str = "GET, HEAD, PUT, DELETE, OPTIONS";
const WEBDAV: [&str; 8] = ["PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "PATCH"];

/// Answers a request by its whole path.
pub async fn answer(request: Request) -> KitResult<Response> {
    let params = Params::parse(request.uri().query().unwrap_or_default());
    rest::refuse_absent(&params)?;
    let path = CleanPath::from_url(request.uri().path())?;
    match request.method().as_str() {
        "GET" => rest::file_or_listing(path, params, request, true).await,
        "HEAD" => rest::file_or_listing(path, params, request, false).await,
        "PUT" => rest::put(path, false, request).await,
        "DELETE" => rest::delete(path).await,
        "OPTIONS" => Ok((StatusCode::NO_CONTENT, [("allow", ALLOWED)]).into_response()),
        verb if WEBDAV.contains(&verb) => {
            Err(KitError::not_built(format!("the WebDAV verb {verb} of the files service is not built yet")))
        }
        verb => Err(KitError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{verb} is not allowed here"))),
    }
}
