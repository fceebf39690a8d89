//! `cowl containers export`, `import` and `verify`: a container as one file.

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::containers::one;
use super::context::{Context, Which};
use super::fail::{Fail, Outcome};
use super::print;
use super::progress::Bar;
use super::resolve;
use super::wait;
use cowl_api::ContainerState;
use cowl_engine::archive::manifest::Role;
use cowl_engine::archive::{self, Reader, stream};

/// How often the line moves.
const TICK: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    #[command(flatten)]
    which: Which,
    /// This snapshot instead of the disk as it is now
    #[arg(long)]
    snapshot: Option<String>,
    /// Only what came after this snapshot, which an earlier archive holds
    #[arg(long)]
    since: Option<String>,
    /// Its snapshots as well: all, none, or names with commas between
    #[arg(long, value_name = "WHICH", default_value = "none")]
    snapshots: String,
    /// Where to; - is stdout. Without it, NAME.cowl in this directory
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Leave its image out, which the other side has
    #[arg(long)]
    no_image: bool,
    /// How hard to compress, 1 to 19
    #[arg(long, default_value_t = archive::LEVEL)]
    level: i32,
}

#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// The archive, or a whole one and the increments on it in their order; - is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The project it goes to (id or alias)
    #[arg(long, default_value = "default")]
    project: String,
    /// Another name than the one it had
    #[arg(long)]
    name: Option<String>,
    /// What it may take on disk while it is unpacked, like 20G
    #[arg(long, value_name = "SIZE")]
    limit: Option<String>,
    /// It goes on being the machine it was: machine id, host keys, host name
    #[arg(long)]
    keep_identity: bool,
    /// Leave it stopped
    #[arg(long)]
    no_start: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// The archive; - is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// A file that is only there once it is whole.
struct Partial {
    path: PathBuf,
    file: Option<std::fs::File>,
}

impl Partial {
    fn new(target: &Path) -> Result<Self, Fail> {
        let mut name = target.file_name().ok_or_else(|| Fail::usage("-o names no file"))?.to_owned();
        name.push(".partial");
        let path = target.with_file_name(name);
        let made = std::fs::File::create(&path).map_err(|e| Fail::io(format!("make {}", path.display()), &e))?;
        Ok(Self { path, file: Some(made) })
    }

    fn whole(mut self, target: &Path) -> Result<(), Fail> {
        let done = match self.file.take() {
            Some(file) => file.sync_all().and_then(|()| std::fs::rename(&self.path, target)),
            None => Ok(()),
        };
        done.map_err(|e| {
            let _ = std::fs::remove_file(&self.path);
            Fail::io(format!("write {}", target.display()), &e)
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

pub(super) async fn export(context: &Context, args: &Export) -> Outcome {
    let to_stdout = args.output.as_deref() == Some(Path::new("-"));
    if to_stdout && io::stdout().is_terminal() {
        return Err(Fail::usage("an archive is not for a terminal; name a file with -o, or pipe it on"));
    }
    let client = context.client()?;
    let container = resolve::container(&client, args.which.name()?).await?;
    let mut query = vec![("level", args.level.to_string()), ("snapshots", args.snapshots.clone())];
    query.extend(args.snapshot.iter().map(|name| ("snapshot", name.clone())));
    query.extend(args.since.iter().map(|name| ("since", name.clone())));
    if args.no_image {
        query.push(("with_image", "false".into()));
    }
    let mut coming = client.export(&container.id, &query).await?;
    let target = args.output.clone().unwrap_or_else(|| format!("{}.cowl", container.name).into());
    let mut partial = if to_stdout { None } else { Some(Partial::new(&target)?) };
    let (mut total, begun) = (0u64, Instant::now());
    let mut bar = Moving::new(context.json);
    while let Some(piece) = coming.next().await? {
        match partial.as_mut().and_then(|p| p.file.as_mut()) {
            Some(file) => {
                file.write_all(&piece).map_err(|e| Fail::io(format!("write {}", target.display()), &e))?;
            }
            None => print::raw(&piece)?,
        }
        total += piece.len() as u64;
        bar.show("exported", total, begun);
    }
    bar.bar.finish();
    let Some(partial) = partial else {
        return Ok(ExitCode::SUCCESS);
    };
    partial.whole(&target)?;
    let done = json!({ "container_id": container.id, "file": target, "bytes": total });
    context.show(&done, |_| {
        print::line(&format!("{} is in {} ({})", container.name, target.display(), print::bytes(total)))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A line that tells how much has passed.
struct Moving {
    bar: Bar,
    last: Instant,
}

impl Moving {
    fn new(quiet: bool) -> Self {
        Self { bar: Bar::only_moving(quiet), last: Instant::now() }
    }

    fn show(&mut self, verb: &str, total: u64, begun: Instant) {
        if self.last.elapsed() >= TICK {
            let rate = (total as f64 / begun.elapsed().as_secs_f64().max(0.001)) as u64;
            self.bar.step(&format!("{verb} {}  {}/s", print::bytes(total), print::bytes(rate)));
            self.last = Instant::now();
        }
    }
}

async fn open(path: &Path) -> Result<Box<dyn tokio::io::AsyncRead + Send + Sync + Unpin>, Fail> {
    if path == Path::new("-") {
        return Ok(Box::new(tokio::io::stdin()));
    }
    let file = tokio::fs::File::open(path).await;
    Ok(Box::new(file.map_err(|e| Fail::io(format!("open {}", path.display()), &e))?))
}

pub(super) async fn import(context: &Context, args: &Import) -> Outcome {
    let mut first = [0; archive::MAGIC.len()];
    let mut inputs = Vec::new();
    for path in &args.files {
        let mut input = open(path).await?;
        // Told here rather than by the node, which would have to read on.
        let read = input.read_exact(&mut first).await;
        if read.is_err() || first != archive::MAGIC {
            return Err(Fail::other(format!("{} is not an archive of a Cowl container", path.display())));
        }
        inputs.push(input);
    }
    let client = context.client()?;
    let project = resolve::project(&client, &args.project).await?;
    let mut query = Vec::new();
    query.extend(args.name.iter().map(|name| ("name", name.clone())));
    query.extend(args.limit.iter().map(|limit| ("limit", limit.clone())));
    query.extend(args.keep_identity.then(|| ("keep_identity", "true".to_owned())));
    query.extend(args.no_start.then(|| ("start", "false".to_owned())));
    let (tx, rx) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(4);
    let quiet = context.json;
    let feeding = tokio::spawn(async move {
        let (mut bar, begun, mut total) = (Moving::new(quiet), Instant::now(), 0u64);
        for mut input in inputs {
            if tx.send(Ok(Bytes::from_static(&archive::MAGIC))).await.is_err() {
                return;
            }
            loop {
                let mut piece = bytes::BytesMut::with_capacity(256 << 10);
                match input.read_buf(&mut piece).await {
                    Ok(0) => break,
                    Ok(n) => total += n as u64,
                    Err(e) => {
                        let _ = tx.send(Err(e)).await;
                        return;
                    }
                }
                if tx.send(Ok(piece.freeze())).await.is_err() {
                    return;
                }
                bar.show("sent", total, begun);
            }
        }
    });
    let pieces = futures_util::stream::unfold(rx, |mut rx| async { rx.recv().await.map(|piece| (piece, rx)) });
    let imported = client.import(&project.id, &query, SyncStream::new(pieces)).await;
    feeding.abort();
    let mut container = imported?;
    if !args.no_start {
        container = wait::until("the container to run", Duration::from_secs(180), async || {
            let now = client.container(&container.id).await?;
            Ok((now.status != ContainerState::Creating).then_some(now))
        })
        .await?;
    }
    context.show(&container, one)?;
    match container.status {
        ContainerState::Failed => {
            Err(Fail::other(format!("it does not start: {}", container.status_reason.unwrap_or_default())))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A stream behind a lock that is never waited for, since bodies have to be `Sync`.
struct SyncStream<S>(std::sync::Mutex<std::pin::Pin<Box<S>>>);

impl<S> SyncStream<S> {
    fn new(stream: S) -> Self {
        Self(std::sync::Mutex::new(Box::pin(stream)))
    }
}

impl<S: futures_util::Stream> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).as_mut().poll_next(cx)
    }
}

/// Checks an archive without a node: every checksum, the manifest, and every command of its streams.
pub(super) fn verify(context: &Context, args: &Verify) -> Outcome {
    let input: Box<dyn Read> = match args.file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => {
            let file = std::fs::File::open(&args.file);
            Box::new(file.map_err(|e| Fail::io(format!("open {}", args.file.display()), &e))?)
        }
    };
    let mut reader = Reader::new(io::BufReader::with_capacity(1 << 20, input)).map_err(Fail::other)?;
    let mut found = Vec::new();
    while let Some(manifest) = reader.manifest().map_err(Fail::other)? {
        for (n, section) in manifest.sections.iter().enumerate() {
            let parent = (section.role != Role::Image).then_some([1; 16]);
            let rules = stream::Rules { name: "x", parent, uuid: Some(&section.uuid) };
            stream::pass(&mut reader.section(), &mut io::sink(), rules)
                .map_err(|e| Fail::other(format!("section {n}: {e}")))?;
        }
        let digest = archive::hex(&reader.end().map_err(Fail::other)?);
        found.push(json!({
            "container": manifest.container.name,
            "created_at": manifest.created_at,
            "tool": manifest.tool,
            "image": manifest.image.id,
            "with_image": manifest.has_image(),
            "base": manifest.base,
            "sections": manifest.sections,
            "digest": digest,
        }));
    }
    let (bytes, unpacked) = (reader.bytes, reader.unpacked);
    let all = json!({ "archives": found, "bytes": bytes, "unpacked": unpacked });
    context.show(&all, |_| {
        for one in &found {
            let base = one["base"]["name"].as_str().map(|name| format!(", an increment on {name}")).unwrap_or_default();
            print::line(&format!(
                "{} of {}{base}: whole, {}",
                one["container"].as_str().unwrap_or_default(),
                one["created_at"].as_str().unwrap_or_default(),
                one["digest"].as_str().unwrap_or_default()
            ))?;
        }
        print::line(&format!("{} that unpack to {}", print::bytes(bytes), print::bytes(unpacked)))
    })?;
    Ok(ExitCode::SUCCESS)
}
