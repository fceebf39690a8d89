//! Calls, devices, knobs and groups.

use super::{arm, attack, built, unmask};
use crate::harness::run::{program, run};
use crate::harness::{eventually, host, shared};
use crate::stories;

stories![
    calls_that_steer_the_machine_are_refused,
    no_device_of_the_host_is_opened_made_or_mounted,
    no_knob_of_the_host_can_be_written_with_all_masks_gone,
    masks_show_nothing_of_the_hosts_disks,
    limits_and_release_agents_are_out_of_reach,
    what_all_containers_share_is_read_only_in_every_way,
    nothing_outside_can_be_seen_or_signalled,
    nested_namespaces_open_no_way_back,
    what_the_kernel_counts_by_user_is_counted_apart,
    the_sandbox_is_what_explain_says,
];

fn calls_that_steer_the_machine_are_refused() {
    let node = shared::node();
    let c = node.container("calls");
    arm(&c);
    attack(&c, "kernel", 150);
}

fn no_device_of_the_host_is_opened_made_or_mounted() {
    let node = shared::node();
    let c = node.container("devices");
    arm(&c);
    attack(&c, "devices", 90);
    assert_ne!(c.exec("truncate -s 1M /root/file && losetup -f /root/file").code, 0);
    let seen = c.exec("losetup -l -n -O BACK-FILE; lsblk -n; cat /proc/partitions; ls /sys/fs/btrfs");
    assert_eq!(seen.stdout.trim(), "", "{seen:#?}");
}

fn no_knob_of_the_host_can_be_written_with_all_masks_gone() {
    let node = shared::node();
    let c = node.container("knobs");
    arm(&c);
    unmask(&c);
    attack(&c, "knobs /proc /sys", 500);
    attack(&c, "knobs /dev/.nest/proc /dev/.nest/sys", 500);
    // Settings of its own namespaces are its own.
    for own in ["net/ipv4/ip_forward 1", "kernel/shmmax 1000000", "user/max_net_namespaces 50"] {
        let (knob, value) = own.split_once(' ').unwrap();
        c.says(&format!("echo {value} > /proc/sys/{knob}"));
        assert_eq!(c.says(&format!("cat /proc/sys/{knob}")), value);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/shmmax").unwrap();
    assert_ne!(host.trim(), "1000000", "the host's own setting changed");
}

fn masks_show_nothing_of_the_hosts_disks() {
    let node = shared::node();
    let c = node.container("masks");
    let pool = node.state_dir().join("pool.img").display().to_string();
    let found = c.exec(&format!(
        "grep -rlsF '{pool}' /sys/block /sys/class/block /sys/devices/virtual /sys/dev /proc/self/mountinfo /proc/swaps"
    ));
    assert_eq!(found.stdout, "", "the pool's path is shown");
    assert_eq!(c.says("ls /sys/block /sys/fs/btrfs /sys/firmware 2>/dev/null | grep -v '^/' | grep -c . ; true"), "0");
    // What they cover cannot be written either.
    assert_ne!(c.exec("touch /sys/block/x /sys/fs/btrfs/x").code, 0);
    // Nested containers still mount proc and sysfs of their own.
    for kind in ["proc", "sysfs"] {
        c.says(&format!("unshare -Urpnmf sh -c 'mount -t {kind} none /mnt && ls /mnt | grep -q .'"));
    }
}

fn limits_and_release_agents_are_out_of_reach() {
    let node = shared::node();
    let c = node.container("groups");
    arm(&c);
    attack(&c, "cgroups", 30);
}

fn what_all_containers_share_is_read_only_in_every_way() {
    let node = shared::node();
    let (a, b) = (node.container("mine"), node.container("theirs"));
    arm(&a);
    let before = b.says("sha256sum /usr/bin/apt-get /usr/bin/dpkg");
    attack(&a, "shared", 20);
    // The lower layer is not mounted anywhere inside; its upper one is the container's own.
    a.exec("mount -o remount,rw /usr; mount --bind -o rw /usr /mnt; echo '#' >> /mnt/bin/apt-get; umount /mnt");
    a.exec("btrfs property set / ro false; btrfs property set /usr ro false; btrfs subvolume snapshot / /root/s");
    a.exec("umount -l /usr; rm -rf /usr/bin/dpkg; ls -R /usr | head");
    assert_eq!(b.says("sha256sum /usr/bin/apt-get /usr/bin/dpkg"), before);
    assert_eq!(node.container("fresh").says("sha256sum /usr/bin/apt-get /usr/bin/dpkg"), before);
}

fn nothing_outside_can_be_seen_or_signalled() {
    let node = shared::node();
    let (a, b) = (node.container("looking"), node.container("looked-at"));
    arm(&a);
    attack(&a, "outside", 8);
    b.exec(&format!("setsid bash -c 'exec -a sleep-{} sleep 300' >/dev/null 2>&1 </dev/null &", b.id));
    // Written so that it does not find itself.
    let look = format!("cat /proc/[0-9]*/cmdline | grep -a '[s]leep-{}'", b.id);
    eventually("b to see its own", 10, || (b.exec(&look).code == 0).then_some(()));
    assert_eq!(a.exec(&look).code, 1);
    assert_eq!(a.exec("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -aE 'cowl (node|shim)'").code, 1);
    a.exec("kill -9 -1");
    a.answers(60);
    assert_eq!(b.says("echo alive"), "alive");
}

fn nested_namespaces_open_no_way_back() {
    let node = shared::node();
    let c = node.container("nested");
    arm(&c);
    for (attempt, why) in [
        ("unshare -Ur chown 5000:5000 /etc/hostname", "unmapped owners"),
        ("unshare -Urm mount -o remount,bind,rw /proc/sys", "locked mounts"),
        ("unshare -Urm umount /proc/kallsyms", "what a mask hides, for users"),
        ("unshare -Urpf sh -c 'echo 0 1 1 > /proc/self/uid_map'", "a second map"),
        ("unshare -Urn ip link add x type veth peer name y netns 1", "the network above"),
        ("unshare -Urm mount -t btrfs /dev/loop0 /mnt", "devices"),
        ("nsenter -t 1 -U --preserve-credentials nsenter -t 0 -m true", "pid 0"),
        ("unshare -UrC sh -c 'mkdir /sys/fs/cgroup/../../escape'", "the group above"),
    ] {
        let ran = c.exec(attempt);
        assert_ne!(ran.code, 0, "{why}: {ran:#?}");
    }
    // As root of a nested one with everything, the same calls and knobs stay shut.
    attack(&c, "kernel", 150);
    let deep = c.exec("unshare -Urpmf /root/probe kernel | grep -v ' refused '");
    assert_eq!(deep.stdout, "", "{deep:#?}");
}

fn what_the_kernel_counts_by_user_is_counted_apart() {
    let node = shared::node();
    let owner = |c: &crate::harness::Container<'_>| {
        // Seen from the host: who owns the user namespace of whoever is mapped there.
        let base = c.says("awk '{ print $2 }' /proc/self/uid_map");
        let init = host::pids()
            .find(|pid| {
                let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap_or_default();
                map.split_whitespace().nth(1) == Some(&base)
            })
            .expect("a process of the container");
        let told = run(program(built(c.node).to_str().unwrap()).args(["owner", &format!("/proc/{init}/ns/user")]));
        (told.ok().trim().to_owned(), base)
    };
    let (a, b) = (node.container("counted"), node.container("counted"));
    let ((a_owner, a_base), (b_owner, b_base)) = (owner(&a), owner(&b));
    assert_eq!((&a_owner, &b_owner), (&a_base, &b_base));
    assert!(a_owner != b_owner && a_owner != "0");
}

fn the_sandbox_is_what_explain_says() {
    let node = shared::node();
    let c = node.container("told");
    let rows = node.json(&["explain", "isolation"]);
    let rows = rows.as_array().unwrap();
    let with = |kind: &str, rule: &str| {
        let hits = rows.iter().filter(|r| r["kind"] == kind && r["rule"] == rule);
        hits.map(|r| r["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Capabilities, by the kernel's own words about a process inside.
    let bounding = c.says("awk '/^CapBnd/ { print $2 }' /proc/1/status");
    let bounding = u64::from_str_radix(&bounding, 16).unwrap();
    let kept = with("capability", "kept").len();
    assert_eq!(bounding.count_ones() as usize, kept, "{bounding:x}");
    for who in ["/proc/1/status", "/proc/self/status"] {
        assert_eq!(c.says(&format!("awk '/^(CapBnd|CapEff|Seccomp):/ {{ print $2 }}' {who} | sort -u | wc -l")), "2");
        assert_eq!(c.says(&format!("awk '/^Seccomp:/ {{ print $2 }}' {who}")), "2");
    }
    // Masks, by its mount table. What a kernel lacks is not covered.
    let mounted = c.says("awk '{ print $5 }' /proc/self/mountinfo");
    let there = c.says("ls -d /proc/* /sys/* /sys/fs/* /sys/class/block /sys/dev/block /sys/devices/virtual/block /sys/kernel/* /proc/sys/net; true");
    for rule in ["hidden", "empty", "read-only", "writable"] {
        for path in with("mask", rule) {
            let covered = mounted.lines().any(|m| m == path);
            assert_eq!(covered, there.lines().any(|t| t == path), "{path} is {rule}");
        }
    }
    // Namespaces: none is the host's.
    for name in with("namespace", "own") {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(c.says(&format!("readlink /proc/1/ns/{name}")), host.to_str().unwrap(), "{name}");
    }
    assert!(run(program(crate::harness::cowl()).args(["explain", "isolation"])).ok().contains("CAP_SYS_MODULE"));
}
