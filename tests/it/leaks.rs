//! `cowl doctor --leaks`: what dead containers left is found, and goes when asked to.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::run::{program, run};
use crate::harness::{Plan, host};
use crate::stories;

stories![every_kind_of_leftover_is_found_and_fixed];

/// Id of a container that never was.
const DEAD: &str = "dead0000beef0000dead0000";

fn sh(line: &str) -> String {
    run(program("sh").args(["-ec", line])).ok().trim().to_owned()
}

/// A mark of ids that no node holds; not left on the machine when the story fails.
struct Lease(PathBuf);

impl Lease {
    fn leave() -> Self {
        // Far from where any node of a test takes its ids.
        let number = 0x7f00_0000 + (std::process::id() % 64) * 0x2_0000;
        let lease = Self(Path::new("/run/cowl-ids").join(format!("{number:08x}")));
        fs::write(&lease.0, "").unwrap();
        lease
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Mostly it was removed, for that is what is told here.
        let _ = fs::remove_file(&self.0);
    }
}

/// A cable that no container has; not left on the machine when the story fails.
struct Cable(String);

impl Cable {
    fn leave(near: String, far: &str) -> Self {
        sh(&format!("ip link add {near} type veth peer name {far}"));
        Self(near)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // As with a lease.
        run(program("ip").args(["link", "delete", &self.0]));
    }
}

fn every_kind_of_leftover_is_found_and_fixed() {
    let node = Plan::new("leaks").start();
    let (running, stopped) = (node.container("alive"), node.container("resting"));
    running.cowl(&["snapshots", "create", "--alias", "kept"]).ok();
    running.cowl(&["firewall", "allow", "egress", "tcp/443"]).ok();
    node.cowl(&["containers", "stop", &stopped.id]).ok();
    let kinds = |found: &Value| {
        let all = found.as_array().unwrap().iter();
        // Other nodes of this machine may have been killed, too.
        let mut kinds: Vec<String> =
            all.map(|l| l["kind"].as_str().unwrap().to_owned()).filter(|k| k != "id_lease").collect();
        kinds.sort();
        kinds
    };
    let look = |words: &[&str]| {
        let ran = node.cowl(&[&["--json", "--yes", "doctor", "--leaks"], words].concat());
        let found: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:#?}"));
        (ran.code, found)
    };
    assert!(kinds(&look(&[]).1).is_empty(), "a healthy node leaks: {}", look(&[]).1);

    let (tag, run_dir, state) = (node.tag(), node.run_dir(), node.state_dir());
    let short = &DEAD[..8];
    let pool = state.join("pool");
    let (run_dir, pool_at, state_at) = (run_dir.display(), pool.display(), state.display());
    sh(&format!("mkdir -p {run_dir}/{DEAD}/sub && mount -t tmpfs none {run_dir}/{DEAD}/sub"));
    sh(&format!("touch -d '1 hour ago' {run_dir}/{DEAD}"));
    let _cable = Cable::leave(format!("cw{tag}{short}"), &format!("cp{tag}{short}"));
    for group in host::groups_of_node(&tag) {
        fs::create_dir(group.join(DEAD)).unwrap();
    }
    sh(&format!("btrfs -q subvolume create {pool_at}/containers/{DEAD}"));
    sh(&format!("mkdir {pool_at}/snapshots/{DEAD} && btrfs -q subvolume create {pool_at}/snapshots/{DEAD}/old"));
    sh(&format!("nft add chain inet cowl_{tag} out_{short}"));
    sh(&format!("nft add element inet cowl_{tag} blocked '{{ cw{tag}{short} }}'"));
    sh(&format!("truncate -s 1M {state_at}/left.img"));
    let device = sh(&format!("losetup --find --show {state_at}/left.img"));
    let lease = Lease::leave();

    let (code, found) = look(&[]);
    assert_eq!(code, 1);
    let wanted = ["cgroup", "firewall", "interface", "loop_device", "mount", "run_directory", "subvolume", "subvolume"];
    assert_eq!(kinds(&found), wanted, "{found}");
    let text = found.to_string();
    assert!(text.contains(&lease.0.display().to_string()) && text.contains(&device), "{text}");
    for innocent in [&running.id, &stopped.id] {
        assert!(!text.contains(innocent.as_str()) && !text.contains(&format!("{tag}{}", &innocent[..8])), "{text}");
    }
    let (_, fixed) = look(&["--fix"]);
    let mine = fixed.as_array().unwrap().iter().filter(|l| l["kind"] != "id_lease");
    for leak in mine {
        assert_eq!(leak["fixed"], true, "{leak}");
    }
    assert!(kinds(&look(&[]).1).is_empty(), "{}", look(&[]).1);
    assert!(!lease.0.exists() && !run(program("losetup").arg(&device)).stdout.contains("left.img"));
    fs::remove_file(state.join("left.img")).unwrap();

    // Whoever lives was left alone.
    assert_eq!(running.says("echo fine"), "fine");
    assert_eq!(node.json(&["firewall", "list", &running.id])["rule_count"], 1);
    running.cowl(&["snapshots", "restore", "kept"]).ok();
    node.cowl(&["containers", "start", &stopped.id]).ok();
    assert_eq!(stopped.says("echo fine"), "fine");
}
