//! Memory and disk that containers share: shown, saved where it was asked for, and nobody harmed.

use std::io::Write;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::run::{program, run};
use crate::harness::web::socket;
use crate::harness::{Container, Node, Plan, eventually, shared};
use crate::stories;

stories![
    memory_is_told_container_by_container,
    a_projects_containers_are_merged_and_no_others,
    equal_files_in_two_containers_lie_on_disk_once,
    a_search_for_equal_files_can_be_watched_and_interrupted,
    what_cannot_be_searched_is_refused_with_the_field_named,
];

/// Bytes of the file that two containers have.
const MIB8: u64 = 8 << 20;

/// A container in `cowl memory`.
#[track_caller]
fn told(node: &Node, c: &Container<'_>, words: &[&str]) -> Value {
    let report = node.json(&[&["memory"], words].concat());
    let found = report["containers"].as_array().unwrap().iter().find(|row| row["id"] == c.id.as_str()).cloned();
    found.unwrap_or_else(|| panic!("{} is not in {report}", c.name))
}

fn memory_is_told_container_by_container() {
    let node = shared::node();
    let c = node.container("gauge");
    c.booted();
    let before = told(&node, &c, &[]);
    let figure = |row: &Value, key: &str| row[key].as_u64().unwrap_or_else(|| panic!("{key} of {row}"));
    let parts: u64 = ["anon", "file", "kernel"].iter().map(|key| figure(&before, key)).sum();
    let charged = figure(&before, "charged");
    // The kernel counts on each core for itself and settles later.
    assert!(charged > 1 << 20 && parts.abs_diff(charged) < charged / 4 + (4 << 20), "{before}");
    assert!(figure(&before, "processes") >= 3 && before["pss"].is_null(), "{before}");
    assert!(figure(&before, "anon") < 60 << 20, "{before}");
    assert_eq!((&before["ksm_asked"], &before["ksm"]["processes"]), (&json!(false), &json!(0)), "{before}");
    c.says("systemd-run --quiet --unit=hog perl -e 'push @ARGV, q(x) x 100_000_000; sleep 600'");
    eventually("the new memory to be told", 30, || (figure(&told(&node, &c, &[]), "anon") > 90 << 20).then_some(()));
    let pss = figure(&told(&node, &c, &["--pss"]), "pss");
    assert!((90 << 20..1 << 30).contains(&pss), "{pss}");

    let report = node.json(&["memory"]);
    let usr = &report["usr"][0];
    assert!(figure(usr, "cached") > 1 << 20 && figure(usr, "containers") >= 1, "{report}");
    let others = figure(usr, "containers") - 1;
    assert_eq!(figure(usr, "saved_at_most"), figure(usr, "cached") * others, "{report}");
    assert!(figure(&report["node"], "pss") > 1 << 20 && figure(&report["shims"], "processes") >= 1, "{report}");
    assert!(figure(&report["host"], "available") < figure(&report["host"], "total"), "{report}");
    let table = node.cowl(&["memory"]);
    assert!(table.ok().contains(&format!("tests/{}", c.name)) && table.ok().contains("CHARGED"), "{table:#?}");
    let by_id = format!("/api/v1/servers/{}/memory", node.json(&["status"])["server_id"].as_str().unwrap());
    socket(&node, "GET", &by_id, None).is(200);
    socket(&node, "GET", "/api/v1/servers/elsewhere/memory", None).is(404);
    socket(&node, "GET", &format!("{by_id}?pss=maybe"), None).is(400);
    assert!(node.cowl(&["explain", "memory"]).ok().contains("0.18 MiB"));
}

fn a_projects_containers_are_merged_and_no_others() {
    let node = shared::node();
    let project = node.json(&["projects", "create", "--alias", "merging", "--ksm"])["id"].as_str().unwrap().to_owned();
    let (one, two) = (node.container_in(&project, "merged-one"), node.container_in(&project, "merged-two"));
    let other = node.container("unmerged");
    let merges = |c: &Container<'_>| c.says("grep -h merge_any /proc/[0-9]*/ksm_stat 2>/dev/null | sort -u");
    for c in [&one, &two] {
        assert_eq!(merges(c), "ksm_merge_any: yes", "{}", c.name);
    }
    assert_eq!(merges(&other), "ksm_merge_any: no");
    // 16 MiB of pages of which none is like another of the same process.
    let heap = "systemd-run --quiet --unit=heap perl -e 'for $i (1..4096) { $x .= pack(q(N), $i) x 1024 } sleep 900'";
    for c in [&one, &two, &other] {
        c.booted();
        c.says(heap);
    }
    eventually("equal heaps to be merged", 150, || {
        let merged = |c| told(&node, c, &[])["ksm"]["merged"].as_u64().unwrap();
        (merged(&one) > 12 << 20 && merged(&two) > 12 << 20).then_some(())
    });
    let row = told(&node, &other, &[]);
    assert_eq!(row["ksm"], json!({ "processes": 0, "merged": 0, "profit": 0 }), "{row}");
    let row = told(&node, &one, &[]);
    assert_eq!(row["ksm_asked"], true, "{row}");
    let host = &node.json(&["memory"])["ksm"];
    assert!(host["runs"] == true && host["sharing"].as_u64().unwrap() > 12 << 20, "{host}");
    eprintln!("two equal heaps of 16 MiB: {row}, the machine: {host}");
    drop((one, two));
    node.cowl(&["projects", "delete", "--yes", &project]).ok();
}

/// What `btrfs filesystem du` says only this container's disk holds, in bytes.
#[track_caller]
fn exclusive(node: &Node, c: &Container<'_>) -> u64 {
    let disk = &node.pool_dirs(&c.id)[0];
    run(program("btrfs").args(["filesystem", "sync"]).arg(disk)).ok();
    let du = run(program("btrfs").args(["filesystem", "du", "--raw", "-s", "--"]).arg(disk));
    du.ok().lines().nth(1).unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Puts the same bytes into containers, at `/root/same`.
#[track_caller]
fn put(containers: &[&Container<'_>], bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    for c in containers {
        c.cowl(&["files", "put", file.path().to_str().unwrap(), "/root/same"]).ok();
    }
}

fn noise(bytes: u64) -> Vec<u8> {
    use std::io::Read;
    let mut noise = Vec::new();
    std::fs::File::open("/dev/urandom").unwrap().take(bytes).read_to_end(&mut noise).unwrap();
    noise
}

fn equal_files_in_two_containers_lie_on_disk_once() {
    let node = shared::node();
    let (one, two) = (node.container("same"), node.container("same"));
    put(&[&one, &two], &noise(MIB8));
    // A program that runs is shared, too: with the image's, which is the same.
    one.says("cp /usr/bin/perl /root/perl && systemd-run --quiet --unit=runs /root/perl -e 'sleep 600'");
    let sums = [&one, &two].map(|c| c.says("sha256sum < /root/same"));
    assert_eq!(sums[0], sums[1]);
    let before = [exclusive(&node, &one), exclusive(&node, &two)];
    let perl: u64 = one.says("stat -c %s /root/perl").parse().unwrap();
    let dry = node.json(&["dedupe", &one.id, &two.id, "--dry-run"]);
    assert!(dry["duplicate"].as_u64().unwrap() >= MIB8 + perl && dry["deduped"] == 0, "{dry}");
    assert_eq!(before, [exclusive(&node, &one), exclusive(&node, &two)]);

    let done = node.json(&["dedupe", &one.id, &two.id]);
    assert_eq!(
        (&done["state"], &done["refused"], &done["containers"]),
        (&json!("done"), &json!(0), &json!(2)),
        "{done}"
    );
    let after = [exclusive(&node, &one), exclusive(&node, &two)];
    eprintln!("two containers with the same 8 MiB: {before:?} bytes of their own, then {after:?}: {done}");
    assert!(after[0] + MIB8 + (perl / 4) <= before[0] && after[1] + MIB8 <= before[1], "{before:?} {after:?}");
    assert_eq!(sums, [&one, &two].map(|c| c.says("sha256sum < /root/same")));
    one.says("systemctl is-active runs && cmp /usr/bin/perl /root/perl");
    // What one writes is its own again.
    one.says("printf changed | dd of=/root/same conv=notrunc status=none && sync");
    assert_eq!(two.says("sha256sum < /root/same"), sums[1]);
    assert_ne!(one.says("sha256sum < /root/same"), sums[0]);

    let status = node.json(&["dedupe", "--status"]);
    assert_eq!((&status["running"], &status["last"]["deduped"]), (&Value::Null, &done["deduped"]), "{status}");
    assert!(node.cowl(&["dedupe", "--status"]).ok().contains("share their blocks now"));
}

fn a_search_for_equal_files_can_be_watched_and_interrupted() {
    // There is one search at a time: not where others search, too.
    let node = Plan::new("search").start();
    let (one, two) = (node.container("slow"), node.container("slow"));
    put(&[&one, &two], &noise(MIB8));
    let mut slow = node.command(&["dedupe", &one.id, &two.id, "--rate", "64K"]);
    let mut child = slow.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = || node.json(&["dedupe", "--status"]);
    eventually("it to read", 60, || status()["running"]["read"].as_u64().filter(|bytes| *bytes > 0));
    assert!(node.cowl(&["dedupe", "--dry-run"]).refused(1).contains("under way"));
    let path = format!("/api/v1/servers/{}/dedupe", node.server_name());
    socket(&node, "POST", &path, None).is(409);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    child.wait().unwrap();
    let last = eventually("it to end", 60, || {
        let status = status();
        status["running"].is_null().then(|| status["last"].clone())
    });
    assert_eq!(
        (&last["state"], &last["deduped"], &last["rate"]),
        (&json!("cancelled"), &json!(0), &json!(65_536)),
        "{last}"
    );
    // One line of JSON after another, the last the outcome.
    let body = json!({ "containers": [one.id, two.id], "dry_run": true }).to_string();
    let reply = socket(&node, "POST", &path, Some(&body));
    assert!(reply.status == 200 && reply.headers.contains("application/x-ndjson"), "{reply:#?}");
    let lines: Vec<Value> = reply.body.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let end = lines.last().unwrap();
    assert!(end["state"] == "done" && end["duplicate"].as_u64().unwrap() >= MIB8, "{reply:#?}");
}

fn what_cannot_be_searched_is_refused_with_the_field_named() {
    let node = shared::node();
    let path = format!("/api/v1/servers/{}/dedupe", node.server_name());
    for (field, body) in [
        ("/rate", json!({ "rate": 1 })),
        ("/rate", json!({ "rate": "fast" })),
        ("/min_size", json!({ "min_size": 100 })),
        ("/containers/0", json!({ "containers": ["web"] })),
        ("/dry_run", json!({ "dry_run": "yes" })),
    ] {
        let refused = socket(&node, "POST", &path, Some(&body.to_string())).is(400);
        assert_eq!(refused["data"][0]["instancePath"], field, "{refused}");
    }
    let nobody = json!({ "containers": ["0123456789abcdef01234567"] }).to_string();
    socket(&node, "POST", &path, Some(&nobody)).is(404);
    socket(&node, "POST", "/api/v1/servers/elsewhere/dedupe", None).is(404);
    node.cowl(&["dedupe", "--rate", "fast"]).refused(2);
    node.cowl(&["dedupe", "nobody-of-this-name"]).refused(1);
}
