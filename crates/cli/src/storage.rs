//! `cowl storage`: directories shared between containers.

use std::process::ExitCode;

use serde_json::json;

use super::context::{Context, InContainer, Which};
use super::doors;
use super::fail::{Fail, Outcome};
use super::print::{self, Table};
use super::resolve;
use cowl_api::Container;
use cowl_api::ids::ShareId;
use cowl_api::share::{self, CreateShare, IncomingShare, Share, ShareMode, UpdateShare};
use cowl_client::Client;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Offer a directory of a container to another container, or to all of a project
    Create {
        /// The directory, by its absolute path in the container named with -c
        path: String,
        #[command(flatten)]
        source: InContainer,
        /// The container that may see it; it must take it with `storage incoming toggle-mount`
        #[arg(long, value_name = "CONTAINER", conflicts_with = "to_project", required_unless_present = "to_project")]
        to: Option<String>,
        /// The project whose containers all see it
        #[arg(long, value_name = "PROJECT")]
        to_project: Option<String>,
        /// readonly or readwrite
        #[arg(long, default_value = "readonly", value_parser = mode)]
        mode: ShareMode,
        /// Name of the directory below /hoody/shares [default: the share's id]
        #[arg(long)]
        alias: Option<String>,
        /// A word to find it by
        #[arg(long)]
        label: Option<String>,
        /// Free text
        #[arg(long)]
        description: Option<String>,
        /// Take it away after this time: 30m, 12h, 2d [default: never]
        #[arg(long, value_name = "TIME", value_parser = ends_after)]
        expires: Option<End>,
        /// Take it on the target's behalf at once
        #[arg(long, conflicts_with = "to_project")]
        mount: bool,
    },
    /// List what a container shares
    #[command(visible_alias = "ls")]
    List(Which),
    /// List all shares of the box
    ListAll,
    /// Change a share
    Update {
        /// The share's id or alias
        share: String,
        /// readonly or readwrite
        #[arg(long, value_parser = mode)]
        mode: Option<ShareMode>,
        /// New name of the directory
        #[arg(long)]
        alias: Option<String>,
        /// Offer it or not
        #[arg(long)]
        enabled: Option<bool>,
        /// Take it away after this time from now: 30m, 12h, 2d, or never
        #[arg(long, value_name = "TIME", value_parser = ends_after)]
        expires: Option<End>,
    },
    /// Take a share away from everybody
    #[command(visible_alias = "rm")]
    Delete {
        /// The share's id or alias
        share: String,
    },
    /// What others share with a container
    #[command(subcommand)]
    Incoming(Incoming),
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Incoming {
    /// List what is offered to a container
    #[command(visible_alias = "ls")]
    List(Which),
    /// Take an offered share, or stop taking it
    ToggleMount {
        /// The share's id or alias
        share: String,
        #[command(flatten)]
        target: InContainer,
        /// Take it (true) or not (false)
        #[arg(long, default_value = "true", action = clap::ArgAction::Set)]
        mount: bool,
    },
}

fn mode(word: &str) -> Result<ShareMode, String> {
    match word {
        "readonly" | "ro" => Ok(ShareMode::Readonly),
        "readwrite" | "rw" => Ok(ShareMode::Readwrite),
        _ => Err("expected readonly or readwrite".into()),
    }
}

/// Seconds since the epoch at which a share ends; `None` for never.
#[derive(Debug, Clone, Copy)]
pub(super) struct End(Option<u64>);

fn ends_after(word: &str) -> Result<End, String> {
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    share::ends_after(word, now).map(End).map_err(|e| e.message)
}

/// The share with this id or alias.
async fn find(client: &Client, word: &str) -> Result<Share, Fail> {
    let all = client.shares().await?;
    let mut found = all.into_iter().filter(|s| s.id.as_str() == word || s.alias.as_deref() == Some(word));
    match (found.next(), found.next()) {
        (Some(share), None) => Ok(share),
        (None, _) => Err(Fail::other(format!("no share is called {word}"))),
        (Some(_), Some(_)) => Err(Fail::other(format!("several shares are called {word}; name one by its id"))),
    }
}

pub(super) async fn run(context: &Context, command: Command) -> Outcome {
    let client = context.client()?;
    match command {
        Command::Create { path, source, to, to_project, mode, alias, label, description, expires, mount } => {
            let from = resolve::container(&client, source.name(None)?).await?;
            let target = match &to {
                Some(word) => Some(resolve::container(&client, word).await?),
                None => None,
            };
            let project = match &to_project {
                Some(word) => Some(resolve::project(&client, word).await?.id),
                None => None,
            };
            let body = CreateShare {
                source_path: path,
                target_container_id: target.as_ref().map(|c| c.id),
                target_project_id: project,
                mode,
                alias,
                label,
                description,
                enabled: None,
                expires_at: expires.and_then(|end| end.0),
            };
            let share = client.create_share(&from.id, &body).await?;
            if let (true, Some(target)) = (mount, &target) {
                client.mount_share(&target.id, &share.id, true).await?;
            }
            context.show(&share, |share| {
                print::line(&format!("{} of {} is shared as {}", share.source_path, from.name, inside(share)))?;
                match &target {
                    Some(target) if !mount => print::line(&take_it(target, &share.id)),
                    _ => Ok(()),
                }
            })?;
        }
        Command::List(which) => {
            let container = resolve::container(&client, which.name()?).await?;
            let mut all = client.shares().await?;
            all.retain(|share| share.source_container_id == container.id);
            context.show(all.as_slice(), table)?;
        }
        Command::ListAll => context.show(client.shares().await?.as_slice(), table)?,
        Command::Update { share, mode, alias, enabled, expires } => {
            let share = find(&client, &share).await?;
            let expires_at = expires.map(|end| end.0);
            let change = UpdateShare { mode, alias: alias.map(Some), enabled, expires_at, ..UpdateShare::default() };
            let changed = client.update_share(&share.source_container_id, &share.id, &change).await?;
            context.show(&changed, |s| table(std::slice::from_ref(s)))?;
        }
        Command::Delete { share } => {
            let share = find(&client, &share).await?;
            context.confirm(&format!("Take {} away from all who see it?", share.directory()))?;
            client.delete_share(&share.id).await?;
            let gone = json!({ "id": share.id, "deleted": true });
            context.show(&gone, |_| print::line(&format!("{} is no longer shared", share.source_path)))?;
        }
        Command::Incoming(Incoming::List(which)) => {
            let container = resolve::container(&client, which.name()?).await?;
            context.show(client.incoming_shares(&container.id).await?.as_slice(), incoming)?;
        }
        Command::Incoming(Incoming::ToggleMount { share, target, mount }) => {
            let target = resolve::container(&client, target.name(None)?).await?;
            let share = find(&client, &share).await?;
            let reply = client.mount_share(&target.id, &share.id, mount).await?;
            context.show(&reply, |_| {
                let does = if mount { "sees" } else { "no longer sees" };
                print::line(&format!("{} {does} {} at {}", target.name, share.source_path, inside(&share)))
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where containers see it.
fn inside(share: &Share) -> String {
    format!("{}/{}", doors::SHARES, share.directory())
}

fn take_it(target: &Container, id: &ShareId) -> String {
    format!("{} takes it with: cowl storage incoming toggle-mount {id} -c {}", target.name, target.name)
}

fn state(share: &Share) -> &str {
    if share.enabled { &share.status } else { "disabled" }
}

fn table(all: &[Share]) -> std::io::Result<()> {
    let mut table = Table::new(&["NAME", "PATH", "MODE", "FROM", "TO", "STATE"]);
    for s in all {
        let to = s.target_container_id.as_ref().map(ToString::to_string);
        let to = to.or(s.target_project_id.as_ref().map(|id| format!("project {id}")));
        table.row([
            s.directory().to_owned(),
            s.source_path.clone(),
            s.mode.as_str().to_owned(),
            s.source_container_id.to_string(),
            to.unwrap_or_default(),
            state(s).to_owned(),
        ]);
    }
    table.print()
}

fn incoming(all: &[IncomingShare]) -> std::io::Result<()> {
    let mut table = Table::new(&["NAME", "AT", "MODE", "FROM", "TAKEN", "STATE"]);
    for s in all {
        table.row([
            s.share.directory().to_owned(),
            s.mount_path.clone(),
            s.share.mode.as_str().to_owned(),
            s.share.source_container_id.to_string(),
            if s.mount { "yes" } else { "no" }.to_owned(),
            state(&s.share).to_owned(),
        ]);
    }
    table.print()
}
