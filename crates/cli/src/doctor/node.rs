//! The node, its ports, its names, who may use it, and whether its certificates are trusted.

use std::fs;
use std::net::{TcpListener, ToSocketAddrs};

use super::Check;
use crate::context::Context;
use crate::{ca, dns, doors};
use cowl_api::server::{ImageState, NodeStatus};
use cowl_api::urls;
use cowl_client::Client;

pub(super) async fn checks(context: &Context) -> Vec<Check> {
    let answer = Client::local(&context.run_dir).status().await;
    let mut checks = vec![serving(&answer)];
    match &answer {
        Ok(status) => checks.extend(status.images.iter().filter(|i| i.state == ImageState::Failed).map(|i| {
            let reason = i.error.clone().unwrap_or_else(|| "no reason given".into());
            Check::fail("image", format!("{}: {reason}", i.name), "mend the cause, then `cowl images build`")
        })),
        Err(_) => checks.extend([port(443), port(8443)]),
    }
    checks.push(group());
    checks.push(names(answer.as_ref().ok()));
    checks.extend(answer.as_ref().ok().map(containers_by_name));
    checks.extend(answer.as_ref().ok().map(ipv6));
    checks.push(certificates(context));
    checks
}

fn serving(answer: &cowl_client::Result<NodeStatus>) -> Check {
    let name = "node";
    match answer {
        Ok(s) => {
            let found = format!("{} serves at {}, version {}", s.server_name, s.listen, s.versions.cowl);
            if s.versions.cowl == env!("CARGO_PKG_VERSION") {
                Check::ok(name, found)
            } else {
                let advice = format!("this is {}; `cowl stop && cowl up` renews it", env!("CARGO_PKG_VERSION"));
                Check::warn(name, found, advice)
            }
        }
        Err(cowl_client::Error::NoNode { at }) => Check::warn(name, format!("none at {at}"), "`cowl up` starts it"),
        Err(e @ cowl_client::Error::Permission { .. }) => {
            Check::fail(name, e.to_string(), "adduser YOU cowl, then log in again")
        }
        Err(e) => Check::fail(name, e.to_string(), "look into its log"),
    }
}

fn port(port: u16) -> Check {
    let name = if port == 443 { "port 443" } else { "port 8443" };
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Check::ok(name, "free on 127.0.0.1"),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {
            let next = if port == 443 { "the node will take 8443" } else { "choose one with --listen 127.0.0.1:PORT" };
            Check::warn(name, "taken by another program", next)
        }
        Err(e) => Check::warn(name, e.to_string(), "choose another with --listen"),
    }
}

fn group() -> Check {
    let name = "group cowl";
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    match groups.lines().find(|l| l.starts_with("cowl:")) {
        None => Check::ok(name, "none; only root can use the node (addgroup --system cowl lets others in)"),
        Some(line) => {
            let members = line.rsplit(':').next().filter(|m| !m.is_empty()).unwrap_or("nobody");
            Check::ok(name, format!("{members}; to be in it is to be root on this machine"))
        }
    }
}

fn names(status: Option<&NodeStatus>) -> Check {
    let name = "names";
    let domain = status.and_then(|s| s.domains.first()).map_or(urls::DEFAULT_DOMAINS[0], String::as_str);
    let host = urls::api_host(domain);
    if (host.as_str(), 443).to_socket_addrs().is_ok_and(|mut a| a.next().is_some()) {
        return Check::ok(name, format!("{host} resolves here"));
    }
    let found = format!("{host} does not resolve here");
    if domain.ends_with(".localhost") {
        let advice = "curl and browsers find it by themselves; for other programs: apt install libnss-myhostname";
        Check::warn(name, found, advice)
    } else {
        Check::warn(name, found, "point *.DOMAIN at this machine, or use curl --resolve")
    }
}

/// Whether containers are found by name from this machine.
fn containers_by_name(status: &NodeStatus) -> Check {
    let name = "computers by name";
    let domain = status.domains.iter().find(|d| !d.ends_with("localhost")).map_or("cowl.internal", String::as_str);
    if dns::resolves(domain) {
        return Check::ok(name, format!("NAME.PROJECT.{domain} resolves here"));
    }
    let advice = "`cowl dns` says how it stands, `cowl dns install` makes it so";
    Check::warn(name, format!("NAME.PROJECT.{domain} does not resolve here"), advice)
}

fn ipv6(status: &NodeStatus) -> Check {
    let name = "ipv6";
    match &status.network6 {
        Some(network) => Check::ok(name, format!("computers have addresses in {network}, translated to the host's")),
        None => Check::ok(name, "computers have none: the host had no way out over IPv6 when the node started"),
    }
}

fn certificates(context: &Context) -> Check {
    let name = "certificates";
    let ours = doors::ca_certificate(&context.state_dir);
    let certificate = match fs::read(&ours) {
        Ok(certificate) => certificate,
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            return Check::warn(name, format!("{} may not be read", ours.display()), "use sudo");
        }
        Err(_) => return Check::warn(name, "no authority yet", "the node makes it when it starts first"),
    };
    match fs::read(ca::installed_at(&context.state_dir)) {
        Ok(installed) if installed == certificate => Check::ok(name, "trusted by this machine's programs"),
        Ok(_) => Check::warn(name, "this machine trusts an older authority", "`cowl ca install` renews it"),
        Err(_) => Check::warn(
            name,
            format!("not trusted by this machine; curl needs --cacert {}", ours.display()),
            "`cowl ca install` makes all programs trust it",
        ),
    }
}
