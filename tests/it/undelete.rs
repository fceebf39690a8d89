//! Deletions that can be taken back; restores that are undone; snapshots that are kept.

use serde_json::json;

use crate::harness::web::socket;
use crate::harness::{Container, Plan, shared};
use crate::stories;

stories![
    a_deleted_container_is_gone_for_all_and_comes_back_whole,
    a_purge_leaves_nothing_and_zero_hours_delete_at_once,
    an_undo_of_an_undo_is_a_redo,
    notes_pins_and_moved_aliases,
];

fn a_deleted_container_is_gone_for_all_and_comes_back_whole() {
    let node = shared::node();
    let c = node.container("lazarus");
    let (project, name) = (c.project.clone(), c.name.clone());
    c.says("echo precious > /root/work; touch /usr/local/bin/tool; sync");
    c.cowl(&["snapshots", "create", "--alias", "point"]).ok();
    let address = c.address();
    let deleted = node.json(&["containers", "delete", "--yes", &c.id]);
    assert!(deleted["purge_at"].is_string(), "{deleted}");

    node.cowl(&["containers", "get", &c.id]).refused(1);
    // The answer is that for a computer which never was.
    let nobody =
        json!({ "id": "0".repeat(24), "project_id": c.project, "name": "nobody", "server_name": node.server_name() });
    let nobody = std::mem::ManuallyDrop::new(Container::from_json(&node, &nobody));
    let answer = |c: &Container| {
        let reply = c.curl("terminal-1", "/api/v1/terminal/sessions", &[]);
        (reply.status, reply.body)
    };
    assert_eq!(answer(&c), answer(&nobody));
    assert!(!node.run_dir().join(&c.id).exists());
    let names =
        |words: &[&str]| node.json(words).as_array().unwrap().iter().map(|c| c["id"].to_string()).collect::<Vec<_>>();
    let id = json!(c.id).to_string();
    assert!(!names(&["containers", "list"]).contains(&id));
    assert!(names(&["containers", "list", "--deleted"]).contains(&id));
    assert!(node.cowl(&["containers", "start", &c.id]).code != 0);

    // Its name is free at once.
    let heir = node.container_in(&project, &name);
    assert!(node.cowl(&["containers", "undelete", &c.id]).refused(1).contains("another"));
    assert_ne!(heir.address(), address, "addresses are reused last");
    let back = node.json(&["containers", "undelete", &c.id, "--name", "risen"]);
    assert_eq!((&back["status"], &back["name"]), (&json!("running"), &json!("risen")), "{back}");
    assert_eq!(c.says("cat /root/work && ls /usr/local/bin/tool"), "precious\n/usr/local/bin/tool");
    assert_eq!(node.json(&["snapshots", "list", &c.id])[0]["alias"], "point");
    assert!(node.cowl(&["containers", "undelete", &c.id]).refused(1).contains("not deleted"));
}

fn a_purge_leaves_nothing_and_zero_hours_delete_at_once() {
    let node = Plan::new("purge").start();
    let c = node.container("purge");
    c.cowl(&["snapshots", "create"]).ok();
    node.cowl(&["containers", "delete", "--yes", &c.id]).ok();
    assert_eq!(node.pool_dirs(&c.id).len(), 2, "disk and snapshots are kept");
    assert_eq!(node.cowl(&["doctor", "--leaks"]).code, 0);
    // A node that comes back knows it still.
    node.signal(nix::sys::signal::Signal::SIGTERM);
    node.launch();
    assert_eq!(node.json(&["containers", "list", "--deleted"])[0]["id"], c.id);
    node.cowl(&["containers", "delete", "--purge", "--yes", &c.name]).ok();
    assert!(node.pool_dirs(&c.id).is_empty());
    assert_eq!(node.json(&["containers", "list", "--deleted"]), json!([]));
    std::mem::forget(c);

    let c = node.container("purge");
    node.cowl(&["containers", "set", &c.id, "--undelete-hours", "0"]).ok();
    node.cowl(&["containers", "delete", "--yes", &c.id]).ok();
    assert!(node.pool_dirs(&c.id).is_empty());
    assert_eq!(node.cowl(&["doctor", "--leaks"]).code, 0);
    std::mem::forget(c);
}

fn an_undo_of_an_undo_is_a_redo() {
    let node = shared::node();
    let c = node.container("undoable");
    assert!(c.cowl(&["snapshots", "undo"]).refused(1).contains("nothing to undo"));
    c.cowl(&["snapshots", "create", "--alias", "empty"]).ok();
    c.says("echo precious > /root/work; sync");
    c.cowl(&["snapshots", "restore", "empty"]).ok();
    for present in [true, false, true] {
        c.cowl(&["snapshots", "undo"]).ok();
        assert_eq!(c.exec("cat /root/work").code == 0, present);
    }
    let list = node.json(&["snapshots", "list", &c.id]);
    let reasons: Vec<&str> = list.as_array().unwrap().iter().filter_map(|s| s["reason"].as_str()).collect();
    assert_eq!(reasons.len(), 4, "{list}");
    assert!(reasons.contains(&"before a restore of empty"), "{list}");
    let safety = list[0]["name"].as_str().unwrap();
    c.cowl(&["snapshots", "delete", safety]).ok();
    assert!(c.cowl(&["snapshots", "undo"]).refused(1).contains(safety));
}

fn notes_pins_and_moved_aliases() {
    let node = shared::node();
    let c = node.container("facts");
    let taken = node.json(&["snapshots", "create", "-c", &c.id, "--alias", "latest", "--note", "first", "--pin"]);
    assert_eq!(
        (&taken["note"], &taken["pinned"], &taken["created_by"]),
        (&json!("first"), &json!(true), &json!("root"))
    );
    c.cowl(&["snapshots", "create", "--alias", "latest"]).refused(1);
    let second = node.json(&["snapshots", "create", "-c", &c.id, "--alias", "latest", "--replace"]);
    assert_eq!(second["alias"], "latest");
    let first = taken["name"].as_str().unwrap();
    assert!(c.cowl(&["snapshots", "delete", first]).refused(1).contains("pinned"));
    assert_eq!(c.cowl(&["snapshots", "note", first, "--to", "kept", "--json"]).json()["note"], "kept");
    assert_eq!(c.cowl(&["snapshots", "note", first, "--remove", "--json"]).json()["note"], json!(null));
    assert!(c.cowl(&["snapshots", "expire", first, "--in", "7", "--json"]).json()["expires_at"].is_string());
    assert_eq!(c.cowl(&["snapshots", "expire", first, "--never", "--json"]).json()["expires_at"], json!(null));
    assert_eq!(c.cowl(&["snapshots", "unpin", first, "--json"]).json()["pinned"], false);
    c.cowl(&["snapshots", "pin", first]).ok();
    c.cowl(&["snapshots", "delete", first, "--force"]).ok();
    let path = format!("/api/v1/containers/{}/snapshots/latest/note", c.id);
    let refused = socket(&node, "PUT", &path, Some(&json!({ "note": "a\nb" }).to_string())).is(400);
    assert_eq!(refused["data"][0]["instancePath"], "/note", "{refused}");
    assert!(c.cowl(&["snapshots", "list"]).ok().contains("latest"));
}
