//! Who listens on which port, from `/proc/net` and the file descriptors of processes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::Json;
use serde::Serialize;
use serde_json::{Value, json};

use super::processes;
use crate::error::{KitError, KitResult};
use crate::params::Params;

/// A socket that waits for others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listening {
    ip: IpAddr,
    port: u16,
    inode: u64,
}

/// One line of the reply.
#[derive(Debug, Serialize)]
struct Port {
    port: u16,
    protocol: &'static str,
    ip: String,
    pid: Option<i32>,
    program: Option<String>,
    user: Option<String>,
}

/// `GET /api/v1/system/ports`
pub async fn list(params: Params) -> KitResult<Json<Value>> {
    let wanted_port = params.value::<u16>("port")?;
    let protocol = params.text("protocol").map(str::to_lowercase);
    if protocol.as_deref().is_some_and(|p| !matches!(p, "tcp" | "udp")) {
        return Err(KitError::bad_request("protocol: neither tcp nor udp"));
    }
    let holders = holders();
    let processes: HashMap<i32, processes::Process> = processes::all().into_iter().map(|p| (p.pid, p)).collect();
    let mut ports = Vec::new();
    for (file, name, state) in
        [("tcp", "tcp", "0A"), ("tcp6", "tcp", "0A"), ("udp", "udp", "07"), ("udp6", "udp", "07")]
    {
        if protocol.as_deref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let table = std::fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
        for socket in table.lines().skip(1).filter_map(|line| parse(line, state)) {
            let process = holders.get(&socket.inode).and_then(|pid| processes.get(pid));
            ports.push(Port {
                port: socket.port,
                protocol: name,
                ip: socket.ip.to_string(),
                pid: process.map(|p| p.pid),
                program: process.map(|p| p.name.clone()),
                user: process.map(|p| p.user.clone()),
            });
        }
    }
    // Of the kit's own there are none: it listens on no network.
    ports.retain(|port| {
        wanted_port.is_none_or(|wanted| port.port == wanted)
            && params.text("user").is_none_or(|user| port.user.as_deref() == Some(user))
            && params.text("ip").is_none_or(|ip| port.ip == ip)
            && params.text("skip_program").is_none_or(|skip| port.program.as_deref() != Some(skip))
    });
    if params.flag("http_only", false)? {
        return Err(KitError::not_built("http_only: this option of the terminal service is not built yet"));
    }
    if params.flag("hoody_only", false)? {
        ports.clear();
    }
    ports.sort_by(|a, b| (a.port, a.protocol, &a.ip).cmp(&(b.port, b.protocol, &b.ip)));
    Ok(Json(json!({ "count": ports.len(), "ports": ports })))
}

/// A line of `/proc/net/{tcp,udp}{,6}` if its socket is in `state`.
fn parse(line: &str, state: &str) -> Option<Listening> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != state {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let inode = fields.get(9)?.parse().ok()?;
    Some(Listening { ip: parse_ip(address)?, port: u16::from_str_radix(port, 16).ok()?, inode })
}

/// Words of 32 bits, each in the machine's byte order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// Which process has which socket open.
fn holders() -> HashMap<u64, i32> {
    let mut holders = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        for fd in std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten() {
            let target = std::fs::read_link(fd.path()).unwrap_or_default();
            let inode = target.to_str().and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                holders.entry(inode).or_insert(pid);
            }
        }
    }
    holders
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_listener_of_ours_is_found_with_its_program() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let found = table.lines().filter_map(|line| parse(line, "0A")).find(|socket| socket.port == port).unwrap();
        assert_eq!(found.ip, IpAddr::from([127, 0, 0, 1]));
        assert_eq!(holders().get(&found.inode), Some(&(std::process::id() as i32)));
    }

    proptest! {
        #[test]
        fn no_line_breaks_the_reader(line in "[0-9A-F: ]{0,80}") {
            let _ = parse(&line, "0A");
        }
    }
}
