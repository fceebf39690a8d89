//! One call on the container's system bus: just enough of the D-Bus protocol (specification 0.43,
//! "Authentication" and "Message Protocol") to ask systemd-logind something and to receive a
//! descriptor with its answer. Blocks; every wait has a deadline.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// Largest reply that is read, bytes; ours have a few hundred.
const REPLY_MAX: usize = 64 * 1024;
/// Longest line of the handshake, bytes.
const LINE_MAX: usize = 256;
/// Messages of others (signals, say) that may come before the reply.
const OTHERS_MAX: usize = 64;

const CALL: u8 = 1;
const REPLY: u8 = 2;
const ERROR: u8 = 3;

/// The body of a message being written: each value on its natural boundary, in little endian.
#[derive(Debug, Default)]
pub struct Body(Vec<u8>);

impl Body {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    /// Appends a `u`.
    pub fn number(&mut self, value: u32) -> &mut Self {
        self.align(4);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Appends an `s` or an `o`.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.number(u32::try_from(value.len()).unwrap_or(0));
        self.0.extend(value.as_bytes());
        self.0.push(0);
        self
    }

    /// Appends a `b`.
    pub fn flag(&mut self, value: bool) -> &mut Self {
        self.number(value.into())
    }

    /// Appends an empty array of structs.
    pub fn no_structs(&mut self) -> &mut Self {
        self.number(0).align(8);
        self
    }

    fn signature(&mut self, value: &str) {
        self.0.push(u8::try_from(value.len()).unwrap_or(0));
        self.0.extend(value.as_bytes());
        self.0.push(0);
    }
}

/// A method and where it is.
#[derive(Debug, Clone, Copy)]
pub struct Method<'a> {
    /// Whose.
    pub destination: &'a str,
    /// Which object.
    pub path: &'a str,
    /// Which interface of it.
    pub interface: &'a str,
    /// Its name.
    pub member: &'a str,
    /// The types of its arguments.
    pub signature: &'a str,
}

fn message(serial: u32, method: Method<'_>, body: &Body) -> Vec<u8> {
    let mut out = Body(vec![b'l', CALL, 0, 1]);
    out.number(u32::try_from(body.0.len()).unwrap_or(0)).number(serial);
    let mut fields = Body::default();
    let texts =
        [(1, "o", method.path), (2, "s", method.interface), (3, "s", method.member), (6, "s", method.destination)];
    for (code, kind, value) in texts {
        fields.align(8);
        fields.0.push(code);
        fields.signature(kind);
        fields.text(value);
    }
    if !method.signature.is_empty() {
        fields.align(8);
        fields.0.push(8);
        fields.signature("g");
        fields.signature(method.signature);
    }
    // The array of fields begins at offset 16, a multiple of 8: alignment within it is the same.
    out.number(u32::try_from(fields.0.len()).unwrap_or(0));
    out.0.extend(fields.0);
    out.align(8);
    out.0.extend(&body.0);
    out.0
}

/// What came back for a call.
#[derive(Debug)]
pub struct Answer {
    /// The reply's arguments, as they came.
    pub body: Vec<u8>,
    /// Descriptors that came with it.
    pub fds: Vec<OwnedFd>,
}

/// Calls `method` on the bus at `socket` as root.
///
/// # Errors
/// What the socket says; `TimedOut` when there is no answer within `patience`; the peer's error.
pub fn call(socket: &Path, method: Method<'_>, arguments: &Body, patience: Duration) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // "30" is the hexadecimal of "0", our uid's text.
    stream.write_all(b"\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n")?;
    for wanted in ["OK ", "AGREE_UNIX_FD"] {
        let line = line(&mut stream)?;
        if !line.starts_with(wanted) {
            return Err(io::Error::other(format!("the bus refuses us: {line}")));
        }
    }
    let bus = "org.freedesktop.DBus";
    let hello =
        Method { destination: bus, path: "/org/freedesktop/DBus", interface: bus, member: "Hello", signature: "" };
    stream.write_all(&message(1, hello, &Body::default()))?;
    stream.write_all(&message(2, method, arguments))?;
    let mut fds = Vec::new();
    for _ in 0..OTHERS_MAX {
        let (head, body) = receive(&stream, &mut fds)?;
        match head.kind {
            ERROR if matches!(head.reply_to, Some(1 | 2)) => {
                return Err(io::Error::other(first_text(&body).unwrap_or("the bus says no").to_owned()));
            }
            REPLY if head.reply_to == Some(2) => return Ok(Answer { body, fds }),
            _ => fds.clear(),
        }
    }
    Err(io::Error::other("the bus talks of other things"))
}

/// The text that a body begins with.
pub fn first_text(body: &[u8]) -> Option<&str> {
    let length = u32::from_le_bytes(body.get(..4)?.try_into().ok()?);
    let end = usize::try_from(length).ok()?.checked_add(4)?;
    std::str::from_utf8(body.get(4..end)?).ok()
}

fn line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LINE_MAX {
        stream.read_exact(&mut byte)?;
        match byte[0] {
            b'\n' => return Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            other => line.push(other),
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// What of a message's header matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    kind: u8,
    /// Bytes of header fields, without padding, and of body.
    fields: usize,
    body: usize,
    reply_to: Option<u32>,
}

impl Head {
    const FIXED: usize = 16;

    /// Reads the first 16 bytes.
    fn fixed(bytes: &[u8; Self::FIXED]) -> io::Result<Self> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        let head = Self { kind: bytes[1], body: number(4), fields: number(12), reply_to: None };
        // The daemon sends in our byte order, as every message is remarshalled only when it differs.
        if bytes[0] != b'l' || head.body > REPLY_MAX || head.fields > REPLY_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(head)
    }

    /// Finds the serial that a reply is for among the header fields.
    fn find_reply_to(fields: &[u8]) -> Option<u32> {
        let mut at = 0usize;
        loop {
            at = at.checked_next_multiple_of(8)?;
            let code = *fields.get(at)?;
            let kind = fields.get(at + 2).filter(|_| fields.get(at + 1) == Some(&1))?;
            let value = at + 4;
            at = match kind {
                b'u' => {
                    let number = u32::from_le_bytes(fields.get(value..value + 4)?.try_into().ok()?);
                    if code == 5 {
                        return Some(number);
                    }
                    value + 4
                }
                b's' | b'o' => {
                    let length = u32::from_le_bytes(fields.get(value..value + 4)?.try_into().ok()?);
                    value.checked_add(5)?.checked_add(usize::try_from(length).ok()?)?
                }
                b'g' => value + 2 + usize::from(*fields.get(value)?),
                _ => return None,
            };
        }
    }
}

fn receive(stream: &UnixStream, fds: &mut Vec<OwnedFd>) -> io::Result<(Head, Vec<u8>)> {
    let mut fixed = [0; Head::FIXED];
    exact(stream, &mut fixed, fds)?;
    let mut head = Head::fixed(&fixed)?;
    let mut rest = vec![0; head.fields.next_multiple_of(8) + head.body];
    exact(stream, &mut rest, fds)?;
    let body = rest.split_off(head.fields.next_multiple_of(8));
    head.reply_to = Head::find_reply_to(&rest[..head.fields]);
    Ok((head, body))
}

/// Fills `buffer` and keeps descriptors that come along.
fn exact(stream: &UnixStream, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [io::IoSliceMut::new(&mut buffer[filled..])];
        let received = match rustix::net::recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            other => other?,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += received.bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use proptest::prelude::*;

    use super::*;

    const METHOD: Method<'_> =
        Method { destination: "org.test", path: "/org/test", interface: "org.test.I", member: "Do", signature: "us" };

    #[test]
    fn a_call_has_the_layout_of_the_specification() {
        let mut body = Body::default();
        body.number(7).text("hi");
        let bytes = message(2, METHOD, &body);
        assert_eq!(&bytes[..12], b"l\x01\x00\x01\x0b\x00\x00\x00\x02\x00\x00\x00");
        let head = Head::fixed(bytes[..16].try_into().unwrap()).unwrap();
        assert_eq!(bytes.len(), 16 + head.fields.next_multiple_of(8) + 11);
        assert_eq!(&bytes[16..32], b"\x01\x01o\x00\x09\x00\x00\x00/org/tes");
        assert_eq!(&bytes[bytes.len() - 11..], b"\x07\x00\x00\x00\x02\x00\x00\x00hi\x00");
    }

    /// A message from the bus: kind, for which call, with this text.
    fn from_bus(kind: u8, reply_to: u32, text: &str) -> Vec<u8> {
        let mut body = Body::default();
        body.text(text);
        let mut out = Body(vec![b'l', kind, 1, 1]);
        out.number(u32::try_from(body.0.len()).unwrap()).number(9);
        let mut fields = Body::default();
        // A field before the one that matters.
        fields.0.push(6);
        fields.signature("s");
        fields.text(":1.5");
        fields.align(8);
        fields.0.push(5);
        fields.signature("u");
        fields.number(reply_to);
        out.number(u32::try_from(fields.0.len()).unwrap());
        out.0.extend(fields.0);
        out.align(8);
        out.0.extend(body.0);
        out.0
    }

    fn bus_that_says(messages: Vec<Vec<u8>>) -> io::Result<Answer> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        let bus = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(b"OK 0123\r\nAGREE_UNIX_FD\r\n");
            messages.iter().for_each(|m| drop(stream.write_all(m)));
            // Closing with unread input would reset the connection.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let answer = call(&path, METHOD, Body::default().number(1).text("x"), Duration::from_secs(5));
        bus.join().unwrap();
        answer
    }

    #[test]
    fn the_reply_is_found_among_other_messages() {
        let answer =
            bus_that_says(vec![from_bus(REPLY, 1, ":1.7"), from_bus(4, 0, "NameAcquired"), from_bus(REPLY, 2, "c1")]);
        assert_eq!(first_text(&answer.unwrap().body), Some("c1"));
    }

    #[test]
    fn an_error_and_an_early_end_are_told() {
        let refused = bus_that_says(vec![from_bus(REPLY, 1, ":1.7"), from_bus(ERROR, 2, "not you")]);
        assert_eq!(refused.unwrap_err().to_string(), "not you");
        assert_eq!(bus_that_says(vec![]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            let _ = Head::find_reply_to(&bytes);
            let _ = first_text(&bytes);
            if let Ok(fixed) = <&[u8; 16]>::try_from(&bytes[..bytes.len().min(16)]) {
                let _ = Head::fixed(fixed);
            }
        }
    }
}
