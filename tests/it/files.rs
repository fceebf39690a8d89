//! The files service: reading, writing, listing; and that nothing outside the container can be named.

use std::fs;

use crate::harness::run::{run, run_with};
use crate::harness::{Container, eventually, shared};
use crate::stories;

stories![
    a_file_put_is_the_file_got,
    a_big_file_streams_both_ways,
    a_get_into_a_file_is_whole_or_not_at_all,
    listing_stat_mkdir_and_delete_work,
    ranges_are_served,
    odd_names_survive,
    nothing_outside_the_container_can_be_named,
    what_is_missing_is_404_and_what_is_wrong_is_400,
    a_write_that_breaks_off_leaves_the_old_file,
];

fn a_file_put_is_the_file_got() {
    let node = shared::node();
    let c = node.container("put");
    let local = node.dir.join("put-source");
    fs::write(&local, b"hello\0world\n").unwrap();
    c.cowl(&["files", "put", local.to_str().unwrap(), "/root/a/b/c"]).ok();
    assert_eq!(c.cowl(&["files", "get", "/root/a/b/c"]).ok(), "hello\0world\n");
    assert_eq!(c.says("sha256sum < /root/a/b/c"), c.says("printf 'hello\\0world\\n' | sha256sum"));
    let piped =
        run_with(&mut node.command(&["files", "put", "-", "/root/piped", "-c", &c.id]), Some(b"from a pipe".to_vec()));
    piped.ok();
    assert_eq!(c.says("cat /root/piped"), "from a pipe");
    assert_eq!(c.cowl(&["files", "get", "/etc/hostname"]).ok().trim(), c.name);
}

fn a_big_file_streams_both_ways() {
    let node = shared::node();
    let c = node.container("big");
    let (up, down) = (node.dir.join("big-up"), node.dir.join("big-down"));
    let bytes: Vec<u8> = (0..40_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&up, &bytes).unwrap();
    c.cowl(&["files", "put", up.to_str().unwrap(), "/root/big"]).ok();
    c.cowl(&["files", "get", "/root/big", "-o", down.to_str().unwrap()]).ok();
    assert!(fs::read(&down).unwrap() == bytes, "what came back differs");
    let over_tls = c.curl("files-1", "/api/v1/files/root/big", &["-o", down.to_str().unwrap(), "-D", "-"]);
    assert_eq!(over_tls.status, 200);
    for file in [up, down] {
        fs::remove_file(file).unwrap();
    }
}

fn a_get_into_a_file_is_whole_or_not_at_all() {
    let node = shared::node();
    let c = node.container("whole");
    let target = node.dir.join("whole-target");
    fs::write(&target, "old").unwrap();
    c.cowl(&["files", "get", "/nothing", "-o", target.to_str().unwrap()]).refused(1);
    assert_eq!(fs::read_to_string(&target).unwrap(), "old");
    let beside = fs::read_dir(&node.dir)
        .unwrap()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("whole-target"));
    assert_eq!(beside.count(), 1, "a part was left beside it");
}

fn listing_stat_mkdir_and_delete_work() {
    let node = shared::node();
    let c = node.container("tree");
    c.cowl(&["files", "mkdir", "/root/deep/er"]).ok();
    c.says("echo x > /root/deep/file; chmod 640 /root/deep/file; ln -s file /root/deep/link");
    let list = node.json(&["files", "list", "/root/deep", "-c", &c.id]);
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["er", "file", "link"]);
    assert_eq!(list[0]["path_type"], "Dir");
    let stat = node.json(&["files", "stat", "/root/deep/file", "-c", &c.id]);
    assert_eq!((&stat["size"], &stat["permissions"], &stat["owner"]), (&2.into(), &"640".into(), &"root".into()));
    let table = c.cowl(&["files", "list", "/root/deep"]);
    assert!(table.ok().contains("er/") && table.ok().contains("link@ -> file"), "{table:#?}");
    c.cowl(&["files", "delete", "/root/deep", "--yes"]).ok();
    c.cowl(&["files", "stat", "/root/deep"]).refused(1);
    assert!(c.cowl(&["files", "list", "/etc/hostname"]).refused(1).contains("not a directory"));
    assert!(c.cowl(&["files", "get", "/etc"]).refused(1).contains("directory"));
}

fn ranges_are_served() {
    let node = shared::node();
    let c = node.container("range");
    c.says("printf 0123456789 > /root/digits");
    let part = c.curl("files-1", "/api/v1/files/root/digits", &["-H", "Range: bytes=2-4"]);
    assert_eq!((part.status, part.body.as_str()), (206, "234"), "{part:#?}");
    assert!(part.headers.contains("content-range: bytes 2-4/10"), "{part:#?}");
    let none = c.curl("files-1", "/api/v1/files/root/digits", &["-H", "Range: bytes=20-"]);
    assert_eq!(none.status, 416, "{none:#?}");
}

fn odd_names_survive() {
    let node = shared::node();
    let c = node.container("odd");
    for name in ["with space", "ünïcode 日本", "per%cent?#&+", "-dash", "'quote\"", "a\nb"] {
        let path = format!("/root/{name}");
        let put = run_with(&mut node.command(&["files", "put", "-c", &c.id, "--", "-", &path]), Some(name.into()));
        put.ok();
        let got = run(&mut node.command(&["files", "get", "-c", &c.id, "--", &path]));
        assert_eq!(got.ok(), name);
    }
    assert_eq!(c.says("ls /root | wc -l"), "7");
}

fn escape(c: &Container<'_>, path: &str) {
    let secret = "only the host has this";
    let reply = c.curl("files-1", path, &[]);
    assert!(!reply.body.contains(secret), "{path} reached the host: {reply:#?}");
    assert!(reply.status == 400 || reply.status == 403 || reply.status == 404, "{path}: {reply:#?}");
}

fn nothing_outside_the_container_can_be_named() {
    let node = shared::node();
    let c = node.container("jail");
    let secret = node.dir.join("secret");
    fs::write(&secret, "only the host has this").unwrap();
    let path = secret.to_str().unwrap();
    c.says(&format!("ln -s {path} /root/straight; ln -s ../../../../../../..{path} /root/upward; ln -s /proc/1/root{path} /root/proc; ln -s /proc/self/cwd /root/cwd"));
    for prefix in [
        "",
        "/..",
        "/../../../..",
        "/%2e%2e/%2e%2e",
        "/..%2f..%2f..",
        "/etc/../..",
        "/proc/1/root",
        "/proc/self/root",
        "/proc/1/cwd",
        "/proc/self/cwd/../..",
        "/dev/fd/../../..",
        "/root/cwd/../../..",
    ] {
        escape(&c, &format!("/api/v1/files{prefix}{path}"));
    }
    for link in ["straight", "upward", "proc"] {
        escape(&c, &format!("/api/v1/files/root/{link}"));
    }
    // A write goes where the container's own root is, never beyond.
    let put = c.curl("files-1", &format!("/api/v1/files/../../..{path}"), &["-X", "PUT", "-d", "overwritten"]);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "only the host has this", "{put:#?}");
}

fn what_is_missing_is_404_and_what_is_wrong_is_400() {
    let node = shared::node();
    let c = node.container("wrong");
    let missing = c.curl("files-1", "/api/v1/files/no/such/file", &[]).is(404);
    assert!(missing["error"].is_string() && missing["message"].is_string(), "{missing}");
    assert_eq!(c.curl("files-1", "/api/v1/files/a%00b", &[]).status, 400);
    let long = "x".repeat(300);
    let status = c.curl("files-1", &format!("/api/v1/files/root/{long}"), &["-X", "PUT", "-d", "x"]).status;
    assert!((400..500).contains(&status), "{status}");
    let onto_directory = c.curl("files-1", "/api/v1/files/etc", &["-X", "PUT", "-d", "x"]).status;
    assert!((400..500).contains(&onto_directory), "{onto_directory}");
}

fn a_write_that_breaks_off_leaves_the_old_file() {
    let node = shared::node();
    let c = node.container("atomic");
    c.says("mkdir /srv/d && echo old > /srv/d/file");
    // More is promised than is sent, then the connection goes.
    let args = ["-X", "PUT", "-H", "Content-Length: 1000000", "--data-binary", "half", "--max-time", "2"];
    let host = c.host("files-1");
    let socket = node.run_dir().join("node.sock");
    let url = format!("http://{host}/api/v1/files/srv/d/file");
    let words = [&["--unix-socket", socket.to_str().unwrap(), &url][..], &args].concat();
    let ran = crate::harness::web::curl(&words);
    assert_ne!(ran.code, 0, "{ran:#?}");
    assert_eq!(c.says("cat /srv/d/file"), "old");
    eventually("the part beside it to go", 20, || (c.says("ls -A /srv/d") == "file").then_some(()));
}
