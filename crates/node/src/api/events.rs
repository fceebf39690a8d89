//! `/api/v1/events`: what happened, and what happens.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::routing::get;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::NodeState;
use super::extract::{Asked, Params};
use super::reply::{Failure, Reply, ok};
use crate::bus::StatsListener;
use crate::state::events::{Filter, NewEvent};
use cowl_api::event::{Event, EventList};
use cowl_api::{ApiError, ContainerId, ProjectId};

/// Between two comments that show a quiet stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The routes of this noun.
pub fn router() -> Router<NodeState> {
    Router::new()
        .route("/api/v1/events", get(list))
        .route("/api/v1/events/stream", get(follow))
        .route("/api/v1/events/{id}", get(one))
}

async fn list(State(node): State<NodeState>, asked: Asked) -> Reply<EventList> {
    let limit = asked.number("limit", 50, 1, 500)?;
    let offset = asked.number("offset", 0, 0, u64::from(u32::MAX))?;
    let columns = ["event_type", "resource_type", "resource_id", "project_id", "container_id"];
    let filter = Filter {
        equal: columns.into_iter().filter_map(|c| asked.get(c).map(|v| (c, v.to_owned()))).collect(),
        start: moment(&asked, "start_date")?,
        end: moment(&asked, "end_date")?,
        ascending: !asked.descending(true)?,
    };
    let (events, total) = node.db(move |store| store.events(&filter, limit, offset)).await?;
    let has_more = offset + (events.len() as u64) < total;
    ok("Events", EventList { events, total, limit, offset, has_more })
}

fn moment(asked: &Asked, key: &str) -> Result<Option<String>, ApiError> {
    let at = asked.parse::<jiff::Timestamp>(key, "an ISO 8601 time, e.g. 2026-05-04T13:15:00Z")?;
    Ok(at.map(crate::clock::iso))
}

async fn one(State(node): State<NodeState>, Params(id): Params<String>) -> Reply<Event> {
    let id = id.parse().map_err(|_| ApiError::not_found("event"))?;
    ok("Event", node.db(move |store| store.event(&id)).await?)
}

/// Which events a stream carries.
#[derive(Debug, Clone, Copy, Default)]
struct Only {
    project: Option<ProjectId>,
    container: Option<ContainerId>,
}

impl Only {
    fn wants(&self, event: &Event) -> bool {
        self.project.is_none_or(|p| event.project_id == Some(p))
            && self.container.is_none_or(|c| event.container_id == Some(c))
    }
}

/// A stream's two sources.
struct Sources {
    node: NodeState,
    events: Receiver<Event>,
    stats: Option<StatsListener>,
    only: Only,
}

impl Sources {
    /// The next event that is wanted; `None` when the node ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let event = tokio::select! {
                () = self.node.shutdown.cancelled() => return None,
                event = self.events.recv() => match event {
                    Ok(event) => event,
                    Err(RecvError::Closed) => return None,
                    Err(RecvError::Lagged(missed)) => {
                        // So the listener knows that it must look again.
                        let data = serde_json::json!({ "missed": missed });
                        let server = self.node.place.server_id.to_string();
                        return Some(NewEvent::server("stream.lagged", server, data).stamp());
                    }
                },
                Some(event) = figures(&mut self.stats) => event,
            };
            if self.only.wants(&event) {
                return Some(event);
            }
        }
    }
}

async fn figures(stats: &mut Option<StatsListener>) -> Option<Event> {
    match stats {
        Some(stats) => stats.next().await,
        None => std::future::pending().await,
    }
}

fn sse(event: &Event) -> Sse {
    Sse::default().id(event.id.as_str()).data(serde_json::to_string(event).unwrap_or_default())
}

async fn follow(
    State(node): State<NodeState>,
    asked: Asked,
) -> Result<axum::response::Sse<impl Stream<Item = Result<Sse, Infallible>>>, Failure> {
    let only = Only {
        project: asked.parse("project_id", "a project's id")?,
        container: asked.parse("container_id", "a container's id")?,
    };
    let stats = asked.flag("stats")?.then(|| node.bus.listen_stats());
    let sources = Sources { events: node.bus.listen(), node, stats, only };
    let events = stream::unfold(sources, |mut sources| async move {
        let event = sources.next().await?;
        Some((Ok(sse(&event)), sources))
    });
    // The first comment tells the client that nothing from now on is missed.
    let hello = stream::once(async { Ok(Sse::default().comment("listening")) });
    Ok(axum::response::Sse::new(hello.chain(events)).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("quiet")))
}
