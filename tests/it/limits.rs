//! Limits: they hold from the first moment, change at once, hurt nobody else, and are told when
//! they are run into.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::web::socket;
use crate::harness::{Container, Node, eventually, shared};
use crate::stories;

stories![
    a_memory_bomb_dies_inside_and_its_event_names_the_process,
    tasks_beyond_the_limit_are_refused_and_told,
    a_fork_bomb_ends_where_no_limit_was_set,
    a_share_of_cpu_throttles_and_cores_are_kept_to,
    a_full_disk_quota_stops_writes_and_no_neighbour,
    a_restore_gives_no_fresh_allowance_of_disk,
    network_rates_bound_what_passes_both_ways,
    a_container_falls_back_on_its_project_while_it_runs,
    limits_outlast_restarts_and_reboots,
    what_cannot_hold_is_said,
    limits_out_of_range_are_refused_with_the_field_named,
    what_was_used_is_remembered,
];

/// What a file of a container's groups says, by its name on v1 or on v2.
#[track_caller]
fn group_text(c: &Container<'_>, v1: &str, v2: &str) -> String {
    let text = [v1, v2].into_iter().find_map(|file| c.group_texts(file).pop());
    text.unwrap_or_else(|| panic!("no group of {} holds {v1} or {v2}", c.name)).trim().to_owned()
}

fn memory_limit(c: &Container<'_>) -> u64 {
    group_text(c, "memory.limit_in_bytes", "memory.max").parse().unwrap()
}

fn pids_limit(c: &Container<'_>) -> String {
    group_text(c, "pids.max", "pids.max")
}

#[track_caller]
fn set(c: &Container<'_>, words: &[&str]) -> Value {
    c.node.json(&[&["containers", "set", &c.id], words].concat())
}

fn events(node: &Node, c: &Container<'_>, kind: &str) -> Vec<Value> {
    let path = format!("/api/v1/events?container_id={}&event_type={kind}", c.id);
    socket(node, "GET", &path, None).is(200)["data"]["events"].as_array().unwrap().clone()
}

fn a_memory_bomb_dies_inside_and_its_event_names_the_process() {
    let node = shared::node();
    let (c, neighbour) = (node.container("bomb"), node.container("beside"));
    let before = neighbour.now()["started_at"].clone();
    set(&c, &["--memory", "96M", "--swap", "0"]);
    let ran =
        c.exec("cp /usr/bin/perl /tmp/glutton && exec /tmp/glutton -e '$x = q(x) x 300_000_000; print length $x'");
    assert_eq!(ran.code, 137, "{ran:#?}");
    let told = eventually("an event of the kill", 60, || events(&node, &c, "container.oom").pop());
    assert_eq!((&told["data"]["process"], &told["data"]["limit"]), (&json!("glutton"), &json!("memory")), "{told}");
    assert!(node.cowl(&["events", "-n", "200"]).ok().contains("memory glutton"));
    assert_eq!(c.says("echo alive"), "alive");
    assert_eq!(neighbour.now()["started_at"], before);
    let stats = node.json(&["containers", "stats", &c.id]);
    assert_eq!(stats["memory"]["total"], 96 << 20, "{stats}");
    assert!(stats["memory"]["usage_peak"].as_u64().unwrap() <= 97 << 20, "{stats}");
}

/// Starts sleeping children until one is refused; prints how many there were.
const FORKS: &str = "perl -e '$n = 0; while ($n < 40000) { $p = fork; last unless defined $p; \
    if (!$p) { sleep 60; exit } push @p, $p; $n++ } kill 9, @p; print \"$n $!\\n\"'";

fn tasks_beyond_the_limit_are_refused_and_told() {
    let node = shared::node();
    let c = node.container("tasks");
    set(&c, &["--pids", "100"]);
    let said = c.says(FORKS);
    let forks: u32 = said.split(' ').next().unwrap().parse().unwrap();
    assert!(forks < 100 && said.contains("temporarily unavailable"), "{said}");
    let told = eventually("an event of the refusal", 60, || events(&node, &c, "container.limit_hit").pop());
    assert_eq!(told["data"]["limit"], "pids", "{told}");
    set(&c, &["--pids", "400"]);
    let forks: u32 = c.says(FORKS).split(' ').next().unwrap().parse().unwrap();
    assert!((100..400).contains(&forks), "{forks}");
}

fn a_fork_bomb_ends_where_no_limit_was_set() {
    let node = shared::node();
    let c = node.container("default");
    let most: u32 = pids_limit(&c).parse().expect("a number, not max");
    assert!((64..=16_384).contains(&most), "{most}");
    let host = std::fs::read_to_string("/proc/meminfo").unwrap();
    let kib: u64 = host.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(memory_limit(&c) < kib * 1024, "one container may take all memory of the host");
    // File systems in memory are no way around it.
    for dir in ["/run", "/dev/shm"] {
        let size: u64 = c.says(&format!("df -k --output=size {dir} | tail -n 1")).parse().unwrap();
        assert!(size <= kib / 2, "{dir} holds {size} KiB of {kib}");
    }
}

fn a_share_of_cpu_throttles_and_cores_are_kept_to() {
    let node = shared::node();
    let c = node.container("cpu");
    let throttled = || {
        // On hybrid hosts v2 has a file of the name, too, and it says nothing of this.
        let text = c.group_texts("cpu.stat").concat();
        let line = text.lines().find_map(|l| l.strip_prefix("nr_throttled ")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{text}")).parse::<u64>().unwrap()
    };
    set(&c, &["--cpu", "0.1", "--cpu-weight", "50", "--cpu-set", "0"]);
    let before = throttled();
    c.exec("timeout 3 perl -e '1 while 1'");
    assert!(throttled() > before, "nothing was throttled");
    assert_eq!(c.says("grep Cpus_allowed_list /proc/self/status").split_whitespace().last(), Some("0"));
    let weight = group_text(&c, "cpu.shares", "cpu.weight");
    assert!(["512", "50"].contains(&weight.as_str()), "{weight}");
    set(&c, &["--unset", "cpu", "--unset", "cpu-set"]);
    let before = throttled();
    c.exec("timeout 1 perl -e '1 while 1'");
    assert_eq!(throttled(), before);
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    assert_eq!(c.says("grep Cpus_allowed_list /proc/1/status").split_whitespace().last(), Some(online.trim()));
}

fn a_full_disk_quota_stops_writes_and_no_neighbour() {
    let node = shared::node();
    let (c, neighbour) = (node.container("full"), node.container("roomy"));
    set(&c, &["--disk", "64M"]);
    let fill = "dd if=/dev/urandom of=/root/big bs=1M count=100 conv=fsync status=none";
    let ran = c.exec(fill);
    assert!(ran.code != 0 && ran.stderr.contains("quota exceeded"), "{ran:#?}");
    // /usr is another layer of the same disk.
    assert!(c.exec("dd if=/dev/urandom of=/usr/big bs=1M count=10 conv=fsync status=none").code != 0);
    neighbour.says(fill);
    // The kernel counts when it commits.
    eventually("the figures to show it", 90, || {
        let disk = node.json(&["containers", "stats", &c.id])["disk"]["root"].clone();
        assert_eq!(disk["total"], 64 << 20, "{disk}");
        (50 << 20..=64 << 20).contains(&disk["usage"].as_u64()?).then_some(())
    });
    // What is deleted can be written again; more room is there at once.
    c.says("rm -f /root/big /usr/big; sync");
    eventually("room again", 60, || {
        (c.exec("dd if=/dev/urandom of=/root/a bs=1M count=20 conv=fsync").code == 0).then_some(())
    });
    set(&c, &["--disk", "400M"]);
    c.says(fill);
    set(&c, &["--unset", "disk"]);
    assert!(node.json(&["containers", "stats", &c.id])["disk"]["root"]["total"].as_u64().unwrap() > 400 << 20);
}

fn a_restore_gives_no_fresh_allowance_of_disk() {
    let node = shared::node();
    let c = node.container("again");
    set(&c, &["--disk", "100M"]);
    c.says("dd if=/dev/urandom of=/root/half bs=1M count=60 conv=fsync status=none");
    c.cowl(&["snapshots", "create", "--alias", "half"]).ok();
    c.says("rm /root/half; sync");
    c.cowl(&["snapshots", "restore", "half"]).ok();
    c.becomes("running");
    let ran = c.exec("dd if=/dev/urandom of=/root/more bs=1M count=60 conv=fsync status=none");
    assert!(ran.code != 0 && ran.stderr.contains("quota exceeded"), "{ran:#?}");
}

/// A server inside that sends for ever, or takes for ever.
const PEER: &str = r#"cat > /root/peer.pl <<'END'
use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalPort => 7000, Listen => 9, ReuseAddr => 1) or die;
$SIG{PIPE} = "IGNORE"; my $b = "x" x 65536;
while (my $c = $s->accept) {
  my $m = <$c>;
  if ($m =~ /send/) { 1 while syswrite($c, $b) } else { my $d; 1 while sysread($c, $d, 65536) }
  close $c
}
END
systemd-run --quiet --unit=peer perl /root/peer.pl"#;

/// Bytes that pass in one direction in about three seconds, and the seconds.
fn passes(address: &str, word: &str) -> (u64, f64) {
    let mut stream = eventually("the server inside", 30, || TcpStream::connect((address, 7000)).ok());
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    writeln!(stream, "{word}").unwrap();
    let (begun, mut bytes, mut buf) = (Instant::now(), 0, vec![0; 1 << 18]);
    while begun.elapsed() < Duration::from_secs(3) {
        let moved = if word == "send" { stream.read(&mut buf) } else { stream.write(&buf[..1 << 16]) };
        bytes += moved.unwrap_or(0) as u64;
    }
    (bytes, begun.elapsed().as_secs_f64())
}

fn network_rates_bound_what_passes_both_ways() {
    let node = shared::node();
    let c = node.container("rate");
    c.booted();
    c.says(PEER);
    let address = c.address();
    for (word, option) in [("send", "--network-out"), ("take", "--network-in")] {
        set(&c, &[option, "1M"]);
        let (bytes, seconds) = passes(&address, word);
        // Beside the rate: a burst, what waits in the queue, and for what goes in, what the host's
        // own socket holds.
        let most = (seconds * 1_048_576.0) as u64 + (6 << 20);
        assert!((256 << 10..most).contains(&bytes), "{word}: {bytes} bytes in {seconds} s");
        set(&c, &["--unset", option.trim_start_matches("--")]);
        let (bytes, _) = passes(&address, word);
        assert!(bytes > 20 << 20, "{word} without a limit: {bytes} bytes");
    }
}

fn a_container_falls_back_on_its_project_while_it_runs() {
    let node = shared::node();
    let project = node.json(&["projects", "create", "--alias", "bounded", "--pids", "300", "--memory", "200M"]);
    let made = node.json(&[
        "containers",
        "create",
        "--project",
        "bounded",
        "--name",
        "child",
        "--memory",
        "128M",
        "--cpu",
        "0.5",
    ]);
    let c = Container::from_json(&node, &made);
    assert_eq!((pids_limit(&c).as_str(), memory_limit(&c)), ("300", 128 << 20));
    assert_eq!(made["effective_settings"]["limits"]["pids"], 300, "{made}");
    node.json(&["projects", "set", "bounded", "--pids", "500", "--memory", "300M"]);
    assert_eq!((pids_limit(&c).as_str(), memory_limit(&c)), ("500", 128 << 20));
    let now = set(&c, &["--unset", "memory"]);
    assert_eq!(now["settings"]["limits"], json!({ "cpu": 0.5 }), "{now}");
    assert_eq!(memory_limit(&c), 300 << 20);
    let shown = node.cowl(&["containers", "get", &c.id]);
    assert!(shown.ok().contains("pids 500 (project)") && shown.ok().contains("cpu 0.5,"), "{shown:#?}");
    drop(c);
    node.cowl(&["projects", "delete", "--yes", project["id"].as_str().unwrap()]).ok();
}

fn limits_outlast_restarts_and_reboots() {
    let node = shared::node();
    let c = node.container("lasting");
    set(&c, &["--pids", "250", "--memory", "150M", "--network-out", "1M", "--cpu-set", "0"]);
    let holds = || {
        assert_eq!((pids_limit(&c).as_str(), memory_limit(&c)), ("250", 150 << 20));
        assert_eq!(c.says("grep Cpus_allowed_list /proc/1/status").split_whitespace().last(), Some("0"));
    };
    node.cowl(&["containers", "restart", &c.id]).ok();
    holds();
    let boot = c.now()["started_at"].clone();
    c.booted();
    c.exec("systemctl reboot");
    eventually("a reboot", 60, || {
        let now = c.now();
        (now["started_at"] != boot && now["status"] == "running").then_some(())
    });
    c.answers(60);
    holds();
    // Set while it is stopped, it holds from the start.
    node.cowl(&["containers", "stop", &c.id]).ok();
    set(&c, &["--pids", "222"]);
    node.cowl(&["containers", "start", &c.id]).ok();
    assert_eq!(pids_limit(&c), "222");
}

fn what_cannot_hold_is_said() {
    let node = shared::node();
    let c = node.container("beyond");
    let now = set(&c, &["--cpu-set", "4000"]);
    let warning = now["warnings"][0]["message"].as_str().unwrap_or_default();
    assert!(warning.contains("settings.limits.cpu_set") && warning.contains("only the cores"), "{now}");
    assert_eq!(now["settings"]["limits"]["cpu_set"], "4000", "{now}");
    assert_eq!(c.now()["warnings"], now["warnings"]);
    assert_eq!(set(&c, &["--unset", "cpu-set"])["warnings"], json!([]));
    // Memory in use that cannot be taken away: the limit before stays, and nothing is killed.
    c.booted();
    c.says("systemd-run --quiet --unit=hog perl -e 'push @ARGV, q(x) x 90_000_000; sleep 600'");
    eventually("the hog to hold its memory", 30, || {
        let used: u64 = group_text(&c, "memory.usage_in_bytes", "memory.current").parse().unwrap();
        (used > 90_000_000).then_some(())
    });
    let before = memory_limit(&c);
    let now = set(&c, &["--memory", "64M"]);
    let warning = now["warnings"][0]["message"].as_str().unwrap_or_default();
    assert!(warning.contains("settings.limits.memory ") && warning.contains("in use"), "{now}");
    assert_eq!((memory_limit(&c), c.says("systemctl is-active hog").as_str()), (before, "active"));
    c.says("systemctl stop hog");
    assert_eq!(set(&c, &["--memory", "64M"])["warnings"], json!([]));
    assert_eq!(memory_limit(&c), 64 << 20);
}

fn limits_out_of_range_are_refused_with_the_field_named() {
    let node = shared::node();
    let c = node.container("wrong");
    for (field, value) in [
        ("memory", json!("1M")),
        ("memory", json!("lots")),
        ("pids", json!(1)),
        ("cpu", json!(0)),
        ("cpu_set", json!("b-a")),
        ("disk", json!(-1)),
        ("network_in", json!(1)),
        ("io_weight", json!(0)),
        ("nonsense", json!(1)),
    ] {
        let body = json!({ "settings": { "limits": { field: value } } });
        let path = format!("/api/v1/containers/{}", c.id);
        let refused = socket(&node, "PATCH", &path, Some(&body.to_string())).is(400);
        let at = refused["data"][0]["instancePath"].as_str().unwrap();
        assert_eq!(at, format!("/settings/limits/{field}"), "{body}");
    }
    assert_eq!(c.now()["settings"]["limits"], json!({}));
    let cowl =
        |words: &[&str], code| node.cowl(&[&["containers", "set", &c.id], words].concat()).refused(code).to_owned();
    assert!(cowl(&["--memory", "1M"], 1).contains("memory"));
    cowl(&["--memory", "lots"], 2);
    cowl(&["--unset", "nonsense"], 2);
    cowl(&[], 2);
    cowl(&["--pids", "100", "--unset", "pids"], 2);
}

fn what_was_used_is_remembered() {
    let node = shared::node();
    let c = node.container("history");
    // Watched, it is sampled every second.
    let mut watch = node.command(&["--json", "containers", "stats", &c.id, "--watch"]);
    let mut watching = watch.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let seen: Vec<Value> = lines.take(3).map(|l| serde_json::from_str(&l.unwrap()).unwrap()).collect();
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert!(seen.iter().all(|s| s["id"] == c.id && s["memory"].as_u64() > Some(0)), "{seen:?}");
    let path = format!("/api/v1/containers/{}/stats/history", c.id);
    let fast = socket(&node, "GET", &format!("{path}?interval=1"), None).is(200);
    assert!(fast["data"]["points"].as_array().unwrap().len() >= 3, "{fast}");
    let slow = node.json(&["containers", "stats", &c.id, "--history"]);
    assert_eq!((&slow["interval_s"], slow["points"].as_array().unwrap().is_empty()), (&json!(30), false), "{slow}");
    assert!(slow["points"][0]["tasks"].as_u64() > Some(0) && slow["points"][0]["disk"].is_u64(), "{slow}");
}
