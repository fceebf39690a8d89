//! The world outside, as containers see it: a network namespace behind the host, with servers in it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::run::{program, run};
use super::{Container, Node, sweep};

/// A namespace with one link to the host.
pub struct World {
    name: String,
    /// The host's interface of the link.
    near: String,
    /// The host's end of the link.
    pub host: Ipv4Addr,
    /// The world's.
    pub address: Ipv4Addr,
    /// The same for IPv6.
    pub address6: Ipv6Addr,
}

fn ip(words: &str) {
    run(program("ip").args(words.split(' '))).ok();
}

impl World {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{count}", sweep::own_prefix());
        // 198.18.0.0/15 is for tests like this (RFC 2544): 32,768 links.
        let link = (std::process::id() * 16 + count) % 32_768;
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + link * 4;
        let (host, address) = (Ipv4Addr::from(first + 1), Ipv4Addr::from(first + 2));
        let six = |n: u16| Ipv6Addr::new(0xfd98, 0x18, 0, u16::try_from(link).unwrap(), 0, 0, 0, n);
        let (host6, address6) = (six(1), six(2));
        let (near, far) = (format!("cn{link}n"), format!("cn{link}f"));
        ip(&format!("netns add {name}"));
        let world = Self { name, near, host, address, address6 };
        let near = &world.near;
        ip(&format!("link add {near} type veth peer name {far} netns {}", world.name));
        ip(&format!("addr add {host}/30 dev {near}"));
        ip(&format!("addr add {host6}/64 dev {near} nodad"));
        ip(&format!("link set {near} up"));
        let inside = |words: &str| ip(&format!("-n {} {words}", world.name));
        inside("link set lo up");
        inside(&format!("addr add {address}/30 dev {far}"));
        inside(&format!("addr add {address6}/64 dev {far} nodad"));
        inside(&format!("link set {far} up"));
        // The world knows a way to the containers; whether it may go it is the host's to say.
        inside(&format!("route add default via {host}"));
        world
    }

    /// Runs something inside the namespace.
    fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let netns = File::open(format!("/run/netns/{}", self.name)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                nix::sched::setns(&netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                f()
            });
            thread.join().unwrap()
        })
    }

    /// A TCP server that greets every visitor with `hello`.
    pub fn serves(&self, port: u16) {
        for address in [IpAddr::V4(self.address), IpAddr::V6(self.address6)] {
            let listener = self.enter(|| TcpListener::bind((address, port)).unwrap());
            std::thread::spawn(move || {
                // Visitors stay as long as they like.
                let mut guests = Vec::new();
                for visitor in listener.incoming() {
                    let Ok(mut visitor) = visitor else { return };
                    let _ = visitor.write_all(b"hello\n");
                    guests.push(visitor);
                }
            });
        }
    }

    /// A UDP socket that is listened to with [`heard`].
    pub fn udp(&self, address: IpAddr) -> UdpSocket {
        let socket = self.enter(|| UdpSocket::bind((address, 0)).unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        socket
    }

    /// Whether the world reaches an address of the host's side.
    pub fn reaches(&self, to: SocketAddr) -> bool {
        self.enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(3)).is_ok())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Its servers hold the namespace, and so the link, for as long as this process lives.
        run(program("ip").args(["link", "delete", &self.near]));
        run(program("ip").args(["netns", "delete", &self.name]));
    }
}

/// What a socket has heard until `last` came, as text.
pub fn heard(socket: &UdpSocket, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut room = [0; 512];
    for _ in 0..30 {
        if let Ok((n, _)) = socket.recv_from(&mut room) {
            all.push(String::from_utf8_lossy(&room[..n]).into_owned());
        }
        if all.iter().any(|t| t == last) {
            return all;
        }
    }
    panic!("{last} never came: {all:?}");
}

/// How a connection attempt from a container ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Attempt {
    Connected,
    Refused,
    Silence,
}

/// Tries to connect from inside a container.
pub fn dials(c: &Container<'_>, host: &str, port: u16) -> Attempt {
    let ran = c.exec(&format!("timeout 3 bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2>/dev/null"));
    match ran.code {
        0 => Attempt::Connected,
        124 => Attempt::Silence,
        _ => Attempt::Refused,
    }
}

/// Whether the host reaches an address.
pub fn host_reaches(address: &str, port: u16) -> bool {
    let to: SocketAddr = (address.parse::<IpAddr>().unwrap(), port).into();
    let Ok(mut stream) = TcpStream::connect_timeout(&to, Duration::from_secs(3)) else { return false };
    // Somebody really is there.
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").is_ok() && stream.read(&mut [0]).is_ok_and(|n| n == 1)
}

/// Packets that a node's firewall has counted under a name.
pub fn counted(node: &Node, name: &str) -> u64 {
    let table = format!("cowl_{}", node.tag());
    let listed = run(program("nft").args(["list", "counter", "inet", &table, name]));
    let words: Vec<&str> = listed.ok().split_whitespace().collect();
    let at = words.iter().position(|w| *w == "packets").unwrap();
    words[at + 1].parse().unwrap()
}
