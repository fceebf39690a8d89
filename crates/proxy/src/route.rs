//! The host grammar: what a host name asks for.
//!
//! ```text
//! api.{domain}                                    the API
//! {realm}.api.{domain}                            the API, of a realm (24 hex)
//! {project}-{container}-{segment}.{server}.containers.{domain}
//! {sub}.{project}-{container}-exec-{n}.{server}.containers.{domain}
//! ```
//! A segment is a service's slug or alias with an index (`terminal-2`, `files` for `files-1`,
//! `exec-name`), `desktop-{n}`, `http[-{port}]`, `https[-{port}]`, `ssh`, `proxy`, `cdp` or `cli`.
//! Case, one trailing dot and the port are ignored. Parsing allocates nothing and never says why a
//! name is not ours: from outside there is only one way of being unknown.

use std::ops::RangeInclusive;

use super::label::Label;
use cowl_api::ids::ID_LEN;
use cowl_api::{ContainerId, ProjectId, Service};

/// Longest host name, in characters (RFC 1035).
const HOST_MAX: usize = 253;
/// `desktop-N` is display and terminal `DESKTOP_OFFSET + N`.
pub const DESKTOP_OFFSET: u16 = 1600;

/// What a host name asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host {
    /// The API, with the realm when the name carries one.
    Api {
        /// The 24 hex characters in front of `.api.`.
        realm: Option<Label>,
    },
    /// Something of a container.
    Container(Target),
    /// Nothing of ours.
    Unknown,
}

/// What is asked of which container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// The project the name claims the container is in.
    pub project: ProjectId,
    /// The container.
    pub container: ContainerId,
    /// What of it.
    pub program: Program,
    /// The left-hand label of an `exec` host.
    pub sub: Option<Label>,
}

/// The part of a container a segment names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// A service of the kit.
    Kit(Service, Instance),
    /// A desktop, 1–63935: the terminal service with a forced query.
    Desktop(u16),
    /// HTTP to a port inside.
    Http(u16),
    /// HTTPS to a port inside.
    Https(u16),
    /// A known segment that nothing serves yet.
    Unserved(Unserved),
}

/// Segments that are part of the grammar but not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names are the segments.
pub enum Unserved {
    Ssh,
    Proxy,
    Cdp,
    Cli,
}

impl Unserved {
    /// The segment.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Proxy => "proxy",
            Self::Cdp => "cdp",
            Self::Cli => "cli",
        }
    }
}

/// Which instance of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Instance {
    /// By number; 1 when the host name has none.
    Number(u16),
    /// By name; only `exec` has these.
    Name(Label),
}

/// The host names one node answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grammar {
    /// In the order given: the first is the primary one.
    domains: Vec<String>,
    server: String,
}

/// Why a [`Grammar`] cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// No domain was given.
    #[error("a node needs at least one domain")]
    NoDomain,
    /// A domain is not a host name.
    #[error("{0:?} is not a domain name")]
    Domain(String),
    /// The server's name is not a DNS label.
    #[error("{0:?} is not a server name: 1 to 63 letters, digits and inner hyphens")]
    Server(String),
}

impl Grammar {
    /// The grammar under `domains` (any case, a trailing dot is dropped) for the box `server`.
    ///
    /// # Errors
    /// When there is no domain, or a name is not one.
    pub fn new<S: AsRef<str>>(domains: impl IntoIterator<Item = S>, server: &str) -> Result<Self, GrammarError> {
        use cowl_api::names::is_dns_label;
        let server = server.to_ascii_lowercase();
        if !is_dns_label(&server) {
            return Err(GrammarError::Server(server));
        }
        let mut kept: Vec<String> = Vec::new();
        for domain in domains {
            let domain = domain.as_ref().trim_end_matches('.').to_ascii_lowercase();
            if domain.len() > HOST_MAX || !domain.split('.').all(is_dns_label) {
                return Err(GrammarError::Domain(domain));
            }
            if !kept.contains(&domain) {
                kept.push(domain);
            }
        }
        if kept.is_empty() {
            return Err(GrammarError::NoDomain);
        }
        Ok(Self { domains: kept, server })
    }

    /// The domains, primary first, lower case.
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// The box's name, lower case.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// What `host` (a `Host` header or a server name from TLS) asks for.
    pub fn parse(&self, host: &str) -> Host {
        let mut room = [0u8; HOST_MAX];
        let Some(name) = normalise(host, &mut room) else { return Host::Unknown };
        self.domains.iter().find_map(|domain| self.under(name, domain)).unwrap_or(Host::Unknown)
    }

    fn under(&self, name: &str, domain: &str) -> Option<Host> {
        let rest = name.strip_suffix(domain)?.strip_suffix('.')?;
        if rest == "api" {
            return Some(Host::Api { realm: None });
        }
        if let Some(realm) = rest.strip_suffix(".api") {
            return is_hex_id(realm).then(|| Host::Api { realm: Label::new(realm) });
        }
        let rest = rest.strip_suffix(".containers")?.strip_suffix(&*self.server)?.strip_suffix('.')?;
        let (sub, label) = match rest.rsplit_once('.') {
            Some((sub, label)) => (Some(Label::new(sub)?), label),
            None => (None, rest),
        };
        let mut target = kit_label(label)?;
        let takes_sub = matches!(target.program, Program::Kit(Service::Exec, _));
        if sub.is_some() && !takes_sub {
            return None;
        }
        target.sub = sub;
        Some(Host::Container(target))
    }
}

/// Lower-cases into `room`, without port and trailing dot; `None` for what cannot be a name.
fn normalise<'a>(host: &str, room: &'a mut [u8; HOST_MAX]) -> Option<&'a str> {
    let name = match host.split_once(':') {
        Some((name, port)) if port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) => return None,
        None => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let out = room.get_mut(..name.len())?;
    for (to, from) in out.iter_mut().zip(name.bytes()) {
        if !(from.is_ascii_alphanumeric() || matches!(from, b'-' | b'.' | b'_')) {
            return None;
        }
        *to = from.to_ascii_lowercase();
    }
    std::str::from_utf8(out).ok()
}

fn is_hex_id(s: &str) -> bool {
    s.len() == ID_LEN && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `{project}-{container}-{segment}`.
fn kit_label(label: &str) -> Option<Target> {
    let project = label.get(..ID_LEN)?.parse().ok()?;
    let rest = label.get(ID_LEN..)?.strip_prefix('-')?;
    let container = rest.get(..ID_LEN)?.parse().ok()?;
    let segment = rest.get(ID_LEN..)?.strip_prefix('-')?;
    Some(Target { project, container, program: program(segment)?, sub: None })
}

/// The program a segment (lower case) names.
pub fn program(segment: &str) -> Option<Program> {
    if let Some(found) = bare(segment) {
        return Some(found);
    }
    if let Some(name) = segment.strip_prefix("exec-").filter(|name| !name.bytes().all(|b| b.is_ascii_digit())) {
        let named = !name.starts_with('-') && !name.ends_with('-');
        let name = if named { Label::new(name) } else { None };
        return name.map(|name| Program::Kit(Service::Exec, Instance::Name(name)));
    }
    let (slug, index) = segment.rsplit_once('-')?;
    indexed(slug, decimal(index)?)
}

/// A segment without an index.
fn bare(segment: &str) -> Option<Program> {
    Some(match segment {
        "http" => Program::Http(80),
        "https" => Program::Https(443),
        "desktop" => Program::Desktop(1),
        "ssh" => Program::Unserved(Unserved::Ssh),
        "proxy" => Program::Unserved(Unserved::Proxy),
        "cdp" => Program::Unserved(Unserved::Cdp),
        "cli" => Program::Unserved(Unserved::Cli),
        slug => Program::Kit(Service::from_slug(slug)?, Instance::Number(1)),
    })
}

fn indexed(slug: &str, n: u16) -> Option<Program> {
    Some(match slug {
        "http" if n > 0 => Program::Http(n),
        "https" if n > 0 => Program::Https(n),
        "desktop" if (1..=u16::MAX - DESKTOP_OFFSET).contains(&n) => Program::Desktop(n),
        "ssh" if n == 22 => Program::Unserved(Unserved::Ssh),
        "cdp" if n > 0 => Program::Unserved(Unserved::Cdp),
        "cli" if n > 0 => Program::Unserved(Unserved::Cli),
        slug => {
            let service = Service::from_slug(slug)?;
            instances(service).contains(&n).then_some(Program::Kit(service, Instance::Number(n)))?
        }
    })
}

/// The instance numbers a service takes. Those of `terminal` and `display` are session numbers;
/// public clients ask `terminal-0` for a session that ends with its request.
fn instances(service: Service) -> RangeInclusive<u16> {
    match service {
        Service::Terminal => 0..=u16::MAX,
        Service::Display => 1..=u16::MAX,
        _ => 1..=9999,
    }
}

/// A decimal number without sign or leading zeros: one name per thing.
fn decimal(s: &str) -> Option<u16> {
    let canonical = s == "0" || !s.starts_with('0');
    (canonical && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse().ok()).flatten()
}

#[cfg(test)]
#[path = "tests/route.rs"]
mod tests;
