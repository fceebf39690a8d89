//! The real backend against a real HTTP server on a unix socket that answers as the contract says.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::net::UnixListener;

use super::fixtures::{container, id, image, project, status};
use super::scripted::snapshot;
use crate::backend::{Backend, BackendError, FilesOf, PtySize, SessionRef, TermInput, TermOutput};
use crate::backend_http::HttpBackend;
use cowl_api::container::{CreateContainer, Operation};
use cowl_api::server::ImageState;
use cowl_api::{ContainerId, ContainerState, ProjectId};

type Log = Arc<Mutex<Vec<String>>>;

fn envelope(data: impl serde::Serialize) -> Response {
    axum::Json(json!({"statusCode": 200, "message": "ok", "data": data})).into_response()
}

async fn answer(State(log): State<Log>, request: Request) -> Response {
    let host = request.headers().get("host").and_then(|h| h.to_str().ok()).unwrap_or_default().to_owned();
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    log.lock().unwrap().push(format!("{} {host} {} {}", parts.method, parts.uri, String::from_utf8_lossy(&body)));
    let c: ContainerId = id("hello");
    match (parts.method.as_str(), path.as_str()) {
        ("GET", "/api/v1/status") => envelope(status(image(ImageState::Ready))),
        ("GET", "/api/v1/projects/") => envelope(
            json!({"projects": [project()], "pagination": {"total": 1, "page": 1, "limit": 100, "totalPages": 1}}),
        ),
        ("GET", "/api/v1/containers/") => {
            let page = if parts.uri.query().unwrap_or_default().contains("page=2") { 2 } else { 1 };
            let one = container(if page == 1 { "hello" } else { "second" }, ContainerState::Running);
            envelope(
                json!({"containers": [one], "pagination": {"total": 2, "page": page, "limit": 1, "totalPages": 2}}),
            )
        }
        ("GET", "/api/v1/events/stream") => {
            let event = json!({"id": id::<cowl_api::ids::EventId>("e"), "event_type": "container.running", "resource_type": "container", "resource_id": c, "data": {}, "created_at": "2026-11-23T12:00:00Z"});
            ([("content-type", "text/event-stream")], format!(": hi\n\nevent: x\ndata: {event}\n\n")).into_response()
        }
        ("POST", p) if p.ends_with("/snapshots") => envelope(
            json!({"container_id": c, "project_id": id::<ProjectId>("default"), "snapshot": snapshot(Some("a"), "2026-11-23T11:00:00Z", 1)}),
        ),
        ("POST", p) if p.ends_with("/stop") => {
            let e = json!({"statusCode": 409, "error": "Conflict", "message": "it does not run"});
            (axum::http::StatusCode::CONFLICT, axum::Json(e)).into_response()
        }
        ("POST", p) if p.ends_with("/containers") => envelope(container("new", ContainerState::Creating)),
        ("GET", p) if p.contains("/files/") && p.ends_with('/') => {
            let listing = json!({
                "kind": "Index", "href": "/", "paths": [{"name": "etc", "path_type": "Dir", "size": 0, "mtime": 1}],
                "allow_upload": true, "allow_delete": true, "allow_search": false, "allow_archive": false, "dir_exists": true
            });
            if host == "localhost" { envelope(listing) } else { axum::Json(listing).into_response() }
        }
        ("GET", p) if p.contains("/files/") => "0123456789".into_response(),
        _ => axum::http::StatusCode::NOT_FOUND.into_response(),
    }
}

async fn shell(ws: WebSocketUpgrade) -> Response {
    ws.protocols(["tty"]).on_upgrade(|mut socket: WebSocket| async move {
        while let Some(Ok(Message::Binary(frame))) = socket.recv().await {
            let reply = [b"0got ".as_slice(), &frame].concat();
            socket.send(Message::Binary(reply.into())).await.unwrap();
            if frame.ends_with(b"exit\r") {
                let close = axum::extract::ws::CloseFrame { code: 1000, reason: "bye".into() };
                socket.send(Message::Close(Some(close))).await.unwrap();
                return;
            }
        }
    })
}

async fn node(dir: &Path) -> (HttpBackend, Log) {
    let log: Log = Arc::default();
    let listener = UnixListener::bind(dir.join("node.sock")).unwrap();
    let app =
        Router::new().route("/api/v1/terminal/ws", axum::routing::any(shell)).fallback(answer).with_state(log.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (HttpBackend::new(dir), log)
}

#[tokio::test]
async fn calls_go_where_the_contract_says() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, log) = node(dir.path()).await;
    let (p, c): (ProjectId, ContainerId) = (id("default"), id("hello"));
    backend.probe().await.unwrap();
    assert_eq!(backend.status().await.unwrap().server_name, "node-fra-1");
    assert_eq!(backend.projects().await.unwrap().len(), 1);
    assert_eq!(backend.containers().await.unwrap().len(), 2, "all pages are read");
    let body = CreateContainer { name: Some("new".into()), ..CreateContainer::default() };
    assert_eq!(backend.create_container(p, body).await.unwrap().name, "new");
    assert_eq!(backend.create_snapshot(c, Some("a".into())).await.unwrap().snapshot.alias.as_deref(), Some("a"));
    let e = backend.operate(c, Operation::Stop).await.unwrap_err();
    assert_eq!(e, BackendError::Refused { status: 409, message: "it does not run".into() });
    log.lock().unwrap().clear();
    backend.list_files(FilesOf::Running(p, c), "/".into()).await.unwrap();
    backend.list_files(FilesOf::Snapshot(c, "snap 1".into()), "/".into()).await.unwrap();
    let bytes = backend.read_file(FilesOf::Stopped(c), "/etc/a b%".into(), 4).await.unwrap();
    assert_eq!(bytes, b"0123", "no more than asked for, whatever is sent");
    let log = log.lock().unwrap();
    assert_eq!(log[log.len() - 3], format!("GET {p}-{c}-files-1.node-fra-1.containers.cowl.localhost /api/v1/files/ "));
    assert_eq!(log[log.len() - 2], format!("GET localhost /api/v1/containers/{c}/snapshots/snap%201/files/ "));
    assert_eq!(log[log.len() - 1], format!("GET localhost /api/v1/containers/{c}/files/etc/a%20b%25 "));
}

#[tokio::test]
async fn events_arrive_and_the_end_of_the_stream_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, _) = node(dir.path()).await;
    let mut events = backend.events(true).await.unwrap();
    assert_eq!(events.recv().await.unwrap().event_type, "container.running");
    assert!(events.recv().await.is_none());
}

#[tokio::test]
async fn a_session_speaks_tty_frames_and_ends_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, _) = node(dir.path()).await;
    let session = SessionRef { project: id("default"), container: id("hello"), session: 1 };
    let mut link = backend.terminal(session, PtySize { columns: 80, rows: 24 }).await.unwrap();
    let mut got = Vec::new();
    link.input.send(TermInput::Resize(PtySize { columns: 10, rows: 5 })).await.unwrap();
    link.input.send(TermInput::Bytes(b"exit\r".to_vec())).await.unwrap();
    while let Some(output) = link.output.recv().await {
        got.push(output);
    }
    let bytes = |s: &str| TermOutput::Bytes(s.as_bytes().to_vec());
    assert_eq!(
        got[..3],
        [bytes("got {\"columns\":80,\"rows\":24}"), bytes("got 1{\"columns\":10,\"rows\":5}"), bytes("got 0exit\r")]
    );
    assert!(matches!(got[3], TermOutput::Closed { clean: true, .. }), "{got:?}");
}

#[tokio::test]
async fn a_socket_nobody_may_open_is_no_permission() {
    use std::os::unix::fs::PermissionsExt;
    if nix::unistd::geteuid().is_root() {
        // Root may open everything; what is left to check is that a dead socket is no node.
        let dir = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(dir.path().join("node.sock")).unwrap());
        assert!(matches!(HttpBackend::new(dir.path()).probe().await, Err(BackendError::NoNode(_))));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(dir.path().join("node.sock")).unwrap();
    std::fs::set_permissions(dir.path().join("node.sock"), std::fs::Permissions::from_mode(0o000)).unwrap();
    assert!(matches!(HttpBackend::new(dir.path()).probe().await, Err(BackendError::NoPermission(_))));
}
