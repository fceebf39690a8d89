//! The replies the proxy gives by itself: flat `{error, message}` bodies.

use axum::body::Body;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use cowl_api::envelope::KitError;

/// A flat error with this status; `error` is the status' phrase.
pub fn flat(status: StatusCode, message: impl Into<String>) -> Response<Body> {
    let body = KitError { error: status.canonical_reason().unwrap_or("Error").to_owned(), message: message.into() };
    // Two strings always serialise.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut reply = Response::new(Body::from(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// The one answer for every computer that is unknown, another project's, stopped or deleted.
pub fn no_such_computer() -> Response<Body> {
    flat(StatusCode::SERVICE_UNAVAILABLE, "no such computer, or it is not running")
}

/// The computer runs but its kit does not answer yet.
pub fn kit_is_starting() -> Response<Body> {
    let mut reply =
        flat(StatusCode::SERVICE_UNAVAILABLE, "the computer is starting its services; try again in a second");
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

/// The computer slept and did not wake in time, or was put to sleep while this was asked.
pub fn waking() -> Response<Body> {
    let mut reply = flat(StatusCode::SERVICE_UNAVAILABLE, "the computer is waking up; try again in a few seconds");
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    reply
}

/// Nothing answered on a port inside.
pub fn nothing_listens(port: u16) -> Response<Body> {
    flat(StatusCode::BAD_GATEWAY, format!("nothing listens on port {port} of this computer"))
}

/// The upstream broke the connection or spoke something that is not HTTP.
pub fn broken_upstream() -> Response<Body> {
    flat(StatusCode::BAD_GATEWAY, "the program inside the computer did not give a valid HTTP reply")
}

/// The upstream took too long.
pub fn too_slow(what: &str) -> Response<Body> {
    flat(StatusCode::GATEWAY_TIMEOUT, format!("the computer did not {what} in time"))
}

/// The request itself is wrong.
pub fn bad_request(message: &str) -> Response<Body> {
    flat(StatusCode::BAD_REQUEST, message)
}
