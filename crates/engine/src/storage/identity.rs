//! What makes a machine this one and no other, where it lies in the disk: machine id, host name,
//! keys of the SSH server, seed of the random pool.
//!
//! A copied disk has its source's. `owner`, a file beside `rootfs/` that no container can see, names
//! the container that a disk was last made the own of; whoever starts a copy asks [`Pool::own`]
//! first. So a copy is never booted as its source, whatever brought the disk there: the copy itself,
//! a restore of a snapshot that came along with it, a crash in between.
//!
//! What is taken away comes again at the next start: systemd takes the machine id that it is told,
//! init writes the host name, and a unit of init's makes the keys. The tree is hostile: every
//! directory is opened without following links, and every file is used by name in an open one.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, fchmod, fchown, fstat, openat, openat2,
    renameat, unlinkat,
};
use rustix::io::Errno;

use super::pool::Pool;
use crate::error::{Context, Error, Result};
use cowl_api::ContainerId;

/// Result of one step on a tree.
type Step<T> = std::result::Result<T, Errno>;

/// Longest file that is looked into, in bytes; a longer one is left as it is.
const FILE_LIMIT: u64 = 1 << 20;
/// Address that `/etc/hosts` gives to the machine's own name.
const OWN_ADDRESS: &str = "127.0.1.1";

impl Pool {
    /// Makes a disk that came from another container the own one of this. Does nothing when it is.
    ///
    /// # Errors
    /// [`Error::NotFound`] without that disk, [`Error::Full`].
    pub fn own(&self, id: &ContainerId) -> Result<()> {
        let disk = self.disk(id);
        if owner(&disk).is_some_and(|owner| owner.trim() == id.as_str()) {
            return Ok(());
        }
        renew(&disk, id)
    }
}

/// Takes whatever identity a disk has off it, for it is to be that of container `id`.
pub(super) fn renew(disk: &Path, id: &ContainerId) -> Result<()> {
    forget(&root(disk)?).context(|| format!("take the identity of another container off {id}'s disk"))?;
    mark(disk, id)
}

/// Leaves the identity of a disk as it is, whoever's it was.
pub(super) fn keep(disk: &Path) -> Result<()> {
    super::pool::remove(&disk.join("owner"))
}

/// Whose a disk was last made the own of; none for one that was always its container's.
fn owner(disk: &Path) -> Option<String> {
    fs::read_to_string(disk.join("owner")).ok()
}

/// Gives a disk that is to replace the present one, whose identity was made its own, the same care: a
/// snapshot that came along from elsewhere may have another's.
pub(super) fn follow(present: &Path, fresh: &Path, id: &ContainerId) -> Result<()> {
    match owner(present) {
        Some(whose) if owner(fresh).as_ref() != Some(&whose) => renew(fresh, id),
        _ => Ok(()),
    }
}

/// Gives a disk that is to take the place of a container's present one the identity of that.
pub(super) fn carry_over(present: &Path, fresh: &Path, id: &ContainerId) -> Result<()> {
    let (present, root) = (root(present)?, root(fresh)?);
    let carry = || -> Step<()> {
        forget(&root)?;
        carry_files(&present, &root)
    };
    carry().context(|| format!("keep the identity of container {id}"))?;
    mark(fresh, id)
}

fn root(disk: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, disk.join("rootfs"), flags, Mode::empty()).map_err(|e| match e {
        Errno::NOENT => Error::NotFound(format!("disk {}", disk.display())),
        other => Error::Sys { what: format!("open {}", disk.display()), source: other.into() },
    })
}

/// Says whose a disk is, after all else: metadata of one subvolume reaches the disk in order.
fn mark(disk: &Path, id: &ContainerId) -> Result<()> {
    let (new, mark) = (disk.join("owner.new"), disk.join("owner"));
    fs::write(&new, format!("{id}\n")).at("write", &new)?;
    fs::rename(&new, &mark).at("rename to", &mark)
}

/// Opens a directory of the tree; `None` where there is none, or a link leads elsewhere.
fn directory(root: &OwnedFd, path: &str) -> Step<Option<OwnedFd>> {
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    match openat2(root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes a name; a directory that somebody put there stays, for it means nothing to anybody.
fn gone(dir: &OwnedFd, name: &str) -> Step<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT | Errno::ISDIR | Errno::PERM) => Ok(()),
        Err(e) => Err(e),
    }
}

/// A small regular file's facts and content; `None` for what is none.
fn small_file(dir: &OwnedFd, name: &str) -> Step<Option<(Stat, Vec<u8>)>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Asked before it is opened: a device's driver would hear of the opening.
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e),
    }
    let file = File::from(openat(dir, name, flags, Mode::empty())?);
    let stat = fstat(&file)?;
    let mut bytes = Vec::new();
    let read = file.take(FILE_LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    Ok((bytes.len() as u64 <= FILE_LIMIT).then_some((stat, bytes)))
}

/// Writes a file under a name, in one step, with the owner and mode of another.
fn put(dir: &OwnedFd, name: &str, like: &Stat, bytes: &[u8]) -> Step<()> {
    let new = format!(".{name}.cowl");
    gone(dir, &new)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(dir, &*new, flags, Mode::from_raw_mode(0o600))?);
    file.write_all(bytes).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    fchown(&file, Some(Uid::from_raw(like.st_uid)), Some(Gid::from_raw(like.st_gid)))?;
    fchmod(&file, Mode::from_raw_mode(like.st_mode & 0o7777))?;
    // A directory in the way stays; what was to be written is then as good as unwritable.
    match renameat(dir, &*new, dir, name) {
        Err(Errno::ISDIR | Errno::NOTEMPTY) => gone(dir, &new),
        other => other,
    }
}

fn is_host_key(name: &str) -> bool {
    name.starts_with("ssh_host_") && (name.ends_with("_key") || name.ends_with("_key.pub"))
}

fn host_keys(ssh: &OwnedFd) -> Step<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(ssh)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && is_host_key(name)
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Takes away what is one machine's.
fn forget(root: &OwnedFd) -> Step<()> {
    if let Some(etc) = directory(root, "etc")? {
        gone(&etc, "machine-id")?;
        gone(&etc, "hostname")?;
        // Empty, not missing: systemd takes a missing one for a first boot and resets presets.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&etc, "machine-id", flags, Mode::from_raw_mode(0o644)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        if let Some((stat, bytes)) = small_file(&etc, "hosts")? {
            let (own, others) = hosts(&bytes);
            if !own.is_empty() {
                put(&etc, "hosts", &stat, &others)?;
            }
        }
    }
    if let Some(ssh) = directory(root, "etc/ssh")? {
        for name in host_keys(&ssh)? {
            gone(&ssh, &name)?;
        }
    }
    for (dir, name) in [("var/lib/systemd", "random-seed"), ("var/lib/dbus", "machine-id")] {
        if let Some(dir) = directory(root, dir)?
            && small_file(&dir, name)?.is_some()
        {
            gone(&dir, name)?;
        }
    }
    Ok(())
}

/// Copies what is one machine's from the tree that was its own till now.
fn carry_files(from: &OwnedFd, to: &OwnedFd) -> Step<()> {
    if let (Some(from), Some(to)) = (directory(from, "etc")?, directory(to, "etc")?) {
        for name in ["machine-id", "hostname"] {
            if let Some((stat, bytes)) = small_file(&from, name)? {
                put(&to, name, &stat, &bytes)?;
            }
        }
        if let (Some((_, ours)), Some((stat, theirs))) = (small_file(&from, "hosts")?, small_file(&to, "hosts")?) {
            put(&to, "hosts", &stat, &[hosts(&theirs).1, hosts(&ours).0].concat())?;
        }
    }
    if let (Some(from), Some(to)) = (directory(from, "etc/ssh")?, directory(to, "etc/ssh")?) {
        for name in host_keys(&from)? {
            if let Some((stat, bytes)) = small_file(&from, &name)? {
                put(&to, &name, &stat, &bytes)?;
            }
        }
    }
    Ok(())
}

/// The lines of a hosts file that name the machine itself, and the others.
fn hosts(text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for line in text.split_inclusive(|b| *b == b'\n') {
        let first = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
        let out = if first == Some(OWN_ADDRESS.as_bytes()) { &mut own } else { &mut others };
        out.extend_from_slice(line);
    }
    if !others.is_empty() && !others.ends_with(b"\n") {
        others.push(b'\n');
    }
    (own, others)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::storage::testing::Scene;

    #[test]
    fn a_copy_loses_what_is_its_sources_and_keeps_the_rest() {
        let scene = Scene::new();
        let (source, copy) = (scene.disk(), ContainerId::generate());
        let etc = scene.pool.disk(&source).join("rootfs/etc");
        fs::create_dir(etc.join("ssh")).unwrap();
        for (name, text) in [
            ("machine-id", "0123\n"),
            ("hostname", "source\n"),
            ("hosts", "127.0.0.1\tlocalhost\n127.0.1.1\tsource\n::1 localhost\n"),
            ("ssh/ssh_host_ed25519_key", "secret"),
            ("ssh/ssh_host_ed25519_key.pub", "public"),
            ("ssh/sshd_config", "config"),
        ] {
            fs::write(etc.join(name), text).unwrap();
        }
        fs::set_permissions(etc.join("hosts"), fs::Permissions::from_mode(0o640)).unwrap();
        scene.pool.copy_disk(&copy, &scene.pool.disk(&source)).unwrap();
        scene.pool.own(&copy).unwrap();
        let theirs = scene.pool.disk(&copy).join("rootfs/etc");
        assert_eq!(fs::read_to_string(theirs.join("machine-id")).unwrap(), "");
        assert!(!theirs.join("hostname").exists() && !theirs.join("ssh/ssh_host_ed25519_key").exists());
        assert!(!theirs.join("ssh/ssh_host_ed25519_key.pub").exists() && theirs.join("ssh/sshd_config").exists());
        assert_eq!(fs::read_to_string(theirs.join("hosts")).unwrap(), "127.0.0.1\tlocalhost\n::1 localhost\n");
        assert_eq!(fs::metadata(theirs.join("hosts")).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_to_string(etc.join("hostname")).unwrap(), "source\n", "the source is as it was");
        // Once is enough: what it got since is its own.
        fs::write(theirs.join("hostname"), "copy\n").unwrap();
        scene.pool.own(&copy).unwrap();
        assert!(theirs.join("hostname").exists());
    }

    #[test]
    fn links_in_a_hostile_tree_lead_nowhere() {
        let scene = Scene::new();
        let outside = scene.dir().join("outside");
        fs::create_dir_all(outside.join("ssh")).unwrap();
        for name in ["machine-id", "hostname", "hosts", "ssh/ssh_host_rsa_key", "random-seed"] {
            fs::write(outside.join(name), "127.0.1.1 host\n").unwrap();
        }
        let untouched = || {
            for name in ["machine-id", "hostname", "hosts", "ssh/ssh_host_rsa_key", "random-seed"] {
                assert_eq!(fs::read_to_string(outside.join(name)).unwrap(), "127.0.1.1 host\n", "{name}");
            }
        };
        let id = scene.disk();
        let root = scene.pool.disk(&id).join("rootfs");
        for name in ["machine-id", "hostname", "hosts"] {
            let _ = fs::remove_file(root.join("etc").join(name));
            symlink(outside.join(name), root.join("etc").join(name)).unwrap();
        }
        symlink(outside.join("ssh"), root.join("etc/ssh")).unwrap();
        fs::create_dir_all(root.join("var/lib")).unwrap();
        symlink(&outside, root.join("var/lib/systemd")).unwrap();
        scene.pool.own(&id).unwrap();
        untouched();
        assert!(root.join("etc/machine-id").symlink_metadata().unwrap().is_file());

        let other = scene.disk();
        let root = scene.pool.disk(&other).join("rootfs");
        fs::remove_dir_all(root.join("etc")).unwrap();
        symlink(&outside, root.join("etc")).unwrap();
        scene.pool.own(&other).unwrap();
        untouched();
    }

    proptest::proptest! {
        #[test]
        fn no_line_of_a_hosts_file_is_lost_or_made_up(text in "([0-9.]{0,9}[ \t]?[a-z#]{0,5}\n?|127.0.1.1 x\n){0,8}") {
            let (own, others) = hosts(text.as_bytes());
            let mut all: Vec<&[u8]> = [&own[..], &others[..]].into_iter().flat_map(|t| t.split(|b| *b == b'\n'))
                .filter(|l| !l.is_empty()).collect();
            let mut before: Vec<&[u8]> = text.as_bytes().split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
            all.sort();
            before.sort();
            proptest::prop_assert_eq!(all, before);
        }
    }
}
