//! `cowl pool`: where the space is, and how the file system is.

use std::process::ExitCode;

use super::context::{Context, Which};
use super::fail::Outcome;
use super::print::{self, Table};
use super::resolve;
use cowl_api::space::{ContainerDisk, Health, Level, PoolSpace};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show what takes the pool's space, what is deleted and not yet free, errors and the last scrub
    Status,
    /// Read everything and compare it with its checksums, in the background
    Scrub {
        /// End the one that is under way
        #[arg(long)]
        cancel: bool,
    },
}

pub(super) async fn run(context: &Context, command: &Command) -> Outcome {
    let client = context.client()?;
    let server = client.status().await?.server_name;
    match command {
        Command::Status => context.show(&client.pool_space(&server).await?, table)?,
        Command::Scrub { cancel } => {
            let health = match cancel {
                true => client.cancel_scrub(&server).await?,
                false => client.start_scrub(&server).await?,
            };
            context.show(&health, |h| print::line(&format!("scrub: {}", scrub(h))))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn scrub(health: &Health) -> String {
    let Some(s) = &health.scrub else { return "never".into() };
    let mut text = format!("{}, {} read", s.status, print::bytes(s.read_bytes));
    if let Some(begun) = &s.begun {
        text.push_str(&format!(", begun {begun}"));
    }
    if s.corrected + s.uncorrectable > 0 {
        text.push_str(&format!(", {} errors mended, {} not", s.corrected, s.uncorrectable));
    }
    text
}

fn table(p: &PoolSpace) -> std::io::Result<()> {
    let state = match (p.health.read_only, p.level) {
        (true, _) => "READ-ONLY: the kernel found it damaged; see dmesg".to_owned(),
        (_, Level::Ok) => "ok".into(),
        (_, Level::Low) => "low: less than a tenth is free".into(),
        (_, Level::Full) => "full: nothing new is made until space is freed".into(),
    };
    let dying = match (p.dying.subvolumes, p.dying.bytes) {
        (0, _) => "nothing".into(),
        (n, Some(bytes)) => format!("{n} subvolumes, up to {}", print::bytes(bytes)),
        (n, None) => format!("{n} subvolumes"),
    };
    let errors = match p.health.errors.total() {
        0 => "none".into(),
        n => format!("{n}: {:?}", p.health.errors),
    };
    print::facts(&[
        ("pool", format!("{}, {}", p.kind, state)),
        ("used", format!("{} of {}", print::bytes(p.used), print::bytes(p.total))),
        ("free", format!("{}, of which {} are kept for what runs", print::bytes(p.free), print::bytes(p.reserve))),
        ("deleted, not yet free", dying),
        ("device errors", errors),
        ("working on", p.health.working_on.clone().unwrap_or_else(|| "nothing".into())),
        ("scrub", scrub(&p.health)),
    ])?;
    let mut table = Table::new(&["CONTAINER", "PROJECT", ">WRITTEN", ">LIMIT", ">SNAPSHOTS"]);
    let bytes = |n: Option<u64>| n.map_or_else(|| "-".into(), print::bytes);
    for c in &p.containers {
        table.row([c.name.clone(), c.project.clone(), bytes(c.used), bytes(c.limit), c.snapshots.to_string()]);
    }
    table.print()
}

/// `cowl containers disk`.
pub(super) async fn disk(context: &Context, which: &Which) -> Outcome {
    let client = context.client()?;
    let container = resolve::container(&client, which.name()?).await?;
    context.show(&client.disk(&container.id).await?, breakdown)?;
    Ok(ExitCode::SUCCESS)
}

fn breakdown(d: &ContainerDisk) -> std::io::Result<()> {
    let b = d.bytes;
    print::facts(&[
        ("its own", print::bytes(b.own)),
        ("only in snapshots", b.only_in_snapshots.map_or_else(|| "not counted".into(), print::bytes)),
        ("shared with its image", print::bytes(b.from_image)),
        ("limit", b.limit.map_or_else(|| "none".into(), print::bytes)),
    ])?;
    if d.snapshots.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["SNAPSHOT", "ALIAS", ">DELETING FREES"]);
    for s in &d.snapshots {
        let alias = s.alias.clone().unwrap_or_else(|| "-".into());
        table.row([s.name.clone(), alias, s.would_free.map_or_else(|| "…".into(), print::bytes)]);
    }
    table.print()
}
