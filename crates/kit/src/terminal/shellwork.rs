//! Commands on a shared shell, one after another.
//!
//! ```text
//!              B                    B, or 300 ms
//!  Starting ───────► Ready ◄──────────────────── Prompting ◄─┐
//!                    │ ▲ └── the user hits Enter ─► Foreign ─┤ P
//!           a command│ └──────────────────B──────────┘       │
//!                    ▼                                       │
//!      (Clearing ─►) Typing ── S ──► Running ────────────────┘
//! ```
//! S, P and B are the marks *started*, *done* and *ready* of [`super::marker`]. While *Typing*, output
//! (the echo of our own line) is hidden; the command as asked is shown instead. A shell that has lost
//! its hooks (`exec bash`) is noticed by its silence: what waits is typed when the shell has the
//! terminal in its line editor's mode and has been quiet for [`QUIET`], or, where there is no line
//! editor, for [`LONG_QUIET`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::command::{Channel, Command, Status};
use super::integration::{Integration, Surroundings};
use super::marker::Mark;
use super::pipes::Abort;
use super::pty::Pty;

/// Silence after which a shell that edits a line without a mark is taken for ready.
const QUIET: Duration = Duration::from_millis(1500);
/// The same for a shell that does not edit lines.
const LONG_QUIET: Duration = Duration::from_secs(10);
/// From *done* to the prompt, at most.
const PROMPT: Duration = Duration::from_millis(300);
/// For the shell to redraw an erased line.
const CLEARING: Duration = Duration::from_millis(50);
/// For the shell to begin what was typed; a computer that boots on a loaded host may take half a minute.
const TAKE_UP: Duration = Duration::from_secs(60);
/// From a polite signal to the next step.
const GRACE: Duration = Duration::from_secs(2);
/// Between looks whether the signal went to a program that had just ended.
const AGAIN: Duration = Duration::from_millis(250);
/// Commands that may wait in one session.
const QUEUE_LIMIT: usize = 256;
/// Most of a command that is shown in place of its echo, bytes.
const ECHO_LIMIT: usize = 4096;

/// A command and what it needs around it.
#[derive(Debug)]
pub struct Job {
    /// The record others look at.
    pub command: Arc<Command>,
    /// Directory and variables.
    pub around: Surroundings,
    /// From its start; none is no limit.
    pub time_limit: Option<Duration>,
}

#[derive(Debug)]
enum Stage {
    Starting,
    Ready,
    Prompting { since: Instant },
    Foreign,
    Clearing { since: Instant },
    Typing { job: Job, since: Instant, hidden: Vec<u8> },
    Running(Running),
}

#[derive(Debug)]
struct Running {
    command: Arc<Command>,
    deadline: Option<Instant>,
    stop: Option<Stop>,
}

/// A command was told to stop.
#[derive(Debug)]
struct Stop {
    /// Why.
    status: Status,
    /// The process group that was told.
    group: Option<Pid>,
    /// When to look next.
    due: Instant,
    /// When politeness ends.
    patience: Instant,
    /// Whether SIGKILL follows.
    hard: bool,
}

impl Stop {
    fn send(status: Status, signal: Signal, hard: bool, pty: &Pty) -> Self {
        let now = Instant::now();
        let group = pty.foreground();
        pty.signal_foreground(signal);
        Self { status, group, due: now + AGAIN, patience: now + GRACE, hard }
    }
}

/// What the driver must do after a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Bytes for everybody's screen.
    pub show: Vec<u8>,
    /// Bytes for the shell.
    pub send: Vec<u8>,
}

/// The shell of a session as a worker.
#[derive(Debug)]
pub struct ShellWork {
    integration: Integration,
    stage: Stage,
    queue: VecDeque<Job>,
    /// The user has typed something that is not yet a command.
    half_typed: bool,
    /// The user has hit Enter before the prompt came.
    typed_ahead: bool,
    /// What the user typed while we did.
    held_input: Vec<u8>,
    last_output: Instant,
    cwd: Option<String>,
}

impl ShellWork {
    /// A shell that has just been started.
    pub fn new(integration: Integration) -> Self {
        Self {
            integration,
            stage: Stage::Starting,
            queue: VecDeque::new(),
            half_typed: false,
            typed_ahead: false,
            held_input: Vec::new(),
            last_output: Instant::now(),
            cwd: None,
        }
    }

    /// The shell's directory at its last prompt.
    pub fn cwd(&self) -> Option<&str> {
        self.cwd.as_deref()
    }

    /// The command that runs.
    pub fn running(&self) -> Option<&Arc<Command>> {
        match &self.stage {
            Stage::Typing { job, .. } => Some(&job.command),
            Stage::Running(running) => Some(&running.command),
            _ => None,
        }
    }

    /// Whether nothing runs or waits.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running().is_none()
    }

    /// Whether the shell has shown its first prompt.
    pub fn has_started(&self) -> bool {
        !matches!(self.stage, Stage::Starting)
    }

    /// Puts a command in line; gives it back when the line is full.
    pub fn enqueue(&mut self, job: Job) -> Result<Effects, Job> {
        if self.queue.len() >= QUEUE_LIMIT {
            return Err(job);
        }
        self.queue.push_back(job);
        Ok(self.next())
    }

    /// Output that is no mark. Returns what may be shown.
    pub fn output(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        self.last_output = Instant::now();
        match &mut self.stage {
            Stage::Typing { hidden, .. } => {
                let room = 256 * 1024 - hidden.len().min(256 * 1024);
                hidden.extend_from_slice(&bytes[..bytes.len().min(room)]);
                Vec::new()
            }
            Stage::Running(running) => {
                running.command.keep(Channel::Stdout, &bytes);
                running.command.tell(Channel::Stdout, &bytes);
                bytes
            }
            _ => bytes,
        }
    }

    /// A mark of the shell.
    pub fn mark(&mut self, mark: Mark, pty: &Pty) -> Effects {
        self.last_output = Instant::now();
        match mark {
            Mark::Started(id) => self.begin(&id, pty),
            Mark::Done { exit_code, cwd } => {
                self.cwd = cwd.or(self.cwd.take());
                match &self.stage {
                    Stage::Typing { .. } => return Effects::default(),
                    Stage::Running(running) => {
                        let status = running.stop.as_ref().map_or(Status::Completed, |stop| stop.status);
                        running.command.finish(status, Some(exit_code));
                    }
                    _ => {}
                }
                self.stage = Stage::Prompting { since: Instant::now() };
                Effects::default()
            }
            Mark::Ready => {
                if matches!(self.stage, Stage::Typing { .. } | Stage::Running(_) | Stage::Clearing { .. }) {
                    return Effects::default();
                }
                if std::mem::take(&mut self.typed_ahead) {
                    self.stage = Stage::Foreign;
                    return Effects::default();
                }
                self.stage = Stage::Ready;
                self.next()
            }
        }
    }

    /// Keys of a user. Returns those that may be sent now.
    pub fn input(&mut self, keys: &[u8]) -> Vec<u8> {
        if keys.is_empty() {
            return Vec::new();
        }
        if matches!(self.stage, Stage::Typing { .. } | Stage::Clearing { .. }) {
            let room = 64 * 1024 - self.held_input.len().min(64 * 1024);
            self.held_input.extend_from_slice(&keys[..keys.len().min(room)]);
            return Vec::new();
        }
        let is_enter = |key: &u8| matches!(key, b'\r' | b'\n');
        if keys.iter().any(is_enter) {
            if matches!(self.stage, Stage::Ready) {
                self.stage = Stage::Foreign;
            } else {
                self.typed_ahead = true;
            }
        }
        // Whatever the stage: it may yet end up on the shell's line, and must never become part of ours.
        self.half_typed = !keys.last().is_some_and(is_enter);
        keys.to_vec()
    }

    /// Asks the command to end. False when it is not here.
    pub fn abort(&mut self, id: &str, how: Abort, pty: &Pty) -> bool {
        if let Some(at) = self.queue.iter().position(|job| job.command.id == id) {
            if let Some(job) = self.queue.remove(at) {
                job.command.finish(Status::Aborted, None);
            }
            return true;
        }
        match &mut self.stage {
            Stage::Typing { job, .. } if job.command.id == id => {
                // The signal would hit the shell in the middle of our line; time it out at once instead.
                job.time_limit = Some(Duration::ZERO);
                true
            }
            Stage::Running(running) if running.command.id == id => {
                let signal = if how == Abort::Kill { Signal::KILL } else { Signal::INT };
                running.stop = Some(Stop::send(Status::Aborted, signal, how != Abort::Interrupt, pty));
                true
            }
            _ => false,
        }
    }

    /// When [`Self::tick`] must be called next.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Prompting { since } => Some(*since + PROMPT),
            Stage::Clearing { since } => Some(*since + CLEARING),
            Stage::Typing { since, .. } => Some(*since + TAKE_UP),
            Stage::Running(running) => running.stop.as_ref().map(|stop| stop.due).or(running.deadline),
            Stage::Starting | Stage::Foreign if !self.queue.is_empty() => {
                Some((self.last_output + QUIET).max(Instant::now() + Duration::from_millis(100)))
            }
            Stage::Starting | Stage::Foreign | Stage::Ready => None,
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant, pty: &Pty) -> Effects {
        let seems_ready = !self.queue.is_empty() && self.seems_ready(now, pty);
        match &mut self.stage {
            Stage::Prompting { since } if now >= *since + PROMPT => {
                self.stage = Stage::Ready;
                self.next()
            }
            Stage::Clearing { since } if now >= *since + CLEARING => {
                self.stage = Stage::Ready;
                self.next()
            }
            Stage::Typing { job, since, hidden } if now >= *since + TAKE_UP => {
                tracing::warn!(command = job.command.id, "the shell did not take the command");
                job.command.finish(Status::Failed, None);
                // It has been told to have failed, so it must not run later.
                self.integration.unstage();
                let show = std::mem::take(hidden);
                self.stage = Stage::Foreign;
                Effects { show, send: std::mem::take(&mut self.held_input) }
            }
            Stage::Running(_) => self.overdue(now, pty),
            Stage::Starting | Stage::Foreign if seems_ready => {
                self.stage = Stage::Ready;
                self.next()
            }
            _ => Effects::default(),
        }
    }

    /// The shell is gone: nothing here will ever end by itself.
    pub fn shell_ended(&mut self, exit_code: Option<i32>) {
        match std::mem::replace(&mut self.stage, Stage::Foreign) {
            Stage::Typing { job, .. } => job.command.finish(Status::Failed, exit_code),
            Stage::Running(running) => {
                let status = running.stop.map_or(Status::Failed, |stop| stop.status);
                running.command.finish(status, exit_code);
            }
            _ => {}
        }
        for job in self.queue.drain(..) {
            job.command.finish(Status::Failed, None);
        }
    }

    /// Whether a shell that says nothing waits for a line all the same.
    fn seems_ready(&self, now: Instant, pty: &Pty) -> bool {
        let quiet = now.saturating_duration_since(self.last_output);
        pty.shell_has_it() && (quiet >= LONG_QUIET || quiet >= QUIET && pty.edits_lines())
    }

    /// Types the next command if the shell is ready for it.
    fn next(&mut self) -> Effects {
        if !matches!(self.stage, Stage::Ready) || self.queue.is_empty() {
            return Effects::default();
        }
        if std::mem::take(&mut self.half_typed) {
            self.stage = Stage::Clearing { since: Instant::now() };
            // To the end of the line, then erase it: the same keys in readline and in the kernel.
            return Effects { send: b"\x05\x15".to_vec(), ..Effects::default() };
        }
        let Some(job) = self.queue.pop_front() else { return Effects::default() };
        match self.integration.stage(&job.command.id, &job.command.text, &job.around) {
            Ok(line) => {
                self.stage = Stage::Typing { job, since: Instant::now(), hidden: Vec::new() };
                Effects { send: line, ..Effects::default() }
            }
            Err(error) => {
                job.command.keep(Channel::Stderr, format!("cowl: cannot stage the command: {error}\n").as_bytes());
                job.command.finish(Status::Failed, None);
                self.next()
            }
        }
    }

    /// The start mark: the echo ends here, the command's output begins.
    fn begin(&mut self, id: &str, pty: &Pty) -> Effects {
        let stage = std::mem::replace(&mut self.stage, Stage::Foreign);
        let Stage::Typing { job, hidden, .. } = stage else {
            self.stage = stage;
            return Effects::default();
        };
        if job.command.id != id {
            self.stage = Stage::Typing { job, since: Instant::now(), hidden };
            return Effects::default();
        }
        let mut show = echo(&job.command.text);
        // The shell leaves its line editor here; that must reach the screen.
        if hidden.windows(8).any(|bytes| bytes == b"\x1b[?2004l") {
            show.extend_from_slice(b"\x1b[?2004l");
        }
        job.command.start();
        let now = Instant::now();
        let mut running =
            Running { command: job.command, deadline: job.time_limit.map(|limit| now + limit), stop: None };
        if job.time_limit == Some(Duration::ZERO) {
            // Aborted while it was typed.
            running.stop = Some(Stop::send(Status::Aborted, Signal::INT, false, pty));
        }
        self.stage = Stage::Running(running);
        Effects { show, send: std::mem::take(&mut self.held_input) }
    }

    /// Time is up for the running command, or for its answer to a signal.
    fn overdue(&mut self, now: Instant, pty: &Pty) -> Effects {
        let Stage::Running(running) = &mut self.stage else { return Effects::default() };
        let Some(stop) = &mut running.stop else {
            if running.deadline.is_some_and(|deadline| now >= deadline) {
                running.command.finish(Status::TimedOut, None);
                running.stop = Some(Stop::send(Status::TimedOut, Signal::INT, true, pty));
            }
            return Effects::default();
        };
        if now < stop.due {
            return Effects::default();
        }
        let group = pty.foreground();
        if now < stop.patience {
            stop.due = now + AGAIN;
            if group != stop.group {
                // The program told had just ended, and its script went on to another.
                stop.group = group;
                pty.signal_foreground(Signal::INT);
            }
            return Effects::default();
        }
        stop.due = now + GRACE;
        if group == Some(pty.pid) {
            // Not a program any more but a shell without our hooks.
            running.command.finish(stop.status, None);
            self.integration.hooks_lost();
            self.stage = Stage::Foreign;
        } else if stop.hard {
            pty.signal_foreground(Signal::KILL);
        }
        Effects::default()
    }
}

/// The command as a terminal would have echoed it.
fn echo(command: &str) -> Vec<u8> {
    let mut shown = Vec::new();
    for c in command.trim_end_matches('\n').chars() {
        if shown.len() >= ECHO_LIMIT {
            shown.extend_from_slice("…".as_bytes());
            break;
        }
        match c {
            '\n' => shown.extend_from_slice(b"\r\n"),
            '\t' => shown.push(b'\t'),
            c if c.is_ascii_control() => shown.extend_from_slice(&[b'^', (c as u8) ^ 0x40]),
            c if c.is_control() => {}
            c => shown.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    shown.extend_from_slice(b"\r\n");
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_echo_of_a_command_moves_no_cursor() {
        assert_eq!(echo("a\nb\x1b[2J\x7f\u{9b}"), b"a\r\nb^[[2J^?\r\n");
    }
}
