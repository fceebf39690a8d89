//! Packets of any shape, and every door of the host.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use super::arm;
use crate::harness::run::{program, run};
use crate::harness::world::{Attempt, dials};
use crate::harness::{Container, shared};
use crate::stories;

stories![
    forged_source_addresses_do_not_pass,
    forged_arp_and_router_advertisements_change_nothing,
    no_service_of_the_host_is_reached,
    neither_the_nodes_api_nor_anothers_kit_answers,
];

/// Packets that came out of the container so far.
fn sent(c: &Container<'_>) -> u64 {
    let path = format!("/sys/class/net/{}/statistics/rx_packets", c.veth());
    std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

/// The host's own IPv4 addresses, except loopback.
fn host_addresses() -> Vec<String> {
    let listed = run(program("ip").args(["-4", "-o", "addr", "show", "scope", "global"]));
    let words = listed.ok().lines().filter_map(|l| l.split_whitespace().nth(3));
    words.filter_map(|w| w.split('/').next()).map(str::to_owned).collect()
}

fn ip(words: &[&str]) -> String {
    run(program("ip").args(words)).stdout
}

fn forged_source_addresses_do_not_pass() {
    let node = shared::node();
    let (a, b) = (node.container("forger"), node.container("victim"));
    arm(&a);
    let (own, other) = (a.address(), b.address());
    let ear = UdpSocket::bind("0.0.0.0:0").unwrap();
    ear.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let port = ear.local_addr().unwrap().port();
    b.says("perl -MSocket -e 'socket(S,2,2,0); bind(S,sockaddr_in(9999,INADDR_ANY)); if (!fork) { open O,\">/root/heard\"; \
            while (1) { recv(S,$m,999,0); print O \"$m\\n\"; O->flush } }' -MIO::Handle >/dev/null 2>&1 </dev/null & sleep 0.3");
    let before = sent(&a);
    let mut attempts = 0;
    for source in [other.as_str(), "169.254.1.1", "127.0.0.1", "8.8.8.8", "0.0.0.0", "255.255.255.255", &own] {
        for target in host_addresses().iter().map(String::as_str).chain(["169.254.1.1", "127.0.0.1"]) {
            a.says(&format!("/root/probe spoof {source} {target} {port} 'forged as {source}'"));
            attempts += 3;
        }
        a.says(&format!("/root/probe spoof {source} {other} 9999 'forged as {source}'"));
        attempts += 3;
    }
    assert!(sent(&a) >= before + attempts, "the packets did not even leave the container");
    let mut buf = [0; 200];
    let heard = ear.recv_from(&mut buf);
    assert!(heard.is_err(), "the host heard {heard:?}: {}", String::from_utf8_lossy(&buf));
    // The victim's ear works, and heard nothing of it.
    b.says(
        "perl -MSocket -e 'socket(S,2,2,0); send(S,\"own\",0,sockaddr_in(9999,inet_aton(\"127.0.0.1\")))'; sleep 0.2",
    );
    assert_eq!(b.says("cat /root/heard"), "own");
}

fn forged_arp_and_router_advertisements_change_nothing() {
    let node = shared::node();
    let (a, b) = (node.container("liar"), node.container("named"));
    arm(&a);
    let before = sent(&a);
    for claimed in host_addresses().iter().chain([&b.address(), &"169.254.1.1".to_owned()]) {
        a.says(&format!("/root/probe arp {claimed}"));
    }
    a.says("/root/probe advertise");
    assert!(sent(&a) >= before + 9, "the packets did not even leave the container");
    let veth = a.veth();
    let neighbours = ip(&["neigh", "show"]);
    assert!(!neighbours.contains("02:ba:db:ad:00:01"), "{neighbours}");
    for (what, table) in [
        ("routes", ip(&["-6", "route", "show", "table", "all"])),
        ("addresses", ip(&["-6", "addr", "show", "dev", &veth])),
    ] {
        assert!(!table.contains("2001:db8:bad"), "{what}: {table}");
        assert!(!table.lines().any(|l| l.contains(&veth) && l.contains("proto ra")), "{what}: {table}");
    }
    assert_eq!(b.says("echo reached"), "reached");
}

/// Fails to open a TCP connection from inside within 3 seconds.
#[track_caller]
fn is_shut(c: &Container<'_>, host: &str, port: u16) {
    assert_ne!(dials(c, host, port), Attempt::Connected, "{host}:{port} answers");
}

fn no_service_of_the_host_is_reached() {
    let node = shared::node();
    let c = node.container("caller");
    let service = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = service.local_addr().unwrap().port();
    let addresses = host_addresses();
    assert!(!addresses.is_empty());
    for host in addresses.iter().map(String::as_str).chain(["169.254.1.1"]) {
        // It is there: the host itself reaches it.
        if host != "169.254.1.1" {
            std::net::TcpStream::connect((host, port)).unwrap();
        }
        is_shut(&c, host, port);
    }
    is_shut(&c, "169.254.169.254", 80);
    is_shut(&c, "169.254.169.254", 443);
    // Loopback addresses of the host, with a route that says they are outside.
    c.says("ip route add 127.0.0.99/32 via 169.254.1.1 dev eth0 onlink 2>/dev/null; sysctl -qw net.ipv4.conf.all.route_localnet=1 2>/dev/null; true");
    is_shut(&c, "127.0.0.99", port);
}

fn neither_the_nodes_api_nor_anothers_kit_answers() {
    let node = shared::node();
    let (a, b) = (node.container("asker"), node.container("asked"));
    let base = format!("https://api.{}:{}", crate::harness::node::DOMAIN, node.port);
    for path in ["/api/v1/containers", "/api/v1/projects", "/api/v1/events"] {
        let resolve = format!("api.{}:{}:169.254.1.1", crate::harness::node::DOMAIN, node.port);
        let got = a
            .exec(&format!("curl -sk --max-time 10 --resolve {resolve} -o /dev/null -w '%{{http_code}}' {base}{path}"));
        assert!(["401", "403", "404", "000"].contains(&got.stdout.trim()), "{path}: {got:#?}");
    }
    // A neighbour is named by what nobody outside of it knows; its address and its id's beginning do not do.
    for host in [
        format!(
            "{}-{}-files-1.{}.containers.{}",
            b.project,
            "0".repeat(24),
            node.server_name(),
            crate::harness::node::DOMAIN
        ),
        format!(
            "{}-{}-files-1.{}.containers.{}",
            "0".repeat(24),
            b.id,
            node.server_name(),
            crate::harness::node::DOMAIN
        ),
    ] {
        let resolve = format!("{host}:{}:169.254.1.1", node.port);
        let url = format!("https://{host}:{}/api/v1/files/etc/hostname", node.port);
        let got = a.exec(&format!("curl -sk --max-time 10 --resolve {resolve} {url}"));
        assert!(!got.stdout.contains(&b.name), "{host}: {got:#?}");
    }
    for port in [22, 80, 443, node.port] {
        is_shut(&a, &b.address(), port);
    }
    // No socket of the node has a name inside, as a path or as an abstract one.
    let run_dir = node.run_dir().display().to_string();
    assert_eq!(a.exec(&format!("ls {run_dir} /run/cowl /var/lib/cowl")).code, 2);
    let sockets = a.says("cat /proc/net/unix");
    assert!(!sockets.contains("node.sock") && !sockets.contains("shim.sock"), "{sockets}");
}
