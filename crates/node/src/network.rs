//! Choosing the containers' network: a private /16 that this host does not use.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;

use nix::fcntl::{Flock, FlockArg};

use cowl_engine::Ipv4Net;

/// Where a node claims its network against other nodes of this machine, before routes show it.
const CLAIMS: &str = "/run/lock";

/// A network with the claim on it, which lasts as long as the process.
#[derive(Debug)]
pub struct Claim {
    /// The network.
    pub network: Ipv4Net,
    _lock: Option<Flock<File>>,
}

/// Others' favourites that may come later than we do: podman's and docker's.
const AVOIDED: [Ipv4Net; 2] = [
    Ipv4Net { address: Ipv4Addr::new(10, 88, 0, 0), prefix: 16 },
    Ipv4Net { address: Ipv4Addr::new(172, 17, 0, 0), prefix: 16 },
];

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    let prefix = a.prefix.min(b.prefix);
    let mask = if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) };
    u32::from(a.address) & mask == u32::from(b.address) & mask
}

/// Candidates in the order they are tried: 10.201 – 10.254, then 10.100 – 10.200.
fn candidates() -> impl Iterator<Item = Ipv4Net> {
    (201..=254).chain(100..=200).map(|second| Ipv4Net { address: Ipv4Addr::new(10, second, 0, 0), prefix: 16 })
}

/// Reads `/proc/net/route`: destinations but the default route's. Hex, in host byte order.
fn parse_routes(table: &str) -> Vec<Ipv4Net> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = |i: usize| words.get(i).and_then(|w| u32::from_str_radix(w, 16).ok()).map(u32::from_be);
        let (address, mask) = (word(1)?, word(7)?);
        let prefix = u8::try_from(mask.count_ones()).ok()?;
        (prefix > 0).then(|| Ipv4Net { address: Ipv4Addr::from(address), prefix })
    };
    table.lines().skip(1).filter_map(row).collect()
}

fn claim(network: Ipv4Net) -> io::Result<Claim> {
    let path = format!("{CLAIMS}/cowl-network-{}", network.address);
    let file = match OpenOptions::new().write(true).create(true).truncate(false).open(&path) {
        Ok(file) => file,
        // No /run/lock here: routes are the only guard then.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Claim { network, _lock: None }),
        Err(e) => return Err(e),
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Claim { network, _lock: Some(lock) }),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Claims the network that was asked for or is remembered; another node must not have it.
///
/// # Errors
/// One line that says who is in the way.
pub fn take(network: Ipv4Net) -> Result<Claim, String> {
    claim(network).map_err(|_| format!("network {network} is in use by another cowl node; give another with --network"))
}

/// Finds a free network.
///
/// # Errors
/// When there is none.
pub fn find() -> Result<Claim, String> {
    let routes = fs::read_to_string("/proc/net/route").map(|table| parse_routes(&table)).unwrap_or_default();
    candidates()
        .filter(|net| is_free(*net, &routes))
        .find_map(|net| claim(net).ok())
        .ok_or_else(|| "no free private /16 was found; give one with --network".to_owned())
}

fn is_free(net: Ipv4Net, routes: &[Ipv4Net]) -> bool {
    routes.iter().chain(&AVOIDED).all(|used| !overlap(net, *used))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn routes_are_read_as_the_kernel_writes_them() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n\
                     eth0\t0000C90A\t00000000\t0001\t0\t0\t0\t0000FFFF\n\
                     veth\t1001CA0A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\n";
        assert_eq!(parse_routes(table), [net("10.201.0.0/16"), net("10.202.1.16/32")]);
    }

    #[test]
    fn a_used_network_is_passed_over() {
        let routes = [net("10.201.0.0/16"), net("10.202.1.16/32"), net("10.203.0.0/20")];
        assert_eq!(candidates().find(|n| is_free(*n, &routes)), Some(net("10.204.0.0/16")));
        assert!(!is_free(net("10.88.0.0/16"), &[]) && !is_free(net("172.17.0.0/16"), &[]));
        assert!(!is_free(net("10.201.0.0/16"), &[net("10.0.0.0/8")]));
    }

    proptest! {
        #[test]
        fn no_routing_table_breaks_the_parser(table in ".{0,200}") {
            let _ = parse_routes(&table);
        }
    }
}
