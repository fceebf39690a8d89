//! `cowl url`: the addresses of a container.

use std::process::ExitCode;

use serde_json::{Map, Value};

use super::context::{Context, InContainer};
use super::fail::{Fail, Outcome};
use super::{print, resolve};
use cowl_api::server::NodeStatus;
use cowl_api::{Container, Service, urls};

/// Services that answer; the others of the grammar are not built yet.
const BUILT: [Service; 2] = [Service::Terminal, Service::Files];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The container, then, if only one address is wanted, `terminal-2`, `files-1`, `http-8080` …
    #[arg(num_args = 0..=2, value_names = ["CONTAINER", "SERVICE"])]
    words: Vec<String>,
    #[command(flatten)]
    container: InContainer,
}

pub(super) async fn run(context: &Context, args: &Args) -> Outcome {
    let client = context.client()?;
    let container = resolve::container(&client, args.container.name(args.words.first().map(String::as_str))?).await?;
    let status = client.status().await?;
    match args.words.get(1) {
        Some(segment) => {
            let url = of(&status, &container, segment)?;
            context.show(&Value::from(url.as_str()), |_| print::line(&url))?;
        }
        None => {
            let all = all(&status, &container)?;
            context.show(&all, |all| {
                let lines: Vec<_> =
                    all.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or("").to_owned())).collect();
                print::facts(&lines)
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Port of the proxy, from where it listens.
fn port(status: &NodeStatus) -> Result<u16, Fail> {
    let port = status.listen.rsplit_once(':').and_then(|(_, p)| p.parse().ok());
    port.ok_or_else(|| Fail::other(format!("the node listens at {}, which has no port", status.listen)))
}

/// The URL of one service of a container.
pub(super) fn of(status: &NodeStatus, c: &Container, segment: &str) -> Result<String, Fail> {
    let domain = status.domains.first().map_or(urls::DEFAULT_DOMAINS[0], String::as_str);
    let host = urls::container_host(&c.project_id, &c.id, segment, &c.server_name, domain);
    Ok(urls::https(&host, port(status)?))
}

/// All URLs of a container, as a map from service to URL.
pub(super) fn all(status: &NodeStatus, c: &Container) -> Result<Map<String, Value>, Fail> {
    let mut all = Map::new();
    if c.hoody_kit {
        for service in BUILT {
            all.insert(service.slug().into(), of(status, c, &format!("{service}-1"))?.into());
        }
    }
    all.insert("http".into(), of(status, c, "http-8080")?.into());
    Ok(all)
}
