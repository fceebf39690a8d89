//! What containers see of themselves: lxcfs, device nodes, ramdisks.

use std::path::Path;

use super::Check;
use super::host::{parse_release, release};
use cowl_engine::lxcfs;

/// tmpfs on idmapped mounts came with it.
const RAMDISK_KERNEL: (u32, u32) = (6, 3);

pub(super) fn checks(run_dir: &Path, node_runs: bool) -> Vec<Check> {
    vec![own_figures(run_dir, node_runs), calls(), fuse(), ramdisk()]
}

fn own_figures(run_dir: &Path, node_runs: bool) -> Check {
    let name = "lxcfs";
    if !lxcfs::installed() {
        let found = "not installed; containers see the host's memory, CPUs, load and uptime";
        return Check::warn(name, found, "apt install lxcfs, then restart the node");
    }
    let at = lxcfs::mount_point(run_dir);
    if lxcfs::serves(&at) {
        Check::ok(name, "containers see their own memory, CPUs, load and uptime")
    } else if node_runs {
        let found = format!("nothing is mounted at {}; containers see the host's figures", at.display());
        Check::warn(name, found, "look into the node's log")
    } else {
        Check::ok(name, "installed; the node starts one of its own")
    }
}

fn calls() -> Check {
    let name = "figures of calls";
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "user_notif") {
        Check::ok(name, "df, nproc and sysinfo show the limits that a container was started with")
    } else {
        let found = "the kernel has no seccomp notifications; df and nproc in containers show the host";
        Check::warn(name, found, "boot a kernel with CONFIG_SECCOMP_FILTER, e.g. Debian's")
    }
}

fn fuse() -> Check {
    let name = "fuse";
    if Path::new("/dev/fuse").exists() {
        Check::ok(name, "/dev/fuse is there")
    } else {
        Check::warn(name, "/dev/fuse is missing", "modprobe fuse; lxcfs and FUSE in containers need it")
    }
}

fn ramdisk() -> Check {
    let name = "ramdisk";
    match parse_release(&release()) {
        Some(version) if version < RAMDISK_KERNEL => {
            let found =
                format!("needs Linux {}.{}; containers start without /ramdisk", RAMDISK_KERNEL.0, RAMDISK_KERNEL.1);
            Check::warn(name, found, "boot a newer kernel, e.g. that of Debian 13")
        }
        _ => Check::ok(name, "the kernel maps owners on tmpfs"),
    }
}
