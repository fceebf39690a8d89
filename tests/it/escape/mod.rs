//! Root of a container attacks the host and its neighbours, and fails.
//!
//! What it may try by system calls is in `probe/*.c`, built statically here with the host's `cc` and
//! put into the container by `cowl files put`; each attempt prints one line. The rest is done with
//! what every container has. The threat model is in `src/engine/isolation/mod.rs`.

mod bombs;
mod bounds;
mod descriptors;
mod files;
mod kernel;
mod network;

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::harness::run::{program, run};
use crate::harness::{Container, Node, Story};

/// The stories of this group.
pub fn all() -> Vec<Story> {
    [kernel::all(), descriptors::all(), files::all(), network::all(), bounds::all(), bombs::all()].concat()
}

/// Sources of the probe.
const SOURCES: [(&str, &str); 8] = [
    ("probe.h", include_str!("probe/probe.h")),
    ("main.c", include_str!("probe/main.c")),
    ("kernel.c", include_str!("probe/kernel.c")),
    ("devices.c", include_str!("probe/devices.c")),
    ("knobs.c", include_str!("probe/knobs.c")),
    ("reach.c", include_str!("probe/reach.c")),
    ("descriptors.c", include_str!("probe/descriptors.c")),
    ("packets.c", include_str!("probe/packets.c")),
];

/// The probe's executable, built once in a run, in the directory of the shared node.
fn built(node: &Node) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let dir = node.dir.join("probe");
        std::fs::create_dir_all(&dir).unwrap();
        for (name, text) in SOURCES {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let sources = SOURCES.iter().map(|(name, _)| name).filter(|n| n.ends_with(".c")).map(|n| dir.join(n));
        let mut cc = program("cc");
        cc.args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(dir.join("probe")).args(sources);
        run(&mut cc).ok();
        dir.join("probe")
    };
    BUILT.get_or_init(make).clone()
}

/// Puts the probe into a container, as `/root/probe`.
#[track_caller]
fn arm(c: &Container<'_>) {
    c.cowl(&["files", "put", built(c.node).to_str().unwrap(), "/root/probe"]).ok();
    c.says("chmod 755 /root/probe");
}

/// Runs a group of attempts: at least `least` were made, and each was refused.
#[track_caller]
fn attack(c: &Container<'_>, words: &str, least: usize) {
    let ran = c.exec(&format!("/root/probe {words}"));
    let lines: Vec<&str> = ran.ok().lines().collect();
    let worked: Vec<_> = lines.iter().filter(|l| !l.contains(" refused ")).collect();
    assert!(worked.is_empty(), "{words}: {worked:#?}");
    assert!(lines.len() >= least, "{words}: only {} attempts: {lines:#?}", lines.len());
}

/// Takes all masks away, as root inside can: what then is refused is refused by the kernel.
#[track_caller]
fn unmask(c: &Container<'_>) {
    c.says(
        "awk '$5 ~ \"^/(proc|sys)/\" && $5 !~ \"^/sys/fs/cgroup\" { print $5 }' /proc/self/mountinfo | sort -r | \
         while read m; do mount -o remount,bind,rw $m 2>/dev/null; umount -l $m; done; mount -o remount,bind,rw /sys; true",
    );
    assert_eq!(c.says("awk '$5 ~ \"^/(proc|sys)/\" && $5 !~ \"^/sys/fs/cgroup\"' /proc/self/mountinfo"), "");
}
