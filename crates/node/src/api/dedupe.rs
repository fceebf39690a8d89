//! `/api/v1/servers/{id}/dedupe`: equal files of containers, made to share their blocks.
//!
//! `POST` begins a run and answers with one JSON object a line, twice a second, until its state is
//! no longer `running`. One run at a time. Whoever stops reading stops the run; what was shared by
//! then stays so. `GET` tells of the run of now and of the last one.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::NodeState;
use super::extract::{Body, Params};
use super::reply::{Failure, Reply, ok};
use super::servers::known;
use crate::dedupe::Following;
use cowl_api::dedupe::{DedupeRequest, DedupeStatus, RunState};

/// Between two lines at most, also while nothing moves.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new().route("/api/v1/servers/{id}/dedupe", get(status).post(begin))
}

async fn status(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<DedupeStatus> {
    known(&node, &id)?;
    ok("Dedupe", node.dedupe_status().await?)
}

async fn begin(
    State(node): State<NodeState>,
    Params(id): Params<String>,
    body: Body<DedupeRequest>,
) -> Result<Response, Failure> {
    known(&node, &id)?;
    let following = node.begin_dedupe(body.value).await?;
    let lines = stream::unfold(Some(following), |following| async move {
        let mut following: Following = following?;
        let run = following.next(HEARTBEAT).await;
        let mut line = serde_json::to_vec(&run).unwrap_or_default();
        line.push(b'\n');
        let rest = (run.state == RunState::Running).then_some(following);
        Some((Ok::<_, Infallible>(Bytes::from(line)), rest))
    });
    let mut response = HttpBody::from_stream(lines).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}
