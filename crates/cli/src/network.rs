//! `cowl network`: how a container reaches the world.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::ValueEnum;

use super::context::{Context, InContainer, Which};
use super::fail::{Fail, Outcome};
use super::print;
use super::resolve;
use cowl_api::network::{EgressBody, EgressType, EgressView};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show how a container reaches the world
    Get(Which),
    /// Say how: `block` lets nothing out; the container's URLs work all the same
    Update {
        /// What to do with what goes out
        #[arg(long = "type", value_enum, value_name = "TYPE")]
        kind: TypeWord,
        #[command(flatten)]
        more: More,
    },
    /// The same in short: `cowl network set block -c web`
    Set {
        /// What to do with what goes out
        #[arg(value_enum, value_name = "TYPE")]
        kind: TypeWord,
        #[command(flatten)]
        more: More,
    },
    /// Make the configuration hold (again)
    Start(Which),
    /// Keep the configuration, but let the container out directly
    Stop(Which),
    /// Remove the configuration
    #[command(visible_alias = "rm")]
    Delete(Which),
}

#[derive(Debug, clap::Args)]
pub(super) struct More {
    #[command(flatten)]
    container: InContainer,
    /// Upstream proxy, e.g. socks5://user:password@host:1080
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Resolvers, at most four, separated by commas
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    dns_servers: Option<Vec<IpAddr>>,
    /// A note for people
    #[arg(long)]
    comment: Option<String>,
    /// A note for people
    #[arg(long)]
    country: Option<String>,
    /// A note for people
    #[arg(long)]
    city: Option<String>,
    /// A note for people
    #[arg(long)]
    region: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum TypeWord {
    /// Nothing goes out
    Block,
    /// Through a SOCKS5 proxy
    Socks5,
    /// Through an HTTP proxy
    Http,
    /// Through an HTTP proxy over TLS
    Https,
}

pub(super) async fn run(context: &Context, command: Command) -> Outcome {
    let client = context.client()?;
    match command {
        Command::Get(which) => {
            let id = resolve::container(&client, which.name()?).await?.id;
            context.show(&client.egress(&id).await?, show)?;
        }
        Command::Update { kind, more } | Command::Set { kind, more } => {
            let id = resolve::container(&client, more.container.name(None)?).await?.id;
            let body = EgressBody {
                kind: match kind {
                    TypeWord::Block => EgressType::Block,
                    TypeWord::Socks5 => EgressType::Socks5,
                    TypeWord::Http => EgressType::Http,
                    TypeWord::Https => EgressType::Https,
                },
                proxy: more.proxy,
                country: more.country,
                city: more.city,
                region: more.region,
                comment: more.comment,
                dns_servers: more.dns_servers,
            };
            context.show(&client.set_egress(&id, &body).await?, show)?;
        }
        Command::Start(which) => switch(context, &which, "start").await?,
        Command::Stop(which) => switch(context, &which, "stop").await?,
        Command::Delete(which) => {
            let container = resolve::container(&client, which.name()?).await?;
            let gone = client.remove_egress(&container.id).await?;
            context.show(&gone, |_| print::line(&format!("{} reaches the world directly", container.name)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn switch(context: &Context, which: &Which, word: &str) -> Result<(), Fail> {
    let client = context.client()?;
    let container = resolve::container(&client, which.name()?).await?;
    let changed = client.switch_egress(&container.id, word).await?;
    let holds = if changed.is_running { "holds" } else { "does not hold" };
    context.show(&changed, |_| print::line(&format!("the network configuration of {} {holds}", container.name)))
}

fn show(view: &EgressView) -> std::io::Result<()> {
    let Some(body) = view.body.as_ref().filter(|_| view.configured) else {
        return print::line("not configured: it reaches the world directly");
    };
    let (kind, status) = (print::word(&body.kind), print::word(&view.status));
    let servers = body.dns_servers.iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut facts = vec![("type", kind), ("status", status), ("since", view.configured_at.clone().unwrap_or_default())];
    if body.kind != EgressType::Block {
        facts.push(("resolvers", servers));
    }
    if let Some(comment) = &body.comment {
        facts.push(("comment", comment.clone()));
    }
    print::facts(&facts)
}
