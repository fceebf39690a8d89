//! Running `btrfs send` and `btrfs receive`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use super::command::{command, contained, run, run_between};
use super::pool::{Pool, Scratch};
use crate::archive::stream::{self, Rules};
use crate::error::{Context, Error, Result};
use crate::quota::Quotas;
use crate::sys::btrfs;
use cowl_api::ContainerId;

/// For one stream, however slow who reads or writes it is; they have deadlines of their own.
const DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Version of streams that the kernel writes.
const KERNEL: &str = "/sys/fs/btrfs/features/send_stream_version";
/// Makes a directory the root of a file system of its own before anything is received into it: what
/// a stream clones from is looked up below the mount point, past any chroot.
const RECEIVE: &str = r#"mount --bind -- "$1" "$1" && exec btrfs --quiet receive --chroot -- "$1""#;

/// Whether compressed extents can travel as they are: kernel 6.0 and tools 5.19.
fn sends_compressed() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let kernel = std::fs::read_to_string(KERNEL).ok().and_then(|text| text.trim().parse::<u32>().ok());
        let mut help = command("btrfs");
        help.args(["send", "--help"]);
        kernel.is_some_and(|version| version >= 2)
            && run(help, Duration::from_secs(10)).is_ok_and(|text| text.contains("--compressed-data"))
    })
}

/// Writes the stream of a read-only subvolume, against another one if given.
///
/// # Errors
/// When there is no such subvolume, or nobody reads.
pub(super) fn send(subvolume: &Path, parent: Option<&Path>, out: Stdio) -> Result<()> {
    let mut send = contained("btrfs");
    send.args(["--quiet", "send"]);
    if sends_compressed() {
        send.args(["--proto", "2", "--compressed-data"]);
    }
    if let Some(parent) = parent {
        send.arg("-p").arg(parent);
    }
    send.arg("--").arg(subvolume).stdout(out);
    run_between(send, Stdio::null(), DEADLINE)
}

/// A subvolume in `tmp/` that streams are received into; removed with all that is in it.
pub(super) struct Room {
    place: Scratch,
    /// Whose limit holds in it.
    limited: Option<(Quotas, ContainerId)>,
}

impl Drop for Room {
    fn drop(&mut self) {
        // At its limit not even a subvolume can be deleted.
        if let Some((quotas, id)) = &self.limited
            && let Err(error) = quotas.limit(id, None)
        {
            tracing::warn!(%error, "the limit of an import stays");
        }
    }
}

impl Room {
    /// A new one.
    pub(super) fn new(pool: &Pool) -> Result<Self> {
        let path = pool.temporary("import");
        btrfs::create(&path).at("create", &path)?;
        Ok(Self { place: Scratch::new(path), limited: None })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        self.place.path()
    }

    /// Makes what is received count for a container that may take so many bytes. A file system
    /// without quotas limits nothing.
    pub(super) fn limit(&mut self, quotas: &Quotas, id: &ContainerId, bytes: u64) -> Result<()> {
        if !quotas.are_on() {
            return Ok(());
        }
        quotas.adopt(id, self.path())?;
        self.limited = Some((quotas.clone(), *id));
        quotas.limit(id, Some(bytes))
    }

    /// Receives one stream from anybody; gives the read-only subvolume it made.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a stream that is not taken, [`Error::Full`].
    pub(super) fn receive(&self, input: &mut dyn Read, rules: Rules<'_>) -> Result<PathBuf> {
        let (reader, mut writer) = std::io::pipe().context(|| "make a pipe".into())?;
        let mut receive = contained("sh");
        receive.args(["-c", RECEIVE, "receive"]).arg(self.path()).stdout(Stdio::null());
        let (passed, received) = std::thread::scope(|scope| {
            let receiving = scope.spawn(move || run_between(receive, Stdio::from(reader), DEADLINE));
            let passed = stream::pass(input, &mut writer, rules);
            drop(writer);
            (passed, receiving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        match (passed, received) {
            // What is wrong with the stream is found here first, and what is wrong with the pool there.
            (Err(e @ Error::Unsupported(_)), _) | (_, Err(e @ (Error::Full(_) | Error::Missing { .. }))) => {
                return Err(e);
            }
            (_, Err(Error::Program { tail, .. })) => {
                return Err(Error::Unsupported(format!("the archive holds a stream that does not fit: {tail}")));
            }
            (_, Err(e)) | (Err(e), _) => return Err(e),
            (Ok(_), Ok(())) => {}
        }
        let made = self.path().join(rules.name);
        if !btrfs::is_subvolume(&made).at("ask", &made)? {
            return Err(Error::Unsupported("the archive holds a stream that makes nothing".into()));
        }
        Ok(made)
    }
}
