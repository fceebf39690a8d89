//! `cowl files`: a container's files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio_util::io::ReaderStream;

use super::context::{Context, InContainer};
use super::fail::{Fail, Outcome};
use super::print::{self, Table};
use super::terminal::running;
use cowl_api::Service;
use cowl_api::files::{Listing, PathType, Stat};
use cowl_client::{Download, Kit, Upload};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Write a file to stdout, or to -o FILE
    Get {
        /// Its path in the container
        path: String,
        #[command(flatten)]
        container: InContainer,
        /// Where to put it here
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write a local file (or `-`, stdin) into the container, whole or not at all
    Put {
        /// The file here
        local: PathBuf,
        /// Its path in the container
        remote: String,
        #[command(flatten)]
        container: InContainer,
    },
    /// List a directory
    #[command(visible_alias = "ls")]
    List {
        /// Its path in the container
        #[arg(default_value = "/")]
        path: String,
        #[command(flatten)]
        container: InContainer,
    },
    /// Show what is known about a path
    Stat {
        /// The path in the container
        path: String,
        #[command(flatten)]
        container: InContainer,
    },
    /// Delete a file or a whole directory
    #[command(visible_alias = "rm")]
    Delete {
        /// The path in the container
        path: String,
        #[command(flatten)]
        container: InContainer,
    },
    /// Make a directory and its parents
    Mkdir {
        /// Its path in the container
        path: String,
        #[command(flatten)]
        container: InContainer,
    },
}

async fn service(context: &Context, container: &InContainer) -> Result<Kit, Fail> {
    let client = context.client()?;
    let container = running(&client, container.name(None)?).await?;
    Ok(client.kit(&container, Service::Files, 1))
}

pub(super) async fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Get { path, container, output } => {
            get(&service(context, &container).await?, &path, output.as_deref()).await?;
        }
        Command::Put { local, remote, container } => {
            let reply = put(&service(context, &container).await?, &local, &remote).await?;
            context.show(&reply, |_| Ok(()))?;
        }
        Command::List { path, container } => {
            let listing = service(context, &container).await?.list(&path).await?;
            if context.json { print::json(&listing.paths)? } else { table(&listing)? }
        }
        Command::Stat { path, container } => {
            context.show(&service(context, &container).await?.stat(&path).await?, facts)?;
        }
        Command::Delete { path, container } => {
            context.confirm(&format!("Delete {path} and all that is in it?"))?;
            context.show(&service(context, &container).await?.delete(&path).await?, |_| Ok(()))?;
        }
        Command::Mkdir { path, container } => {
            context.show(&service(context, &container).await?.mkdir(&path).await?, |_| Ok(()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn get(files: &Kit, path: &str, output: Option<&Path>) -> Result<(), Fail> {
    save(files.file(path).await?, output).await
}

/// Writes what is downloaded to stdout, or to a file, whole or not at all.
pub(super) async fn save(mut download: Download, output: Option<&Path>) -> Result<(), Fail> {
    let Some(target) = output else {
        let mut out = std::io::stdout().lock();
        while let Some(piece) = download.next().await? {
            out.write_all(&piece)?;
        }
        out.flush()?;
        return Ok(());
    };
    // Beside the target, then renamed: nobody sees a half file, a failure leaves the old one.
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".cowl-{:08x}", rand::random::<u32>()));
    let part = PathBuf::from(name);
    let failed = |what: &str, e: &std::io::Error| Fail::io(format!("{what} {}", target.display()), e);
    let fetched = async {
        let mut file = std::fs::File::create_new(&part).map_err(|e| failed("create", &e))?;
        while let Some(piece) = download.next().await? {
            file.write_all(&piece).map_err(|e| failed("write", &e))?;
        }
        file.sync_all().map_err(|e| failed("write", &e))?;
        std::fs::rename(&part, target).map_err(|e| failed("rename to", &e))
    }
    .await;
    if fetched.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    fetched
}

async fn put(files: &Kit, local: &Path, remote: &str) -> Result<serde_json::Value, Fail> {
    if local == Path::new("-") {
        let bytes = ReaderStream::new(tokio::io::stdin());
        return Ok(files.put(remote, Upload { bytes, size: None }).await?);
    }
    let failed = |e: &std::io::Error| Fail::io(format!("read {}", local.display()), e);
    let file = tokio::fs::File::open(local).await.map_err(|e| failed(&e))?;
    let about = file.metadata().await.map_err(|e| failed(&e))?;
    if about.is_dir() {
        return Err(Fail::other(format!("{} is a directory; only files can be put", local.display())));
    }
    // Only a regular file's size is what will be read from it.
    let size = about.is_file().then_some(about.len());
    Ok(files.put(remote, Upload { bytes: ReaderStream::with_capacity(file, 64 << 10), size }).await?)
}

fn table(listing: &Listing) -> std::io::Result<()> {
    let mut table = Table::new(&["MODE", "OWNER", ">SIZE", "CHANGED", "NAME"]);
    for e in &listing.paths {
        let mark = match e.path_type {
            PathType::Dir => "/",
            PathType::SymlinkFile | PathType::SymlinkDir => "@",
            PathType::File => "",
        };
        let target = e.symlink_target.as_ref().map(|t| format!(" -> {t}")).unwrap_or_default();
        let changed =
            jiff::Timestamp::from_millisecond(e.mtime).map_or("-".into(), |t| t.strftime("%F %R").to_string());
        table.row([
            e.permissions.clone().unwrap_or_else(|| "-".into()),
            e.owner.clone().unwrap_or_else(|| "-".into()),
            if mark == "/" { "-".into() } else { print::bytes(e.size) },
            changed,
            format!("{}{mark}{target}", e.name),
        ]);
    }
    table.print()
}

fn facts(s: &Stat) -> std::io::Result<()> {
    let changed = jiff::Timestamp::from_millisecond(s.mtime).map_or("-".into(), |t| t.to_string());
    let mut facts = vec![
        ("path", s.path.clone()),
        ("type", format!("{:?}", s.path_type)),
        ("size", format!("{} bytes", s.size)),
        ("mode", s.permissions.clone()),
        ("owner", format!("{}:{}", s.owner, s.group)),
        ("changed", changed),
    ];
    if let Some(target) = &s.symlink_target {
        facts.push(("points to", target.clone()));
    }
    print::facts(&facts)
}
