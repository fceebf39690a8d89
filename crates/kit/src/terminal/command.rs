//! One command that was asked for: its life, its output, who waits for it.
//!
//! ```text
//! queued ──► running ──┬─► completed   it ended by itself
//!    │                 ├─► failed      it could not start, or its shell died under it
//!    └──► aborted ◄────┼─► aborted     someone asked for its end
//!                      └─► timed_out   its time was up
//! ```
//! The first end wins. Who runs it (a session or a pair of pipes) moves it; everybody else looks.

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::pipes::Abort;
use super::text::TextStream;
use cowl_api::terminal::CommandResult;

/// Output kept of one command, bytes for each of stdout and stderr.
pub const OUTPUT_LIMIT: usize = 8 * 1024 * 1024;

/// Where a command is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The names are the wire's.
pub enum Status {
    Queued,
    Running,
    Completed,
    Failed,
    TimedOut,
    Aborted,
}

impl Status {
    /// The wire's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Aborted => "aborted",
        }
    }

    /// Whether nothing more can happen.
    pub fn is_end(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// Which of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Channel {
    Stdout,
    Stderr,
}

/// A live listener's end: what was written, as it was written.
pub type Sink = mpsc::Sender<(Channel, Vec<u8>)>;

#[derive(Debug)]
struct Progress {
    exit_code: Option<i32>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    truncated: bool,
    started: Option<Instant>,
    ended: Option<Instant>,
    sink: Option<Sink>,
}

/// One command.
#[derive(Debug)]
pub struct Command {
    /// Its id, unique among those remembered.
    pub id: String,
    /// The session it belongs to; 40000 and more for those without one.
    pub terminal_id: u32,
    /// What is to be run.
    pub text: String,
    /// When it was asked for.
    pub asked: jiff::Timestamp,
    /// Whether a PTY carries its output (`\r\n` for `\n`, no separate stderr).
    on_pty: bool,
    progress: Mutex<Progress>,
    status: watch::Sender<Status>,
    /// How to end it, where it runs on pipes.
    abort: OnceLock<mpsc::UnboundedSender<Abort>>,
}

impl Command {
    /// A queued command; `sink` hears its output live.
    pub fn new(id: String, terminal_id: u32, text: String, on_pty: bool, sink: Option<Sink>) -> Self {
        let progress = Progress {
            exit_code: None,
            stdout: Vec::new(),
            stderr: Vec::new(),
            truncated: false,
            started: None,
            ended: None,
            sink,
        };
        Self {
            id,
            terminal_id,
            text,
            asked: jiff::Timestamp::now(),
            on_pty,
            progress: Mutex::new(progress),
            status: watch::Sender::new(Status::Queued),
            abort: OnceLock::new(),
        }
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        // A poisoned lock only means that a reader panicked; the fields are still whole.
        self.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Where it is now.
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Whether a PTY carries its output.
    pub fn on_pty(&self) -> bool {
        self.on_pty
    }

    /// It runs on pipes and is ended through this.
    pub fn abort_by(&self, sender: mpsc::UnboundedSender<Abort>) {
        // Set once, by who starts it.
        let _ = self.abort.set(sender);
    }

    /// Passes on the wish that it end; false where it does not run on pipes any more.
    pub fn abort(&self, how: Abort) -> bool {
        self.abort.get().is_some_and(|sender| sender.send(how).is_ok())
    }

    /// It begins to run.
    pub fn start(&self) {
        self.progress().started = Some(Instant::now());
        self.status.send_if_modified(|status| {
            let queued = *status == Status::Queued;
            if queued {
                *status = Status::Running;
            }
            queued
        });
    }

    /// Keeps output, up to [`OUTPUT_LIMIT`]. Does not tell the sink.
    pub fn keep(&self, channel: Channel, bytes: &[u8]) {
        let mut progress = self.progress();
        if progress.ended.is_some() {
            return;
        }
        let kept = match channel {
            Channel::Stdout => &mut progress.stdout,
            Channel::Stderr => &mut progress.stderr,
        };
        let room = OUTPUT_LIMIT - kept.len();
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            progress.truncated = true;
        }
    }

    /// Tells the sink without waiting; a listener that is too slow loses output, and the result says
    /// so.
    pub fn tell(&self, channel: Channel, bytes: &[u8]) {
        let mut progress = self.progress();
        if let Some(sink) = &progress.sink
            && sink.try_send((channel, bytes.to_vec())).is_err()
        {
            progress.truncated = true;
        }
    }

    /// The sink, for who can wait until it has room.
    pub fn sink(&self) -> Option<Sink> {
        self.progress().sink.clone()
    }

    /// It has ended. Only the first end counts.
    pub fn finish(&self, status: Status, exit_code: Option<i32>) {
        {
            let mut progress = self.progress();
            if progress.ended.is_some() {
                return;
            }
            progress.ended = Some(Instant::now());
            progress.exit_code = exit_code;
            progress.sink = None;
        }
        self.status.send_replace(status);
    }

    /// How long ago it ended.
    pub fn ended_for(&self) -> Option<Duration> {
        self.progress().ended.map(|at| at.elapsed())
    }

    /// Bytes of output it keeps in memory.
    pub fn weight(&self) -> usize {
        let progress = self.progress();
        progress.stdout.len() + progress.stderr.len()
    }

    /// Waits until it has ended.
    pub async fn ended(&self) -> Status {
        let mut watch = self.status.subscribe();
        match watch.wait_for(|status| status.is_end()).await {
            Ok(status) => *status,
            Err(_) => self.status(),
        }
    }

    /// What the wire says about it. `with_output` is off for a stream's last line, whose reader has had
    /// the output already.
    pub fn result(&self, with_output: bool) -> CommandResult {
        let status = self.status();
        let progress = self.progress();
        let text = |bytes: &[u8]| {
            let mut stream = if self.on_pty { TextStream::from_pty() } else { TextStream::verbatim() };
            stream.push(bytes) + &stream.finish()
        };
        let ran = progress.started.map(|from| progress.ended.unwrap_or_else(Instant::now) - from);
        CommandResult {
            command_id: self.id.clone(),
            terminal_id: self.terminal_id,
            status: status.word().to_owned(),
            exit_code: progress.exit_code,
            stdout: if with_output { text(&progress.stdout) } else { String::new() },
            stderr: if with_output { text(&progress.stderr) } else { String::new() },
            truncated: progress.truncated,
            duration_ms: ran.map_or(0, |time| time.as_millis().try_into().unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_wins_and_later_output_is_not_kept() {
        let command = Command::new("c".into(), 1, "x".into(), false, None);
        command.start();
        command.keep(Channel::Stdout, b"one");
        command.finish(Status::TimedOut, None);
        command.keep(Channel::Stdout, b"two");
        command.finish(Status::Completed, Some(0));
        let result = command.result(true);
        assert_eq!((result.status.as_str(), result.exit_code, result.stdout.as_str()), ("timed_out", None, "one"));
    }

    #[test]
    fn output_beyond_the_limit_is_dropped_and_said_so() {
        let command = Command::new("c".into(), 1, "x".into(), false, None);
        let chunk = vec![b'x'; OUTPUT_LIMIT - 1];
        command.keep(Channel::Stdout, &chunk);
        assert!(!command.result(false).truncated);
        command.keep(Channel::Stdout, b"yz");
        assert_eq!(command.weight(), OUTPUT_LIMIT);
        assert!(command.result(false).truncated);
    }
}
