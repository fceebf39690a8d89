//! `cowl dns`: how the names of containers resolve on this machine, and making them so.
//!
//! The node answers on a port of loopback; programs ask the machine's resolver. `install` tells that
//! one where to ask for the node's domains, with one file; `uninstall` removes the file. Nothing is
//! ever changed without being asked for. `*.localhost` needs none of it.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde::Serialize;

use super::context::Context;
use super::fail::{Fail, Outcome};
use super::print;
use cowl_api::server::NodeStatus;
use cowl_api::urls;
use cowl_client::Client;

/// First line of every file we write; no other file is ever removed.
const MARK: &str = "# Written by `cowl dns install`; `cowl dns uninstall` removes it.";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show how it stands (as without a command)
    Status,
    /// Make this machine's resolver ask the node for its domains
    Install,
    /// Undo it
    Uninstall,
}

/// A resolver that can be told whom to ask for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Resolver {
    /// systemd-resolved.
    SystemdResolved,
    /// dnsmasq as NetworkManager's child.
    NetworkManager,
    /// dnsmasq on its own.
    Dnsmasq,
}

const ALL: [Resolver; 3] = [Resolver::SystemdResolved, Resolver::NetworkManager, Resolver::Dnsmasq];

impl Resolver {
    fn name(self) -> &'static str {
        match self {
            Self::SystemdResolved => "systemd-resolved",
            Self::NetworkManager => "NetworkManager's dnsmasq",
            Self::Dnsmasq => "dnsmasq",
        }
    }

    /// Our file, below `root`.
    fn file(self, root: &Path) -> PathBuf {
        root.join(match self {
            Self::SystemdResolved => "etc/systemd/resolved.conf.d/cowl.conf",
            Self::NetworkManager => "etc/NetworkManager/dnsmasq.d/cowl.conf",
            Self::Dnsmasq => "etc/dnsmasq.d/cowl.conf",
        })
    }

    fn text(self, at: SocketAddr, domains: &[String]) -> String {
        let lines = match self {
            Self::SystemdResolved => {
                let routed: Vec<String> = domains.iter().map(|d| format!("~{d}")).collect();
                format!("[Resolve]\nDNS={at}\nDomains={}\n", routed.join(" "))
            }
            Self::NetworkManager | Self::Dnsmasq => {
                domains.iter().map(|d| format!("server=/{d}/{}#{}\n", at.ip(), at.port())).collect()
            }
        };
        format!("{MARK}\n{lines}")
    }

    /// The command that makes it read its files again.
    fn reload(self) -> [&'static str; 3] {
        match self {
            Self::SystemdResolved => ["systemctl", "reload-or-restart", "systemd-resolved"],
            Self::NetworkManager => ["systemctl", "reload", "NetworkManager"],
            Self::Dnsmasq => ["systemctl", "restart", "dnsmasq"],
        }
    }
}

/// The resolver that the programs of the machine below `root` ask.
fn detect(root: &Path) -> Option<Resolver> {
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let resolv_conf = text("etc/resolv.conf");
    let asks = |address: &str| {
        resolv_conf.lines().any(|l| l.trim().strip_prefix("nameserver").is_some_and(|a| a.trim() == address))
    };
    if asks("127.0.0.53") || asks("127.0.0.54") {
        return Some(Resolver::SystemdResolved);
    }
    let own = ["etc/NetworkManager/NetworkManager.conf".to_owned()];
    let dropped = fs::read_dir(root.join("etc/NetworkManager/conf.d")).into_iter().flatten().flatten();
    let dropped = dropped.map(|e| format!("etc/NetworkManager/conf.d/{}", e.file_name().to_string_lossy()));
    let by_dnsmasq = |file: String| text(&file).lines().any(|l| l.replace(' ', "") == "dns=dnsmasq");
    if own.into_iter().chain(dropped).any(by_dnsmasq) {
        return Some(Resolver::NetworkManager);
    }
    let local = asks("127.0.0.1") || asks("::1");
    (local && root.join("etc/dnsmasq.d").is_dir()).then_some(Resolver::Dnsmasq)
}

/// How it stands.
#[derive(Debug, Serialize)]
struct Standing {
    /// Where the node answers.
    address: SocketAddr,
    /// The domains that need a resolver to be told.
    domains: Vec<String>,
    /// Whom the machine's programs ask, when that one can be told.
    resolver: Option<Resolver>,
    /// Our file, when it is there.
    installed: Option<PathBuf>,
    /// Whether our file says what is so now.
    current: bool,
    /// Whether a name of the node resolves here.
    resolves: bool,
}

fn root() -> &'static Path {
    Path::new("/")
}

/// Our files below `root`.
fn installed(root: &Path) -> Vec<(Resolver, PathBuf, String)> {
    let found = ALL.into_iter().filter_map(|resolver| {
        let path = resolver.file(root);
        let text = fs::read_to_string(&path).ok().filter(|t| t.starts_with(MARK))?;
        Some((resolver, path, text))
    });
    found.collect()
}

fn parts(status: &NodeStatus) -> Result<(SocketAddr, Vec<String>), Fail> {
    let address = status.dns.as_deref().and_then(|text| text.parse().ok());
    let address = address
        .ok_or_else(|| Fail::other("this node answers no names for the host; renew it with `cowl stop && cowl up`"))?;
    let domains = status.domains.iter().filter(|d| !d.ends_with("localhost")).cloned().collect();
    Ok((address, domains))
}

/// Whether a name in the domain resolves here, by whatever means.
pub(super) fn resolves(domain: &str) -> bool {
    (urls::api_host(domain).as_str(), 443).to_socket_addrs().is_ok_and(|mut a| a.next().is_some())
}

fn standing(status: &NodeStatus) -> Result<Standing, Fail> {
    let (address, domains) = parts(status)?;
    let ours = installed(root()).into_iter().next();
    let current = ours.as_ref().is_some_and(|(resolver, _, text)| *text == resolver.text(address, &domains));
    let resolves = domains.first().is_some_and(|d| resolves(d));
    Ok(Standing {
        address,
        resolver: detect(root()),
        installed: ours.map(|(_, path, _)| path),
        current,
        resolves,
        domains,
    })
}

pub(super) async fn run(context: &Context, args: &Args) -> Outcome {
    match args.command {
        None | Some(Verb::Status) => {
            let standing = standing(&context.client()?.status().await?)?;
            context.show(&standing, show)?;
        }
        Some(Verb::Install) => {
            // What a node elsewhere says is not for this machine's resolver.
            let (address, domains) = parts(&Client::local(&context.run_dir).status().await?)?;
            let resolver = detect(root()).ok_or_else(|| Fail::other(advice(address, &domains)))?;
            let path = resolver.file(root());
            context.confirm(&format!("Write {} and reload {}?", path.display(), resolver.name()))?;
            install(root(), resolver, address, &domains)?;
            reload(resolver, "the file is in place")?;
            let done = serde_json::json!({ "installed": path, "resolver": resolver });
            context.show(&done, |_| {
                print::line(&format!("{} asks the node for {}", resolver.name(), domains.join(", ")))
            })?;
        }
        Some(Verb::Uninstall) => {
            let ours = installed(root());
            for (resolver, path, _) in &ours {
                fs::remove_file(path).map_err(|e| Fail::io(path.display(), &e))?;
                reload(*resolver, "the file is removed")?;
            }
            let paths: Vec<&PathBuf> = ours.iter().map(|(_, path, _)| path).collect();
            context.show(&serde_json::json!({ "removed": paths }), |_| match paths.first() {
                Some(path) => print::line(&format!("removed {}", path.display())),
                None => print::line("nothing was installed"),
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn install(root: &Path, resolver: Resolver, at: SocketAddr, domains: &[String]) -> Result<(), Fail> {
    let path = resolver.file(root);
    if fs::read_to_string(&path).is_ok_and(|text| !text.starts_with(MARK)) {
        return Err(Fail::other(format!("{} is there and not ours; move it away first", path.display())));
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|e| Fail::io(dir.display(), &e))?;
    }
    fs::write(&path, resolver.text(at, domains)).map_err(|e| Fail::io(path.display(), &e))
}

/// Makes a resolver read its files again; `so_far` is what was done before.
fn reload(resolver: Resolver, so_far: &str) -> Result<(), Fail> {
    let [program, args @ ..] = resolver.reload();
    let line = resolver.reload().join(" ");
    let done = Command::new(program).args(args).output().map_err(|e| Fail::io(format!("run {line}"), &e))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(Fail::other(format!("{so_far}, but `{line}` failed: {}", said.lines().last().unwrap_or_default())))
}

/// What to do where no resolver of the machine can be told.
fn advice(at: SocketAddr, domains: &[String]) -> String {
    format!(
        "no resolver here can be told whom to ask for a domain; `apt install systemd-resolved`, then `cowl dns install`; or ask directly: dig @{} -p {} NAME.PROJECT.{}",
        at.ip(),
        at.port(),
        domains.first().map_or("cowl.internal", String::as_str)
    )
}

fn show(s: &Standing) -> std::io::Result<()> {
    let domain = s.domains.first().map_or("cowl.internal", String::as_str);
    let state = match (&s.installed, s.current, s.resolver) {
        (Some(path), true, _) => format!("installed, {}", path.display()),
        (Some(path), false, _) => format!("{} is out of date; `cowl dns install` renews it", path.display()),
        (None, _, Some(resolver)) => format!("not installed; `cowl dns install` tells {}", resolver.name()),
        (None, _, None) => advice(s.address, &s.domains),
    };
    print::facts(&[
        ("answers at", s.address.to_string()),
        ("domains", s.domains.join(", ")),
        ("computers", format!("NAME.PROJECT.{domain}, and all their URLs")),
        ("this machine", state),
        ("names resolve", if s.resolves { "yes" } else { "no" }.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn the_resolver_that_is_asked_is_the_one_that_is_told() {
        let found = |files: &[(&str, &str)]| detect(machine(files).path());
        assert_eq!(found(&[("etc/resolv.conf", "nameserver 127.0.0.53\n")]), Some(Resolver::SystemdResolved));
        let managed = ("etc/NetworkManager/conf.d/dns.conf", "[main]\ndns = dnsmasq\n");
        assert_eq!(found(&[("etc/resolv.conf", "nameserver 127.0.0.1\n"), managed]), Some(Resolver::NetworkManager));
        let there = ("etc/dnsmasq.d/README", "");
        assert_eq!(found(&[("etc/resolv.conf", "nameserver 127.0.0.1\n"), there]), Some(Resolver::Dnsmasq));
        assert_eq!(found(&[("etc/resolv.conf", "nameserver 192.0.2.1\n"), there]), None);
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn what_is_installed_is_found_again_and_a_strangers_file_is_left_alone() {
        let at: SocketAddr = "127.0.0.1:5380".parse().unwrap();
        let domains = ["cowl.internal".to_owned(), "box.example".to_owned()];
        for resolver in ALL {
            let dir = machine(&[]);
            install(dir.path(), resolver, at, &domains).unwrap();
            let ours = installed(dir.path());
            assert_eq!((ours.len(), ours[0].0), (1, resolver));
            assert!(ours[0].2.contains("cowl.internal") && ours[0].2.contains("5380"), "{}", ours[0].2);
            fs::write(resolver.file(dir.path()), "# mine\n").unwrap();
            assert!(install(dir.path(), resolver, at, &domains).is_err());
            assert!(installed(dir.path()).is_empty());
        }
        let text = Resolver::SystemdResolved.text(at, &domains);
        assert!(text.ends_with("[Resolve]\nDNS=127.0.0.1:5380\nDomains=~cowl.internal ~box.example\n"), "{text}");
    }
}
