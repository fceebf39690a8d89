//! The node's nftables: one table, static rules, nothing per container.
//!
//! Containers are told apart by their interface: names start with `cw<tag>`. Anti-spoofing asks the
//! routing table (a packet must come in where its source address would be routed out), so starting
//! a container changes no rule.

use std::io::Write;
use std::process::{Command, Stdio};

use super::error::{Context, Error, Result};
use super::{Ipv4Net, net};

/// What of the node answers containers on their gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doors {
    /// Port of the resolver; containers' port 53 is redirected to it.
    pub dns: u16,
    /// Port of the proxy; containers' ports 443 and `public` are redirected to it, so that the URL
    /// of a container is the same inside and outside.
    pub proxy: u16,
    /// The port in the URLs that people see.
    pub public: u16,
}

/// The table of the node `tag`.
fn ruleset(tag: &str, network: Ipv4Net, doors: Doors) -> String {
    let gateway = net::GATEWAY;
    let Doors { dns, proxy, public } = doors;
    format!(
        r#"table inet cowl_{tag}
delete table inet cowl_{tag}
table inet cowl_{tag} {{
  chain spoof {{
    type filter hook prerouting priority raw; policy accept;
    iifname "cw{tag}*" meta nfproto ipv6 drop
    iifname "cw{tag}*" fib saddr . iif oif missing drop
  }}
  chain doors {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "cw{tag}*" ip daddr {gateway} udp dport 53 redirect to :{dns}
    iifname "cw{tag}*" ip daddr {gateway} tcp dport 53 redirect to :{dns}
    iifname "cw{tag}*" ip daddr {gateway} tcp dport 443 redirect to :{proxy}
    iifname "cw{tag}*" ip daddr {gateway} tcp dport {public} redirect to :{proxy}
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "cw{tag}*" ct state established,related accept
    iifname "cw{tag}*" ip daddr {gateway} meta l4proto {{ tcp, udp }} th dport {dns} accept
    iifname "cw{tag}*" ip daddr {gateway} tcp dport {proxy} accept
    iifname "cw{tag}*" ip daddr {gateway} icmp type echo-request accept
    iifname "cw{tag}*" ip daddr {gateway} reject with icmpx admin-prohibited
    iifname "cw{tag}*" drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "cw{tag}*" oifname "cw*" drop
    iifname "cw{tag}*" ip saddr != {network} drop
    iifname "cw{tag}*" ip daddr 169.254.0.0/16 drop
    oifname "cw{tag}*" ct state established,related accept
    oifname "cw{tag}*" drop
  }}
  chain nat {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {network} oifname != "cw*" masquerade
  }}
}}
"#
    )
}

/// Loads the table atomically, replacing an earlier one of this node.
///
/// # Errors
/// [`Error::Missing`] without nft; what nft said.
pub fn load(tag: &str, network: Ipv4Net, doors: Doors) -> Result<()> {
    nft(&ruleset(tag, network, doors))
}

/// Removes the table.
///
/// # Errors
/// As [`load`].
pub fn unload(tag: &str) -> Result<()> {
    nft(&format!("table inet cowl_{tag}\ndelete table inet cowl_{tag}\n"))
}

fn nft(script: &str) -> Result<()> {
    let spawned = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Missing { program: "nft".into(), package: "nftables".into() });
        }
        other => other.context(|| "run nft".into())?,
    };
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).context(|| "write to nft".into())?;
    }
    let output = child.wait_with_output().context(|| "wait for nft".into())?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Program {
        program: "nft".into(),
        status: output.status.to_string(),
        tail: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
