//! What system calls say inside: the container's limits, not the host's figures. Whoever floods
//! them, or has them hang, harms nobody.

use std::fs;

use crate::harness::{Container, eventually, shared};
use crate::stories;

stories![
    calls_show_the_limits_of_the_moment,
    figures_open_no_closed_directory_and_bad_pointers_fail,
    floods_and_hanging_file_systems_harm_no_shim,
];

const MIB: u64 = 1 << 20;

/// The process that answers for a container.
fn figures(c: &Container<'_>) -> Option<u32> {
    let shim = c.shim();
    let children = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).expect("the shim's children");
    let mut children = children.split_whitespace().map(|pid| pid.parse::<u32>().expect("a process id"));
    children.find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "cowl-figures"))
}

#[track_caller]
fn set(c: &Container<'_>, words: &[&str]) {
    c.node.json(&[&["containers", "set", &c.id], words].concat());
}

/// A running container that was started with these limits.
#[track_caller]
fn limited<'a>(node: &'a crate::harness::Node, name: &str, words: &[&str]) -> Container<'a> {
    let c = node.container(name);
    set(&c, words);
    node.cowl(&["containers", "restart", &c.id]).ok();
    c.booted();
    c
}

#[track_caller]
fn number(c: &Container<'_>, command: &str) -> u64 {
    let said = c.says(command);
    said.trim().parse().unwrap_or_else(|_| panic!("{command}: {said}"))
}

/// Size and free bytes of the file system at a path, as df says.
#[track_caller]
fn df(c: &Container<'_>, path: &str) -> (u64, u64) {
    let said = c.says(&format!("df -B1 --output=size,avail {path} | tail -n 1"));
    let mut words = said.split_whitespace().map(|word| word.parse().expect("a number"));
    (words.next().unwrap(), words.next().unwrap())
}

/// A perl program that makes one call with a buffer of 1 KiB, and prints one of its words.
fn call(number: i64, before: &str, args: &str, word: usize) -> String {
    format!(
        "perl -e '{before}; $b = chr(0) x 1024; syscall({number}, {args}) >= 0 or die $!; print unpack(q(x{}Q), $b)'",
        word * 8
    )
}

fn calls_show_the_limits_of_the_moment() {
    let node = shared::node();
    let c = node.container("figures");
    assert_eq!(figures(&c), None, "who has no limits pays nothing");
    let (cpus, pool) = (number(&c, "nproc"), df(&c, "/"));
    set(&c, &["--disk", "300M", "--cpu", "1", "--memory", "256M"]);
    node.cowl(&["containers", "restart", &c.id]).ok();
    c.booted();
    assert!(figures(&c).is_some());
    for path in ["/", "/usr", "/root", "/var/lib", "/bin"] {
        assert_eq!(df(&c, path).0, 300 * MIB, "{path}");
    }
    assert_eq!(c.says("cd /usr/share && stat -f -c %b . ../bin"), format!("{0}\n{0}", 300 * MIB / 4096));
    let open = "open F, q(<), q(/etc/passwd)";
    assert_eq!(number(&c, &call(libc::SYS_fstatfs, open, "fileno(F), $b", 2)), 300 * MIB / 4096);
    assert_eq!(number(&c, &call(libc::SYS_sysinfo, "1", "$b", 4)), 256 * MIB);
    assert_eq!((number(&c, "nproc"), number(&c, "getconf _NPROCESSORS_ONLN")), (1, 1));
    assert_eq!(number(&c, &call(libc::SYS_sched_getaffinity, "1", "$$+0, 1024, $b", 0)), 1);
    // An overlay of the container's own writes to the same disk.
    let overlay = "mkdir -p /root/o/l /root/o/u /root/o/w /root/o/m && unshare -m sh -c 'mount -t overlay overlay \
        -o lowerdir=/root/o/l,upperdir=/root/o/u,workdir=/root/o/w /root/o/m && stat -f -c %b /root/o/m'";
    assert_eq!(number(&c, overlay), 300 * MIB / 4096);
    for path in ["/run", "/dev/shm", "/proc", "/sys/fs/cgroup"] {
        let blocks = number(&c, &format!("stat -f -c %b {path}"));
        assert_ne!(blocks, 300 * MIB / 4096, "{path}");
    }
    let before = df(&c, "/").1;
    c.says("dd if=/dev/urandom of=/root/half bs=1M count=100 conv=fsync status=none; sync");
    eventually("df to show what was written", 60, || (df(&c, "/").1 + 90 * MIB < before).then_some(()));
    set(&c, &["--disk", "500M", "--unset", "cpu"]);
    assert_eq!((df(&c, "/").0, number(&c, "nproc")), (500 * MIB, cpus));
    set(&c, &["--unset", "disk"]);
    assert_eq!(df(&c, "/").0, pool.0);
    set(&c, &["--disk", "400M"]);
    let born = c.born();
    c.exec("systemctl reboot");
    eventually("a reboot", 60, || {
        let now = c.exec("awk '{ print $22 }' /proc/1/stat");
        (now.code == 0 && now.stdout.trim() != born.trim()).then_some(())
    });
    assert_eq!(df(&c, "/").0, 400 * MIB);
}

fn figures_open_no_closed_directory_and_bad_pointers_fail() {
    let node = shared::node();
    let c = limited(&node, "closed", &["--disk", "300M"]);
    c.says("mkdir -p -m 700 /root/closed/below; install -d -m 700 -o user /home/user/own/below");
    c.says("chown user /home/user/own");
    let user = |path: &str| c.exec(&format!("runuser -u user -- stat -f -c %b {path}"));
    for path in ["/root/closed/below", "/root/closed/absent"] {
        let ran = user(path);
        assert!(ran.code != 0 && ran.stderr.contains("Permission denied"), "{ran:#?}");
    }
    assert_eq!(user("/home/user/own/below").ok().trim(), (300 * MIB / 4096).to_string());
    let absent = c.exec("stat -f /root/absent");
    assert!(absent.code != 0 && absent.stderr.contains("No such file"), "{absent:#?}");
    let fails = |args: &str| c.says(&format!("perl -e '$p = q(/); $b = chr(0) x 1024; syscall({args}); print $!'"));
    assert_eq!(fails(&format!("{}, $p, 8", libc::SYS_statfs)), "Bad address");
    assert_eq!(fails(&format!("{}, 8, $b", libc::SYS_statfs)), "Bad address");
    assert_eq!(fails(&format!("{}, 99, $b", libc::SYS_fstatfs)), "Bad file descriptor");
    assert_eq!(fails(&format!("{}, 8", libc::SYS_sysinfo)), "Bad address");
}

fn floods_and_hanging_file_systems_harm_no_shim() {
    let node = shared::node();
    let c = limited(&node, "flood", &["--disk", "300M", "--cpu", "1.5"]);
    let before = figures(&c).expect("its figures");
    let flood = format!(
        "for (1..200) {{ if (!fork) {{ $p = q(/); $b = chr(0) x 1024; 1 while syscall({}, $p, $b) == 0; exit }} }} wait",
        libc::SYS_statfs
    );
    c.says(&format!("systemd-run --quiet --unit=flood perl -e '{flood}'"));
    assert_eq!(c.says("echo alive"), "alive");
    assert_eq!((df(&c, "/").0, number(&c, "nproc")), (300 * MIB, 2.min(host_cpus())));
    c.says("systemctl kill --signal=KILL flood.service; systemctl reset-failed flood.service || true");
    // Nobody ever reads what the kernel asks of this one.
    let hang = "exec 9<>/dev/fuse; mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 hang /mnt; sleep 600";
    c.says(&format!("systemd-run --quiet --unit=hang bash -c '{hang}'"));
    eventually("the mount", 30, || (c.exec("grep -q ' /mnt fuse ' /proc/mounts").code == 0).then_some(()));
    c.says("for i in $(seq 20); do timeout -s KILL 20 stat -f /mnt/x > /dev/null 2>&1 & done");
    assert_eq!(df(&c, "/").0, 300 * MIB);
    assert_eq!(figures(&c), Some(before), "it lived through all that");
    // What waits in a process that dies is lost with it, all later calls are answered.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(before.cast_signed()), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    eventually("another one", 30, || figures(&c).filter(|now| *now != before));
    assert_eq!(df(&c, "/").0, 300 * MIB);
    c.says("systemctl kill --signal=KILL hang.service || true");
}

fn host_cpus() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}
