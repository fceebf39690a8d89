//! `cowl stop`: ends the node. Containers keep running; the next node finds them again.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::context::Context;
use super::fail::{Fail, Outcome};
use super::{print, wait};
use cowl_api::container::ContainerState;
use cowl_client::Client;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Stop all containers first; those that start with the node come back with the next one
    #[arg(long)]
    containers: bool,
}

pub(super) async fn run(context: &Context, args: &Args) -> Outcome {
    let stopped = stop(&Client::local(&context.run_dir), args.containers).await?;
    context.show(&serde_json::json!({ "stopped": stopped.node, "containers_running": stopped.left }), |_| {
        match (stopped.node, stopped.left) {
            (false, _) => print::line("no node runs"),
            (true, 0) => print::line("the node has stopped"),
            (true, n) => {
                let who = if n == 1 { "1 container keeps".into() } else { format!("{n} containers keep") };
                print::line(&format!("the node has stopped; {who} running (--containers stops them, too)"))
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) struct Stopped {
    /// Whether a node ran.
    node: bool,
    /// Containers left running.
    left: usize,
}

/// Ends the node of this client, after its containers when asked for.
pub(super) async fn stop(client: &Client, containers: bool) -> Result<Stopped, Fail> {
    let status = match client.status().await {
        Err(cowl_client::Error::NoNode { .. }) => return Ok(Stopped { node: false, left: 0 }),
        other => other?,
    };
    let alive = client.containers(None).await?;
    let alive = alive.iter().filter(|c| matches!(c.status, ContainerState::Running | ContainerState::Paused)).count();
    if containers {
        terminate(status.pid, Signal::SIGUSR1, WITH_CONTAINERS).await?;
        return Ok(Stopped { node: true, left: 0 });
    }
    terminate(status.pid, Signal::SIGTERM, ALONE).await?;
    Ok(Stopped { node: true, left: alive })
}

/// How long a node may take to end.
const ALONE: Duration = Duration::from_secs(30);
/// How long it may take with its containers, which stop several at once, 10 s at most each.
const WITH_CONTAINERS: Duration = Duration::from_secs(300);

async fn terminate(pid: u32, signal: Signal, patience: Duration) -> Result<(), Fail> {
    let raw = i32::try_from(pid).map_err(Fail::other)?;
    match kill(Pid::from_raw(raw), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(nix::errno::Errno::EPERM) => return Err(Fail::Permission("only root may stop the node; use sudo".into())),
        Err(e) => return Err(Fail::other(format!("stop the node (process {pid}): {e}"))),
    }
    let process = format!("/proc/{pid}/stat");
    wait::until("the node to end", patience, async || {
        // A zombie has ended; whoever started it has not looked yet.
        let stat = std::fs::read_to_string(Path::new(&process)).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or('X', |(_, rest)| rest.chars().next().unwrap_or('X'));
        Ok(matches!(state, 'Z' | 'X').then_some(()))
    })
    .await
}
