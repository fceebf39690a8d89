//! Programs and files of other Debian packages.

use std::path::Path;

use super::Check;

/// Program, the package that brings it, what for.
const PROGRAMS: [(&str, &str, &str); 5] = [
    ("mkfs.btrfs", "btrfs-progs", "the pool of disks"),
    ("mmdebstrap", "mmdebstrap", "building images"),
    ("nft", "nftables", "the containers' network"),
    ("losetup", "mount", "the pool on a loop device"),
    ("setsid", "util-linux", "starting the node"),
];
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Keys that sign Debian 13; older packages of the keyring lack them.
const KEYS: [&str; 3] = [
    "/usr/share/keyrings/debian-archive-trixie-automatic.pgp",
    "/usr/share/keyrings/debian-archive-trixie-automatic.gpg",
    "/etc/apt/trusted.gpg.d/debian-archive-trixie-automatic.asc",
];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

fn installed(program: &str) -> bool {
    PATH.iter().any(|dir| Path::new(dir).join(program).exists())
}

pub(super) fn checks() -> Vec<Check> {
    let mut checks: Vec<Check> = PROGRAMS
        .into_iter()
        .filter(|(program, ..)| !installed(program))
        .map(|(program, package, purpose)| {
            Check::fail("programs", format!("{program} is missing ({purpose})"), format!("apt install {package}"))
        })
        .collect();
    if checks.is_empty() {
        checks.push(Check::ok("programs", PROGRAMS.map(|(p, ..)| p).join(", ")));
    }
    checks.push(keyring());
    checks
}

fn keyring() -> Check {
    let name = "debian keys";
    let advice = "apt update && apt install debian-archive-keyring";
    if KEYS.iter().any(|k| Path::new(k).exists()) {
        Check::ok(name, "the keys of Debian 13 are here")
    } else if Path::new(KEYRING).exists() {
        Check::fail(name, format!("{KEYRING} may be too old for Debian 13"), advice)
    } else {
        Check::fail(name, "the keys that sign Debian are missing", advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_and_the_build_bring_what_is_looked_for() {
        let manifest = include_str!("../../../../Cargo.toml");
        let depends = manifest.lines().find_map(|l| l.strip_prefix("depends = ")).unwrap();
        let depends: Vec<&str> = depends.trim_matches('"').split(", ").collect();
        let script = include_str!("../../../../scripts/deps");
        // util-linux is essential: every Debian has it.
        for (program, package, _) in PROGRAMS.into_iter().filter(|(_, package, _)| *package != "util-linux") {
            assert!(depends.contains(&package), "{package} is not in {depends:?}");
            assert!(script.contains(&format!("{package}|{program}|")), "{package} is not in scripts/deps");
        }
        assert!(depends.contains(&"debian-archive-keyring") && script.contains("debian-archive-keyring|"));
    }
}
