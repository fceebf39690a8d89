//! The device nodes of a container's `/dev`, and by which words of its settings it gets them.
//!
//! What enforces the choice: a device can be opened only through a node on a mount that allows
//! devices and whose superblock belongs to the host's user namespace. Every file system that a
//! container can mount belongs to its own user namespace (the kernel sets `SB_I_NODEV` on those);
//! its `/` and `/usr` are mounted `nodev`; `mknod` of a device is refused in user namespaces. That
//! leaves the tmpfs made in [`super::mounts`], which holds exactly the nodes listed here. So no
//! device controller of cgroups is needed, which v2 would want as a BPF program.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// A character device in `/dev`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Path below `/dev`.
    pub name: String,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// Nodes that every container has.
const BASIC: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// Granted unless settings say otherwise. Both are confined by the namespaces of who opens them.
const FUSE: (&str, u32, u32) = ("fuse", 10, 229);
const TUN: (&str, u32, u32) = ("net/tun", 10, 200);

/// The nodes of a container whose settings grant `words`; `None` grants `fuse` and `tun`. `host` is
/// the host's `/dev`. Words for devices that the host lacks give nothing.
pub fn granted(words: Option<&[String]>, host: &Path) -> Vec<Node> {
    let fixed = |(name, major, minor): (&str, u32, u32)| Node { name: name.into(), major, minor };
    let mut nodes: Vec<Node> = BASIC.into_iter().map(fixed).collect();
    let default = ["fuse".to_owned(), "tun".to_owned()];
    for word in words.unwrap_or(&default) {
        match word.as_str() {
            "fuse" => nodes.push(fixed(FUSE)),
            "tun" => nodes.push(fixed(TUN)),
            "kvm" => nodes.extend(find(host, "", |name| name == "kvm")),
            "gpu" => {
                nodes.extend(find(host, "dri", |name| name.starts_with("card") || name.starts_with("renderD")));
                nodes.extend(find(host, "", |name| name.starts_with("nvidia") || name == "kfd"));
                nodes.extend(find(host, "nvidia-caps", |_| true));
            }
            // Settings are checked when they are made; an older node's word must not break a start.
            _ => {}
        }
    }
    nodes.dedup();
    nodes
}

/// Whether this machine has the device that `word` grants.
pub fn host_has(word: &str, host: &Path) -> bool {
    // The kernel loads the modules of these two when they are opened.
    matches!(word, "fuse" | "tun") || granted(Some(&[word.to_owned()]), host).len() > BASIC.len()
}

/// Character devices in `host/sub` whose names `wanted` accepts, sorted.
fn find(host: &Path, sub: &str, wanted: impl Fn(&str) -> bool) -> Vec<Node> {
    let entries = fs::read_dir(host.join(sub)).into_iter().flatten().flatten();
    let mut found: Vec<Node> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| wanted(name))?;
            let about = entry.metadata().ok().filter(|about| about.file_type().is_char_device())?;
            let name = if sub.is_empty() { name } else { format!("{sub}/{name}") };
            Some(Node { name, major: rustix::fs::major(about.rdev()), minor: rustix::fs::minor(about.rdev()) })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: Option<&[&str]>) -> Vec<String> {
        let words: Option<Vec<String>> = words.map(|w| w.iter().map(|w| (*w).to_owned()).collect());
        // An empty directory is a host without optional devices.
        let host = tempfile::tempdir().unwrap();
        granted(words.as_deref(), host.path()).into_iter().map(|n| n.name).skip(BASIC.len()).collect()
    }

    #[test]
    fn fuse_and_tun_are_granted_by_default_and_can_be_taken() {
        assert_eq!(names(None), ["fuse", "net/tun"]);
        assert_eq!(names(Some(&[])), [""; 0]);
        assert_eq!(names(Some(&["tun"])), ["net/tun"]);
    }

    #[test]
    fn what_the_host_lacks_is_not_made_up() {
        let host = tempfile::tempdir().unwrap();
        assert_eq!(names(Some(&["kvm", "gpu"])), [""; 0]);
        assert!(!host_has("kvm", host.path()) && !host_has("gpu", host.path()));
        assert!(host_has("fuse", host.path()));
    }

    #[test]
    fn a_device_has_the_hosts_numbers_and_a_file_is_none() {
        // Every /dev has `null`; it stands for any character device here.
        assert_eq!(find(Path::new("/dev"), "", |n| n == "null"), [Node { name: "null".into(), major: 1, minor: 3 }]);
        let host = tempfile::tempdir().unwrap();
        fs::write(host.path().join("kvm"), "").unwrap();
        assert!(!host_has("kvm", host.path()));
    }
}
