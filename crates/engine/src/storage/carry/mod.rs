//! Single files and directories from one tree into another: out of a snapshot or a disk, into a
//! container that may be running.
//!
//! ```text
//!  node ── spawns ──► cowl carry ── fork ──► writer: inside the target
//!   │  stdin: what to do; its end cancels │     in the namespaces of a running container,
//!   │◄─ stdout: how far, what came of it ─┤     or pivoted into the disk of a stopped one
//!                                         │
//!              reader: outside, walks the merged source tree ([`super::tree`])
//!                        └── packets with an open descriptor of each file ──► writer
//! ```
//! Both trees are hostile, so nobody has both: the reader opens the source component by component,
//! following no link, and never names anything of the target. The writer names only the target, and
//! only while that is its root directory: whatever links lie there, they lead to where they would
//! lead the container's own root, who could do as much himself. In a running container it has no
//! more rights than that root. The kit's files service was not chosen because its stream keeps
//! neither owners nor attributes and every byte would be copied; a descriptor can be cloned
//! (FICLONE), so a big file costs nothing where both lie on the pool and none below `/usr`, whose
//! overlay is another file system to the kernel.
//!
//! Each file is written under another name and renamed, so a crash leaves it as it was or whole. Of
//! several files some may be there.

mod reader;
mod wire;
mod writer;

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use cowl_api::ContainerId;
use cowl_api::files::{Overwrite, Restored};

/// How often progress is told and cancellation looked for.
const PACE: Duration = Duration::from_millis(200);
/// How long a helper that was told to end may take.
const END: Duration = Duration::from_secs(10);

/// A merged tree to read from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    /// The disk or snapshot.
    pub disk: PathBuf,
    /// The `/usr` of its image.
    pub lower_usr: PathBuf,
}

/// Where to write.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A container that runs.
    Running {
        /// Which.
        id: ContainerId,
        /// The node's tag.
        tag: String,
        /// Process id of its init.
        init_pid: u32,
    },
    /// A disk that nothing has mounted.
    Disk(Source),
}

/// What to copy where. Paths are absolute and name no `..`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// In the source.
    pub from: String,
    /// In the target: the name it gets there, not the directory that holds it.
    pub to: String,
}

/// What the helper is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// From where.
    pub source: Source,
    /// To where.
    pub target: Target,
    /// What.
    pub moves: Vec<Move>,
    /// What to do with what is in the way.
    pub overwrite: Overwrite,
    /// Only look.
    pub dry_run: bool,
}

/// What the helper says, one a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Progress { copied: u64, bytes: u64 },
    Done(Restored),
    Failed { message: String, errno: i32 },
}

/// Runs `cowl carry` and waits for its end. `progress` hears of files and bytes so far; once
/// `cancelled` says so, what is under way ends with the file it is at.
///
/// # Errors
/// [`Error::NotFound`] for a path that the source does not have, [`Error::Full`], or what failed.
pub fn run(
    cowl_exe: &Path,
    spec: &Spec,
    cancelled: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Restored> {
    let mut command = Command::new(cowl_exe);
    command.arg("carry").stdin(Stdio::piped()).stdout(Stdio::piped()).env_clear().current_dir("/");
    let mut child = command.spawn().at("run", cowl_exe)?;
    let mut stdin = child.stdin.take();
    let stdout = child.stdout.take().ok_or_else(|| Error::Shim("no stdout".into()))?;
    let mut line = serde_json::to_vec(spec).map_err(|e| Error::Shim(e.to_string()))?;
    line.push(b'\n');
    if let Some(stdin) = &mut stdin {
        // One that ended early says why.
        let _ = stdin.write_all(&line);
    }
    let wait = stdout.as_fd().try_clone_to_owned().context(|| "hear the helper".into())?;
    let mut lines = BufReader::new(stdout);
    let (mut last, mut ends) = (None, None::<Instant>);
    loop {
        if cancelled() && stdin.take().is_some() {
            ends = Some(Instant::now() + END);
        }
        if ends.is_some_and(|at| Instant::now() > at) {
            let _ = child.kill();
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: PACE.subsec_nanos().into() };
        if lines.buffer().is_empty()
            && poll(&mut [PollFd::new(&wait, PollFlags::IN)], Some(&timeout)).is_ok_and(|n| n == 0)
        {
            continue;
        }
        let mut text = String::new();
        if lines.read_line(&mut text).context(|| "hear the helper".into())? == 0 {
            break;
        }
        match serde_json::from_str(&text) {
            Ok(Said::Progress { copied, bytes }) => progress(copied, bytes),
            Ok(said) => last = Some(said),
            Err(e) => return Err(Error::Shim(format!("the helper said something unreadable: {e}"))),
        }
    }
    let _ = child.wait();
    match last {
        Some(Said::Done(report)) => Ok(report),
        Some(Said::Failed { message, errno: libc::ENOENT }) => Err(Error::NotFound(message)),
        Some(Said::Failed { message, errno: libc::ENOSPC | libc::EDQUOT }) => Err(Error::Full(message)),
        Some(Said::Failed { message, .. }) => Err(Error::Shim(message)),
        _ if cancelled() => Err(Error::Shim("cancelled; what was copied so far is there".into())),
        _ => Err(Error::Shim("the helper died".into())),
    }
}

/// The helper's main: reads a [`Spec`] from stdin.
pub fn main() -> i32 {
    let mut text = String::new();
    // Byte by byte: the rest of stdin is watched for its end.
    let spec = std::io::stdin()
        .lock()
        .read_line(&mut text)
        .map_err(|e| e.to_string())
        .and_then(|_| serde_json::from_str::<Spec>(&text).map_err(|e| e.to_string()));
    let result = match spec {
        Ok(spec) => reader::work(&spec),
        Err(message) => Err(Error::Shim(message)),
    };
    let (said, code) = match result {
        Ok(Some(report)) => (Some(Said::Done(report)), 0),
        Ok(None) => (None, 1),
        Err(e) => (Some(failed(&e)), 1),
    };
    if let Some(said) = said {
        tell(&said);
    }
    code
}

fn failed(e: &Error) -> Said {
    let errno = match e {
        Error::NotFound(_) => libc::ENOENT,
        Error::Full(_) => libc::ENOSPC,
        _ => 0,
    };
    let message = match e {
        Error::NotFound(what) | Error::Full(what) => what.clone(),
        other => other.to_string(),
    };
    Said::Failed { message, errno }
}

fn tell(said: &Said) {
    if let Ok(mut line) = serde_json::to_vec(said) {
        line.push(b'\n');
        let _ = std::io::stdout().write_all(&line);
    }
}
