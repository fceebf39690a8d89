//! Sleep: containers that nobody uses cost disk only, and wake before anybody notices.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::node::DOMAIN;
use crate::harness::screen::Screen;
use crate::harness::web::Web;
use crate::harness::{Container, Plan, eventually, shared};
use crate::life::is_frozen;
use crate::proxy::server;
use crate::stories;

stories![
    a_sleeper_wakes_by_a_request_and_answers_as_before,
    many_requests_at_once_wake_it_once,
    a_shell_wakes_it,
    frozen_sleep_keeps_processes_and_memory,
    an_idle_container_falls_asleep_and_a_used_one_does_not,
    a_timer_and_a_crontab_wake_it,
    sleepers_outlive_the_node_and_wake_afterwards,
    a_node_killed_in_the_middle_of_falling_asleep_finishes_or_undoes_it,
    asleep_is_awake_from_outside_and_foreign_names_wake_nobody,
];

/// Sets how a container sleeps.
#[track_caller]
fn sleeps(c: &Container<'_>, how: &str) {
    let how: Value = serde_json::from_str(how).unwrap();
    c.change(&json!({ "settings": { "sleep": how } }));
}

#[track_caller]
fn put_to_sleep(c: &Container<'_>) {
    assert_eq!(c.node.json(&["containers", "sleep", &c.id])["status"], "asleep");
}

/// The status logs, newest first: each as `to by`.
#[track_caller]
fn moves(c: &Container<'_>) -> Vec<String> {
    let logs = c.node.json(&["containers", "logs", &c.id]);
    let word = |log: &Value, key: &str| log[key].as_str().unwrap_or_default().to_owned();
    logs.as_array().unwrap().iter().map(|l| format!("{} {}", word(l, "to_status"), word(l, "triggered_by"))).collect()
}

/// Installs a web server as a service that starts with the machine.
fn web(c: &Container<'_>) {
    let program = server(8080, "as ever");
    let file = c.node.dir.join(format!("web-{}", c.id));
    std::fs::write(&file, format!("#!/bin/sh\nexec {program}\n")).unwrap();
    c.cowl(&["files", "put", file.to_str().unwrap(), "/usr/local/bin/web"]).ok();
    let unit = "[Service]\\nExecStart=/bin/sh /usr/local/bin/web\\n[Install]\\nWantedBy=multi-user.target\\n";
    c.says(&format!(
        "printf '{unit}' > /etc/systemd/system/web.service && systemctl daemon-reload && systemctl enable --now web"
    ));
    eventually("the server inside", 30, || (c.curl("http-8080", "/", &[]).status == 200).then_some(()));
}

fn a_sleeper_wakes_by_a_request_and_answers_as_before() {
    let node = shared::node();
    let c = node.container("web");
    c.booted();
    web(&c);
    let ask = || {
        let reply = c.curl("http-8080", "/path?q", &["-H", "X-Mine: 1"]);
        assert_eq!(reply.status, 200, "{reply:#?}");
        reply.body.lines().filter(|l| !l.to_lowercase().contains("port")).collect::<Vec<_>>().join("\n")
    };
    let before = ask();
    put_to_sleep(&c);
    assert!(!node.run_dir().join(&c.id).exists(), "its shim runs on");
    assert_eq!(c.now()["address"], Value::Null);
    assert_eq!(ask(), before);
    assert_eq!(moves(&c)[..2], ["running request", "asleep api"]);
    // What was stopped is not woken.
    node.cowl(&["containers", "sleep", &c.id]).ok();
    assert_eq!(node.json(&["containers", "stop", &c.id])["status"], "stopped");
    assert_eq!(c.curl("http-8080", "/", &[]).status, 503);
    assert!(node.cowl(&["containers", "sleep", &c.id]).refused(1).contains("stopped"));
    assert_eq!(node.json(&["containers", "wake", &c.id])["status"], "running");
}

fn many_requests_at_once_wake_it_once() {
    let node = shared::node();
    let c = node.container("crowd");
    put_to_sleep(&c);
    let web = Web::new(&node);
    let host = c.host("terminal-1");
    std::thread::scope(|scope| {
        let asks: Vec<_> =
            (0..20).map(|_| scope.spawn(|| web.ask(&host, "/api/v1/terminal/sessions", &[]).status)).collect();
        for ask in asks {
            assert_eq!(ask.join().unwrap(), 200);
        }
    });
    assert_eq!(moves(&c)[..2], ["running request", "asleep api"]);
}

fn a_shell_wakes_it() {
    let node = shared::node();
    let c = node.container("shell");
    c.says("echo kept > /root/kept");
    put_to_sleep(&c);
    let mut screen = Screen::open(&node, &["shell", &c.id], 80, 24);
    screen.shows("root@");
    screen.types("echo was $(cat /root/kept)\r");
    screen.shows("was kept");
    // One that is put to sleep all the same leaves the terminal as it was.
    put_to_sleep(&c);
    screen.ends();
    assert_eq!(c.status(), "asleep", "a shell that was cut off woke it");
    assert_eq!(c.says("cat /root/kept"), "kept");
}

fn frozen_sleep_keeps_processes_and_memory() {
    let node = shared::node();
    let c = node.container("frozen");
    sleeps(&c, r#"{"mode":"freeze"}"#);
    c.booted();
    c.says("echo kept > /run/kept; setsid sleep 54321 >/dev/null 2>&1 </dev/null &");
    let born = "cat /run/kept; pgrep -f 'sleep 5432[1]'; awk '{print $22}' /proc/1/stat";
    let before = c.says(born);
    put_to_sleep(&c);
    assert!(is_frozen(&c));
    let shell = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..5).map(|_| scope.spawn(|| c.says(born))).collect();
        asks.into_iter().map(|a| a.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(shell.iter().all(|said| *said == before), "{before:?} {shell:?}");
    assert!(!is_frozen(&c));
    assert_eq!(moves(&c)[..2], ["running request", "asleep api"]);
    // Restarting one that is frozen is a boot.
    put_to_sleep(&c);
    assert_eq!(node.json(&["containers", "restart", &c.id])["status"], "running");
    assert_ne!(c.exec("cat /run/kept").code, 0);
}

/// Looks at it for so many seconds, in which it must not fall asleep.
#[track_caller]
fn stays_awake(c: &Container<'_>, seconds: u64, why: &str) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        assert_eq!(c.status(), "running", "{why}: {:?}", moves(c));
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn an_idle_container_falls_asleep_and_a_used_one_does_not() {
    let node = shared::node();
    let c = node.container("idle");
    c.booted();
    // A machine that was booted moments ago is not quiet yet, and less so on a busy host.
    sleeps(&c, r#"{"after":5,"cpu":10}"#);
    c.becomes("asleep");
    assert_eq!(moves(&c)[0], "asleep sleep");

    let screen = Screen::open(&node, &["shell", &c.id], 80, 24);
    screen.shows("root@");
    stays_awake(&c, 12, "a terminal is attached");
    drop(screen);
    c.becomes("asleep");

    let mut slow = node.command(&["shell", &c.id, "--", "sleep 14; echo slept"]);
    let slow = slow.stdout(Stdio::piped()).spawn().unwrap();
    c.becomes("running");
    stays_awake(&c, 11, "a request is under way");
    assert_eq!(slow.wait_with_output().unwrap().stdout, b"slept\n");
    c.becomes("asleep");

    c.says("setsid timeout 60 sh -c 'while :; do :; done' >/dev/null 2>&1 </dev/null &");
    stays_awake(&c, 12, "its CPU is busy");
    c.says("pkill timeout");
    c.becomes("asleep");
    assert_eq!(moves(&c)[0], "asleep sleep");
    // Taking the setting back keeps it awake.
    sleeps(&c, "null");
    c.says("true");
    stays_awake(&c, 8, "it never sleeps");
}

fn a_timer_and_a_crontab_wake_it() {
    let node = shared::node();
    let (timer, tab) = (node.container("timer"), node.container("tab"));
    timer.booted();
    timer.says(
        "cd /etc/systemd/system && printf '[Service]\\nExecStart=/bin/sh -c \"date +%%s >> /root/ran\"\\n' > job.service && \
         printf '[Timer]\\nOnCalendar=minutely\\nAccuracySec=1s\\n[Install]\\nWantedBy=timers.target\\n' > job.timer && \
         systemctl daemon-reload && systemctl enable --now job.timer",
    );
    tab.says("mkdir -p /var/spool/cron/crontabs && echo '* * * * * true' > /var/spool/cron/crontabs/root");
    put_to_sleep(&timer);
    put_to_sleep(&tab);
    let ran = || timer.exec("cat /root/ran").stdout.lines().count();
    for c in [&timer, &tab] {
        eventually("an entry to wake it", 90, || (c.status() == "running").then_some(()));
        assert_eq!(moves(c)[0], "running cron");
    }
    let before = ran();
    eventually("its job to run", 90, || (ran() > before).then_some(()));
}

fn sleepers_outlive_the_node_and_wake_afterwards() {
    let node = Plan::new("sleepers").start();
    let (halted, frozen) = (node.container("halted"), node.container("frozen"));
    sleeps(&frozen, r#"{"mode":"freeze"}"#);
    frozen.says("echo kept > /run/kept");
    put_to_sleep(&halted);
    put_to_sleep(&frozen);
    node.signal(Signal::SIGKILL);
    node.launch();
    assert_eq!((halted.status().as_str(), frozen.status().as_str()), ("asleep", "asleep"));
    assert!(is_frozen(&frozen));
    assert_eq!(halted.curl("terminal-1", "/api/v1/terminal/sessions", &[]).status, 200);
    assert_eq!(frozen.says("cat /run/kept"), "kept");
    put_to_sleep(&halted);
    put_to_sleep(&frozen);
    // A node that ends with its containers ends the frozen one, and starting with the box wakes neither.
    node.cowl(&["stop", "--containers"]).ok();
    assert_eq!(node.ends(), 0);
    assert!(!node.run_dir().join(&frozen.id).exists(), "its shim runs on");
    node.launch();
    assert_eq!((halted.status().as_str(), frozen.status().as_str()), ("asleep", "asleep"));
    assert_eq!(frozen.says("ls /run/kept 2>/dev/null; echo awake"), "awake");
    assert_eq!(halted.says("echo awake"), "awake");
}

fn a_node_killed_in_the_middle_of_falling_asleep_finishes_or_undoes_it() {
    let node = Plan::new("drowsy").start();
    let c = node.container("drowsy");
    for (mode, pause) in [("stop", 10), ("stop", 60), ("stop", 150), ("stop", 300), ("freeze", 10), ("freeze", 40)] {
        sleeps(&c, &format!(r#"{{"mode":"{mode}"}}"#));
        let mut falling = node.command(&["containers", "sleep", &c.id]);
        let mut falling = falling.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        node.signal(Signal::SIGKILL);
        let _ = falling.wait();
        node.launch();
        eventually("the sleep to be finished or undone", 30, || {
            let logs = node.json(&["containers", "logs", &c.id]);
            let last = logs[0]["to_status"].as_str().unwrap_or_default().to_owned();
            assert!(["running", "asleep"].contains(&last.as_str()), "{mode} {pause}: {logs}");
            let halting = mode == "stop" && last == "running";
            // What was begun before the kill may take its time; what was not goes on as it was.
            (!halting || c.curl("terminal-1", "/api/v1/terminal/sessions", &[]).status == 200).then_some(())
        });
        assert_eq!(c.says("echo awake"), "awake", "{mode} {pause}");
    }
}

fn asleep_is_awake_from_outside_and_foreign_names_wake_nobody() {
    let node = shared::node();
    let c = node.container("hidden");
    put_to_sleep(&c);
    let nobody = "0123456789abcdef01234567";
    let host = |p: &str, c: &str| format!("{p}-{c}-files-1.{}.containers.{DOMAIN}", node.server_name());
    let web = Web::new(&node);
    let answers: Vec<_> = [host(nobody, &c.id), host(&c.project, nobody), host(nobody, nobody)]
        .iter()
        .map(|h| {
            let reply = web.ask(h, "/api/v1/files/etc/hostname", &[]);
            (reply.status, reply.body)
        })
        .collect();
    assert!(answers.iter().all(|a| *a == answers[0] && a.0 == 503), "{answers:?}");
    assert_eq!(c.status(), "asleep");
    assert!(!Path::new(&node.run_dir().join(&c.id)).exists());
    let reply = c.curl("files-1", "/api/v1/files/etc/hostname", &[]);
    assert_eq!(reply.status, 200, "{reply:#?}");
    assert!(reply.body.contains(&c.name), "{reply:#?}");
}
