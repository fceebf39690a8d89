//! `cowl terminal sessions exec`: a command in a container, its output as it is produced, its exit
//! code as ours. Ctrl-C interrupts the command there; a second one leaves it behind.

use std::io::Write;
use std::process::ExitCode;

use super::context::{Context, InContainer};
use super::fail::{Fail, Outcome};
use super::print;
use super::resolve;
use cowl_api::container::ContainerState;
use cowl_api::terminal::{CommandResult, Execute};
use cowl_api::{Container, Service};
use cowl_client::{Client, ExecuteIn, Output, Running};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Terminal sessions
    #[command(subcommand)]
    Sessions(Sessions),
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Sessions {
    /// Run a command and show its output as it comes
    Exec(Exec),
}

#[derive(Debug, clap::Args)]
pub(super) struct Exec {
    /// The shell command
    #[arg(long, allow_hyphen_values = true)]
    command: String,
    #[command(flatten)]
    container: InContainer,
    /// Run it in this session, where its shell's state lives on; a fresh one when left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65535))]
    terminal_id: Option<u32>,
    /// Run it as this user
    #[arg(long)]
    user: Option<String>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// End it after so many seconds; 0 is never
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = seconds)]
    timeout: f64,
}

fn seconds(word: &str) -> Result<f64, String> {
    word.parse().ok().filter(|s: &f64| s.is_finite() && *s >= 0.0).ok_or_else(|| "expected seconds, 0 or more".into())
}

pub(super) async fn run(context: &Context, command: Command) -> Outcome {
    let Command::Sessions(Sessions::Exec(exec)) = command;
    let client = context.client()?;
    let container = running(&client, exec.container.name(None)?).await?;
    let order =
        Execute { command: exec.command, timeout: exec.timeout, wait: true, cwd: exec.cwd, ..Execute::default() };
    execute(context, &client, &container, order, &ExecuteIn { terminal_id: exec.terminal_id, user: exec.user }).await
}

/// The container a person named, if one can talk to it.
pub(super) async fn running(client: &Client, word: &str) -> Result<Container, Fail> {
    let container = resolve::container(client, word).await?;
    let name = &container.name;
    match container.status {
        ContainerState::Running | ContainerState::Asleep => Ok(container),
        ContainerState::Stopped => {
            Err(Fail::other(format!("{name} is stopped; `cowl containers start {name}` starts it")))
        }
        ContainerState::Paused => {
            Err(Fail::other(format!("{name} is paused; `cowl containers resume {name}` thaws it")))
        }
        other => Err(Fail::other(format!("{name} is {other}"))),
    }
}

/// Runs a command to its end.
pub(super) async fn execute(
    context: &Context,
    client: &Client,
    container: &Container,
    order: Execute,
    place: &ExecuteIn,
) -> Outcome {
    let kit = client.kit(container, Service::Terminal, place.terminal_id.unwrap_or(1));
    let running = kit.execute(order, place).await?;
    let result = follow(running, !context.json).await?;
    if context.json {
        print::json(&result)?;
    }
    Ok(exit_code(&result))
}

/// Shows output, or gathers it, until the command is over. The first Ctrl-C interrupts the
/// command; with the second we leave, which makes the kit end it.
async fn follow(mut running: Running, show: bool) -> Result<CommandResult, Fail> {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let mut interrupted = false;
    loop {
        let output = tokio::select! {
            output = running.next() => output?,
            signal = tokio::signal::ctrl_c() => {
                signal.map_err(|e| Fail::io("wait for Ctrl-C", &e))?;
                if interrupted {
                    return Err(Fail::other(format!("gave up on command {}", running.id())));
                }
                interrupted = true;
                interrupt(&running);
                continue;
            }
        };
        match output {
            // Its result leaves out what was told line by line.
            Output::Exit(result) => return Ok(CommandResult { stdout, stderr, ..result }),
            Output::Stdout(text) if show => print::raw(text.as_bytes())?,
            Output::Stderr(text) if show => {
                let mut err = std::io::stderr().lock();
                err.write_all(text.as_bytes())?;
                err.flush()?;
            }
            Output::Stdout(text) => stdout.push_str(&text),
            Output::Stderr(text) => stderr.push_str(&text),
        }
    }
}

/// Asks for the command's end without keeping its output, or a second Ctrl-C, waiting.
fn interrupt(running: &Running) {
    let abort = running.abort(false);
    tokio::spawn(async move {
        if let Err(e) = abort.await {
            // It may have ended in the same moment; its result is on its way then.
            tracing::debug!("abort: {e}");
        }
    });
}

/// The command's exit code; what shells use where it has none.
fn exit_code(result: &CommandResult) -> ExitCode {
    let code = match (result.exit_code, result.status.as_str()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(1),
        (None, "timed_out" | "timeout") => 124,
        (None, "aborted") => 130,
        (None, "completed") => 0,
        (None, _) => 1,
    };
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_commands_or_what_shells_would_say() {
        let result = |code, status: &str| CommandResult {
            command_id: "x".into(),
            terminal_id: 1,
            status: status.into(),
            exit_code: code,
            stdout: String::new(),
            stderr: String::new(),
            duration_ms: 1,
            truncated: false,
        };
        for (code, status, want) in [
            (Some(7), "completed", 7),
            (Some(130), "aborted", 130),
            (None, "timed_out", 124),
            (None, "aborted", 130),
            (None, "failed", 1),
        ] {
            assert_eq!(exit_code(&result(code, status)), ExitCode::from(want), "{status}");
        }
    }
}
