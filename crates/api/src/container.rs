//! Containers: states, the object the API shows, and the bodies that create and change one.
//!
//! ```text
//!            create                  start
//!   (none) ─────────> creating ──> running <──────── stopped
//!                        │          │  ▲  │ stop        ▲ │
//!                        │   pause  │  │  └─────────────┘ │
//!                        │          ▼  │ resume           │
//!                        ▼         paused                 │ delete
//!                      failed ────────────> deleting <────┘
//! ```
//! `copying` is `creating` from another container; `asleep` is halted or frozen, and wakes by itself.
//! Who moves a container from state to state is `node::lifecycle`, nobody else.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::envelope::Pagination;
use super::ids::{ContainerId, ProjectId, ServerId};
use super::settings::Settings;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Its disk is being made or it boots for the first time.
    Creating,
    /// PID 1 lives; its URLs answer.
    Running,
    /// Frozen in memory.
    Paused,
    /// Only its disk exists.
    Stopped,
    /// Halted or frozen because idle; wakes on the next request.
    Asleep,
    /// Something went wrong; the reason is in the status log.
    Failed,
    /// Being made from another container.
    Copying,
    /// On its way out.
    Deleting,
    /// Gone for everybody, but its disk is kept for a while: it can be undeleted.
    Deleted,
}

impl ContainerState {
    /// The lowercase word used on the wire and on screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Asleep => "asleep",
            Self::Failed => "failed",
            Self::Copying => "copying",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }

    /// Parses the word `as_str` gives.
    pub fn parse(s: &str) -> Option<Self> {
        [
            Self::Creating,
            Self::Running,
            Self::Paused,
            Self::Stopped,
            Self::Asleep,
            Self::Failed,
            Self::Copying,
            Self::Deleting,
            Self::Deleted,
        ]
        .into_iter()
        .find(|state| state.as_str() == s)
    }
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A remark on a reply that succeeded, e.g. about a field that has no effect yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A stable word, e.g. `no_effect`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One sentence.
    pub message: String,
}

/// A container as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// The container's id.
    pub id: ContainerId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// That project's name.
    pub project_alias: String,
    /// The box it lives on.
    pub server_id: ServerId,
    /// That box' name: the label in URLs.
    pub server_name: String,
    /// Display name of the box.
    pub subserver_name: String,
    /// Host name for SSH.
    pub ssh_hostname: Option<String>,
    /// 3–100 characters, unique in the project.
    pub name: String,
    /// `#RRGGBB` or `#RGB`.
    pub color: String,
    /// Image tier, e.g. `debian/13`.
    pub container_image: String,
    /// Accepted for compatibility.
    pub ai: bool,
    /// Whether the kit services run.
    pub hoody_kit: bool,
    /// Whether developer tools were asked for.
    pub dev_kit: bool,
    /// Always false: containers share the kernel.
    pub kvm: bool,
    /// Start with the node.
    pub autostart: bool,
    /// Whether /ramdisk is asked for.
    pub ramdisk: bool,
    /// `container` or `project`.
    pub ramdisk_scope: String,
    /// Always false.
    pub prespawn: bool,
    /// Whether `cowl up` made it.
    pub is_default: bool,
    /// Where it is in its life.
    pub status: ContainerState,
    /// Why it failed, in one sentence; only with `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// Variables of new sessions.
    pub environment_vars: BTreeMap<String, String>,
    /// Limits, sleep and the like, as they were set for this container.
    #[serde(default)]
    pub settings: Settings,
    /// The settings that hold: its own, else its project's.
    #[serde(default)]
    pub effective_settings: Settings,
    /// Always empty here.
    #[serde(default)]
    pub volumes: BTreeMap<String, serde_json::Value>,
    /// Key for SSH.
    pub ssh_public_key: Option<String>,
    /// Free text.
    pub comment: Option<String>,
    /// The container it was copied from.
    pub source_container_id: Option<ContainerId>,
    /// Always empty here.
    #[serde(default)]
    pub realm_ids: Vec<String>,
    /// ISO 8601, UTC.
    pub created_at: String,
    /// ISO 8601, UTC.
    pub updated_at: String,
    /// When PID 1 was started; only while running or paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Its IPv4 address inside the node's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its IPv6 address, where the host has IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address6: Option<String>,
    /// How many snapshots exist.
    pub snapshot_count: u64,
    /// When the newest snapshot was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_snapshot_at: Option<String>,
    /// The snapshot restored last.
    pub last_used_snapshot: Option<String>,
    /// Remarks, e.g. on fields without effect.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// When it was deleted; only while it can be had back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<String>,
    /// When it will be gone for good; only while it can be had back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge_at: Option<String>,
}

/// `data` of `GET /api/v1/containers/` and of `GET /api/v1/projects/{id}/containers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerList {
    /// This page.
    pub containers: Vec<Container>,
    /// Where it stands.
    pub pagination: Pagination,
}

/// Body of `POST /api/v1/projects/{id}/containers`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateContainer {
    /// Id or name of the box; required on the wire.
    pub server_id: Option<String>,
    /// Random when absent or `rand`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Random when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// Image; `debian/13` when absent. `debian`, `debian-13`, `debian:13` mean the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_image: Option<String>,
    /// Run the kit services; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hoody_kit: Option<bool>,
    /// Developer tools; defaults to what `hoody_kit` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_kit: Option<bool>,
    /// Accepted for compatibility; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ai: Option<bool>,
    /// Start with the node; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// Mount /ramdisk; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramdisk: Option<bool>,
    /// Variables of sessions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment_vars: BTreeMap<String, String>,
    /// Limits, sleep and the like; see [`super::settings`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<serde_json::Value>,
    /// Key for SSH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_public_key: Option<String>,
    /// Free text of at most 16,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// A virtual machine instead; refused with 422.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kvm: Option<bool>,
    /// Alias of `kvm`; 400 when the two disagree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_kvm: Option<bool>,
    /// Warm-pool knob; without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<bool>,
    /// Warm-pool knob; without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_image: Option<bool>,
    /// Warm-pool knob; `true` is refused with 403.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prespawn: Option<bool>,
    /// Warm-pool knob; without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypass_prespawn: Option<bool>,
    /// Without effect on one's own box.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub realm_ids: Vec<String>,
}

/// Body of `PUT|PATCH /api/v1/containers/{id}`; absent fields stay as they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateContainer {
    /// New name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// New colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// Accepted for compatibility.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ai: Option<bool>,
    /// Start with the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// Mount /ramdisk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramdisk: Option<bool>,
    /// `container` or `project`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramdisk_scope: Option<String>,
    /// Replaces all variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment_vars: Option<BTreeMap<String, String>>,
    /// A merge patch of the settings; JSON null takes all back.
    #[serde(skip_serializing_if = "Option::is_none", with = "double_option")]
    pub settings: Option<Option<serde_json::Value>>,
    /// JSON null clears the key.
    #[serde(skip_serializing_if = "Option::is_none", with = "double_option")]
    pub ssh_public_key: Option<Option<String>>,
    /// JSON null clears the comment.
    #[serde(skip_serializing_if = "Option::is_none", with = "double_option")]
    pub comment: Option<Option<String>>,
}

/// Body of `POST /api/v1/containers/{id}/undelete`; may be empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Undelete {
    /// Another name, when its own is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `data` of `POST /api/v1/containers/{id}/{operation}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationReply {
    /// The operation asked for.
    pub operation: String,
    /// The container.
    pub container_id: ContainerId,
    /// Its project.
    pub project_id: ProjectId,
    /// The state after the operation.
    pub status: ContainerState,
    /// One sentence.
    pub message: String,
}

/// Operations of `POST /api/v1/containers/{id}/{operation}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// stopped → running.
    Start,
    /// running → stopped, with a grace period.
    Stop,
    /// running or paused → stopped, by a kill.
    ForceStop,
    /// Stop, then start.
    Restart,
    /// running → paused.
    Pause,
    /// paused → running.
    Resume,
    /// running → asleep. Waking it is `start`, for which the path also takes `wake`.
    Sleep,
}

impl Operation {
    /// The word in the path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::ForceStop => "force-stop",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Sleep => "sleep",
        }
    }

    /// Parses the word in the path.
    pub fn parse(s: &str) -> Option<Self> {
        if s == "wake" {
            return Some(Self::Start);
        }
        [Self::Start, Self::Stop, Self::ForceStop, Self::Restart, Self::Pause, Self::Resume, Self::Sleep]
            .into_iter()
            .find(|op| op.as_str() == s)
    }
}

/// One line of `GET /api/v1/containers/{id}/status-logs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusLog {
    /// Its number, growing.
    pub id: String,
    /// The state before; None for the first.
    pub from_status: Option<ContainerState>,
    /// The state after.
    pub to_status: ContainerState,
    /// ISO 8601, UTC.
    pub transition_time: String,
    /// How long the state before lasted, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Who asked: `api`, `node`, `container`; `sleep` when it fell asleep by itself, `request` and
    /// `cron` for what woke it.
    pub triggered_by: String,
    /// Details, e.g. `{"reason": "…"}`; after a crash also `console`, the last lines written there.
    pub metadata: serde_json::Value,
}

/// Serde for `Option<Option<T>>`: absent, null and a value are three things.
pub mod double_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes the inner option; the outer one is skipped by the field's attribute.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: Serialize, S: Serializer>(v: &Option<Option<T>>, s: S) -> Result<S::Ok, S::Error> {
        v.as_ref().and_then(|inner| inner.as_ref()).serialize(s)
    }

    /// Reads null as `Some(None)`.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
        Option::<T>::deserialize(d).map(Some)
    }
}
