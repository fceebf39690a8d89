//! Bodies of JSON endpoints: read whole, bounded, refused in the kit's own words.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::error::{KitError, KitResult};

/// Largest body, bytes.
const LIMIT: usize = 1024 * 1024;

/// A body of at most 1 MiB.
#[derive(Debug, Clone)]
pub struct SmallBody(pub Bytes);

impl SmallBody {
    /// Reads JSON, whatever the content type says.
    ///
    /// # Errors
    /// 400 with what serde says.
    pub fn json<T: DeserializeOwned>(&self) -> KitResult<T> {
        serde_json::from_slice(&self.0).map_err(|error| KitError::bad_request(error.to_string()))
    }

    /// As [`Self::json`], but no body at all is the default.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn json_or_default<T: DeserializeOwned + Default>(&self) -> KitResult<T> {
        if self.0.iter().all(u8::is_ascii_whitespace) {
            return Ok(T::default());
        }
        self.json()
    }
}

impl<S: Send + Sync> FromRequest<S> for SmallBody {
    type Rejection = KitError;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let length = request.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
        let too_large = || KitError::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB");
        if length.is_some_and(|length: usize| length > LIMIT) {
            return Err(too_large());
        }
        // Broken off or too large; only who still listens will read which.
        axum::body::to_bytes(request.into_body(), LIMIT).await.map(Self).map_err(|_| too_large())
    }
}
