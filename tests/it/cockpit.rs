//! The full-screen view, driven as a person would.

use std::time::Duration;

use crate::harness::run::{program, run};
use crate::harness::screen::Screen;
use crate::harness::{Plan, eventually, shared};
use crate::stories;

stories![
    the_list_shows_containers_and_q_restores_the_terminal,
    enter_opens_a_shell_and_the_leader_leaves_it,
    help_is_made_from_the_key_map,
    it_fits_any_size,
    nothing_is_written_while_nothing_happens,
    it_works_inside_tmux,
    without_a_node_it_says_what_to_do,
    a_snapshot_is_taken_and_restored_with_keys,
];

fn the_list_shows_containers_and_q_restores_the_terminal() {
    let node = shared::node();
    let c = node.container("seen");
    let mut screen = Screen::open(&node, &[], 120, 40);
    screen.shows(&c.name);
    screen.shows("running");
    screen.shows(&node.server_name());
    node.cowl(&["containers", "stop", &c.id]).ok();
    screen.shows_when("the stop", |s| s.lines().any(|l| l.contains(&c.name) && l.contains("stopped")));
    screen.types("q");
    assert_eq!(screen.ends(), 0);
    screen.is_restored();
}

fn enter_opens_a_shell_and_the_leader_leaves_it() {
    let node = Plan::new("panes").start();
    let c = node.container("pane");
    let mut screen = Screen::open(&node, &[], 100, 30);
    screen.shows(&c.name);
    // Nobody waits for a prompt before typing.
    screen.types("\recho early$((1+1))\r");
    screen.shows("early2");
    screen.types("echo pane$((40+2))\r");
    screen.shows("pane42");
    // q is the program's in there.
    screen.types("echo q$((1+1))q\r");
    screen.shows("q2q");
    // Leader (F12), then d: the list again; Enter finds the shell as it was.
    screen.types("\x1b[24~d");
    screen.shows_when("the list", |s| s.contains(&c.name) && !s.contains("pane42"));
    screen.types("\r");
    screen.shows("pane42");
    screen.types("\x1b[24~d");
    screen.shows_when("the list", |s| !s.contains("pane42"));
    screen.types("q");
    assert_eq!(screen.ends(), 0);
    screen.is_restored();
}

fn help_is_made_from_the_key_map() {
    let node = shared::node();
    let config = node.dir.join("config/cowl");
    std::fs::create_dir_all(&config).unwrap();
    let mut screen = Screen::open(&node, &[], 100, 40);
    screen.shows(&node.server_name());
    screen.types("?");
    // The hints below the list hold few of these words.
    screen.shows("list of containers");
    screen.shows_when("help", |s| s.contains("take a snapshot") && s.contains("go back to a snapshot"));
    screen.types("\x1b");
    screen.shows_when("the list again", |s| !s.contains("list of containers"));
    screen.types("q");
    assert_eq!(screen.ends(), 0);
}

/// Filters the list down to one container.
fn only(screen: &mut Screen, name: &str) {
    screen.shows("NAME");
    screen.types(&format!("/{name}"));
    screen.shows(&format!("/ {name}"));
    screen.types("\r");
    screen.shows_when("the filtered list", |s| s.contains(name) && !s.contains(&format!("/ {name}")));
}

fn it_fits_any_size() {
    let node = shared::node();
    let c = node.container("size");
    for (columns, rows) in [(200, 50), (80, 24), (40, 15)] {
        let mut screen = Screen::open(&node, &[], columns, rows);
        screen.shows(&node.server_name());
        // Others make containers, too; a small screen shows only some.
        only(&mut screen, &c.name);
        screen.types("q");
        assert_eq!(screen.ends(), 0);
        screen.is_restored();
    }
    let mut screen = Screen::open(&node, &[], 100, 30);
    only(&mut screen, &c.name);
    screen.resize(30, 8);
    screen.shows_when("that it is too small", |s| !s.contains(&c.name));
    screen.resize(80, 24);
    screen.shows(&c.name);
    screen.types("q");
    assert_eq!(screen.ends(), 0);
}

fn nothing_is_written_while_nothing_happens() {
    // A node of its own without containers: nothing there has figures that move.
    let node = Plan::new("idle").start();
    let mut screen = Screen::open(&node, &[], 80, 24);
    screen.shows(&node.server_name());
    std::thread::sleep(Duration::from_secs(2));
    let before = screen.written();
    std::thread::sleep(Duration::from_secs(3));
    let wrote = screen.written() - before;
    // The load of the box may move; one small frame a second at most.
    assert!(wrote <= 3 * 1400, "{wrote} bytes in 3 idle seconds");
    screen.types("q");
    assert_eq!(screen.ends(), 0);
}

fn it_works_inside_tmux() {
    let node = shared::node();
    let c = node.container("tmux");
    let socket = node.dir.join("tmux.sock");
    let tmux = |words: &[&str]| run(program("tmux").arg("-S").arg(&socket).args(words));
    let shell = format!(
        "COWL_RUN_DIR={} COWL_STATE_DIR={} {}; echo left with $?; sleep 60",
        node.run_dir().display(),
        node.state_dir().display(),
        crate::harness::cowl()
    );
    tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", &shell]).ok();
    let screen = || tmux(&["capture-pane", "-p"]).stdout;
    eventually("the list in tmux", 20, || screen().contains(&c.name).then_some(()));
    tmux(&["send-keys", "q"]).ok();
    eventually("the end in tmux", 20, || screen().contains("left with 0").then_some(()));
    tmux(&["kill-server"]).ok();
}

fn without_a_node_it_says_what_to_do() {
    let node = Plan::new("no-node").without_image().prepare();
    let mut screen = Screen::open(&node, &[], 80, 24);
    assert_eq!(screen.ends(), 3);
    screen.shows("cowl up");
    screen.is_restored();
}

fn a_snapshot_is_taken_and_restored_with_keys() {
    let node = Plan::new("keys").start();
    let c = node.container("river");
    c.says("echo one > /root/state");
    let mut screen = Screen::open(&node, &[], 120, 40);
    screen.shows(&c.name);
    let count = || node.json(&["snapshots", "list", &c.id]).as_array().unwrap().len();
    screen.types("s");
    // It may ask for a name; Enter takes what is offered.
    eventually("the snapshot", 20, || {
        if count() == 0 {
            screen.types("\r");
            std::thread::sleep(Duration::from_millis(500));
        }
        (count() == 1).then_some(())
    });
    c.says("echo two > /root/state; sync");
    screen.types("r");
    std::thread::sleep(Duration::from_millis(700));
    screen.types("r");
    std::thread::sleep(Duration::from_millis(700));
    screen.types("y");
    eventually("the restore", 40, || {
        let ran = c.exec("cat /root/state");
        (ran.stdout.trim() == "one").then_some(())
    });
    screen.types("\x1bq");
}
