//! The half inside: makes what it is told of, where the target is its root directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, SeekFrom, Timestamps, Uid, XattrFlags,
    fchmod, fchown, fsetxattr, futimens, mkdirat, openat, openat2, renameat_with, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pivot_root};
use rustix::thread::{ThreadNameSpaceType, Timespec, move_into_thread_name_spaces};

use super::wire::{Answer, Bytes, Channel, Facts, Order};
use super::{Source, Spec, Target};
use crate::cgroup::Cgroups;
use crate::error::{Context, Error, Result};
use crate::sys::mount;
use cowl_api::files::{Overwrite, Restored};

/// Paths that are told of at most.
const TOLD_MAX: usize = 1_000;
/// Bytes copied between two looks for the other half.
const PIECE: usize = 1 << 20;

/// What the forked child does; its exit code.
pub(super) fn main(channel: &Channel, spec: &Spec) -> i32 {
    let done = stand_in(&spec.target).and_then(|()| {
        channel.send(&Answer::Ready, None)?;
        let mut writer = Writer {
            channel,
            overwrite: spec.overwrite,
            look: true,
            dirs: Vec::new(),
            links: HashMap::new(),
            report: Restored::default(),
            aside: 0,
        };
        writer.serve()
    });
    if let Err(e) = done {
        let errno = match &e {
            Error::Full(_) => libc::ENOSPC,
            _ => 0,
        };
        let message = match &e {
            Error::Full(what) => what.clone(),
            other => other.to_string(),
        };
        let _ = channel.send(&Answer::Failed { message, errno }, None);
        return 1;
    }
    0
}

/// Makes the target this process' root directory.
fn stand_in(target: &Target) -> Result<()> {
    match target {
        Target::Running { id, tag, init_pid } => {
            Cgroups::find(tag)?.place(id, 0)?;
            let pid = i32::try_from(*init_pid).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| Error::Shim("no init".into()))?;
            let init = pidfd_open(pid, PidfdFlags::empty()).context(|| "reach the container's init".into())?;
            // Not its process ids: nobody inside sees us, or can trace us.
            move_into_thread_name_spaces(init.as_fd(), ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT)
                .context(|| "join the container's namespaces".into())?;
            crate::shim::become_root()?;
        }
        Target::Disk(disk) => pivot_into(disk)?,
    }
    std::env::set_current_dir("/").context(|| "enter /".into())?;
    rustix::process::umask(Mode::empty());
    Ok(())
}

/// Mounts a disk as its container would see it, and leaves the host's tree.
fn pivot_into(target: &Source) -> Result<()> {
    let quiet =
        MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).context(|| "new mount namespace".into())?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context(|| "make the host's mounts private".into())?;
    let rootfs = target.disk.join("rootfs");
    let root = open_tree(CWD, &rootfs, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .at("clone the mount of", &rootfs)?;
    mount::set_attributes(root.as_fd(), u64::from(quiet.bits()), None).context(|| "restrict the disk".into())?;
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).context(|| "open overlayfs".into())?;
    let (upper, work) = (target.disk.join("ovl/upper"), target.disk.join("ovl/work"));
    for (key, path) in [("lowerdir", &target.lower_usr), ("upperdir", &upper), ("workdir", &work)] {
        fsconfig_set_string(fs.as_fd(), key, path).context(|| format!("overlay {key}"))?;
    }
    // As a container's start has them.
    for (key, value) in [("redirect_dir", "on"), ("index", "off"), ("metacopy", "off")] {
        fsconfig_set_string(fs.as_fd(), key, value).context(|| format!("overlay {key}"))?;
    }
    fsconfig_create(fs.as_fd()).context(|| "mount the overlay on /usr".into())?;
    let usr =
        fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, quiet).context(|| "mount the overlay on /usr".into())?;
    let staging = Path::new("/run");
    move_mount(&root, "", CWD, staging, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at("attach the disk at", staging)?;
    std::env::set_current_dir(staging).at("enter", staging)?;
    pivot_root(".", ".").context(|| "pivot_root".into())?;
    unmount(".", UnmountFlags::DETACH).context(|| "let go of the host's tree".into())?;
    std::env::set_current_dir("/").context(|| "enter /".into())?;
    move_mount(&usr, "", CWD, "/usr", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).context(|| "attach /usr".into())
}

/// A directory on the way to what is written.
struct Level {
    fd: Rc<OwnedFd>,
    path: String,
    /// What it gets when all in it is there; `None` for one that was there before and keeps its own.
    facts: Option<Facts>,
}

struct Writer<'a> {
    channel: &'a Channel,
    overwrite: Overwrite,
    look: bool,
    dirs: Vec<Level>,
    /// Files with several names, by the source's device and inode: where the first one is now.
    links: HashMap<(u64, u64), (Rc<OwnedFd>, Bytes)>,
    report: Restored,
    /// Levels below a directory that is left out, or does not exist yet.
    aside: usize,
}

impl Writer<'_> {
    fn serve(&mut self) -> Result<()> {
        while let Some((order, attached)) = self.channel.receive::<Order>()? {
            match order {
                Order::Pass { look } => {
                    self.look = look;
                    self.report = Restored::default();
                    self.links.clear();
                }
                Order::Into { directory } => self.into(&directory)?,
                Order::Directory { name, facts } if self.aside > 0 => {
                    let _ = (name, facts);
                    self.aside += 1;
                }
                Order::Directory { name, facts } => self.directory(&name, facts)?,
                Order::Leave if self.aside > 0 => self.aside -= 1,
                Order::Leave => self.leave()?,
                Order::File { facts, .. } if self.aside > 0 => self.count(attached.as_ref(), &facts)?,
                Order::Link { .. } | Order::Pipe { .. } if self.aside > 0 => self.report.copied += u64::from(self.look),
                Order::File { name, facts, links } => {
                    let file = attached.ok_or_else(|| Error::Shim("a file came without its descriptor".into()))?;
                    self.file(&name, &facts, links, &file)?;
                }
                Order::Link { name, facts, target } => self.link(&name, &facts, &target)?,
                Order::Pipe { name, facts } => self.pipe(&name, &facts)?,
                Order::End => {
                    self.report.dry_run = self.look;
                    self.channel.send(&Answer::Report(std::mem::take(&mut self.report)), None)?;
                }
            }
        }
        Ok(())
    }

    fn here(&self) -> Result<(Rc<OwnedFd>, &str)> {
        let level = self.dirs.last().ok_or_else(|| Error::Shim("nowhere to write".into()))?;
        Ok((Rc::clone(&level.fd), &level.path))
    }

    fn full(&self, name: &Bytes) -> String {
        let at = self.dirs.last().map_or("", |level| level.path.trim_end_matches('/'));
        format!("{at}/{}", String::from_utf8_lossy(&name.0))
    }

    /// Goes to the directory that was named; links in the way are followed, as for anybody inside.
    fn into(&mut self, directory: &str) -> Result<()> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let at = |path: &str| openat2(CWD, path, flags, Mode::empty(), resolve);
        let fd = match at(directory) {
            Err(Errno::NOENT) if self.look => {
                // All below it is new.
                self.aside = 1;
                return Ok(());
            }
            Err(Errno::NOENT) => {
                let mut here = at("/").context(|| "open /".into())?;
                let mut so_far = String::new();
                for name in directory.split('/').filter(|n| !n.is_empty()) {
                    so_far = format!("{so_far}/{name}");
                    here = match at(&so_far) {
                        Err(Errno::NOENT) => {
                            mkdirat(&here, name, Mode::from_raw_mode(0o755)).context(|| format!("make {so_far}"))?;
                            at(&so_far).context(|| format!("open {so_far}"))?
                        }
                        other => other.context(|| format!("open {so_far}"))?,
                    };
                }
                here
            }
            other => other.context(|| format!("open {directory}"))?,
        };
        self.dirs = vec![Level { fd: Rc::new(fd), path: directory.to_owned(), facts: None }];
        Ok(())
    }

    /// What is at a name now.
    fn present(&self, dir: &OwnedFd, name: &Bytes) -> Result<Option<FileType>> {
        match statat(dir, OsStr::from_bytes(&name.0), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e).context(|| format!("ask for {}", self.full(name))),
        }
    }

    /// Whether a file may be put at a name; notes it when not.
    fn may_put(&mut self, dir: &OwnedFd, name: &Bytes, is_dir: bool) -> Result<bool> {
        let Some(present) = self.present(dir, name)? else { return Ok(true) };
        let path = self.full(name);
        match self.overwrite {
            Overwrite::Replace if is_dir || present != FileType::Directory => {
                self.report.replaced += 1;
                return Ok(true);
            }
            Overwrite::Fail => push(&mut self.report.conflicts, path),
            Overwrite::Skip => push(&mut self.report.skipped, path),
            Overwrite::Replace => push(&mut self.report.skipped, format!("{path} (a directory is in its place)")),
        }
        Ok(false)
    }

    fn count(&mut self, file: Option<&OwnedFd>, _facts: &Facts) -> Result<()> {
        if self.look
            && let Some(file) = file
        {
            let size = rustix::fs::fstat(file).context(|| "ask for a file's size".into())?.st_size;
            self.report.copied += 1;
            self.report.bytes += u64::try_from(size).unwrap_or(0);
        }
        Ok(())
    }

    fn directory(&mut self, name: &Bytes, facts: Facts) -> Result<()> {
        let (dir, _) = self.here()?;
        let path = self.full(name);
        let raw = OsStr::from_bytes(&name.0);
        let mut own = None;
        match self.present(&dir, name)? {
            Some(FileType::Directory) => {
                if self.overwrite == Overwrite::Replace {
                    own = Some(facts);
                }
            }
            present => {
                if present.is_some() && !self.may_put(&dir, name, true)? {
                    self.aside = 1;
                    return Ok(());
                }
                if self.look {
                    self.aside = 1;
                    return Ok(());
                }
                if present.is_some() {
                    unlinkat(&dir, raw, AtFlags::empty()).context(|| format!("remove {path}"))?;
                }
                mkdirat(&dir, raw, Mode::from_raw_mode(0o700)).context(|| format!("make {path}"))?;
                own = Some(facts);
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&dir, raw, flags, Mode::empty()).context(|| format!("open {path}"))?;
        self.dirs.push(Level { fd: Rc::new(fd), path, facts: own.filter(|_| !self.look) });
        Ok(())
    }

    /// A directory gets its facts last: a read-only one could not be filled, and filling it changes
    /// its times.
    fn leave(&mut self) -> Result<()> {
        if let Some(Level { fd, path, facts: Some(facts) }) = self.dirs.pop() {
            dress(&fd, &facts).context(|| format!("set owner and mode of {path}"))?;
            self.report.copied += 1;
        }
        Ok(())
    }

    fn file(&mut self, name: &Bytes, facts: &Facts, links: Option<(u64, u64)>, source: &OwnedFd) -> Result<()> {
        let (dir, _) = self.here()?;
        if !self.may_put(&dir, name, false)? {
            return Ok(());
        }
        self.count(Some(source), facts)?;
        if self.look {
            return Ok(());
        }
        let path = self.full(name);
        let temporary = temporary();
        if let Some((first, first_name)) = links.and_then(|id| self.links.get(&id)) {
            let linked =
                rustix::fs::linkat(&**first, OsStr::from_bytes(&first_name.0), &*dir, &*temporary, AtFlags::empty());
            linked.context(|| format!("link {path}"))?;
        } else {
            self.fill(&dir, &temporary, facts, source).context(|| format!("write {path}")).inspect_err(|_| {
                let _ = unlinkat(&*dir, &*temporary, AtFlags::empty());
            })?;
        }
        self.settle(&dir, &temporary, name)?;
        let size = rustix::fs::fstat(source).map_or(0, |s| u64::try_from(s.st_size).unwrap_or(0));
        self.report.copied += 1;
        self.report.bytes += size;
        if let Some(id) = links {
            self.links.entry(id).or_insert_with(|| (dir, name.clone()));
        }
        Ok(())
    }

    fn fill(&self, dir: &OwnedFd, name: &str, facts: &Facts, source: &OwnedFd) -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(dir, name, flags, Mode::from_raw_mode(0o600))?;
        // Shares the blocks where both are on the pool itself.
        if rustix::fs::ioctl_ficlone(&file, source).is_err() {
            self.copy(&file, source)?;
        }
        dress(&file, facts)?;
        Ok(())
    }

    /// Copies the parts of a file that are no holes.
    fn copy(&self, to: &OwnedFd, from: &OwnedFd) -> std::io::Result<()> {
        let end = u64::try_from(rustix::fs::fstat(from)?.st_size).unwrap_or(0);
        let (source, target) = (File::from(from.try_clone()?), File::from(to.try_clone()?));
        let mut buf = vec![0u8; PIECE];
        let mut at = 0u64;
        while at < end {
            let data = match rustix::fs::seek(from, SeekFrom::Data(at)) {
                Ok(data) => data,
                // A hole up to the end.
                Err(Errno::NXIO) => break,
                Err(_) => at,
            };
            let hole = rustix::fs::seek(from, SeekFrom::Hole(data)).unwrap_or(end).min(end);
            at = data;
            while at < hole {
                use std::os::unix::fs::FileExt;
                let want = usize::try_from(hole - at).unwrap_or(PIECE).min(PIECE);
                let n = source.read_at(&mut buf[..want], at)?;
                if n == 0 {
                    return Ok(());
                }
                target.write_all_at(&buf[..n], at)?;
                at += n as u64;
                self.still_wanted()?;
            }
        }
        Ok(rustix::fs::ftruncate(to, end)?)
    }

    /// A big file is given up when the other half is gone.
    fn still_wanted(&self) -> std::io::Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut socket = [PollFd::from_borrowed_fd(self.channel.fd(), PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut socket, Some(&now))? > 0 && socket[0].revents().contains(PollFlags::HUP) {
            return Err(std::io::Error::other("cancelled"));
        }
        Ok(())
    }

    /// Gives what was made under another name its own, in place of what is there only when that may be.
    fn settle(&mut self, dir: &OwnedFd, temporary: &str, name: &Bytes) -> Result<()> {
        let raw = OsStr::from_bytes(&name.0);
        let flags = if self.overwrite == Overwrite::Replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        let renamed = renameat_with(dir, temporary, dir, raw, flags);
        // Two names of one file are as they should be already, and a rename leaves both.
        let _ = unlinkat(dir, temporary, AtFlags::empty());
        renamed.context(|| format!("write {}", self.full(name)))
    }

    fn link(&mut self, name: &Bytes, facts: &Facts, target: &Bytes) -> Result<()> {
        self.special(name, facts, |dir, temporary| symlinkat(OsStr::from_bytes(&target.0), dir, temporary))
    }

    fn pipe(&mut self, name: &Bytes, facts: &Facts) -> Result<()> {
        let mode = Mode::from_raw_mode(facts.mode & 0o777);
        self.special(name, facts, |dir, temporary| rustix::fs::mknodat(dir, temporary, FileType::Fifo, mode, 0))
    }

    fn special(
        &mut self,
        name: &Bytes,
        facts: &Facts,
        make: impl FnOnce(&OwnedFd, &str) -> std::result::Result<(), Errno>,
    ) -> Result<()> {
        let (dir, _) = self.here()?;
        if !self.may_put(&dir, name, false)? {
            return Ok(());
        }
        self.report.copied += 1;
        if self.look {
            return Ok(());
        }
        let temporary = temporary();
        let made = || -> std::result::Result<(), Errno> {
            make(&dir, &temporary)?;
            let (uid, gid) = (Uid::from_raw(facts.uid), Gid::from_raw(facts.gid));
            rustix::fs::chownat(&*dir, &*temporary, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            rustix::fs::utimensat(&*dir, &*temporary, &times(facts), AtFlags::SYMLINK_NOFOLLOW)
        };
        made().context(|| format!("make {}", self.full(name))).inspect_err(|_| {
            let _ = unlinkat(&*dir, &*temporary, AtFlags::empty());
        })?;
        self.settle(&dir, &temporary, name)
    }
}

fn push(paths: &mut Vec<String>, path: String) {
    if paths.len() < TOLD_MAX {
        paths.push(path);
    }
}

fn temporary() -> String {
    format!(".cowl-{:016x}", rand::random::<u64>())
}

fn times(facts: &Facts) -> Timestamps {
    let of = |(tv_sec, tv_nsec): (i64, i64)| Timespec { tv_sec, tv_nsec };
    Timestamps { last_access: of(facts.accessed), last_modification: of(facts.modified) }
}

/// Owner first, for a change of it takes capabilities and set-uid bits away; times last.
fn dress(file: &OwnedFd, facts: &Facts) -> std::result::Result<(), Errno> {
    fchown(file, Some(Uid::from_raw(facts.uid)), Some(Gid::from_raw(facts.gid)))?;
    for (name, value) in &facts.attributes {
        fsetxattr(file, OsStr::from_bytes(&name.0), &value.0, XattrFlags::empty())?;
    }
    fchmod(file, Mode::from_raw_mode(facts.mode))?;
    futimens(file, &times(facts))
}
