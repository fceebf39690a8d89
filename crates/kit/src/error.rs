//! The one error of the kit: a status and the flat body `{error, message}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// An answer that is not a success.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{status}: {message}")]
pub struct KitError {
    /// HTTP status.
    pub status: StatusCode,
    /// What was wrong, in words for the caller.
    pub message: String,
}

/// Result of a handler.
pub type KitResult<T> = Result<T, KitError>;

impl KitError {
    /// An error with any status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// 400: the request cannot be right.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 403: right, but never allowed.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404: no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 409: it is in the way.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 501: part of the contract, absent here.
    pub fn not_built(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// 500: our fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 503: too much of it at the moment.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// What the kernel said about `subject`.
    pub fn from_io(subject: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        let status = match error.kind() {
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => StatusCode::FORBIDDEN,
            Kind::AlreadyExists | Kind::DirectoryNotEmpty | Kind::IsADirectory | Kind::NotADirectory => {
                StatusCode::CONFLICT
            }
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => StatusCode::INSUFFICIENT_STORAGE,
            Kind::InvalidInput | Kind::InvalidFilename => StatusCode::BAD_REQUEST,
            _ if error.raw_os_error() == Some(libc::ELOOP) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, format!("{subject}: {}", plain(error)))
    }
}

/// The system's words without Rust's `(os error n)`.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

impl IntoResponse for KitError {
    fn into_response(self) -> Response {
        let error = self.status.canonical_reason().unwrap_or("Error");
        (self.status, Json(serde_json::json!({ "error": error, "message": self.message }))).into_response()
    }
}
