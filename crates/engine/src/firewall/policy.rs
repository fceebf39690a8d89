//! What holds for one container: its firewall rules, and whether anything leaves it at all.
//!
//! | chain | who comes here | after the rules |
//! |---|---|---|
//! | `out_<short>` | what the container sends to the world | rejected |
//! | `in_<short>` | what the host or the world sends to it | rejected |
//! | `grant_<short>` | what other containers send to it | dropped |
//!
//! A chain exists while a rule of its direction counts. Rules stand in the order drop, reject,
//! allow, whatever the order they were added in: adding one never needs a place. `grant` holds
//! allow rules only whose sources all lie in the containers' network: "from anywhere" is not meant
//! for neighbours.
//!
//! A rule without addresses holds for IPv6 as well; one with addresses, and ICMP, for IPv4 only.
//! Nothing that a person typed gets into the script: only numbers, addresses and our own words.

use std::fmt::{Display, Write};
use std::net::Ipv4Addr;

use crate::{Ipv4Net, net};
use cowl_api::ContainerId;
use cowl_api::firewall::{Action, Direction, Protocol, Rule, Rules};

/// The chains of a container and the map each is found by.
const CHAINS: [(&str, &str); 3] = [("out", "egress"), ("in", "ingress"), ("grant", "granted")];

/// What holds for one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Its rules; those that are switched off have no effect.
    pub rules: Rules,
    /// Nothing leaves it but replies.
    pub blocked: bool,
}

impl Policy {
    /// Whether it says anything at all.
    pub fn is_empty(&self) -> bool {
        !self.blocked && self.rules.iter().all(|(_, rule)| !rule.is_enabled())
    }

    /// The transaction that makes a container's rules these.
    pub(super) fn script(&self, tag: &str, id: &ContainerId, network: Ipv4Net) -> String {
        let (table, short) = (format!("inet cowl_{tag}"), short(id));
        let mut script = removal(tag, short);
        let mut chain = |name: &str, map: &str, rules: Vec<String>| {
            if rules.is_empty() {
                return;
            }
            let _ = writeln!(script, "add chain {table} {name}_{short}");
            for rule in rules {
                let _ = writeln!(script, "add rule {table} {name}_{short} {rule}");
            }
            let _ = writeln!(script, "add element {table} {map} {{ \"cw{tag}{short}\" : goto {name}_{short} }}");
        };
        let [(out, egress), (inn, ingress), (grant, granted)] = CHAINS;
        chain(out, egress, self.direction(Direction::Egress));
        chain(inn, ingress, self.direction(Direction::Ingress));
        chain(grant, granted, self.grants(network));
        if self.blocked {
            let _ = writeln!(script, "add element {table} blocked {{ \"cw{tag}{short}\" }}");
        }
        script
    }

    fn ordered(&self, direction: Direction) -> Vec<&Rule> {
        let all = match direction {
            Direction::Ingress => &self.rules.ingress,
            Direction::Egress => &self.rules.egress,
        };
        let mut counting: Vec<&Rule> = all.iter().filter(|r| r.is_enabled()).collect();
        counting.sort_by_key(|r| r.action);
        counting
    }

    fn direction(&self, direction: Direction) -> Vec<String> {
        let rules = self.ordered(direction);
        if rules.is_empty() {
            return Vec::new();
        }
        let last = ["goto refused".to_owned()];
        rules.into_iter().map(|rule| statement(rule, direction)).chain(last).collect()
    }

    fn grants(&self, network: Ipv4Net) -> Vec<String> {
        let last = u32::from(network.address) | u32::MAX.checked_shr(network.prefix.into()).unwrap_or(0);
        let near = |rule: &Rule| rule.peer.within(network.address, Ipv4Addr::from(last));
        let rules = self.ordered(Direction::Ingress);
        if !rules.iter().any(|r| r.action == Action::Allow && near(r)) {
            return Vec::new();
        }
        let counting = rules.into_iter().filter(|r| r.action != Action::Allow || near(r));
        counting.map(|rule| statement(rule, Direction::Ingress)).chain(["drop".to_owned()]).collect()
    }
}

fn short(id: &ContainerId) -> &str {
    &id.as_str()[..net::SHORT]
}

/// Takes a container's chains away, whether they are there or not: nft has no "delete if exists",
/// but adding what is there already is no error.
pub(super) fn removal(tag: &str, short: &str) -> String {
    let table = format!("inet cowl_{tag}");
    let mut script = String::new();
    for (name, map) in CHAINS {
        let _ = write!(
            script,
            "add chain {table} {name}_{short}\n\
             add element {table} {map} {{ \"cw{tag}{short}\" : goto {name}_{short} }}\n\
             delete element {table} {map} {{ \"cw{tag}{short}\" }}\n\
             flush chain {table} {name}_{short}\n\
             delete chain {table} {name}_{short}\n"
        );
    }
    let _ = write!(
        script,
        "add element {table} blocked {{ \"cw{tag}{short}\" }}\n\
         delete element {table} blocked {{ \"cw{tag}{short}\" }}\n"
    );
    script
}

/// The containers that a line of nft's listing is about: by the name of a chain, or by elements.
pub(super) fn owners_in(line: &str) -> Vec<String> {
    let hex = |word: &&str| word.len() == net::SHORT && word.bytes().all(|b| b.is_ascii_hexdigit());
    let chain = line.trim().strip_prefix("chain ").and_then(|rest| rest.split([' ', '{']).next());
    let of_chain = chain.and_then(|name| CHAINS.iter().find_map(|(p, _)| name.strip_prefix(p)?.strip_prefix('_')));
    // Elements: `"cw<tag><short>"`.
    let of_elements = line.split('"').filter_map(|word| word.strip_prefix("cw")?.get(4..));
    of_chain.into_iter().chain(of_elements).filter(hex).map(str::to_owned).collect()
}

fn statement(rule: &Rule, direction: Direction) -> String {
    let mut words = String::new();
    if !rule.peer.is_any() {
        let field = if direction == Direction::Ingress { "saddr" } else { "daddr" };
        let _ = write!(words, "ip {field} {{ {} }} ", ranges(rule.peer.as_slice()));
    }
    let protocol = match rule.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp4 => "icmp",
    };
    let _ = match (rule.protocol, rule.icmp_type) {
        (Protocol::Icmp4, None) => write!(words, "ip protocol icmp "),
        (Protocol::Icmp4, Some(kind)) => write!(words, "icmp type {kind} "),
        _ => write!(words, "{protocol} dport {{ {} }} ", ranges(rule.destination_port.as_slice())),
    };
    if let Some(code) = rule.icmp_code {
        let _ = write!(words, "icmp code {code} ");
    }
    if !rule.source_port.is_any() {
        let _ = write!(words, "{protocol} sport {{ {} }} ", ranges(rule.source_port.as_slice()));
    }
    words.push_str(match (rule.action, direction) {
        (Action::Drop, _) => "drop",
        (Action::Reject, _) => "goto refused",
        // What leaves may still have another container's inbound rules before it.
        (Action::Allow, Direction::Egress) => "return",
        (Action::Allow, Direction::Ingress) => "accept",
    });
    words
}

fn ranges<T: Display + PartialEq>(all: &[(T, T)]) -> String {
    let one = |(a, b): &(T, T)| if a == b { a.to_string() } else { format!("{a}-{b}") };
    all.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use cowl_api::firewall::RuleBody;

    fn rule(direction: Direction, value: serde_json::Value) -> Rule {
        serde_json::from_value::<RuleBody>(value).unwrap().rule(direction).unwrap()
    }

    fn network() -> Ipv4Net {
        "10.201.0.0/16".parse().unwrap()
    }

    #[test]
    fn rules_stand_in_the_order_drop_reject_allow_and_end_in_a_reject() {
        let add = |action: &str, port: &str| {
            rule(
                Direction::Egress,
                json!({"action": action, "protocol": "tcp", "description": "x", "destination_port": port}),
            )
        };
        let mut policy = Policy::default();
        policy.rules.egress = vec![add("allow", "443"), add("drop", "25"), add("reject", "80-90")];
        let lines = policy.direction(Direction::Egress);
        assert_eq!(
            lines,
            ["tcp dport { 25 } drop", "tcp dport { 80-90 } goto refused", "tcp dport { 443 } return", "goto refused"]
        );
        assert!(policy.direction(Direction::Ingress).is_empty());
        for r in &mut policy.rules.egress {
            r.state = cowl_api::firewall::RuleState::Disabled;
        }
        assert!(policy.is_empty() && policy.direction(Direction::Egress).is_empty());
    }

    #[test]
    fn only_a_rule_that_names_neighbours_lets_neighbours_in() {
        let from = |source: &str| {
            let value = json!({"action": "allow", "protocol": "tcp", "description": "", "destination_port": "80", "source": source});
            Policy { rules: Rules { ingress: vec![rule(Direction::Ingress, value)], egress: vec![] }, blocked: false }
        };
        for closed in ["0.0.0.0/0", "192.0.2.1", "10.0.0.0/8", "10.201.0.7,192.0.2.1"] {
            assert!(from(closed).grants(network()).is_empty(), "{closed}");
        }
        let open = from("10.201.0.7").grants(network());
        assert_eq!(open, ["ip saddr { 10.201.0.7 } tcp dport { 80 } accept", "drop"]);
    }

    #[test]
    fn what_is_listed_is_traced_to_its_container() {
        for (line, owners) in [
            ("\tchain out_0123abcd {", vec!["0123abcd"]),
            ("\tchain outbound {", vec![]),
            ("\t\telements = { \"cw6e760123abcd\" : goto out_0123abcd,", vec!["0123abcd"]),
            ("\t\telements = { \"cw6e760123abcd\", \"cw6e764567abcd\" }", vec!["0123abcd", "4567abcd"]),
            ("\t\tiifname \"cw6e76*\" jump outbound", vec![]),
        ] {
            assert_eq!(owners_in(line), owners, "{line}");
        }
    }

    proptest! {
        #[test]
        fn nothing_a_person_typed_gets_into_the_script(description in ".{0,60}", port in 1u16.., blocked: bool) {
            let id = ContainerId::generate();
            let with = |d: &str| {
                let value = json!({"action": "allow", "protocol": "udp", "description": d, "destination_port": port.to_string()});
                let rules = Rules { ingress: vec![rule(Direction::Ingress, value)], egress: vec![] };
                Policy { rules, blocked }.script("abcd", &id, network())
            };
            prop_assert_eq!(with(&description), with(""));
        }
    }
}
