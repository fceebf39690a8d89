//! The merged tree of a disk that does not run, and a walk through it that cannot leave it.
//!
//! The tree is `rootfs/` with a read-only overlay of `ovl/upper` and the image's `/usr` in place of
//! its `usr`. Its content was written by whoever had the container: names, links and devices in it
//! are hostile. So each component is opened on its own, without following links; links are
//! followed here, inside the tree, and nothing but a regular file is ever opened for reading.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, statat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

/// Links followed in one walk, as the kernel does.
const LINK_LIMIT: usize = 40;
/// Components opened for one request in all, so that a directory full of long link chains cannot
/// keep the node busy.
const STEP_LIMIT: usize = 200_000;

/// A merged tree; unmounted when dropped and all its files are closed.
pub struct Tree {
    root: Rc<OwnedFd>,
    usr: Rc<OwnedFd>,
    steps: usize,
}

/// Something in a tree: opened, not yet read.
pub struct Node {
    /// Directories from the root to the one that holds it, itself not included.
    parents: Vec<(Rc<OwnedFd>, OsString)>,
    name: OsString,
    fd: Rc<OwnedFd>,
    /// Facts about it, not about what it points to.
    pub stat: Stat,
}

impl Node {
    /// File type of the node itself.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Absolute path without links.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for name in self.parents.iter().map(|(_, n)| n).chain([&self.name]).filter(|n| !n.is_empty()) {
            path.push('/');
            path.push_str(&name.to_string_lossy());
        }
        if path.is_empty() { "/".into() } else { path }
    }

    /// Where a link points.
    pub fn target(&self) -> io::Result<OsString> {
        let target = rustix::fs::readlinkat(self.fd.as_fd(), "", Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// It, open for nothing but its name.
    #[cfg(test)]
    pub fn descriptor(&self) -> &OwnedFd {
        &self.fd
    }

    /// Opens it for reading if it is a regular file; anything else is `ENOENT`.
    pub fn open(&self) -> io::Result<File> {
        if self.kind() != FileType::RegularFile {
            return Err(Errno::NOENT.into());
        }
        // By descriptor, not by name: what was looked at is what is opened.
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
    }
}

impl Node {
    /// Opens it for reading if it is a directory.
    ///
    /// # Errors
    /// `ENOTDIR` when it is none.
    pub fn directory(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*self.fd, ".", flags, Mode::empty())?)
    }
}

impl Tree {
    /// Assembles the tree of a disk or snapshot.
    ///
    /// # Errors
    /// `ENOENT` when it is no disk.
    pub fn new(disk: &Path, lower_usr: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, disk.join("rootfs"), flags, Mode::empty())?;
        let usr = overlay(&disk.join("ovl/upper"), lower_usr)?;
        Ok(Self { root: Rc::new(root), usr: Rc::new(usr), steps: 0 })
    }

    /// The node at a path. A link at its end is followed only if `follow_last`.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ELOOP`; `EBUSY` when the request took too many steps.
    pub fn walk(&mut self, path: &OsStr, follow_last: bool) -> io::Result<Node> {
        let root = self.root_node()?;
        self.walk_from(root, path, follow_last)
    }

    /// What the link named `name` in a directory leads to.
    ///
    /// # Errors
    /// As [`Tree::walk`].
    pub fn follow(&mut self, dir: &Node, name: &OsStr) -> io::Result<Node> {
        let start = Node { parents: dir.parents.clone(), name: dir.name.clone(), fd: dir.fd.clone(), stat: dir.stat };
        self.walk_from(start, name, true)
    }

    fn root_node(&self) -> io::Result<Node> {
        let stat = rustix::fs::fstat(&*self.root)?;
        Ok(Node { parents: Vec::new(), name: OsString::new(), fd: self.root.clone(), stat })
    }

    fn walk_from(&mut self, start: Node, path: &OsStr, follow_last: bool) -> io::Result<Node> {
        let mut here = start;
        let mut todo = VecDeque::new();
        if queue(&mut todo, path) {
            here = self.root_node()?;
        }
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if here.kind() != FileType::Directory {
                return Err(Errno::NOTDIR.into());
            }
            if name == ".." {
                here = self.parent(here)?;
                continue;
            }
            let next = self.child(&here, &name)?;
            if next.kind() != FileType::Symlink || (todo.is_empty() && !follow_last) {
                here = next;
                continue;
            }
            links += 1;
            if links > LINK_LIMIT {
                return Err(Errno::LOOP.into());
            }
            if queue(&mut todo, &next.target()?) {
                here = self.root_node()?;
            }
        }
        Ok(here)
    }

    fn parent(&self, node: Node) -> io::Result<Node> {
        let mut parents = node.parents;
        let Some((fd, name)) = parents.pop() else { return self.root_node() };
        let stat = rustix::fs::fstat(&*fd)?;
        Ok(Node { parents, name, fd, stat })
    }

    /// The node of this name in a directory; a link itself, not what it leads to.
    ///
    /// # Errors
    /// `ENOENT`; `EBUSY` when the request took too many steps.
    pub fn child(&mut self, dir: &Node, name: &OsStr) -> io::Result<Node> {
        self.steps += 1;
        if self.steps > STEP_LIMIT {
            return Err(Errno::BUSY.into());
        }
        let fd = match self.mounted_at(dir, name) {
            Some(usr) => usr.clone(),
            None => Rc::new(rustix::fs::openat2(
                &*dir.fd,
                name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
            )?),
        };
        let stat = rustix::fs::fstat(&*fd)?;
        let mut parents = dir.parents.clone();
        parents.push((dir.fd.clone(), dir.name.clone()));
        Ok(Node { parents, name: name.to_owned(), fd, stat })
    }

    fn mounted_at(&self, dir: &Node, name: &OsStr) -> Option<&Rc<OwnedFd>> {
        (dir.parents.is_empty() && name == "usr").then_some(&self.usr)
    }

    /// Names in a directory with facts about each, not following links; at most `limit`.
    ///
    /// # Errors
    /// `ENOTDIR`; `EFBIG` when there are more.
    pub fn entries(&self, dir: &Node, limit: usize) -> io::Result<Vec<(OsString, Stat)>> {
        if dir.kind() != FileType::Directory {
            return Err(Errno::NOTDIR.into());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::openat(&*dir.fd, ".", flags, Mode::empty())?;
        let mut found = Vec::new();
        for entry in Dir::read_from(&open)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if found.len() == limit {
                return Err(Errno::FBIG.into());
            }
            let stat = match self.mounted_at(dir, name) {
                Some(usr) => rustix::fs::fstat(usr.as_fd()),
                None => statat(&open, name, AtFlags::SYMLINK_NOFOLLOW),
            };
            match stat {
                Ok(stat) => found.push((name.to_owned(), stat)),
                // Gone since, in a tree that lives.
                Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(found)
    }

    /// Where a link in a directory points.
    ///
    /// # Errors
    /// When it is none.
    pub fn link_target(&self, dir: &Node, name: &OsStr) -> io::Result<String> {
        let target = rustix::fs::readlinkat(dir.fd.as_fd(), name, Vec::new())?;
        Ok(String::from_utf8_lossy(target.to_bytes()).into_owned())
    }
}

/// Puts a path's components in front of those still to walk; true when it is absolute.
fn queue(todo: &mut VecDeque<OsString>, path: &OsStr) -> bool {
    for part in path.as_bytes().split(|b| *b == b'/').rev() {
        if !part.is_empty() && part != b"." {
            todo.push_front(OsStr::from_bytes(part).to_owned());
        }
    }
    path.as_bytes().first() == Some(&b'/')
}

/// A detached read-only overlay of two directories, the upper one first.
fn overlay(upper: &Path, lower: &Path) -> io::Result<OwnedFd> {
    let new = || fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC);
    let mut fs = new()?;
    match append_layers(fs.as_fd(), upper, lower) {
        // Before Linux 6.8 all layers came in one string.
        Err(Errno::INVAL) => {
            fs = new()?;
            fsconfig_set_string(&fs, "lowerdir", format!("{}:{}", escaped(upper), escaped(lower)))?;
        }
        other => other?,
    }
    // Renamed directories are redirects in the upper layer; not following them would hide them.
    fsconfig_set_string(&fs, "redirect_dir", "follow")?;
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

fn append_layers(fs: BorrowedFd<'_>, upper: &Path, lower: &Path) -> Result<(), Errno> {
    fsconfig_set_string(fs, "lowerdir+", upper)?;
    fsconfig_set_string(fs, "lowerdir+", lower)
}

fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('\\', r"\\").replace(':', r"\:")
}
