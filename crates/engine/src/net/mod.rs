//! A container's network: a veth pair without a bridge, set up over rtnetlink.
//!
//! Host side: `169.254.1.1/32` on the veth and a /32 route to the container. Inside: the
//! container's /32 and a default route by way of 169.254.1.1 on-link. The next hop is the same in
//! every container, so nothing about the host's network is visible inside. IPv6 goes the same way
//! with fe80::1 ([`ipv6`]).
//!
//! There is no second machine on the link: what a container says about others' addresses (ARP,
//! neighbour and router advertisements) reaches only the host's end, which heeds none of it
//! ([`GUARDS`]).
//!
//! What goes through the pair can be limited ([`rate`]); what may, is the [firewall](super::firewall)'s.

pub mod ipv6;
mod netlink;
pub mod rate;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use netlink_packet_route::address::AddressScope;

use super::error::{Context, Result};
use cowl_api::ContainerId;
use netlink::Netlink;

/// The gateway every container sees, on the host side of its veth; the node's DNS answers there.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Name of the interface inside.
pub const INSIDE: &str = "eth0";
/// How many digits of a container's id are in names of interfaces and chains: interface names hold
/// 15 characters.
pub const SHORT: usize = 8;

/// Settings of the host's end, below `/proc/sys/net`, with their reasons.
const GUARDS: [(&str, &str); 10] = [
    // A source that is not the container's is not even learnt as a neighbour: made-up ones would
    // fill the neighbour table that all interfaces of the host share.
    ("ipv4/conf/{}/rp_filter", "1"),
    // Neither asked nor asking does the host tell its other addresses.
    ("ipv4/conf/{}/arp_ignore", "1"),
    ("ipv4/conf/{}/arp_announce", "2"),
    ("ipv4/conf/{}/accept_redirects", "0"),
    ("ipv4/conf/{}/send_redirects", "0"),
    ("ipv4/conf/{}/accept_source_route", "0"),
    ("ipv6/conf/{}/accept_ra", "0"),
    ("ipv6/conf/{}/autoconf", "0"),
    ("ipv6/conf/{}/accept_redirects", "0"),
    // No link-local address from the hardware address; fe80::1 is given below.
    ("ipv6/conf/{}/addr_gen_mode", "1"),
];

/// The same for the container's end: it needs no advertisements and has one link-local address.
const INSIDE_SETTINGS: [(&str, &str); 3] =
    [("ipv6/conf/{}/accept_ra", "0"), ("ipv6/conf/{}/autoconf", "0"), ("ipv6/conf/{}/addr_gen_mode", "1")];

/// Name of a container's host-side interface: `cw`, the node's tag, the id's first 8 digits.
pub fn veth_name(tag: &str, id: &ContainerId) -> String {
    format!("cw{tag}{}", &id.as_str()[..SHORT])
}

/// The beginning of the id of the container of the node `tag` that has this host-side interface.
pub fn owner_of<'a>(tag: &str, interface: &'a str) -> Option<&'a str> {
    ["cw", "ci"].into_iter().find_map(|kind| interface.strip_prefix(kind)).and_then(|rest| rest.strip_prefix(tag))
}

/// Makes the pair, its far end `eth0` in the network namespace `netns`, and sets up the host side.
///
/// # Errors
/// The step that failed.
pub fn create(veth: &str, netns: BorrowedFd<'_>, address: Ipv4Addr, address6: Option<Ipv6Addr>) -> Result<()> {
    let mut rt = Netlink::open()?;
    // What a dead shim may have left.
    let _ = rt.delete_link(veth);
    rt.create_veth(veth, netns)?;
    let index = link_index(veth)?;
    settings(veth, &GUARDS)?;
    settings(veth, &[switch(address6)])?;
    rt.add_address(index, GATEWAY.into(), None, AddressScope::Link)?;
    rt.set_up(index)?;
    rt.add_host_route(index, address.into())?;
    let Some(address6) = address6 else { return Ok(()) };
    rt.add_address(index, ipv6::NEXT_HOP.into(), Some(64), AddressScope::Link)?;
    rt.add_address(index, ipv6::gateway(address6).into(), None, AddressScope::Universe)?;
    rt.add_host_route(index, address6.into())
}

/// Sets up the container's end; runs inside its network namespace.
///
/// # Errors
/// The step that failed.
pub fn configure_inside(address: Ipv4Addr, address6: Option<Ipv6Addr>) -> Result<()> {
    let mut rt = Netlink::open()?;
    rt.set_up(link_index("lo")?)?;
    let index = link_index(INSIDE)?;
    settings(INSIDE, &INSIDE_SETTINGS)?;
    settings(INSIDE, &[switch(address6)])?;
    rt.add_address(index, address.into(), None, AddressScope::Universe)?;
    rt.set_up(index)?;
    rt.add_default_route(index, GATEWAY.into())?;
    let Some(address6) = address6 else { return Ok(()) };
    rt.add_address(index, ipv6::NEIGHBOUR.into(), Some(64), AddressScope::Link)?;
    rt.add_address(index, address6.into(), None, AddressScope::Universe)?;
    rt.add_default_route(index, ipv6::NEXT_HOP.into())
}

/// IPv6 of an interface, on or off as there is an address for it, whatever the host's default is.
fn switch(address6: Option<Ipv6Addr>) -> (&'static str, &'static str) {
    ("ipv6/conf/{}/disable_ipv6", if address6.is_some() { "0" } else { "1" })
}

/// Writes settings of an interface. Those of IPv6 are absent on a host without it.
fn settings(interface: &str, all: &[(&str, &str)]) -> Result<()> {
    for (path, value) in all {
        let path = format!("/proc/sys/net/{}", path.replace("{}", interface));
        match std::fs::write(&path, value) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && path.contains("/ipv6/") => {}
            other => other.context(|| format!("write {path}"))?,
        }
    }
    Ok(())
}

/// Removes a container's pair and what [`rate`] made beside it; no error when they are gone already.
pub fn remove(veth: &str) {
    let Ok(mut rt) = Netlink::open() else { return };
    let ifb = rate::ifb_name(veth);
    for name in [veth, &ifb] {
        // Looking is cheaper than asking for a removal, which waits for all others.
        if link_index(name).is_ok() {
            let _ = rt.delete_link(name);
        }
    }
}

fn link_index(name: &str) -> Result<u32> {
    nix::net::if_::if_nametoindex(name).context(|| format!("find interface {name}"))
}
