//! `cowl dedupe`: equal files of containers, made to share their place on disk.

use std::process::ExitCode;
use std::time::Duration;

use super::context::Context;
use super::fail::{Fail, Outcome};
use super::print::{self, bytes};
use super::progress::Bar;
use super::resolve;
use cowl_api::dedupe::{DedupeRequest, DedupeRun, DedupeStatus, RunState};
use cowl_api::settings::Size;
use cowl_client::Client;

/// Options of `cowl dedupe`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Whole files of the same size are compared, with each other and with the images, and made to share their blocks by
the kernel, which compares them once more under the locks of both: safe while containers run, and nothing about a
file changes. Blocks stay shared until they are written. Interrupting ends the search; what was shared stays so.

What it saves: each equal copy but one, before compression; nothing of what a snapshot still holds, unless
--snapshots shares its copies, too. No memory. What it risks: root inside can see that a block of its own is
shared, and so that somebody has the same file; name the containers that may know. A disk quota goes on counting
shared blocks for the container that wrote them. `cowl explain memory` says more.")]
pub(super) struct Args {
    /// Whose disks to compare: ids, names or PROJECT/NAME; all when left out
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Only tell what would be shared
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Bytes a second to read at most
    #[arg(long, value_name = "SIZE", default_value = "50M")]
    rate: Size,
    /// Smallest file to look at
    #[arg(long, value_name = "SIZE", default_value = "128K")]
    min_size: Size,
    /// Look into snapshots, too, and let their copies share
    #[arg(long)]
    snapshots: bool,
    /// Show the search of now and the figures of the last, and search nothing
    #[arg(long, conflicts_with_all = ["containers", "dry_run", "rate", "min_size", "snapshots"])]
    status: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Outcome {
    let client = context.client()?;
    let server = client.status().await?.server_id;
    if args.status {
        context.show(&client.dedupe_status(&server).await?, show_status)?;
        return Ok(ExitCode::SUCCESS);
    }
    let body = request(&client, args).await?;
    let mut runs = client.dedupe(&server, &body).await?;
    let mut bar = Bar::new(context.json);
    let mut last = None;
    while let Some(run) = runs.next().await? {
        bar.step(&moving(&run));
        last = Some(run);
    }
    bar.finish();
    let run = last.filter(|run| run.state != RunState::Running);
    let run = run.ok_or_else(|| Fail::other("the node went away before the search was over"))?;
    if let Some(error) = &run.error {
        return Err(Fail::other(error));
    }
    context.show(&run, show)?;
    Ok(if run.state == RunState::Done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn request(client: &Client, args: Args) -> Result<DedupeRequest, Fail> {
    let mut containers = Vec::new();
    for word in &args.containers {
        containers.push(resolve::container(client, word).await?.id);
    }
    let Args { dry_run, snapshots, rate, min_size, .. } = args;
    Ok(DedupeRequest { containers, dry_run, rate: Some(rate), min_size: Some(min_size), snapshots })
}

/// The line that moves while it runs.
fn moving(run: &DedupeRun) -> String {
    let f = &run.figures;
    if f.candidates == 0 {
        return format!("looking for files of the same size: {} so far", f.files);
    }
    format!("comparing: {} of {} files, {} read, {} equal", f.checked, f.candidates, bytes(f.read), bytes(f.duplicate))
}

fn show(run: &DedupeRun) -> std::io::Result<()> {
    print::line(&outcome(run))?;
    let f = &run.figures;
    print::facts(&[
        ("containers", run.containers.to_string()),
        (
            "files",
            format!("{} of at least {}, {} of the size of another", f.files, bytes(run.min_size.0), f.candidates),
        ),
        ("read", bytes(f.read)),
        ("took", print::span(Duration::try_from_secs_f64(run.seconds).unwrap_or_default())),
        (
            "left out",
            format!("{} refused by the kernel, {} changed, {} passed over", f.refused, f.changed, f.passed_over),
        ),
    ])
}

/// One line: what came of it.
fn outcome(run: &DedupeRun) -> String {
    let f = &run.figures;
    let found = format!("{} lay on disk again beside an equal file", bytes(f.duplicate));
    let did = match (run.dry_run, f.deduped) {
        (true, _) => "nothing was changed".to_owned(),
        (false, shared) => format!("{} of files share their blocks now", bytes(shared)),
    };
    let end = match run.state {
        RunState::Cancelled => " (ended early)",
        RunState::Running => " (goes on)",
        RunState::Done | RunState::Failed => "",
    };
    format!("{found}; {did}{end}")
}

fn show_status(status: &DedupeStatus) -> std::io::Result<()> {
    if let Some(run) = &status.running {
        print::line(&format!("runs since {}: {}", run.started_at, moving(run)))?;
    }
    match &status.last {
        Some(run) => {
            print::line(&format!("last run {}:", print::ago(Some(&run.started_at))))?;
            match &run.error {
                Some(error) => print::line(&format!("failed: {error}")),
                None => show(run),
            }
        }
        None => print::line("no run yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cowl_api::dedupe::{self, Figures};

    #[test]
    fn the_defaults_are_those_of_the_node() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let args = <Line as clap::Parser>::parse_from(["dedupe"]).args;
        assert_eq!((args.rate, args.min_size), (dedupe::RATE, dedupe::MIN_SIZE));
    }

    #[test]
    fn what_came_of_a_run_is_one_line() {
        let figures = Figures { duplicate: 8 << 20, deduped: 8 << 20, ..Figures::default() };
        let mut run = DedupeRun {
            state: RunState::Done,
            started_at: "2026-11-23T12:00:00Z".into(),
            seconds: 1.5,
            containers: 2,
            dry_run: false,
            snapshots: false,
            rate: dedupe::RATE,
            min_size: dedupe::MIN_SIZE,
            figures,
            error: None,
        };
        assert_eq!(outcome(&run), "8.0M lay on disk again beside an equal file; 8.0M of files share their blocks now");
        (run.dry_run, run.state) = (true, RunState::Cancelled);
        assert!(outcome(&run).ends_with("nothing was changed (ended early)"));
    }
}
