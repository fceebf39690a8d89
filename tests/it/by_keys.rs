//! What is done to containers with keys alone, and what the API says of it.

use nix::sys::signal::Signal;

use crate::harness::screen::Screen;
use crate::harness::{Container, Plan, eventually};
use crate::stories;

stories![
    a_container_is_made_stopped_started_restarted_and_deleted_by_keys,
    what_is_marked_is_what_is_deleted,
    a_pane_shows_every_line_across_the_death_of_the_node,
];

fn row(screen: &str, name: &str, state: &str) -> bool {
    screen.lines().any(|l| l.contains(name) && l.contains(state))
}

fn a_container_is_made_stopped_started_restarted_and_deleted_by_keys() {
    let node = Plan::new("by-keys").start();
    let list = || node.json(&["containers", "list"]);
    let mut screen = Screen::open(&node, &[], 80, 24);
    screen.shows("no containers here yet: n makes the first computer");
    // A box without a project is asked for one first.
    screen.types("n");
    screen.shows("new project, name:");
    screen.types("demo\r");
    screen.shows("project demo is made");
    assert_eq!(node.json(&["projects", "list"])[0]["alias"], "demo");

    screen.types("n");
    screen.shows("new container");
    screen.types("ab");
    screen.shows("name must be 3 to 100 characters long");
    screen.types(" c");
    screen.shows("name may hold letters, digits, '-' and '_'");
    // Enter does not take it: the form is still there for the next keys.
    screen.types("\r\x15web-1");
    screen.shows("its host name will be web-1");
    assert_eq!(list(), serde_json::json!([]));
    screen.types("\r");
    screen.shows_when("web-1 running", |s| row(s, "web-1", "running") && s.contains("web-1 is running"));
    let made = list();
    assert_eq!(made.as_array().unwrap().len(), 1, "{made}");
    assert_eq!((&made[0]["name"], &made[0]["status"]), (&"web-1".into(), &"running".into()), "{made}");
    let c = Container::from_json(&node, &made[0]);
    eventually("its terminal", 30, || (c.exec("touch /run/first").code == 0).then_some(()));

    screen.types("nweb-1");
    screen.shows("name is taken in this project");
    screen.types("\x1b");
    screen.shows_when("the list again", |s| !s.contains("new container"));

    screen.types("xt");
    screen.shows_when("the stop", |s| row(s, "web-1", "stopped"));
    assert_eq!(c.status(), "stopped");
    screen.types("xs");
    screen.shows_when("the start", |s| row(s, "web-1", "running") && s.contains("web-1 is running"));
    assert_eq!(c.status(), "running");
    let fresh = |c: &Container<'_>| {
        let ran = c.exec("test -e /run/first && echo before || echo fresh");
        ran.stdout.trim() == "fresh"
    };
    eventually("a fresh boot", 30, || fresh(&c).then_some(()));
    c.says("touch /run/first");
    screen.types("xr");
    eventually("a fresh boot after the restart", 30, || fresh(&c).then_some(()));
    screen.shows_when("the restart", |s| row(s, "web-1", "running") && s.contains("web-1 is running"));
    assert_eq!(c.status(), "running");

    // Neither Enter alone nor another word deletes; the name does.
    screen.types("xd");
    screen.shows("delete web-1 and its snapshots? Type its name:");
    screen.types("\rweb\r-2\r");
    screen.shows("that is not web-1");
    assert_eq!(c.status(), "running");
    screen.types("\x7f1");
    screen.shows_when("the right name", |s| s.contains("Type its name: web-1") && !s.contains("that is not"));
    screen.types("\r");
    screen.shows("no containers here yet");
    assert_eq!(list(), serde_json::json!([]));
    // Lists leave out what is being deleted; its disk takes a moment longer.
    let gone = eventually("its end", 30, || Some(node.cowl(&["containers", "get", &c.id])).filter(|ran| ran.code != 0));
    assert!(gone.refused(1).contains("not found"), "{gone:#?}");
    screen.types("q");
    assert_eq!(screen.ends(), 0);
    screen.is_restored();
}

fn what_is_marked_is_what_is_deleted() {
    let node = Plan::new("marked").start();
    let (first, second) = (node.container("aaa"), node.container("bbb"));
    let mut screen = Screen::open(&node, &[], 80, 24);
    screen.shows_when("both", |s| row(s, &first.name, "running") && row(s, &second.name, "running"));
    // Marking moves on to the next row; the question is about the marked one all the same.
    screen.types(" ");
    screen.shows("1 marked");
    screen.types("xd");
    screen.shows(&format!("delete {} and its snapshots?", first.name));
    screen.types(&format!("{}\r", first.name));
    screen.shows_when("only the other", |s| !row(s, &first.name, "running") && row(s, &second.name, "running"));
    let left = node.json(&["containers", "list"]);
    let left: Vec<&str> = left.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(left, [second.name.as_str()]);
    screen.types("q");
    assert_eq!(screen.ends(), 0);
}

/// The numbers a loop printed as `line N`, in the order they stand in a text.
fn numbers(text: &str) -> Vec<u32> {
    // Readline ends its own line with a control sequence and a return.
    let lines = text.lines().filter_map(|l| l.trim_end().rsplit('\r').next());
    lines.filter_map(|l| l.strip_prefix("line ")?.parse().ok()).collect()
}

/// Panics unless these are the numbers from 1 to `last`, each once and in order.
#[track_caller]
fn complete(numbers: &[u32], last: u32, place: &str) {
    assert_eq!(numbers.len(), last as usize, "so many lines in {place}");
    let wrong = numbers.iter().zip(1..).find(|(n, want)| *n != want);
    assert_eq!(wrong, None, "a line is lost, doubled or out of order in {place}");
}

/// All a pane remembers, read as a person would: scrolled up to the top, then down page by page.
fn scrollback(screen: &mut Screen) -> String {
    let back = |s: &str| -> Option<usize> {
        let first = s.lines().next()?;
        first.trim_end().strip_suffix(" lines back")?.rsplit(' ').next()?.parse().ok()
    };
    screen.types("\x1b[24~[g");
    screen.shows_when("the top", |s| s.contains("seq 400") && back(s).is_some());
    // Lines by how far above the live screen they are.
    let mut lines = std::collections::BTreeMap::new();
    let mut above = usize::MAX;
    loop {
        screen.shows_when("the next page", |s| back(s).unwrap_or(0) < above);
        let text = screen.text();
        above = back(&text).unwrap_or(0);
        for (row, line) in text.lines().take(screen.rows() - 1).enumerate() {
            // The mark at the end of the first row is not the pane's.
            let line = line.split("   ").next().unwrap_or_default().to_owned();
            let at = i64::try_from(row).unwrap() - i64::try_from(above).unwrap();
            let before = lines.insert(at, line.clone());
            assert!(before.as_ref().is_none_or(|b| *b == line), "{before:?} has become {line:?}");
        }
        if above == 0 {
            break;
        }
        screen.types("\x1b[6~");
    }
    screen.types("q");
    lines.into_values().collect::<Vec<_>>().join("\n")
}

fn a_pane_shows_every_line_across_the_death_of_the_node() {
    let node = Plan::new("numbers").start();
    let c = node.container("counts");
    let mut screen = Screen::open(&node, &[], 90, 30);
    screen.shows_when("the container", |s| row(s, &c.name, "running"));
    screen.types("\r");
    screen.shows("#");
    screen.types("for i in $(seq 400); do echo line $i; sleep 0.02; done; echo said $((399+1))\r");
    screen.shows("line 40");
    assert_eq!(node.signal(Signal::SIGKILL), 137);
    screen.shows("not attached");
    screen.shows("reconnecting");
    let at_death = *numbers(&screen.text()).last().unwrap();
    node.launch();
    // By itself, without a key: the same pane goes on.
    screen.shows_when("more numbers", |s| numbers(s).last().is_some_and(|n| *n > at_death + 20));
    screen.shows("said 400");

    complete(&numbers(&scrollback(&mut screen)), 400, "the pane");
    let raw = c.curl("terminal-1", "/api/v1/terminal/raw?terminal_id=1", &[]);
    assert_eq!(raw.status, 200, "{raw:#?}");
    complete(&numbers(&raw.body), 400, "the session");
    // Keys reach the shell again, too.
    screen.types("echo back$((40+2))\r");
    screen.shows("back42");
    screen.types("\x1b[24~d");
    screen.shows_when("the list", |s| row(s, &c.name, "running"));
    screen.types("q");
    assert_eq!(screen.ends(), 0);
    screen.is_restored();
}
