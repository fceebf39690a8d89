//! Commands without a terminal: a fresh shell on pipes, its output kept apart from its errors.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::sync::mpsc;

use super::command::{Channel, Command, Status};
use super::launch::Launch;
use crate::error::{KitError, KitResult};

/// From a polite signal to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// For background programs that still hold the pipes after their shell has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A wish that a command end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// SIGINT; it may refuse.
    Interrupt,
    /// Whoever wanted it has left: SIGINT and SIGHUP, and SIGKILL soon after.
    HangUp,
    /// SIGKILL.
    Kill,
}

/// Runs `command` in the background with what `launch` says.
///
/// # Errors
/// 500 when the shell cannot be started.
pub fn run(command: Arc<Command>, launch: &Launch, time_limit: Option<Duration>) -> KitResult<()> {
    let argv = launch.argv(&["-l", "-c", &command.text]);
    let Some((program, arguments)) = argv.split_first() else { return Err(KitError::internal("no program to start")) };
    let mut program = tokio::process::Command::new(program);
    program.args(arguments);
    launch.surround(&mut program, false);
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let child = match program.spawn() {
        Ok(child) => child,
        Err(error) => {
            command.finish(Status::Failed, None);
            return Err(KitError::internal(format!("cannot start a shell: {error}")));
        }
    };
    command.start();
    let (abort, aborted) = mpsc::unbounded_channel();
    command.abort_by(abort);
    tokio::spawn(supervise(command, child, time_limit, aborted));
    Ok(())
}

/// The process group of a command on pipes.
#[derive(Debug, Clone, Copy)]
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn signal(self, signal: Signal) {
        if let Some(group) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(group, signal);
        }
    }
}

async fn supervise(
    command: Arc<Command>,
    mut child: Child,
    time_limit: Option<Duration>,
    mut aborted: mpsc::UnboundedReceiver<Abort>,
) {
    let group = Group::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let source = command.clone();
    let mut reader = tokio::spawn(async move {
        tokio::join!(copy(stdout, &source, Channel::Stdout), copy(stderr, &source, Channel::Stderr));
    });
    let far = Duration::from_secs(86_400 * 365);
    let deadline = tokio::time::sleep(time_limit.unwrap_or(far));
    let kill_timer = tokio::time::sleep(far);
    tokio::pin!(deadline, kill_timer);
    let mut end = Status::Completed;
    let mut abortable = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            () = &mut deadline, if end == Status::Completed => {
                end = Status::TimedOut;
                group.signal(Signal::TERM);
                kill_timer.as_mut().reset(tokio::time::Instant::now() + GRACE);
            }
            wish = aborted.recv(), if abortable => match wish {
                None => abortable = false,
                Some(wish) => {
                    end = Status::Aborted;
                    match wish {
                        Abort::Interrupt => group.signal(Signal::INT),
                        Abort::Kill => group.signal(Signal::KILL),
                        Abort::HangUp => {
                            group.signal(Signal::INT);
                            group.signal(Signal::HUP);
                            kill_timer.as_mut().reset(tokio::time::Instant::now() + GRACE);
                        }
                    }
                }
            },
            () = &mut kill_timer => {
                group.signal(Signal::KILL);
                kill_timer.as_mut().reset(tokio::time::Instant::now() + far);
            }
        }
    };
    // What it left behind may hold the pipes, but not us; a slow listener may.
    while tokio::time::timeout(LAST_WORDS, &mut reader).await.is_err() {
        if !command.sink().is_some_and(|sink| sink.capacity() == 0 && !sink.is_closed()) {
            reader.abort();
            break;
        }
    }
    if end != Status::Completed {
        group.signal(Signal::KILL);
    }
    let code = status.ok().and_then(|status| status.code().or_else(|| status.signal().map(|signal| 128 + signal)));
    command.finish(end, code);
}

/// Keeps all output; a listener's slowness slows the program down, as a pipe does.
async fn copy(pipe: Option<impl AsyncRead + Unpin>, command: &Command, channel: Channel) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        let chunk = &buffer[..length];
        command.keep(channel, chunk);
        if let Some(sink) = command.sink() {
            // A listener that has left aborts the command itself.
            let _ = sink.send((channel, chunk.to_vec())).await;
        }
    }
}
