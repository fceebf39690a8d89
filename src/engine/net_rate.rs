//! Rate limits of a container's network, by token buckets (tbf) set over rtnetlink.
//!
//! ```text
//!                 ┌── tbf ──┐
//!   the host ─────►  veth   ────────► container          what it receives
//!   the host ◄── tbf on ifb ◄── ingress of veth ◄──      what it sends
//! ```
//! A queue shapes only what leaves an interface. What the container sends *arrives* at the host's
//! end, so there it is redirected (u32, mirred) to an ifb of its own and shaped as it leaves that;
//! it then comes in as if from the veth, so the firewall sees no difference. Both queues are on the
//! host's side, where nothing inside can reach them. Without a limit there is no queue, no ifb and
//! no cost.
//!
//! Shaping, not policing: a packet too many waits up to [`QUEUE`] before it is dropped, which is
//! what TCP slows down by.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::error::{Context, Error, Result};

/// What may be sent at once after a pause, in parts of a second's rate.
const BURST: u64 = 20;
/// How much may wait, in parts of a second's rate.
const QUEUE: u64 = 5;

const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const NEW_QDISC: u16 = 36;
const DEL_QDISC: u16 = 37;
const NEW_FILTER: u16 = 44;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const REPLACE: u16 = 0x100;
const EXCL: u16 = 0x200;
const CREATE: u16 = 0x400;

const ROOT: u32 = 0xFFFF_FFFF;
const INGRESS: u32 = 0xFFFF_FFF1;
const INGRESS_HANDLE: u32 = 0xFFFF_0000;

/// Name of the interface through which what a container sends passes; `veth` is its host-side
/// interface (`cw…`, see `net::veth_name`).
pub fn ifb_name(veth: &str) -> String {
    format!("ci{}", veth.trim_start_matches("cw"))
}

/// Limits what the container behind `veth` receives, in bytes per second; `None` is no limit.
///
/// # Errors
/// [`Error::Unsupported`] when the kernel has no token buckets.
pub fn limit_received(veth: &str, rate: Option<u64>) -> Result<()> {
    let index = index(veth)?;
    let mut rt = Netlink::open()?;
    match rate {
        Some(rate) => rt.set_tbf(index, rate),
        None => rt.delete_qdisc(index, ROOT),
    }
}

/// Limits what the container behind `veth` sends, in bytes per second; `None` is no limit.
///
/// # Errors
/// [`Error::Unsupported`] when the kernel lacks a part of it.
pub fn limit_sent(veth: &str, rate: Option<u64>) -> Result<()> {
    let name = ifb_name(veth);
    let index = index(veth)?;
    let mut rt = Netlink::open()?;
    let Some(rate) = rate else {
        rt.delete_qdisc(index, INGRESS)?;
        return rt.delete_link(&name);
    };
    if let Ok(ifb) = self::index(&name) {
        return rt.set_tbf(ifb, rate);
    }
    rt.create_ifb(&name)?;
    let made = self::index(&name).and_then(|ifb| {
        rt.set_tbf(ifb, rate)?;
        rt.add_ingress(index)?;
        rt.redirect(index, ifb)
    });
    made.inspect_err(|_| {
        let _ = rt.delete_qdisc(index, INGRESS);
        let _ = rt.delete_link(&name);
    })
}

/// Removes what [`limit_sent`] made beside the veth; no error when there is nothing.
pub fn remove(veth: &str) {
    let name = ifb_name(veth);
    if index(&name).is_ok()
        && let Ok(mut rt) = Netlink::open()
    {
        let _ = rt.delete_link(&name);
    }
}

fn index(name: &str) -> Result<u32> {
    nix::net::if_::if_nametoindex(name).context(|| format!("find interface {name}"))
}

/// A netlink message under construction: attributes nest, lengths are filled in when they end.
struct Message(Vec<u8>);

impl Message {
    /// `fixed` is the family's header behind `nlmsghdr`.
    fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST | ACK | flags).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        Self(bytes)
    }

    /// `struct tcmsg` behind the header.
    fn tc(kind: u16, flags: u16, interface: u32, handle: u32, parent: u32, info: u32) -> Self {
        let mut fixed = vec![0; 4];
        for word in [interface, handle, parent, info] {
            fixed.extend_from_slice(&word.to_ne_bytes());
        }
        Self::new(kind, flags, &fixed)
    }

    fn attribute(mut self, kind: u16, payload: &[u8]) -> Self {
        let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(payload);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn text(self, kind: u16, text: &str) -> Self {
        self.attribute(kind, format!("{text}\0").as_bytes())
    }

    fn nested(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        let mut filled = fill(self);
        let length = u16::try_from(filled.0.len() - start).unwrap_or(u16::MAX);
        filled.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }
}

/// `struct tc_tbf_qopt`, whose buffer is given by an attribute of its own.
fn tbf_parameters(rate: u64) -> Vec<u8> {
    let queue = u32::try_from((rate / QUEUE).clamp(32 << 10, 8 << 20)).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(36);
    // tc_ratespec: cell_log, linklayer (ethernet, so that no table is wanted), overhead,
    // cell_align, mpu, rate.
    bytes.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend_from_slice(&[0; 12]);
    for word in [queue, 0, 0] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// Bytes that may go at once. A packet must fit.
fn burst(rate: u64) -> u32 {
    u32::try_from((rate / BURST).clamp(8 << 10, 4 << 20)).unwrap_or(u32::MAX)
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

    /// Sends a request and waits for the acknowledgement, an `NLMSG_ERROR` whose code is 0.
    fn request(&mut self, what: &str, message: Message) -> Result<()> {
        self.sequence += 1;
        let mut bytes = message.0;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        self.socket.send(&bytes, 0).context(|| format!("{what}: send"))?;
        let (reply, _) = self.socket.recv_from_full().context(|| format!("{what}: receive"))?;
        let code = reply.get(16..20).and_then(|word| word.try_into().ok()).map(i32::from_ne_bytes);
        match code {
            Some(0) => Ok(()),
            Some(code) => Err(std::io::Error::from_raw_os_error(-code)).context(|| what.to_owned()),
            None => Err(Error::Shim(format!("{what}: unreadable netlink reply"))),
        }
    }

    /// The same for what a kernel may have been built without.
    fn request_part(&mut self, part: &str, message: Message) -> Result<()> {
        match self.request(&format!("set {part}"), message) {
            Err(Error::Sys { source, .. })
                if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)) =>
            {
                Err(Error::Unsupported(format!("this kernel has no {part}")))
            }
            other => other,
        }
    }

    fn set_tbf(&mut self, interface: u32, rate: u64) -> Result<()> {
        let message = Message::tc(NEW_QDISC, CREATE | REPLACE, interface, 0x1_0000, ROOT, 0).text(1, "tbf").nested(
            2,
            |options| {
                let options = options.attribute(1, &tbf_parameters(rate)).attribute(6, &burst(rate).to_ne_bytes());
                if u32::try_from(rate).is_ok() { options } else { options.attribute(4, &rate.to_ne_bytes()) }
            },
        );
        self.request_part("sch_tbf (token bucket queues)", message)
    }

    fn delete_qdisc(&mut self, interface: u32, parent: u32) -> Result<()> {
        match self.request("remove a queue", Message::tc(DEL_QDISC, 0, interface, 0, parent, 0)) {
            // There was none.
            Err(Error::Sys { source, .. }) if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => {
                Ok(())
            }
            other => other,
        }
    }

    fn create_ifb(&mut self, name: &str) -> Result<()> {
        let mut up = [0; 16];
        // ifinfomsg: flags and the mask of flags to change, both IFF_UP.
        up[8..12].copy_from_slice(&1u32.to_ne_bytes());
        up[12..16].copy_from_slice(&1u32.to_ne_bytes());
        let message = Message::new(NEW_LINK, CREATE | EXCL, &up).text(3, name).nested(18, |info| info.text(1, "ifb"));
        self.request_part("ifb (intermediate interfaces)", message)
    }

    fn delete_link(&mut self, name: &str) -> Result<()> {
        match self.request("remove an ifb", Message::new(DEL_LINK, 0, &[0; 16]).text(3, name)) {
            Err(Error::Sys { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }

    fn add_ingress(&mut self, interface: u32) -> Result<()> {
        let message =
            Message::tc(NEW_QDISC, CREATE | REPLACE, interface, INGRESS_HANDLE, INGRESS, 0).text(1, "ingress");
        self.request_part("sch_ingress", message)
    }

    /// Sends all that comes in at `from` out of `to`.
    fn redirect(&mut self, from: u32, to: u32) -> Result<()> {
        const PRIORITY: u32 = 1;
        let every_protocol = u32::from(0x0003u16.to_be());
        // tc_u32_sel: terminal, with one key that matches everything.
        let mut selector = vec![0; 16];
        (selector[0], selector[2]) = (1, 1);
        selector.extend_from_slice(&[0; 16]);
        // tc_mirred: index, capabilities, TC_ACT_STOLEN, two counts, TCA_EGRESS_REDIR, where to.
        let mut mirred = Vec::with_capacity(28);
        for word in [0, 0, 4, 0, 0, 1, to] {
            mirred.extend_from_slice(&u32::to_ne_bytes(word));
        }
        let message = Message::tc(NEW_FILTER, CREATE | EXCL, from, 0, INGRESS_HANDLE, PRIORITY << 16 | every_protocol)
            .text(1, "u32")
            .nested(2, |options| {
                options.attribute(5, &selector).nested(7, |actions| {
                    actions.nested(1, |first| first.text(1, "mirred").nested(2, |o| o.attribute(2, &mirred)))
                })
            });
        self.request_part("cls_u32 or act_mirred (redirection)", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_attributes_know_their_lengths_and_are_padded() {
        let message = Message::new(1, 0, &[]).nested(7, |m| m.text(1, "abc").attribute(2, &[9]));
        assert_eq!(message.0[16..], [20, 0, 7, 0, 8, 0, 1, 0, b'a', b'b', b'c', 0, 5, 0, 2, 0, 9, 0, 0, 0]);
    }

    #[test]
    fn an_ifb_is_named_after_its_veth() {
        assert_eq!(ifb_name("cw12ab01234567"), "ci12ab01234567");
        assert!(ifb_name("cw12ab01234567").len() <= 15);
    }

    #[test]
    fn a_packet_always_fits_and_nothing_waits_for_seconds() {
        for rate in [4096, 1 << 20, 10 << 30] {
            assert!(burst(rate) >= 2 * 1514 && tbf_parameters(rate).len() == 36, "{rate}");
        }
    }
}
