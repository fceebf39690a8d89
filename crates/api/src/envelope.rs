//! Reply shapes of the control plane: `{statusCode, message, data}` and `{statusCode, error,
//! message, data?}`; and the flat `{error, message}` of the kit services.

use serde::{Deserialize, Serialize};

/// A successful reply of the control plane.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// The HTTP status, repeated in the body.
    #[serde(rename = "statusCode")]
    pub status_code: u16,
    /// One human sentence.
    pub message: String,
    /// What was asked for.
    pub data: T,
}

impl<T> Envelope<T> {
    /// A reply with status 200.
    pub fn ok(message: impl Into<String>, data: T) -> Self {
        Self { status_code: 200, message: message.into(), data }
    }

    /// A reply with status 201.
    pub fn created(message: impl Into<String>, data: T) -> Self {
        Self { status_code: 201, message: message.into(), data }
    }
}

/// One field of a request that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{} {message}", .instance_path.trim_start_matches('/'))]
pub struct FieldError {
    /// JSON pointer of the field, e.g. `/name`.
    #[serde(rename = "instancePath")]
    pub instance_path: String,
    /// What is wrong with it.
    pub message: String,
}

impl FieldError {
    /// A complaint about the field at `instance_path`.
    pub fn new(instance_path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { instance_path: instance_path.into(), message: message.into() }
    }
}

/// An error of the control plane, as sent and as received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status, 400–599.
    #[serde(rename = "statusCode")]
    pub status_code: u16,
    /// The status' phrase, e.g. `Not Found`.
    pub error: String,
    /// One sentence that says what is wrong and, where it can, what to do.
    pub message: String,
    /// Details; for validation errors a list of [`FieldError`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<serde_json::Value>>,
}

impl ApiError {
    /// An error with this status and message; the phrase follows from the status.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        let phrase = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error");
        Self { status_code: status, error: phrase.to_owned(), message: message.into(), data: None }
    }

    /// 404 for a thing that is missing or hidden.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(404, format!("{what} not found"))
    }

    /// 409: the state of things does not allow this now.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, message)
    }

    /// 500 for a failure of ours.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(500, message.to_string())
    }
}

impl From<FieldError> for ApiError {
    fn from(e: FieldError) -> Self {
        let mut out = Self::new(400, e.to_string());
        out.data = serde_json::to_value([e]).ok().map(Box::new);
        out
    }
}

/// The flat error body of the kit services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KitError {
    /// A short code or phrase, e.g. `Not Found`.
    pub error: String,
    /// One sentence.
    pub message: String,
}

/// Where a page of a list stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pagination {
    /// Items in the whole list.
    pub total: u64,
    /// This page, from 1.
    pub page: u64,
    /// Items per page.
    pub limit: u64,
    /// Pages in all.
    #[serde(rename = "totalPages")]
    pub total_pages: u64,
}

impl Pagination {
    /// The page `page` of `total` items, `limit` at a time.
    pub fn new(total: u64, page: u64, limit: u64) -> Self {
        let limit = limit.max(1);
        Self { total, page, limit, total_pages: total.div_ceil(limit) }
    }
}
