//! `cowl images`: what containers are made from.

use std::path::PathBuf;
use std::process::ExitCode;

use super::context::Context;
use super::doors;
use super::fail::{Fail, Outcome};
use super::print::{self, Table};
use super::progress::Bar;
use super::prune;
use super::wait;
use cowl_api::server::{Image, ImageState};

/// The image `cowl up` waits for.
pub(super) const DEFAULT: &str = "debian/13";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List images and how far their builds are
    #[command(visible_alias = "ls")]
    List,
    /// Build an image that is missing, failed or outdated; new containers use it, others keep theirs
    Build {
        /// Which
        #[arg(default_value = DEFAULT)]
        name: String,
        /// Build it also when it is there and not outdated, for newer packages
        #[arg(long)]
        fresh: bool,
        /// Return as soon as the build has begun
        #[arg(long)]
        no_wait: bool,
        /// Build without a node into this state directory's pool and write the image to FILE
        #[arg(long, value_name = "FILE", hide = true)]
        export: Option<PathBuf>,
        /// A file written by --export to take instead of building
        #[arg(long, value_name = "FILE", hide = true, conflicts_with = "export")]
        import: Option<PathBuf>,
    },
    /// Remove images and kits that no container, no snapshot and nothing that runs was made from
    Prune {
        /// Only tell what would go, and what that would free
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::List => {
            let images = context.client()?.images().await?;
            context.show(images.as_slice(), table)?;
        }
        Command::Build { name, export: Some(file), .. } => {
            let image = export(context, &name, &file)?;
            context.show(&serde_json::json!({ "id": image }), |_| print::line(&image))?;
        }
        Command::Build { import: Some(file), .. } => {
            let pool = cowl_engine::open_pool(&doors::engine_config(context)?).map_err(Fail::other)?;
            let image = pool.import_image(&file).map_err(Fail::other)?;
            context.show(&serde_json::json!({ "id": image.id }), |_| print::line(&image.id))?;
        }
        Command::Build { name, no_wait, fresh, .. } => build(context, &name, no_wait, fresh).await?,
        Command::Prune { dry_run } => prune::run(context, dry_run).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn build(context: &Context, name: &str, no_wait: bool, fresh: bool) -> Result<(), Fail> {
    let client = context.client()?;
    let begun = client.build_image(name, fresh).await?["state"] == "building";
    if !no_wait {
        wait::image(&client, name, &mut Bar::new(context.json)).await?;
    }
    let images = client.images().await?;
    let image = images.into_iter().find(|i| i.name == name);
    let image = image.ok_or_else(|| Fail::other(format!("the node has no image {name}")))?;
    // One that was there before can be used, but a new one is not to be had.
    if let Some(reason) = image.error.as_ref().filter(|_| begun && !no_wait) {
        return Err(Fail::other(format!("no new image {name}, the old one stays in use: {reason}")));
    }
    context.show(&image, |i| print::line(&format!("{} is {}", i.name, word(i.state))))
}

/// Builds an image in a pool that no node uses, for handing it to other pools.
fn export(context: &Context, name: &str, file: &std::path::Path) -> Result<String, Fail> {
    let config = doors::engine_config(context)?;
    let tier = name.replace('/', "-");
    let log = context.state_dir.join("logs").join(format!("image-{tier}.log"));
    std::fs::create_dir_all(context.state_dir.join("logs")).map_err(|e| Fail::io("make the log directory", &e))?;
    let pool = cowl_engine::open_pool(&config).map_err(Fail::other)?;
    let ready = pool.image(&tier).map_err(Fail::other)?;
    let image = match ready {
        Some(image) => image,
        None => {
            let mut bar = Bar::new(context.json);
            pool.build_image(&config, &tier, &log, &mut |p| bar.build(name, &p)).map_err(Fail::other)?
        }
    };
    pool.export_image(&image.id, file).map_err(Fail::other)?;
    Ok(image.id)
}

fn word(state: ImageState) -> &'static str {
    match state {
        ImageState::Absent => "absent",
        ImageState::Building => "building",
        ImageState::Ready => "ready",
        ImageState::Failed => "failed",
    }
}

fn table(all: &[Image]) -> std::io::Result<()> {
    let mut table = Table::new(&["NAME", "STATE", ">SIZE", "BUILT", "DETAIL"]);
    for i in all {
        let progress = i.progress.as_ref().map(|p| format!("{:.0}% {} {}", p.percent, p.step, p.detail));
        table.row([
            i.name.clone(),
            format!("{}{}", word(i.state), if i.outdated { ", outdated" } else { "" }),
            if i.size > 0 { print::bytes(i.size) } else { "-".into() },
            print::ago(i.created_at.as_deref()),
            i.error.clone().or(progress).or_else(|| i.id.clone()).unwrap_or_default(),
        ]);
    }
    table.print()
}

/// One line about an image, for `status`.
pub(super) fn summary(i: &Image) -> String {
    match (&i.progress, &i.error) {
        (Some(p), _) => format!("{} {} ({:.0}%, {})", i.name, word(i.state), p.percent, p.step),
        (None, Some(e)) => format!("{} {}: {e}", i.name, word(i.state)),
        _ => format!("{} {}", i.name, word(i.state)),
    }
}
