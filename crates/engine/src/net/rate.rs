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

use super::link_index;
use super::netlink::Netlink;
use crate::error::{Error, Result};

/// What may be sent at once after a pause, in parts of a second's rate.
const BURST: u64 = 20;
/// How much may wait, in parts of a second's rate.
const QUEUE: u64 = 5;

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
/// interface (`cw…`, see [`veth_name`](super::veth_name)).
pub fn ifb_name(veth: &str) -> String {
    format!("ci{}", veth.strip_prefix("cw").unwrap_or(veth))
}

/// Limits what the container behind `veth` receives, in bytes per second; `None` is no limit.
///
/// # Errors
/// [`Error::Unsupported`] when the kernel has no token buckets.
pub fn limit_received(veth: &str, rate: Option<u64>) -> Result<()> {
    let index = link_index(veth)?;
    let mut rt = Netlink::open()?;
    match rate {
        Some(rate) => set_tbf(&mut rt, index, rate),
        None => delete_qdisc(&mut rt, index, ROOT),
    }
}

/// Limits what the container behind `veth` sends, in bytes per second; `None` is no limit.
///
/// # Errors
/// [`Error::Unsupported`] when the kernel lacks a part of it.
pub fn limit_sent(veth: &str, rate: Option<u64>) -> Result<()> {
    let name = ifb_name(veth);
    let index = link_index(veth)?;
    let mut rt = Netlink::open()?;
    let Some(rate) = rate else {
        delete_qdisc(&mut rt, index, INGRESS)?;
        return rt.delete_link(&name);
    };
    if let Ok(ifb) = link_index(&name) {
        return set_tbf(&mut rt, ifb, rate);
    }
    part("ifb (intermediate interfaces)", rt.create_ifb(&name))?;
    let made = link_index(&name).and_then(|ifb| {
        set_tbf(&mut rt, ifb, rate)?;
        add_ingress(&mut rt, index)?;
        redirect(&mut rt, index, ifb)
    });
    made.inspect_err(|_| {
        let _ = delete_qdisc(&mut rt, index, INGRESS);
        let _ = rt.delete_link(&name);
    })
}

/// A message about traffic control under construction: attributes nest, lengths are filled in when
/// they end. The crate for the others knows no token buckets.
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

/// Names what a kernel may have been built without.
fn part(name: &str, done: Result<()>) -> Result<()> {
    match done {
        Err(Error::Sys { source, .. }) if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)) => {
            Err(Error::Unsupported(format!("this kernel has no {name}")))
        }
        other => other,
    }
}

fn set_tbf(rt: &mut Netlink, interface: u32, rate: u64) -> Result<()> {
    let message =
        Message::tc(NEW_QDISC, CREATE | REPLACE, interface, 0x1_0000, ROOT, 0).text(1, "tbf").nested(2, |options| {
            let options = options.attribute(1, &tbf_parameters(rate)).attribute(6, &burst(rate).to_ne_bytes());
            if u32::try_from(rate).is_ok() { options } else { options.attribute(4, &rate.to_ne_bytes()) }
        });
    part("sch_tbf (token bucket queues)", rt.exchange("set a token bucket queue", message.0))
}

fn delete_qdisc(rt: &mut Netlink, interface: u32, parent: u32) -> Result<()> {
    match rt.exchange("remove a queue", Message::tc(DEL_QDISC, 0, interface, 0, parent, 0).0) {
        // There was none.
        Err(Error::Sys { source, .. }) if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(()),
        other => other,
    }
}

fn add_ingress(rt: &mut Netlink, interface: u32) -> Result<()> {
    let message = Message::tc(NEW_QDISC, CREATE | REPLACE, interface, INGRESS_HANDLE, INGRESS, 0).text(1, "ingress");
    part("sch_ingress", rt.exchange("set an ingress queue", message.0))
}

/// Sends all that comes in at `from` out of `to`.
fn redirect(rt: &mut Netlink, from: u32, to: u32) -> Result<()> {
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
    part("cls_u32 or act_mirred (redirection)", rt.exchange("set a redirection", message.0))
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
