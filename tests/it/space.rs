//! Where the space is, and what happens when it runs out.

use std::fs;

use serde_json::Value;

use crate::harness::{Node, Plan, eventually, shared};
use crate::stories;

stories![
    bytes_are_told_apart_and_deleting_is_not_freeing,
    a_full_pool_makes_nothing_new_and_what_runs_runs_on,
    a_scrub_can_be_asked_for,
];

fn bytes_are_told_apart_and_deleting_is_not_freeing() {
    let node = shared::node();
    let c = node.container("space");
    let disk = || node.json(&["containers", "disk", &c.id]);
    let before = disk()["own"].as_u64().unwrap();
    c.says("head -c 8M /dev/urandom > /root/big; sync");
    let snapshot = c.cowl(&["--json", "snapshots", "create"]).json()["name"].as_str().unwrap().to_owned();
    let mib = |value: &Value| value.as_u64().unwrap() >> 20;
    assert!(mib(&disk()["own"]) >= 8 + (before >> 20));
    c.says("rm /root/big; sync");
    eventually("the bytes to be held by the snapshot only", 60, || {
        let now = disk();
        (mib(&now["only_in_snapshots"]) >= 8 && now["own"].as_u64()? < before + (8 << 20)).then_some(())
    });
    // What deleting it would free is counted in the background.
    eventually("the price of the snapshot", 60, || {
        let snapshots = disk()["snapshots"].clone();
        (snapshots[0]["name"] == *snapshot && snapshots[0]["would_free"].as_u64()? >= 8 << 20).then_some(())
    });
    c.cowl(&["snapshots", "delete", &snapshot, "--yes"]).ok();
    eventually("the kernel to free it", 120, || {
        c.exec("sync");
        (mib(&disk()["only_in_snapshots"]) < 8).then_some(())
    });
    let pool = node.json(&["pool", "status"]);
    assert_eq!((&pool["level"], &pool["health"]["read_only"]), (&Value::from("ok"), &Value::from(false)));
    assert!(pool["containers"].as_array().unwrap().iter().any(|row| row["id"] == *c.id));
    assert!(node.cowl(&["containers", "disk", &c.id]).ok().contains("only in snapshots"));
    assert!(node.cowl(&["pool", "status"]).ok().contains("deleted, not yet free"));
}

/// Leaves about 100 MiB in a node's pool; dropped, the room is there again.
struct Filler(std::path::PathBuf);

impl Filler {
    fn of(node: &Node) -> Self {
        let path = node.state_dir().join("pool/filler");
        let free = node.json(&["pool", "status"])["free"].as_u64().unwrap();
        let file = fs::File::create(&path).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, free - (100 << 20)).unwrap();
        file.sync_all().unwrap();
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn a_full_pool_makes_nothing_new_and_what_runs_runs_on() {
    let node = Plan::new("space-full").env("COWL_POOL_SIZE", "3G").start();
    let c = node.container("runs");
    c.says("echo one > /root/state; sync");
    c.cowl(&["snapshots", "create", "--alias", "one"]).ok();
    c.says("echo two > /root/state; sync");
    let filler = Filler::of(&node);
    let project = c.now()["project_id"].as_str().unwrap().to_owned();
    let refused = node.cowl(&["containers", "create", "--project", &project, "--name", "one-too-many"]);
    let line = refused.refused(1).to_owned();
    assert!(line.contains("kept for what runs") && line.contains("cowl pool status"), "{line}");
    let line = c.cowl(&["snapshots", "create"]).refused(1).to_owned();
    assert!(line.contains("kept for what runs"), "{line}");
    assert_eq!(node.json(&["snapshots", "list", &c.id]).as_array().unwrap().len(), 1);
    assert_eq!(node.json(&["containers", "list"]).as_array().unwrap().len(), 1);
    // What runs may write the reserve, and going back is always possible.
    c.says("head -c 16M /dev/urandom > /root/more && sync && rm /root/more");
    c.cowl(&["snapshots", "restore", "one", "--yes"]).ok();
    assert_eq!(c.says("cat /root/state"), "one");
    eventually("the warning", 60, || {
        let events = node.cowl(&["--json", "events"]);
        (events.code == 0 && events.stdout.contains("server.storage.full")).then_some(())
    });
    drop(filler);
    eventually("room", 60, || {
        let ran = node.cowl(&["containers", "create", "--project", &project, "--name", "fits"]);
        (ran.code == 0).then_some(())
    });
}

fn a_scrub_can_be_asked_for() {
    let node = Plan::new("space-scrub").start();
    assert_eq!(node.json(&["pool", "status"])["health"]["scrub"], Value::Null);
    assert!(node.cowl(&["pool", "scrub", "--cancel"]).refused(1).contains("scrub"));
    node.cowl(&["pool", "scrub"]).ok();
    let scrub = eventually("the scrub's end", 120, || {
        let scrub = node.json(&["pool", "status"])["health"]["scrub"].clone();
        (scrub["running"] == false).then_some(scrub)
    });
    assert_eq!((scrub["status"].as_str(), scrub["uncorrectable"].as_u64()), (Some("finished"), Some(0)));
    assert!(scrub["read_bytes"].as_u64().unwrap() > 1 << 20);
}
