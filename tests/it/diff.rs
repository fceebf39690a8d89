//! What differs between two moments of a container.

use crate::harness::shared;
use crate::harness::web::socket;
use crate::stories;

stories![what_changed_since_a_snapshot_is_told_of_files_and_packages, odd_questions_about_differences_are_refused];

const PACKAGE: &str = "mkdir -p /root/p/DEBIAN /root/p/usr/bin && echo tiny > /root/p/usr/bin/cowl-tiny && \
    printf 'Package: cowl-tiny\\nVersion: %s\\nArchitecture: all\\nMaintainer: x <x@example.org>\\nDescription: x\\n' \
    \"$V\" > /root/p/DEBIAN/control && dpkg-deb -b /root/p /root/p.deb >/dev/null && dpkg -i /root/p.deb >/dev/null";

fn what_changed_since_a_snapshot_is_told_of_files_and_packages() {
    let node = shared::node();
    let c = node.container("differ");
    c.says(&format!("echo one > /etc/cowl-story && mkdir -p /srv/d && echo k > /srv/d/k && V=1.0~rc1 && {PACKAGE}"));
    c.cowl(&["snapshots", "create", "--alias", "before"]).ok();
    c.says(&format!(
        "echo two >> /etc/cowl-story && mv /srv/d /srv/e && chmod 600 /srv/e/k && mv /usr/share/pam /usr/share/pam2 \
         && V=1.0 && {PACKAGE} && printf 'x\\0' > /srv/binary"
    ));
    // Of a running container, as it is now.
    let told = c.cowl(&["snapshots", "diff", "before", "--path", "/etc/cowl-story"]);
    assert_eq!(told.ok(), "~ /etc/cowl-story  (4B → 8B)\n1 changed\n");
    let srv = c.cowl(&["snapshots", "diff", "before", "--path", "/srv", "--json"]).json();
    let mut kinds: Vec<String> = srv["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| format!("{} {}", change["kind"].as_str().unwrap(), change["path"].as_str().unwrap()))
        .collect();
    kinds.sort();
    assert_eq!(kinds, ["added /srv/binary", "mode /srv/e/k", "renamed /srv/e"], "{srv}");
    assert_eq!((&srv["to"], &srv["truncated"]), (&"now".into(), &false.into()));
    // A directory of the image that was renamed is one rename.
    let usr = c.cowl(&["snapshots", "diff", "before", "--path", "/usr/share"]);
    assert_eq!(usr.ok(), "→ /usr/share/pam/ → /usr/share/pam2/\n1 renamed\n");

    let text = c.cowl(&["snapshots", "diff", "before", "--file", "/etc/cowl-story"]);
    assert!(text.ok().ends_with("@@ -1 +1,2 @@\n one\n+two\n"), "{text:#?}");
    let binary = c.cowl(&["snapshots", "diff", "before", "--file", "/srv/binary", "--json"]).json();
    assert_eq!((&binary["binary"], &binary["after"]["size"]), (&true.into(), &2.into()), "{binary}");
    let packages = c.cowl(&["snapshots", "diff", "before", "--packages", "--json"]).json();
    let [tiny] = packages["packages"].as_array().unwrap().as_slice() else { panic!("{packages}") };
    assert_eq!(
        (&tiny["kind"], &tiny["before"], &tiny["after"]),
        (&"upgraded".into(), &"1.0~rc1".into(), &"1.0".into())
    );

    c.cowl(&["snapshots", "create", "--alias", "after"]).ok();
    let path = format!("/api/v1/containers/{}/snapshots/before/diff?to=after&path=/srv", c.id);
    let stream = socket(&node, "GET", &format!("{path}&stream"), None);
    let lines: Vec<serde_json::Value> =
        stream.body.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[3]["summary"]["renamed"]["count"], 1, "{lines:?}");
    assert!(stream.headers.contains("application/x-ndjson"), "{}", stream.headers);
    let first = socket(&node, "GET", &format!("{path}&limit=1"), None).is(200);
    assert_eq!(first["data"]["changes"].as_array().unwrap().len(), 1, "{first}");
    assert_eq!((&first["data"]["truncated"], &first["data"]["summary"]["added"]["count"]), (&true.into(), &1.into()));
    let back = c.cowl(&["snapshots", "diff", "after", "before", "--path", "/srv", "--stat", "--json"]).json();
    assert_eq!((&back["summary"]["deleted"]["count"], &back["summary"]["renamed"]["count"]), (&1.into(), &1.into()));
}

fn odd_questions_about_differences_are_refused() {
    let node = shared::node();
    let c = node.container("oddly");
    c.says("head -c 1100000 /dev/zero > /root/large");
    c.cowl(&["snapshots", "create", "--alias", "one"]).ok();
    let base = format!("/api/v1/containers/{}/snapshots", c.id);
    for (path, status) in [
        ("none/diff", 404),
        ("one/diff?to=none", 404),
        ("one/diff?path=etc", 400),
        ("one/diff?path=/etc/../root", 400),
        ("one/diff?path=%00", 400),
        ("one/diff?path_base64=!", 400),
        ("one/diff?limit=x", 400),
        ("one/diff/file", 400),
        ("one/diff/file?path=/nothing", 404),
        ("one/diff/file?path=/root/large", 422),
        ("none/diff?stream", 404),
    ] {
        let refused = socket(&node, "GET", &format!("{base}/{path}"), None).is(status);
        assert!(refused["message"].is_string(), "{path}: {refused}");
    }
    assert!(c.cowl(&["snapshots", "diff", "none"]).refused(1).contains("snapshot"));
    assert_eq!(c.cowl(&["snapshots", "diff", "one", "--stat", "--packages"]).code, 2);
}
