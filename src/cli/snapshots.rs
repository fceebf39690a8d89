//! `cowl snapshots`: points in a container's past.

use std::process::ExitCode;

use serde_json::json;

use super::branch;
use super::context::{Context, InContainer, Which};
use super::diff;
use super::fail::{Fail, Outcome};
use super::print::{self, Table};
use super::{pick, resolve};
use crate::api::Snapshot;
use crate::api::snapshot::CreateSnapshot;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Take a snapshot, whatever the container is doing
    Create {
        #[command(flatten)]
        which: Which,
        /// A name of your own
        #[arg(long)]
        alias: Option<String>,
        /// Remove it after so many days, 1 to 3650
        #[arg(long, value_name = "DAYS", allow_hyphen_values = true)]
        expiry: Option<i64>,
    },
    /// List a container's snapshots, newest first
    #[command(visible_alias = "ls")]
    List(Which),
    /// Put a container back; the state before is kept as a snapshot
    Restore(Named),
    /// Delete a snapshot
    #[command(visible_alias = "rm")]
    Delete(Named),
    /// Tell what differs between a snapshot and another, or now
    Diff(diff::Args),
    /// Give a snapshot an alias, or take it away with --remove
    Alias {
        #[command(flatten)]
        named: Named,
        /// The alias
        #[arg(long = "to", value_name = "ALIAS", required_unless_present = "remove")]
        to: Option<String>,
        /// Take it away
        #[arg(long, conflicts_with = "to")]
        remove: bool,
    },
    /// Copy files or directories out of a snapshot, back to where they were or elsewhere
    RestoreFiles(pick::RestoreArgs),
    /// Write a file of a snapshot to stdout, or to -o FILE
    Download(pick::DownloadArgs),
    /// Make a container from a snapshot in one go
    Branch {
        /// The snapshot's name or alias
        snapshot: String,
        #[command(flatten)]
        container: InContainer,
        #[command(flatten)]
        options: branch::BranchOptions,
    },
}

/// A snapshot of a container.
#[derive(Debug, clap::Args)]
pub(super) struct Named {
    /// The snapshot's name or alias; the container may be named before it
    #[arg(num_args = 1..=2, required = true, value_names = ["CONTAINER", "SNAPSHOT"])]
    words: Vec<String>,
    #[command(flatten)]
    other: InContainer,
}

impl Named {
    /// Container and snapshot.
    fn names(&self) -> Result<(&str, &str), Fail> {
        match self.words.as_slice() {
            [snapshot] => Ok((self.other.name(None)?, snapshot)),
            [container, snapshot] => Ok((container, snapshot)),
            _ => Err(Fail::usage("which snapshot?")),
        }
    }
}

pub(super) async fn run(context: &Context, command: Command) -> Outcome {
    let client = context.client()?;
    match command {
        Command::Create { which, alias, expiry } => {
            let container = resolve::container(&client, which.name()?).await?;
            let body = CreateSnapshot { alias, expiry: expiry.map(Into::into) };
            context.show(&client.create_snapshot(&container.id, &body).await?, one)?;
        }
        Command::List(which) => {
            let container = resolve::container(&client, which.name()?).await?;
            context.show(client.snapshots(&container.id).await?.snapshots.as_slice(), table)?;
        }
        Command::Restore(named) => {
            let (container, snapshot) = named.names()?;
            let container = resolve::container(&client, container).await?;
            let question = format!("Put {} back to {snapshot}? Its state now is kept as a snapshot.", container.name);
            context.confirm(&question)?;
            let restored = client.restore_snapshot(&container.id, snapshot).await?;
            context.show(&restored, |r| {
                print::line(&format!("{} is back at {}", container.name, label(&r.snapshot)))?;
                match &r.safety_snapshot {
                    Some(name) => print::line(&format!("the state before is kept as {name}")),
                    None => Ok(()),
                }
            })?;
        }
        Command::Delete(named) => {
            let (container, snapshot) = named.names()?;
            let container = resolve::container(&client, container).await?;
            context.confirm(&format!("Delete snapshot {snapshot} of {}?", container.name))?;
            client.delete_snapshot(&container.id, snapshot).await?;
            let gone = json!({ "container_id": container.id, "name": snapshot, "deleted": true });
            context.show(&gone, |_| print::line(&format!("deleted {snapshot}")))?;
        }
        Command::RestoreFiles(args) => return pick::restore(context, args).await,
        Command::Download(args) => return pick::download(context, args).await,
        Command::Branch { snapshot, container, options } => {
            return branch::branch_of(context, container.name(None)?, Some(&snapshot), options).await;
        }
        Command::Diff(args) => diff::run(context, args).await?,
        Command::Alias { named, to, remove: _ } => {
            let (container, snapshot) = named.names()?;
            let container = resolve::container(&client, container).await?;
            let reply = client.alias_snapshot(&container.id, snapshot, to.as_deref()).await?;
            context.show(&reply, |_| match &to {
                Some(alias) => print::line(&format!("{snapshot} is now called {alias}")),
                None => print::line(&format!("{snapshot} has no alias now")),
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn label(s: &Snapshot) -> &str {
    s.alias.as_deref().unwrap_or(&s.name)
}

fn table(all: &[Snapshot]) -> std::io::Result<()> {
    let mut table = Table::new(&["NAME", "ALIAS", "TAKEN", ">SIZE", "EXPIRES", "KIND"]);
    for s in all {
        table.row([
            s.name.clone(),
            s.alias.clone().unwrap_or_else(|| "-".into()),
            print::ago(Some(&s.created_at)),
            print::bytes(s.size),
            s.expires_at.clone().unwrap_or_else(|| "-".into()),
            s.kind.clone(),
        ]);
    }
    table.print()
}

fn one(s: &Snapshot) -> std::io::Result<()> {
    print::facts(&[
        ("name", s.name.clone()),
        ("alias", s.alias.clone().unwrap_or_else(|| "-".into())),
        ("taken", s.created_at.clone()),
        ("expires", s.expires_at.clone().unwrap_or_else(|| "never".into())),
    ])
}
