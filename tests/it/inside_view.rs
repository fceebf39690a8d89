//! What a container sees of itself: its own memory, CPUs, load and uptime, the devices it was
//! granted, its ramdisk, and its shells as sessions.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::web::socket;
use crate::harness::{Container, Node, Plan, eventually, host, shared};
use crate::stories;

stories![
    memory_and_cpus_are_those_of_the_limits,
    a_dead_lxcfs_is_replaced_in_running_containers,
    memory_is_merged_only_where_it_was_asked_for,
    fuse_and_tun_work_inside,
    devices_are_granted_by_word_at_the_next_start,
    a_shell_is_a_session_of_logind,
    a_command_on_pipes_is_no_session,
    a_ramdisk_survives_stops_reboots_and_the_node,
    a_project_shares_a_ramdisk,
    a_container_without_a_ramdisk_has_none,
];

/// MemTotal inside, in bytes.
fn total(c: &Container<'_>) -> u64 {
    let line = c.says("grep MemTotal: /proc/meminfo");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn memory_and_cpus_are_those_of_the_limits() {
    let node = shared::node();
    let c = node.container("view");
    c.booted();
    node.cowl(&["containers", "set", &c.id, "--memory", "300M", "--cpu", "1"]).ok();
    assert_eq!(total(&c), 300 << 20);
    assert_eq!(c.says("free -b | awk '/Mem:/ { print $2 }'"), (300u64 << 20).to_string());
    assert_eq!(c.says("grep -c ^processor /proc/cpuinfo"), "1");
    assert_eq!(c.says("grep -c '^cpu[0-9]' /proc/stat"), "1");
    assert_eq!(c.says("cat /sys/devices/system/cpu/online"), "0");
    let up: f64 = c.says("cut -d' ' -f1 /proc/uptime").parse().unwrap();
    let host: f64 = fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(up < host && up < 600.0, "up for {up} s, the host for {host} s");
    // Used memory is the container's own: this host's is far more than the limit.
    let used: u64 = c.says("free -b | awk '/Mem:/ { print $3 }'").parse().unwrap();
    assert!(used < 300 << 20, "{used} bytes used");
    // Nested user namespaces still mount a proc of their own.
    assert_eq!(c.says("unshare -Urpmf sh -c 'mount -t proc proc /mnt && ls /mnt/1/comm'"), "/mnt/1/comm");
}

/// The lxcfs of a node.
fn lxcfs(node: &Node) -> Option<i32> {
    let at = format!("\0{}\0", node.run_dir().join("lxcfs").display());
    let ours = |pid: &u32| {
        let line = host::command_line(*pid);
        line.starts_with(b"/usr/bin/lxcfs\0") && line.ends_with(at.as_bytes())
    };
    host::pids().find(ours).map(u32::cast_signed)
}

fn a_dead_lxcfs_is_replaced_in_running_containers() {
    let node = Plan::new("lxcfs").start();
    let c = node.container("view");
    node.cowl(&["containers", "set", &c.id, "--memory", "200M"]).ok();
    assert_eq!(total(&c), 200 << 20);
    let shown_again = || {
        eventually("its files in the container", 30, || {
            let seen = c.exec("grep MemTotal: /proc/meminfo").stdout;
            seen.contains(&format!(" {} kB", 200 * 1024)).then_some(())
        });
    };
    let first = lxcfs(&node).expect("the node has an lxcfs");
    // It outlives the node.
    node.signal(Signal::SIGKILL);
    node.launch();
    assert_eq!((lxcfs(&node), total(&c)), (Some(first), 200 << 20));
    // And is replaced when it dies, while the node watches …
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    eventually("another lxcfs", 30, || lxcfs(&node).filter(|pid| *pid != first));
    shown_again();
    assert_eq!(
        c.says(
            "cat /proc/uptime /proc/stat /proc/cpuinfo /sys/devices/system/cpu/online | wc -l | grep -v ^0$ | wc -l"
        ),
        "1"
    );
    // … and while it does not.
    node.signal(Signal::SIGKILL);
    let second = lxcfs(&node).expect("it lives on");
    kill(Pid::from_raw(second), Signal::SIGKILL).unwrap();
    node.launch();
    shown_again();
}

fn memory_is_merged_only_where_it_was_asked_for() {
    let node = shared::node();
    let c = node.container("merged");
    let merges = || c.says("grep -h merge_any /proc/1/ksm_stat /proc/self/ksm_stat | sort -u");
    assert_eq!(merges(), "ksm_merge_any: no");
    let said = node.json(&["containers", "set", &c.id, "--ksm=true"]);
    assert_eq!(said["warnings"][0]["type"], "needs_restart", "{said}");
    node.cowl(&["containers", "restart", &c.id]).ok();
    assert_eq!(merges(), "ksm_merge_any: yes");
}

fn fuse_and_tun_work_inside() {
    let node = shared::node();
    let c = node.container("devices");
    let mount = "mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none /mnt";
    let mounted = c.says(&format!("exec 3<>/dev/fuse; {mount}; findmnt -no FSTYPE /mnt; umount -l /mnt"));
    assert_eq!(mounted, "fuse");
    c.says("ip tuntap add dev tun9 mode tun && ip link set tun9 up && ip -o link show tun9 && ip link del tun9");
}

fn restart(c: &Container<'_>) {
    c.node.cowl(&["containers", "stop", &c.id]).ok();
    c.node.cowl(&["containers", "start", &c.id]).ok();
}

fn devices_are_granted_by_word_at_the_next_start() {
    let node = shared::node();
    let c = node.container("grants");
    assert_eq!(c.says("cd /dev; ls -d fuse net/tun kvm 2>/dev/null; true"), "fuse\nnet/tun");
    let changed = c.change(&json!({ "settings": { "devices": ["tun", "kvm"] } }));
    let kinds: Vec<&str> = changed["warnings"].as_array().unwrap().iter().filter_map(|w| w["type"].as_str()).collect();
    assert!(kinds.contains(&"needs_restart"), "{changed}");
    let host_has_kvm = Path::new("/dev/kvm").exists();
    assert_eq!(kinds.contains(&"no_effect"), !host_has_kvm, "{changed}");
    assert_eq!(c.exec("test -e /dev/fuse").code, 0, "it takes effect too early");
    restart(&c);
    assert_eq!(c.exec("test -e /dev/fuse").code, 1);
    assert_eq!(c.exec("test -e /dev/net/tun").code, 0);
    assert_eq!(c.exec("test -c /dev/kvm").code == 0, host_has_kvm);
    // What was not granted cannot be made.
    for attempt in [
        "mknod /root/fuse c 10 229",
        "mknod /dev/fuse2 c 10 229",
        "mount -t tmpfs none /mnt && mknod /mnt/fuse c 10 229",
    ] {
        assert_ne!(c.exec(attempt).code, 0, "{attempt} worked");
    }
    let refused = socket(
        &node,
        "PATCH",
        &format!("/api/v1/containers/{}", c.id),
        Some(&json!({ "settings": { "devices": ["sda"] } }).to_string()),
    );
    assert!(refused.is(400).to_string().contains("/settings/devices/0"));
}

/// Runs a command in a numbered session, which has a terminal.
fn in_session(c: &Container<'_>, number: &str, user: &str, command: &str) -> String {
    let words = ["terminal", "sessions", "exec", "--terminal-id", number, "--user", user, "--command", command];
    c.cowl(&words).ok().trim().to_owned()
}

fn a_shell_is_a_session_of_logind() {
    let node = shared::node();
    let c = node.container("sessions");
    // Before there is a bus a shell is just a shell, and nobody waits.
    assert_eq!(in_session(&c, "3", "root", "echo early"), "early");
    assert_eq!(c.booted(), "running");
    for (number, user, uid) in [("4", "user", "1000"), ("5", "root", "0")] {
        let scope = format!("/user.slice/user-{uid}.slice/session-");
        eventually("the shell's session", 40, || {
            in_session(&c, number, user, "grep ^0:: /proc/self/cgroup").contains(&scope).then_some(())
        });
        let own = "loginctl --no-pager show-session self -p Name -p Service -p Class | sort | tr '\\n' ' '";
        assert_eq!(in_session(&c, number, user, own), format!("Class=user Name={user} Service=cowl"));
        assert_eq!(in_session(&c, number, user, "echo $XDG_RUNTIME_DIR"), format!("/run/user/{uid}"));
        eventually("the user manager", 30, || {
            let state = in_session(&c, number, user, "systemctl --user is-system-running");
            (state == "running").then_some(())
        });
        let ran = in_session(&c, number, user, "systemd-run --user --quiet --wait --pipe echo managed");
        assert!(ran.contains("managed"), "{ran}");
    }
    // The early one has become a session meanwhile.
    eventually("the early shell's session", 40, || {
        let group = in_session(&c, "3", "root", "grep ^0:: /proc/self/cgroup");
        group.contains("/session-").then_some(())
    });
    // A session ends with its shell.
    let sessions = || c.says("loginctl --no-pager --no-legend list-sessions | awk '$6 == \"user\"' | wc -l");
    assert_eq!(sessions(), "3");
    c.curl("terminal-1", "/api/v1/terminal/5", &["-X", "DELETE"]).is(200);
    eventually("its session to end", 30, || (sessions() == "2").then_some(()));
}

fn a_command_on_pipes_is_no_session() {
    let node = shared::node();
    let c = node.container("pipes");
    c.booted();
    assert_eq!(c.says("loginctl --no-pager --no-legend list-sessions | wc -l"), "0");
    assert_eq!(c.says("grep ^0:: /proc/self/cgroup"), "0::/cowl-kit");
}

fn a_ramdisk_survives_stops_reboots_and_the_node() {
    let node = Plan::new("ramdisk").start();
    let c = node.container("ramdisk");
    assert_eq!(c.says("findmnt -no FSTYPE /ramdisk; df -h --output=size /ramdisk | tail -n 1"), "tmpfs\n 512M");
    c.says("echo kept > /ramdisk/file; runuser -u user -- touch /ramdisk/of-user");
    let kept =
        || assert_eq!(c.says("cat /ramdisk/file; stat -c %U /ramdisk/file /ramdisk/of-user"), "kept\nroot\nuser");
    c.cowl(&["snapshots", "create", "--alias", "before"]).ok();
    restart(&c);
    kept();
    c.exec("systemctl reboot");
    eventually("a reboot", 60, || {
        (c.exec("test -e /ramdisk/file && cut -d. -f1 /proc/uptime").code == 0).then_some(())
    });
    kept();
    node.cowl(&["containers", "stop", &c.id]).ok();
    node.signal(Signal::SIGKILL);
    node.launch();
    node.cowl(&["containers", "start", &c.id]).ok();
    kept();
    let stats = || socket(&node, "GET", &format!("/api/v1/containers/{}/stats", c.id), None).is(200)["data"].clone();
    c.says("head -c 5000000 /dev/zero > /ramdisk/zeros");
    let ramdisk = stats()["ramdisk"].clone();
    assert_eq!((&ramdisk["scope"], &ramdisk["shared_pool_maximum"]), (&json!("container"), &json!(512 << 20)));
    assert!(ramdisk["usage"]["private"].as_u64().unwrap() >= 5_000_000, "{ramdisk}");
    // Another size, a full one, and none of it in a snapshot.
    let changed = c.change(&json!({ "settings": { "limits": { "ramdisk": "16M" } } }));
    assert!(changed["warnings"].to_string().contains("needs_restart"), "{changed}");
    restart(&c);
    assert_ne!(c.exec("head -c 20000000 /dev/zero > /ramdisk/more").code, 0, "it has no bound");
    kept();
    c.cowl(&["snapshots", "restore", "before"]).ok();
    kept();
    assert_eq!(c.says("umount /ramdisk && ls -A /ramdisk | wc -l"), "0");
    // It goes with the container.
    let held = node.run_dir().join("ramdisk").join(&c.id);
    assert!(held.exists());
    drop(c);
    assert!(!held.exists());
}

fn a_project_shares_a_ramdisk() {
    let node = shared::node();
    let (a, b, other) = (node.container("share"), node.container("share"), node.container("share"));
    for c in [&a, &b] {
        c.change(&json!({ "ramdisk_scope": "project" }));
        restart(c);
    }
    a.says("echo hello > /ramdisk/project/note; echo mine > /ramdisk/own");
    assert_eq!(b.says("cat /ramdisk/project/note; stat -c %U /ramdisk/project/note"), "hello\nroot");
    assert_eq!(b.exec("test -e /ramdisk/own").code, 1);
    assert_eq!(other.exec("test -e /ramdisk/project").code, 1);
}

fn a_container_without_a_ramdisk_has_none() {
    let node = shared::node();
    let c = node.container("bare");
    c.change(&json!({ "ramdisk": false }));
    restart(&c);
    assert_eq!(c.exec("findmnt /ramdisk").code, 1);
    // A link there is not followed.
    c.change(&json!({ "ramdisk": true }));
    c.says("rm -rf /ramdisk; ln -s /etc /ramdisk");
    restart(&c);
    assert_eq!(c.exec("findmnt /etc").code, 1);
    assert_eq!(c.says("hostname"), c.name);
}
