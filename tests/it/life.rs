//! States and moves: pausing, last words, a start of the box, a storm of requests.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::web::socket;
use crate::harness::{Container, Node, Plan, eventually, host, shared};
use crate::stories;

stories![
    a_paused_container_stands_still_and_says_so_at_once,
    a_crash_keeps_the_last_words,
    what_ran_before_starts_in_parallel_and_tells_how_far_it_is,
    a_storm_of_requests_ends_as_the_kernel_says,
];

/// Whether the kernel says that a container is frozen, on v1 or v2.
pub fn is_frozen(c: &Container<'_>) -> bool {
    c.group_texts("freezer.state").iter().any(|text| text.trim() == "FROZEN")
        || c.group_texts("cgroup.events").iter().any(|text| text.contains("frozen 1"))
}

fn a_paused_container_stands_still_and_says_so_at_once() {
    let node = shared::node();
    let c = node.container("pause");
    let before = c.born();
    assert_eq!(node.json(&["containers", "pause", &c.id])["status"], "paused");
    assert!(is_frozen(&c));
    let reply = c.curl("terminal-1", "/api/v1/terminal/sessions", &[]);
    assert_eq!(reply.status, 503, "{reply:#?}");
    let stats = node.json(&["containers", "stats", &c.id]);
    assert_eq!((&stats["status"], &stats["status_code"]), (&"paused".into(), &110.into()), "{stats}");
    assert!(stats["memory"]["usage"].as_u64().is_some_and(|bytes| bytes > 0), "{stats}");
    assert!(stats["processes"].as_u64().is_some_and(|n| n > 1), "{stats}");
    for (verb, says) in [("start", "resume"), ("stop", "resume"), ("restart", "resume"), ("sleep", "resume")] {
        assert!(node.cowl(&["containers", verb, &c.id]).refused(1).contains(says), "{verb}");
    }
    assert_eq!(node.json(&["containers", "pause", &c.id])["status"], "paused");
    assert_eq!(node.json(&["containers", "resume", &c.id])["status"], "running");
    assert!(!is_frozen(&c));
    assert_eq!(c.born(), before);
    node.cowl(&["containers", "pause", &c.id]).ok();
    assert_eq!(node.json(&["containers", "stop", "--force", &c.id])["status"], "stopped");
    assert!(!node.run_dir().join(&c.id).exists());
}

fn a_crash_keeps_the_last_words() {
    let node = shared::node();
    let c = node.container("words");
    c.booted();
    c.says("printf 'the \\033[31mvery\\033[0m last words\\n' > /dev/console");
    kill(Pid::from_raw(c.init().cast_signed()), Signal::SIGKILL).unwrap();
    c.becomes("failed");
    let logs = socket(&node, "GET", &format!("/api/v1/containers/{}/status-logs?limit=1", c.id), None).is(200);
    let console = logs["data"]["logs"][0]["metadata"]["console"].as_array().cloned().unwrap_or_default();
    assert!(console.contains(&"the very last words".into()), "{logs}");
    let told = node.cowl(&["containers", "logs", &c.id]);
    assert!(told.ok().contains("    | the very last words"), "{told:#?}");
    assert!(told.ok().lines().next().is_some_and(|first| first.contains("creating")), "{told:#?}");
}

fn what_ran_before_starts_in_parallel_and_tells_how_far_it_is() {
    let node = Plan::new("boot").start();
    let all: Vec<Container<'_>> = (0..4).map(|_| node.container("boot")).collect();
    node.cowl(&["stop", "--containers"]).ok();
    assert_eq!(node.ends(), 0);
    node.launch();
    for c in &all {
        c.becomes("running");
        assert_eq!(c.says("echo up"), "up");
    }
    eventually("the end to be told", 20, || {
        let log = node.log_tail();
        let told = |words: &str| log.lines().any(|line| line.contains(words));
        (told("starting what ran before") && told("what ran before has been started")).then_some(())
    });
}

/// What is asked by one client after the other, chosen by a number.
const OPERATIONS: [&str; 9] = ["start", "stop", "pause", "resume", "restart", "force-stop", "sleep", "wake", "start"];

fn a_storm_of_requests_ends_as_the_kernel_says() {
    let node = shared::node();
    let c = node.container("storm");
    let path = |op: &str| format!("/api/v1/containers/{}/{op}", c.id);
    std::thread::scope(|scope| {
        for client in 0..6usize {
            let (path, node) = (&path, &node);
            scope.spawn(move || {
                for n in 0..12usize {
                    let op = OPERATIONS[(client * 7 + n * 5 + client * n) % OPERATIONS.len()];
                    let reply = socket(node, "POST", &path(op), None);
                    // Done or already so, or not from the state it was in by then.
                    assert!([200, 409].contains(&reply.status), "{op}: {reply:#?}");
                    let body = reply.json();
                    if reply.status == 409 {
                        assert!(body["data"]["status"].is_string() && body["message"].is_string(), "{body}");
                    }
                }
            });
        }
    });
    as_the_kernel_says(&node, &c);
    let logs = node.json(&["containers", "logs", &c.id]);
    for pair in logs.as_array().unwrap().windows(2) {
        assert_eq!(pair[0]["from_status"], pair[1]["to_status"], "a move is missing: {logs}");
    }
    // It is none the worse for it.
    let now = c.status();
    node.cowl(&["containers", if now == "paused" { "resume" } else { "start" }, &c.id]).ok();
    assert_eq!(c.says("echo fine"), "fine");
    as_the_kernel_says(&node, &c);
}

#[track_caller]
fn as_the_kernel_says(node: &Node, c: &Container<'_>) {
    let state = c.now()["status"].clone();
    let dir = node.run_dir().join(&c.id);
    match state.as_str().unwrap_or_default() {
        "running" => {
            assert!(Path::new(&format!("/proc/{}", c.init())).exists() && !is_frozen(c));
            assert_eq!(c.curl("terminal-1", "/api/v1/terminal/sessions", &[]).status, 200);
        }
        "paused" => assert!(is_frozen(c)),
        "stopped" | "asleep" => {
            let groups = host::groups(&node.tag(), &c.id);
            assert!(!dir.exists() && groups.is_empty(), "something of it is left: {groups:?}");
        }
        _ => panic!("no state to rest in: {state}"),
    }
}
