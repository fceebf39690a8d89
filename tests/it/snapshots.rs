//! Snapshots: taken, listed, restored, deleted.

use serde_json::json;

use crate::harness::web::socket;
use crate::harness::{long, shared};
use crate::stories;

stories![
    a_restore_brings_files_back_as_they_were,
    older_and_newer_points_survive_a_restore,
    a_restore_can_be_undone,
    a_stopped_container_stays_stopped,
    aliases_are_unique_and_can_be_changed,
    odd_expiries_and_names_are_refused_before_anything_is_taken,
    many_points_cost_little,
    a_snapshot_can_be_looked_into,
];

/// Every file below a directory with type, mode, owner, content, link target and attributes.
const FINGERPRINT: &str = "cd /srv && find . -printf '%p %y %m %U %G %l %s\\n' | sort | sha256sum && \
    find . -type f -exec sha256sum {} + | sort | sha256sum && getfattr -R -d -m - . 2>/dev/null | sha256sum";

fn a_restore_brings_files_back_as_they_were() {
    let node = shared::node();
    let c = node.container("rewind");
    c.says(
        "mkdir -p /srv/empty /srv/d && echo one > /srv/d/a && ln -s d/a /srv/link && chmod 4750 /srv/d/a \
         && chown 1000:1000 /srv/d && ln /srv/d/a /srv/hard && mkfifo /srv/pipe",
    );
    let before = c.says(FINGERPRINT);
    let taken = node.json(&["snapshots", "create", "-c", &c.id, "--alias", "before"]);
    assert_eq!(taken["alias"], "before", "{taken}");
    c.says("rm -r /srv/empty /srv/link && echo two > /srv/d/a && echo new > /srv/added && chmod 600 /srv/d/a && chown root /srv/d");
    assert_ne!(c.says(FINGERPRINT), before);

    let restored = c.cowl(&["snapshots", "restore", "before", "--json"]);
    assert_eq!(restored.json()["snapshot"]["alias"], "before");
    c.becomes("running");
    assert_eq!(c.says(FINGERPRINT), before);
    assert_eq!(c.now()["last_used_snapshot"], taken["name"]);
    assert_eq!(c.booted(), "running");
}

fn older_and_newer_points_survive_a_restore() {
    let node = shared::node();
    let c = node.container("points");
    for point in ["one", "two", "three"] {
        c.says(&format!("echo {point} > /root/point && sync"));
        c.cowl(&["snapshots", "create", "--alias", point]).ok();
    }
    for point in ["one", "three", "two"] {
        c.cowl(&["snapshots", "restore", point]).ok();
        assert_eq!(c.says("cat /root/point"), point);
    }
    let list = node.json(&["snapshots", "list", &c.id]);
    let aliases: Vec<&str> = list.as_array().unwrap().iter().filter_map(|s| s["alias"].as_str()).collect();
    for point in ["one", "two", "three"] {
        assert!(aliases.contains(&point), "{list}");
    }
    c.cowl(&["snapshots", "delete", "two"]).ok();
    assert_eq!(c.says("cat /root/point"), "two", "deleting a point changed the container");
    c.cowl(&["snapshots", "restore", "two"]).refused(1);
}

fn a_restore_can_be_undone() {
    let node = shared::node();
    let c = node.container("undo");
    c.cowl(&["snapshots", "create", "--alias", "empty"]).ok();
    c.says("echo precious > /root/work");
    let restored = c.cowl(&["snapshots", "restore", "empty", "--json"]).json();
    let safety = restored["safety_snapshot"].as_str().expect("a safety snapshot").to_owned();
    assert_eq!(c.exec("cat /root/work").code, 1);
    c.cowl(&["snapshots", "restore", &safety]).ok();
    assert_eq!(c.says("cat /root/work"), "precious");
}

fn a_stopped_container_stays_stopped() {
    let node = shared::node();
    let c = node.container("still");
    c.says("echo kept > /root/x");
    node.cowl(&["containers", "stop", &c.id]).ok();
    c.cowl(&["snapshots", "create", "--alias", "cold"]).ok();
    c.cowl(&["snapshots", "restore", "cold"]).ok();
    assert_eq!(c.status(), "stopped");
    node.cowl(&["containers", "start", &c.id]).ok();
    assert_eq!(c.says("cat /root/x"), "kept");
}

fn aliases_are_unique_and_can_be_changed() {
    let node = shared::node();
    let c = node.container("alias");
    let first = node.json(&["snapshots", "create", "-c", &c.id, "--alias", "gold"]);
    let twice = c.cowl(&["snapshots", "create", "--alias", "gold"]);
    assert!(twice.refused(1).contains("gold"), "{twice:#?}");
    c.cowl(&["snapshots", "alias", "gold", "--to", "silver"]).ok();
    let list = node.json(&["snapshots", "list", &c.id]);
    assert_eq!((&list[0]["name"], &list[0]["alias"]), (&first["name"], &"silver".into()), "{list}");
    c.cowl(&["snapshots", "alias", "silver", "--remove"]).ok();
    assert_eq!(node.json(&["snapshots", "list", &c.id])[0]["alias"], json!(null));
}

fn odd_expiries_and_names_are_refused_before_anything_is_taken() {
    let node = shared::node();
    let c = node.container("expiry");
    let path = format!("/api/v1/containers/{}/snapshots", c.id);
    for body in [
        json!({"expiry": 0}),
        json!({"expiry": 3651}),
        json!({"expiry": -1}),
        json!({"expiry": "7"}),
        json!({"expiry": 1.5}),
        json!({"alias": ""}),
        json!({"alias": "../x"}),
        json!({"alias": "x".repeat(200)}),
    ] {
        let refused = socket(&node, "POST", &path, Some(&body.to_string())).is(400);
        let field = body.as_object().unwrap().keys().next().unwrap();
        assert_eq!(refused["data"][0]["instancePath"], format!("/{field}"), "{body}: {refused}");
    }
    assert_eq!(node.json(&["snapshots", "list", &c.id]), json!([]));
    let taken = node.json(&["snapshots", "create", "-c", &c.id, "--expiry", "3650"]);
    assert!(taken["expires_at"].is_string(), "{taken}");
}

fn many_points_cost_little() {
    let node = shared::node();
    let c = node.container("many");
    let count = if long() { 100 } else { 12 };
    let used = || node.json(&["status"])["pool"]["used"].as_u64().unwrap();
    let before = used();
    for _ in 0..count {
        c.cowl(&["snapshots", "create"]).ok();
    }
    let list = node.json(&["snapshots", "list", &c.id]);
    assert_eq!(list.as_array().unwrap().len(), count);
    assert_eq!(c.now()["snapshot_count"], count);
    let grown = used().saturating_sub(before);
    // Other tests write to the pool meanwhile; a copy of the image would be far more than this.
    assert!(grown < 400 << 20, "{count} snapshots took {grown} bytes");
}

fn a_snapshot_can_be_looked_into() {
    let node = shared::node();
    let c = node.container("inside");
    c.says("echo then > /root/seen; sync");
    let name = node.json(&["snapshots", "create", "-c", &c.id])["name"].as_str().unwrap().to_owned();
    c.says("rm /root/seen");
    let path = format!("/api/v1/containers/{}/snapshots/{name}/files", c.id);
    let listing = socket(&node, "GET", &format!("{path}/root"), None).is(200);
    assert!(listing["data"]["paths"].to_string().contains("\"seen\""), "{listing}");
    // /usr is another layer; one sees the tree a person would.
    let merged = socket(&node, "GET", &format!("{path}/usr/bin"), None).is(200);
    assert!(merged["data"]["paths"].to_string().contains("\"apt-get\""), "{merged}");
    socket(&node, "GET", &format!("{path}/nothing"), None).is(404);
}
