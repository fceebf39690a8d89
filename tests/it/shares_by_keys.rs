//! Shares made, accepted, changed and taken away with keys alone.

use crate::harness::screen::Screen;
use crate::harness::{Container, Plan, eventually};
use crate::stories;

stories![a_directory_is_shared_accepted_made_writable_and_taken_away_by_keys];

fn row(screen: &str, words: [&str; 2]) -> bool {
    screen.lines().any(|l| words.iter().all(|word| l.contains(word)))
}

fn sees(c: &Container, path: &str) -> bool {
    c.exec(&format!("test -e /hoody/shares/{path}")).code == 0
}

fn a_directory_is_shared_accepted_made_writable_and_taken_away_by_keys() {
    let node = Plan::new("shares-keys").start();
    let (a, b) = (node.container("aaa"), node.container("bbb"));
    a.says("mkdir -p /srv/data && echo hello > /srv/data/file");
    let mut screen = Screen::open(&node, &[], 100, 30);
    screen.shows_when("both", |s| row(s, [&a.name, "running"]) && row(s, [&b.name, "running"]));
    screen.types("h");
    screen.shows("nothing is shared with or by");
    screen.types("n");
    screen.shows("share a directory of");
    screen.types("/proc");
    screen.shows("/proc cannot be shared");
    screen.types("\x15/srv/data");
    screen.shows("will see it at /hoody/shares/ID once it accepts");
    screen.types("\t\t\tlent-data\tsoon");
    screen.shows("must be a time like");
    screen.types("\x152d\r");
    screen.shows_when("the share", |s| row(s, ["→ bbb", "active"]) && row(s, ["/srv/data", "read-only"]));
    assert!(!sees(&b, "lent-data"), "nobody asked the target yet");
    let made = node.json(&["storage", "list-all"]);
    assert_eq!((&made[0]["alias"], made[0]["expires_at"].is_u64()), (&"lent-data".into(), true), "{made}");

    screen.types("\x1b");
    screen.shows_when("the list", |s| row(s, [&b.name, "running"]));
    screen.types("j");
    // The detail of the other one tells what it is offered.
    screen.shows_when("the offer", |s| row(s, ["← aaa", "offered"]));
    screen.types("h");
    screen.shows_when("its shares", |s| s.contains("0 out, 1 in"));
    screen.types("a");
    screen.shows_when("the acceptance", |s| row(s, ["← aaa", "accepted"]));
    assert_eq!(b.says("cat /hoody/shares/lent-data/file"), "hello");
    assert_ne!(b.exec("touch /hoody/shares/lent-data/x").code, 0);

    screen.types("\x1b");
    screen.shows_when("the list", |s| row(s, [&b.name, "running"]));
    screen.types("kh");
    screen.shows("1 out, 0 in");
    screen.types("w");
    screen.shows_when("the other mode", |s| row(s, ["→ bbb", "read-write"]));
    b.says("touch /hoody/shares/lent-data/written");
    assert_eq!(a.says("ls /srv/data"), "file\nwritten");

    screen.types("xd");
    screen.shows("Type its name:");
    screen.types("\rlent\r");
    assert!(sees(&b, "lent-data/file"));
    screen.types("-data\r");
    screen.shows("nothing is shared with or by");
    eventually("the end of the share", 20, || (!sees(&b, "lent-data")).then_some(()));
    screen.types("q");
    assert_eq!(screen.ends(), 0);
    screen.is_restored();
}
