//! How the cockpit ends, and the terminal it gives back.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::run::{program, run};
use crate::harness::screen::Screen;
use crate::harness::{Node, Plan, cowl, eventually, shared};
use crate::stories;

stories![
    signals_restore_the_terminal,
    a_panic_restores_the_terminal_and_is_told,
    a_terminal_that_goes_away_ends_the_cockpit,
    without_permission_the_cockpit_says_so_and_exits_with_4,
];

/// Opens the cockpit with the mouse captured, too, on the list or in a terminal of `container`.
fn opened(node: &Node, container: Option<&str>, more: &[(&str, &str)]) -> Screen {
    let mut screen = Screen::run(node, &[cowl()], more, 100, 30);
    screen.shows("NAME");
    screen.types("m");
    screen.shows("the mouse is captured");
    screen.is_held();
    assert_eq!(screen.modes().get(&1002), Some(&true), "the mouse is not captured");
    if let Some(name) = container {
        screen.types(&format!("/{name}\r"));
        screen.shows_when("the filtered list", |s| s.contains(&format!("filter {name}")));
        screen.types("\r");
        screen.shows("#");
        // A program that changes the cursor and wants every motion of the mouse.
        screen.types("printf '\\033[4 q\\033[?1003h\\033[?1006h'; echo wild$((40+2))\r");
        screen.shows("wild42");
    }
    screen
}

fn signals_restore_the_terminal() {
    let node = shared::node();
    let c = node.container("signal");
    for container in [None, Some(c.name.as_str())] {
        for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
            let mut screen = opened(&node, container, &[]);
            screen.signal(signal);
            assert_eq!(screen.ends(), 0, "{signal}");
            screen.is_restored();
        }
    }
}

/// The panic is one that debug builds have for this story: while drawing, and in a background task.
fn a_panic_restores_the_terminal_and_is_told() {
    let node = shared::node();
    let _c = node.container("panic");
    for (place, key) in [("draw", "?"), ("task", "S")] {
        let mut screen = opened(&node, None, &[("COWL_TEST_PANIC", place), ("RUST_BACKTRACE", "0")]);
        screen.types(key);
        if !cfg!(debug_assertions) {
            // Other builds know nothing of it.
            screen.shows(if place == "draw" { "list of containers" } else { "snapshots" });
            continue;
        }
        assert_eq!(screen.ends(), 101, "{place}");
        screen.is_restored();
        let told = screen.text();
        assert!(told.contains("panicked") && told.contains(&format!("COWL_TEST_PANIC={place}")), "{told}");
    }
}

fn a_terminal_that_goes_away_ends_the_cockpit() {
    let node = shared::node();
    let c = node.container("hangup");
    let socket = node.dir.join("hangup.sock");
    let tmux = |words: &[&str]| run(program("tmux").arg("-S").arg(&socket).args(words));
    let shell = format!("COWL_RUN_DIR={} exec {}", node.run_dir().display(), cowl());
    tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", &shell]).ok();
    eventually("the list", 20, || tmux(&["capture-pane", "-p"]).stdout.contains(&c.name).then_some(()));
    let pid = tmux(&["display-message", "-p", "#{pane_pid}"]).ok().trim().to_owned();
    let process = Path::new("/proc").join(pid);
    let name = std::fs::read_to_string(process.join("comm")).expect("the cockpit runs");
    assert_eq!(name.trim(), "cowl");
    tmux(&["kill-server"]).ok();
    eventually("the cockpit to end", 20, || (!process.exists()).then_some(()));
}

fn without_permission_the_cockpit_says_so_and_exits_with_4() {
    let node = shared::node();
    // The program itself may lie where nobody can reach it.
    let copy = node.dir.join("cowl-for-nobody-on-a-terminal");
    run(program("cp").arg(cowl()).arg(&copy)).ok();
    let copy = copy.to_str().unwrap();
    let nobody = |node: &Node, words: &[&str]| {
        let words = [&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy], words].concat();
        Screen::run(node, &words, &[], 100, 24)
    };
    for words in [&[][..], &["up"], &["status"], &["containers", "list"], &["shell", "x"]] {
        let mut screen = nobody(&node, words);
        assert_eq!(screen.ends(), 4, "{words:?}: {}", screen.text());
        let told = screen.text().replace('\n', "");
        assert!(told.contains("use sudo or join group cowl"), "{words:?}: {told}");
        assert!(!screen.modes().contains_key(&1049), "{words:?}: the alternate screen was entered");
        screen.is_restored();
    }
    // What only root may do says so, too, with and without a node.
    let empty = Plan::new("not-root").without_image().prepare();
    for (node, words) in [
        (&*node, &["token"][..]),
        (&*node, &["ca", "path"]),
        (&*node, &["clean-state", "--yes"]),
        (&empty, &["node"]),
        (&empty, &["up"]),
    ] {
        let mut screen = nobody(node, words);
        assert_eq!(screen.ends(), 4, "{words:?}: {}", screen.text());
        assert!(screen.text().contains("sudo"), "{words:?}: {}", screen.text());
        screen.is_restored();
    }
    assert_eq!(node.cowl(&["status"]).code, 0, "the node was hurt");
}
