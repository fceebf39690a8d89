//! `cowl bench`: the promise table, measured on this machine beside systemd-nspawn.

use std::path::PathBuf;
use std::process::ExitCode;

use super::context::Context;
use super::fail::{Fail, Outcome};
use super::print::{self, Table};
use cowl_bench::person::Wait;
use cowl_bench::row::Row;
use cowl_bench::{Options, Report, Suite};

/// `cowl bench WHAT`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Boots, memory, disk and the node's own cost, beside systemd-nspawn on untrimmed Debian
    #[command(after_help = AFTER_HELP)]
    Engine(Args),
    /// Snapshots, restores and what is done with them, beside the bare kernel and systemd-nspawn
    #[command(after_help = AFTER_HELP)]
    Time(Args),
    /// What a person waits for, on the node that runs
    Person(PersonArgs),
}

/// Options of `cowl bench person`.
#[derive(Debug, clap::Args)]
pub(super) struct PersonArgs {
    /// How often each is measured; figures are medians
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
}

const AFTER_HELP: &str = "\
It starts a node of its own and touches no other. The first run builds two images, which are kept
for the next; needs root, systemd-container and mmdebstrap. Wall times want a quiet machine: see
boot.cpu, mem.* and disk.fresh for what a busy one cannot spoil.";

/// Options of `cowl bench engine`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these rows
    #[arg(long, value_name = "ROW,ROW", value_delimiter = ',')]
    rows: Vec<String>,
    /// How often each boot is measured; figures are medians
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Where to work; the images stay there
    #[arg(long, value_name = "DIR", default_value = "/var/tmp/cowl-bench")]
    dir: PathBuf,
    /// Exit with 1 when a bar does not hold
    #[arg(long)]
    check: bool,
}

pub(super) async fn run(context: &Context, command: Command) -> Outcome {
    let say = |what: &str| eprintln!("bench: {}", print::plain(what));
    match command {
        Command::Engine(args) => suite(context, Suite::Engine, args, &say).await,
        Command::Time(args) => suite(context, Suite::Time, args, &say).await,
        Command::Person(args) => {
            let report =
                cowl_bench::person::measure(&context.client()?, args.runs.into(), &say).await.map_err(Fail::other)?;
            Ok(tell(context, report, person)?.unwrap_or(ExitCode::SUCCESS))
        }
    }
}

/// Prints what was measured, then each failure; gives the exit code of the last.
fn tell<T: serde::Serialize>(
    context: &Context,
    report: Report<T>,
    human: impl FnOnce(&[T]) -> std::io::Result<()>,
) -> Result<Option<ExitCode>, Fail> {
    let shown = if report.rows.is_empty() { Ok(()) } else { context.show(report.rows.as_slice(), human) };
    let code = report.failures.into_iter().fold(None, |_, e| Some(Fail::other(e).report(context.json)));
    shown.map(|()| code)
}

async fn suite(context: &Context, suite: Suite, args: Args, say: &dyn Fn(&str)) -> Outcome {
    let environment = super::doors::engine_config(context)?;
    let options = Options {
        dir: args.dir,
        rows: args.rows,
        runs: args.runs.into(),
        mirror: environment.mirror,
        cache_dir: environment.cache_dir,
    };
    suite.check_rows(&options.rows).map_err(|e| Fail::usage(e.to_string()))?;
    let report = cowl_bench::run(suite, &options, say).await.map_err(Fail::other)?;
    let missed = report.rows.iter().any(|row| !row.holds);
    let held = if args.check && missed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    Ok(tell(context, report, table)?.unwrap_or(held))
}

fn person(waits: &[Wait]) -> std::io::Result<()> {
    let mut table = Table::new(&["WHAT", ">MS", "RANGE"]);
    for wait in waits {
        table.row([wait.what.into(), number(wait.median), range(wait.range)]);
    }
    table.print()
}

fn table(rows: &[Row]) -> std::io::Result<()> {
    let headers = ["ROW", ">OURS", "RANGE", ">PEER", "RANGE", ">GOLDEN", "UNIT", ">RATIO", "BAR", "HOLDS"];
    let mut table = Table::new(&headers);
    for row in rows {
        table.row([
            row.name.into(),
            number(row.ours),
            range(row.ours_range),
            number(row.peer),
            range(row.peer_range),
            number(row.peer_golden),
            row.unit.into(),
            row.ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")),
            row.bar.clone(),
            match (&row.absent, row.holds) {
                (Some(why), _) => format!("no: {why}"),
                (None, true) => "yes".into(),
                (None, false) => "NO".into(),
            },
        ]);
    }
    table.print()?;
    print::line("")?;
    for row in rows {
        print::line(&format!("{:15} {}", row.name, row.what))?;
    }
    print::line(
        "Peer, where nothing else is said: systemd-nspawn -U --network-veth on untrimmed Debian; GOLDEN: on our image.",
    )
}

fn range(range: Option<[f64; 2]>) -> String {
    match range {
        Some([least, most]) if least < most => format!("{}–{}", number(Some(least)), number(Some(most))),
        _ => String::new(),
    }
}

/// Three digits that say something.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(v) if v.abs() >= 100.0 => format!("{v:.0}"),
        Some(v) if v.abs() >= 10.0 => format!("{v:.1}"),
        Some(v) => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_range_only_where_there_is_one() {
        assert_eq!(
            [number(Some(1234.5)), number(Some(12.34)), number(Some(0.123)), number(None)].join(" "),
            "1234 12.3 0.12 -"
        );
        assert_eq!(range(Some([1.0, 2.0])), "1.00–2.00");
        assert_eq!(range(Some([1.0, 1.0])), "");
    }
}
