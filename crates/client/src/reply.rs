//! Reading replies: bounded, with a deadline, errors told apart from results.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::error::{Error, Result};
use cowl_api::{ApiError, Envelope};

/// Longest JSON reply that is read, in bytes. A container may send anything.
const REPLY_MAX: usize = 64 << 20;
/// Longest error body that is read, in bytes.
const ERROR_MAX: usize = 64 << 10;
/// Deadline between two pieces of a body.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// The next piece of a body; `None` at its end.
pub(super) async fn piece(body: &mut Incoming, idle: Duration) -> Result<Option<Bytes>> {
    loop {
        let late = |_| Error::Timeout { what: "the reply's next piece".into(), after: idle };
        match tokio::time::timeout(idle, body.frame()).await.map_err(late)? {
            None => return Ok(None),
            Some(frame) => {
                if let Ok(data) = frame?.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn collect(mut body: Incoming, max: usize) -> Result<Bytes> {
    let mut all = BytesMut::new();
    while let Some(piece) = piece(&mut body, IDLE).await? {
        if all.len() + piece.len() > max {
            return Err(Error::Broken(format!("the reply is longer than {max} bytes")));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// The `data` of an envelope, or the API's error.
pub(super) async fn envelope<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T> {
    let response = api_ok(response).await?;
    let bytes = collect(response.into_body(), REPLY_MAX).await?;
    let envelope: Envelope<T> = serde_json::from_slice(&bytes)
        .map_err(|e| Error::Broken(format!("the node's reply is not what this program expects: {e}")))?;
    Ok(envelope.data)
}

/// The reply itself when its status is 2xx, else the API's error.
pub(super) async fn api_ok(response: Response<Incoming>) -> Result<Response<Incoming>> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let bytes = collect(response.into_body(), ERROR_MAX).await?;
    let error = serde_json::from_slice::<ApiError>(&bytes)
        .unwrap_or_else(|_| ApiError::new(status.as_u16(), text(status, &bytes)));
    Err(error.into())
}

/// The JSON of a kit service's reply, or its error.
pub(super) async fn flat<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T> {
    let response = kit_ok(response).await?;
    let bytes = collect(response.into_body(), REPLY_MAX).await?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::Broken(format!("the container's reply is not what this program expects: {e}")))
}

/// The reply itself when its status is 2xx, else the kit's error.
pub(super) async fn kit_ok(response: Response<Incoming>) -> Result<Response<Incoming>> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let bytes = collect(response.into_body(), ERROR_MAX).await?;
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let word = |key: &str| json.get(key).and_then(|v| v.as_str()).map(str::to_owned);
    let message = word("message").or_else(|| word("error")).unwrap_or_else(|| text(status, &bytes));
    let phrase = status.canonical_reason().unwrap_or("Error").to_owned();
    Err(Error::Kit { status: status.as_u16(), error: word("error").unwrap_or(phrase), message })
}

/// First line of a reply that is no JSON, after its status.
fn text(status: http::StatusCode, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let first: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
    if first.trim().is_empty() || first.starts_with('<') { format!("answered {status}") } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_is_no_json_is_told_by_its_first_line() {
        let status = http::StatusCode::BAD_GATEWAY;
        assert_eq!(text(status, b"upstream is gone\nmore"), "upstream is gone");
        assert_eq!(text(status, b"<html>"), "answered 502 Bad Gateway");
        assert_eq!(text(status, b""), "answered 502 Bad Gateway");
    }
}
