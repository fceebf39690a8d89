//! A container is a Debian computer: systemd, apt, its own users, network and devices.

use crate::harness::run::{program, run};
use crate::harness::{eventually, long, shared};
use crate::stories;

stories![
    systemd_is_running_without_failed_units,
    it_is_debian_with_its_own_name_and_user,
    apt_installs_a_package_that_then_runs,
    root_inside_is_nobody_outside,
    a_reboot_inside_reboots,
    a_poweroff_inside_stops,
    names_resolve_and_the_network_is_reached,
    containers_do_not_reach_each_other,
    a_containers_url_is_the_same_inside_another_container,
    the_host_cannot_be_touched,
    what_all_containers_share_cannot_be_written,
    files_survive_a_stop,
    many_containers_boot_side_by_side,
];

fn systemd_is_running_without_failed_units() {
    let node = shared::node();
    let c = node.container("sd");
    assert_eq!(c.booted(), "running", "{}", c.exec("systemctl --failed --no-legend; journalctl -b -p err").stdout);
    assert_eq!(c.says("systemctl --failed --no-legend | wc -l"), "0");
    assert_eq!(c.says("cat /proc/1/comm"), "systemd");
    // systemd hands credentials to services by mount propagation.
    assert_eq!(c.says("findmnt -no PROPAGATION /"), "shared");
    // Podman and the like mount a proc of their own.
    assert_eq!(c.says("unshare -Urpmf sh -c 'mount -t proc proc /mnt && ls /mnt/1/comm'"), "/mnt/1/comm");
    assert!(!c.says("systemd-detect-virt --container; true").is_empty());
}

fn it_is_debian_with_its_own_name_and_user() {
    let node = shared::node();
    // Signals inside do what they do by default, however the node was started.
    let c = node.container("signals");
    // (glibc keeps 32 and 33, of which the mask shows traces, to itself.)
    assert_eq!(c.says("grep -E '^Sig(Blk|Ign)' /proc/self/status | grep -vcE '[08]0000000$'; true"), "0");
    assert_eq!(c.exec("sleep 100 & kill $!; wait $!").code, 143);
    let (a, b) = (node.container("own"), node.container("own"));
    assert_eq!(a.says(". /etc/os-release; echo $ID $VERSION_ID"), "debian 13");
    assert_eq!(a.says("hostname"), a.name);
    assert_eq!(a.says("id -u user"), "1000");
    assert_eq!(a.says("runuser -u user -- sudo -n id -u"), "0");
    assert_ne!(a.says("cat /etc/machine-id"), b.says("cat /etc/machine-id"));
    assert_eq!(a.says("df --output=target / | tail -n 1"), "/");
}

fn apt_installs_a_package_that_then_runs() {
    let node = shared::node();
    let c = node.container("apt");
    let ran =
        c.exec("apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends tree");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(c.says("tree --version").contains("tree"));
    // It is this container's alone.
    let other = node.container("apt");
    assert_eq!(other.exec("command -v tree").code, 1);
    // And a part of its snapshots.
    c.cowl(&["snapshots", "create", "--alias", "with-tree"]).ok();
    c.says("DEBIAN_FRONTEND=noninteractive apt-get remove -y tree");
    assert_eq!(c.exec("command -v tree").code, 1);
    c.cowl(&["snapshots", "restore", "with-tree"]).ok();
    assert!(c.says("tree --version").contains("tree"));
}

fn root_inside_is_nobody_outside() {
    let node = shared::node();
    let (a, b) = (node.container("ids"), node.container("ids"));
    let base = |c: &crate::harness::Container<'_>| {
        c.says("cat /proc/self/uid_map").split_whitespace().nth(1).unwrap().parse::<u32>().unwrap()
    };
    assert!(base(&a) >= 0x4000_0000, "not from this node's ids: {}", base(&a));
    assert_ne!(base(&a), base(&b));
    assert_eq!(a.says("stat -c %u /root /usr/bin/apt-get | sort -u"), "0", "files look foreign");
}

fn a_reboot_inside_reboots() {
    let node = shared::node();
    let c = node.container("reboot");
    c.booted();
    c.says("touch /run/before /root/kept");
    let first = c.now()["started_at"].clone();
    c.exec("systemctl reboot");
    eventually("a fresh boot", 60, || {
        let ran = c.exec("test -e /run/before || echo fresh");
        ran.stdout.contains("fresh").then_some(())
    });
    assert_eq!(c.status(), "running");
    assert_eq!(c.booted(), "running");
    c.says("test -e /root/kept");
    eventually("the new start to be told", 10, || (c.now()["started_at"] != first).then_some(()));
}

fn a_poweroff_inside_stops() {
    let node = shared::node();
    let c = node.container("off");
    c.booted();
    c.exec("systemctl poweroff");
    eventually("the container to be stopped", 30, || (c.status() == "stopped").then_some(()));
    assert!(c.exec("true").refused(1).contains("start"));
    node.cowl(&["containers", "start", &c.id]).ok();
    assert_eq!(c.says("echo back"), "back");
}

fn names_resolve_and_the_network_is_reached() {
    let node = shared::node();
    let c = node.container("net");
    assert_eq!(c.exec("getent hosts localhost").code, 0);
    // Whichever mirror this machine can reach is the one apt inside uses.
    let ran = c.exec("apt-get update -qq 2>&1");
    assert_eq!(ran.code, 0, "{ran:#?}");
    let address = c.address();
    assert!(c.says("ip -4 -o addr show 2>/dev/null || cat /proc/net/fib_trie").contains(&address));
}

fn containers_do_not_reach_each_other() {
    let node = shared::node();
    let (a, b) = (node.container("wall"), node.container("wall"));
    b.says(&crate::proxy::serve(8080, "secret of b"));
    let address = b.address();
    let dial = |host: &str| {
        format!("timeout 3 bash -c 'exec 3<>/dev/tcp/{host}/8080; printf \"GET / HTTP/1.0\\r\\n\\r\\n\" >&3; cat <&3'")
    };
    let own = eventually("the server in b", 10, || Some(b.exec(&dial("127.0.0.1"))).filter(|r| r.code == 0));
    assert!(own.stdout.contains("secret of b"), "{own:#?}");
    let foreign = a.exec(&dial(&address));
    assert!(foreign.code != 0 && !foreign.stdout.contains("secret"), "{foreign:#?}");
}

fn a_containers_url_is_the_same_inside_another_container() {
    let node = shared::node();
    let (a, b) = (node.container("near"), node.container("near"));
    for suffix in [format!(":{}", node.port), String::new()] {
        let url = format!("https://{}{suffix}/api/v1/files/etc/hostname", b.host("files-1"));
        assert_eq!(a.says(&format!("curl -sk --max-time 10 {url}")), b.name, "{url}");
    }
    // Nothing else of the host answers there.
    let closed = a.exec("timeout 3 bash -c 'exec 3<>/dev/tcp/169.254.1.1/22'");
    assert_ne!(closed.code, 0, "{closed:#?}");
}

fn the_host_cannot_be_touched() {
    let node = shared::node();
    let c = node.container("hostile");
    for attempt in [
        "echo b > /proc/sysrq-trigger",
        "echo 1 > /proc/sys/kernel/panic",
        "mount -t btrfs /dev/loop0 /mnt",
        "mknod /root/disk b 7 0 && head -c 1 /root/disk",
        "mount -o remount,rw /sys && echo 1 > /sys/kernel/mm/ksm/run",
        "modprobe dummy",
        "dmesg | grep -q .",
        "date -s @0",
        "swapoff -a && swapon /dev/null",
        "unshare --user --map-root-user mount -t proc proc /mnt && echo 1 > /mnt/sys/kernel/panic",
        "nsenter --net=/proc/1/ns/net --target 1 --mount=/proc/1/ns/mnt ls /tmp | grep -q cowlt-",
    ] {
        let ran = c.exec(attempt);
        assert_ne!(ran.code, 0, "{attempt} worked: {ran:#?}");
    }
    // Whatever a container writes to its kernel log, it is not the host's.
    let mark = format!("mark of {}", c.id);
    c.exec(&format!("echo '{mark}' > /dev/kmsg"));
    assert!(!run(&mut program("dmesg")).stdout.contains(&mark), "a container writes to the host's kernel log");
    let seen = c.says("ls /proc | grep -c '^[0-9]' ");
    assert!(seen.parse::<u32>().unwrap() < 100, "{seen} processes are seen inside");
    assert_eq!(c.says("echo alive"), "alive");
}

fn what_all_containers_share_cannot_be_written() {
    let node = shared::node();
    let (a, b) = (node.container("lower"), node.container("lower"));
    let before = b.says("sha256sum /usr/bin/apt-get");
    a.exec("mount -o remount,rw /usr; echo '#' >> /usr/bin/apt-get; btrfs property set /usr ro false");
    assert_ne!(a.says("sha256sum /usr/bin/apt-get"), before, "its own copy can be changed");
    assert_eq!(b.says("sha256sum /usr/bin/apt-get"), before);
    let kit =
        a.exec("for p in /proc/[0-9]*; do [ \"$(cat $p/comm 2>/dev/null)\" = cowl-kit ] && echo x >> $p/exe; done");
    assert_eq!(b.says("echo served"), "served", "{kit:#?}");
    assert_eq!(a.says("echo served"), "served");
}

fn files_survive_a_stop() {
    let node = shared::node();
    let c = node.container("keep");
    c.says("echo kept > /var/lib/kept; echo gone > /run/gone; echo usr > /usr/local/bin/mine");
    node.cowl(&["containers", "stop", &c.id]).ok();
    node.cowl(&["containers", "start", &c.id]).ok();
    assert_eq!(c.says("cat /var/lib/kept /usr/local/bin/mine"), "kept\nusr");
    assert_eq!(c.exec("cat /run/gone").code, 1);
}

fn many_containers_boot_side_by_side() {
    let node = shared::node();
    let count = if long() { 20 } else { 6 };
    let containers: Vec<_> = std::thread::scope(|scope| {
        let making: Vec<_> = (0..count).map(|_| scope.spawn(|| node.container("crowd"))).collect();
        making.into_iter().map(|m| m.join().unwrap()).collect()
    });
    for c in &containers {
        assert_eq!(c.says("hostname"), c.name);
    }
    for c in &containers {
        assert_eq!(c.booted(), "running", "{}", c.name);
    }
}
