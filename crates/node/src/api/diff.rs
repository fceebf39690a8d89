//! `…/snapshots/{name}/diff`: what differs between a snapshot and `to`, another one or `now`.
//!
//! `…/diff` lists the entries (`?stream` or `Accept: application/x-ndjson`: line by line as they are
//! found, the sums last), `…/diff/summary` adds them up, `…/diff/file` compares one file as text,
//! `…/diff/packages` what dpkg has installed. `?path=` (or `?path_base64=` for one that is not
//! UTF-8) narrows to what is at or below a path.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use tokio::sync::mpsc;

use super::NodeState;
use super::extract::{Asked, Params, container_id};
use super::reply::{Failure, Reply, ok};
use crate::machine::Tree;
use cowl_api::diff::{
    Change, DEFAULT_LIMIT, Diff, DiffLine, DiffSummary, FileDiff, LIMIT_MAX, PackageDiff, TEXT_MAX, encode,
};
use cowl_api::envelope::FieldError;
use cowl_api::{ApiError, ContainerId};
use cowl_engine::storage::diff::packages;
use cowl_engine::storage::diff::text::{self, Found};

/// Longest path, in bytes; that of Linux.
const PATH_MAX: usize = 4_096;
/// Bytes of lines that are sent at once.
const PIECE: usize = 32 << 10;
/// Pieces that may wait for a slow reader; then the diff waits for it.
const WAITING: usize = 8;
/// What the present is called.
const NOW: &str = "now";
const NDJSON: &str = "application/x-ndjson";

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    const BASE: &str = "/api/v1/containers/{id}/snapshots/{name}/diff";
    Router::new()
        .route(BASE, get(list))
        .route(&format!("{BASE}/summary"), get(summary))
        .route(&format!("{BASE}/file"), get(file))
        .route(&format!("{BASE}/packages"), get(all_packages))
}

/// Two moments of a container.
struct Moments {
    from: Tree,
    to: Tree,
    /// Their names.
    names: (String, String),
}

async fn moments(node: &NodeState, id: &str, name: String, asked: &Asked) -> Result<Moments, Failure> {
    let id: ContainerId = container_id(id)?;
    let to = asked.get("to").filter(|to| *to != NOW).map(str::to_owned);
    let (from, to) = node
        .db(move |store| {
            store.container(&id)?;
            let to = to.map(|to| store.snapshot(&id, &to)).transpose()?;
            Ok((store.snapshot(&id, &name)?.name, to.map(|to| to.name)))
        })
        .await?;
    let names = (from.clone(), to.clone().unwrap_or_else(|| NOW.into()));
    let to = to.map_or(Tree::Disk(id), |to| Tree::Snapshot(id, to));
    Ok(Moments { from: Tree::Snapshot(id, from), to, names })
}

/// The path that was asked for, as bytes; `None` for none.
fn path(asked: &Asked) -> Result<Option<Vec<u8>>, ApiError> {
    let (field, bytes) = match (asked.get("path"), asked.get("path_base64")) {
        (Some(_), Some(_)) => return Err(FieldError::new("/path_base64", "must not come beside path").into()),
        (Some(path), None) => ("/path", path.as_bytes().to_vec()),
        (None, Some(text)) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text);
            ("/path_base64", bytes.map_err(|_| FieldError::new("/path_base64", "must be base64"))?)
        }
        (None, None) => return Ok(None),
    };
    if bytes.first() != Some(&b'/') || bytes.len() > PATH_MAX || bytes.contains(&0) {
        return Err(FieldError::new(field, "must be an absolute path of at most 4096 bytes without NUL").into());
    }
    if bytes.split(|b| *b == b'/').any(|part| part == b".." || part == b".") {
        return Err(FieldError::new(field, "must not hold '.' or '..'").into());
    }
    let parts: Vec<&[u8]> = bytes.split(|b| *b == b'/').filter(|part| !part.is_empty()).collect();
    Ok(Some([b"/", parts.join(&b'/').as_slice()].concat()))
}

async fn list(
    State(node): State<NodeState>,
    Params((id, name)): Params<(String, String)>,
    headers: HeaderMap,
    asked: Asked,
) -> Result<Response, Failure> {
    let below = path(&asked)?.unwrap_or_else(|| b"/".to_vec());
    let limit = asked.number("limit", DEFAULT_LIMIT, 0, LIMIT_MAX)?;
    let accepts = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains(NDJSON));
    let moments = moments(&node, &id, name, &asked).await?;
    if asked.flag("stream")? || accepts {
        return stream(&node, moments, below).await;
    }
    let Moments { from: a, to: b, names: (from, to) } = moments;
    let diff = node
        .engine(move |m| {
            let mut changes = Vec::new();
            let mut truncated = false;
            let summary = m.diff(&a, &b, &below, &mut |change| {
                if (changes.len() as u64) < limit {
                    changes.push(change);
                } else {
                    truncated = true;
                }
                true
            })?;
            Ok(Diff { from, to, summary, changes, truncated })
        })
        .await?;
    Ok(ok("Differences", diff)?.into_response())
}

/// What passes from the diff to its reader.
type Piece = Result<Bytes, cowl_engine::Error>;

async fn stream(node: &NodeState, moments: Moments, below: Vec<u8>) -> Result<Response, Failure> {
    let (tx, mut rx) = mpsc::channel::<Piece>(WAITING);
    let finding = std::sync::Arc::clone(node);
    node.tasks.spawn(async move {
        let telling = finding.engine(move |m| {
            tell(m, moments, &below, &tx);
            Ok(())
        });
        let told = telling.await;
        told.unwrap_or_else(|error| tracing::debug!(%error, "a stream of differences ended"));
    });
    // What fails at once is a status; what fails later is the last line.
    let first = match rx.recv().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(error.into()),
        None => return Err(ApiError::internal("the diff said nothing").into()),
    };
    let pieces = futures_util::stream::unfold((Some(first), rx), |(first, mut rx)| async move {
        let piece = match first {
            Some(first) => first,
            None => match rx.recv().await? {
                Ok(piece) => piece,
                Err(error) => line(&DiffLine::Failed { error: error.to_string() }).into(),
            },
        };
        Some((Ok::<_, Infallible>(piece), (None, rx)))
    });
    let mut response = Body::from_stream(pieces).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    Ok(response)
}

fn line(line: &DiffLine) -> Vec<u8> {
    // Strings, numbers and words always make a line.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

fn tell(m: &dyn crate::machine::Machine, moments: Moments, below: &[u8], tx: &mpsc::Sender<Piece>) {
    let mut waiting = Vec::with_capacity(PIECE);
    let Moments { from: a, to: b, names: (from, to) } = moments;
    let told = m.diff(&a, &b, below, &mut |change: Change| {
        waiting.extend(line(&DiffLine::Change(Box::new(change))));
        // A reader that went away ends the diff.
        waiting.len() < PIECE || tx.blocking_send(Ok(std::mem::take(&mut waiting).into())).is_ok()
    });
    let last = told.map(|summary| {
        waiting.extend(line(&DiffLine::End(DiffSummary { from, to, summary })));
        Bytes::from(waiting)
    });
    let _ = tx.blocking_send(last);
}

async fn summary(
    State(node): State<NodeState>,
    Params((id, name)): Params<(String, String)>,
    asked: Asked,
) -> Reply<DiffSummary> {
    let below = path(&asked)?.unwrap_or_else(|| b"/".to_vec());
    let Moments { from: a, to: b, names: (from, to) } = moments(&node, &id, name, &asked).await?;
    let summary = node.engine(move |m| m.diff(&a, &b, &below, &mut |_| true)).await?;
    ok("Differences in sum", DiffSummary { from, to, summary })
}

async fn file(
    State(node): State<NodeState>,
    Params((id, name)): Params<(String, String)>,
    asked: Asked,
) -> Reply<FileDiff> {
    let path = path(&asked)?.ok_or_else(|| FieldError::new("/path", "is required: the file's absolute path"))?;
    let Moments { from: a, to: b, .. } = moments(&node, &id, name, &asked).await?;
    let shown = encode(&path).0;
    let told = node
        .engine(move |m| {
            let [before, after] = m.peek(&a, &b, &path, TEXT_MAX, false)?;
            let large = [&before, &after].iter().any(|side| matches!(side, Found::Large(_)));
            Ok((!large).then(|| text::compare(&shown, &before, &after)))
        })
        .await?;
    match told {
        None => Err(ApiError::new(
            422,
            "path: the file is larger than 1 MiB; fetch it with …/snapshots/{name}/files/{path} and compare it yourself",
        )
        .into()),
        Some(FileDiff { before: None, after: None, path, .. }) => Err(ApiError::not_found(&path).into()),
        Some(diff) => ok("Difference of a file", diff),
    }
}

async fn all_packages(
    State(node): State<NodeState>,
    Params((id, name)): Params<(String, String)>,
    asked: Asked,
) -> Reply<PackageDiff> {
    let Moments { from: a, to: b, names: (from, to) } = moments(&node, &id, name, &asked).await?;
    let packages = node
        .engine(move |m| {
            let [before, after] = m.peek(&a, &b, packages::STATUS, packages::STATUS_MAX, true)?;
            let read = |found: Found| match found {
                Found::File(bytes) => Some(packages::parse(&bytes)),
                Found::Absent => Some(packages::Packages::new()),
                _ => None,
            };
            Ok(read(before).zip(read(after)).map(|(before, after)| packages::compare(&before, &after)))
        })
        .await?;
    let unreadable = || ApiError::new(422, "/var/lib/dpkg/status is no file of at most 64 MiB in one of the moments");
    ok("Packages that differ", PackageDiff { from, to, packages: packages.ok_or_else(unreadable)? })
}
