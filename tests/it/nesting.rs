//! Machines inside machines: containers of other makers, services of users, a desktop.
//!
//! Those that install much are told only with `COWL_TEST_LONG`; images come from Debian's busybox,
//! so that no registry is needed.

use std::path::Path;

use crate::harness::{Container, eventually, shared};
use crate::stories;

stories![
    user_namespaces_nest,
    services_run_on_demand;
    long:
    podman_runs_containers,
    docker_runs_and_builds_containers,
    apt_full_upgrade_leaves_a_running_system,
    a_desktop_starts,
];

const LIMITED: [&str; 3] = ["--cpu=1", "--memory=1536M", "--disk=6G"];
const UNLIMITED: [&str; 2] = ["--unset", "all"];

/// Whether controllers are on v1 here, so that none can be delegated.
fn hybrid() -> bool {
    !Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Runs a command that may take long; its output.
#[track_caller]
fn does(c: &Container<'_>, command: &str) -> String {
    let unit = "systemd-run --quiet --unit=long --property=Type=oneshot --no-block --collect --setenv=HOME=/root";
    let quoted = command.replace('\'', "'\\''");
    c.says(&format!("rm -f /root/long.*; {unit} sh -c '({quoted}) > /root/long.log 2>&1; echo $? > /root/long.code'"));
    let code = eventually(command, 1200, || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        Some(c.exec("cat /root/long.code")).filter(|r| r.code == 0 && !r.stdout.is_empty()).map(|r| r.stdout)
    });
    let said = c.exec("tail -c 4000 /root/long.log").stdout;
    assert_eq!(code.trim(), "0", "{command}:\n{said}");
    said
}

#[track_caller]
fn install(c: &Container<'_>, packages: &str) {
    c.booted();
    let apt = "DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=60";
    does(c, &format!("{apt} update && {apt} install -y --no-install-recommends {packages}"));
}

/// Limits that answer calls of programs inside, from the start of the container on.
#[track_caller]
fn limit(c: &Container<'_>, limits: &[&str]) {
    c.node.json(&[&["containers", "set", &c.id], limits].concat());
    c.node.cowl(&["containers", "restart", &c.id]).ok();
    c.booted();
}

/// Makes `/root/image.tar`: a root file system with nothing but busybox.
fn make_image(c: &Container<'_>) {
    c.says(
        "mkdir -p /root/image && cp /bin/busybox /root/image/ && tar -C /root/image -cf /root/image.tar . \
         && install -m 644 /root/image.tar /tmp/image.tar",
    );
}

/// Runs a command in a session of `user`.
#[track_caller]
fn as_user(c: &Container<'_>, command: &str) -> (i32, String) {
    let words = ["terminal", "sessions", "exec", "--terminal-id", "7", "--user", "user", "--command", command];
    let ran = c.cowl(&words);
    (ran.code, ran.stdout)
}

fn user_namespaces_nest() {
    let node = shared::node();
    let c = node.container("userns");
    let nested = "unshare -Urpmf sh -c 'mount -t proc proc /mnt && cat /mnt/1/comm'";
    assert_eq!(c.says(nested), "sh");
    assert_eq!(c.says(&format!("runuser -u user -- {nested}")), "sh");
    let twice = "unshare -Urpmf --mount-proc unshare -Urpmf --mount-proc cat /proc/1/comm";
    assert_eq!(c.says(twice), "cat");
    // Both halves of the container's ids are there, the upper for the user's own containers.
    assert_eq!(c.says("awk '{ print $3 }' /proc/self/uid_map"), "131072");
    assert_eq!(c.says("cat /etc/subuid /etc/subgid"), "user:65536:65536\nuser:65536:65536");
    // An overlay of one's own.
    let overlay = "mkdir -p /tmp/o/l /tmp/o/u /tmp/o/w /tmp/o/m && unshare -Urm sh -c \
        'mount -t overlay overlay -o lowerdir=/tmp/o/l,upperdir=/tmp/o/u,workdir=/tmp/o/w /tmp/o/m && touch /tmp/o/m/x' \
        && ls /tmp/o/u";
    assert_eq!(c.says(overlay), "x");
}

fn services_run_on_demand() {
    let node = shared::node();
    let c = node.container("units");
    c.booted();
    assert_eq!(c.says("systemd-run --quiet --wait --pipe echo served"), "served");
    let dynamic: u32 = c.says("systemd-run --quiet --wait --pipe --property=DynamicUser=yes id -u").parse().unwrap();
    assert!((61_184..=65_519).contains(&dynamic), "{dynamic}");
    let hardened = "--property=PrivateTmp=yes --property=ProtectSystem=strict --property=PrivateDevices=yes \
        --property=ProtectKernelTunables=yes --property=NoNewPrivileges=yes";
    assert_eq!(c.says(&format!("systemd-run --quiet --wait --pipe {hardened} echo safe")), "safe");
}

fn podman_runs_containers() {
    let node = shared::node();
    let c = node.container("podman");
    limit(&c, &LIMITED);
    install(&c, "podman crun uidmap passt netavark aardvark-dns nftables busybox-static");
    make_image(&c);
    does(&c, "podman import /root/image.tar local/bb:1");
    assert_eq!(c.says("podman run --rm local/bb:1 /busybox echo rootful"), "rootful");
    assert_eq!(c.says("podman run --rm --uidmap 0:1000:500 local/bb:1 /busybox id -u"), "0");
    let built = "printf 'FROM local/bb:1\\nRUN [\"/busybox\",\"touch\",\"/made\"]\\n' > /root/image/Containerfile \
        && podman build -q -t local/b2:1 /root/image && podman run --rm local/b2:1 /busybox ls /made";
    assert!(does(&c, built).contains("/made"));
    let limited = c.exec("podman run --rm -m 64m --pids-limit=100 local/bb:1 /busybox cat /sys/fs/cgroup/memory.max");
    if hybrid() {
        // Nothing can be delegated from v1: podman says so instead of running without its limit.
        assert_ne!(limited.code, 0, "{limited:#?}");
    } else {
        assert_eq!(limited.ok().trim(), (64u64 << 20).to_string());
    }
    let (code, said) = as_user(&c, "podman import /tmp/image.tar local/bb:1");
    assert_eq!(code, 0, "{said}");
    let (code, said) = as_user(&c, "podman run --rm local/bb:1 /busybox sh -c '/busybox id -u; echo rootless'");
    assert!(code == 0 && said.contains("rootless"), "{said}");
    let (code, said) = as_user(&c, "podman run --rm --memory 64m local/bb:1 /busybox cat /sys/fs/cgroup/memory.max");
    assert_eq!(code == 0, !hybrid(), "{said}");
    // Calls are answered further in, too; its /proc is the kernel's own.
    let seen = c.says("podman run --rm local/bb:1 /busybox sh -c '/busybox free -m; /busybox nproc'");
    let total = seen.lines().find_map(|line| line.strip_prefix("Mem:")?.trim().get(..4));
    assert!(total == Some("1536") && seen.ends_with('1'), "{seen}");
    limit(&c, &UNLIMITED);
    assert_eq!(c.says("podman run --rm local/bb:1 /busybox echo free"), "free");
}

fn docker_runs_and_builds_containers() {
    let node = shared::node();
    let c = node.container("docker");
    limit(&c, &LIMITED);
    install(&c, "docker.io docker-cli docker-buildx iptables busybox-static");
    make_image(&c);
    eventually("dockerd", 60, || (c.exec("docker info").code == 0).then_some(()));
    does(&c, "docker import /root/image.tar local/bb:1");
    assert_eq!(c.says("docker run --rm local/bb:1 /busybox echo docked"), "docked");
    // On hybrid hosts it warns and runs without the limit.
    assert_eq!(c.says("docker run --rm -m 64m local/bb:1 /busybox echo limited 2>/dev/null"), "limited");
    c.says("printf 'FROM local/bb:1\\nRUN [\"/busybox\",\"touch\",\"/made\"]\\n' > /root/image/Dockerfile");
    does(&c, "docker buildx build -t local/b2:1 --load /root/image");
    assert_eq!(c.says("docker run --rm local/b2:1 /busybox ls /made"), "/made");
    assert_eq!(c.says("docker info --format '{{.Driver}}'"), "overlay2");
    limit(&c, &UNLIMITED);
    eventually("dockerd", 60, || (c.exec("docker info").code == 0).then_some(()));
    assert_eq!(c.says("docker run --rm local/bb:1 /busybox echo free"), "free");
}

fn apt_full_upgrade_leaves_a_running_system() {
    let node = shared::node();
    let c = node.container("upgrade");
    c.booted();
    let apt = "DEBIAN_FRONTEND=noninteractive apt-get -y -o Dpkg::Options::=--force-confold";
    does(&c, &format!("{apt} update && {apt} full-upgrade && {apt} install --reinstall systemd libc6 dbus udev"));
    assert_eq!(c.says("dpkg --audit | wc -l"), "0");
    node.cowl(&["containers", "stop", &c.id]).ok();
    node.cowl(&["containers", "start", &c.id]).ok();
    assert_eq!(c.booted(), "running", "{}", c.exec("systemctl --failed --no-legend").stdout);
}

fn a_desktop_starts() {
    let node = shared::node();
    let c = node.container("desktop");
    install(&c, "xfce4-session xfwm4 xfdesktop4 xfce4-panel xfce4-settings xvfb dbus-x11 x11-utils");
    let start = "(Xvfb :9 -screen 0 1024x768x24 >/tmp/xvfb.log 2>&1 &) ; sleep 2; (DISPLAY=:9 startxfce4 >/tmp/xfce.log 2>&1 &)";
    let (code, said) = as_user(&c, start);
    assert_eq!(code, 0, "{said}");
    for part in ["xfce4-session", "xfwm4", "xfce4-panel", "xfdesktop"] {
        eventually(part, 120, || (c.exec(&format!("pgrep -u user -x {part}")).code == 0).then_some(()));
    }
    eventually("a window manager", 60, || {
        let ran = c.exec("runuser -u user -- env DISPLAY=:9 xprop -root _NET_SUPPORTING_WM_CHECK");
        ran.stdout.contains("window id").then_some(())
    });
}
