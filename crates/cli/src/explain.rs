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
                paragraph(&format!("Saves: {}", row.saves))?;
                paragraph(&format!("Costs: {}", row.costs))?;
                print::line("")
            })
        })?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints indented lines of at most [`WIDTH`] characters.
fn paragraph(text: &str) -> std::io::Result<()> {
    fold(text).iter().try_for_each(|line| print::line(&format!("    {line}")))
}

/// Longest line of a paragraph, its indentation left out.
const WIDTH: usize = 92;

fn fold(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_folded_between_words() {
        let long = "word ".repeat(60) + &"x".repeat(120);
        let lines = fold(&long);
        assert_eq!(lines.join(" "), long);
        assert!(lines.iter().all(|line| line.len() <= WIDTH || !line.contains(' ')), "{lines:?}");
        assert!(fold("").is_empty());
    }
}
