//! Events: what happened on the box, stored and streamed.

use serde::{Deserialize, Serialize};

use super::ids::{ContainerId, EventId, ProjectId};

/// One event, as stored, listed and streamed (SSE `data:` lines of `GET /api/v1/events/stream`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// A name of the public list, e.g. `container.running`, `container.snapshot.created`; ours:
    /// `container.stats`, `image.progress`, `image.ready`, `image.failed` (streamed, not stored).
    pub event_type: String,
    /// `container`, `project`, `server`.
    pub resource_type: String,
    /// Id of that resource.
    pub resource_id: String,
    /// Its project, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<ProjectId>,
    /// Its container, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<ContainerId>,
    /// Details.
    pub data: serde_json::Value,
    /// ISO 8601, UTC.
    pub created_at: String,
}

/// `data` of `GET /api/v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventList {
    /// This window.
    pub events: Vec<Event>,
    /// Events that match.
    pub total: u64,
    /// Asked for.
    pub limit: u64,
    /// Asked for.
    pub offset: u64,
    /// Whether more follow.
    pub has_more: bool,
}
