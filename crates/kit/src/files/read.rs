//! Sending a file: whole, a range, its hash, its base64, some of its lines.

use std::io::{Read, Seek, SeekFrom};

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::lines::Lines;
use super::path::CleanPath;
use super::range::Wanted;
use super::regular::Regular;
use crate::error::{KitError, KitResult};

/// Read at a time, bytes.
const CHUNK: usize = 64 * 1024;
/// Largest file that is turned into base64, bytes.
const BASE64_LIMIT: u64 = 64 * 1024 * 1024;

/// The answer to a plain GET; `body` is false for HEAD.
///
/// # Errors
/// As [`Regular::open`]; 416 for a range beyond the end.
pub fn send(opened: Regular, path: &CleanPath, headers: &HeaderMap, body: bool) -> KitResult<Response> {
    if opened.pseudo {
        let content = opened.read_pseudo(&path.display())?;
        return Ok(([(CONTENT_TYPE, content_type(path))], content).into_response());
    }
    let size = u64::try_from(opened.stat.st_size).unwrap_or(0);
    let tag = etag(&opened);
    let mut response = Response::new(Body::empty());
    let about = response.headers_mut();
    about.insert(CONTENT_TYPE, content_type(path));
    about.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    about.insert(ETAG, tag.clone());
    let modified = last_modified(&opened);
    if let Some(modified) = &modified {
        about.insert(LAST_MODIFIED, modified.clone());
    }
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known == tag || known == "*") {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let same = headers.get(IF_RANGE).is_none_or(|known| *known == tag || Some(known) == modified.as_ref());
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok()).filter(|_| same);
    let (first, length) = match range.map_or(Wanted::Whole, |range| Wanted::parse(range, size)) {
        Wanted::Whole => (0, size),
        Wanted::Part { first, last } => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response.headers_mut().insert(CONTENT_RANGE, text(format!("bytes {first}-{last}/{size}")));
            (first, last - first + 1)
        }
        Wanted::Nothing => {
            let error = KitError::new(StatusCode::RANGE_NOT_SATISFIABLE, format!("the file has {size} bytes"));
            let mut response = error.into_response();
            response.headers_mut().insert(CONTENT_RANGE, text(format!("bytes */{size}")));
            return Ok(response);
        }
    };
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    if body {
        let mut file = opened.file;
        file.seek(SeekFrom::Start(first)).map_err(|error| KitError::from_io(&path.display(), &error))?;
        let reader = tokio::fs::File::from_std(file).take(length);
        *response.body_mut() = Body::from_stream(ReaderStream::with_capacity(reader, CHUNK));
    }
    Ok(response)
}

/// The lowercase hex SHA-256 of a file.
///
/// # Errors
/// As [`Regular::open`], and what reading says.
pub fn sha256(path: &CleanPath) -> KitResult<String> {
    let mut file = Regular::open(path)?.file;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer).map_err(|error| KitError::from_io(&path.display(), &error))? {
            0 => break,
            length => hash.update(&buffer[..length]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A file in base64.
///
/// # Errors
/// As [`Regular::open`]; 413 above 64 MiB.
pub fn base64(path: &CleanPath) -> KitResult<String> {
    let opened = Regular::open(path)?;
    let mut content = Vec::new();
    let read = opened.file.take(BASE64_LIMIT + 1).read_to_end(&mut content);
    read.map_err(|error| KitError::from_io(&path.display(), &error))?;
    if content.len() as u64 > BASE64_LIMIT {
        return Err(KitError::new(StatusCode::PAYLOAD_TOO_LARGE, "base64: only up to 64 MiB"));
    }
    Ok(base64::engine::general_purpose::STANDARD.encode(content))
}

/// Some lines of a file.
///
/// # Errors
/// As [`Lines::parse`] and [`Lines::cut`].
pub fn lines(path: &CleanPath, wanted: &str) -> KitResult<Response> {
    let slice = Lines::parse(wanted)?.cut(Regular::open(path)?.file)?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (HeaderName::from_static("x-line-range"), text(format!("{}-{}", slice.first, slice.last))),
        (HeaderName::from_static("x-total-lines"), text(slice.total.to_string())),
    ];
    Ok((headers, slice.text).into_response())
}

/// By the name's extension; text is UTF-8.
fn content_type(path: &CleanPath) -> HeaderValue {
    let guess = mime_guess::from_path(path.as_path()).first_or_octet_stream();
    let is_text = guess.type_() == "text" || matches!(guess.subtype().as_str(), "json" | "javascript" | "xml");
    text(if is_text { format!("{guess}; charset=utf-8") } else { guess.to_string() })
}

/// Digits, letters and punctuation only: always a valid header.
fn text(value: String) -> HeaderValue {
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static(""))
}

fn etag(opened: &Regular) -> HeaderValue {
    let stat = &opened.stat;
    text(format!("\"{:x}-{:x}-{:x}-{:x}\"", stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec))
}

fn last_modified(opened: &Regular) -> Option<HeaderValue> {
    let time = jiff::Timestamp::from_second(opened.stat.st_mtime).ok()?;
    Some(text(time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()))
}
