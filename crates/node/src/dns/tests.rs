//! The resolver on real sockets, with resolvers of the test behind it.

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tempfile::TempDir;

use super::*;

/// A resolver under test.
struct House {
    at: SocketAddr,
    dir: TempDir,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl House {
    /// Forwards to `upstreams` at `port`.
    fn new(upstreams: &[&str], port: u16) -> Self {
        let dir = TempDir::new().unwrap();
        let mut cfg =
            DnsConfig::new("127.0.0.1:0".parse().unwrap(), vec!["cowl.internal".into()], leads([169, 254, 1, 1]));
        cfg.resolv_conf = dir.path().join("resolv.conf");
        cfg.upstream_port = port;
        cfg.upstream_timeout = Duration::from_millis(200);
        let lines: String = upstreams.iter().map(|u| format!("nameserver {u}\n")).collect();
        std::fs::write(&cfg.resolv_conf, lines).unwrap();
        let resolver = Resolver::bind(cfg).unwrap();
        let (at, shutdown) = (resolver.local_addr(), CancellationToken::new());
        let running = tokio::spawn(resolver.serve(shutdown.clone()));
        Self { at, dir, shutdown, running }
    }

    async fn udp(&self, name: &str) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let asked = question(name);
        socket.send_to(&asked, self.at).await.unwrap();
        let mut room = [0; 4096];
        let (len, _) = timeout(Duration::from_secs(5), socket.recv_from(&mut room)).await.unwrap().unwrap();
        assert_eq!(room[..2], asked[..2], "another id");
        Message::from_vec(&room[..len]).unwrap()
    }

    async fn tcp(&self, name: &str) -> Message {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        write_framed(&mut stream, &question(name)).await.unwrap();
        let reply = timeout(Duration::from_secs(5), read_framed(&mut stream)).await.unwrap().unwrap();
        Message::from_vec(&reply).unwrap()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

fn address(reply: &Message) -> Option<IpAddr> {
    reply.answers.first().and_then(|a| match a.data {
        RData::A(A(ip)) => Some(ip.into()),
        _ => None,
    })
}

fn leads(to: [u8; 4]) -> Answer {
    Answer { v4: Some(to.into()), v6: None }
}

fn answer(query: &[u8], ip: [u8; 4]) -> Message {
    let mut reply = Message::from_vec(query).unwrap();
    reply.metadata.message_type = MessageType::Response;
    let name = reply.queries[0].name().clone();
    reply.add_answer(Record::from_rdata(name, 1, RData::A(A(ip.into()))));
    reply
}

/// How a resolver of the test behaves.
#[derive(Clone, Copy)]
enum Manner {
    Answer([u8; 4]),
    Fail,
    Truncate,
    /// Sends forged replies before the true one.
    Forged,
    /// Answers only the second time it is asked.
    LoseFirst([u8; 4]),
}

/// A resolver at `ip`, UDP and TCP, on `port` (0 for any); says its port.
fn upstream(ip: &str, port: u16, manner: Manner) -> u16 {
    let (udp, tcp, at) = bind_both(SocketAddr::new(ip.parse().unwrap(), port)).unwrap();
    tokio::spawn(async move {
        let mut room = [0; 4096];
        let mut lost = false;
        loop {
            let (len, from) = udp.recv_from(&mut room).await.unwrap();
            let query = &room[..len];
            for reply in udp_replies(query, manner, &mut lost) {
                udp.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let query = read_framed(&mut stream).await.unwrap();
            write_framed(&mut stream, &answer(&query, [6, 6, 6, 6]).to_vec().unwrap()).await.unwrap();
        }
    });
    at.port()
}

fn udp_replies(query: &[u8], manner: Manner, lost: &mut bool) -> Vec<Message> {
    match manner {
        Manner::Answer(ip) => vec![answer(query, ip)],
        Manner::Fail => {
            let mut reply = answer(query, [0; 4]);
            reply.answers.clear();
            reply.metadata.response_code = ResponseCode::ServFail;
            vec![reply]
        }
        Manner::Truncate => {
            let mut reply = answer(query, [0; 4]).truncate();
            reply.metadata.message_type = MessageType::Response;
            vec![reply]
        }
        Manner::Forged => {
            let mut other_id = answer(query, [66, 6, 6, 6]);
            other_id.metadata.id = other_id.metadata.id.wrapping_add(1);
            let mut other_name = answer(&question("evil.example."), [66, 6, 6, 6]);
            other_name.metadata.id = answer(query, [0; 4]).metadata.id;
            vec![other_id, other_name, answer(query, [1, 2, 3, 4])]
        }
        Manner::LoseFirst(ip) => {
            if std::mem::replace(lost, true) {
                vec![answer(query, ip)]
            } else {
                Vec::new()
            }
        }
    }
}

#[tokio::test]
async fn own_names_lead_to_the_node_by_udp_and_tcp_even_without_upstreams() {
    let house = House::new(&["127.9.9.9"], 9);
    let node: IpAddr = [169, 254, 1, 1].into();
    assert_eq!(address(&house.udp("api.cowl.internal.").await), Some(node));
    assert_eq!(address(&house.tcp("x.y.cowl.internal.").await), Some(node));
}

#[tokio::test]
async fn other_names_go_to_the_hosts_resolver_the_way_they_came() {
    let port = upstream("127.0.0.1", 0, Manner::Answer([1, 1, 1, 1]));
    let house = House::new(&["127.0.0.1"], port);
    assert_eq!(address(&house.udp("example.org.").await), Some([1, 1, 1, 1].into()));
    assert_eq!(address(&house.tcp("example.org.").await), Some([6, 6, 6, 6].into()));
}

#[tokio::test]
async fn the_next_resolver_is_asked_when_one_fails_or_hangs() {
    let port = upstream("127.0.0.2", 0, Manner::Fail);
    upstream("127.0.0.3", port, Manner::Answer([3, 3, 3, 3]));
    // 127.0.0.4 hangs: a socket that never answers.
    let _hangs = std::net::UdpSocket::bind(("127.0.0.4", port)).unwrap();
    let house = House::new(&["127.0.0.4", "127.0.0.5", "127.0.0.2", "127.0.0.3"], port);
    assert_eq!(address(&house.udp("example.org.").await), Some([3, 3, 3, 3].into()));
}

#[tokio::test]
async fn a_lost_packet_is_sent_again() {
    let port = upstream("127.0.0.1", 0, Manner::LoseFirst([2, 2, 2, 2]));
    let house = House::new(&["127.0.0.1"], port);
    assert_eq!(address(&house.udp("example.org.").await), Some([2, 2, 2, 2].into()));
}

#[tokio::test]
async fn forged_replies_are_not_believed() {
    let port = upstream("127.0.0.1", 0, Manner::Forged);
    let house = House::new(&["127.0.0.1"], port);
    assert_eq!(address(&house.udp("example.org.").await), Some([1, 2, 3, 4].into()));
}

#[tokio::test]
async fn truncation_is_passed_on_so_that_the_client_comes_by_tcp() {
    let port = upstream("127.0.0.1", 0, Manner::Truncate);
    let house = House::new(&["127.0.0.1"], port);
    assert!(house.udp("example.org.").await.metadata.truncation);
}

#[tokio::test]
async fn with_no_resolver_left_the_client_is_told() {
    let house = House::new(&["127.9.9.9"], 9);
    assert_eq!(house.udp("example.org.").await.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(house.tcp("example.org.").await.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn a_changed_resolv_conf_is_noticed() {
    let port = upstream("127.0.0.1", 0, Manner::Answer([1, 1, 1, 1]));
    upstream("127.0.0.2", port, Manner::Answer([2, 2, 2, 2]));
    let house = House::new(&["127.0.0.1"], port);
    assert_eq!(address(&house.udp("example.org.").await), Some([1, 1, 1, 1].into()));
    std::fs::write(house.dir.path().join("resolv.conf"), "nameserver 127.0.0.2 # new\n").unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(address(&house.udp("example.org.").await), Some([2, 2, 2, 2].into()));
}

#[tokio::test]
async fn hanging_upstreams_neither_stop_own_names_nor_the_end() {
    let hangs = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut house = House::new(&["127.0.0.1"], hangs.local_addr().unwrap().port());
    let flood = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for _ in 0..2 * IN_FLIGHT_PER_ADDRESS {
        flood.send_to(&question("example.org."), house.at).await.unwrap();
        flood.send_to(b"nonsense", house.at).await.unwrap();
    }
    assert!(address(&house.udp("api.cowl.internal.").await).is_some());
    house.shutdown.cancel();
    timeout(Duration::from_secs(1), &mut house.running).await.expect("it goes on").unwrap();
}

#[tokio::test]
async fn an_address_that_does_not_exist_yet_can_be_bound() {
    let cfg = DnsConfig::new("169.254.213.7:0".parse().unwrap(), vec!["a.b".into()], leads([127, 0, 0, 1]));
    let resolver = Resolver::bind(cfg).unwrap();
    assert_ne!(resolver.local_addr().port(), 0);
}
