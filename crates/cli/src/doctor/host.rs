//! The kernel, its settings, and the disk.

use std::fs;
use std::path::Path;

use super::Check;
use crate::print;

/// Name of the check for root.
pub(super) const ROOT: &str = "root";
/// overlay on idmapped layers came with it.
const KERNEL: (u32, u32) = (5, 19);
const GIB: u64 = 1 << 30;

pub(super) fn checks(state_dir: &Path) -> Vec<Check> {
    vec![
        root(),
        kernel(),
        file_system("btrfs"),
        file_system("overlay"),
        user_namespaces(),
        loop_devices(),
        cgroups(),
        disk(state_dir),
    ]
}

fn root() -> Check {
    if nix::unistd::geteuid().is_root() {
        Check::ok(ROOT, "running as root")
    } else {
        Check::fail(ROOT, "not running as root", "use sudo; only the node and some checks need it")
    }
}

pub(super) fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn kernel() -> Check {
    let release = release();
    match parse_release(&release) {
        Some(version) if version >= KERNEL => Check::ok("kernel", release),
        _ => Check::fail(
            "kernel",
            format!("{release} is older than {}.{}", KERNEL.0, KERNEL.1),
            "boot a newer kernel, e.g. that of Debian 12",
        ),
    }
}

pub(super) fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn file_system(name: &'static str) -> Check {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|l| l.split_whitespace().last() == Some(name)) {
        return Check::ok(name, "the kernel knows it");
    }
    let modules = Path::new("/lib/modules").join(release());
    let listed = ["modules.dep", "modules.builtin"]
        .iter()
        .filter_map(|f| fs::read_to_string(modules.join(f)).ok())
        .any(|text| text.contains(&format!("/{name}.ko")));
    if listed {
        Check::ok(name, "a module of the kernel")
    } else {
        Check::fail(name, "the kernel does not know it", format!("boot a kernel with {name}, e.g. Debian's own"))
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn user_namespaces() -> Check {
    let name = "user namespaces";
    match number("/proc/sys/user/max_user_namespaces") {
        Some(0) => Check::fail(name, "switched off", "sysctl -w user.max_user_namespaces=15000"),
        Some(n) => Check::ok(name, format!("up to {n}")),
        None => Check::fail(name, "the kernel has none", "boot a kernel with CONFIG_USER_NS"),
    }
}

fn loop_devices() -> Check {
    if Path::new("/dev/loop-control").exists() {
        Check::ok("loop devices", "/dev/loop-control is there")
    } else {
        Check::warn("loop devices", "/dev/loop-control is missing", "modprobe loop; not needed on a btrfs disk")
    }
}

fn cgroups() -> Check {
    let name = "cgroups";
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        Check::ok(name, "v2")
    } else if root.join("unified/cgroup.procs").exists() {
        Check::ok(name, "hybrid")
    } else {
        Check::fail(name, "only v1, or not mounted", "boot with systemd.unified_cgroup_hierarchy=1")
    }
}

/// The nearest directory above that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"))
}

fn disk(state_dir: &Path) -> Check {
    let name = "disk";
    let Ok(stat) = nix::sys::statvfs::statvfs(existing(state_dir)) else {
        return Check::warn(name, format!("cannot look at {}", state_dir.display()), "choose another --state-dir");
    };
    let free = stat.blocks_available() * stat.fragment_size();
    let found = format!("{} free for {}", print::bytes(free), state_dir.display());
    let advice = "free some, or choose another --state-dir";
    match free / GIB {
        0..2 => Check::fail(name, found, advice),
        2..8 => Check::warn(name, found, advice),
        _ => Check::ok(name, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_compared_by_number() {
        assert_eq!(parse_release("6.1.0-28-amd64"), Some((6, 1)));
        assert!(parse_release("5.4.0").is_some_and(|v| v < KERNEL));
        assert!(parse_release("5.100-rc1").is_some_and(|v| v > KERNEL));
        assert_eq!(parse_release("strange"), None);
    }

    #[test]
    fn a_state_directory_to_be_is_judged_by_the_nearest_one_that_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(existing(&dir.path().join("a/b")), dir.path());
    }
}
