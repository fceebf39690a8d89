//! What holds for every container of a node.

use super::{Doors, Plan, Six};
use crate::net;

/// Connections one container may have at once, TCP, UDP and others together. The host tracks at
/// least a million (`engine::sysctl`); no single container can fill that.
const CONNECTIONS: u32 = 8192;
/// Where clouds tell machines their secrets, beside 169.254.0.0/16: Azure, Alibaba, Oracle.
const METADATA: &str = "169.254.0.0/16, 168.63.129.16, 100.100.100.200, 192.0.0.192";
/// The same over IPv6: AWS, Google.
const METADATA6: &str = "fd00:ec2::254, fd20:ce::254";

/// The table without the containers' own chains, as one transaction that replaces the table.
pub(super) fn ruleset(tag: &str, plan: &Plan) -> String {
    let gateway = net::GATEWAY;
    let network = plan.network;
    let Doors { dns, proxy, public } = plan.doors;
    let Lines { spoof, chain, doors, guard, input, outbound, nat } = six(tag, plan);
    let from = format!("iifname \"cw{tag}*\"");
    let to = format!("oifname \"cw{tag}*\"");
    format!(
        r#"table inet cowl_{tag}
delete table inet cowl_{tag}
table inet cowl_{tag} {{
  set blocked {{ type ifname; }}
  map egress {{ type ifname : verdict; }}
  map ingress {{ type ifname : verdict; }}
  map granted {{ type ifname : verdict; }}
  set flows {{ type ipv4_addr; size 65536; flags dynamic; }}
  set flows6 {{ type ipv6_addr; size 65536; flags dynamic; }}
  counter spoofed {{ }}
  counter flooded {{ }}
  counter metadata {{ }}
  counter adjacent {{ }}
{chain}
  chain refused {{
    meta l4proto tcp reject with tcp reset
    reject with icmpx admin-prohibited
  }}
  chain spoof {{
    type filter hook prerouting priority raw; policy accept;
    {from} meta nfproto ipv6 {spoof}
    {from} fib saddr . iif oif missing counter name spoofed drop
  }}
  chain bound {{
    type filter hook prerouting priority mangle; policy accept;
    {from} ct state new add @flows {{ ip saddr ct count over {CONNECTIONS} }} counter name flooded drop
    {from} ct state new add @flows6 {{ ip6 saddr ct count over {CONNECTIONS} }} counter name flooded drop
  }}
  chain doors {{
    type nat hook prerouting priority dstnat; policy accept;
    {from} ip daddr {gateway} udp dport 53 redirect to :{dns}
    {from} ip daddr {gateway} tcp dport 53 redirect to :{dns}
    {from} ip daddr {gateway} tcp dport 443 redirect to :{proxy}
    {from} ip daddr {gateway} tcp dport {public} redirect to :{proxy}
{doors}
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname != "cw{tag}*" iifname != "lo" ip daddr {gateway} meta l4proto {{ tcp, udp }} th dport {{ {dns}, {proxy} }} drop
{guard}
    iifname != "cw{tag}*" accept
    ct direction reply ct state established,related accept
{input}
    iifname @blocked goto refused
    ip daddr {gateway} meta l4proto {{ tcp, udp }} th dport {dns} accept
    ip daddr {gateway} tcp dport {proxy} accept
    ip daddr {gateway} icmp type echo-request accept
    ip daddr {gateway} reject with icmpx admin-prohibited
    drop
  }}
  chain output {{
    type filter hook output priority filter; policy accept;
    {to} ct direction original oifname vmap @ingress
  }}
  chain outbound {{
    ct direction reply ct state established,related accept
    ct status dnat drop
    ip saddr != {network} drop
    ip daddr {{ {METADATA} }} counter name metadata drop
{outbound}
    oifname "cw*" oifname != "cw{tag}*" counter name adjacent drop
    iifname @blocked goto refused
    iifname vmap @egress
  }}
  chain inbound {{
    {from} oifname vmap @granted
    iifname "cw*" counter name adjacent drop
    ct direction reply ct state established,related accept
    oifname vmap @ingress
    drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    {from} jump outbound
    {to} jump inbound
  }}
  chain nat {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {network} oifname != "cw*" masquerade
{nat}
  }}
}}
"#
    )
}

/// What of the chains is about IPv6.
#[derive(Default)]
struct Lines {
    spoof: String,
    chain: String,
    doors: String,
    guard: String,
    input: String,
    outbound: String,
    nat: String,
}

fn six(tag: &str, plan: &Plan) -> Lines {
    let Some(Six { prefix, dns, proxy }) = plan.six else {
        return Lines { spoof: "counter name spoofed drop".into(), ..Lines::default() };
    };
    let (gateway, near, inside) = (net::ipv6::gateway(prefix), net::ipv6::NEXT_HOP, net::ipv6::NEIGHBOUR);
    let public = plan.doors.public;
    let from = format!("iifname \"cw{tag}*\"");
    Lines {
        spoof: "goto spoof6".into(),
        // Link-local addresses are for finding neighbours, and each container has one only: made-up
        // ones would fill the host's neighbour table.
        chain: format!(
            r"  chain spoof6 {{
    icmpv6 type {{ mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report }} drop
    icmpv6 type {{ nd-router-solicit, nd-router-advert, nd-redirect }} counter name spoofed drop
    ip6 saddr {inside} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
    ip6 saddr {{ fe80::/10, :: }} counter name spoofed drop
    fib saddr . iif oif missing counter name spoofed drop
  }}"
        ),
        doors: format!(
            r"    {from} ip6 daddr {gateway} udp dport 53 dnat ip6 to [{gateway}]:{dns}
    {from} ip6 daddr {gateway} tcp dport 53 dnat ip6 to [{gateway}]:{dns}
    {from} ip6 daddr {gateway} tcp dport {{ 443, {public} }} dnat ip6 to [{gateway}]:{proxy}"
        ),
        guard: format!("    iifname != \"cw{tag}*\" iifname != \"lo\" ip6 daddr {gateway} drop"),
        input: format!(
            r"    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
    iifname @blocked goto refused
    ip6 daddr {gateway} meta l4proto {{ tcp, udp }} th dport {dns} accept
    ip6 daddr {gateway} tcp dport {proxy} accept
    ip6 daddr {{ {gateway}, {near} }} icmpv6 type echo-request accept
    ip6 daddr {{ {gateway}, {near} }} reject with icmpx admin-prohibited"
        ),
        outbound: format!(
            r"    ip6 saddr != {prefix}/64 drop
    ip6 daddr {{ {METADATA6} }} counter name metadata drop"
        ),
        nat: format!("    ip6 saddr {prefix}/64 oifname != \"cw*\" masquerade"),
    }
}
