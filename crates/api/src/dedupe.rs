//! Making equal files of different containers share their blocks.

use serde::{Deserialize, Serialize};

use super::ids::ContainerId;
use super::settings::Size;

/// Bytes read a second where nothing is said.
pub const RATE: Size = Size(50 << 20);
/// Fewest bytes a second.
pub const RATE_MIN: Size = Size(64 << 10);
/// Smallest file that is looked at where nothing is said.
pub const MIN_SIZE: Size = Size(128 << 10);
/// Smallest file that can be asked for: a block. What is smaller lies in no block of its own.
pub const MIN_SIZE_MIN: Size = Size(4 << 10);

/// Body of `POST /api/v1/servers/{id}/dedupe`; may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DedupeRequest {
    /// Whose disks are compared, with each other and with the images; empty is all.
    pub containers: Vec<ContainerId>,
    /// Only tell what would be shared.
    pub dry_run: bool,
    /// Bytes read a second; [`RATE`] where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Size>,
    /// Smallest file, in bytes; [`MIN_SIZE`] where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_size: Option<Size>,
    /// Look into the containers' snapshots, too.
    pub snapshots: bool,
}

/// What a run has seen and done so far. Sizes are in bytes of files, before compression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Files that are large enough.
    pub files: u64,
    /// Those whose size is there more than once.
    pub candidates: u64,
    /// Candidates that were dealt with.
    pub checked: u64,
    /// Bytes read, those that the kernel compared included.
    pub read: u64,
    /// Bytes that lay on disk again beside an equal file.
    pub duplicate: u64,
    /// Bytes of files that were made to share their blocks.
    pub deduped: u64,
    /// Files that the kernel does not let share.
    pub refused: u64,
    /// Files that changed or went while they were compared.
    pub changed: u64,
    /// Directories and files that were left out: too deep, too many, unreadable.
    pub passed_over: u64,
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// At work.
    Running,
    /// At its end.
    Done,
    /// Told to stop; what was shared stays so.
    Cancelled,
    /// It could not be done.
    Failed,
}

/// A run: a line of the stream that `POST` answers with, and what `GET` tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DedupeRun {
    /// Where it is. The stream ends with the first line that is not `running`.
    pub state: RunState,
    /// ISO 8601, UTC.
    pub started_at: String,
    /// How long it took so far.
    pub seconds: f64,
    /// Whose disks.
    pub containers: u64,
    /// Nothing was changed.
    pub dry_run: bool,
    /// Snapshots were looked into.
    pub snapshots: bool,
    /// Bytes read a second at most.
    pub rate: Size,
    /// Smallest file.
    pub min_size: Size,
    /// What it saw and did.
    #[serde(flatten)]
    pub figures: Figures,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `data` of `GET /api/v1/servers/{id}/dedupe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DedupeStatus {
    /// The run of now.
    pub running: Option<DedupeRun>,
    /// The last run that was to change something.
    pub last: Option<DedupeRun>,
}
