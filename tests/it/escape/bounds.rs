//! Floods on the ways that lead outside. Each ends, and costs the one who makes it; what a neighbour
//! feels meanwhile is measured and printed, not judged.

use std::fs;
use std::time::{Duration, Instant};

use super::{arm, built};
use crate::harness::{Container, eventually, shared};
use crate::stories;

stories![
    a_flood_of_the_console_is_kept_short,
    a_flood_of_the_notify_socket_is_not_believed,
    a_pid_1_that_talks_without_end_is_not_listened_to,
    a_machine_that_reboots_without_end_is_given_up,
    a_flood_of_logs_stays_inside,
    a_kit_that_answers_without_end_harms_only_itself,
];

/// Round trips of commands in a neighbour while something goes on, in milliseconds, printed as
/// median, 99th percentile and longest.
pub(super) fn felt_by(neighbour: &Container<'_>, what: &str, length: Duration) {
    let end = Instant::now() + length;
    let mut took = Vec::new();
    while Instant::now() < end || took.len() < 20 {
        let ran = neighbour.exec("echo echo");
        assert_eq!(ran.stdout.trim(), "echo", "{what}: {ran:#?}");
        took.push(ran.took.as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize];
    eprintln!(
        "{what}: a neighbour's command took {:.0} ms (p50), {:.0} (p99), {:.0} (most) of {}",
        at(0.5),
        at(0.99),
        at(1.0),
        took.len()
    );
}

/// CPU time of a process in clock ticks (10 ms), and its resident memory in pages.
fn cost(pid: u32) -> (u64, u64) {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let stat = read("stat");
    let fields: Vec<u64> = stat.rsplit_once(") ").unwrap().1.split(' ').map(|f| f.parse().unwrap_or(0)).collect();
    (fields[11] + fields[12], read("statm").split(' ').nth(1).unwrap().parse().unwrap())
}

/// Runs something inside in the background for a while and tells what it cost its shim.
fn flood(c: &Container<'_>, neighbour: &Container<'_>, what: &str, command: &str) {
    let shim = c.shim();
    let (before, _) = cost(shim);
    c.exec(&format!("setsid sh -c '{command}' >/dev/null 2>&1 </dev/null &"));
    felt_by(neighbour, what, Duration::from_secs(5));
    let (after, pages) = cost(shim);
    eprintln!("{what}: the shim used {} ms of CPU, {} KiB", (after - before) * 10, pages * 4);
    assert!(pages * 4 < 64 * 1024, "{what}: the shim grew to {} KiB", pages * 4);
    c.answers(60);
}

fn a_flood_of_the_console_is_kept_short() {
    let node = shared::node();
    let (c, neighbour) = (node.container("loud"), node.container("near"));
    c.booted();
    flood(
        &c,
        &neighbour,
        "console flood",
        "for i in 1 2 3; do timeout 5 yes $(printf %0999d 7) > /dev/console & done; wait",
    );
    // Also with nobody at the other end for a while.
    c.exec("kill -9 $(pidof cowl-kit)");
    c.answers(30);
}

fn a_flood_of_the_notify_socket_is_not_believed() {
    let node = shared::node();
    let (c, neighbour) = (node.container("notes"), node.container("near"));
    arm(&c);
    c.booted();
    flood(&c, &neighbour, "notify flood", "/root/probe notify 5");
    assert_eq!(c.status(), "running");
}

/// Makes the probe PID 1 of a container's next start.
fn turn(c: &Container<'_>, into: &str) {
    c.cowl(&["files", "put", built(c.node).to_str().unwrap(), "/root/probe"]).ok();
    c.says(&format!("chmod 755 /root/probe; cp /root/probe /usr/local/evil; ln -sf /usr/local/evil /sbin/init; echo {into} > /etc/evil"));
}

fn a_pid_1_that_talks_without_end_is_not_listened_to() {
    let node = shared::node();
    let (c, neighbour) = (node.container("talker"), node.container("near"));
    turn(&c, "talk");
    node.cowl(&["containers", "restart", &c.id]).ok();
    let shim = c.shim();
    let (before, _) = cost(shim);
    felt_by(&neighbour, "PID 1 that talks", Duration::from_secs(5));
    let (after, pages) = cost(shim);
    eprintln!("PID 1 that talks: the shim used {} ms of CPU, {} KiB", (after - before) * 10, pages * 4);
    assert!(pages * 4 < 64 * 1024);
    // It does not halt when asked and is killed in the end.
    node.cowl(&["containers", "stop", "--force", &c.id]).ok();
    assert_eq!(c.status(), "stopped");
}

fn a_machine_that_reboots_without_end_is_given_up() {
    let node = shared::node();
    let (c, neighbour) = (node.container("dizzy"), node.container("near"));
    turn(&c, "reboot");
    node.cowl(&["containers", "restart", &c.id]);
    felt_by(&neighbour, "reboots without end", Duration::from_secs(2));
    eventually("it to be given up", 60, || (c.status() == "failed").then_some(()));
    assert_eq!(neighbour.says("echo calm"), "calm");
}

fn a_flood_of_logs_stays_inside() {
    let node = shared::node();
    let (c, neighbour) = (node.container("log"), node.container("near"));
    let size = || {
        let logs = [node.dir.join("node.log"), node.run_dir().join(&c.id).join("shim.log")];
        logs.iter().map(|l| fs::metadata(l).map_or(0, |m| m.len())).sum::<u64>()
    };
    let before = size();
    flood(
        &c,
        &neighbour,
        "log flood",
        "timeout 5 sh -c \"yes | logger\" & timeout 5 sh -c \"yes kernel > /dev/kmsg\" & wait",
    );
    // Also by way of the proxy: heads, paths and names that make a log line each.
    for i in 0..50 {
        c.curl("terminal-1", &format!("/api/v1/%1b[2J{i}{}", "x".repeat(2_000)), &["--globoff"]);
    }
    let grown = size() - before;
    assert!(grown < 1 << 20, "the host's logs grew by {grown} bytes");
}

fn a_kit_that_answers_without_end_harms_only_itself() {
    let node = shared::node();
    let (c, neighbour) = (node.container("liar"), node.container("near"));
    // Any port inside is a URL; this one answers with a head that never ends, then with garbage.
    c.exec(
        "perl -MSocket -e 'socket(S,2,1,0); setsockopt(S,1,2,1); bind(S,sockaddr_in(8080,INADDR_ANY)); listen(S,99); \
         while (accept(C,S)) { if (!fork) { $SIG{PIPE}=\"EXIT\"; syswrite C,\"HTTP/1.1 200 OK\\r\\n\"; \
         while (syswrite C,\"X-A: \".(\"a\"x9999).\"\\r\\n\") {} exit } close C }' >/dev/null 2>&1 </dev/null &",
    );
    eventually("the liar to listen", 20, || (c.exec("grep -q ':1F90 ' /proc/net/tcp").code == 0).then_some(()));
    let end = Instant::now() + Duration::from_secs(3);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < end {
                let reply = c.curl("http-8080", "/", &[]);
                assert!((500..600).contains(&reply.status), "{reply:#?}");
            }
        });
        felt_by(&neighbour, "heads without end", Duration::from_secs(3));
    });
}
