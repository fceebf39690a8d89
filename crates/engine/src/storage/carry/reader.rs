//! The half outside: walks the source and tells the other half what is there.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Stat, fgetxattr, flistxattr};
use rustix::io::Errno;

use super::wire::{ATTRIBUTES_MAX, Answer, Bytes, Channel, Facts, Order};
use super::{Move, PACE, Said, Spec, Target, tell, writer};
use crate::cgroup::Cgroups;
use crate::error::{Context, Error, Result};
use crate::storage::tree::{Node, Tree};
use crate::storage::view::LISTING_LIMIT;
use crate::sys::process::{self, Forked};
use cowl_api::files::{Overwrite, Restored};

/// Directories within directories; each level holds descriptors open.
const DEPTH_MAX: usize = 200;
/// Entries that are left out and told of at most.
const TOLD_MAX: usize = 1_000;

/// Does it; `None` when it was cancelled.
pub(super) fn work(spec: &Spec) -> Result<Option<Restored>> {
    let (ours, theirs) = Channel::pair()?;
    let group = match &spec.target {
        Target::Running { id, tag, .. } => Some(Cgroups::find(tag)?.open_kit(id)?),
        Target::Disk(_) => None,
    };
    // Before anything of the source is open, so that nothing of it is there in the target.
    let forked = process::fork(0, group.as_ref().map(AsFd::as_fd)).context(|| "fork the writer".into())?;
    let child = match forked {
        Forked::Child => {
            drop(ours);
            process::exit_now(writer::main(&theirs, spec))
        }
        Forked::Parent(child) => child,
    };
    drop(theirs);
    let mut reader =
        Reader { channel: ours, spec, copied: 0, bytes: 0, told: Instant::now(), looks: false, skipped: Vec::new() };
    let result = reader.both_passes();
    drop(reader);
    // The disk is free again only when the writer's mounts are gone.
    let _ = waitid(Id::PIDFd(child.fd.as_fd()), WaitPidFlag::WEXITED);
    match result {
        Err(Stop::Cancelled) => Ok(None),
        Err(Stop::Failed(e)) => Err(e),
        Ok(report) => Ok(Some(report)),
    }
}

/// Why the walk ends early.
enum Stop {
    Cancelled,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Self::Failed(e)
    }
}

struct Reader<'a> {
    channel: Channel,
    spec: &'a Spec,
    copied: u64,
    bytes: u64,
    told: Instant,
    looks: bool,
    skipped: Vec<String>,
}

impl Reader<'_> {
    fn both_passes(&mut self) -> std::result::Result<Restored, Stop> {
        match self.channel.receive::<Answer>()? {
            Some((Answer::Ready, _)) => {}
            Some((Answer::Failed { message, errno }, _)) => return Err(said(message, errno).into()),
            _ => return Err(Error::Shim("the writer died before it began".into()).into()),
        }
        if self.spec.dry_run || self.spec.overwrite == Overwrite::Fail {
            let report = self.pass(true)?;
            let refused = self.spec.overwrite == Overwrite::Fail && !report.conflicts.is_empty();
            if self.spec.dry_run || refused {
                return Ok(report);
            }
        }
        self.pass(false)
    }

    fn pass(&mut self, look: bool) -> std::result::Result<Restored, Stop> {
        (self.copied, self.bytes, self.looks) = (0, 0, look);
        self.skipped.clear();
        self.send(&Order::Pass { look }, None)?;
        let source = &self.spec.source;
        let mut tree =
            Tree::new(&source.disk, &source.lower_usr).context(|| format!("look into {}", source.disk.display()))?;
        for one in &self.spec.moves {
            self.one(&mut tree, one)?;
        }
        self.send(&Order::End, None)?;
        match self.channel.receive::<Answer>()? {
            Some((Answer::Report(mut report), _)) => {
                report.skipped.splice(0..0, self.skipped.drain(..));
                report.skipped.truncate(TOLD_MAX);
                Ok(report)
            }
            Some((Answer::Failed { message, errno }, _)) => Err(said(message, errno).into()),
            _ => Err(Error::Shim("the writer died".into()).into()),
        }
    }

    fn one(&mut self, tree: &mut Tree, one: &Move) -> std::result::Result<(), Stop> {
        let node = tree.walk(OsStr::new(&one.from), false).map_err(|e| read(e, &one.from))?;
        let (directory, name) = one.to.rsplit_once('/').unwrap_or(("", &one.to));
        if name.is_empty() {
            return Err(
                Error::Unsupported("a whole root file system is restored by restoring the snapshot".into()).into()
            );
        }
        self.send(&Order::Into { directory: format!("/{}", directory.trim_start_matches('/')) }, None)?;
        self.tell_of(tree, &node, name.as_bytes(), &one.from, 0)?;
        self.send(&Order::Leave, None)
    }

    fn tell_of(
        &mut self,
        tree: &mut Tree,
        node: &Node,
        name: &[u8],
        path: &str,
        depth: usize,
    ) -> std::result::Result<(), Stop> {
        let name = Bytes(name.to_vec());
        match node.kind() {
            FileType::Directory => {
                if depth == DEPTH_MAX {
                    return Err(Error::Unsupported(format!("{path}: directories are nested too deeply")).into());
                }
                let open = node.directory().map_err(|e| read(e, path))?;
                let facts = facts(&node.stat, Some(open.as_fd())).map_err(|e| read(e.into(), path))?;
                drop(open);
                self.send(&Order::Directory { name, facts }, None)?;
                for (child, _) in tree.entries(node, LISTING_LIMIT).map_err(|e| read(e, path))? {
                    let inner = format!("{}/{}", path.trim_end_matches('/'), child.to_string_lossy());
                    let found = tree.child(node, &child).map_err(|e| read(e, &inner))?;
                    self.tell_of(tree, &found, child.as_bytes(), &inner, depth + 1)?;
                }
                self.send(&Order::Leave, None)
            }
            FileType::RegularFile => {
                let file = node.open().map_err(|e| read(e, path))?;
                let facts = facts(&node.stat, Some(file.as_fd())).map_err(|e| read(e.into(), path))?;
                let links = (node.stat.st_nlink > 1).then_some((node.stat.st_dev, node.stat.st_ino));
                self.copied += 1;
                self.bytes += u64::try_from(node.stat.st_size).unwrap_or(0);
                self.send(&Order::File { name, facts, links }, Some(file.as_fd()))
            }
            FileType::Symlink => {
                let facts = facts(&node.stat, None).map_err(|e| read(e.into(), path))?;
                let target = Bytes(node.target().map_err(|e| read(e, path))?.as_bytes().to_vec());
                self.send(&Order::Link { name, facts, target }, None)
            }
            FileType::Fifo => {
                let facts = facts(&node.stat, None).map_err(|e| read(e.into(), path))?;
                self.send(&Order::Pipe { name, facts }, None)
            }
            // Devices cannot be made inside, a socket is nothing without its program.
            _ => {
                self.skipped.push(format!("{path} (neither file, directory, link nor pipe)"));
                Ok(())
            }
        }
    }

    fn send(&mut self, order: &Order, attached: Option<BorrowedFd<'_>>) -> std::result::Result<(), Stop> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let stdin = std::io::stdin();
        let gone = poll(&mut [PollFd::new(&stdin, PollFlags::IN | PollFlags::HUP)], Some(&now)).is_ok_and(|n| n > 0);
        if gone {
            return Err(Stop::Cancelled);
        }
        if !self.looks && self.told.elapsed() >= PACE {
            self.told = Instant::now();
            tell(&Said::Progress { copied: self.copied, bytes: self.bytes });
        }
        match self.channel.send(order, attached) {
            Ok(()) => Ok(()),
            // It says why it ended.
            Err(e) => match self.channel.receive::<Answer>() {
                Ok(Some((Answer::Failed { message, errno }, _))) => Err(said(message, errno).into()),
                _ => Err(e.into()),
            },
        }
    }
}

fn said(message: String, errno: i32) -> Error {
    match errno {
        libc::ENOSPC | libc::EDQUOT => Error::Full(message),
        _ => Error::Shim(message),
    }
}

fn read(e: std::io::Error, path: &str) -> Error {
    match e.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Error::NotFound(path.to_owned()),
        Some(libc::EBUSY | libc::EFBIG) => Error::Unsupported(format!("{path}: there is too much below it")),
        _ => Error::Sys { what: format!("read {path}"), source: e },
    }
}

fn facts(stat: &Stat, open: Option<BorrowedFd<'_>>) -> std::result::Result<Facts, Errno> {
    Ok(Facts {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        accessed: (stat.st_atime, stat.st_atime_nsec as i64),
        modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
        attributes: open.map(attributes).transpose()?.unwrap_or_default(),
    })
}

/// Attributes that are a file's own: a person's, capabilities, access lists.
fn attributes(file: BorrowedFd<'_>) -> std::result::Result<Vec<(Bytes, Bytes)>, Errno> {
    // By path: a listing through an overlay's descriptor is that of the file, as any other.
    debug_assert!(file.as_raw_fd() >= 0);
    let mut names = vec![0u8; 64 << 10];
    let n = match flistxattr(file, &mut names[..]) {
        Ok(n) => n,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let (mut all, mut size) = (Vec::new(), 0);
    for name in names[..n].split(|b| *b == 0).filter(|name| !name.is_empty() && travels(name)) {
        let mut value = vec![0u8; 64 << 10];
        let len = match fgetxattr(file, OsStr::from_bytes(name), &mut value[..]) {
            Ok(len) => len,
            Err(Errno::NODATA) => continue,
            Err(e) => return Err(e),
        };
        value.truncate(len);
        size += name.len() + len;
        if size > ATTRIBUTES_MAX {
            return Err(Errno::TOOBIG);
        }
        all.push((Bytes(name.to_vec()), Bytes(value)));
    }
    Ok(all)
}

fn travels(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == b"security.capability" || name.starts_with(b"system.posix_acl_")
}
