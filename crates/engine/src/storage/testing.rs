//! A pool of its own for each test, on a small loop file, with an image of a few files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::backing;
use super::image::{Origin, new_id};
use super::pool::{Pool, Scratch};
use crate::Config;
use crate::sys::btrfs;
use cowl_api::ContainerId;

/// A state directory that is destroyed with its pool, also when the test fails.
struct State(PathBuf);

impl Drop for State {
    fn drop(&mut self) {
        match backing::destroy(&self.0) {
            Ok(()) => drop(fs::remove_dir_all(&self.0)),
            Err(error) if std::thread::panicking() => eprintln!("{} stays: {error}", self.0.display()),
            Err(error) => panic!("{} stays: {error}", self.0.display()),
        }
    }
}

/// An open pool; made so that the pool is closed before its directory goes.
pub struct Scene {
    pub pool: Pool,
    state: State,
}

impl Scene {
    /// A pool without an image.
    pub fn empty() -> Self {
        Self::of_size(4 << 30)
    }

    /// A pool without an image, of so many bytes.
    pub fn of_size(bytes: u64) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let start = stat.rsplit(' ').nth(52 - 22).unwrap().to_owned();
        let state = State(std::env::temp_dir().join(format!("cowlt-{pid}-{start}-storage{n}")));
        fs::create_dir(&state.0).unwrap();
        // A file of a fitting size is taken as it is, so no variable need be set in the test's
        // process.
        fs::File::create(state.0.join("pool.img")).unwrap().set_len(bytes).unwrap();
        let mkfs = std::process::Command::new("mkfs.btrfs").arg("-q").arg(state.0.join("pool.img")).output().unwrap();
        assert!(mkfs.status.success(), "mkfs.btrfs (package btrfs-progs): {mkfs:?}");
        Self { pool: Pool::open(&config(&state.0)).unwrap(), state }
    }

    /// A pool with an image of tier `tiny`.
    pub fn new() -> Self {
        let scene = Self::empty();
        scene.plant();
        scene
    }

    /// Adds an image of tier `tiny`.
    pub fn plant(&self) {
        let tree = Scratch::new(self.pool.temporary("tiny"));
        btrfs::create(tree.path()).unwrap();
        plant(tree.path());
        self.pool.adopt(tree, &new_id("tiny"), 1_700_000_000, Origin::default()).unwrap();
    }

    /// The image's id.
    pub fn image(&self) -> String {
        self.pool.image("tiny").unwrap().expect("an image").id
    }

    /// A container's disk, just made.
    pub fn disk(&self) -> ContainerId {
        let id = ContainerId::generate();
        self.pool.create_disk(&id, &self.image()).unwrap();
        id
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        &self.state.0
    }

    /// The same pool, opened again as by the next node.
    pub fn reopen(self) -> Self {
        self.forgotten().reopen()
    }

    /// The pool's node has died; its mount is there still.
    pub fn forgotten(self) -> Forgotten {
        Forgotten { state: self.state }
    }
}

/// A pool that no node has.
pub struct Forgotten {
    state: State,
}

impl Forgotten {
    /// The state directory.
    pub fn dir(&self) -> &Path {
        &self.state.0
    }

    /// Opened by the next node.
    pub fn reopen(self) -> Scene {
        Scene { pool: Pool::open(&config(&self.state.0)).unwrap(), state: self.state }
    }
}

/// A node's configuration for a state directory.
pub fn config(state_dir: &Path) -> Config {
    Config {
        state_dir: state_dir.into(),
        run_dir: state_dir.join("run"),
        network: "10.201.0.0/16".parse().unwrap(),
        id_base: 0x7000_0000,
        mirror: None,
        cache_dir: None,
        cowl_exe: "/nonexistent/cowl".into(),
        kit_exe: "/nonexistent/cowl-kit".into(),
    }
}

/// Runs a shell script in the merged, writable `/usr` of a disk, as its running container would see
/// it.
pub fn in_merged_usr(pool: &Pool, disk: &Path, script: &str) {
    let at = pool.root().join("tmp/merged");
    fs::create_dir_all(&at).unwrap();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=on,index=off,metacopy=off",
        pool.lower_usr(disk).unwrap().display(),
        disk.join("ovl/upper").display(),
        disk.join("ovl/work").display()
    );
    let at = at.display();
    // The mount's namespace, and so the mount, ends with the script.
    let script = format!("mount -t overlay cowlt -o {options} {at}\ncd {at}\n{script}");
    let done = std::process::Command::new("unshare").args(["-m", "sh", "-euc", &script]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

fn plant(root: &Path) {
    for dir in ["usr/bin", "usr/lib", "usr/share/doc", "etc", "var/log", "root", "home/user"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/bash\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nadm:x:4:\nuser:x:1000:\n").unwrap();
    fs::write(root.join("usr/lib/os-release"), "ID=tiny\n").unwrap();
    std::os::unix::fs::symlink("../usr/lib/os-release", root.join("etc/os-release")).unwrap();
    fs::write(root.join("usr/bin/hello"), "#!/bin/sh\necho hello\n").unwrap();
    fs::set_permissions(root.join("usr/bin/hello"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(root.join("usr/share/doc/README"), "read me\n").unwrap();
}
