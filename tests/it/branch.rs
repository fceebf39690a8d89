//! Copies, branches, syncs, families; single files out of snapshots.

use serde_json::{Value, json};

use crate::harness::web::socket;
use crate::harness::{Container, Node, eventually, shared};
use crate::stories;

stories![
    a_copy_has_the_files_and_another_identity,
    a_copy_of_a_busy_container_is_of_one_moment,
    five_branches_of_one_snapshot_come_at_once,
    a_copy_takes_what_it_was_asked_to_take,
    bad_orders_for_copies_are_refused,
    a_copy_follows_its_source_and_comes_back,
    a_family_outlives_its_members,
    files_come_back_as_they_were,
    files_come_into_another_container,
    links_in_the_target_lead_no_further_than_its_root_could_go,
    many_files_come_at_once_and_blocks_are_shared,
];

/// Every file below a directory with type, mode, owner, content, link target, times and attributes.
fn fingerprint(dir: &str) -> String {
    format!(
        "cd {dir} && find . -printf '%p %y %m %U %G %l %s %n %T@\\n' | sort | sha256sum && \
         find . -type f -exec sha256sum {{}} + | sort | sha256sum && getfattr -R -d -m - . 2>/dev/null | sha256sum"
    )
}

/// Something of everything a directory can hold.
const ODDS: &str = "mkdir -p /srv/d/empty && echo one > /srv/d/a && ln -s a /srv/d/link && ln -s /nowhere /srv/d/lost \
    && chmod 4750 /srv/d/a && chown 1000:33 /srv/d/a && ln /srv/d/a /srv/d/hard && mkfifo /srv/d/pipe \
    && truncate -s 50M /srv/d/sparse && echo end >> /srv/d/sparse && touch -d 2001-02-03 /srv/d/a \
    && chmod 1777 /srv/d/empty && printf x > \"/srv/d/$(printf 'odd\\nname')\" \
    && touch -d 2002-03-04 /srv/d; sync";

/// A file of a container as the host sees it.
fn on_disk(c: &Container, path: &str) -> std::path::PathBuf {
    c.node.state_dir().join("pool/containers").join(&c.id).join("rootfs").join(path)
}

/// Gives a file an attribute that is no text.
fn mark(c: &Container, path: &str) {
    rustix::fs::setxattr(on_disk(c, path), "user.mine", b"v\0w", rustix::fs::XattrFlags::empty()).unwrap();
}

fn is_marked(c: &Container, path: &str) -> bool {
    let mut value = [0u8; 16];
    rustix::fs::getxattr(on_disk(c, path), "user.mine", &mut value[..]).is_ok_and(|n| value[..n] == *b"v\0w")
}

/// A branch or copy that the command line made.
fn made<'a>(node: &'a Node, words: &[&str]) -> Container<'a> {
    Container::from_json(node, &node.json(words))
}

fn identity(c: &Container) -> Vec<String> {
    c.says("cat /etc/machine-id /etc/hostname; hostname; sha256sum /etc/ssh/ssh_host_test_key 2>&1 | cut -c1-64")
        .lines()
        .map(str::to_owned)
        .collect()
}

fn a_copy_has_the_files_and_another_identity() {
    let node = shared::node();
    let c = node.container("origin");
    c.says(ODDS);
    c.says("mkdir -p /etc/ssh && echo secret > /etc/ssh/ssh_host_test_key && echo own > /usr/share/own && rm /usr/bin/bc -f");
    c.says("sync");
    let copy = made(&node, &["containers", "copy", &c.id]);
    assert_eq!(copy.says(&fingerprint("/srv")), c.says(&fingerprint("/srv")));
    assert_eq!(copy.says("cat /usr/share/own"), "own");
    let (ours, theirs) = (identity(&c), identity(&copy));
    assert_eq!(theirs[1..3], [copy.name.clone(), copy.name.clone()]);
    for (mine, theirs) in ours.iter().zip(&theirs) {
        assert_ne!(mine, theirs);
    }
    assert_eq!(theirs[0].len(), 32, "a machine id: {theirs:?}");
    assert_eq!(copy.exec("ls /etc/ssh/ssh_host_test_key").code, 2, "the source's key came along");
    assert_eq!(copy.says("grep -c 127.0.1.1 /etc/hosts"), "1");
    assert_eq!(copy.now()["source_container_id"], c.id.as_str());
    assert_ne!(copy.address(), c.address());
    assert_eq!(copy.booted(), "running");
    assert_eq!(c.status(), "running");
}

fn a_copy_of_a_busy_container_is_of_one_moment() {
    let node = shared::node();
    let c = node.container("busy");
    assert_eq!(c.booted(), "running");
    // A ledger as databases keep it: what is in the journal comes before what relies on it.
    c.says(
        "cat > /root/ledger.sh <<'END'\ni=0; while :; do i=$((i+1)); echo $i > /root/a.new; sync /root/a.new; \
         mv /root/a.new /root/a; echo $i > /root/b.new; sync /root/b.new; mv /root/b.new /root/b; done\nEND\n\
         systemd-run --unit ledger sh /root/ledger.sh",
    );
    eventually("the ledger to be written", 20, || (c.exec("test -s /root/b").code == 0).then_some(()));
    for _ in 0..3 {
        let copy = made(&node, &["containers", "branch", &c.id]);
        let numbers = copy.says("cat /root/a /root/b");
        let numbers: Vec<i64> = numbers.lines().map(|n| n.parse().unwrap()).collect();
        assert!((0..=1).contains(&(numbers[0] - numbers[1])), "not of one moment: {numbers:?}");
    }
    assert_eq!(c.says("systemctl is-active ledger"), "active", "the source was disturbed");
}

fn five_branches_of_one_snapshot_come_at_once() {
    let node = shared::node();
    let c = node.container("many");
    c.says("echo then > /root/when; sync");
    c.cowl(&["snapshots", "create", "--alias", "gold"]).ok();
    c.says("echo now > /root/when; sync");
    let source = format!("{}@gold", c.id);
    let all: Vec<Value> = std::thread::scope(|scope| {
        let spawned: Vec<_> = (0..5).map(|_| scope.spawn(|| node.json(&["containers", "branch", &source]))).collect();
        spawned.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let all: Vec<Container> = all.iter().map(|json| Container::from_json(&node, json)).collect();
    let mut ids: Vec<String> = all.iter().map(|b| b.says("cat /etc/machine-id")).collect();
    let mut names: Vec<String> = all.iter().map(|b| b.name.clone()).collect();
    ids.sort();
    ids.dedup();
    names.sort();
    names.dedup();
    assert_eq!((ids.len(), names.len()), (5, 5));
    assert!(names.iter().all(|name| name.starts_with(&format!("{}-branch-", c.name))), "{names:?}");
    for branch in &all {
        assert_eq!(branch.says("cat /root/when"), "then");
    }
    let lineage = node.json(&["containers", "tree", &c.id]);
    assert_eq!(lineage["descendants"].as_array().unwrap().len(), 5, "{lineage}");
    assert_eq!(lineage["tree"]["snapshots"][0]["branches"].as_array().unwrap().len(), 5, "{lineage}");
}

fn a_copy_takes_what_it_was_asked_to_take() {
    let node = shared::node();
    let c = node.container("bag");
    c.change(
        &json!({ "environment_vars": { "A": "1" }, "settings": { "limits": { "pids": 500 }, "devices": ["fuse"] } }),
    );
    node.cowl(&["firewall", "deny", "egress", "tcp/25", "-c", &c.id]).ok();
    c.cowl(&["snapshots", "create", "--alias", "gold"]).ok();
    let project = node.project("elsewhere");
    let copy = made(&node, &["containers", "copy", &c.id, "--project", &project, "--copy-firewall-rules"]);
    let shown = copy.now();
    assert_eq!((copy.project.as_str(), copy.name.as_str()), (project.as_str(), c.name.as_str()));
    assert_eq!((&shown["environment_vars"]["A"], &shown["settings"]["limits"]["pids"]), (&json!("1"), &json!(500)));
    assert_eq!(shown["settings"].get("devices"), None, "devices are never inherited");
    let rules = |id: &str| node.json(&["firewall", "list", "-c", id]).to_string();
    assert_eq!(rules(&copy.id), rules(&c.id));
    let theirs = node.json(&["snapshots", "list", &copy.id]);
    assert_eq!((&theirs[0]["alias"], theirs.as_array().unwrap().len()), (&json!("gold"), 1), "{theirs}");
    // Its own from now on: the source's may go.
    c.cowl(&["snapshots", "delete", "gold", "--yes"]).ok();
    copy.says("touch /root/later");
    copy.cowl(&["snapshots", "restore", "gold", "--yes"]).ok();
    assert_eq!(copy.exec("ls /root/later").code, 2);
    assert_eq!(copy.says("hostname; cat /etc/hostname"), format!("{0}\n{0}", copy.name), "restored into its source");

    let bare = made(&node, &["containers", "copy", &c.id, "plain-copy", "--no-snapshots", "--no-start"]);
    assert_eq!((bare.status().as_str(), &bare.now()["snapshot_count"]), ("stopped", &json!(0)));
    assert_ne!(rules(&bare.id), rules(&c.id));
}

fn bad_orders_for_copies_are_refused() {
    let node = shared::node();
    let c = node.container("strict");
    let base = format!("/api/v1/containers/{}", c.id);
    let post = |what: &str, body: Value| socket(&node, "POST", &format!("{base}/{what}"), Some(&body.to_string()));
    let project = c.project.as_str();
    for (body, code) in [
        (json!({}), 400),
        (json!({ "target_project_id": "x" }), 400),
        (json!({ "target_project_id": "0123456789abcdef01234567" }), 404),
        (json!({ "target_project_id": project, "target_server_id": "elsewhere" }), 422),
        (json!({ "target_project_id": project, "kvm": true }), 422),
        (json!({ "target_project_id": project, "kvm": true, "dev_kvm": false }), 400),
        (json!({ "target_project_id": project, "name": "a b" }), 400),
        (json!({ "target_project_id": project, "name": c.name }), 409),
        (json!({ "target_project_id": project, "source_snapshot": "none" }), 404),
        (json!({ "target_project_id": project, "ssh_public_key": "nonsense" }), 400),
    ] {
        post("copy", body).is(code);
    }
    post("branch", json!({ "snapshot": "none" })).is(404);
    post("branch", json!({ "env": { "1A": "x" } })).is(400);
    post("sync", json!({})).is(400);
    for body in [json!({}), json!({ "paths": ["etc"] }), json!({ "paths": ["/"] }), json!({ "paths": ["/a/../b"] })] {
        post("files/restore", body).is(400);
    }
    post("files/restore", json!({ "paths": ["/etc"] })).is(409);
}

fn a_copy_follows_its_source_and_comes_back() {
    let node = shared::node();
    let c = node.container("lead");
    c.says("echo one > /root/state; sync");
    let copy = made(&node, &["containers", "copy", &c.id, "--project", &node.project("followers")]);
    copy.says("echo mine > /root/mine && mkdir -p /etc/ssh && echo key > /etc/ssh/ssh_host_test_key; sync");
    let before = identity(&copy);
    c.says("echo two > /root/state; sync");
    let synced = node.json(&["containers", "sync", &copy.id, "--yes"]);
    assert_eq!((&synced["source_container_id"], &synced["status"]), (&json!(c.id), &json!("running")), "{synced}");
    assert_eq!(copy.says("cat /root/state; ls /root"), "two\nstate");
    assert_eq!(identity(&copy), before, "a sync changes no identity");
    // It can be undone.
    node.cowl(&["snapshots", "restore", synced["safety_snapshot"].as_str().unwrap(), "--yes", "-c", &copy.id]).ok();
    assert_eq!(copy.says("cat /root/state; cat /root/mine"), "one\nmine");
    assert_eq!(identity(&copy), before);
    node.cowl(&["containers", "stop", &copy.id]).ok();
    assert_eq!(node.json(&["containers", "sync", &copy.id])["status"], "stopped");
    drop(c);
    let refused = node.cowl(&["containers", "sync", &copy.id]);
    assert!(refused.refused(1).contains("is gone"), "{refused:#?}");
}

fn a_family_outlives_its_members() {
    let node = shared::node();
    let first = node.container("grand");
    let (first_id, first_name) = (first.id.clone(), first.name.clone());
    let second = made(&node, &["containers", "branch", &first.id, "family-second", "--no-start"]);
    let third = made(&node, &["containers", "branch", &second.id, "family-third", "--no-start"]);
    drop(first);
    drop(second);
    let lineage = node.json(&["containers", "tree", &third.id]);
    let names: Vec<&str> =
        lineage["ancestors"].as_array().unwrap().iter().filter_map(|o| o["source_name"].as_str()).collect();
    assert_eq!(names, ["family-second", first_name.as_str()]);
    assert_eq!((&lineage["tree"]["id"], &lineage["tree"]["status"]), (&json!(first_id), &Value::Null));
    let drawn = node.cowl(&["containers", "tree", &third.id]);
    assert!(
        drawn.ok().contains("└─ family-second  gone") && drawn.stdout.contains("/family-third  stopped"),
        "{drawn:#?}"
    );
}

fn files_come_back_as_they_were() {
    let node = shared::node();
    let c = node.container("pick");
    c.says(ODDS);
    c.says("echo mine > /usr/share/mine && cp /bin/ping /usr/local/bin/caps 2>/dev/null; sync");
    mark(&c, "srv/d/a");
    let before = c.says(&fingerprint("/srv/d"));
    c.cowl(&["snapshots", "create", "--alias", "gold"]).ok();
    c.says("rm -r /srv/d /usr/share/mine; sync");
    let words = ["snapshots", "restore-files", "gold", "/srv/d", "/usr/share/mine"];
    let plan = c.cowl(&[&words[..], &["--dry-run", "--json"]].concat()).json();
    assert!(plan["dry_run"] == true && plan["conflicts"] == json!([]) && c.exec("ls /srv/d").code == 2, "{plan}");
    let report = c.cowl(&[&words[..], &["--json"]].concat()).json();
    assert_eq!(report["skipped"], json!([]), "{report}");
    assert_eq!(c.says(&fingerprint("/srv/d")), before);
    assert_eq!(c.says("cat /usr/share/mine"), "mine");
    assert!(is_marked(&c, "srv/d/a"), "its attribute is lost");
    assert!(c.says("stat -c %b /srv/d/sparse").parse::<u64>().unwrap() < 100, "a hole was filled");

    // What is in the way: told, left, or replaced.
    c.says("echo changed > /srv/d/a; rm /srv/d/link; mkdir /srv/d/link; sync");
    let refused = c.cowl(&["snapshots", "restore-files", "gold", "/srv/d"]);
    assert!(refused.refused(1).contains("/srv/d/a"), "{refused:#?}");
    c.cowl(&["snapshots", "restore-files", "gold", "/srv/d", "--overwrite", "skip"]).ok();
    assert_eq!(c.says("cat /srv/d/a"), "changed");
    let report = c.cowl(&["snapshots", "restore-files", "gold", "/srv/d", "--overwrite", "replace", "--json"]).json();
    assert_eq!(report["skipped"], json!(["/srv/d/link (a directory is in its place)"]), "{report}");
    assert_eq!(c.says("cat /srv/d/a"), "one");
    c.says("rmdir /srv/d/link");
    c.cowl(&["snapshots", "restore-files", "gold", "/srv/d/link"]).ok();
    c.says("touch -d 2002-03-04 /srv/d");
    assert_eq!(c.says(&fingerprint("/srv/d")), before);
    assert_eq!(c.says("ls -A /srv/d | grep -c cowl || true"), "0", "temporary names are left");

    let missing = c.cowl(&["snapshots", "restore-files", "gold", "/none"]);
    assert!(missing.refused(1).contains("/none"), "{missing:#?}");
    assert_eq!(c.cowl(&["snapshots", "download", "gold", "/srv/d/a"]).ok(), "one\n");
}

fn files_come_into_another_container() {
    let node = shared::node();
    let (c, other) = (node.container("giver"), node.container("taker"));
    c.says(ODDS);
    c.says("mkdir /usr/share/given && echo given > /usr/share/given/file; sync");
    mark(&c, "srv/d/a");
    let before = c.says(&fingerprint("/srv/d"));
    c.cowl(&["snapshots", "create", "--alias", "gold"]).ok();
    let to = format!("{}:/opt/new/place", other.id);
    c.cowl(&["snapshots", "restore-files", "gold", "/srv/d", "--to", &to]).ok();
    assert_eq!(other.says(&fingerprint("/opt/new/place/d")), before);
    // And into one that does not run.
    node.cowl(&["containers", "stop", &other.id]).ok();
    c.cowl(&["snapshots", "restore-files", "gold", "/srv/d", "/usr/share/given", "--to", &other.id]).ok();
    node.cowl(&["containers", "start", &other.id]).ok();
    assert_eq!(other.says(&fingerprint("/srv/d")), before);
    assert_eq!(other.says("cat /usr/share/given/file"), "given");
    assert!(is_marked(&other, "srv/d/a") && is_marked(&other, "opt/new/place/d/a"), "its attribute is lost");
    assert_eq!(other.booted(), "running");
    // The other's disk, while it is off, is a source, too.
    node.cowl(&["containers", "stop", &other.id]).ok();
    let path = format!("/api/v1/containers/{}/files/restore", other.id);
    let body = json!({ "paths": ["/opt/new"], "to_container": c.id });
    socket(&node, "POST", &path, Some(&body.to_string())).is(200);
    assert_eq!(c.says(&fingerprint("/opt/new/place/d")), before);
}

fn links_in_the_target_lead_no_further_than_its_root_could_go() {
    let node = shared::node();
    let c = node.container("trap");
    let outside = node.dir.join("outside");
    std::fs::create_dir_all(&outside).unwrap();
    let out = outside.display();
    c.says("mkdir -p /srv/t/sub && echo good > /srv/t/file && echo good > /srv/t/sub/inner; sync");
    c.cowl(&["snapshots", "create", "--alias", "gold"]).ok();
    c.says(&format!(
        "rm -r /srv/t && mkdir /srv/t && ln -s {out}/file /srv/t/file && ln -s {out} /srv/t/sub && mkdir -p {out}; sync"
    ));
    for off in [false, true] {
        if off {
            node.cowl(&["containers", "stop", &c.id]).ok();
        }
        c.cowl(&["snapshots", "restore-files", "gold", "/srv/t"]).refused(1);
        c.cowl(&["snapshots", "restore-files", "gold", "/srv/t", "--overwrite", "skip"]).ok();
        // Links on the way to what was named are the container's own affair, inside of it.
        c.cowl(&["snapshots", "restore-files", "gold", "/srv/t/file", "--to", ":/srv/t/sub", "--overwrite", "replace"])
            .ok();
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "something came out of the container");
    }
    c.cowl(&["snapshots", "restore-files", "gold", "/srv/t", "--overwrite", "replace"]).ok();
    node.cowl(&["containers", "start", &c.id]).ok();
    assert_eq!(c.says("stat -c %F /srv/t/file /srv/t/sub; cat /srv/t/sub/inner"), "regular file\ndirectory\ngood");
    assert_eq!(c.says(&format!("ls {out}")), "file");
}

fn many_files_come_at_once_and_blocks_are_shared() {
    let node = shared::node();
    let c = node.container("mass");
    c.says("mkdir -p /srv/m && cd /srv/m && for d in $(seq 100); do mkdir $d; for f in $(seq 100); do echo $f > $d/$f; done; done");
    c.says("head -c 64M /dev/urandom > /srv/big; sync");
    c.cowl(&["snapshots", "create", "--alias", "gold"]).ok();
    let before = c.says(&fingerprint("/srv/m"));
    c.says("rm -r /srv/m; sync");
    let report = c.cowl(&["snapshots", "restore-files", "gold", "/srv/m", "--json"]).json();
    assert_eq!(report["copied"], 10_101, "{report}");
    assert_eq!(c.says(&fingerprint("/srv/m")), before);
    let used = || {
        c.says("sync");
        node.json(&["containers", "stats", &c.id])["disk"]["root"]["usage"].as_u64().unwrap()
    };
    let then = used();
    c.cowl(&["snapshots", "restore-files", "gold", "/srv/big", "--to", ":/srv/again"]).ok();
    assert_eq!(c.says("cmp /srv/big /srv/again/big && echo same"), "same");
    assert!(used() < then + (16 << 20), "a clone took space");
}
