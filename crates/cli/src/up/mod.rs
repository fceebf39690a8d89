//! `cowl up`: from nothing to a running computer and its addresses. Each step is skipped when it
//! is done already, so a second `up` is instant.
//!
//! ```text
//! check the host → start the node → wait for its image → project `default` → container `hello`
//!   → its first answer → print addresses, or open the cockpit
//! ```

mod background;

use std::io::IsTerminal;
use std::process::ExitCode;

use super::context::{self, Context};
use super::fail::{Fail, Outcome};
use super::images;
use super::progress::Bar;
use super::{doctor, doors, print, url, wait};
use cowl_api::container::{Container, ContainerState, CreateContainer, Operation};
use cowl_api::project::CreateProject;
use cowl_api::server::{ImageState, NodeStatus};
use cowl_client::Client;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the addresses and return, also on a terminal
    #[arg(long)]
    no_tui: bool,
    #[command(flatten)]
    node: doors::NodeOptions,
}

/// Flags of `up` that are not for the node.
const OWN: [&str; 4] = ["--no-tui", "--json", "--yes", "-y"];

pub(super) fn run(context: &Context, args: &Args, cockpit: doors::CockpitOptions) -> Outcome {
    // Checked by the parser; the node reads them again from the same words.
    let _ = &args.node;
    let runtime = context::runtime()?;
    let (status, hello) = runtime.block_on(ready(context))?;
    drop(runtime);
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if terminal && !args.no_tui && !context.json {
        return doors::cockpit(context, cockpit);
    }
    show(context, &status, hello.as_ref())?;
    Ok(ExitCode::SUCCESS)
}

/// Everything up to the first container's first answer.
async fn ready(context: &Context) -> Result<(NodeStatus, Option<Container>), Fail> {
    let client = Client::local(&context.run_dir);
    let mut bar = Bar::new(context.json);
    match client.status().await {
        Ok(_) => {}
        Err(cowl_client::Error::NoNode { .. }) => {
            doctor::require(context).await?;
            background::start(context, &client, node_words(std::env::args_os()), &mut bar).await?;
        }
        Err(e) => return Err(e.into()),
    }
    let image = client.images().await?.into_iter().find(|i| i.name == images::DEFAULT);
    if image.is_none_or(|i| matches!(i.state, ImageState::Failed | ImageState::Absent)) {
        client.build_image(images::DEFAULT, false).await?;
    }
    wait::image(&client, images::DEFAULT, &mut bar).await?;
    let hello = first_container(&client, &mut bar).await?;
    bar.finish();
    Ok((client.status().await?, hello))
}

/// Makes `default` and `hello` on an empty box; starts `hello` when it is stopped.
async fn first_container(client: &Client, bar: &mut Bar) -> Result<Option<Container>, Fail> {
    let containers = client.containers(None).await?;
    if let Some(hello) = containers.iter().find(|c| c.is_default || c.name == "hello") {
        if hello.status == ContainerState::Stopped {
            client.operate(&hello.id, Operation::Start).await?;
        }
        return Ok(Some(match hello.status {
            ContainerState::Stopped | ContainerState::Creating => wait::first_answer(client, &hello.id, bar).await?,
            _ => hello.clone(),
        }));
    }
    if !containers.is_empty() {
        return Ok(None);
    }
    let projects = client.projects().await?;
    let project = match projects.into_iter().find(|p| p.alias == "default") {
        Some(project) => project,
        None => {
            let body = CreateProject { alias: "default".into(), ..CreateProject::default() };
            client.create_project(&body).await?
        }
    };
    let server = client.status().await?.server_id.to_string();
    let body = CreateContainer { server_id: Some(server), name: Some("hello".into()), ..CreateContainer::default() };
    let hello = client.create_container(&project.id, &body).await?;
    Ok(Some(wait::first_answer(client, &hello.id, bar).await?))
}

/// The words of our command line that are the node's.
fn node_words(words: impl Iterator<Item = std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let mut verb = false;
    words
        .skip(1)
        .filter(|w| {
            let is_verb = !verb && w == "up";
            verb |= is_verb;
            !is_verb && !OWN.iter().any(|own| w == own)
        })
        .collect()
}

fn show(context: &Context, status: &NodeStatus, hello: Option<&Container>) -> Result<(), Fail> {
    let urls = hello.map(|c| url::all(status, c)).transpose()?;
    let reply = serde_json::json!({ "api_url": status.api_url, "container": hello, "urls": urls });
    context.show(&reply, |_| {
        let mut facts = vec![("api", status.api_url.clone())];
        for (service, address) in urls.iter().flatten() {
            facts.push((service.as_str(), address.as_str().unwrap_or_default().to_owned()));
        }
        facts.extend(status.hints.iter().map(|h| ("hint", h.clone())));
        print::facts(&facts)?;
        match hello {
            Some(c) => {
                print::line(&format!("{} is {}: `cowl shell {0}` opens it, `cowl` the cockpit", c.name, c.status))
            }
            None => print::line("`cowl` opens the cockpit"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_gets_its_own_words_only() {
        let words = ["cowl", "--run-dir", "/r", "up", "-y", "--listen", "127.0.0.1:8443", "--no-tui", "--domain", "up"];
        let node = node_words(words.into_iter().map(Into::into));
        assert_eq!(node, ["--run-dir", "/r", "--listen", "127.0.0.1:8443", "--domain", "up"]);
    }
}
