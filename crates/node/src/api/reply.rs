//! Replies: every success is `{statusCode, message, data}`, every failure
//! `{statusCode, error, message, data?}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use crate::driver;
use crate::state;
use cowl_api::envelope::FieldError;
use cowl_api::{ApiError, Envelope};

/// What a handler gives.
pub type Reply<T> = Result<Answer<T>, Failure>;

/// A success.
#[derive(Debug)]
pub struct Answer<T>(Envelope<T>);

/// 200 with data.
///
/// # Errors
/// Never; the type is that of handlers.
pub fn ok<T>(message: impl Into<String>, data: T) -> Reply<T> {
    Ok(Answer(Envelope::ok(message, data)))
}

/// 201 with data.
///
/// # Errors
/// Never; the type is that of handlers.
pub fn created<T>(message: impl Into<String>, data: T) -> Reply<T> {
    Ok(Answer(Envelope::created(message, data)))
}

/// 202 with data: begun, not done.
///
/// # Errors
/// Never; the type is that of handlers.
pub fn accepted<T>(message: impl Into<String>, data: T) -> Reply<T> {
    let mut envelope = Envelope::ok(message, data);
    envelope.status_code = 202;
    Ok(Answer(envelope))
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status_code).unwrap_or(StatusCode::OK);
        (status, Json(self.0)).into_response()
    }
}

/// A failure.
#[derive(Debug)]
pub struct Failure(pub ApiError);

impl Failure {
    /// Something that is not built yet.
    pub fn not_built(what: &str) -> Self {
        Self(ApiError::new(501, format!("{what} is not built yet")))
    }
}

impl From<ApiError> for Failure {
    fn from(e: ApiError) -> Self {
        Self(e)
    }
}

impl From<FieldError> for Failure {
    fn from(e: FieldError) -> Self {
        Self(e.into())
    }
}

impl From<state::Error> for Failure {
    fn from(e: state::Error) -> Self {
        Self(e.into())
    }
}

impl From<cowl_engine::Error> for Failure {
    fn from(e: cowl_engine::Error) -> Self {
        Self(driver::failure(e))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status_code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::debug!(%status, message = self.0.message, "answered with a failure");
        }
        (status, Json(self.0)).into_response()
    }
}
