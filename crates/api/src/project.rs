//! Projects: named groups of containers.

use serde::{Deserialize, Serialize};

use super::container::Warning;
use super::envelope::Pagination;
use super::ids::ProjectId;
use super::settings::Settings;

/// A project as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// The project's id.
    pub id: ProjectId,
    /// Owner; the single local user of a self-hosted box.
    pub user_id: String,
    /// Its name, unique on the box.
    pub alias: String,
    /// `#RRGGBB` or `#RGB`.
    pub color: String,
    /// How many containers it may hold; `None` is no limit.
    pub max_containers: Option<u32>,
    /// Whether this is the project `cowl up` made.
    #[serde(default)]
    pub is_default: bool,
    /// Realms; always empty on one's own box.
    #[serde(default)]
    pub realm_ids: Vec<String>,
    /// Settings that its containers fall back on.
    #[serde(default)]
    pub settings: Settings,
    /// Remarks of a change, e.g. on limits that do not hold in one of its containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// ISO 8601, UTC.
    pub created_at: String,
    /// ISO 8601, UTC.
    pub updated_at: String,
}

/// Body of `POST /api/v1/projects/`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CreateProject {
    /// Its name, unique on the box.
    pub alias: String,
    /// Random when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// No limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_containers: Option<u32>,
    /// Settings that its containers fall back on; see [`super::settings`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<serde_json::Value>,
    /// Accepted; realms have no effect on one's own box.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub realm_ids: Vec<String>,
}

/// Body of `PUT|PATCH /api/v1/projects/{id}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct UpdateProject {
    /// New name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// New colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// New limit; the inner `None` (JSON null) removes it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "super::container::double_option")]
    pub max_containers: Option<Option<u32>>,
    /// A merge patch of the settings; JSON null takes all back.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "super::container::double_option")]
    pub settings: Option<Option<serde_json::Value>>,
}

/// `data` of `GET /api/v1/projects/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProjectList {
    /// This page.
    pub projects: Vec<Project>,
    /// Where it stands.
    pub pagination: Pagination,
}
