//! `cowl doctor --leaks [--fix]`: what dead containers of this node left behind.

use std::process::ExitCode;

use serde::Serialize;

use crate::context::Context;
use crate::doors;
use crate::fail::{Fail, Outcome};
use crate::print::{self, Table};
use cowl_engine::leaks::{self, Kind, Leak, Listed};
use cowl_node::state::known;

/// A leak and what became of it.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    leak: Leak,
    fixed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) fn run(context: &Context, fix: bool) -> Outcome {
    if !nix::unistd::geteuid().is_root() {
        return Err(Fail::Permission("looking for leaks needs root; use sudo".into()));
    }
    let config = doors::engine_config(context)?;
    let listed = Listed::now(&config).map_err(Fail::other)?;
    let known = known::known(&config.state_dir.join("node.db")).map_err(Fail::other)?;
    let found = listed.leaks(&config, known.as_ref());
    if fix && found.iter().any(|l| l.kind == Kind::Subvolume) {
        let disks = found.iter().filter(|l| l.kind == Kind::Subvolume).count();
        context
            .confirm(&format!("{disks} disks or snapshots that no container has will be deleted for good. Go on?"))?;
    }
    let tell = |leak: Leak| {
        let done = fix.then(|| leaks::fix(&config, &leak));
        let fixed = matches!(done, Some(Ok(())));
        Told { leak, fixed, error: done.and_then(Result::err).map(|e| e.to_string()) }
    };
    let told: Vec<Told> = found.into_iter().map(tell).collect();
    context.show(&told, |told| show(told))?;
    let left = told.iter().any(|t| !t.fixed);
    Ok(if left { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(all: &[Told]) -> std::io::Result<()> {
    if all.is_empty() {
        return print::line("nothing was left behind");
    }
    let mut table = Table::new(&["KIND", "WHAT", "STATE"]);
    for one in all {
        let state = match (&one.error, one.fixed) {
            (Some(error), _) => error.clone(),
            (None, true) => "removed".into(),
            (None, false) => "left; --fix removes it".into(),
        };
        table.row([word(one.leak.kind).into(), one.leak.what.clone(), state]);
    }
    table.print()
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Mount => "mount",
        Kind::Cgroup => "cgroup",
        Kind::Interface => "interface",
        Kind::Firewall => "firewall rules",
        Kind::RunDirectory => "directory",
        Kind::Subvolume => "subvolume",
        Kind::LoopDevice => "loop device",
        Kind::IdLease => "id lease",
    }
}
