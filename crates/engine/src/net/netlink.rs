//! rtnetlink: one request, one answer.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::INSIDE;
use crate::error::{Context, Error, Result};

/// A socket to the kernel's routing.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

fn family(address: IpAddr) -> (AddressFamily, u8) {
    if address.is_ipv4() { (AddressFamily::Inet, 32) } else { (AddressFamily::Inet6, 128) }
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(a) => RouteAddress::Inet(a),
        IpAddr::V6(a) => RouteAddress::Inet6(a),
    }
}

impl Netlink {
    pub(super) fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE).context(|| "open a netlink socket".into())?;
        socket.bind_auto().context(|| "bind a netlink socket".into())?;
        socket.connect(&SocketAddr::new(0, 0)).context(|| "connect a netlink socket".into())?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends one request and waits for the kernel's acknowledgement.
    fn request(&mut self, what: &str, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.exchange(what, bytes)
    }

    /// Sends the bytes of one message, whose length and number are filled in here, and waits for
    /// the acknowledgement, an `NLMSG_ERROR` whose code is 0.
    pub(super) fn exchange(&mut self, what: &str, mut bytes: Vec<u8>) -> Result<()> {
        self.sequence += 1;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        self.socket.send(&bytes, 0).context(|| format!("{what}: send"))?;
        let (reply, _) = self.socket.recv_from_full().context(|| format!("{what}: receive"))?;
        let parsed = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&reply)
            .map_err(|e| Error::Shim(format!("{what}: unreadable netlink reply: {e}")))?;
        match parsed.payload {
            NetlinkPayload::Error(e) if e.code.is_some() => Err(e.to_io()).context(|| what.to_owned()),
            _ => Ok(()),
        }
    }

    pub(super) fn create_veth(&mut self, name: &str, netns: BorrowedFd<'_>) -> Result<()> {
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

    /// An interface through which packets can be sent on their way to another, switched on.
    pub(super) fn create_ifb(&mut self, name: &str) -> Result<()> {
        let mut link = LinkMessage::default();
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        link.attributes.push(LinkAttribute::IfName(name.into()));
        link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]));
        let what = format!("create ifb {name}");
        self.request(&what, RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes an interface; no error when there is none.
    pub(super) fn delete_link(&mut self, name: &str) -> Result<()> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.into()));
        match self.request(&format!("delete {name}"), RouteNetlinkMessage::DelLink(link), 0) {
            Err(Error::Sys { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }

    pub(super) fn set_up(&mut self, index: u32) -> Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.request("set interface up", RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Adds an address with a prefix length of its own size, or `prefix`.
    pub(super) fn add_address(
        &mut self,
        index: u32,
        address: IpAddr,
        prefix: Option<u8>,
        scope: AddressScope,
    ) -> Result<()> {
        let (family, whole) = family(address);
        let mut message = AddressMessage::default();
        message.header.family = family;
        message.header.prefix_len = prefix.unwrap_or(whole);
        message.header.scope = scope;
        message.header.index = index;
        // Nobody else is on the link whose address it could be.
        if family == AddressFamily::Inet6 {
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        message.attributes.push(AddressAttribute::Local(address));
        message.attributes.push(AddressAttribute::Address(address));
        let what = format!("add address {address}");
        self.request(&what, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// A route to the one address `to` on this link.
    pub(super) fn add_host_route(&mut self, index: u32, to: IpAddr) -> Result<()> {
        let (family, whole) = family(to);
        let mut route = route(family, index);
        route.header.scope = if to.is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
        route.header.destination_prefix_length = whole;
        route.attributes.push(RouteAttribute::Destination(route_address(to)));
        self.add_route(&format!("add route to {to}"), route)
    }

    /// A default route by way of `gateway`, which is on this link whatever the addresses say.
    pub(super) fn add_default_route(&mut self, index: u32, gateway: IpAddr) -> Result<()> {
        let (family, _) = family(gateway);
        let mut route = route(family, index);
        route.header.flags = RouteFlags::Onlink;
        route.attributes.push(RouteAttribute::Gateway(route_address(gateway)));
        self.add_route(&format!("add default route by {gateway}"), route)
    }

    fn add_route(&mut self, what: &str, route: RouteMessage) -> Result<()> {
        self.request(what, RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_REPLACE)
    }
}

fn route(family: AddressFamily, index: u32) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Static;
    route.header.kind = RouteType::Unicast;
    route.header.scope = RouteScope::Universe;
    route.attributes.push(RouteAttribute::Oif(index));
    route
}
