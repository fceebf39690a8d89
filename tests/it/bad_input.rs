//! What a person, a program or a mirror may get wrong, and what they are told.

use std::net::TcpListener;

use serde_json::json;

use crate::harness::web::socket;
use crate::harness::{Plan, eventually, shared};
use crate::stories;

stories![
    names_out_of_range_are_refused_with_the_field_named,
    bodies_that_are_no_bodies_are_refused,
    ids_that_are_no_ids_are_refused,
    a_mirror_out_of_reach_fails_the_image_and_can_be_retried,
    a_full_pool_fails_what_needs_room_and_nothing_else,
    a_taken_port_is_one_line,
    a_second_node_in_the_same_place_is_one_line,
    options_out_of_range_are_one_line,
];

fn names_out_of_range_are_refused_with_the_field_named() {
    let node = shared::node();
    let project = node.project("bad-names");
    let create = format!("/api/v1/projects/{project}/containers");
    let server = node.server_name();
    let with = |key: &str, value: serde_json::Value| {
        let mut body = json!({ "server_id": server, "name": "fine-name" });
        body[key] = value;
        body.to_string()
    };
    let containers = [
        ("name", json!("ab")),
        ("name", json!("x".repeat(101))),
        ("name", json!("has space")),
        ("name", json!("../etc")),
        ("name", json!(7)),
        ("color", json!("reddish")),
        ("comment", json!("x".repeat(16_001))),
        ("container_image", json!("windows/11")),
        ("environment_vars", json!({"A=B": "x"})),
        ("environment_vars", json!({"A": 1})),
        ("hoody_kit", json!("yes")),
        ("server_id", json!("another-box")),
    ];
    for (field, value) in containers {
        let refused = socket(&node, "POST", &create, Some(&with(field, value.clone()))).is(400);
        assert!(
            refused["data"][0]["instancePath"].as_str().unwrap_or_default().starts_with(&format!("/{field}")),
            "{field} {value}: {refused}"
        );
    }
    let missing = socket(&node, "POST", &create, Some(r#"{"name":"no-server"}"#)).is(400);
    assert_eq!(missing["data"][0]["instancePath"], "/server_id", "{missing}");
    for (field, body) in [
        ("alias", json!({"alias": ""})),
        ("alias", json!({"alias": "x".repeat(101)})),
        ("alias", json!({"alias": "a\u{7}b"})),
        ("alias", json!({})),
        ("color", json!({"alias": "fine", "color": "#12"})),
        ("max_containers", json!({"alias": "fine", "max_containers": -1})),
    ] {
        let refused = socket(&node, "POST", "/api/v1/projects/", Some(&body.to_string())).is(400);
        assert_eq!(refused["data"][0]["instancePath"], format!("/{field}"), "{body}: {refused}");
    }
    assert_eq!(node.json(&["containers", "list", "--project", &project]), json!([]));
    let said = node.cowl(&["containers", "create", "--project", &project, "--name", "ab"]);
    assert!(said.refused(1).contains("name"), "{said:#?}");
}

fn bodies_that_are_no_bodies_are_refused() {
    let node = shared::node();
    for body in ["", "{", "null", "[]", "\"x\"", "{\"alias\":\"a\"", "\u{1}"] {
        let refused = socket(&node, "POST", "/api/v1/projects/", Some(body)).is(400);
        assert_eq!(
            (&refused["statusCode"], refused["message"].is_string()),
            (&400.into(), true),
            "{body:?}: {refused}"
        );
    }
    let deep = format!("{{\"alias\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    socket(&node, "POST", "/api/v1/projects/", Some(&deep)).is(400);
    let huge = format!("@{}", {
        let file = node.dir.join("huge");
        std::fs::write(&file, vec![b' '; 64 << 20]).unwrap();
        file.display().to_string()
    });
    let status = socket(&node, "POST", "/api/v1/projects/", Some(&huge)).status;
    assert!(matches!(status, 400 | 413), "{status}");
    for page in ["page=0", "page=x", "limit=0", "limit=-1", "page=99999999999999999999"] {
        assert_eq!(socket(&node, "GET", &format!("/api/v1/containers/?{page}"), None).status, 400, "{page}");
    }
    assert_eq!(node.cowl(&["status"]).code, 0);
}

fn ids_that_are_no_ids_are_refused() {
    let node = shared::node();
    for id in ["x", "0123456789ABCDEF01234567", "0123456789abcdef0123456", "%2e%2e"] {
        let status = socket(&node, "GET", &format!("/api/v1/containers/{id}"), None).status;
        assert!(matches!(status, 400 | 404), "{id}: {status}");
    }
    for path in [
        "/api/v1/containers/0123456789abcdef01234567",
        "/api/v1/containers/0123456789abcdef01234567/stats",
        "/api/v1/containers/0123456789abcdef01234567/snapshots",
        "/api/v1/projects/0123456789abcdef01234567",
        "/api/v1/projects/0123456789abcdef01234567/containers",
    ] {
        let missing = socket(&node, "GET", path, None).is(404);
        assert_eq!(missing["error"], "Not Found", "{path}: {missing}");
    }
    let c = node.container("ids");
    socket(&node, "PUT", &format!("/api/v1/containers/{}/snapshots/none", c.id), None).is(404);
    socket(&node, "DELETE", &format!("/api/v1/containers/{}/snapshots/none", c.id), None).is(404);
}

fn a_mirror_out_of_reach_fails_the_image_and_can_be_retried() {
    let node = Plan::new("mirror").without_image().env("COWL_MIRROR", "http://127.0.0.1:9/debian").start();
    let failed = || {
        eventually("the build to fail", 90, || {
            let image = node.json(&["images", "list"])[0].clone();
            (image["state"] == "failed").then_some(image)
        })
    };
    let image = failed();
    let reason = image["error"].as_str().unwrap();
    assert!(reason.contains("127.0.0.1"), "the reason does not name the mirror: {reason}");
    let project = node.project("none");
    let created = node.cowl(&["containers", "create", "--project", &project, "--name", "never"]);
    assert!(created.refused(1).contains("debian/13"), "{created:#?}");
    let again = node.cowl(&["images", "build"]);
    assert_eq!(again.code, 1, "{again:#?}");
    failed();
    assert_eq!(node.cowl(&["status"]).code, 0, "the node is gone");
    let doctor = node.cowl(&["doctor"]);
    assert!(doctor.stdout.contains("debian/13"), "{doctor:#?}");
}

fn a_taken_port_is_one_line() {
    let node = Plan::new("port").without_image().prepare();
    let _taken = TcpListener::bind(("127.0.0.1", node.port)).unwrap();
    node.spawn();
    assert_ne!(node.ends(), 0);
    let log = node.log_tail();
    assert!(log.lines().last().unwrap_or_default().contains(&node.port.to_string()), "{log}");
}

fn a_second_node_in_the_same_place_is_one_line() {
    let node = shared::node();
    let second = node.cowl(&["node"]);
    assert_ne!(second.code, 0, "{second:#?}");
    assert!(second.stderr.contains("another") || second.stdout.contains("another"), "{second:#?}");
    assert_eq!(node.cowl(&["status"]).code, 0, "the first one was hurt");
}

fn options_out_of_range_are_one_line() {
    let node = Plan::new("options").without_image().prepare();
    for words in [
        &["node", "--listen", "nowhere"][..],
        &["node", "--network", "10.0.0.1/16"],
        &["node", "--network", "300.0.0.0/16"],
        &["node", "--id-base", "minus"],
        &["node", "--server-name", "Not A Label"],
        &["node", "--domain", "-.-"],
    ] {
        node.cowl(words).refused(2);
    }
}

fn a_full_pool_fails_what_needs_room_and_nothing_else() {
    let node = Plan::new("full").env("COWL_POOL_SIZE", "512M").start();
    let (c, other) = (node.container("filler"), node.container("other"));
    c.says("echo old > /root/kept; sync");
    let filled = c.exec("dd if=/dev/urandom of=/root/filler bs=1M count=1000 2>&1; sync");
    assert!(filled.stdout.contains("No space left"), "{filled:#?}");
    let local = node.dir.join("too-big");
    // Bytes that do not compress, so that they need their room.
    let noise: Vec<u8> = (0..30_000_000u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    std::fs::write(&local, noise).unwrap();
    let put = c.cowl(&["files", "put", local.to_str().unwrap(), "/root/kept"]);
    assert_ne!(put.code, 0, "{put:#?}");
    assert_eq!(c.says("cat /root/kept"), "old", "a failed write must leave the old file");
    // The node and the neighbours go on, and room that is made can be used.
    assert_eq!(node.cowl(&["status"]).code, 0);
    assert_eq!(other.says("echo alive"), "alive");
    c.says("rm /root/filler; sync");
    eventually("room to be found again", 60, || {
        (c.cowl(&["files", "put", local.to_str().unwrap(), "/root/kept"]).code == 0).then_some(())
    });
    assert_eq!(c.says("stat -c %s /root/kept"), "30000000");
}
