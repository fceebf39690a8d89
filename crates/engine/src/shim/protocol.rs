//! What node and shim say to each other over `RUN/<id>/shim.sock` (a stream socket).
//!
//! One JSON object per line. A client sends one [`Request`]; the shim answers with one [`Reply`]
//! and closes, except after [`Request::Watch`], where [`Event`]s follow until either side goes.
//! The reply to [`Request::Dial`] carries the connected socket by SCM_RIGHTS.

use serde::{Deserialize, Serialize};

use cowl_api::ContainerId;

/// Version of this protocol. A node accepts this and the previous one.
pub const VERSION: u32 = 1;

/// What a node may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Who are you, how is it.
    Status,
    /// The status, then events as they happen.
    Watch,
    /// Connect to a TCP port inside.
    Dial {
        /// 1–65535.
        port: u16,
    },
    /// Ask init to halt; kill everything after `grace_ms`.
    Stop {
        /// Milliseconds; 0 kills at once.
        grace_ms: u64,
    },
    /// Ask init to reboot.
    Reboot,
    /// Freeze or thaw.
    Freeze {
        /// True freezes.
        frozen: bool,
    },
    /// Bind lxcfs's files over those of /proc anew; an older shim answers with an error.
    RenewProcFiles,
}

/// What the shim answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Answer to `Status`, `Watch`, `Freeze`.
    Status(Status),
    /// The request was taken.
    Ok,
    /// It was not; `errno` where the kernel said so, else 0.
    Error {
        /// One sentence.
        message: String,
        /// Linux errno.
        errno: i32,
    },
}

/// Where a running container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Protocol version of the shim.
    pub version: u32,
    /// Which container.
    pub id: ContainerId,
    /// The shim's process id.
    pub shim_pid: u32,
    /// Init's process id on the host.
    pub init_pid: u32,
    /// Milliseconds since the epoch when init was started last.
    pub started_at_ms: u64,
    /// Whether systemd has said READY=1.
    pub ready: bool,
    /// Whether it is frozen.
    pub frozen: bool,
    /// First host id of its user namespace.
    pub id_base: u32,
    /// Its host-side interface.
    pub veth: String,
}

/// What happened inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// systemd said READY=1.
    Ready,
    /// A unit became active, as systemd reports for targets, e.g. `multi-user.target`.
    UnitActive(String),
    /// Init ended by a reboot request and is started again.
    Rebooting,
    /// Init runs again after a reboot.
    Started(Status),
    /// The kit died and is started again.
    KitRestarted,
    /// Init is gone for good; the last event.
    Exited {
        /// How.
        outcome: Outcome,
        /// Last lines of the console.
        console_tail: Vec<String>,
    },
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Halted or powered off as asked, from outside or inside.
    Stopped,
    /// Killed by the shim after the grace period, or by force-stop.
    Killed,
    /// Init died on its own; the text says how.
    Crashed(String),
}
