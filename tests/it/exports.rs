//! Containers as archives: out of one node, into the same or another.

use std::fs;

use serde_json::Value;

use crate::harness::run::{program, run};
use crate::harness::{Container, Node, Plan, shared};
use crate::stories;

stories![
    a_container_moves_into_another_project_and_another_node,
    increments_go_on_top_of_each_other,
    what_is_no_archive_leaves_nothing,
];

/// What a tree holds, with owners, modes and attributes.
const FINGERPRINT: &str = "cd / && find srv usr/local etc/mine -printf '%p %y %m %U %G %l %s\\n' | sort | sha256sum && \
    find srv usr/local etc/mine -type f -exec sha256sum {} + | sort | sha256sum && \
    sha256sum /usr/bin/true-copy; ls /usr/share/doc | wc -l";

fn archive(node: &Node, name: &str) -> String {
    node.dir.join(name).display().to_string()
}

#[track_caller]
fn no_leaks(node: &Node) {
    let found: Value = serde_json::from_str(&node.cowl(&["--json", "doctor", "--leaks"]).stdout).unwrap();
    let mine: Vec<&Value> = found.as_array().unwrap().iter().filter(|l| l["kind"] != "id_lease").collect();
    assert!(mine.is_empty(), "{mine:?}");
    let tmp = node.state_dir().join("pool/tmp");
    let names = fs::read_dir(&tmp).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    // A node that lacks its image builds one there.
    let left: Vec<String> = names.filter(|name| name.starts_with("import") || name.starts_with("export")).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn a_container_moves_into_another_project_and_another_node() {
    // Its own, for what others are doing lies in the pool of the shared one.
    let node = Plan::new("mover").start();
    let c = node.container("mover");
    c.says(
        "mkdir -p /srv/d && echo data > /srv/d/a && chown 1000:33 /srv/d/a && chmod 4751 /srv/d/a && ln -s d/a /srv/l \
         && echo mine > /etc/mine && cp /usr/bin/true /usr/bin/true-copy \
         && rm -rf /usr/share/doc/bash && mkdir /usr/local/x && cp --reflink=auto /srv/d/a /srv/b && sync",
    );
    let before = c.says(FINGERPRINT);
    let machine = c.says("cat /etc/machine-id");
    let file = archive(&node, "mover.cowl");
    // While it runs.
    let done = node.json(&["containers", "export", &c.id, "-o", &file]);
    assert_eq!(done["bytes"].as_u64().unwrap(), fs::metadata(&file).unwrap().len());
    assert!(!fs::exists(format!("{file}.partial")).unwrap());
    no_leaks(&node);
    let verified = node.json(&["containers", "verify", &file]);
    assert_eq!(verified["archives"][0]["container"], c.name.as_str(), "{verified}");

    let other = node.project("others");
    let arrives = |node: &Node, project: &str| {
        let made = node.json(&["containers", "import", &file, "--project", project, "--name", "arrived"]);
        let new = Container::from_json(node, &made);
        new.becomes("running");
        new.answers(60);
        assert_eq!(new.booted(), "running");
        assert_eq!(new.says(FINGERPRINT), before);
        assert_ne!(new.id, c.id);
        assert_ne!(new.says("cat /etc/machine-id"), machine);
        assert_eq!(new.says("cat /etc/hostname"), "arrived");
        // The layers are those of one another: nothing is taken for the same file.
        new.says("cp -a /usr/bin/true-copy /usr/bin/true-again && mv /usr/bin/true-again /usr/bin/moved");
        no_leaks(node);
        new.now()
    };
    arrives(&node, &other);
    // A name can be had once.
    let made = node.json(&["containers", "import", &file, "--project", &other, "--name", "arrived", "--no-start"]);
    assert_eq!(made["status"], "stopped", "{made}");
    let twice = node.cowl(&["containers", "import", &file, "--project", &other, "--name", "arrived"]);
    twice.refused(1);
    assert!(twice.stderr.contains("exists already"), "{twice:#?}");
    drop(Container::from_json(&node, &made));

    let there = Plan::new("lacks").without_image().start();
    let project = there.project("moved");
    arrives(&there, &project);
}

fn increments_go_on_top_of_each_other() {
    let node = shared::node();
    let c = node.container("grows");
    let files = ["one", "two"].map(|name| archive(&node, &format!("{name}.cowl")));
    for (name, file) in ["one", "two"].iter().zip(&files) {
        c.says(&format!("echo {name} > /root/state && sync"));
        c.cowl(&["snapshots", "create", "--alias", name]).ok();
        let since = if *name == "two" { &["--since", "one"][..] } else { &[] };
        let words = [&["containers", "export", &c.id, "--snapshot", name, "-o", file], since].concat();
        node.cowl(&words).ok();
    }
    let sizes = files.each_ref().map(|file| fs::metadata(file).unwrap().len());
    assert!(sizes[1] * 10 < sizes[0], "{sizes:?}");
    let project = node.project("grown");
    let both = node.json(&["containers", "import", &files[0], &files[1], "--project", &project, "--name", "both"]);
    let both = Container::from_json(&node, &both);
    both.answers(60);
    assert_eq!(both.says("cat /root/state"), "two");
    let e = node.cowl(&["containers", "export", &c.id, "--since", "none", "-o", &files[1]]);
    e.refused(1);

    let there = Plan::new("increment").start();
    let project = there.project("grown");
    let alone = there.cowl(&["containers", "import", &files[1], "--project", &project]);
    alone.refused(1);
    assert!(alone.stderr.contains("increment"), "{alone:#?}");
    no_leaks(&there);
}

fn what_is_no_archive_leaves_nothing() {
    let node = Plan::new("refuser").start();
    let c = node.container("refused");
    let project = node.project("refused");
    let file = archive(&node, "whole.cowl");
    node.cowl(&["containers", "export", &c.id, "-o", &file, "--no-image"]).ok();
    let whole = fs::read(&file).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).unwrap();
        for words in [&["containers", "verify", &file][..], &["containers", "import", &file, "--project", &project]] {
            let ran = node.cowl(words);
            assert_eq!((ran.code, ran.stderr.lines().count()), (1, 1), "{what}: {ran:#?}");
        }
        let left = node.json(&["containers", "list", "--project", &project]);
        assert_eq!(left.as_array().unwrap().len(), 0, "{what}: {left}");
    };
    refused(b"hello", "text");
    refused(&whole[..whole.len() / 2], "a half");
    refused(&whole[..whole.len() - 1], "all but a byte");
    for at in [20, 200, whole.len() / 3, whole.len() - 20] {
        let mut changed = whole.clone();
        changed[at] ^= 4;
        refused(&changed, "one bit changed");
    }
    no_leaks(&node);
    // Over the wire, without the command line's own look.
    let socket = node.run_dir().join("node.sock");
    let url = format!("http://api.cowl.localhost/api/v1/projects/{project}/containers/import");
    let mut curl = program("curl");
    curl.args(["-s", "--unix-socket"]).arg(socket).args(["-X", "POST", "--data-binary", "hello", &url]);
    let said: Value = serde_json::from_str(run(&mut curl).ok()).unwrap();
    assert_eq!(said["statusCode"], 422, "{said}");
    // A client that leaves in the middle.
    fs::write(&file, &whole).unwrap();
    let url = format!("http://api.cowl.localhost/api/v1/containers/{}/export", c.id);
    let socket = node.run_dir().join("node.sock");
    let line = format!("curl -s --unix-socket {} {url} | head -c 100000 | wc -c", socket.display());
    assert_eq!(run(program("sh").args(["-c", &line])).ok().trim(), "100000");
    crate::harness::eventually("the frozen disk to go", 60, || {
        fs::read_dir(node.state_dir().join("pool/tmp")).unwrap().next().is_none().then_some(())
    });
}
