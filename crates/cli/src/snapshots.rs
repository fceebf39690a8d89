//! `cowl snapshots`: points in a container's past.

use std::process::ExitCode;

use serde_json::json;

use super::branch;
use super::context::{Context, InContainer, Which};
use super::diff;
use super::fail::{Fail, Outcome};
use super::print::{self, Table};
use super::{pick, resolve};
use cowl_api::Snapshot;
use cowl_api::snapshot::{CreateSnapshot, SnapshotRestored};
use cowl_client::Client;

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
        /// What it is for, up to 1,000 characters
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// Keep it whatever happens, until it is unpinned
        #[arg(long)]
        pin: bool,
        /// Take the alias away from the snapshot that has it
        #[arg(long, requires = "alias")]
        replace: bool,
    },
    /// List a container's snapshots, newest first
    #[command(visible_alias = "ls")]
    List(Which),
    /// Put a container back; the state before is kept as a snapshot
    Restore(Named),
    /// Undo the last restore; a second time redoes it
    Undo(Which),
    /// Delete a snapshot
    #[command(visible_alias = "rm")]
    /// Tell what differs between a snapshot and another, or now
    Diff(diff::Args),
    Delete {
        #[command(flatten)]
        named: Named,
        /// Also when it is pinned
        #[arg(long)]
        force: bool,
    },
    /// Write down what a snapshot is for, or take that away with --remove
    Note {
        #[command(flatten)]
        named: Named,
        /// Up to 1,000 characters
        #[arg(long = "to", value_name = "TEXT", required_unless_present = "remove")]
        to: Option<String>,
        /// Take it away
        #[arg(long, conflicts_with = "to")]
        remove: bool,
    },
    /// Keep a snapshot whatever happens
    Pin(Named),
    /// Let expiry and schedules remove a snapshot again
    Unpin(Named),
    /// Remove a snapshot after so many days from now, or never
    Expire {
        #[command(flatten)]
        named: Named,
        /// 1 to 3650
        #[arg(long = "in", value_name = "DAYS", allow_hyphen_values = true, required_unless_present = "never")]
        days: Option<i64>,
        /// Keep it for good
        #[arg(long, conflicts_with = "days")]
        never: bool,
    },
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
        Command::Create { which, alias, expiry, note, pin, replace } => {
            let container = resolve::container(&client, which.name()?).await?;
            let body = CreateSnapshot {
                alias,
                expiry: expiry.map(Into::into),
                note,
                pinned: pin.then_some(true),
                replace: replace.then_some(true),
            };
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
            context.show(&restored, |r| back(&container.name, r))?;
        }
        Command::Undo(which) => {
            let container = resolve::container(&client, which.name()?).await?;
            let question = format!("Undo the last restore of {}? Its state now is kept as a snapshot.", container.name);
            context.confirm(&question)?;
            let restored = client.undo_restore(&container.id).await?;
            context.show(&restored, |r| back(&container.name, r))?;
        }
        Command::Note { named, to, remove: _ } => {
            let (container, snapshot) = named.names()?;
            let container = resolve::container(&client, container).await?;
            context.show(&client.note_snapshot(&container.id, snapshot, to.as_deref()).await?, one)?;
        }
        Command::Pin(named) => pin(context, &client, &named, true).await?,
        Command::Unpin(named) => pin(context, &client, &named, false).await?,
        Command::Expire { named, days, never: _ } => {
            let (container, snapshot) = named.names()?;
            let container = resolve::container(&client, container).await?;
            context.show(&client.expire_snapshot(&container.id, snapshot, days).await?, one)?;
        }
        Command::Delete { named, force } => {
            let (container, snapshot) = named.names()?;
            let container = resolve::container(&client, container).await?;
            context.confirm(&format!("Delete snapshot {snapshot} of {}?", container.name))?;
            if force {
                client.force_delete_snapshot(&container.id, snapshot).await?;
            } else {
                client.delete_snapshot(&container.id, snapshot).await?;
            }
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

async fn pin(context: &Context, client: &Client, named: &Named, pinned: bool) -> Result<(), Fail> {
    let (container, snapshot) = named.names()?;
    let container = resolve::container(client, container).await?;
    context.show(&client.pin_snapshot(&container.id, snapshot, pinned).await?, one)
}

fn back(container: &str, r: &SnapshotRestored) -> std::io::Result<()> {
    print::line(&format!("{container} is back at {}", label(&r.snapshot)))?;
    match &r.safety_snapshot {
        Some(name) => print::line(&format!("the state before is kept as {name}; cowl snapshots undo goes back to it")),
        None => Ok(()),
    }
}

fn label(s: &Snapshot) -> &str {
    s.alias.as_deref().unwrap_or(&s.name)
}

fn table(all: &[Snapshot]) -> std::io::Result<()> {
    let mut table = Table::new(&["NAME", "ALIAS", "TAKEN", ">OWN", ">ALL", "EXPIRES", "KIND", "BY", "NOTE"]);
    for s in all {
        table.row([
            s.name.clone(),
            s.alias.clone().unwrap_or_else(|| "-".into()),
            print::ago(Some(&s.created_at)),
            print::bytes(s.size),
            print::bytes(s.referenced),
            if s.pinned { "pinned".into() } else { print::ahead(s.expires_at.as_deref()) },
            s.kind.clone(),
            s.created_by.clone(),
            s.note.clone().or_else(|| s.reason.clone()).unwrap_or_default(),
        ]);
    }
    table.print()
}

fn one(s: &Snapshot) -> std::io::Result<()> {
    let mut facts = vec![
        ("name", s.name.clone()),
        ("alias", s.alias.clone().unwrap_or_else(|| "-".into())),
        ("taken", format!("{} by {}", s.created_at, s.created_by)),
        ("expires", s.expires_at.clone().unwrap_or_else(|| "never".into())),
    ];
    if s.pinned {
        facts.push(("pinned", "until it is unpinned".into()));
    }
    facts.extend(s.note.clone().map(|note| ("note", note)));
    facts.extend(s.reason.clone().map(|reason| ("reason", reason)));
    print::facts(&facts)
}
