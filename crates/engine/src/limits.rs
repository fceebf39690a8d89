//! A container's limits, all of them together: groups, network, disk.
//!
//! ```text
//! node, before a start    disk     quota::Quotas
//! shim, before init runs  groups   cgroup::limits
//! shim, with the veth     network  net::rate
//! node, while it runs     all three again, as they are now
//! ```
//! Nothing here fails because a limit cannot hold: what falls short is told.

use std::path::Path;

use super::cgroup::Cgroups;
use super::cgroup::limits::{Groups, Shortfall};
use super::quota::Quotas;
use super::{Error, net};
use cowl_api::ContainerId;
use cowl_api::settings::{Limits, Size};

/// Limits what goes through a container's veth.
pub fn network(veth: &str, limits: &Limits, groups: Groups) -> Vec<Shortfall> {
    type Set = fn(&str, Option<u64>) -> super::Result<()>;
    let directions: [(&'static str, Option<Size>, Set); 2] = [
        ("network_in", limits.network_in, net::rate::limit_received),
        ("network_out", limits.network_out, net::rate::limit_sent),
    ];
    let mut short = Vec::new();
    for (field, rate, set) in directions {
        if groups == Groups::Fresh && rate.is_none() {
            continue;
        }
        if let Err(error) = set(veth, rate.map(|Size(bytes)| bytes))
            && rate.is_some()
        {
            short.push(Shortfall::new(field, error.to_string()));
        }
    }
    short
}

/// Limits what a container may take on disk. Works on any container, running or not.
///
/// # Errors
/// When the kernel refuses; a file system without quotas is a shortfall.
pub fn disk(quotas: &Quotas, id: &ContainerId, disk: &Path, limits: &Limits) -> super::Result<Vec<Shortfall>> {
    let bytes = limits.disk.map(|Size(bytes)| bytes);
    let holds = quotas.usage(id).and_then(|now| now.limit);
    if bytes.is_none() && holds.is_none() {
        return Ok(Vec::new());
    }
    let late = quotas.adopt(id, disk)?;
    match quotas.limit(id, bytes) {
        Ok(()) if late => Ok(vec![Shortfall::new(
            "disk",
            "what the container wrote before disk quotas were switched on does not count",
        )]),
        Ok(()) => Ok(Vec::new()),
        Err(Error::Unsupported(says)) => Ok(vec![Shortfall::new("disk", says)]),
        Err(other) => Err(other),
    }
}

/// Makes all limits of a running container hold as they are now.
///
/// # Errors
/// As [`disk`].
pub fn apply(
    cgroups: &Cgroups,
    tag: &str,
    quotas: &Quotas,
    id: &ContainerId,
    path: &Path,
    limits: &Limits,
) -> super::Result<Vec<Shortfall>> {
    let mut short = cgroups.limit(id, limits, path, Groups::Used);
    short.extend(network(&net::veth_name(tag, id), limits, Groups::Used));
    short.extend(disk(quotas, id, path, limits)?);
    Ok(short)
}
