//! `cowl events`: what happened, and with `-f` what happens.

use std::process::ExitCode;

use super::context::Context;
use super::fail::{Fail, Outcome};
use super::print;
use cowl_api::event::Event;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keep showing events as they happen; with --json one object a line
    #[arg(short, long)]
    follow: bool,
    /// How many past events to show
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=500))]
    limit: u64,
}

pub(super) async fn run(context: &Context, args: &Args) -> Outcome {
    let client = context.client()?;
    if !args.follow {
        let mut events = client.event_list(args.limit).await?.events;
        events.reverse();
        context.show(&events, |all| all.iter().try_for_each(one))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut stream = client.events().await?;
    while let Some(event) = stream.next().await? {
        if context.json { print::json_line(&event)? } else { one(&event)? }
    }
    Err(Fail::other("the node closed the stream"))
}

fn one(e: &Event) -> std::io::Result<()> {
    let word = |key: &str| e.data.get(key).and_then(|v| v.as_str());
    // Of what ran into a limit, the limit and whom it cost.
    let name = match (word("name"), word("limit")) {
        (Some(name), _) => name.to_owned(),
        (None, Some(limit)) => [limit, word("process").unwrap_or_default()].join(" "),
        _ => String::new(),
    };
    print::line(&format!("{}  {:<28} {} {name}", e.created_at, e.event_type, e.resource_id))
}
