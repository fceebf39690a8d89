//! The node killed at every step of what it does, at any moment under load, and with everything
//! else in a power cut: what was begun is finished or undone, and nothing is left over.
//!
//! Debug builds of the node end themselves before the n-th step when a file says so
//! (`COWL_TEST_CRASH`); the stories count n up until the operation gets through.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Container, Node, Plan, Ran, eventually};
use crate::stories;

stories![
    killed_at_every_step_of_create,
    killed_at_every_step_of_start,
    killed_at_every_step_of_stop,
    killed_at_every_step_of_delete,
    killed_at_every_step_of_restore,
    killed_at_every_step_of_copy,
    killed_at_every_step_of_sync,
    killed_at_every_step_of_restore_files,
    killed_at_every_step_of_undo,
    killed_at_every_step_of_a_deletion_that_can_be_undone,
    killed_at_every_step_of_undelete,
    killed_at_every_step_of_export,
    killed_at_every_step_of_import,
    killed_again_and_again_under_load,
    a_power_cut_loses_nothing_that_was_answered,
];

/// More steps than any operation has.
const STEPS_MAX: u32 = 60;

struct Doomed {
    node: Node,
    file: PathBuf,
}

impl Doomed {
    fn new(name: &'static str) -> Self {
        let node = Plan::new(name).file("COWL_TEST_CRASH", "crash").start();
        let file = node.dir.join("crash");
        Self { node, file }
    }

    /// Runs the command with a crash before its step number `n`. `None` when it has no such step.
    fn run(&self, n: u32, words: &[&str], settled: impl Fn() -> bool) -> Option<(Ran, String)> {
        fs::write(&self.file, n.to_string()).unwrap();
        let ran = self.node.cowl(words);
        // What an answer does not wait for has steps, too.
        let died = eventually("the operation to end, or the node", 60, || {
            if !self.node.lives() {
                return Some(true);
            }
            (ran.code != 3 && settled()).then_some(false)
        });
        if !died {
            // Steps after the last change of state.
            std::thread::sleep(Duration::from_millis(100));
        }
        if self.node.lives() {
            fs::remove_file(&self.file).unwrap();
            return None;
        }
        let before = fs::read_to_string(&self.file).unwrap();
        assert!(before.starts_with("ended before"), "the node died of something else: {}", self.node.log_tail());
        fs::remove_file(&self.file).unwrap();
        self.node.reap();
        self.node.launch();
        Some((ran, before))
    }
}

/// A container's state, if there is a node to tell it and a container to have it.
fn state_of(node: &Node, id: &str) -> Option<String> {
    let ran = node.cowl(&["--json", "containers", "get", id]);
    (ran.code == 0).then(|| ran.json()["status"].as_str().unwrap_or_default().to_owned())
}

/// Waits until a container is in one of these states for good (a new node may first go on with what
/// the old one had begun), and checks that its terminal says so, too.
fn settles(c: &Container, states: &[&str], what: &str) -> String {
    eventually(&format!("{what}: one of {states:?}, and a terminal that agrees"), 60, || {
        let state = c.status();
        assert_ne!(state, "failed", "{what}: {}", c.now());
        let answers = c.exec("true").code == 0;
        let agree = states.contains(&state.as_str()) && answers == (state == "running") && c.status() == state;
        agree.then_some(state)
    })
}

fn killed_at_every_step_of_create() {
    let doomed = Doomed::new("steps-create");
    let node = &doomed.node;
    let project = node.project("steps");
    for n in 0..STEPS_MAX {
        let name = format!("made-{n}");
        let find = || {
            let ran = node.cowl(&["--json", "containers", "list", "--project", &project]);
            let all = (ran.code == 0).then(|| ran.json())?;
            all.as_array().unwrap().iter().find(|c| c["name"] == name).cloned()
        };
        let words = ["--json", "containers", "create", "--project", &project, "--name", &name, "--no-wait"];
        let crashed = doomed.run(n, &words, || find().is_some_and(|c| c["status"] == "running"));
        let Some((ran, before)) = crashed else {
            assert!(n > 5, "a create of {n} steps?");
            return;
        };
        match find() {
            Some(found) => {
                let c = Container::from_json(node, &found);
                settles(&c, &["running"], &before);
                assert_eq!(c.booted(), "running", "{before}");
            }
            None => assert_ne!(ran.code, 0, "{before}: answered, but lost"),
        }
    }
    panic!("a create never gets through");
}

/// Crashes at each step of one operation on a container that is brought to `from` before.
fn each_step(name: &'static str, operation: &str, from: &str, to: &[&str]) {
    let doomed = Doomed::new(name);
    let c = doomed.node.container("steps");
    c.says("echo kept > /root/kept; sync");
    for n in 0..STEPS_MAX {
        if c.status() != from {
            let way = if from == "running" { "start" } else { "stop" };
            doomed.node.cowl(&["containers", way, &c.id]).ok();
        }
        let goal = to[0];
        let crashed =
            doomed.run(n, &["containers", operation, &c.id], || state_of(&doomed.node, &c.id).as_deref() == Some(goal));
        let Some((_, before)) = crashed else {
            assert!(n > 3, "{operation} has only {n} steps?");
            assert_eq!(settles(&c, to, operation), goal);
            return;
        };
        if settles(&c, to, &before) == "running" {
            assert_eq!(c.says("cat /root/kept"), "kept", "{before}");
        }
    }
    panic!("{operation} never gets through");
}

fn killed_at_every_step_of_start() {
    each_step("steps-start", "start", "stopped", &["running", "stopped"]);
}

fn killed_at_every_step_of_stop() {
    each_step("steps-stop", "stop", "running", &["stopped", "running"]);
}

fn killed_at_every_step_of_delete() {
    let doomed = Doomed::new("steps-delete");
    let node = &doomed.node;
    let project = node.project("steps");
    for n in 0..STEPS_MAX {
        let c = node.container_in(&project, &format!("gone-{n}"));
        c.cowl(&["snapshots", "create", "--alias", "one"]).ok();
        let gone = || node.cowl(&["containers", "get", &c.id]).code == 1;
        let crashed = doomed.run(n, &["containers", "delete", "--yes", "--purge", &c.id], gone);
        let Some((_, before)) = crashed else {
            assert!(n > 5, "a delete of {n} steps?");
            assert!(gone());
            return;
        };
        // Before the wish was written it is as it was; after that it goes.
        eventually(&format!("{before}: to be gone, or as before"), 40, || {
            matches!(state_of(node, &c.id).as_deref(), None | Some("running")).then_some(())
        });
        if gone() {
            assert!(!node.run_dir().join(&c.id).exists(), "{before}: its run directory is left");
            assert_eq!(node.pool_dirs(&c.id), Vec::<PathBuf>::new(), "{before}: subvolumes are left");
        } else {
            settles(&c, &["running"], &before);
            node.cowl(&["containers", "delete", "--yes", "--purge", &c.id]).ok();
        }
        std::mem::forget(c);
    }
    panic!("a delete never gets through");
}

fn killed_at_every_step_of_restore() {
    let doomed = Doomed::new("steps-restore");
    let node = &doomed.node;
    let c = node.container("steps");
    c.says("echo one > /root/state; sync");
    c.cowl(&["snapshots", "create", "--alias", "one"]).ok();
    for n in 0..STEPS_MAX {
        c.says("echo two > /root/state; sync");
        let restored =
            || state_of(node, &c.id).as_deref() == Some("running") && c.exec("cat /root/state").stdout.trim() == "one";
        let crashed = doomed.run(n, &["snapshots", "restore", "one", "--yes", "-c", &c.id], restored);
        let Some((_, before)) = crashed else {
            assert!(n > 5, "a restore of {n} steps?");
            return;
        };
        settles(&c, &["running"], &before);
        let state = c.says("cat /root/state");
        assert!(state == "one" || state == "two", "{before}: {state:?} is neither before nor after");
        if state == "one" {
            // What was there before is kept.
            let all = node.json(&["snapshots", "list", &c.id]);
            assert!(all.as_array().unwrap().iter().any(|s| s["kind"] == "safety"), "{before}: {all}");
        }
    }
    panic!("a restore never gets through");
}

fn killed_at_every_step_of_copy() {
    let doomed = Doomed::new("steps-copy");
    let node = &doomed.node;
    let c = node.container("steps");
    c.says("echo kept > /root/kept; sync");
    c.cowl(&["snapshots", "create", "--alias", "one"]).ok();
    for n in 0..STEPS_MAX {
        let name = format!("copy-{n}");
        let find = || {
            let ran = node.cowl(&["--json", "containers", "list"]);
            let all = (ran.code == 0).then(|| ran.json())?;
            all.as_array().unwrap().iter().find(|c| c["name"] == name).cloned()
        };
        // The same steps as a branch's, and its snapshots.
        let words = ["--json", "containers", "copy", &c.id, &name, "--no-wait"];
        let crashed = doomed.run(n, &words, || find().is_some_and(|c| c["status"] == "running"));
        let before = crashed.as_ref().map_or("no crash", |(_, before)| before.as_str());
        match find() {
            Some(found) => {
                let copy = Container::from_json(node, &found);
                settles(&copy, &["running"], before);
                assert_eq!(copy.says("cat /root/kept; cat /etc/hostname; hostname"), format!("kept\n{name}\n{name}"));
                assert_ne!(copy.says("cat /etc/machine-id"), c.says("cat /etc/machine-id"), "{before}");
                let snapshots = node.json(&["snapshots", "list", &copy.id]);
                assert_eq!(snapshots[0]["alias"], "one", "{before}: {snapshots}");
            }
            None => assert!(crashed.as_ref().is_some_and(|(ran, _)| ran.code != 0), "{before}: answered, but lost"),
        }
        assert_eq!(c.says("cat /root/kept"), "kept");
        if crashed.is_none() {
            assert!(n > 7, "a copy of {n} steps?");
            return;
        }
    }
    panic!("a copy never gets through");
}

fn killed_at_every_step_of_sync() {
    let doomed = Doomed::new("steps-sync");
    let node = &doomed.node;
    let c = node.container("steps");
    c.says("echo theirs > /root/state; sync");
    let copy = Container::from_json(node, &node.json(&["containers", "copy", &c.id]));
    for n in 0..STEPS_MAX {
        copy.says("echo mine > /root/state; sync");
        let id = copy.says("cat /etc/machine-id; cat /etc/hostname");
        let synced = || {
            state_of(node, &copy.id).as_deref() == Some("running")
                && copy.exec("cat /root/state").stdout.trim() == "theirs"
        };
        let crashed = doomed.run(n, &["containers", "sync", &copy.id, "--yes"], synced);
        let Some((_, before)) = crashed else {
            assert!(n > 5, "a sync of {n} steps?");
            return;
        };
        settles(&copy, &["running"], &before);
        let state = copy.says("cat /root/state");
        assert!(state == "mine" || state == "theirs", "{before}: {state:?} is neither before nor after");
        assert_eq!(copy.says("cat /etc/machine-id; cat /etc/hostname"), id, "{before}");
        if state == "theirs" {
            let all = node.json(&["snapshots", "list", &copy.id]);
            assert!(all.as_array().unwrap().iter().any(|s| s["kind"] == "safety"), "{before}: {all}");
        }
    }
    panic!("a sync never gets through");
}

fn killed_at_every_step_of_restore_files() {
    let doomed = Doomed::new("steps-files");
    let node = &doomed.node;
    let c = node.container("steps");
    c.says("echo one > /root/file; sync");
    c.cowl(&["snapshots", "create", "--alias", "one"]).ok();
    for n in 0..STEPS_MAX {
        c.says("echo two > /root/file; sync");
        let words = ["snapshots", "restore-files", &c.id, "one", "/root/file", "--overwrite", "replace"];
        let crashed = doomed.run(n, &words, || c.exec("cat /root/file").stdout.trim() == "one");
        let Some((_, before)) = crashed else {
            assert!(n > 0, "files come back without a step?");
            return;
        };
        settles(&c, &["running"], &before);
        let state = c.says("cat /root/file");
        assert!(state == "one" || state == "two", "{before}: {state:?} is neither before nor after");
    }
    panic!("restoring files never gets through");
}

/// Fifty times `kill -9`, at any moment, while containers count, commands run and requests come.
/// Nothing half-made lies in the pool, and no disk that nobody knows.
fn tidy(node: &Node, what: &str) {
    let tmp: Vec<_> = fs::read_dir(node.state_dir().join("pool/tmp")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(tmp.is_empty(), "{what}: {tmp:?}");
    let found = node.cowl(&["--json", "doctor", "--leaks"]).stdout;
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let mine: Vec<_> = found.as_array().unwrap().iter().filter(|l| l["kind"] == "subvolume").collect();
    assert!(mine.is_empty(), "{what}: {mine:?}");
}

fn killed_at_every_step_of_export() {
    let doomed = Doomed::new("steps-export");
    let node = &doomed.node;
    let c = node.container("steps");
    let file = node.dir.join("out.cowl");
    for n in 0..STEPS_MAX {
        let words = ["containers", "export", &c.id, "--no-image", "-o", file.to_str().unwrap()];
        let Some((ran, before)) = doomed.run(n, &words, || true) else {
            assert!(n > 2, "an export of {n} steps?");
            node.cowl(&["containers", "verify", file.to_str().unwrap()]).ok();
            return;
        };
        // What has its name is whole; when the last step is removing what was made for it, it is there.
        assert_eq!(file.exists(), ran.code == 0, "{before}");
        if file.exists() {
            node.cowl(&["containers", "verify", file.to_str().unwrap()]).ok();
            fs::remove_file(&file).unwrap();
        }
        tidy(node, &before);
        settles(&c, &["running"], &before);
    }
    panic!("an export never gets through");
}

fn killed_at_every_step_of_import() {
    let doomed = Doomed::new("steps-import");
    let node = &doomed.node;
    let c = node.container("steps");
    c.says("echo kept > /root/kept; sync");
    c.cowl(&["snapshots", "create", "--alias", "one"]).ok();
    let file = node.dir.join("in.cowl");
    let file = file.to_str().unwrap();
    node.cowl(&["containers", "export", &c.id, "--snapshots", "all", "--no-image", "-o", file]).ok();
    let project = node.project("steps");
    for n in 0..STEPS_MAX {
        let name = format!("moved-{n}");
        let find = || {
            let ran = node.cowl(&["--json", "containers", "list", "--project", &project]);
            let all = (ran.code == 0).then(|| ran.json())?;
            all.as_array().unwrap().iter().find(|c| c["name"] == name).cloned()
        };
        let words = ["--json", "containers", "import", file, "--project", &project, "--name", &name];
        let crashed = doomed.run(n, &words, || find().is_some_and(|c| c["status"] == "running"));
        let ended = crashed.is_none();
        let (ran, before) = crashed.map_or_else(|| (None, "done".to_owned()), |(ran, before)| (Some(ran), before));
        let gone = eventually(&format!("{before}: to be there, or not"), 60, || match find() {
            None => Some(true),
            Some(found) => (found["status"] == "running").then_some(false),
        });
        if gone {
            assert_ne!(ran.map(|ran| ran.code), Some(0), "{before}: answered, but lost");
        } else {
            let new = Container::from_json(node, &find().unwrap());
            settles(&new, &["running"], &before);
            assert_eq!(new.says("cat /root/kept"), "kept", "{before}");
            assert_eq!(node.json(&["snapshots", "list", &new.id]).as_array().unwrap().len(), 1, "{before}");
        }
        tidy(node, &before);
        if ended {
            assert!(n > 8 && !gone, "an import of {n} steps?");
            return;
        }
    }
    panic!("an import never gets through");
}

/// Fifty times `kill -9`, at any moment, while containers count, commands run and requests come.
fn killed_at_every_step_of_undo() {
    let doomed = Doomed::new("steps-undo");
    let node = &doomed.node;
    let c = node.container("steps");
    c.says("echo one > /root/state; sync");
    c.cowl(&["snapshots", "create", "--alias", "one"]).ok();
    c.says("echo two > /root/state; sync");
    c.cowl(&["snapshots", "restore", "one", "--yes"]).ok();
    for n in 0..STEPS_MAX {
        let before_undo = c.says("cat /root/state");
        let other = if before_undo == "one" { "two" } else { "one" };
        let undone =
            || state_of(node, &c.id).as_deref() == Some("running") && c.exec("cat /root/state").stdout.trim() == other;
        let crashed = doomed.run(n, &["snapshots", "undo", "--yes", &c.id], undone);
        let Some((_, before)) = crashed else {
            assert!(n > 5, "an undo of {n} steps?");
            return;
        };
        settles(&c, &["running"], &before);
        let state = c.says("cat /root/state");
        assert!(state == "one" || state == "two", "{before}: {state:?} is neither before nor after");
        // Whichever it is, the other one is an undo away.
        c.cowl(&["snapshots", "undo", "--yes"]).ok();
        assert_ne!(c.says("cat /root/state"), state, "{before}: a state is lost");
    }
    panic!("an undo never gets through");
}

/// Crashes at each step of deleting, or of taking back, a container that ran.
fn each_step_of_a_grave(name: &'static str, words: &[&str], goal: Option<&str>) {
    let doomed = Doomed::new(name);
    let node = &doomed.node;
    let c = node.container("grave");
    c.says("echo kept > /root/kept; sync");
    for n in 0..STEPS_MAX {
        let deletes = goal.is_none();
        if !deletes {
            node.cowl(&["containers", "delete", "--yes", &c.id]).ok();
        }
        let done = || node.lives() && state_of(node, &c.id).as_deref() == goal;
        let crashed = doomed.run(n, &[words, &[c.id.as_str()]].concat(), done);
        let is_deleted = || {
            let all = node.json(&["containers", "list", "--deleted"]);
            all.as_array().unwrap().iter().any(|found| found["id"] == c.id)
        };
        let before = crashed.as_ref().map_or("in the end", |(_, before)| before.as_str());
        eventually(&format!("{before}: deleted, or running"), 40, || {
            (is_deleted() || state_of(node, &c.id).as_deref() == Some("running")).then_some(())
        });
        if is_deleted() {
            assert_eq!(node.cowl(&["containers", "get", &c.id]).code, 1, "{before}");
            assert!(!node.run_dir().join(&c.id).exists(), "{before}: its run directory is left");
            assert_eq!(node.json(&["containers", "undelete", &c.id])["status"], "running", "{before}");
        }
        settles(&c, &["running"], before);
        assert_eq!(c.says("cat /root/kept"), "kept", "{before}");
        if crashed.is_none() {
            assert!(n > 3, "only {n} steps?");
            return;
        }
    }
    panic!("it never gets through");
}

fn killed_at_every_step_of_a_deletion_that_can_be_undone() {
    each_step_of_a_grave("steps-bury", &["containers", "delete", "--yes"], None);
}

fn killed_at_every_step_of_undelete() {
    each_step_of_a_grave("steps-undelete", &["containers", "undelete"], Some("running"));
}

/// Fifty times `kill -9`, at any moment, while containers count, commands run and requests come.
fn killed_again_and_again_under_load() {
    let node = Plan::new("again").start();
    let all: Vec<Container> = (0..3).map(|_| node.container("load")).collect();
    for c in &all {
        // One program of a terminal session, one of systemd's; both must never stop.
        c.says("systemd-run --unit count sh -c 'i=0; while :; do i=$((i+1)); echo $i >> /root/unit; sleep 0.1; done'");
        c.cowl(&["terminal", "sessions", "exec", "--command", "true"]).ok();
        c.says("(i=0; while :; do i=$((i+1)); echo $i >> /root/shell; sleep 0.1; done) >/dev/null 2>&1 </dev/null &");
    }
    let inits: Vec<String> = all.iter().map(|c| c.born()).collect();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for c in &all {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // They fail while the node is away; that they come is the point.
                    let _ = c.exec("echo busy");
                    let _ = c.node.cowl(&["containers", "stats", &c.id]);
                }
            });
        }
        for round in 0..50u64 {
            std::thread::sleep(Duration::from_millis(round * 7 % 150));
            assert_eq!(node.signal(Signal::SIGKILL), 137, "round {round}");
            node.launch();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for (c, init) in all.iter().zip(inits) {
        assert_eq!(c.status(), "running");
        assert_eq!(c.born(), init, "its init is another one");
        for file in ["/root/unit", "/root/shell"] {
            let numbers = || c.says(&format!("cat {file}")).lines().map(|l| l.parse().unwrap()).collect::<Vec<u32>>();
            let before = numbers();
            assert!(before.iter().zip(1..).all(|(n, want)| *n == want), "{file}: numbers are missing");
            eventually(&format!("{file} to go on"), 10, || (numbers().len() > before.len()).then_some(()));
        }
    }
}

/// Everything of the node and its containers is killed at once, and the pool is mounted anew.
fn a_power_cut_loses_nothing_that_was_answered() {
    let node = Plan::new("powercut").start();
    let (on, off) = (node.container("on"), node.container("off"));
    on.says("echo answered > /root/written && sync");
    node.cowl(&["containers", "stop", &off.id]).ok();
    on.cowl(&["snapshots", "create", "--alias", "before"]).ok();
    node.power_cut();
    node.launch();
    on.becomes("running");
    on.answers(30);
    assert_eq!(on.says("cat /root/written"), "answered");
    assert_eq!(on.booted(), "running");
    assert_eq!(off.status(), "stopped");
    let all = node.json(&["snapshots", "list", &on.id]);
    assert!(all.as_array().unwrap().iter().any(|s| s["alias"] == "before"), "{all}");
    node.cowl(&["containers", "start", &off.id]).ok();
    assert_eq!(off.says("echo up"), "up");
}
