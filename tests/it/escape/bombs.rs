//! Bombs: processes, memory, disk, files. Each runs against limits set here and for a bounded time; a
//! neighbour goes on meanwhile, and what it feels is printed.

use std::time::Duration;

use serde_json::{Value, json};

use super::bounds::felt_by;
use crate::harness::{Container, eventually, host, shared};
use crate::stories;

stories![
    a_fork_bomb_stops_at_the_limit,
    a_memory_bomb_kills_only_itself,
    a_tmpfs_bomb_counts_as_memory,
    a_disk_filled_is_only_its_own,
    an_inode_bomb_is_only_its_own,
    a_bomb_of_groups_ends_at_a_bound,
];

/// Bytes in a mebibyte.
const MIB: u64 = 1 << 20;

#[track_caller]
fn limit(c: &Container<'_>, limits: &Value) {
    c.change(&json!({ "settings": { "limits": limits } }));
}

/// Processes and threads of a container, counted from outside by their ids.
fn tasks(base: u32) -> usize {
    let of = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find(|l| l.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u32>().ok()
        };
        let ours = field("Uid:").is_some_and(|uid| (base..base + 131_072).contains(&uid));
        if ours { field("Threads:").unwrap_or(1) as usize } else { 0 }
    };
    host::pids().map(of).sum()
}

fn a_fork_bomb_stops_at_the_limit() {
    let node = shared::node();
    let (c, neighbour) = (node.container("forks"), node.container("near"));
    c.booted();
    limit(&c, &json!({"pids":200}));
    let base: u32 = c.says("awk '{ print $2 }' /proc/self/uid_map").parse().unwrap();
    c.exec("setsid bash -c 'b() { b | b & }; b' >/dev/null 2>&1 </dev/null &");
    felt_by(&neighbour, "fork bomb", Duration::from_secs(6));
    for _ in 0..20 {
        let count = tasks(base);
        assert!(count <= 200, "{count} tasks");
        std::thread::sleep(Duration::from_millis(50));
    }
    let events = c.group_texts("pids.events").concat();
    let refused = events.lines().any(|l| l.strip_prefix("max ").is_some_and(|times| times != "0"));
    assert!(refused, "the bomb never met its limit: {events}");
    // Whatever state it is in, it can be ended and works again.
    node.cowl(&["containers", "stop", "--force", &c.id]).ok();
    node.cowl(&["containers", "start", &c.id]).ok();
    assert_eq!(c.says("echo well"), "well");
}

fn a_memory_bomb_kills_only_itself() {
    let node = shared::node();
    let (c, neighbour) = (node.container("memory"), node.container("near"));
    c.booted();
    limit(&c, &json!({"memory":"256M"}));
    let kept = c.born();
    for _ in 0..3 {
        let ran = c.exec("perl -e '$x .= \"x\" x 10_000_000 while 1; print length $x'");
        assert_ne!(ran.code, 0, "{ran:#?}");
        c.answers(60);
    }
    felt_by(&neighbour, "memory bomb", Duration::from_secs(2));
    assert_eq!(c.born(), kept, "PID 1 is another one");
    assert_eq!(c.status(), "running");
}

fn a_tmpfs_bomb_counts_as_memory() {
    let node = shared::node();
    let (c, neighbour) = (node.container("tmpfs"), node.container("near"));
    for bomb in [
        "dd if=/dev/zero of=/dev/shm/bomb bs=1M count=1024",
        "dd if=/dev/zero of=/run/bomb bs=1M count=1024",
        // A file system of its own making is charged as well.
        "mount -t tmpfs -o size=4G none /mnt && dd if=/dev/zero of=/mnt/bomb bs=1M count=1024",
    ] {
        c.booted();
        limit(&c, &json!({"memory":"256M"}));
        // No process can be killed to free what lies in a tmpfs, so the machine may go down with it.
        let ran = c.exec(&format!("timeout 60 sh -c '{bomb}'"));
        assert_ne!(ran.code, 0, "{bomb}: {ran:#?}");
        felt_by(&neighbour, "tmpfs bomb", Duration::from_secs(1));
        node.cowl(&["containers", "stop", "--force", &c.id]);
        node.cowl(&["containers", "start", &c.id]).ok();
        assert_eq!(c.says("ls /dev/shm /run/bomb 2>/dev/null | grep bomb; echo well"), "well");
    }
}

fn a_disk_filled_is_only_its_own() {
    let node = shared::node();
    let (c, neighbour) = (node.container("fill"), node.container("near"));
    c.booted();
    limit(&c, &json!({"disk":"2G"}));
    c.says("systemd-run --quiet --unit=fill sh -c 'timeout 120 dd if=/dev/urandom of=/root/bomb bs=1M count=3000 2>/root/said'");
    felt_by(&neighbour, "disk fill", Duration::from_secs(5));
    let size = eventually("the disk to be full", 150, || {
        (c.exec("test -z \"$(pidof dd)\"").code == 0).then(|| c.says("stat -c %s /root/bomb"))
    });
    let size: u64 = size.parse().unwrap();
    assert!(size < 2_100 * MIB, "{size} bytes were written");
    assert_ne!(c.exec("dd if=/dev/urandom of=/root/more bs=1M count=200 conv=fsync").code, 0);
    neighbour.says("dd if=/dev/urandom of=/root/own bs=1M count=50 conv=fsync status=none");
    c.says("rm -f /root/bomb /root/more && sync");
    eventually("room again", 60, || {
        (c.exec("dd if=/dev/urandom of=/root/own bs=1M count=50 conv=fsync").code == 0).then_some(())
    });
}

fn an_inode_bomb_is_only_its_own() {
    let node = shared::node();
    let (c, neighbour) = (node.container("inodes"), node.container("near"));
    limit(&c, &json!({"disk":"1G"}));
    c.exec(
        "cd /root; setsid timeout 20 perl -e 'for (1..3) { fork } mkdir qq{d$$}; \
         while (1) { open F, qq{>d$$/}.$i++ or last }' >/dev/null 2>&1 </dev/null &",
    );
    felt_by(&neighbour, "inode bomb", Duration::from_secs(6));
    assert_ne!(c.says("ls -d /root/d[0-9]* | wc -l"), "0", "the bomb never went off");
    eventually("its end", 60, || (c.exec("test -z \"$(pidof perl)\"").code == 0).then_some(()));
    neighbour.says("for i in $(seq 100); do echo $i > /root/f$i; done");
    // The whole disk goes with the container, however many files it has.
    node.cowl(&["containers", "delete", "--yes", &c.id]).ok();
}

fn a_bomb_of_groups_ends_at_a_bound() {
    let node = shared::node();
    let c = node.container("groups");
    c.booted();
    let rows = node.json(&["explain", "isolation"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["name"] == "cgroup.max.descendants").unwrap();
    let most: usize = row["rule"].as_str().unwrap().parse().unwrap();
    let top = c.says("findmnt -n -t cgroup2 -o TARGET | head -n 1");
    // What is seen inside cannot be lifted, and what holds lies above it.
    assert_ne!(c.exec(&format!("echo max > {top}/cgroup.max.descendants")).code, 0);
    let said =
        c.says(&format!("cd {top} && perl -e '$n = 0; $n++ while $n < 20000 && mkdir qq(bomb$n); print qq($n $!)'"));
    let (made, why) = said.split_once(' ').unwrap();
    let made: usize = made.parse().unwrap();
    assert!(made < most && made > most / 2 && why == "Resource temporarily unavailable", "{said}");
    let deep = format!("cd {top}/bomb0 && mkdir deeper");
    assert!(c.exec(&deep).stderr.contains("Resource temporarily unavailable"));
    // A neighbour makes its groups as before, and so does this one once there is room.
    node.container("near").booted();
    c.says(&format!("cd {top} && perl -e 'rmdir qq(bomb$_) for 0..{most}' && mkdir again && rmdir again"));
}
