//! Settings of the host that would cap how many containers fit, or that the network needs.
//!
//! A node raises them when it starts and never lowers any; a host that refuses keeps its own.
//! `cowl doctor` shows each with its present and wanted value.
//!
//! Values marked *Incus* are those of its documentation for production hosts ("Server settings for
//! production"); a container's share is what was measured with a booted Debian.

use serde::Serialize;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// As sysctl(8) names it.
    pub name: &'static str,
    /// The least that is wanted.
    pub wanted: u64,
    /// Why.
    pub reason: &'static str,
}

/// All of them. A setting that this kernel lacks is none of ours.
pub const SETTINGS: [Setting; 20] = [
    Setting { name: "net.ipv4.ip_forward", wanted: 1, reason: "containers reach the world through the host" },
    // Incus: 1048576. Counted per user of the host, and all containers' inits are root's children.
    Setting { name: "fs.inotify.max_user_instances", wanted: 1_048_576, reason: "a booted system takes about 7" },
    // Incus: 1048576.
    Setting { name: "fs.inotify.max_user_watches", wanted: 1_048_576, reason: "a booted system takes about 100" },
    // Incus: 1048576.
    Setting { name: "fs.inotify.max_queued_events", wanted: 1_048_576, reason: "bursts of all containers together" },
    // Kernel default 65536 since 2018; a file server inside may want more.
    Setting { name: "fs.aio-max-nr", wanted: 524_288, reason: "databases inside; counted for the whole host" },
    // fs/file_table.c sizes it by memory; a small box can be below.
    Setting { name: "fs.file-max", wanted: 1_048_576, reason: "a booted system holds about 400 open files" },
    // Incus: 2000. Each container's users are users of the host with keyrings of their own.
    Setting { name: "kernel.keys.maxkeys", wanted: 2_000, reason: "session keyrings of a container's users" },
    // Incus: 2000000.
    Setting { name: "kernel.keys.maxbytes", wanted: 2_000_000, reason: "what those keys hold" },
    // Default 32768 on small boxes; 1,000 containers of 30 tasks come close.
    Setting { name: "kernel.pid_max", wanted: 4_194_304, reason: "a booted system runs 15 to 30 tasks" },
    // kernel/fork.c sizes it by memory.
    Setting { name: "kernel.threads-max", wanted: 131_072, reason: "threads are counted for the whole host" },
    // Default 4096, for the whole host although each container has a devpts.
    Setting { name: "kernel.pty.max", wanted: 65_536, reason: "a console each, and terminals" },
    // Incus: 262144.
    Setting { name: "vm.max_map_count", wanted: 262_144, reason: "Elasticsearch and the like refuse less" },
    // engine::firewall allows 8192 connections to each container.
    Setting { name: "net.netfilter.nf_conntrack_max", wanted: 1_048_576, reason: "connections of all containers" },
    // Incus: 8192. Two entries a container for IPv6, one for IPv4, and no collection below the first.
    Setting { name: "net.ipv4.neigh.default.gc_thresh1", wanted: 8_192, reason: "a neighbour for each container" },
    Setting { name: "net.ipv4.neigh.default.gc_thresh2", wanted: 32_768, reason: "a neighbour for each container" },
    Setting { name: "net.ipv4.neigh.default.gc_thresh3", wanted: 65_536, reason: "a neighbour for each container" },
    Setting { name: "net.ipv6.neigh.default.gc_thresh1", wanted: 8_192, reason: "two neighbours for each container" },
    Setting { name: "net.ipv6.neigh.default.gc_thresh2", wanted: 32_768, reason: "two neighbours for each container" },
    Setting { name: "net.ipv6.neigh.default.gc_thresh3", wanted: 65_536, reason: "two neighbours for each container" },
    // Kernel default 4096 routes before 6.3; a route each.
    Setting { name: "net.ipv6.route.max_size", wanted: 65_536, reason: "a route to each container" },
];

/// A setting and how it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    /// As sysctl(8) names it.
    #[serde(rename = "setting")]
    pub name: &'static str,
    /// Now.
    pub current: u64,
    /// At least.
    pub wanted: u64,
    /// Why.
    pub reason: &'static str,
}

impl Standing {
    /// Whether it is as wanted.
    pub fn is_enough(&self) -> bool {
        self.current >= self.wanted
    }
}

impl Setting {
    fn path(&self) -> String {
        format!("/proc/sys/{}", self.name.replace('.', "/"))
    }

    fn current(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.path()).ok()?;
        // Some are larger than a u64 by default: no limit at all.
        let text = text.trim();
        text.parse().ok().or_else(|| text.bytes().all(|b| b.is_ascii_digit()).then_some(u64::MAX))
    }
}

/// How the settings stand that this kernel has.
pub fn standing() -> Vec<Standing> {
    let one = |s: &Setting| Some(Standing { name: s.name, current: s.current()?, wanted: s.wanted, reason: s.reason });
    SETTINGS.iter().filter_map(one).collect()
}

/// Raises what is too low. What the host refuses is told in the log.
pub fn raise() {
    for setting in &SETTINGS {
        let Setting { name, wanted, .. } = *setting;
        let Some(from) = setting.current().filter(|now| *now < wanted) else { continue };
        match std::fs::write(setting.path(), wanted.to_string()) {
            Ok(()) => tracing::info!(setting = name, from, to = wanted, "raised"),
            Err(error) => tracing::warn!(setting = name, %error, "could not be raised"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_named_once_and_says_why() {
        let mut names: Vec<&str> = SETTINGS.iter().map(|s| s.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
        assert!(SETTINGS.iter().all(|s| !s.reason.is_empty() && !s.path().contains("..")));
    }

    #[test]
    fn what_every_linux_has_is_read() {
        assert!(standing().iter().any(|s| s.name == "kernel.pid_max" && s.current > 0));
    }
}
