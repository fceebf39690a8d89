//! The host's resolvers: who they are, and asking them.
//!
//! A query is passed on as it came but for its id. Each try has its own socket, port and id, and a
//! reply counts only if it comes from the resolver asked, with that id and the same question.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Header, MessageType, Query, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{DnsConfig, read_framed, write_framed};

/// Resolvers taken from the file.
const SERVERS: usize = 4;
/// Times the list is gone through by UDP, where a packet may be lost.
const UDP_ROUNDS: usize = 2;
/// The file is looked at no more often than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Largest UDP reply.
const UDP_REPLY_BYTES: usize = 65_535;

/// How a client came, and so how its query goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// The host's resolvers.
pub(super) struct Upstreams {
    file: PathBuf,
    port: u16,
    patience: Duration,
    /// Our own address, which the file may name.
    own: SocketAddr,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    looked: Option<Instant>,
    stamp: Option<Stamp>,
    servers: Arc<[SocketAddr]>,
}

/// Which version of the file was read.
#[derive(PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Upstreams {
    pub(super) fn new(cfg: &DnsConfig, own: SocketAddr) -> Self {
        Self {
            file: cfg.resolv_conf.clone(),
            port: cfg.upstream_port,
            patience: cfg.upstream_timeout,
            own,
            known: Mutex::default(),
        }
    }

    /// The reply of the first resolver that gives a useful one, under the id of `query`; a failure
    /// of a resolver is passed on only when no other does better.
    pub(super) async fn ask(&self, query: &[u8], by: Transport) -> Option<Vec<u8>> {
        let servers = self.servers();
        let mut second_best = None;
        let rounds = if by == Transport::Udp { UDP_ROUNDS } else { 1 };
        for server in servers.iter().cycle().take(servers.len() * rounds) {
            let asked = match by {
                Transport::Udp => timeout(self.patience, ask_udp(*server, query)).await,
                Transport::Tcp => timeout(self.patience, ask_tcp(*server, query)).await,
            };
            match asked {
                Ok(Ok((reply, ResponseCode::ServFail | ResponseCode::Refused))) if servers.len() > 1 => {
                    second_best = Some(reply);
                }
                Ok(Ok((reply, _))) => return Some(reply),
                Ok(Err(error)) => tracing::debug!(%server, %error, "a resolver could not be asked"),
                Err(_) => tracing::debug!(%server, "a resolver did not answer in time"),
            }
        }
        second_best
    }

    /// The resolvers, from the file as it is now.
    fn servers(&self) -> Arc<[SocketAddr]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return Arc::clone(&known.servers);
        }
        known.looked = Some(Instant::now());
        let stamp = fs::metadata(&self.file).ok().map(|m| Stamp {
            inode: m.ino(),
            size: m.size(),
            seconds: m.mtime(),
            nanoseconds: m.mtime_nsec(),
        });
        if stamp.is_none() || stamp != known.stamp {
            // A file that is gone or unreadable names nobody, as in resolv.conf(5).
            let text = fs::read_to_string(&self.file).unwrap_or_default();
            let servers: Vec<_> =
                nameservers(&text, self.port).into_iter().filter(|s| *s != self.own).take(SERVERS).collect();
            tracing::debug!(?servers, "the host's resolvers");
            known.servers = servers.into();
            known.stamp = stamp;
        }
        Arc::clone(&known.servers)
    }
}

/// The resolvers a resolv.conf(5) names; with none, the one on this host.
fn nameservers(text: &str, port: u16) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    let mut servers: Vec<SocketAddr> = named.filter_map(|address| server(address, port)).collect();
    if servers.is_empty() {
        servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    servers
}

/// An address, which may name an interface: `fe80::1%eth0`.
fn server(address: &str, port: u16) -> Option<SocketAddr> {
    let Some((ip, interface)) = address.split_once('%') else {
        return Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port));
    };
    let scope = interface.parse().ok().or_else(|| nix::net::if_::if_nametoindex(interface).ok())?;
    Some(SocketAddrV6::new(ip.parse::<Ipv6Addr>().ok()?, port, 0, scope).into())
}

async fn ask_udp(server: SocketAddr, query: &[u8]) -> io::Result<(Vec<u8>, ResponseCode)> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    // Connected, so that the kernel drops what others send.
    socket.connect(server).await?;
    let sent = Sent::new(query)?;
    socket.send(&sent.bytes).await?;
    let mut room = vec![0; UDP_REPLY_BYTES];
    loop {
        let len = socket.recv(&mut room).await?;
        // Anything else may be a forgery; the true reply may still come.
        if let Some(code) = sent.is_answered_by(&room[..len]) {
            room.truncate(len);
            return Ok((sent.restore(room), code));
        }
    }
}

async fn ask_tcp(server: SocketAddr, query: &[u8]) -> io::Result<(Vec<u8>, ResponseCode)> {
    let mut stream = TcpStream::connect(server).await?;
    let sent = Sent::new(query)?;
    write_framed(&mut stream, &sent.bytes).await?;
    let reply = read_framed(&mut stream).await?;
    match sent.is_answered_by(&reply) {
        Some(code) => Ok((sent.restore(reply), code)),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the reply is to another question")),
    }
}

/// A query under an id of our own.
struct Sent {
    bytes: Vec<u8>,
    id: u16,
    clients_id: [u8; 2],
    question: Query,
}

impl Sent {
    fn new(query: &[u8]) -> io::Result<Self> {
        let (header, question) = head(query).ok_or(io::ErrorKind::InvalidData)?;
        let id: u16 = rand::random();
        let mut bytes = query.to_vec();
        // `head` has read the two bytes of the id.
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        Ok(Self { bytes, id, clients_id: header.metadata.id.to_be_bytes(), question })
    }

    /// The outcome, if `reply` answers this query.
    fn is_answered_by(&self, reply: &[u8]) -> Option<ResponseCode> {
        let mut decoder = BinDecoder::new(reply);
        let header = Header::read(&mut decoder).ok()?;
        if header.metadata.id != self.id || header.metadata.message_type != MessageType::Response {
            return None;
        }
        let code = header.metadata.response_code;
        // A resolver that could not read the query may leave the question out.
        let unread = header.counts.queries == 0 && matches!(code, ResponseCode::FormErr | ResponseCode::NotImp);
        let same = header.counts.queries == 1 && Query::read(&mut decoder).is_ok_and(|q| q == self.question);
        (same || unread).then_some(code)
    }

    /// The reply as the client expects it.
    fn restore(&self, mut reply: Vec<u8>) -> Vec<u8> {
        reply[..2].copy_from_slice(&self.clients_id);
        reply
    }
}

fn head(message: &[u8]) -> Option<(Header, Query)> {
    let mut decoder = BinDecoder::new(message);
    let header = Header::read(&mut decoder).ok()?;
    Some((header, Query::read(&mut decoder).ok()?))
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Message;
    use hickory_proto::rr::{Name, RecordType};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn resolvers_are_read_as_resolv_conf_says() {
        let text = "# c\nsearch x\nnameserver 10.0.0.1 # near\n nameserver\t::1\nnameserver\nnameserver what\n;nameserver 9.9.9.9\nnameserver fe80::1%1\n";
        let got: Vec<String> = nameservers(text, 53).iter().map(ToString::to_string).collect();
        assert_eq!(got, ["10.0.0.1:53", "[::1]:53", "[fe80::1%1]:53"]);
        assert_eq!(nameservers("search x", 53), [SocketAddr::from(([127, 0, 0, 1], 53))]);
    }

    #[test]
    fn the_node_never_forwards_to_itself() {
        let dir = tempfile::TempDir::new().unwrap();
        let own: SocketAddr = "127.0.0.1:53".parse().unwrap();
        let mut cfg =
            DnsConfig::new(own, vec!["a.b".into()], super::super::Answer { v4: Some(Ipv4Addr::LOCALHOST), v6: None });
        cfg.resolv_conf = dir.path().join("resolv.conf");
        assert!(Upstreams::new(&cfg, own).servers().is_empty(), "without a file the default is ourselves");
        fs::write(&cfg.resolv_conf, "nameserver 127.0.0.1\nnameserver 127.0.0.2\n").unwrap();
        assert_eq!(*Upstreams::new(&cfg, own).servers(), ["127.0.0.2:53".parse().unwrap()]);
    }

    fn query() -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii("example.org.").unwrap(), RecordType::A));
        message.to_vec().unwrap()
    }

    #[test]
    fn only_the_right_id_and_question_answer() {
        let sent = Sent::new(&query()).unwrap();
        let mut good = sent.bytes.clone();
        assert_eq!(sent.is_answered_by(&good), None, "a query is no reply");
        good[2] |= 0x80;
        assert_eq!(sent.is_answered_by(&good), Some(ResponseCode::NoError));
        assert_eq!(sent.restore(good.clone())[..2], sent.clients_id);
        let mut other_id = good.clone();
        other_id[1] ^= 1;
        assert_eq!(sent.is_answered_by(&other_id), None);
        let mut other_name = good.clone();
        other_name[14] ^= 1;
        assert_eq!(sent.is_answered_by(&other_name), None);
        let mut other_type = good.clone();
        let len = other_type.len();
        other_type[len - 3] ^= 1;
        assert_eq!(sent.is_answered_by(&other_type), None);
    }

    proptest! {
        #[test]
        fn no_file_panics(text in "(nameserver |[0-9a-f:.%\\n ]|\\PC){0,40}") {
            nameservers(&text, 53);
        }

        #[test]
        fn no_query_or_reply_panics(bytes: Vec<u8>) {
            let _ = Sent::new(&bytes);
            Sent::new(&query()).unwrap().is_answered_by(&bytes);
        }
    }
}
