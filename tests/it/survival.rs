//! What outlives what: containers the node, state a crash, the machine a careless end.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::screen::Screen;
use crate::harness::web::socket;
use crate::harness::{Plan, eventually, shared};
use crate::stories;

stories![
    containers_do_not_notice_that_the_node_was_killed,
    a_node_told_to_end_leaves_containers_running_unless_asked,
    a_node_killed_in_the_middle_of_creating_finishes_or_undoes_it,
    snapshots_and_names_survive_a_crash,
    a_container_whose_init_or_shim_is_killed_is_seen_at_once,
];

fn containers_do_not_notice_that_the_node_was_killed() {
    let node = Plan::new("killed").start();
    let c = node.container("steady");
    // A loop in a terminal that prints numbers, seen by a person and noted in a file.
    let mut screen = Screen::open(&node, &["shell", &c.id], 80, 24);
    screen.types("i=0; while :; do i=$((i+1)); echo n$i; echo $i >> /root/numbers; sleep 0.05; done\r");
    screen.shows("n10");
    let born = c.born();

    assert_eq!(node.signal(Signal::SIGKILL), 137);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(node.cowl(&["status"]).code, 3);
    node.launch();
    eventually("the node to have it again", 10, || (c.status() == "running").then_some(()));
    assert_eq!(c.born(), born, "init is another one");

    let numbers = || c.says("cat /root/numbers").lines().map(|l| l.parse::<u32>().unwrap()).collect::<Vec<_>>();
    let first = numbers();
    assert!(first.iter().zip(1..).all(|(n, want)| *n == want), "numbers are missing");
    assert!(first.len() > 45, "the loop stood still during the outage: {}", first.len());
    eventually("the loop to go on", 10, || (numbers().len() > first.len() + 5).then_some(()));
    // The session is found again, with what it printed meanwhile.
    let again = Screen::open(&node, &["shell", &c.id], 80, 24);
    let now = *numbers().last().unwrap();
    again.shows(&format!("n{}", now + 5));
    // Everything else works on it, too.
    c.cowl(&["snapshots", "create", "--alias", "after"]).ok();
    assert_eq!(node.json(&["containers", "restart", &c.id])["status"], "running");
    assert_eq!(c.says("echo fine"), "fine");
}

fn a_node_told_to_end_leaves_containers_running_unless_asked() {
    let node = Plan::new("ended").start();
    let c = node.container("left");
    c.says("touch /run/here");
    assert_eq!(node.signal(Signal::SIGTERM), 0);
    assert_eq!(node.cowl(&["status"]).code, 3);
    node.launch();
    assert_eq!(c.says("ls /run/here"), "/run/here");
    // `cowl stop` is the same from outside.
    assert!(node.cowl(&["stop"]).ok().contains("1 container keeps running"));
    assert_eq!(node.ends(), 0);
    node.launch();
    assert_eq!(c.says("ls /run/here"), "/run/here");
    node.cowl(&["stop", "--containers"]).ok();
    assert_eq!(node.ends(), 0);
    assert!(!node.run_dir().join(&c.id).exists(), "its shim runs on");
    // What was stopped with the node comes back with it, freshly booted; what a person stopped stays.
    node.launch();
    c.becomes("running");
    assert_ne!(c.exec("ls /run/here").code, 0);
    node.cowl(&["containers", "stop", &c.id]).ok();
    node.cowl(&["stop", "--containers"]).ok();
    assert_eq!(node.ends(), 0);
    node.launch();
    assert_eq!(c.status(), "stopped");
    drop(c);
}

fn a_node_killed_in_the_middle_of_creating_finishes_or_undoes_it() {
    let node = Plan::new("midway").start();
    let project = node.project("midway");
    let path = format!("/api/v1/projects/{project}/containers");
    for pause in [0, 5, 20, 60, 150] {
        let body = format!(r#"{{"server_id":"{}","name":"midway-{pause}"}}"#, node.server_name());
        let created = socket(&node, "POST", &path, Some(&body)).is(201);
        std::thread::sleep(Duration::from_millis(pause));
        node.signal(Signal::SIGKILL);
        node.launch();
        let id = created["data"]["id"].as_str().unwrap();
        // The order was answered with 201: it must be carried out.
        eventually(&format!("midway-{pause} to run"), 30, || {
            let now = node.json(&["containers", "get", id]);
            assert_ne!(now["status"], "failed", "{now}");
            (now["status"] == "running").then_some(())
        });
        eventually("its terminal", 30, || (node.cowl(&["shell", id, "--", "true"]).code == 0).then_some(()));
    }
}

fn snapshots_and_names_survive_a_crash() {
    let node = Plan::new("crash").start();
    let c = node.container("crash");
    c.says("echo one > /root/state");
    c.cowl(&["snapshots", "create", "--alias", "one"]).ok();
    c.says("echo two > /root/state");
    let mut follow = node.command(&["snapshots", "restore", "one", "-c", &c.id]);
    let mut restoring = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(40));
    node.signal(Signal::SIGKILL);
    let said: Vec<String> = BufReader::new(restoring.stderr.take().unwrap()).lines().map_while(Result::ok).collect();
    let _ = restoring.wait();
    node.launch();
    eventually("it to run or rest", 40, || matches!(c.status().as_str(), "running" | "stopped").then_some(()));
    if c.status() == "stopped" {
        node.cowl(&["containers", "start", &c.id]).ok();
    }
    let state = c.says("cat /root/state");
    assert!(state == "one" || state == "two", "neither before nor after: {state} ({said:?})");
    let list = node.json(&["snapshots", "list", &c.id]);
    assert!(list.as_array().unwrap().iter().any(|s| s["alias"] == "one"), "{list}");
    c.cowl(&["snapshots", "restore", "one"]).ok();
    assert_eq!(c.says("cat /root/state"), "one");
}

fn a_container_whose_init_or_shim_is_killed_is_seen_at_once() {
    let node = shared::node();
    for victim in ["init", "shim"] {
        let c = node.container(victim);
        c.says("echo kept > /root/kept; sync");
        let (shim, init) = (c.shim(), c.init());
        let pid = if victim == "init" { init } else { shim };
        let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
        nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
        eventually("the death to be seen", 5, || (c.status() != "running").then_some(()));
        let now = c.now();
        assert_eq!(now["status"], "failed", "{victim}: {now}");
        assert!(now["status_reason"].as_str().is_some_and(|r| !r.is_empty()), "{victim}: {now}");
        eventually("init to be gone, too", 5, || {
            (!std::path::Path::new(&format!("/proc/{init}/ns/pid")).exists()).then_some(())
        });
        node.cowl(&["containers", "start", &c.id]).ok();
        assert_eq!(c.says("cat /root/kept"), "kept", "{victim}");
    }
}
