//! Deleted containers: listed, taken back, removed for good.

use std::process::ExitCode;

use serde_json::json;

use super::containers;
use super::context::{Context, Which};
use super::fail::{Fail, Outcome};
use super::print::{self, Table};
use super::resolve;
use cowl_api::{Container, ContainerId};
use cowl_client::Client;

/// The deleted container with this id or name; of several of one name the one deleted last.
async fn deleted(client: &Client, word: &str) -> Result<Container, Fail> {
    if let Ok(id) = word.parse::<ContainerId>() {
        return Ok(client.any_container(&id).await?);
    }
    resolve::latest(client.deleted_containers(None).await?, word)
        .ok_or_else(|| Fail::other(format!("no deleted container is called {word}")))
}

pub(super) async fn list(context: &Context, project: Option<&str>) -> Outcome {
    let client = context.client()?;
    let project = match project {
        Some(word) => Some(resolve::project(&client, word).await?.id),
        None => None,
    };
    let all = client.deleted_containers(project.as_ref()).await?;
    context.show(&all, |all| {
        let mut table = Table::new(&["NAME", "PROJECT", "DELETED", "GONE", ">SNAPSHOTS", "ID"]);
        for c in all {
            table.row([
                c.name.clone(),
                c.project_alias.clone(),
                print::ago(c.deleted_at.as_deref()),
                print::ahead(c.purge_at.as_deref()),
                c.snapshot_count.to_string(),
                c.id.to_string(),
            ]);
        }
        table.print()
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn back(context: &Context, which: &Which, name: Option<&str>) -> Outcome {
    let client = context.client()?;
    let container = deleted(&client, which.name()?).await?;
    context.show(&client.undelete_container(&container.id, name).await?, containers::one)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn purge(context: &Context, which: &Which) -> Outcome {
    let client = context.client()?;
    let word = which.name()?;
    let container = match resolve::container(&client, word).await {
        Ok(found) => found,
        // What is there comes first; a failure to ask is told by the second question, too.
        Err(first) => deleted(&client, word).await.map_err(|_| first)?,
    };
    let question = format!("Delete {} with its {} snapshots for good?", container.name, container.snapshot_count);
    context.confirm(&question)?;
    client.purge_container(&container.id).await?;
    let reply = json!({ "id": container.id, "deleted": true, "purge_at": null });
    context.show(&reply, |_| print::line(&format!("deleted {} for good", container.name)))?;
    Ok(ExitCode::SUCCESS)
}
