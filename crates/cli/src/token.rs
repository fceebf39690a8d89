//! `cowl token`: the owner's bearer token for the API. The node looks at the same file.

use std::io;
use std::process::ExitCode;

use super::context::Context;
use super::fail::{Fail, Outcome};
use super::print;
use cowl_node::token;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Make a new one; the old one stops working at once
    #[arg(long)]
    rotate: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let path = context.state_dir.join(token::FILE);
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => {
            Fail::other(format!("{} does not exist; the node makes it when it starts first", path.display()))
        }
        io::ErrorKind::InvalidData => Fail::other(e),
        _ => Fail::io(format!("use {}", path.display()), &e),
    };
    // Only what a node has made is renewed: a token without a node would be of no use.
    let old = token::read(&path).map_err(failed);
    let token = if args.rotate {
        if !path.exists() {
            old?;
        }
        token::rotate(&context.state_dir).map_err(failed)?
    } else {
        old?
    };
    context.show(&serde_json::json!({ "token": token }), |_| print::line(&token))?;
    Ok(ExitCode::SUCCESS)
}
