//! `cowl containers`: list, look at, start, stop, delete. Making one is `create`.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::context::{Context, Which};
use super::create;
use super::fail::{Fail, Outcome};
use super::print::{self, Table};
use super::resolve;
use super::{branch, exports, pool, settings, undelete, usage, wait};
use cowl_api::Container;
use cowl_api::container::{Operation, StatusLog, UpdateContainer};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a container and wait until its URLs answer
    Create(Box<create::Args>),
    /// List containers
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this project (id or alias)
        #[arg(long)]
        project: Option<String>,
        /// Those that were deleted and can be had back
        #[arg(long)]
        deleted: bool,
    },
    /// Show one container
    Get(Which),
    /// Start a stopped container, or wake a sleeping one
    #[command(visible_alias = "wake")]
    Start(Which),
    /// Stop a container, giving it time to halt
    Stop {
        #[command(flatten)]
        which: Which,
        /// Kill it instead
        #[arg(long)]
        force: bool,
    },
    /// Stop a container and start it again
    Restart(Which),
    /// Freeze a running container in memory
    Pause(Which),
    /// Thaw a frozen container
    Resume(Which),
    /// Change what a container may use, at once when it runs
    Set {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        change: Box<settings::Change>,
    },
    /// Put a container to sleep until somebody asks for it
    Sleep(Which),
    /// Show how a container came to its state, with its last words where it crashed
    Logs(Which),
    /// Show what a container uses
    Stats {
        #[command(flatten)]
        which: Which,
        /// Show it every second, until interrupted; with --json one object a line
        #[arg(long)]
        watch: bool,
        /// Show the last hour in steps of 30 s
        #[arg(long, conflicts_with = "watch")]
        history: bool,
    },
    /// Show what its bytes on disk are: its own, its image's, or held by snapshots only
    Disk(Which),
    /// Write a container to one file
    Export(Box<exports::Export>),
    /// Make a container of a file that export wrote
    Import(Box<exports::Import>),
    /// Check a file that export wrote, without a node
    Verify(exports::Verify),
    /// Make a container from another one as it is, or was, with its snapshots
    Copy(branch::CopyArgs),
    /// Make a container from another one in one go, to try something out
    Branch(branch::BranchArgs),
    /// Put a copy to its source's present state; its own is kept as a snapshot
    Sync(Which),
    /// Draw which containers were made from which, and their snapshots
    Tree(branch::TreeArgs),
    /// Delete a container with its snapshots; for a day, or what was set, it can be had back
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        which: Which,
        /// For good, also when it is deleted already
        #[arg(long)]
        purge: bool,
    },
    /// Take a deleted container back, running if it ran
    Undelete {
        #[command(flatten)]
        which: Which,
        /// Another name, when its own is taken
        #[arg(long)]
        name: Option<String>,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Create(args) => create::run(context, *args).await,
        Command::List { project, deleted: true } => undelete::list(context, project.as_deref()).await,
        Command::List { project, .. } => list(context, project.as_deref()).await,
        Command::Get(which) => {
            let container = resolve::container(&context.client()?, which.name()?).await?;
            context.show(&container, one)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Start(which) => operate(context, &which, Operation::Start).await,
        Command::Stop { which, force: false } => operate(context, &which, Operation::Stop).await,
        Command::Stop { which, force: true } => operate(context, &which, Operation::ForceStop).await,
        Command::Restart(which) => operate(context, &which, Operation::Restart).await,
        Command::Pause(which) => operate(context, &which, Operation::Pause).await,
        Command::Resume(which) => operate(context, &which, Operation::Resume).await,
        Command::Set { which, change } => set(context, &which, &change).await,
        Command::Stats { which, watch: true, .. } => usage::watch(context, &which).await,
        Command::Stats { which, history: true, .. } => usage::history(context, &which).await,
        Command::Stats { which, .. } => usage::now(context, &which).await,
        Command::Disk(which) => pool::disk(context, &which).await,
        Command::Sleep(which) => operate(context, &which, Operation::Sleep).await,
        Command::Logs(which) => logs(context, &which).await,
        Command::Export(args) => exports::export(context, &args).await,
        Command::Import(args) => exports::import(context, &args).await,
        Command::Verify(args) => exports::verify(context, &args),
        Command::Copy(args) => branch::copy(context, args).await,
        Command::Branch(args) => branch::branch(context, args).await,
        Command::Sync(which) => branch::sync(context, &which).await,
        Command::Tree(args) => branch::tree(context, args).await,
        Command::Delete { which, purge: true } => undelete::purge(context, &which).await,
        Command::Delete { which, .. } => delete(context, &which).await,
        Command::Undelete { which, name } => undelete::back(context, &which, name.as_deref()).await,
    }
}

async fn list(context: &Context, project: Option<&str>) -> Outcome {
    let client = context.client()?;
    let project = match project {
        Some(word) => Some(resolve::project(&client, word).await?.id),
        None => None,
    };
    let all = client.containers(project.as_ref()).await?;
    context.show(&all, |all| {
        let mut table = Table::new(&["NAME", "PROJECT", "STATE", "UP", "IMAGE", ">SNAPSHOTS", "ID"]);
        for c in all {
            table.row([
                c.name.clone(),
                c.project_alias.clone(),
                c.status.to_string(),
                print::since(c.started_at.as_deref()),
                c.container_image.clone(),
                c.snapshot_count.to_string(),
                c.id.to_string(),
            ]);
        }
        table.print()
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn operate(context: &Context, which: &Which, operation: Operation) -> Outcome {
    let client = context.client()?;
    let container = resolve::container(&client, which.name()?).await?;
    let reply = client.operate(&container.id, operation).await?;
    context.show(&reply, |r| print::line(&format!("{} is {}", container.name, r.status)))?;
    Ok(ExitCode::SUCCESS)
}

async fn set(context: &Context, which: &Which, change: &settings::Change) -> Outcome {
    let patch = change.patch()?;
    let client = context.client()?;
    let container = resolve::container(&client, which.name()?).await?;
    let body = UpdateContainer { settings: Some(Some(patch).filter(|p| !p.is_null())), ..Default::default() };
    context.show(&client.update_container(&container.id, &body).await?, one)?;
    Ok(ExitCode::SUCCESS)
}

async fn logs(context: &Context, which: &Which) -> Outcome {
    let client = context.client()?;
    let container = resolve::container(&client, which.name()?).await?;
    let logs = client.status_logs(&container.id).await?;
    // The newest last, where the eye is; as JSON they come as the API gives them.
    context.show(logs.as_slice(), |all| all.iter().rev().try_for_each(transition))?;
    Ok(ExitCode::SUCCESS)
}

fn transition(log: &StatusLog) -> std::io::Result<()> {
    let reason = log.metadata["reason"].as_str().map(|r| format!(": {r}")).unwrap_or_default();
    print::line(&format!("{}  {:<9} by {}{reason}", log.transition_time, log.to_status, log.triggered_by))?;
    let console = log.metadata["console"].as_array().into_iter().flatten();
    console.filter_map(|line| line.as_str()).try_for_each(|line| print::line(&format!("    | {line}")))
}

async fn delete(context: &Context, which: &Which) -> Outcome {
    let client = context.client()?;
    let container = resolve::container(&client, which.name()?).await?;
    context.confirm(&format!("Delete {} with its {} snapshots?", container.name, container.snapshot_count))?;
    let said = client.delete_container(&container.id).await?;
    let gone = wait::until("the container to be gone", Duration::from_secs(120), async || {
        match client.container(&container.id).await {
            Err(e) if e.status() == Some(404) => Ok(Some(())),
            Err(e) => Err(Fail::from(e)),
            Ok(_) => Ok(None),
        }
    });
    gone.await?;
    let reply = json!({ "id": container.id, "deleted": true, "purge_at": said["purge_at"] });
    context.show(&reply, |_| match said["purge_at"].as_str() {
        Some(at) => print::line(&format!(
            "deleted {}; until {at} it comes back by: cowl containers undelete {}",
            container.name, container.id
        )),
        None => print::line(&format!("deleted {}", container.name)),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// One container for people; also shown after it was created.
pub(super) fn one(c: &Container) -> std::io::Result<()> {
    let mut facts = vec![
        ("name", c.name.clone()),
        ("id", c.id.to_string()),
        ("project", format!("{} ({})", c.project_alias, c.project_id)),
        ("state", c.status.to_string()),
        ("image", c.container_image.clone()),
        ("server", c.server_name.clone()),
        ("created", c.created_at.clone()),
        ("snapshots", c.snapshot_count.to_string()),
    ];
    if let Some(reason) = &c.status_reason {
        facts.push(("reason", reason.clone()));
    }
    if let Some(address) = &c.address {
        facts.push(("address", address.clone()));
    }
    facts.extend(settings::facts(&c.settings, &c.effective_settings));
    for warning in &c.warnings {
        facts.push(("warning", warning.message.clone()));
    }
    print::facts(&facts)
}
