//! What a node can be told: each by a flag and a variable.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use cowl_api::names::is_dns_label;
use cowl_api::urls::DEFAULT_DOMAINS;
use cowl_engine::Ipv4Net;

/// Where durable state is unless told otherwise.
pub const STATE_DIR: &str = "/var/lib/cowl";
/// Where sockets are unless told otherwise.
pub const RUN_DIR: &str = "/run/cowl";
/// Where the proxy listens unless told otherwise.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 443);
/// Where it listens when that port is taken and no other was asked for.
pub const LISTEN_INSTEAD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8443);

/// Where programs of the host ask for names of containers, on 127.0.0.1, when it is free the first
/// time. No service is assigned to it.
pub const DNS_PORT: u16 = 5380;

/// When containers get IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Ipv6 {
    /// Where the host has a way out over IPv6 when the node starts.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Options of `cowl node`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Durable state: database, token, CA, pool, logs
    #[arg(long, env = "COWL_STATE_DIR", value_name = "DIR", default_value = STATE_DIR)]
    pub state_dir: PathBuf,

    /// Sockets; the command line finds its node by RUN/node.sock
    #[arg(long, env = "COWL_RUN_DIR", value_name = "DIR", default_value = RUN_DIR)]
    pub run_dir: PathBuf,

    /// Address of the TLS proxy [default: 127.0.0.1:443, or 127.0.0.1:8443 when that is taken]
    #[arg(long, env = "COWL_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,

    /// Domain the proxy answers for; repeatable, the first is primary. cowl.localhost and
    /// cowl.internal are always answered
    #[arg(long = "domain", env = "COWL_DOMAIN", value_name = "DOMAIN", value_delimiter = ',', value_parser = domain)]
    pub domains: Vec<String>,

    /// Name of this box in URLs [default: node-HOSTNAME]
    #[arg(long, env = "COWL_SERVER_NAME", value_name = "LABEL", value_parser = label)]
    pub server_name: Option<String>,

    /// Network of the containers, a private /16 [default: a free one, remembered]
    #[arg(long, env = "COWL_NETWORK", value_name = "CIDR", value_parser = network)]
    pub network: Option<Ipv4Net>,

    /// IPv6 for containers: auto gives it where the host has a way out over IPv6
    #[arg(long, env = "COWL_IPV6", value_name = "WHEN", default_value = "auto")]
    pub ipv6: Ipv6,

    /// First host uid and gid that containers are mapped to
    #[arg(long, env = "COWL_ID_BASE", value_name = "ID", default_value = "0x70000000", value_parser = id_base)]
    pub id_base: u32,

    /// Debian mirror for image builds [default: the host's apt mirror]
    #[arg(long, env = "COWL_MIRROR", value_name = "URL", value_parser = mirror)]
    pub mirror: Option<String>,

    /// Packages downloaded by earlier builds
    #[arg(long, env = "COWL_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,

    /// Hours that a deleted container can be had back, up to 8760; 0 deletes at once. Settings of projects
    /// and containers come first
    #[arg(long, env = "COWL_UNDELETE_HOURS", value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(..=8760))]
    pub undelete_hours: u32,

    /// Stop the containers when the node ends; else they run on
    #[arg(long)]
    pub stop_containers: bool,

    /// The kit's executable [default: cowl-kit beside this program]
    #[arg(long, value_name = "FILE", hide = true)]
    pub kit_exe: Option<PathBuf>,

    /// An exported image to use instead of building one
    #[arg(long, env = "COWL_TEST_IMAGE", value_name = "FILE", hide = true)]
    pub test_image: Option<PathBuf>,
}

impl Options {
    /// All domains, the primary one first, each once.
    pub fn all_domains(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for domain in self.domains.iter().map(String::as_str).chain(DEFAULT_DOMAINS) {
            if !all.iter().any(|known| known == domain) {
                all.push(domain.to_owned());
            }
        }
        all
    }

    /// The kit's executable: what was given, else `cowl-kit` beside `exe`.
    pub fn kit_exe_beside(&self, exe: &Path) -> PathBuf {
        self.kit_exe.clone().unwrap_or_else(|| exe.with_file_name("cowl-kit"))
    }
}

/// The name of a box whose host name is `hostname`: `node-<hostname>` as a DNS label.
pub fn default_server_name(hostname: &str) -> String {
    let host = hostname.split('.').next().unwrap_or_default();
    let label = cowl_api::names::hostname(&format!("node-{host}"));
    if is_dns_label(&label) && label != "node" { label } else { "node-box".to_owned() }
}

fn domain(text: &str) -> Result<String, String> {
    let domain = text.trim().trim_end_matches('.').to_ascii_lowercase();
    // Room for two ids, a service, a server and `containers` in front of it.
    if domain.len() > 120 || domain.is_empty() || !domain.split('.').all(is_dns_label) {
        return Err("expected a domain like cowl.example.org".into());
    }
    Ok(domain)
}

fn label(text: &str) -> Result<String, String> {
    if is_dns_label(text) { Ok(text.to_owned()) } else { Err("expected 1 to 63 of a-z, 0-9 and inner '-'".into()) }
}

fn network(text: &str) -> Result<Ipv4Net, String> {
    let net: Ipv4Net = text.parse()?;
    if net.prefix != 16 {
        return Err("expected a /16, e.g. 10.201.0.0/16".into());
    }
    if !net.address.is_private() {
        return Err("expected a private network (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16)".into());
    }
    Ok(net)
}

fn id_base(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    // Below are the host's own users; above, ids that programs take for negative numbers.
    match parsed {
        Ok(id) if (0x0001_0000..=0x7fff_0000).contains(&id) => Ok(id),
        _ => Err("expected a number from 0x10000 to 0x7fff0000".into()),
    }
}

fn mirror(text: &str) -> Result<String, String> {
    let known = ["http://", "https://", "file://", "copy://"].iter().any(|scheme| text.starts_with(scheme));
    let plain = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if known && plain { Ok(text.to_owned()) } else { Err("expected a URL like http://deb.debian.org/debian".into()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn parse(args: &[&str]) -> Result<Options, String> {
        let args = std::iter::once("node").chain(args.iter().copied());
        Cli::try_parse_from(args).map(|cli| cli.options).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_book() {
        let o = parse(&[]).unwrap();
        assert_eq!((o.state_dir.to_str(), o.run_dir.to_str()), (Some(STATE_DIR), Some(RUN_DIR)));
        assert_eq!((o.listen, o.id_base, o.network, o.stop_containers), (None, 0x7000_0000, None, false));
        assert_eq!(o.all_domains(), ["cowl.localhost", "cowl.internal"]);
        assert_eq!(o.kit_exe_beside(Path::new("/x/cowl")), Path::new("/x/cowl-kit"));
    }

    #[test]
    fn domains_are_repeatable_comma_separated_and_keep_the_defaults() {
        let o = parse(&["--domain", "A.example.org,b.org", "--domain", "cowl.internal"]).unwrap();
        assert_eq!(o.all_domains(), ["a.example.org", "b.org", "cowl.internal", "cowl.localhost"]);
    }

    #[test]
    fn wrong_values_are_refused() {
        for bad in [
            ["--network", "10.0.0.0/24"],
            ["--network", "8.8.0.0/16"],
            ["--network", "10.1.1.0/16"],
            ["--id-base", "0"],
            ["--id-base", "0xffffffff"],
            ["--domain", "has space"],
            ["--domain", ""],
            ["--server-name", "-x"],
            ["--listen", "443"],
            ["--mirror", "deb.debian.org"],
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
        assert_eq!(parse(&["--id-base", "100000"]).unwrap().id_base, 100_000);
        assert_eq!(parse(&["--network", "192.168.0.0/16"]).unwrap().network.unwrap().to_string(), "192.168.0.0/16");
    }

    proptest! {
        #[test]
        fn every_host_name_gives_a_server_name(host in ".{0,80}") {
            prop_assert!(is_dns_label(&default_server_name(&host)));
        }
    }

    #[test]
    fn a_server_name_is_the_hosts_short_name() {
        assert_eq!(default_server_name("Alpha.example.org"), "node-alpha");
        assert_eq!(default_server_name(""), "node-box");
    }
}
