//! Looking into a container that does not run, and into snapshots; read-only. Files of a running
//! container are its kit's to serve.
//!
//! `GET …/files/{path}` or `…/files?path=` under a container or one of its snapshots: a directory
//! gives its listing, a file its bytes, either with `?stat` its facts.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use tokio_util::io::ReaderStream;

use super::NodeState;
use super::extract::{Asked, Params, container_id};
use super::reply::{Failure, ok};
use crate::machine::Tree;
use cowl_api::ApiError;
use cowl_api::container::ContainerState;
use cowl_api::files::PathType;

/// Longest path, in bytes; that of Linux.
const PATH_MAX: usize = 4_096;

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    let mut router = Router::new();
    for base in ["/api/v1/containers/{id}", "/api/v1/containers/{id}/snapshots/{name}"] {
        router = router.route(&format!("{base}/files"), get(look)).route(&format!("{base}/files/{{*path}}"), get(look));
    }
    router
}

#[derive(Debug, serde::Deserialize)]
struct Where {
    id: String,
    name: Option<String>,
    path: Option<String>,
}

/// The absolute path that was asked for.
fn absolute(from_path: Option<&str>, from_query: Option<&str>) -> Result<String, ApiError> {
    let asked = from_path.or(from_query).unwrap_or("/");
    let path = format!("/{}", asked.trim_start_matches('/'));
    if path.len() > PATH_MAX || path.contains('\0') {
        return Err(ApiError::new(400, "path must be at most 4096 bytes without NUL"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(ApiError::new(400, "path must not hold '..'"));
    }
    Ok(if path.len() > 1 { path.trim_end_matches('/').to_owned() } else { path })
}

async fn look(State(node): State<NodeState>, Params(at): Params<Where>, asked: Asked) -> Result<Response, Failure> {
    let id = container_id(&at.id)?;
    let path = absolute(at.path.as_deref(), asked.get("path"))?;
    let (row, snapshot) = node
        .db(move |store| {
            let row = store.container(&id)?;
            let snapshot = at.name.map(|name| store.snapshot(&id, &name)).transpose()?;
            Ok((row, snapshot))
        })
        .await?;
    let tree = match snapshot {
        Some(snapshot) => Tree::Snapshot(id, snapshot.name),
        None => match row.state {
            ContainerState::Stopped | ContainerState::Asleep | ContainerState::Failed => Tree::Disk(id),
            state => {
                let message = format!("container {} is {state}: its files service serves its files", row.name);
                return Err(ApiError::conflict(message).into());
            }
        },
    };
    let wants_stat = asked.flag("stat")?;
    let (t, p) = (tree.clone(), path.clone());
    let stat = node.engine(move |m| m.stat(&t, &p)).await.map_err(|e| missing(e, &path))?;
    if wants_stat {
        return Ok(ok("Facts", stat).into_response());
    }
    if matches!(stat.path_type, PathType::Dir | PathType::SymlinkDir) {
        let listed = path.clone();
        let listing = node.engine(move |m| m.list(&tree, &listed)).await.map_err(|e| missing(e, &path))?;
        return Ok(ok("Directory", listing).into_response());
    }
    let opened = path.clone();
    let file = node.engine(move |m| m.open_file(&tree, &opened)).await.map_err(|e| missing(e, &path))?;
    let length = file.metadata().map_err(ApiError::internal)?.len();
    let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 64 * 1024);
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    // Whatever a container wrote must not run in a browser under the API's name.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

fn missing(e: cowl_engine::Error, path: &str) -> Failure {
    match e {
        cowl_engine::Error::NotFound(_) => ApiError::not_found(path).into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_never_climbs() {
        assert_eq!(absolute(None, None).as_deref(), Ok("/"));
        assert_eq!(absolute(Some("etc/hostname"), None).as_deref(), Ok("/etc/hostname"));
        assert_eq!(absolute(Some("//etc/"), Some("/x")).as_deref(), Ok("/etc"));
        assert_eq!(absolute(None, Some("/var/..lib")).as_deref(), Ok("/var/..lib"));
        for bad in ["../x", "a/../b", "..", "a\0b"] {
            assert_eq!(absolute(Some(bad), None).unwrap_err().status_code, 400, "{bad:?}");
        }
        assert!(absolute(Some(&"x".repeat(5_000)), None).is_err());
    }
}
