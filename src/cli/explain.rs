//! `cowl explain`: how Cowl does what it does, from the tables it does it by.

use std::process::ExitCode;

use super::context::Context;
use super::doors;
use super::fail::Outcome;
use super::print::{self, Table};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// What separates a container from the host and from others, rule by rule, and why
    Isolation,
    /// What containers share, what that saves in memory and on disk, and what it risks
    Memory,
}

pub(super) fn run(context: &Context, command: &Command) -> Outcome {
    match command {
        Command::Isolation => context.show(&doors::isolation(), |rows| {
            let mut table = Table::new(&["KIND", "NAME", "RULE", "REASON"]);
            for row in rows {
                table.row([row.kind, row.name, row.rule, row.reason].map(str::to_owned));
            }
            table.print()
        })?,
        Command::Memory => context.show(doors::savings(), |rows| {
            rows.iter().try_for_each(|row| {
                print::line(&format!("{} ({})", row.name, row.when))?;
                print::line(&format!("    Saves: {}", row.saves))?;
                print::line(&format!("    Costs: {}\n", row.costs))
            })
        })?,
    }
    Ok(ExitCode::SUCCESS)
}
