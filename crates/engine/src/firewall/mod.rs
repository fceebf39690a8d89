//! The node's nftables: one table per node, told apart by its tag.
//!
//! Containers are told apart by their interface, whose name starts with `cw<tag>`. What holds for
//! all is a fixed set of chains ([`table`]); what holds for one is two or three chains of its own
//! ([`policy`]), found by interface name in a hash map: the cost of a packet does not grow with the
//! number of containers. Containers without rules have no chains at all, so starting one changes
//! nothing here.
//!
//! Every change is one transaction of nft: it holds as a whole or not at all, and there is no moment
//! without rules. The table lives in the kernel and outlives the node.
//!
//! ```text
//!           from a container                                  to a container
//! raw       spoof: source must be its own                     output: host → ingress rules
//! mangle    bound: so many connections per container
//! nat       doors: gateway:53, 443 → the node
//! input     doors only, nothing else of the host
//! forward   outbound: metadata, block, egress rules    then   inbound: grants or ingress rules
//! ```

mod policy;
mod table;

use std::io::Write;
use std::net::Ipv6Addr;
use std::process::{Command, Stdio};

use super::Ipv4Net;
use super::error::{Context, Error, Result};
use cowl_api::ContainerId;

pub use policy::Policy;

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

/// IPv6 of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Six {
    /// The containers' prefix, a /64.
    pub prefix: Ipv6Addr,
    /// As [`Doors::dns`], on the IPv6 gateway.
    pub dns: u16,
    /// As [`Doors::proxy`], on the IPv6 gateway.
    pub proxy: u16,
}

/// What the table is made from.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The containers' network.
    pub network: Ipv4Net,
    /// IPv6, where there is any.
    pub six: Option<Six>,
    /// What of the node answers.
    pub doors: Doors,
    /// Containers that have rules of their own.
    pub policies: Vec<(ContainerId, Policy)>,
}

/// Loads the table atomically, replacing an earlier one of this node.
///
/// # Errors
/// [`Error::Missing`] without nft; what nft said.
pub fn load(tag: &str, plan: &Plan) -> Result<()> {
    let mut script = table::ruleset(tag, plan);
    for (id, policy) in &plan.policies {
        script.push_str(&policy.script(tag, id, plan.network));
    }
    run(&["-f", "-"], &script).map(drop)
}

/// Makes a container's rules these, from this moment on, for connections under way as well.
///
/// # Errors
/// As [`load`]; the rules are then as before.
pub fn apply(tag: &str, id: &ContainerId, policy: &Policy, network: Ipv4Net) -> Result<()> {
    run(&["-f", "-"], &policy.script(tag, id, network)).map(drop)
}

/// Removes the table.
///
/// # Errors
/// As [`load`].
pub fn unload(tag: &str) -> Result<()> {
    run(&["-f", "-"], &format!("table inet cowl_{tag}\ndelete table inet cowl_{tag}\n")).map(drop)
}

/// Beginnings (8 digits) of the ids of containers that the table knows; none without a table.
///
/// # Errors
/// As [`load`].
pub fn known(tag: &str) -> Result<Vec<String>> {
    let listing = match run(&["-nn", "list", "table", "inet", &format!("cowl_{tag}")], "") {
        Err(Error::Program { tail, .. }) if tail.contains("No such file") => return Ok(Vec::new()),
        other => other?,
    };
    let mut found: Vec<String> = listing.lines().flat_map(policy::owners_in).collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// Removes what the table has for the container whose id begins with `short`.
///
/// # Errors
/// As [`load`].
pub fn forget(tag: &str, short: &str) -> Result<()> {
    run(&["-f", "-"], &policy::removal(tag, short)).map(drop)
}

/// Runs nft with `script` on its stdin; its output.
fn run(args: &[&str], script: &str) -> Result<String> {
    let spawned =
        Command::new("nft").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Missing { program: "nft".into(), package: "nftables".into() });
        }
        other => other.context(|| "run nft".into())?,
    };
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output().context(|| "wait for nft".into())?;
    // First what nft says: one that ends early takes no script.
    if !output.status.success() {
        return Err(Error::Program {
            program: "nft".into(),
            status: output.status.to_string(),
            tail: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    written.context(|| "write to nft".into())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
