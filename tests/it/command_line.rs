//! The verbs of `cowl`, with and without `--json`, and their exit codes.

use std::os::unix::process::CommandExt;

use serde_json::Value;

use crate::harness::run::{program, run};
use crate::harness::{Node, Plan, shared};
use crate::stories;

stories![
    every_verb_about_projects_and_containers_works_from_end_to_end,
    a_container_is_found_by_name_and_by_project_and_name,
    json_is_the_bare_object_or_array,
    status_tells_what_the_node_is,
    without_a_node_the_exit_code_is_3,
    without_permission_the_exit_code_is_4,
    a_wrong_command_line_exits_with_2_and_one_line,
    without_a_terminal_the_cockpit_says_so,
    help_and_completions_come_from_the_grammar,
    pause_and_resume_freeze_and_thaw,
    stats_are_live,
    a_remote_client_speaks_tls_with_the_token,
    an_event_is_told_to_those_who_follow,
    a_rotated_token_counts_at_once,
    doctor_explains_every_line,
];

fn every_verb_about_projects_and_containers_works_from_end_to_end() {
    let node = shared::node();
    let project = node.json(&["projects", "create", "--alias", "verbs"]);
    let project = project["id"].as_str().unwrap();
    assert!(node.cowl(&["projects", "list"]).ok().contains("verbs"));

    let server = node.server_name();
    let words = ["containers", "create", "--project", project, "--server-id", &server];
    let words = [&words[..], &["--name", "dev-environment", "--hoody-kit", "--dev-kit"]].concat();
    let c = node.json(&words);
    let id = c["id"].as_str().unwrap();
    assert_eq!((&c["status"], &c["hoody_kit"], &c["dev_kit"]), (&"running".into(), &true.into(), &true.into()));

    for (verb, status) in [("stop", "stopped"), ("start", "running"), ("restart", "running")] {
        assert_eq!(node.json(&["containers", verb, id])["status"], status, "{verb}");
        assert_eq!(node.json(&["containers", "get", id])["status"], status, "{verb}");
    }
    let again = node.cowl(&["containers", "create", "--project", project, "--name", "dev-environment", "--no-wait"]);
    assert!(again.refused(1).contains("exists already"), "{again:#?}");

    node.cowl(&["containers", "delete", id]).ok();
    let gone = node.cowl(&["containers", "get", id]);
    assert!(gone.refused(1).contains("not found"), "{gone:#?}");
    node.cowl(&["projects", "delete", "verbs"]).ok();
    assert!(!node.cowl(&["projects", "list"]).ok().contains("verbs"));
}

fn a_container_is_found_by_name_and_by_project_and_name() {
    let node = shared::node();
    let c = node.container("named");
    assert_eq!(node.json(&["containers", "get", &c.name])["id"], c.id.as_str());
    assert_eq!(node.json(&["containers", "get", &format!("tests/{}", c.name)])["id"], c.id.as_str());
    let from_variable = run(node.command(&["containers", "get", "--json"]).env("COWL_CONTAINER", &c.name));
    assert_eq!(from_variable.json()["id"], c.id.as_str());
    assert!(node.cowl(&["containers", "get", "nobody"]).refused(1).contains("nobody"));
    assert!(node.cowl(&["containers", "get"]).refused(2).contains("COWL_CONTAINER"));
}

fn json_is_the_bare_object_or_array() {
    let node = shared::node();
    let c = node.container("bare");
    assert!(node.json(&["projects", "list"]).is_array());
    assert!(node.json(&["containers", "list"]).is_array());
    assert!(node.json(&["snapshots", "list", &c.id]).is_array());
    assert!(node.json(&["images", "list"]).is_array());
    assert!(node.json(&["files", "list", "/etc", "-c", &c.id]).is_array());
    assert_eq!(node.json(&["files", "stat", "/etc/hostname", "-c", &c.id])["path"], "/etc/hostname");
    let failed = node.cowl(&["containers", "get", "000000000000000000000000", "--json"]);
    let line: Value = serde_json::from_str(failed.refused(1)).unwrap();
    assert_eq!(line["statusCode"], 404, "{line}");
}

fn status_tells_what_the_node_is() {
    let node = shared::node();
    let status = node.json(&["status"]);
    assert_eq!(status["server_name"], node.server_name());
    assert_eq!(status["server_id"].as_str().unwrap().len(), 24);
    assert_eq!(status["domains"], serde_json::json!(["box.test", "cowl.localhost", "cowl.internal"]));
    assert_eq!(status["listen"], format!("127.0.0.1:{}", node.port));
    assert_eq!(status["api_url"], format!("https://api.box.test:{}", node.port));
    assert_eq!(status["versions"]["cowl"], env!("CARGO_PKG_VERSION"));
    let image = &status["images"][0];
    assert_eq!((&image["name"], &image["state"]), (&"debian/13".into(), &"ready".into()));
    assert!(status["pool"]["free"].as_u64().unwrap() > 0);
    assert!(node.cowl(&["status"]).ok().contains(&node.server_name()));
}

/// A directory without a node.
fn nobody_home() -> Node {
    Plan::new("empty").without_image().prepare()
}

fn without_a_node_the_exit_code_is_3() {
    let node = nobody_home();
    for words in [&["status"][..], &["projects", "list"], &["containers", "get", "x"], &["shell", "x", "--", "true"]] {
        assert!(node.cowl(words).refused(3).contains("cowl up"), "{words:?}");
    }
    let json = node.cowl(&["status", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(json.refused(3)).unwrap()["error"], "No Node");
}

fn without_permission_the_exit_code_is_4() {
    let node = shared::node();
    let nobody = 65534;
    // The program itself may lie where nobody can reach it. Copied by another process: a child of a
    // test beside this one could hold our file open for writing, and then it could not be run.
    let copy = node.dir.join("cowl-for-nobody");
    run(program("cp").arg(crate::harness::cowl()).arg(&copy)).ok();
    let mut command = program(copy.to_str().unwrap());
    node.settings(&mut command);
    let ran = run(command.arg("status").uid(nobody).gid(nobody));
    assert!(ran.refused(4).contains("group cowl"), "{ran:#?}");
}

fn a_wrong_command_line_exits_with_2_and_one_line() {
    let node = shared::node();
    for words in [
        &["frobnicate"][..],
        &["containers"],
        &["containers", "create"],
        &["containers", "list", "--colour", "red"],
        &["terminal", "sessions", "exec", "--command", "true", "--terminal-id", "65536", "-c", "x"],
        &["snapshots", "create", "-c", "x", "--expiry", "soon"],
    ] {
        node.cowl(words).refused(2);
    }
}

fn without_a_terminal_the_cockpit_says_so() {
    assert!(shared::node().cowl(&[]).refused(2).contains("terminal"));
}

fn help_and_completions_come_from_the_grammar() {
    let node = nobody_home();
    let help = node.cowl(&["--help"]);
    for word in ["up", "shell", "snapshots", "COWL_RUN_DIR", "Exit codes"] {
        assert!(help.ok().contains(word), "{word}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(node.cowl(&["completions", shell]).ok().contains("snapshots"), "{shell}");
    }
}

fn pause_and_resume_freeze_and_thaw() {
    let node = shared::node();
    let c = node.container("ice");
    c.says("(while :; do date +%s%N > /root/tick; sleep 0.02; done) >/dev/null 2>&1 & true");
    assert_eq!(node.json(&["containers", "pause", &c.id])["status"], "paused");
    assert!(c.exec("true").refused(1).contains("resume"));
    assert_eq!(node.json(&["containers", "resume", &c.id])["status"], "running");
    assert_eq!(c.says("echo thawed"), "thawed");
}

fn stats_are_live() {
    let node = shared::node();
    let c = node.container("busy");
    let before = node.json(&["containers", "stats", &c.id]);
    c.says("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done");
    let after = node.json(&["containers", "stats", &c.id]);
    let cpu = |s: &Value| s["cpu"]["usage"].as_u64().unwrap();
    assert!(cpu(&after) > cpu(&before) + 50_000_000, "{before} {after}");
    assert!(after["memory"]["usage"].as_u64().unwrap() > 1 << 20, "{after}");
    assert!(after["processes"].as_u64().unwrap() > 2, "{after}");
}

fn a_remote_client_speaks_tls_with_the_token() {
    let node = shared::node();
    let c = node.container("far");
    let remote = |token: &str, words: &[&str]| {
        let url = format!("https://api.cowl.localhost:{}", node.port);
        let mut command = node.command(words);
        run(command.env("COWL_API_URL", url).env("COWL_TOKEN", token).env("COWL_CA", node.ca()))
    };
    let token = node.token();
    assert!(remote(&token, &["containers", "list"]).ok().contains(&c.name));
    let words = ["terminal", "sessions", "exec", "--command", "echo far $((40+2)); exit 5", "-c", &c.name];
    let ran = remote(&token, &words);
    assert_eq!((ran.code, ran.stdout.as_str()), (5, "far 42\n"), "{ran:#?}");
    remote("hdy_0000000000000000000000000000000000000000000000000000000000000000", &["status"]).refused(4);
}

fn an_event_is_told_to_those_who_follow() {
    use std::io::{BufRead, BufReader};
    let node = shared::node();
    let mut follow = node.command(&["events", "-f", "--json"]);
    let mut follow = follow.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if sender.send(serde_json::from_str::<Value>(&line).unwrap()).is_err() {
                break;
            }
        }
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    let c = node.container("told");
    let mut seen = Vec::new();
    while let Ok(event) = receiver.recv_timeout(std::time::Duration::from_secs(5)) {
        if event["resource_id"] == c.id.as_str() {
            seen.push(event["event_type"].as_str().unwrap().to_owned());
        }
        if seen.iter().any(|e| e == "container.running") {
            break;
        }
    }
    let _ = follow.kill();
    let _ = follow.wait();
    assert!(seen.iter().any(|e| e == "container.running"), "{seen:?}");
    let stored = node.json(&["events", "-n", "200"]);
    let stored: Vec<&Value> = stored.as_array().unwrap().iter().filter(|e| e["resource_id"] == c.id.as_str()).collect();
    assert!(stored.iter().any(|e| e["event_type"] == "container.running"), "{stored:?}");
}

fn a_rotated_token_counts_at_once() {
    // A node of its own: others use the shared one's token.
    let node = Plan::new("token").without_image().env("COWL_MIRROR", "http://127.0.0.1:9/debian").start();
    let web = crate::harness::web::Web::new(&node);
    web.api("GET", "/api/v1/status", None).is(200);
    let old = node.token();
    let new = node.cowl(&["token", "--rotate"]).ok().trim().to_owned();
    assert!(old != new && node.token() == new);
    web.api("GET", "/api/v1/status", None).is(200);
    let stale = format!("Authorization: Bearer {old}");
    assert_eq!(web.ask("api.box.test", "/api/v1/status", &["-H", &stale]).status, 401);
    let file = std::fs::metadata(node.state_dir().join("owner.token")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777, 0o600);
}

fn doctor_explains_every_line() {
    let node = shared::node();
    let checks = node.json(&["doctor"]);
    let checks = checks.as_array().unwrap();
    for name in
        ["root", "kernel", "btrfs", "overlay", "user namespaces", "cgroups", "disk", "programs", "node", "names"]
    {
        let check = checks.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no {name} in {checks:?}"));
        let advised = check["advice"].is_string();
        assert_eq!(advised, check["verdict"] != "ok", "{check}");
    }
    let nobody = nobody_home();
    let ran = run(nobody.command(&["doctor"]).env("PATH", "/nowhere"));
    assert!(ran.ok().contains("cowl up"), "{ran:#?}");
}
