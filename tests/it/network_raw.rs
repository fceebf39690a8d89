//! Attacks with raw sockets from inside: made-up sources, others' addresses, router advertisements,
//! the host's own services, a flood of connections.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::time::Duration;

use crate::harness::run::{program, run};
use crate::harness::world::{Attempt, World, counted, dials, heard, host_reaches};
use crate::harness::{Container, Plan, eventually, shared};
use crate::stories;

stories![
    no_packet_leaves_with_a_source_that_is_not_its_senders,
    what_is_said_about_others_addresses_is_not_heard,
    nothing_of_the_host_but_the_nodes_doors_is_reached,
    one_container_cannot_fill_the_hosts_connection_table,
];

/// Perl for raw packets; every story runs it as root inside.
const PERL: &str = r#"
use Socket;
sub sum { my ($d) = @_; $d .= "\0" if length($d) % 2; my $s = 0; $s += $_ for unpack("n*", $d);
          $s = ($s >> 16) + ($s & 0xffff) while $s >> 16; return ~$s & 0xffff }
sub udp4 { my ($src, $sport, $dst, $dport, $text) = @_;
  socket(my $s, AF_INET, SOCK_RAW, 255) or die "raw: $!";
  my $u = pack("nnnn", $sport, $dport, 8 + length $text, 0) . $text;
  my $h = pack("CCnnnCCn a4 a4", 0x45, 0, 20 + length $u, 1, 0, 64, 17, 0, inet_aton($src), inet_aton($dst));
  send($s, $h . $u, 0, sockaddr_in(0, inet_aton($dst))) or print "send: $!\n"; }
sub udp6 { my ($src, $dst, $dport, $text) = @_;
  socket(my $s, AF_INET6, SOCK_RAW, 255) or die "raw6: $!";
  my ($a, $b) = map { Socket::inet_pton(AF_INET6, $_) } $src, $dst;
  my $l = 8 + length $text; my $u = pack("nnnn", 999, $dport, $l, 0) . $text;
  my $c = sum($a . $b . pack("NN", $l, 17) . $u); substr($u, 6, 2) = pack("n", $c || 0xffff);
  my $p = pack("NnCC", 0x60000000, $l, 17, 64) . $a . $b . $u;
  send($s, $p, 0, Socket::pack_sockaddr_in6(0, $b)) or print "send6: $!\n"; }
sub frame { my ($type, $dst, $payload) = @_;
  socket(my $s, 17, SOCK_RAW, 0) or die "packet: $!";
  my $m = do { local (@ARGV, $/) = "/sys/class/net/eth0/address"; <> }; chomp $m;
  my $mac = join "", map { chr hex } split /:/, $m;
  my $i = do { local (@ARGV, $/) = "/sys/class/net/eth0/ifindex"; <> };
  my $to = pack("S n i S C C a8", 17, $type, $i, 0, 0, 6, $dst);
  for my $p (ref $payload ? @$payload : $payload) {
    $p =~ s/MACMAC/$mac/g; send($s, $dst . $mac . pack("n", $type) . $p, 0, $to) or print "frame: $!\n"; } }
sub arp { my ($op, $sender, $target) = @_;
  return pack("nnCCn", 1, 0x800, 6, 4, $op) . "MACMAC" . inet_aton($sender) . ("\0" x 6) . inet_aton($target); }
"#;

/// Runs a perl script inside.
#[track_caller]
fn attack(c: &Container<'_>, script: &str) -> String {
    let file = c.node.dir.join(format!("attack-{}.pl", c.id));
    std::fs::write(&file, format!("{PERL}\n{script}\n")).unwrap();
    c.cowl(&["files", "put", file.to_str().unwrap(), "/root/attack.pl"]).ok();
    c.says("perl /root/attack.pl")
}

fn no_packet_leaves_with_a_source_that_is_not_its_senders() {
    let node = Plan::new("spoof").env("COWL_IPV6", "on").start();
    let world = World::new();
    let (c, other) = (node.container("liar"), node.container("victim"));
    let (own, theirs) = (c.address(), other.address());
    let six = |c: &Container<'_>| c.now()["address6"].as_str().unwrap().to_owned();
    let (own6, theirs6) = (six(&c), six(&other));
    let (four_at, six_at) = (world.udp(world.address.into()), world.udp(world.address6.into()));
    let port = |s: &UdpSocket| s.local_addr().unwrap().port();
    let before = counted(&node, "spoofed");
    let (to, to6) = (world.address, world.address6);
    let mut script = String::new();
    for source in [&theirs, "192.0.2.1", "169.254.1.1", "127.0.0.1", "224.0.0.1", &world.host.to_string()] {
        script += &format!("udp4('{source}', 999, '{to}', {}, 'lie {source}');\n", port(&four_at));
    }
    for source in [&theirs6, "2001:db8::1", "fe80::1", "fe80::77", "::1", "ff02::1"] {
        script += &format!("udp6('{source}', '{to6}', {}, 'lie {source}');\n", port(&six_at));
    }
    // The truth goes through the same sockets.
    script += &format!("udp4('{own}', 999, '{to}', {}, 'truth');\n", port(&four_at));
    script += &format!("udp6('{own6}', '{to6}', {}, 'truth');\n", port(&six_at));
    let said = attack(&c, &script);
    assert_eq!(heard(&four_at, "truth"), ["truth"], "{said}");
    assert_eq!(heard(&six_at, "truth"), ["truth"], "{said}");
    // The kernel inside may keep some to itself; those that came to the host were counted.
    assert!(counted(&node, "spoofed") >= before + 6, "{said}");
    // A neighbour hears neither lie nor truth.
    other.says("setsid perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => 7777, Proto => \"udp\"); $s->recv($d, 99); print $d' >/run/heard 2>&1 </dev/null &");
    eventually("the neighbour's ear", 20, || (other.exec("grep -q ':1E61 ' /proc/net/udp").code == 0).then_some(()));
    attack(
        &c,
        &format!("udp4('{own}', 999, '{theirs}', 7777, 'truth'); udp4('169.254.1.1', 53, '{theirs}', 7777, 'lie');"),
    );
    // Its ear works: of all that was sent, what it says itself is the first it hears.
    other.says(
        "sleep 0.3; perl -MSocket -e 'socket(S,2,2,0); send(S,\"own\",0,sockaddr_in(7777,inet_aton(\"127.0.0.1\")))'",
    );
    let heard =
        eventually("the neighbour to hear", 20, || Some(other.says("cat /run/heard")).filter(|h| !h.is_empty()));
    assert_eq!(heard, "own");
}

fn neighbours(veth: &str) -> Vec<String> {
    let shown = run(program("ip").args(["neigh", "show", "dev", veth]));
    let words = shown.ok().lines().filter_map(|l| l.split_whitespace().next());
    words.map(str::to_owned).collect()
}

fn what_is_said_about_others_addresses_is_not_heard() {
    let node = Plan::new("layer2").env("COWL_IPV6", "on").start();
    let (c, other) = (node.container("liar"), node.container("victim"));
    other.says(&crate::proxy::serve(8080, "victim"));
    let (own, theirs) = (c.address(), other.address());
    let own6 = c.now()["address6"].as_str().unwrap().to_owned();
    let veth = c.veth();
    let routes = || run(program("ip").args(["-6", "route", "show", "table", "all"])).ok().to_owned();
    let addresses = || run(program("ip").args(["-o", "addr", "show", "dev", &veth])).ok().to_owned();
    // Everybody has spoken once.
    assert_eq!(c.exec("getent hosts api.box.test").code, 0);
    let (routes_before, addresses_before) = (routes(), addresses());
    let stable = |text: &str| text.lines().filter(|l| l.contains(&veth)).map(str::to_owned).collect::<Vec<_>>();
    let spoofed = counted(&node, "spoofed");
    let script = format!(
        r#"
my $all = "\xff" x 6;
# Announcements and answers for the gateway, the victim, the world; asked by a thousand senders.
frame(0x806, $all, [map {{ (arp(1, $_, $_), arp(2, $_, $_)) }} '169.254.1.1', '{theirs}', '192.0.2.1']);
frame(0x806, $all, [map {{ arp(1, "10.77." . int($_ / 250) . "." . (1 + $_ % 250), '169.254.1.1') }} 0 .. 999]);
# A router advertisement to all nodes, and to the host's end, from many senders.
for my $src ('fe80::2', 'fe80::bad', '{own6}') {{
  my ($a, $b) = map {{ Socket::inet_pton(AF_INET6, $_) }} $src, 'ff02::1';
  my $ra = pack("CCnCCnNN", 134, 0, 0, 64, 0, 1800, 0, 0) . pack("CCCCNNN", 3, 4, 64, 0xc0, 86400, 14400, 0)
         . Socket::inet_pton(AF_INET6, '2001:db8:bad::') . pack("CC", 1, 1) . "MACMAC";
  my $m = do {{ local (@ARGV, $/) = "/sys/class/net/eth0/address"; <> }}; chomp $m;
  my $mac = join "", map {{ chr hex }} split /:/, $m; $ra =~ s/MACMAC/$mac/;
  substr($ra, 2, 2) = pack("n", sum($a . $b . pack("NN", length $ra, 58) . $ra));
  frame(0x86dd, "\x33\x33\0\0\0\x01", pack("NnCC", 0x60000000, length $ra, 58, 255) . $a . $b . $ra);
}}
# A thousand made-up neighbours ask for the host's end.
my @ns = map {{
  my ($a, $b) = (pack("n", 0xfe80) . ("\0" x 6) . pack("NN", 0xbad, $_), Socket::inet_pton(AF_INET6, 'ff02::1:ff00:1'));
  my $ns = pack("CCnN", 135, 0, 0, 0) . Socket::inet_pton(AF_INET6, 'fe80::1') . pack("CC", 1, 1) . "\x02\0\0\0\0\x07";
  substr($ns, 2, 2) = pack("n", sum($a . $b . pack("NN", length $ns, 58) . $ns));
  pack("NnCC", 0x60000000, length $ns, 58, 255) . $a . $b . $ns }} 1 .. 1000;
frame(0x86dd, "\x33\x33\xff\0\0\x01", \@ns);
"#
    );
    let said = attack(&c, &script);
    assert_eq!(said, "", "frames could not be sent");
    let known = neighbours(&veth);
    let allowed = [own.as_str(), own6.as_str(), "fe80::2"];
    assert!(known.iter().all(|n| allowed.contains(&n.as_str())), "the host believes in {known:?}");
    assert!(counted(&node, "spoofed") >= spoofed + 100, "the frames did not arrive at the host");
    assert_eq!(stable(&routes()), stable(&routes_before));
    assert_eq!(addresses(), addresses_before);
    assert!(!routes().contains("2001:db8:bad"));
    // Nobody else is disturbed.
    assert!(host_reaches(&theirs, 8080));
    assert_eq!(other.exec("getent hosts api.box.test").code, 0);
}

fn nothing_of_the_host_but_the_nodes_doors_is_reached() {
    let node = shared::node();
    let world = World::new();
    let c = node.container("curious");
    let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
    let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
    udp.set_nonblocking(true).unwrap();
    let (tcp_port, udp_port) = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
    // Every address the host has, and its broadcasts, as a DHCP client would use them.
    let listed = run(program("ip").args(["-o", "-4", "addr"]));
    let mut addresses: Vec<String> = listed
        .ok()
        .lines()
        .filter_map(|l| l.split_whitespace().nth(3)?.split('/').next()?.parse::<IpAddr>().ok())
        .filter(|a| !a.is_loopback())
        .map(|a| a.to_string())
        .collect();
    addresses.sort();
    addresses.dedup();
    assert!(addresses.contains(&"169.254.1.1".to_owned()) && addresses.contains(&world.host.to_string()));
    let own = c.address();
    let mut script = String::new();
    for to in addresses.iter().map(String::as_str).chain(["255.255.255.255", "224.0.0.251"]) {
        for from in [own.as_str(), "0.0.0.0"] {
            script += &format!("udp4('{from}', 68, '{to}', {udp_port}, 'hello');\n");
        }
    }
    attack(&c, &script);
    // One exec tries them all; every attempt has its own deadline.
    let attempts: String = addresses
        .iter()
        .map(|a| format!("(timeout 2 bash -c 'exec 3<>/dev/tcp/{a}/{tcp_port}' 2>/dev/null && echo reached {a}) & "))
        .collect();
    assert_eq!(c.says(&format!("{attempts} wait")), "");
    std::thread::sleep(Duration::from_millis(200));
    assert!(udp.recv(&mut [0; 16]).is_err(), "a packet reached a service of the host");
    // The port the world sees is not reached, either, but by the gateway.
    assert_ne!(dials(&c, &world.host.to_string(), node.port), Attempt::Connected);
    let before = counted(&node, "metadata");
    assert_ne!(dials(&c, "169.254.169.254", 80), Attempt::Connected);
    assert!(counted(&node, "metadata") > before);
    // The node's API is there, and asks for its token.
    let code = c.says("curl -sk -o /dev/null -w '%{http_code}' --max-time 10 https://api.box.test/api/v1/containers");
    assert_eq!(code, "401");
}

fn one_container_cannot_fill_the_hosts_connection_table() {
    let node = Plan::new("flood").start();
    let world = World::new();
    world.serves(80);
    let (c, other) = (node.container("flood"), node.container("calm"));
    let own = c.address();
    let (to, sink) = (world.address, world.udp(world.address.into()));
    let port = sink.local_addr().unwrap().port();
    let script = format!("for my $p (1024 .. 20000) {{ udp4('{own}', $p, '{to}', {port}, 'x'); }}");
    attack(&c, &script);
    assert!(counted(&node, "flooded") > 0, "18,976 connections of one container were let through");
    assert_eq!(dials(&other, &to.to_string(), 80), Attempt::Connected);
}
