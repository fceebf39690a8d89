//! `cowl snapshots restore-files` and `download`: single files of a moment.

use std::path::PathBuf;
use std::process::ExitCode;

use super::context::{Context, InContainer};
use super::fail::{Fail, Outcome};
use super::{files, print, resolve};
use cowl_api::files::{Overwrite, PathType, RestoreFiles, Restored};

#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// The snapshot's name or alias, then absolute paths; the container may be named before it
    #[arg(num_args = 2.., required = true, value_names = ["[CONTAINER] SNAPSHOT", "PATH"])]
    words: Vec<String>,
    #[command(flatten)]
    container: InContainer,
    /// Another container, or another directory of it (`:DIRECTORY` for this container)
    #[arg(long, value_name = "CONTAINER[:DIRECTORY]")]
    to: Option<String>,
    /// What to do with what is in the way
    #[arg(long, default_value = "fail", value_parser = overwrite, value_name = "fail|skip|replace")]
    overwrite: Overwrite,
    /// Only tell what would be copied, and what is in the way
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct DownloadArgs {
    /// The snapshot's name or alias
    snapshot: String,
    /// Absolute path of a file in it
    path: String,
    #[command(flatten)]
    container: InContainer,
    /// Where to put it here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn overwrite(word: &str) -> Result<Overwrite, String> {
    match word {
        "fail" => Ok(Overwrite::Fail),
        "skip" => Ok(Overwrite::Skip),
        "replace" => Ok(Overwrite::Replace),
        _ => Err("expected fail, skip or replace".into()),
    }
}

/// Container (where it was named), snapshot, paths: paths are what begins with a slash.
fn words(words: &[String]) -> Result<(Option<&str>, &str, Vec<String>), Fail> {
    let first = words.iter().position(|word| word.starts_with('/')).unwrap_or(words.len());
    let (names, paths) = words.split_at(first);
    if paths.is_empty() || paths.iter().any(|path| !path.starts_with('/')) {
        return Err(Fail::usage("which files? name them by absolute paths behind the snapshot"));
    }
    match names {
        [snapshot] => Ok((None, snapshot, paths.to_vec())),
        [container, snapshot] => Ok((Some(container), snapshot, paths.to_vec())),
        _ => Err(Fail::usage("expected [CONTAINER] SNAPSHOT PATH…")),
    }
}

pub(super) async fn restore(context: &Context, args: RestoreArgs) -> Outcome {
    let (named, snapshot, paths) = words(&args.words)?;
    let client = context.client()?;
    let source = resolve::container(&client, args.container.name(named)?).await?;
    let (to, directory) = match args.to.as_deref() {
        None => (None, None),
        Some(word) => match word.split_once(':') {
            Some((name, directory)) => (Some(name).filter(|n| !n.is_empty()), Some(directory.to_owned())),
            None => (Some(word), None),
        },
    };
    let to_container = match to {
        Some(word) => Some(resolve::container(&client, word).await?.id.to_string()),
        None => None,
    };
    let body =
        RestoreFiles { paths, to_container, destination: directory, overwrite: args.overwrite, dry_run: args.dry_run };
    let report = client.restore_files(&source.id, snapshot, &body).await?;
    context.show(&report, summary)?;
    Ok(ExitCode::SUCCESS)
}

fn summary(report: &Restored) -> std::io::Result<()> {
    let verb = if report.dry_run { "would copy" } else { "copied" };
    print::line(&format!("{verb} {} ({})", report.copied, print::bytes(report.bytes)))?;
    report.conflicts.iter().try_for_each(|path| print::line(&format!("in the way: {path}")))?;
    report.skipped.iter().try_for_each(|path| print::line(&format!("left out: {path}")))
}

pub(super) async fn download(context: &Context, args: DownloadArgs) -> Outcome {
    let client = context.client()?;
    let container = resolve::container(&client, args.container.name(None)?).await?;
    let stat = client.snapshot_stat(&container.id, &args.snapshot, &args.path).await?;
    if matches!(stat.path_type, PathType::Dir | PathType::SymlinkDir) {
        return Err(Fail::other(format!(
            "{} is a directory; restore-files copies directories into containers",
            args.path
        )));
    }
    let download = client.snapshot_file(&container.id, &args.snapshot, &args.path).await?;
    files::save(download, args.output.as_deref()).await?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_names_by_their_slash() {
        let all = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&all("gold /a /b")).unwrap(), (None, "gold", all("/a /b")));
        assert_eq!(words(&all("web gold /a")).unwrap(), (Some("web"), "gold", all("/a")));
        for bad in ["gold", "/a", "a b c /d", "gold /a b"] {
            assert!(words(&all(bad)).is_err(), "{bad}");
        }
    }
}
