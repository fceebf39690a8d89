//! What a pool lies on: a sparse file on a loop device, or the host's own btrfs.
//!
//! ```text
//! STATE/pool.lock   held while a node has the pool
//! STATE/pool.img    the sparse file; absent when STATE itself is on btrfs
//! STATE/pool/       its mount point, or a subvolume of the host's btrfs
//! ```
//!
//! The mount outlives the node, for containers run on without it. After a reboot, or whatever else
//! took the mount away, [`open`] makes it again. The directory is closed to everybody but root:
//! files in it carry container ids, and a container's setuid file must never be reachable as one
//! of the host.

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FlockOperation, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::command::{command, require, run};
use crate::error::{Context, Error, Result};
use crate::sys::btrfs;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Largest size a pool gets by itself.
const DEFAULT_SIZE: u64 = 64 * GIB;
/// What an image and a few containers need at least.
const SMALLEST: u64 = 2 * GIB;
/// For tools that only change metadata.
const TOOL_DEADLINE: Duration = Duration::from_secs(60);

/// How a pool is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sparse file on a loop device.
    Loop,
    /// A subvolume of the host's btrfs.
    Btrfs,
}

/// A pool's place, locked.
#[derive(Debug)]
pub struct Backing {
    /// How it is kept.
    pub kind: Kind,
    /// Where it is mounted.
    pub root: PathBuf,
    /// Released when dropped.
    _lock: File,
}

/// Locks the pool of a state directory and mounts it, making it on first use. `COWL_POOL_SIZE`
/// (bytes, or with K, M, G, T) overrides the size of a new loop file.
///
/// # Errors
/// [`Error::Missing`], [`Error::Busy`], [`Error::Full`] when less than 4 GiB are free.
pub fn open(state_dir: &Path) -> Result<Backing> {
    std::fs::create_dir_all(state_dir).at("create", state_dir)?;
    let state_dir = state_dir.canonicalize().at("resolve", state_dir)?;
    let lock = lock(&state_dir)?;
    for program in ["btrfs", "mkfs.btrfs", "losetup", "mount"] {
        require(program)?;
    }
    let root = state_dir.join("pool");
    let image = state_dir.join("pool.img");
    let kind = if !image.exists() && btrfs::is_btrfs(&state_dir).at("ask", &state_dir)? {
        open_subvolume(&root)?;
        Kind::Btrfs
    } else {
        open_loop(&state_dir, &image, &root)?;
        Kind::Loop
    };
    std::fs::set_permissions(&root, Permissions::from_mode(0o700)).at("chmod 700", &root)?;
    Ok(Backing { kind, root, _lock: lock })
}

/// Unmounts a pool that no node and no container uses; its data stays.
///
/// # Errors
/// [`Error::Busy`] while a node has it; `EBUSY` while containers run.
pub fn unmount(state_dir: &Path) -> Result<()> {
    let _lock = lock(state_dir)?;
    unmount_locked(state_dir)
}

/// Unmounts a pool and deletes it with everything in it.
///
/// # Errors
/// As [`unmount`].
pub fn destroy(state_dir: &Path) -> Result<()> {
    if !state_dir.exists() {
        return Ok(());
    }
    let state_dir = state_dir.canonicalize().at("resolve", state_dir)?;
    let _lock = lock(&state_dir)?;
    unmount_locked(&state_dir)?;
    let root = state_dir.join("pool");
    if btrfs::is_subvolume(&root).at("ask", &root)? {
        btrfs::delete(&root).at("delete", &root)?;
    }
    for file in ["pool.img", "pool.img.new", "pool.lock"] {
        absent_is_fine(std::fs::remove_file(state_dir.join(file))).at("delete", &state_dir.join(file))?;
    }
    absent_is_fine(std::fs::remove_dir(&root)).at("remove", &root)
}

fn absent_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn lock(state_dir: &Path) -> Result<File> {
    let path = state_dir.join("pool.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .at("open", &path)?;
    // A child that some thread has forked and that has not yet executed its program holds a copy of
    // a lock given up meanwhile; so ask for a moment before believing in another node.
    for _ in 0..25 {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(20)),
            Err(e) => return Err(e).at("lock", &path),
        }
    }
    Err(Error::Busy(state_dir.join("pool")))
}

fn open_subvolume(root: &Path) -> Result<()> {
    if root.exists() {
        return if btrfs::is_subvolume(root).at("ask", root)? {
            Ok(())
        } else {
            Err(Error::Unsupported(format!("{} is in the way: it is not a btrfs subvolume", root.display())))
        };
    }
    btrfs::create(root).at("create subvolume", root)
}

fn open_loop(state_dir: &Path, image: &Path, root: &Path) -> Result<()> {
    if let Some(source) = mounted_from(root)? {
        if loops_of(image)?.contains(&source) {
            return Ok(());
        }
        return Err(Error::Unsupported(format!(
            "{} is a mount of {source}, not of {}; unmount it first",
            root.display(),
            image.display()
        )));
    }
    if !image.exists() {
        create_image(state_dir, image)?;
    }
    std::fs::create_dir_all(root).at("create", root)?;
    // `loop` lets the kernel detach the device by itself once it is unmounted, so a crash leaves
    // no device behind; mount(8) also takes a device that already has this file.
    let mut mount = command("mount");
    mount.args(["-t", "btrfs", "-o", "loop,noatime,discard=async,compress=zstd:1"]).arg(image).arg(root);
    run(mount, TOOL_DEADLINE)?;
    for device in loops_of(image)? {
        let mut direct = command("losetup");
        direct.args(["--direct-io=on", &device]);
        // Without direct I/O (not every host file system has it) each page is cached twice: a
        // waste of memory, nothing worse.
        if let Err(error) = run(direct, TOOL_DEADLINE) {
            tracing::info!(%error, device, "the pool's loop device works without direct I/O");
        }
    }
    Ok(())
}

fn create_image(state_dir: &Path, image: &Path) -> Result<()> {
    let size = match std::env::var("COWL_POOL_SIZE") {
        Ok(text) => parse_size(&text).filter(|s| *s >= 256 * MIB).ok_or_else(|| {
            Error::Unsupported(format!("COWL_POOL_SIZE={text} is not a size of at least 256M, like 64G"))
        })?,
        Err(_) => {
            let half = free_on(state_dir)? / 2;
            if half < SMALLEST {
                return Err(Error::Full(format!("a pool in {} needs 4 GiB of free space", state_dir.display())));
            }
            half.min(DEFAULT_SIZE)
        }
    };
    let new = state_dir.join("pool.img.new");
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new).at("create", &new)?;
    file.set_len(size / MIB * MIB).at("size", &new)?;
    let mut mkfs = command("mkfs.btrfs");
    // One copy of metadata: the file lies on one disk, whose file system guards it already.
    mkfs.args(["-q", "-L", "cowl-pool", "-m", "single", "-d", "single"]).arg(&new);
    run(mkfs, TOOL_DEADLINE)?;
    file.sync_all().at("sync", &new)?;
    std::fs::rename(&new, image).at("rename", &new)
}

/// Bytes an ordinary user could still write on the file system of a path.
///
/// # Errors
/// When it cannot be asked.
pub fn free_on(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path).at("ask for free space on", path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// `8G`, `512M`, `1048576`.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Loop devices that have this file.
fn loops_of(image: &Path) -> Result<Vec<String>> {
    if !image.exists() {
        return Ok(Vec::new());
    }
    let mut list = command("losetup");
    list.args(["--noheadings", "--output", "NAME", "--associated"]).arg(image);
    Ok(run(list, TOOL_DEADLINE)?.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect())
}

/// Source of the mount at a path, if it is a mount point.
fn mounted_from(root: &Path) -> Result<Option<String>> {
    // The mount table is no snapshot: while others mount and unmount, a reader can miss a line.
    // Whether there is a mount is therefore asked of the directory itself.
    for _ in 0..20 {
        if !is_mount_point(root)? {
            return Ok(None);
        }
        let table = std::fs::read_to_string("/proc/self/mountinfo").context(|| "read the mount table".into())?;
        if let Some(source) = source_in(&table, root) {
            return Ok(Some(source));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(Error::Unsupported(format!("the mount table does not show what is mounted at {}", root.display())))
}

fn is_mount_point(path: &Path) -> Result<bool> {
    match rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty()) {
        Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e).at("ask", path),
    }
}

fn source_in(table: &str, root: &Path) -> Option<String> {
    let wanted = escape(root);
    table.lines().rev().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (before.split(' ').nth(4)? == wanted).then(|| after.split(' ').nth(1).unwrap_or_default().to_owned())
    })
}

/// A path as mountinfo writes it.
fn escape(path: &Path) -> String {
    let mut out = String::new();
    for c in path.to_string_lossy().chars() {
        match c {
            ' ' | '\t' | '\n' | '\\' => out.push_str(&format!("\\{:03o}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn unmount_locked(state_dir: &Path) -> Result<()> {
    let root = state_dir.join("pool");
    let image = state_dir.join("pool.img");
    let mut tries = 0;
    while is_mount_point(&root)? {
        match rustix::mount::unmount(&root, rustix::mount::UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // A reader just leaving, or the kernel's cleaner, may hold it for a moment.
            Err(Errno::BUSY) if tries < 20 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(e) => return Err(e).at("unmount", &root),
        }
    }
    for device in loops_of(&image)? {
        let mut detach = command("losetup");
        detach.args(["--detach", &device]);
        // It may have detached itself between the list and now.
        if let Err(e) = run(detach, TOOL_DEADLINE)
            && loops_of(&image)?.contains(&device)
        {
            return Err(e);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::storage::pool::{Pool, names};
    use crate::storage::testing::{Scene, config};

    #[test]
    fn sizes_are_read_with_and_without_unit() {
        assert_eq!(parse_size("8G"), Some(8 * GIB));
        assert_eq!(parse_size("512m"), Some(512 * MIB));
        assert_eq!(parse_size("1048576"), Some(MIB));
        assert_eq!(parse_size("8X"), None);
        assert_eq!(parse_size("G"), None);
        assert_eq!(parse_size("99999999999999T"), None);
    }

    #[test]
    fn the_mount_table_is_read_with_escapes_and_the_last_mount_wins() {
        let table =
            "30 1 0:25 / /a\\040b rw - btrfs /dev/loop1 rw\n31 1 0:26 / /a\\040b rw shared:1 - btrfs /dev/loop2 rw\n";
        assert_eq!(source_in(table, Path::new("/a b")).as_deref(), Some("/dev/loop2"));
        assert_eq!(source_in(table, Path::new("/a")), None);
    }

    #[test]
    fn a_second_node_is_told_that_the_pool_is_in_use() {
        let scene = Scene::empty();
        assert!(matches!(open(scene.dir()), Err(Error::Busy(_))));
        assert!(matches!(destroy(scene.dir()), Err(Error::Busy(_))));
    }

    #[test]
    fn the_mount_outlives_its_node_and_a_lost_one_is_made_again() {
        let scene = Scene::new();
        let (id, dir) = (scene.disk(), scene.dir().to_path_buf());
        let disk = scene.pool.disk(&id);
        let scene = scene.forgotten();
        assert!(disk.exists(), "the mount went with the pool");
        let scene = scene.reopen();
        assert!(disk.exists());
        // As after a reboot: neither mount nor loop device.
        let scene = scene.forgotten();
        unmount(&dir).unwrap();
        assert!(!disk.exists() && loops_of(&dir.join("pool.img")).unwrap().is_empty());
        let scene = scene.reopen();
        assert!(disk.exists() && scene.pool.kind() == "loop");
        assert_eq!(fs::metadata(scene.pool.root()).unwrap().permissions().mode() & 0o7777, 0o700);
    }

    #[test]
    fn on_a_host_with_btrfs_the_pool_is_a_subvolume() {
        let host = Scene::empty();
        let state = host.pool.root().join("state");
        fs::create_dir(&state).unwrap();
        let pool = Pool::open(&config(&state)).unwrap();
        assert_eq!(pool.kind(), "btrfs");
        assert!(btrfs::is_subvolume(pool.root()).unwrap() && !state.join("pool.img").exists());
        let usage = pool.usage().unwrap();
        assert!(usage.free > 0 && usage.free <= usage.total && usage.used < usage.total, "{usage:?}");
        btrfs::create(&pool.root().join("containers/some")).unwrap();
        pool.close().unwrap();
        destroy(&state).unwrap();
        assert!(names(&state).unwrap().is_empty());
    }

    #[test]
    fn a_foreign_mount_in_the_pools_place_is_refused() {
        let scene = Scene::empty();
        let root = scene.pool.root().to_path_buf();
        let scene = scene.forgotten();
        unmount(scene.dir()).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("cowlt", &root, "tmpfs", flags, None::<&std::ffi::CStr>).unwrap();
        let e = open(scene.dir()).unwrap_err();
        rustix::mount::unmount(&root, rustix::mount::UnmountFlags::empty()).unwrap();
        assert!(e.to_string().contains("cowlt"), "{e}");
        scene.reopen();
    }
}
