//! What makes a fresh Debian root file system a golden one: a user, only the units a container
//! needs, caches that a first boot would build, and nothing that must differ between machines.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::SUITE;
use super::mirror::Mirror;
use crate::error::{Context, Result};
use crate::storage::pool::{names, remove};

/// Run by /bin/sh inside the new root, with /proc, /sys and /dev there.
pub const CHROOT: &str = include_str!("golden.sh");

/// Address at which every container finds the node's resolver.
const RESOLVER: &str = "169.254.1.1";

/// Makes a root bootable: what the build left of the host would confuse the first boot.
pub fn before_first_boot(root: &Path) -> Result<()> {
    write(root, "etc/machine-id", "")?;
    gone(root, "etc/hostname")?;
    write(root, "etc/resolv.conf", &format!("nameserver {RESOLVER}\n"))
}

/// Empties a root of all that belongs to one machine or one moment.
pub fn clean(root: &Path, mirror: &Mirror) -> Result<()> {
    before_first_boot(root)?;
    for name in [
        "etc/apt/sources.list",
        "etc/apt/apt.conf.d/99mmdebstrap",
        "etc/.pwd.lock",
        "var/lib/systemd/random-seed",
        "root/.bash_history",
    ] {
        gone(root, name)?;
    }
    for dir in ["etc/apt/sources.list.d", "dev", "run", "tmp", "var/tmp", "var/cache/apt", "var/lib/apt/lists"] {
        emptied(root, dir)?;
    }
    write(root, "etc/apt/sources.list.d/debian.sources", &mirror.deb822(SUITE))?;
    quiet_logs(root)?;
    stamp_updated(root)
}

/// The journal lives in memory (its preallocated file would cost each container 8 MiB of disk);
/// other logs begin empty, with their owners and modes kept.
fn quiet_logs(root: &Path) -> Result<()> {
    gone(root, "var/log/journal")?;
    let mut dirs = vec![root.join("var/log")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).at("list", &dir)? {
            let entry = entry.at("list", &dir)?;
            let kind = entry.file_type().at("ask", &entry.path())?;
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() {
                File::create(entry.path()).at("empty", &entry.path())?;
            }
        }
    }
    Ok(())
}

/// Says that the caches in /etc and /var fit /usr, as systemd-update-done would: their stamps get
/// the age of /usr.
fn stamp_updated(root: &Path) -> Result<()> {
    let usr = fs::metadata(root.join("usr")).and_then(|m| m.modified()).at("ask", &root.join("usr"))?;
    let nanoseconds = usr.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    for stamp in ["etc/.updated", "var/.updated"] {
        write(root, stamp, &format!("# Made as by systemd-update-done.\nTIMESTAMP_NSEC={nanoseconds}\n"))?;
        let path = root.join(stamp);
        let times = FileTimes::new().set_modified(usr).set_accessed(usr);
        File::options().write(true).open(&path).and_then(|f| f.set_times(times)).at("stamp", &path)?;
    }
    Ok(())
}

/// Replaces a file, also when it is a link.
fn write(root: &Path, name: &str, text: &str) -> Result<()> {
    let path = root.join(name);
    gone(root, name)?;
    fs::write(&path, text).at("write", &path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o644)).at("chmod", &path)
}

fn gone(root: &Path, name: &str) -> Result<()> {
    remove(&root.join(name))
}

fn emptied(root: &Path, name: &str) -> Result<()> {
    let dir = root.join(name);
    for entry in names(&dir)? {
        remove(&dir.join(entry))?;
    }
    Ok(())
}
