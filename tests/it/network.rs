//! The network of a container: what passes is what its owner lets pass.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::run::{program, run};
use crate::harness::web::socket;
use crate::harness::world::{Attempt, World, dials, host_reaches};
use crate::harness::{Container, Node, Plan, eventually, shared};
use crate::stories;

stories![
    rules_decide_what_leaves_a_container,
    rules_outlive_a_restart_a_restore_and_the_node,
    rules_decide_who_comes_in_but_not_about_urls,
    a_neighbour_gets_in_only_where_a_rule_names_it,
    a_blocked_container_sends_nothing_and_still_serves,
    the_api_of_rules_is_the_public_one,
    ipv6_works_where_the_host_has_it_and_is_absent_where_not,
    names_of_containers_resolve_for_the_host,
];

fn rules_decide_what_leaves_a_container() {
    let node = shared::node();
    let world = World::new();
    [25, 80, 443].into_iter().for_each(|port| world.serves(port));
    let c = node.container("out");
    let to = world.address.to_string();
    let all = || [25, 80, 443].map(|port| dials(&c, &to, port));
    use Attempt::{Connected, Refused, Silence};
    assert_eq!(all(), [Connected; 3]);
    // The first rule closes the direction; what it does not allow gets an answer.
    c.cowl(&["firewall", "allow", "egress", "tcp/443,1000-2000"]).ok();
    assert_eq!(all(), [Refused, Refused, Connected]);
    c.cowl(&["firewall", "allow", "egress", "tcp/1-65535"]).ok();
    assert_eq!(all(), [Connected; 3]);
    // Drop comes before reject comes before allow, whichever was added first.
    c.cowl(&["firewall", "deny", "egress", "tcp/25"]).ok();
    assert_eq!(all(), [Refused, Connected, Connected]);
    let drop = ["--action", "drop", "--protocol", "tcp", "--destination-port", "25", "--destination", &to];
    c.cowl(&[&["firewall", "egress", "create"], &drop[..]].concat()).ok();
    assert_eq!(all(), [Silence, Connected, Connected]);
    c.cowl(&["firewall", "egress", "toggle", "--action", "drop", "--state", "disabled"]).ok();
    assert_eq!(all(), [Refused, Connected, Connected]);
    c.cowl(&["firewall", "egress", "delete", "--destination-port", "25", "--action", "reject"]).ok();
    assert_eq!(all(), [Connected; 3]);
    // A connection under way is cut, too.
    let under_way = format!(
        "trap \"\" PIPE; exec 3<>/dev/tcp/{to}/80; read -r -u 3 greeting; touch /run/open; while [ ! -e /run/go ]; do sleep 0.05; done; \
         echo more >&3; sleep 0.3; echo more >&3 && echo alive || echo cut"
    );
    c.says(&format!("setsid bash -c '{under_way}' >/run/said 2>&1 </dev/null & :"));
    eventually("the connection", 20, || (c.exec("test -e /run/open").code == 0).then_some(()));
    c.cowl(&["firewall", "deny", "egress", "tcp/80"]).ok();
    c.says("touch /run/go");
    eventually("the end of it", 20, || c.says("cat /run/said").contains("cut").then_some(()));
    c.node.cowl(&["--yes", "firewall", "reset", &c.id]).ok();
    assert_eq!(all(), [Connected; 3]);
    // DNS is the node's and goes on working under rules.
    c.cowl(&["firewall", "deny", "egress", "icmp4"]).ok();
    assert_eq!(c.exec(&format!("getent hosts api.{}", crate::harness::node::DOMAIN)).code, 0);
}

fn rules_outlive_a_restart_a_restore_and_the_node() {
    let node = Plan::new("rules").start();
    let world = World::new();
    [25, 80].into_iter().for_each(|port| world.serves(port));
    let c = node.container("rules");
    let to = world.address.to_string();
    c.cowl(&["snapshots", "create", "--alias", "open"]).ok();
    c.cowl(&["firewall", "allow", "egress", "tcp/80"]).ok();
    let holds = |when: &str| {
        let seen = [dials(&c, &to, 80), dials(&c, &to, 25)];
        assert_eq!(seen, [Attempt::Connected, Attempt::Refused], "{when}");
    };
    holds("at once");
    node.cowl(&["containers", "restart", &c.id]).ok();
    holds("after a restart");
    // The rules are the host's, not the disk's.
    c.cowl(&["snapshots", "restore", "open"]).ok();
    holds("after a restore");
    node.signal(Signal::SIGKILL);
    node.launch();
    holds("after the node was killed");
    let listed = node.json(&["firewall", "list", &c.id]);
    assert_eq!((&listed["rule_count"], &listed["egress"][0]["destination_port"]), (&json!(1), &json!("80")));
    let id = c.id.clone();
    drop(c);
    let table = run(program("nft").args(["list", "table", "inet", &format!("cowl_{}", node.tag())]));
    assert!(!table.ok().contains(&id[..8]), "chains outlive their container");
}

/// Starts a web server inside on a port.
fn served<'a>(node: &'a Node, name: &str, ports: &[u16]) -> Container<'a> {
    let c = node.container(name);
    for port in ports {
        c.says(&crate::proxy::serve(*port, "from inside"));
    }
    let all_serve = || ports.iter().all(|p| dials(&c, "127.0.0.1", *p) == Attempt::Connected).then_some(());
    eventually("the servers inside", 20, all_serve);
    c
}

fn rules_decide_who_comes_in_but_not_about_urls() {
    let node = shared::node();
    let world = World::new();
    let c = served(&node, "in", &[8080]);
    let own = c.address();
    let outside = || world.reaches(format!("{own}:8080").parse().unwrap());
    let by_url = || c.curl("http-8080", "/", &[]).status == 200;
    // Untouched: the host may, the network outside may not.
    assert!(host_reaches(&own, 8080) && !outside() && by_url());
    c.cowl(&["firewall", "allow", "ingress", "tcp/8080", "--from", "192.0.2.7"]).ok();
    assert!(!host_reaches(&own, 8080) && !outside() && by_url());
    c.cowl(&["firewall", "allow", "ingress", "tcp/8080", "--from", &world.address.to_string()]).ok();
    assert!(!host_reaches(&own, 8080) && outside() && by_url());
    // The host is 169.254.1.1 to its containers.
    c.cowl(&["firewall", "allow", "ingress", "tcp/8080", "--from", "169.254.1.1"]).ok();
    assert!(host_reaches(&own, 8080));
    // What the container began is answered, whatever comes in.
    world.serves(80);
    assert_eq!(dials(&c, &world.address.to_string(), 80), Attempt::Connected);
}

fn a_neighbour_gets_in_only_where_a_rule_names_it() {
    let node = shared::node();
    let b = served(&node, "target", &[8080, 8081]);
    let (a, x) = (node.container("friend"), node.container("stranger"));
    let to = b.address();
    let closed = |c: &Container<'_>, port| assert_eq!(dials(c, &to, port), Attempt::Silence, "{} to {port}", c.name);
    closed(&a, 8080);
    // "From anywhere" is not meant for neighbours.
    b.cowl(&["firewall", "allow", "ingress", "tcp/8080"]).ok();
    closed(&a, 8080);
    b.cowl(&["firewall", "allow", "ingress", "tcp/8080", "--from", &a.address()]).ok();
    assert_eq!(dials(&a, &to, 8080), Attempt::Connected);
    closed(&a, 8081);
    closed(&x, 8080);
    // What the sender may not send is not let in, either.
    a.cowl(&["firewall", "allow", "egress", "tcp/443"]).ok();
    assert_eq!(dials(&a, &to, 8080), Attempt::Refused);
    a.node.cowl(&["--yes", "firewall", "reset", &a.id]).ok();
    b.cowl(&["firewall", "ingress", "delete", "--all"]).ok();
    closed(&a, 8080);
}

fn a_blocked_container_sends_nothing_and_still_serves() {
    let node = Plan::new("blocked").start();
    let world = World::new();
    world.serves(80);
    let c = served(&node, "agent", &[8080]);
    let domain = crate::harness::node::DOMAIN;
    let resolves = || c.exec(&format!("timeout 20 getent hosts api.{domain}")).code == 0;
    let to = world.address.to_string();
    let blocked = |when: &str| {
        assert_eq!(dials(&c, &to, 80), Attempt::Refused, "{when}");
        assert_eq!(dials(&c, "169.254.1.1", 443), Attempt::Refused, "{when}");
        assert_eq!(c.curl("http-8080", "/", &[]).status, 200, "{when}");
        assert!(host_reaches(&c.address(), 8080), "{when}");
    };
    assert!(resolves());
    let set = node.json(&["network", "set", "block", "-c", &c.id]);
    assert_eq!((&set["type"], &set["status"]), (&json!("block"), &json!("configured")));
    blocked("when configured");
    c.says("resolvectl flush-caches 2>/dev/null; true");
    assert!(!resolves(), "names leave a blocked container");
    assert_eq!(node.json(&["network", "start", &c.id])["status"], "running");
    blocked("when running");
    node.signal(Signal::SIGKILL);
    node.launch();
    blocked("after the node was killed");
    assert_eq!(node.json(&["network", "stop", &c.id])["status"], "stopped");
    assert_eq!(dials(&c, &to, 80), Attempt::Connected);
    assert_eq!(node.json(&["network", "get", &c.id])["remote_status"]["is_running"], false);
    node.json(&["network", "start", &c.id]);
    blocked("when started again");
    node.json(&["network", "delete", &c.id]);
    assert_eq!(dials(&c, &to, 80), Attempt::Connected);
    assert_eq!(node.json(&["network", "get", &c.id])["configured"], false);
    // What is not built says so, and changes nothing.
    let refused = node.cowl(&["network", "set", "socks5", "--proxy", "socks5://127.0.0.1:1", "-c", &c.id]);
    assert!(refused.refused(1).contains("not built"));
    assert_eq!(dials(&c, &to, 80), Attempt::Connected);
}

fn the_api_of_rules_is_the_public_one() {
    let node = shared::node();
    let c = node.container("api");
    let base = format!("/api/v1/containers/{}/firewall", c.id);
    let ask = |method: &str, path: &str, body: Option<Value>| {
        let body = body.map(|b| b.to_string());
        let reply = socket(&node, method, &format!("{base}/{path}"), body.as_deref());
        (reply.status, reply.json())
    };
    let ssh = json!({"action": "allow", "protocol": "tcp", "description": "office", "destination_port": "22",
                     "source": "192.0.2.0/24"});
    let (status, added) = ask("POST", "ingress", Some(ssh.clone()));
    assert_eq!((status, &added["data"]["state"], &added["data"]["source"]), (200, &json!("enabled"), &ssh["source"]));
    let (status, twice) = ask("POST", "ingress", Some(ssh.clone()));
    assert_eq!((status, &twice["data"]["duplicate_of"]), (409, &json!({"direction": "ingress", "index": 0})));
    let (status, toggled) = ask("PATCH", "ingress", Some(json!({"state": "disabled", "destination_port": "22"})));
    assert_eq!((status, &toggled["data"]["new_state"]), (200, &json!("disabled")));
    assert_eq!(toggled["data"]["updated"]["description"], "office");
    let (_, list) = ask("GET", "rules", None);
    let data = &list["data"];
    assert_eq!((&data["rule_count"], &data["ingress"][0]["direction"]), (&json!(1), &json!("ingress")), "{list}");
    assert!(data["byte_count"].as_u64() > Some(0) && data["max_rules"].is_u64() && data["max_bytes"].is_u64());
    for (method, path, body, expected, field) in [
        ("POST", "ingress", json!({"protocol": "tcp"}), 400, "/action"),
        ("POST", "egress", ssh.clone(), 400, "/source"),
        ("POST", "ingress", json!({"action": "allow", "protocol": "sctp", "description": ""}), 400, "/protocol"),
        ("POST", "ingress", json!({"nonsense": 1}), 400, "/nonsense"),
        ("PATCH", "ingress", json!({"destination_port": "22"}), 400, "/state"),
        ("DELETE", "ingress", json!({}), 400, "/"),
    ] {
        let (status, reply) = ask(method, path, Some(body.clone()));
        assert_eq!((status, &reply["data"][0]["instancePath"]), (expected, &json!(field)), "{method} {body}: {reply}");
    }
    assert_eq!(ask("DELETE", "ingress", Some(json!({"destination_port": "80"}))).0, 404);
    let (status, removed) = ask("DELETE", "ingress", Some(json!({"all": true})));
    assert_eq!((status, &removed["data"]["removed_count"]), (200, &json!(1)));
    let (status, reset) = ask("POST", "reset", None);
    assert_eq!((status, &reset["data"]["rules"]), (200, &json!({"ingress": [], "egress": []})));
    let nobody = socket(&node, "GET", "/api/v1/containers/0123456789abcdef01234567/firewall/rules", None);
    assert_eq!(nobody.status, 404);
    let events = socket(&node, "GET", "/api/v1/events?limit=50", None).body;
    for kind in ["firewall.rule.added", "firewall.rule.disabled", "firewall.rule.removed"] {
        assert!(events.contains(kind), "{kind} was not told: {events}");
    }
}

fn ipv6_works_where_the_host_has_it_and_is_absent_where_not() {
    let node = Plan::new("six").env("COWL_IPV6", "on").start();
    let world = World::new();
    world.serves(80);
    let (c, other) = (served(&node, "six", &[8080]), node.container("six"));
    let own = c.now()["address6"].as_str().expect("an IPv6 address").to_owned();
    assert!(c.says("cat /proc/net/if_inet6").lines().any(|l| l.starts_with(&own[..4].to_owned())), "{own}");
    let to = world.address6.to_string();
    assert_eq!(dials(&c, &to, 80), Attempt::Connected);
    // Names of the node have both kinds of address, and both work.
    let host = c.host("files-1");
    let found = c.says(&format!("getent ahostsv6 {host} | head -n 1"));
    assert!(found.starts_with("fd"), "{found}");
    for family in ["-4", "-6"] {
        let url = format!("https://{host}/api/v1/files/etc/hostname");
        assert_eq!(c.says(&format!("curl {family} -sk --max-time 10 {url}")), c.name, "{family}");
    }
    // No neighbour and nothing else of the host.
    assert_ne!(dials(&other, &own, 8080), Attempt::Connected);
    let gateway = found.split_whitespace().next().unwrap();
    assert_ne!(dials(&c, gateway, 22), Attempt::Connected);
    // Rules without addresses hold for both.
    c.cowl(&["firewall", "allow", "egress", "tcp/443"]).ok();
    assert_eq!(dials(&c, &to, 80), Attempt::Refused);
    c.cowl(&["firewall", "allow", "egress", "tcp/80"]).ok();
    assert_eq!(dials(&c, &to, 80), Attempt::Connected);
    c.node.cowl(&["network", "set", "block", "-c", &c.id]).ok();
    assert_eq!(dials(&c, &to, 80), Attempt::Refused);
    let prefix = node.json(&["status"])["network6"].as_str().unwrap().to_owned();
    drop((c, other));
    // The prefix stays the node's.
    assert_eq!(node.signal(Signal::SIGTERM), 0);
    node.launch();
    assert_eq!(node.json(&["status"])["network6"], prefix.as_str());

    let node = Plan::new("four").env("COWL_IPV6", "off").start();
    let c = node.container("four");
    assert_eq!(c.now().get("address6"), None);
    assert_eq!(node.json(&["status"]).get("network6"), None);
    assert_eq!(c.booted(), "running", "{}", c.exec("systemctl --failed --no-legend").stdout);
    assert_eq!(c.exec("getent ahostsv6 api.box.test | grep -v ffff").code, 1);
    assert_eq!(dials(&c, &world.address.to_string(), 80), Attempt::Connected);
}

/// Asks a resolver over UDP; the reply's code and its addresses of this type (1 is A).
fn asks(server: &str, name: &str, kind: u16) -> (u8, Vec<Vec<u8>>) {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.push(0);
    query.extend([kind.to_be_bytes(), [0, 1]].concat());
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    udp.send_to(&query, server).unwrap();
    let mut room = [0; 512];
    let n = udp.recv(&mut room).expect("an answer");
    let reply = &room[..n];
    let count = usize::from(reply[7]);
    let length = if kind == 1 { 4 } else { 16 };
    // Each record ends in its address; ours have nothing behind them.
    let records = &reply[query.len()..];
    let size = records.len().checked_div(count).unwrap_or(1);
    (reply[3] & 15, records.chunks(size).take(count).map(|r| r[r.len() - length..].to_vec()).collect())
}

fn names_of_containers_resolve_for_the_host() {
    let node = shared::node();
    let c = node.container("Named_one");
    let server = node.json(&["dns"])["address"].as_str().unwrap().to_owned();
    assert!(server.starts_with("127.0.0.1:"), "{server}");
    let label = c.name.to_lowercase().replace('_', "-");
    let octets = |text: String| text.parse::<std::net::Ipv4Addr>().unwrap().octets().to_vec();
    let name = format!("{label}.tests.cowl.internal");
    assert_eq!(asks(&server, &name, 1), (0, vec![octets(c.address())]));
    // And the address leads there.
    c.says(&crate::proxy::serve(8080, "named"));
    eventually("the server inside", 20, || host_reaches(&c.address(), 8080).then_some(()));
    let url = asks(&server, &c.host("terminal-1"), 1);
    assert_eq!(url, (0, vec![vec![127, 0, 0, 1]]));
    assert_eq!(asks(&server, "nobody.tests.cowl.internal", 1).0, 3, "NXDOMAIN");
    assert_eq!(asks(&server, "example.org", 1).0, 5, "REFUSED");
    node.cowl(&["containers", "stop", &c.id]).ok();
    assert_eq!(asks(&server, &name, 1), (0, vec![]));
    // To another container the same name leads to the node, as every name of its domains does.
    let other = node.container("asker");
    assert_eq!(
        other.says(&format!("getent ahostsv4 {name} | head -n 1")).split_whitespace().next(),
        Some("169.254.1.1")
    );
    let said = node.cowl(&["dns"]);
    assert!(said.ok().contains(&server) && said.stdout.contains("NAME.PROJECT"), "{said:#?}");
    let doctor = node.cowl(&["doctor"]);
    assert!(doctor.stdout.contains("computers by name") && doctor.stdout.contains("host limits"), "{doctor:#?}");
}
