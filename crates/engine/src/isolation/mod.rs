//! What separates a container from the host and from its neighbours: the threat model, and the
//! tables the [shim](super::shim) obeys.
//!
//! # Who attacks
//! Root of a container, with everything root can do there: any program, any system call the kernel
//! takes, packets of any shape, a PID 1 and a kit replaced by its own, files of any kind on its disk,
//! images it made. It knows this source. It wants to read, change or stop the host or a neighbour.
//!
//! # Who is trusted
//! The kernel; the node, its shims and the command line (root on the host); members of the group
//! `cowl`; whoever holds the owner's token. Nothing that comes from inside a container is: not its
//! kit, its answers, its console, its names of files.
//!
//! # What each layer stops
//!
//! | layer | where | what it stops |
//! |---|---|---|
//! | user namespace | [`namespaces`], `shim::lease` | root inside is an unprivileged user outside, a different one in each container: whatever the kernel guards by owner or by capability of the host stays shut. The layer that carries; the others are there for the day it has a hole |
//! | other namespaces | [`namespaces`] | processes, mounts, sockets, host name and cgroups of others cannot be named |
//! | bounding set | [`capabilities`] | powers that no machine needs and that kernel code has often granted too widely |
//! | seccomp | [`calls`] | the calls whose bugs have led out of containers, those that walk around paths, state of the host that no namespace holds |
//! | mounts | `shim::mounts` | the disk and `/usr` carry no devices; the image and the kit are read-only subvolumes; no path of the host is ever shared |
//! | masks | [`masks`] | facts about the host that programs would take for the container's |
//! | figures | [`figures`](super::figures) | nothing: manners, as masks are. System calls show the container's limits |
//! | cgroups | `engine::cgroup`, [`bounds`] | limits lie in directories that are not delegated |
//! | firewall | `engine::firewall` | forged addresses, the host, the neighbours |
//! | bounds in shim and node | `shim::flood` | floods on the sockets and terminals that lead outside cost the one who makes them |
//! | hostile trees | `storage::tree`, `storage::transfer` | host-side work on files that containers or strangers wrote |
//!
//! # Masks are manners, not walls
//! Root inside owns its mount namespace and may unmount a mask, or look into `/dev/.nest`, where a
//! proc and a sysfs without masks lie so that nested containers can mount their own (the kernel
//! allows that only where a fully visible one exists). LXC and systemd-nspawn do the same. What is
//! behind the masks is therefore guarded by the kernel's own checks, and the `escape` tests attack
//! with all masks removed: nothing there can be written, and what can be read are facts about the
//! machine (names and sizes of disks, path of the pool's file, load), none about a neighbour's data.
//!
//! # What is not defended
//! - Bugs of the kernel. All containers share it; seccomp narrows the way to it, no more. Who must
//!   not be able to use a kernel bug belongs into a virtual machine.
//! - Side channels of processor and caches, and of merged memory where KSM was asked for.
//! - Facts about the machine, as above: model, load, uptime, kernel version, boot id.
//! - Modules the kernel loads by itself when a file system or a kind of packet filter is first used.
//!   `kernel.modules_disabled` of the host ends that.
//! - `sync` of one container makes the whole pool write.
//! - A `core_pattern` of the host that pipes to a program runs that program for crashes inside.
//! - Exhaustion of what several containers can only fill together: each has bounds on its memory,
//!   tasks and connections even where nothing is set (`cgroup::limits`, `firewall`), but their sum
//!   can be more than the host has. Disk without a limit has none but the pool's size.
//! - Members of the group `cowl`, who are as good as root.
//!
//! # Judges
//! `tests/judges/run` lets other people's programs judge a container. On 2026-11-23, Linux 6.18,
//! hybrid cgroups, two busy processors, Debian 13 inside, limits of 2 GiB and 4,096 processes:
//!
//! | judge | outcome |
//! |---|---|
//! | `systemd-tests` 257, all 322 programs | 302 pass, 16 skip, 4 fail: dlopen-so, nss-hosts and nss-users want libraries that were not installed, journal-verify took longer than its minute |
//! | `stress-ng` 0.19, ten classes, a second each | 278 pass, 30 skip (what is refused here on purpose: io_uring, keys, userfaultfd, modules, AF_ALG), 0 fail; systemd `running` afterwards |
//! | kselftests of Linux 6.12 (user_namespace, mount_setattr, pidfd, clone3, openat2, nsfs, proc, ptrace, statmount; by hand) | 47 programs built, 40 pass, among them all 88 cases of openat2's resolve_test and 400,000 rename attacks without an escape; mount_setattr passes 11 of 21 (the rest want a loop device), the others want CAP_CHECKPOINT_RESTORE, kernel threads to look at, or the host's device numbers |
//! | `lynis` 3 | 239 tests, hardening index 58 |

pub mod bounds;
pub mod calls;
pub mod capabilities;
pub mod masks;
pub mod namespaces;

use serde::Serialize;

/// One line of the table that `cowl explain isolation` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `namespace`, `capability`, `call`, `socket family`, `ioctl`, `mask` or `bound`.
    pub kind: &'static str,
    /// Its name, as the kernel's documentation has it.
    pub name: &'static str,
    /// What happens to it.
    pub rule: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// Everything the sandbox is made of, from the very tables it is made from.
pub fn rows() -> Vec<Row> {
    let namespaces =
        namespaces::NAMESPACES.iter().map(|n| Row { kind: "namespace", name: n.name, rule: "own", reason: n.reason });
    let capabilities = capabilities::CAPABILITIES.iter().map(|c| Row {
        kind: "capability",
        name: c.name,
        rule: if c.kept { "kept" } else { "dropped" },
        reason: c.reason,
    });
    let calls =
        calls::CALLS.iter().map(|c| Row { kind: "call", name: c.name, rule: c.answer.name(), reason: c.reason });
    let figures =
        calls::FIGURES.iter().map(|(name, reason)| Row { kind: "call", name, rule: calls::FIGURES_RULE, reason });
    let listeners = std::iter::once(Row {
        kind: "call",
        name: "seccomp with a listener of its own",
        rule: "EBUSY",
        reason: calls::LISTENERS_REASON,
    });
    let families =
        calls::FAMILIES.iter().map(|f| Row { kind: "socket family", name: f.name, rule: "allowed", reason: f.reason });
    let others = std::iter::once(Row {
        kind: "socket family",
        name: "any other",
        rule: calls::OTHER_FAMILIES.name(),
        reason: calls::OTHER_FAMILIES_REASON,
    });
    let ioctls =
        calls::IOCTLS.iter().map(|i| Row { kind: "ioctl", name: i.name, rule: i.answer.name(), reason: i.reason });
    let abis = std::iter::once(Row {
        kind: "call",
        name: "of other architectures, x32",
        rule: calls::FOREIGN.name(),
        reason: calls::FOREIGN_REASON,
    });
    let masks = masks::MASKS.iter().map(|m| Row { kind: "mask", name: m.path, rule: m.cover.name(), reason: m.reason });
    let bounds = bounds::BOUNDS.iter().map(|b| Row { kind: "bound", name: b.name, rule: b.most, reason: b.reason });
    namespaces
        .chain(capabilities)
        .chain(calls)
        .chain(abis)
        .chain(figures)
        .chain(listeners)
        .chain(families)
        .chain(others)
        .chain(ioctls)
        .chain(masks)
        .chain(bounds)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_reason_and_no_name_comes_twice() {
        let rows = rows();
        for row in &rows {
            assert!(!row.name.is_empty() && row.reason.len() >= 10, "{row:?}");
            let same = rows.iter().filter(|r| (r.kind, r.name) == (row.kind, row.name)).count();
            assert_eq!(same, 1, "{row:?}");
        }
    }
}
