//! `GET /api/v1/containers/{id}/export` and `POST /api/v1/projects/{id}/containers/import`:
//! containers as archives ([`cowl_engine::archive`]).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use tokio::sync::mpsc;

use super::NodeState;
use super::checks;
use super::extract::{Asked, Params, container_id, project_id};
use super::reply::{Failure, Reply, created};
use crate::exports::{self, Wanted};
use crate::images;
use crate::state::{self, containers::NewContainer};
use cowl_api::container::Container;
use cowl_api::envelope::FieldError;
use cowl_api::settings::{self, Size};
use cowl_api::{ApiError, names};
use cowl_engine::archive::manifest::About;
use cowl_engine::archive::{CHUNK, LEVEL, LEVELS, MEDIA_TYPE};
use cowl_engine::storage::export;

/// How long the other side may neither read nor write.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long, after a refusal, what still comes is read, so that the refusal is heard.
const DRAIN: Duration = Duration::from_secs(60);

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/containers/{id}/export", get(export))
        .route("/api/v1/projects/{id}/containers/import", post(import))
}

async fn export(State(node): State<NodeState>, Params(id): Params<String>, asked: Asked) -> Result<Response, Failure> {
    let id = container_id(&id)?;
    let level = asked.parse::<i32>("level", "a whole number")?.unwrap_or(LEVEL);
    if !LEVELS.contains(&level) {
        return Err(FieldError::new("/level", format!("must be {} to {}", LEVELS.start(), LEVELS.end())).into());
    }
    let (snapshot, since) = (asked.get("snapshot").map(str::to_owned), asked.get("since").map(str::to_owned));
    let which = asked.get("snapshots").unwrap_or("none").to_owned();
    let with_image = asked.get("with_image").is_none() || asked.flag("with_image")?;
    let (row, what) = node
        .db(move |store| {
            let row = store.container(&id)?;
            let name = |given: Option<String>| given.map(|g| store.snapshot(&id, &g)).transpose();
            let snapshots = match which.as_str() {
                "none" | "" => Vec::new(),
                "all" => {
                    let mut all = store.snapshots(&id)?;
                    all.sort_by(|a, b| (&a.created_at, &a.name).cmp(&(&b.created_at, &b.name)));
                    all.into_iter().map(|s| s.name).collect()
                }
                some => {
                    some.split(',').map(|s| store.snapshot(&id, s).map(|s| s.name)).collect::<state::Result<_>>()?
                }
            };
            let (snapshot, since) = (name(snapshot)?.map(|s| s.name), name(since)?.map(|s| s.name));
            Ok((row, export::Asked { snapshot, since, snapshots, with_image, level }))
        })
        .await?;
    let about = exports::about(&row);
    let ready = node.engine(move |m| m.export(&id, &what, about)).await?;
    let (tx, rx) = mpsc::channel(4);
    let runtime = tokio::runtime::Handle::current();
    let whole = Arc::new(AtomicBool::new(false));
    let written = Arc::clone(&whole);
    node.tasks.spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(CHUNK / 4, Out { tx, runtime });
        match ready.write(&mut out) {
            Ok(()) => written.store(true, Ordering::SeqCst),
            Err(error) => tracing::warn!(container = %id, %error, "an export was not finished"),
        }
        // What is still held after a failure is of no use.
        drop(out.into_parts());
    });
    // Whatever ends the writing early breaks the connection, so that whoever reads knows.
    let stream = futures_util::stream::unfold(Some((rx, whole)), |state| async {
        let (mut rx, whole) = state?;
        match rx.recv().await {
            Some(piece) => Some((piece, Some((rx, whole)))),
            None if whole.load(Ordering::SeqCst) => None,
            None => Some((Err(io::Error::other("the export was not finished")), None)),
        }
    });
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{}.cowl\"", row.name)) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// What is written goes to the client, who has to take it.
struct Out {
    tx: mpsc::Sender<io::Result<Bytes>>,
    runtime: tokio::runtime::Handle,
}

impl io::Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Ok(Bytes::copy_from_slice(bytes));
        // The timer has to be made inside of the runtime, which the packers' threads are not.
        match self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.tx.send(piece)).await }) {
            Ok(Ok(())) => Ok(bytes.len()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the client sends.
struct In {
    rx: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl io::Read for In {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.rx.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let n = room.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut room[..n]);
        Ok(n)
    }
}

async fn import(
    State(node): State<NodeState>,
    Params(project): Params<String>,
    asked: Asked,
    body: Body,
) -> Reply<Container> {
    let project = project_id(&project)?;
    if let Some(name) = asked.get("name") {
        names::container_name(name)?;
    }
    let wanted = Wanted {
        name: asked.get("name").map(str::to_owned),
        limit: asked.parse::<Size>("limit", "a size like 512M or 20G")?.map(|size| size.0),
        keep_identity: asked.flag("keep_identity")?,
        start: asked.get("start").is_none() || asked.flag("start")?,
    };
    let mut body = body.into_data_stream();
    let (tx, rx) = mpsc::channel(4);
    let importing = node.import(project, wanted, In { rx, piece: Bytes::new() });
    tokio::pin!(importing);
    let outcome = {
        let feeding = async {
            loop {
                let piece = match tokio::time::timeout(PATIENCE, body.next()).await {
                    Ok(Some(piece)) => piece.map_err(io::Error::other),
                    Ok(None) => break,
                    Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client sends nothing")),
                };
                let failed = piece.is_err();
                if tx.send(piece).await.is_err() || failed {
                    break;
                }
            }
            drop(tx);
            std::future::pending::<()>().await
        };
        tokio::select! {
            outcome = &mut importing => outcome,
            () = feeding => Err(ApiError::internal("unreachable")),
        }
    };
    match outcome {
        Ok(row) => created("Container imported", node.present(row)),
        Err(error) => {
            let rest = async { while let Some(Ok(_)) = body.next().await {} };
            let _ = tokio::time::timeout(DRAIN, rest).await;
            Err(error.into())
        }
    }
}

/// Checks what an archive says of its container as if somebody had asked for one like it.
///
/// # Errors
/// 422 naming what is wrong; 400 for a name.
pub fn import_checks(about: &About, name: Option<&str>) -> Result<NewContainer, ApiError> {
    let name = name.unwrap_or(&about.name).to_owned();
    names::container_name(&name)?;
    let odd = |e: FieldError| {
        ApiError::new(422, format!("the archive's container is not taken: {}", ApiError::from(e).message))
    };
    let tier = images::tier(&images::display_name(&about.tier)).ok_or_else(|| {
        ApiError::new(422, "the archive's container is of a kind of image that this version does not know")
    })?;
    checks::environment(&about.env).map_err(odd)?;
    names::at_most("/comment", about.comment.as_deref(), names::COMMENT_MAX).map_err(odd)?;
    let settings = match &about.settings {
        serde_json::Value::Null => settings::Settings::default(),
        given => settings::given(Some(given)).map_err(odd)?,
    };
    Ok(NewContainer {
        name,
        color: names::color(&about.color).unwrap_or_else(|_| super::projects::random_color()),
        tier: tier.to_owned(),
        hoody_kit: about.hoody_kit,
        dev_kit: about.dev_kit,
        ai: about.ai,
        autostart: about.autostart,
        ramdisk: about.ramdisk,
        env: about.env.clone(),
        settings,
        ssh_public_key: None,
        comment: about.comment.clone(),
        warnings: Vec::new(),
    })
}
