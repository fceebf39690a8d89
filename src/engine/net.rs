//! A container's network: a veth pair without a bridge, set up over rtnetlink.
//!
//! Host side: `169.254.1.1/32` on the veth and a /32 route to the container. Inside: the
//! container's /32 and a default route by way of 169.254.1.1 on-link. The next hop is the same in
//! every container, so nothing about the host's network is visible inside.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::error::{Context, Error, Result};
use crate::api::ContainerId;

/// The gateway every container sees, on the host side of its veth; the node's DNS answers there.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Name of the interface inside.
pub const INSIDE: &str = "eth0";

/// Name of a container's host-side interface: `cw`, the node's tag, the id's first 8 digits
/// (interface names hold 15 characters).
pub fn veth_name(tag: &str, id: &ContainerId) -> String {
    format!("cw{tag}{}", &id.as_str()[..8])
}

/// Makes the pair, its far end `eth0` in the network namespace `netns`, and sets up the host side.
///
/// # Errors
/// The step that failed.
pub fn create(veth: &str, netns: BorrowedFd<'_>, address: Ipv4Addr) -> Result<()> {
    let mut rt = Netlink::open()?;
    // What a dead shim may have left.
    let _ = rt.delete_link(veth);
    rt.create_veth(veth, netns)?;
    let index = link_index(veth)?;
    rt.add_address(index, GATEWAY, AddressScope::Link)?;
    rt.set_up(index)?;
    rt.add_route(index, Some(address), None)
}

/// Sets up the container's end; runs inside its network namespace.
///
/// # Errors
/// The step that failed.
pub fn configure_inside(address: Ipv4Addr) -> Result<()> {
    let mut rt = Netlink::open()?;
    rt.set_up(link_index("lo")?)?;
    let index = link_index(INSIDE)?;
    rt.add_address(index, address, AddressScope::Universe)?;
    rt.set_up(index)?;
    rt.add_route(index, None, Some(GATEWAY))
}

/// Removes a container's pair; no error when it is gone already.
pub fn remove(veth: &str) {
    if let Ok(mut rt) = Netlink::open() {
        let _ = rt.delete_link(veth);
    }
}

fn link_index(name: &str) -> Result<u32> {
    nix::net::if_::if_nametoindex(name).context(|| format!("find interface {name}"))
}

struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE).context(|| "open a netlink socket".into())?;
        socket.bind_auto().context(|| "bind a netlink socket".into())?;
        socket.connect(&SocketAddr::new(0, 0)).context(|| "connect a netlink socket".into())?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends one request and waits for the kernel's acknowledgement.
    fn request(&mut self, what: &str, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.sequence += 1;
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut buf = vec![0; packet.buffer_len()];
        packet.serialize(&mut buf);
        self.socket.send(&buf, 0).context(|| format!("{what}: send"))?;
        let (reply, _) = self.socket.recv_from_full().context(|| format!("{what}: receive"))?;
        let parsed = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&reply)
            .map_err(|e| Error::Shim(format!("{what}: unreadable netlink reply: {e}")))?;
        match parsed.payload {
            NetlinkPayload::Error(e) if e.code.is_some() => Err(e.to_io()).context(|| what.to_owned()),
            _ => Ok(()),
        }
    }

    fn create_veth(&mut self, name: &str, netns: BorrowedFd<'_>) -> Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes.push(LinkAttribute::IfName(INSIDE.into()));
        peer.attributes.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.into()));
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        let what = format!("create veth {name}");
        self.request(&what, RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
    }

    fn delete_link(&mut self, name: &str) -> Result<()> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.into()));
        self.request("delete veth", RouteNetlinkMessage::DelLink(link), 0)
    }

    fn set_up(&mut self, index: u32) -> Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.request("set interface up", RouteNetlinkMessage::SetLink(link), 0)
    }

    fn add_address(&mut self, index: u32, address: Ipv4Addr, scope: AddressScope) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = 32;
        message.header.scope = scope;
        message.header.index = index;
        message.attributes.push(AddressAttribute::Local(IpAddr::V4(address)));
        message.attributes.push(AddressAttribute::Address(IpAddr::V4(address)));
        let what = format!("add address {address}");
        self.request(&what, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// A /32 route to `to` on this link, or without `to` a default route via `gateway` on-link.
    fn add_route(&mut self, index: u32, to: Option<Ipv4Addr>, gateway: Option<Ipv4Addr>) -> Result<()> {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.header.protocol = RouteProtocol::Static;
        route.header.kind = RouteType::Unicast;
        route.header.scope = if gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
        if let Some(to) = to {
            route.header.destination_prefix_length = 32;
            route.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(to)));
        }
        if let Some(gateway) = gateway {
            route.header.flags = RouteFlags::Onlink;
            route.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
        }
        route.attributes.push(RouteAttribute::Oif(index));
        let what = to.map_or("add default route".to_owned(), |to| format!("add route to {to}"));
        self.request(&what, RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_REPLACE)
    }
}
