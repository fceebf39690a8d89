//! What makes one machine another: the identity that a copy of a disk must not keep.
//!
//! | what | how it comes anew |
//! |---|---|
//! | `/etc/machine-id`, `/var/lib/dbus/machine-id` | systemd's, at the next boot |
//! | `/etc/hostname` | the shim's, at the next start |
//! | `/etc/ssh/ssh_host_*` | a unit made here, before sshd |
//! | `/var/lib/systemd/random-seed` | systemd's |
//!
//! The tree is hostile: directories are opened below its root without following a link, and names
//! in them are unlinked and made, never written to.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::engine::error::{Context, Result};

/// The unit that makes host keys where there are none.
const UNIT: &str = "\
# Made when this machine became a copy of another.
[Unit]
Description=New SSH host keys for a copied machine
Before=ssh.service ssh.socket sshd.service
ConditionPathExists=/usr/bin/ssh-keygen
ConditionPathExists=/etc/ssh
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
";
const UNIT_NAME: &str = "cowl-host-keys.service";

/// Takes the identity out of a writable root file system in which nothing runs.
///
/// # Errors
/// When it cannot be changed.
pub(super) fn forget(rootfs: &Path) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, rootfs, flags, Mode::empty()).at("open", rootfs)?;
    if let Some(etc) = dir(&root, "etc")? {
        gone(&etc, "hostname")?;
        gone(&etc, "machine-id")?;
        make(&etc, "machine-id", 0o444, "")?;
    }
    for (at, name) in [("var/lib/dbus", "machine-id"), ("var/lib/systemd", "random-seed")] {
        if let Some(dir) = dir(&root, at)? {
            gone(&dir, name)?;
        }
    }
    if forget_host_keys(&root)?
        && let Some(units) = dir(&root, "etc/systemd/system")?
    {
        gone(&units, UNIT_NAME)?;
        make(&units, UNIT_NAME, 0o644, UNIT)?;
        let wants = "multi-user.target.wants";
        match rustix::fs::mkdirat(&units, wants, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e).context(|| format!("make {wants}")),
        }
        if let Some(wants) = dir(&root, "etc/systemd/system/multi-user.target.wants")? {
            gone(&wants, UNIT_NAME)?;
            let target = format!("/etc/systemd/system/{UNIT_NAME}");
            match rustix::fs::symlinkat(target, &wants, UNIT_NAME) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e).context(|| format!("enable {UNIT_NAME}")),
            }
        }
    }
    Ok(())
}

/// Removes host keys; true when there were any.
fn forget_host_keys(root: &OwnedFd) -> Result<bool> {
    let Some(ssh) = dir(root, "etc/ssh")? else { return Ok(false) };
    let mut found = Vec::new();
    for entry in Dir::read_from(&ssh).context(|| "list /etc/ssh".into())? {
        let name = entry.context(|| "list /etc/ssh".into())?.file_name().to_owned();
        let bytes = name.to_bytes();
        if bytes.starts_with(b"ssh_host_") && (bytes.ends_with(b"_key") || bytes.ends_with(b"_key.pub")) {
            found.push(name);
        }
    }
    for name in &found {
        rustix::fs::unlinkat(&ssh, name.as_c_str(), AtFlags::empty())
            .or_else(fine)
            .context(|| "remove a host key".into())?;
    }
    Ok(!found.is_empty())
}

/// A directory below the root; none where there is none, or a link instead.
fn dir(root: &OwnedFd, path: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve =
        ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(e) => Err(e).context(|| format!("open /{path}")),
    }
}

/// What is not there, or is a directory, is left.
fn fine(e: Errno) -> std::result::Result<(), Errno> {
    if matches!(e, Errno::NOENT | Errno::ISDIR | Errno::PERM) { Ok(()) } else { Err(e) }
}

fn gone(dir: &OwnedFd, name: &str) -> Result<()> {
    rustix::fs::unlinkat(dir, name, AtFlags::empty()).or_else(fine).context(|| format!("remove {name}"))
}

fn make(dir: &OwnedFd, name: &str, mode: u32, text: &str) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode)) {
        Ok(file) => {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).context(|| format!("chmod {name}"))?;
            File::from(file).write_all(text.as_bytes()).context(|| format!("write {name}"))
        }
        // A directory of that name, made from inside.
        Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e).context(|| format!("make {name}")),
    }
}
