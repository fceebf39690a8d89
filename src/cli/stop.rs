//! `cowl stop`: ends the node. Containers keep running; the next node finds them again.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::context::Context;
use super::fail::{Fail, Outcome};
use super::{print, wait};
use crate::api::container::{ContainerState, Operation};
use crate::client::{self, Client};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Stop all containers first
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
        Err(client::Error::NoNode { .. }) => return Ok(Stopped { node: false, left: 0 }),
        other => other?,
    };
    let mut left = 0;
    let all = client.containers(None).await?;
    let alive: Vec<_> =
        all.iter().filter(|c| matches!(c.status, ContainerState::Running | ContainerState::Paused)).collect();
    if containers {
        let stops = alive.iter().map(|c| {
            let operation = if c.status == ContainerState::Paused { Operation::ForceStop } else { Operation::Stop };
            client.operate(&c.id, operation)
        });
        for done in join_all(stops).await {
            done?;
        }
    } else {
        left = alive.len();
    }
    terminate(status.pid).await?;
    Ok(Stopped { node: true, left })
}

async fn terminate(pid: u32) -> Result<(), Fail> {
    let raw = i32::try_from(pid).map_err(Fail::other)?;
    match kill(Pid::from_raw(raw), Signal::SIGTERM) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(nix::errno::Errno::EPERM) => return Err(Fail::Permission("only root may stop the node; use sudo".into())),
        Err(e) => return Err(Fail::other(format!("stop the node (process {pid}): {e}"))),
    }
    let process = format!("/proc/{pid}/stat");
    wait::until("the node to end", Duration::from_secs(30), async || {
        // A zombie has ended; whoever started it has not looked yet.
        let stat = std::fs::read_to_string(Path::new(&process)).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or('X', |(_, rest)| rest.chars().next().unwrap_or('X'));
        Ok(matches!(state, 'Z' | 'X').then_some(()))
    })
    .await
}
