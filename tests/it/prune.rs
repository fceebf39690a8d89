//! Images and kits that nobody needs: told, kept while anything was made from them, then gone.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Node, Plan, eventually, image};
use crate::stories;

stories![an_old_image_and_kit_go_once_nobody_needs_them];

/// Brings the test image into the pool under another id, as of this time and recipe.
fn import(node: &Node, id: &str, created_at: u64, recipe: &str) {
    let mut input = BufReader::new(File::open(image()).unwrap());
    let mut magic = String::new();
    let mut head = String::new();
    input.read_line(&mut magic).unwrap();
    input.read_line(&mut head).unwrap();
    let file = node.dir.join("image.bin");
    let mut out = File::create(&file).unwrap();
    let head = json!({ "id": id, "created_at": created_at, "recipe": recipe });
    writeln!(out, "{magic}{head}").unwrap();
    std::io::copy(&mut input, &mut out).unwrap();
    node.cowl(&["images", "build", "--import", file.to_str().unwrap()]).ok();
    fs::remove_file(file).unwrap();
}

fn exists(pool: &Path, image: &str) -> [bool; 2] {
    ["images", "templates"].map(|room| pool.join(room).join(image).exists())
}

fn an_old_image_and_kit_go_once_nobody_needs_them() {
    let (old, new) = ("debian-13-20260101-0000000a", "debian-13-20260102-0000000b");
    let node = Plan::new("prune").without_image().prepare();
    let pool = node.state_dir().join("pool");
    import(&node, old, 1_767_225_600, "0000000000000000");
    node.launch();
    let listed = &node.json(&["images", "list"])[0];
    assert_eq!((&listed["id"], &listed["outdated"]), (&json!(old), &json!(true)), "{listed}");
    assert!(node.cowl(&["images", "list"]).ok().contains("ready, outdated"));
    let keeper = node.container("keeper");
    keeper.says("echo kept > /root/kept");
    keeper.cowl(&["snapshots", "create", "--alias", "one"]).ok();

    assert_eq!(node.signal(Signal::SIGTERM), 0);
    import(&node, new, 1_767_312_000, "1111111111111111");
    let old_kit = pool.join("kit/0123456789abcdef");
    fs::create_dir(&old_kit).unwrap();
    fs::write(old_kit.join("cowl-kit"), "a version before this one").unwrap();
    node.launch();
    eventually("the old kit's end", 30, || (!old_kit.exists()).then_some(()));
    assert_eq!(fs::read_dir(pool.join("kit")).unwrap().count(), 1);
    assert_eq!(node.json(&["images", "list"])[0]["id"], new);

    // New containers use the new image; the old one keeps its own, running and in its snapshot.
    let fresh = node.container("fresh");
    let made_from = |id: &str| fs::read_to_string(pool.join("containers").join(id).join("image")).unwrap();
    assert_eq!((made_from(&keeper.id).trim(), made_from(&fresh.id).trim()), (old, new));
    let none = node.json(&["images", "prune"]);
    assert_eq!((&none["images"], &none["frees"]), (&json!([]), &json!(0)), "{none}");
    keeper.cowl(&["containers", "restart"]).ok();
    keeper.answers(60);
    assert_eq!(keeper.says("cat /root/kept"), "kept");

    // Something half made that does not tell what it is refuses all of it.
    node.cowl(&["containers", "delete", "--purge", "--yes", &keeper.id]).ok();
    eventually("the disk's end", 30, || node.pool_dirs(&keeper.id).is_empty().then_some(()));
    let half = pool.join("tmp/half");
    let made = std::process::Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&half).status().unwrap();
    assert!(made.success());
    assert!(node.cowl(&["images", "prune"]).refused(1).contains("half"), "in doubt nothing goes");
    fs::write(half.join("image"), old).unwrap();
    assert_eq!(node.json(&["images", "prune"])["images"], json!([]), "half made, but of that image");
    let gone = std::process::Command::new("btrfs").args(["-q", "subvolume", "delete"]).arg(&half).status().unwrap();
    assert!(gone.success());

    let told = node.json(&["images", "prune", "--dry-run"]);
    assert_eq!((&told["images"][0]["id"], &told["dry_run"]), (&json!(old), &json!(true)), "{told}");
    assert!(told["frees"].as_u64().unwrap() > 100 << 20, "{told}");
    assert_eq!(exists(&pool, old), [true, true], "a dry run removes nothing");
    assert!(node.cowl(&["images", "prune"]).ok().contains(old));
    assert_eq!((exists(&pool, old), exists(&pool, new)), ([false, false], [true, true]));
    assert!(node.cowl(&["images", "prune"]).ok().contains("every image and kit is needed"));
    assert_eq!(fresh.says("test -x /usr/bin/env && echo fine"), "fine");
    assert_eq!(node.container("later").status(), "running");
}
