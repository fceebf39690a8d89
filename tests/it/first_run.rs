//! `cowl up` on an empty machine, a second time, and back to nothing.

use std::time::Duration;

use crate::harness::node::has;
use crate::harness::screen::Screen;
use crate::harness::{Plan, eventually};
use crate::stories;

stories![up_makes_a_computer_and_prints_its_urls_and_everything_can_be_taken_back, up_opens_the_cockpit_on_a_terminal,];

fn up_makes_a_computer_and_prints_its_urls_and_everything_can_be_taken_back() {
    let node = Plan::new("up").prepare();
    let up = node.cowl(&["up", "--yes"]);
    let urls = up.ok();
    for word in ["-terminal-1.", "-files-1.", "-http-8080.", "https://api.box.test"] {
        assert!(urls.contains(word), "{word} is not in {up:#?}");
    }
    let hello = node.json(&["containers", "get", "default/hello"]);
    assert_eq!(hello["status"], "running", "{hello}");
    assert_eq!(node.cowl(&["shell", "hello", "--", "hostname"]).ok().trim(), "hello");
    assert!(has(&node.state_dir().join("logs"), "node.log"));

    let again = node.cowl(&["up", "--yes"]);
    assert_eq!(again.ok(), up.ok());
    assert!(again.took < Duration::from_secs(3), "a second up took {:?}", again.took);
    assert_eq!(node.json(&["containers", "list"]).as_array().unwrap().len(), 1);

    // The node is nobody's child: it outlived `up`. It ends when told to, and `up` brings all back.
    node.cowl(&["stop", "--containers"]).ok();
    eventually("the node to be gone", 20, || (node.cowl(&["status"]).code == 3).then_some(()));
    node.cowl(&["stop"]).ok();
    node.cowl(&["up", "--yes"]).ok();
    assert_eq!(node.json(&["containers", "get", "hello"])["id"], hello["id"]);
    assert_eq!(node.cowl(&["shell", "hello", "--", "hostname"]).ok().trim(), "hello");

    assert!(node.cowl(&["clean-state"]).refused(2).contains("--yes"));
    node.cowl(&["clean-state", "--yes"]).ok();
    assert!(!node.state_dir().exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(node.dir.to_str().unwrap()), "something is still mounted");
    assert_eq!(node.cowl(&["status"]).code, 3);
}

fn up_opens_the_cockpit_on_a_terminal() {
    let node = Plan::new("up-tty").prepare();
    let mut screen = Screen::open(&node, &["up"], 100, 30);
    screen.shows("hello");
    screen.shows("running");
    screen.types("q");
    assert_eq!(screen.ends(), 0);
    screen.is_restored();
    node.cowl(&["stop", "--containers"]).ok();
}
