//! Bodies of the terminal service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Body of `POST /api/v1/terminal/execute`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Execute {
    /// The shell command, raw UTF-8.
    pub command: String,
    /// An id the caller chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Seconds; 0 is no limit.
    #[serde(default)]
    pub timeout: f64,
    /// Answer when it is done (default) or at once.
    #[serde(default = "yes")]
    pub wait: bool,
    /// Working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Extra variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

/// Reply to execute and to `GET /api/v1/terminal/result/{command_id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandResult {
    /// The command.
    pub command_id: String,
    /// The session it ran in.
    pub terminal_id: u32,
    /// `queued`, `running`, `completed`, `failed`, `timed_out`, `aborted`.
    pub status: String,
    /// Exit code; 128 + n after signal n. Absent until done.
    pub exit_code: Option<i32>,
    /// Output so far.
    pub stdout: String,
    /// Errors so far; empty where a PTY merges both.
    pub stderr: String,
    /// Whether output was dropped because there was too much of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Milliseconds it has run.
    pub duration_ms: u64,
}

/// One line of the reply to `POST /api/v1/terminal/execute?stream=true` (`application/x-ndjson`).
///
/// Output comes as it is written, invalid UTF-8 replaced; [`StreamLine::Ping`] every 15 s without
/// output; [`StreamLine::Exit`] is the last line, its result without the output told before. Who
/// leaves before it aborts the command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum StreamLine {
    /// The command has an id and waits or runs.
    Start {
        /// For abort and result.
        command_id: String,
    },
    /// Output.
    Stdout {
        /// Text.
        data: String,
    },
    /// Errors; only where the command runs on pipes (`ephemeral=true`).
    Stderr {
        /// Text.
        data: String,
    },
    /// Still running.
    Ping,
    /// The end.
    Exit {
        /// Status, exit code and duration.
        result: CommandResult,
    },
}
