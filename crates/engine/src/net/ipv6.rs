//! IPv6 of a node and its containers: a private prefix of the node's own, translated to the host's
//! address on the way out (NAT66).
//!
//! A node draws a random /64 out of fd00::/8 (RFC 4193) once and keeps it. A container's address is
//! that prefix with the container's index in the node's network, so it holds for life like the IPv4
//! one. Because the prefix is private, programs prefer IPv4 where a name has both (RFC 6724): IPv6
//! serves what is reached in no other way.
//!
//! A host without a way out over IPv6 gives its containers none.

use std::net::Ipv6Addr;
use std::path::Path;

use crate::error::{Context, Result};

/// Next hop of every container, on the host side of its veth.
pub const NEXT_HOP: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The one link-local address a container may use.
pub const NEIGHBOUR: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// A random unique local /64.
pub fn random_prefix() -> Ipv6Addr {
    let [a, b, c]: [u16; 3] = rand::random();
    Ipv6Addr::new(0xfd00 | (a & 0xff), b, c, 0, 0, 0, 0, 0)
}

/// Whether an address is what [`random_prefix`] gives.
pub fn is_prefix(address: Ipv6Addr) -> bool {
    let s = address.segments();
    s[0] >> 8 == 0xfd && s[3..] == [0; 5]
}

/// Where the node answers containers, DNS and the proxy. `near` is the prefix or any address in it.
/// Like 169.254.1.1, every veth's host side has it.
pub fn gateway(near: Ipv6Addr) -> Ipv6Addr {
    address(Ipv6Addr::from(u128::from(near) >> 64 << 64), 1)
}

/// The address with this index.
pub fn address(prefix: Ipv6Addr, index: u32) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(prefix) | u128::from(index))
}

/// Whether the host has a way out over IPv6: a default route that is not a dead end.
pub fn host_has_it() -> bool {
    std::fs::read_to_string("/proc/net/ipv6_route").is_ok_and(|table| has_default_route(&table))
}

/// Reads `/proc/net/ipv6_route`: destination, its prefix length, source, its prefix length, next
/// hop, metric, use, reference count, flags, interface; hex.
fn has_default_route(table: &str) -> bool {
    /// Packets are refused (`include/uapi/linux/ipv6_route.h`: RTF_REJECT).
    const REJECT: u32 = 0x0200;
    table.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [to, "00", _, _, _, _, _, _, flags, device] = words[..] else { return false };
        let rejects = u32::from_str_radix(flags, 16).is_ok_and(|f| f & REJECT != 0);
        to.bytes().all(|b| b == b'0') && !rejects && device != "lo"
    })
}

/// Makes the host forward IPv6. Idempotent.
///
/// # Errors
/// When the kernel refuses.
pub fn prepare() -> Result<()> {
    keep_router_advertisements();
    let forwarding = "/proc/sys/net/ipv6/conf/all/forwarding";
    std::fs::write(forwarding, "1").at("write", Path::new(forwarding))
}

/// A host that forwards stops heeding router advertisements unless told to (`accept_ra` 2), and
/// would lose its own default route. So those that heed them are told before.
fn keep_router_advertisements() {
    for entry in std::fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten() {
        let accept = entry.path().join("accept_ra");
        if std::fs::read_to_string(&accept).is_ok_and(|v| v.trim() == "1") {
            let _ = std::fs::write(&accept, "2");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_dead_end_is_no_way_out() {
        let zero = "0".repeat(32);
        let row = |flags: &str, device: &str| {
            format!(
                "{zero} 00 {zero} 00 fd000000000000000000000000000001 00000400 00000001 00000000 {flags}     {device}\n"
            )
        };
        assert!(has_default_route(&row("00000003", "eth0")));
        assert!(!has_default_route(&row("00200200", "lo")));
        let own = format!("fd00{} 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n", "0".repeat(28));
        assert!(!has_default_route(&own));
    }

    #[test]
    fn a_prefix_is_private_and_leaves_the_host_part_free() {
        for _ in 0..32 {
            let prefix = random_prefix();
            assert!(is_prefix(prefix), "{prefix}");
            assert_eq!(address(prefix, 0x1234).segments()[7], 0x1234);
        }
        assert!(!is_prefix("2001:db8::".parse().unwrap()) && !is_prefix("fd00::1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn no_routing_table_breaks_the_parser(table in ".{0,200}") {
            let _ = has_default_route(&table);
        }
    }
}
