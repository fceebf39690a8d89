//! `cowl node`: from options to a serving node, and to its end.
//!
//! | step | may fail with |
//! |---|---|
//! | directories and their locks | no root, another node |
//! | database, token, identity | a newer database |
//! | the listener | a taken port |
//! | network, host, pool | nothing free, tools missing |
//! | reconcile: what runs is adopted | |
//! | serve; images and autostart in the background | |
//!
//! It ends on SIGTERM and SIGINT; containers run on unless `--stop-containers` was given. SIGUSR1
//! stops them first. Containers stopped by the node's end start again with the next node.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use nix::fcntl::{Flock, FlockArg};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use super::dns::{Answer, DnsConfig, Resolver, Rows, free_bound};
use super::lifecycle::Wish;
use super::machine::real::Real;
use super::options::{self, Options};
use super::routes::NodeRoutes;
use super::state::Store;
use super::token::OwnerToken;
use super::{Node, Place, clock, firewall, images, network, proc_view, reconcile, sleep, snapshots, stats, undelete};
use cowl_api::ServerId;
use cowl_api::container::ContainerState;
use cowl_api::ids::EventId;
use cowl_engine::firewall::{Doors, Plan, Six};
use cowl_engine::net::ipv6;
use cowl_engine::{Config, launch, lxcfs};
use cowl_proxy::route::GrammarError;
use cowl_proxy::tls::{Certificates, TlsError};
use cowl_proxy::{Grammar, Limits, Proxy, serve_tls, serve_unix};

/// Name of the API's socket in the run directory.
pub const SOCKET: &str = "node.sock";
/// What drivers and requests in flight get when the node ends.
const DRAIN: Duration = Duration::from_secs(20);
/// Where containers see the node: their gateway.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// How many containers stop at once with `--stop-containers`.
const STOPS_AT_ONCE: usize = 8;

/// Why a node did not start: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not root.
    #[error("cowl node must run as root: try sudo cowl node")]
    NotRoot,
    /// The state or run directory belongs to a node that runs.
    #[error("another cowl node (pid {pid}) uses {}: stop it, or give another directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other node, as it wrote it down.
        pid: String,
    },
    /// A directory or file could not be made or read.
    #[error("{}: {source}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The address to listen on is not to be had.
    #[error("cannot listen on {address}: {source}; give another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The network is not to be had.
    #[error("{0}")]
    Network(String),
    /// The database could not be opened.
    #[error(transparent)]
    State(#[from] super::state::Error),
    /// The host or the pool could not be made ready.
    #[error(transparent)]
    Engine(#[from] cowl_engine::Error),
    /// The certificate authority or its certificates are unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A domain or the server's name cannot be in a host name.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// The resolver's port is not to be had.
    #[error("cannot listen for containers' DNS on {GATEWAY}: {0}")]
    Dns(io::Error),
    /// No port for the host's programs to ask at is to be had.
    #[error("cannot listen for this host's DNS on 127.0.0.1: {0}")]
    HostDns(io::Error),
    /// What runs could not be looked up.
    #[error("cannot take stock of the containers: {0}")]
    Reconcile(cowl_api::ApiError),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StartError + '_ {
    move |source| StartError::File { path: path.to_owned(), source }
}

/// Runs a node until it is told to end.
///
/// # Errors
/// Why it did not start.
pub async fn run(options: Options) -> Result<(), StartError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(StartError::NotRoot);
    }
    make_dir(&options.state_dir, 0o700)?;
    // Group cowl passes through it to the socket; containers' directories below are root's alone.
    make_dir(&options.run_dir, 0o755)?;
    let _state_lock = lock(&options.state_dir)?;
    let _run_lock = lock(&options.run_dir)?;
    let store = Store::open(&options.state_dir.join("node.db"))?;
    let token = OwnerToken::open(&options.state_dir).map_err(at(&options.state_dir))?;
    let (tls, hint) = bind(options.listen)?;
    let claim = settle_network(&store, options.network)?;
    let listen = tls.local_addr().map_err(at(&options.run_dir))?;
    let mut place = place(&store, &options, listen, claim.network, hint.into_iter().collect())?;
    let config = config(&options, claim.network)?;
    let tag = config.tag();
    // The address comes into being with the first container; binding it needs no interface.
    let gateway6 = place.network6.map(ipv6::gateway);
    let near = Answer { v4: Some(GATEWAY), v6: gateway6 };
    let four = door(IpAddr::V4(GATEWAY), &place.domains, near)?;
    let six = gateway6.map(|gateway| door(IpAddr::V6(gateway), &place.domains, near)).transpose()?;
    let policies = store.networks()?.iter().map(|(id, row)| (*id, firewall::policy(row))).collect();
    let plan = Plan {
        network: claim.network,
        six: place.network6.zip(six.as_ref()).map(|(prefix, d)| Six { prefix, dns: d.dns_port, proxy: d.proxy_port }),
        doors: Doors { dns: four.dns_port, proxy: four.proxy_port, public: listen.port() },
        policies,
    };
    let (machine, config) = tokio::task::spawn_blocking(move || {
        let machine = Real::open(config.clone())?;
        launch::prepare_host(&config, &plan)?;
        Ok::<_, cowl_engine::Error>((machine, config))
    })
    .await
    .map_err(|e| StartError::Engine(cowl_engine::Error::Unsupported(e.to_string())))??;
    let store = Arc::new(store);
    let names = host_names(&store, &place)?;
    place.dns = Some(names.local_addr());
    let node = Node::new(store, Arc::new(machine), place, token);
    let work = reconcile::reconcile(&node).await.map_err(StartError::Reconcile)?;
    let socket = bind_socket(&options.run_dir.join(SOCKET))?;
    let doors: Vec<Door> = [four].into_iter().chain(six).collect();
    let (resolvers, inner): (Vec<_>, Vec<_>) = doors.into_iter().map(|d| (d.resolver, d.proxy)).unzip();
    serve(&node, inner.into_iter().chain([tls]), socket)?;
    for resolver in resolvers.into_iter().chain([names]) {
        node.tasks.spawn(resolver.serve(node.shutdown.clone()));
    }
    images::begin(&node, options.test_image.clone()).await;
    node.tasks.spawn(super::prune::old_kits(Arc::clone(&node)));
    node.tasks.spawn(sleep::watch(Arc::clone(&node)));
    node.tasks.spawn(reconcile::resume(Arc::clone(&node), work));
    node.tasks.spawn(snapshots::sweep(Arc::clone(&node)));
    node.tasks.spawn(undelete::sweep(Arc::clone(&node)));
    node.tasks.spawn(super::shares::sweep(Arc::clone(&node)));
    node.tasks.spawn(super::space::watch(Arc::clone(&node)));
    node.tasks.spawn(stats::sampler::run(Arc::clone(&node)));
    node.tasks.spawn(stats::sampler::listen_to_kernel(Arc::clone(&node), tag));
    node.tasks.spawn(proc_view::keep(config.clone(), node.shutdown.clone()));
    tracing::info!(
        server = node.place.server_name,
        api = node.place.api_url(),
        socket = %options.run_dir.join(SOCKET).display(),
        network = %node.place.network,
        "serving"
    );
    for hint in &node.place.hints {
        tracing::warn!("{hint}");
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let stop_containers = until_signal().await || options.stop_containers;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    end(&node, stop_containers).await;
    if stop_containers {
        // Nobody is left to read from it.
        lxcfs::stop(&config);
    }
    let _ = fs::remove_file(options.run_dir.join(SOCKET));
    Ok(())
}

/// Starts the proxy on its doors: outside, inside, and the socket. Each ends with the node.
fn serve(node: &Arc<Node>, tls: impl Iterator<Item = TcpListener>, socket: UnixListener) -> Result<(), StartError> {
    let place = &node.place;
    let grammar = Grammar::new(&place.domains, &place.server_name)?;
    let ca_dir = place.state_dir.join("ca");
    let certificates = Certificates::open(&ca_dir, &grammar)?.server_config()?;
    let proxy = Proxy::new(Arc::new(NodeRoutes(Arc::clone(node))), grammar, Limits::default());
    for listener in tls {
        listener.set_nonblocking(true).map_err(at(&ca_dir))?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(at(&ca_dir))?;
        node.tasks.spawn(serve_tls(listener, certificates.clone(), proxy.clone(), node.shutdown.clone()));
    }
    node.tasks.spawn(serve_unix(socket, proxy, node.shutdown.clone()));
    Ok(())
}

/// Waits for a signal to end: SIGTERM and SIGINT let containers run on, SIGUSR1 stops them first.
/// Gives whether it was the latter.
async fn until_signal() -> bool {
    let heard = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut stream) => drop(stream.recv().await),
            Err(error) => {
                tracing::error!(%error, ?kind, "a signal cannot be heard");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = heard(SignalKind::terminate()) => false,
        () = heard(SignalKind::interrupt()) => false,
        () = heard(SignalKind::user_defined1()) => true,
    }
}

/// Ends the node's tasks; containers only when asked.
async fn end(node: &Arc<Node>, stop_containers: bool) {
    if stop_containers {
        // What sleeps frozen is still there.
        let states = [ContainerState::Running, ContainerState::Paused, ContainerState::Asleep];
        let running: Vec<_> = states.into_iter().flat_map(|s| node.fleet.in_state(s)).collect();
        tracing::info!(containers = running.len(), "stopping");
        futures_util::stream::iter(running)
            .for_each_concurrent(STOPS_AT_ONCE, |(id, _)| async move {
                if let Err(error) = node.ask(&id, Wish::Halt).await {
                    tracing::error!(container = %id, %error, "could not be stopped");
                }
            })
            .await;
    }
    node.shutdown.cancel();
    node.tasks.close();
    if tokio::time::timeout(DRAIN, node.tasks.wait()).await.is_err() {
        tracing::warn!("some work did not end in time; the next start finishes it");
    }
    tracing::info!("ended; {}", if stop_containers { "containers are stopped" } else { "containers run on" });
}

fn make_dir(path: &Path, mode: u32) -> Result<(), StartError> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(at(path))
}

/// Locks a directory for this process, and writes its pid down for whoever comes second.
fn lock(dir: &Path) -> Result<Flock<File>, StartError> {
    let path = dir.join("node.lock");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        let pid = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
        StartError::InUse { path: dir.to_owned(), pid: if pid.is_empty() { "unknown".into() } else { pid } }
    })?;
    lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(at(&path))?;
    Ok(lock)
}

/// Where the node answers containers, on one of their gateways: an address that comes into being
/// with the first of them.
struct Door {
    resolver: Resolver,
    dns_port: u16,
    proxy: TcpListener,
    proxy_port: u16,
}

fn door(gateway: IpAddr, domains: &[String], leads: Answer) -> Result<Door, StartError> {
    let address = SocketAddr::from((gateway, 0));
    let resolver = Resolver::bind(DnsConfig::new(address, domains.to_vec(), leads)).map_err(StartError::Dns)?;
    let listen = |source| StartError::Listen { address, source };
    let socket = free_bound(address, rustix::net::SocketType::STREAM).map_err(listen)?;
    rustix::net::listen(&socket, 1024).map_err(|e| listen(e.into()))?;
    let proxy = TcpListener::from(socket);
    let proxy_port = proxy.local_addr().map_err(listen)?.port();
    Ok(Door { dns_port: resolver.local_addr().port(), resolver, proxy, proxy_port })
}

/// Where programs of this host ask for the names of containers: on loopback, at the port that was
/// used before, since `cowl dns install` has told others of it.
fn host_names(store: &Arc<Store>, place: &Place) -> Result<Resolver, StartError> {
    let listens_on = place.listen.ip();
    let leads = match listens_on {
        IpAddr::V6(six) if !six.is_unspecified() => Answer { v4: None, v6: Some(six) },
        IpAddr::V4(four) if !four.is_unspecified() => Answer { v4: Some(four), v6: None },
        _ => Answer { v4: Some(Ipv4Addr::LOCALHOST), v6: None },
    };
    let rows = || Rows { store: Arc::clone(store), network: place.network, network6: place.network6 };
    let config = |port: u16| DnsConfig {
        directory: Some(Arc::new(rows())),
        forward: false,
        ..DnsConfig::new((Ipv4Addr::LOCALHOST, port).into(), place.domains.clone(), leads)
    };
    let remembered = store.meta("dns_port")?.and_then(|text| text.parse().ok());
    let resolver = Resolver::bind(config(remembered.unwrap_or(options::DNS_PORT)))
        .or_else(|_| Resolver::bind(config(0)))
        .map_err(StartError::HostDns)?;
    store.set_meta("dns_port", &resolver.local_addr().port().to_string())?;
    Ok(resolver)
}

/// The containers' IPv6 prefix, where they get IPv6: drawn once and kept.
fn settle_ipv6(store: &Store, asked: options::Ipv6) -> Result<Option<Ipv6Addr>, StartError> {
    let wanted = match asked {
        options::Ipv6::Auto => ipv6::host_has_it(),
        options::Ipv6::On => true,
        options::Ipv6::Off => false,
    };
    if !wanted {
        return Ok(None);
    }
    let kept = store.meta("network6")?.and_then(|text| text.parse().ok()).filter(|p| ipv6::is_prefix(*p));
    let prefix = kept.unwrap_or_else(ipv6::random_prefix);
    store.set_meta("network6", &prefix.to_string())?;
    Ok(Some(prefix))
}

/// Binds the proxy's address. Only a default that is taken is replaced, with a hint.
fn bind(asked: Option<SocketAddr>) -> Result<(TcpListener, Option<String>), StartError> {
    if let Some(address) = asked {
        let listener = TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })?;
        return Ok((listener, None));
    }
    match TcpListener::bind(options::LISTEN) {
        Ok(listener) => Ok((listener, None)),
        Err(first) => {
            let address = options::LISTEN_INSTEAD;
            let listener = TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })?;
            let hint = format!(
                "{} is not free ({first}), so the proxy listens on {address}; free it and restart the node, or choose with --listen",
                options::LISTEN
            );
            Ok((listener, Some(hint)))
        }
    }
}

/// The network that was asked for, else the remembered one, else a free one; remembered.
fn settle_network(store: &Store, asked: Option<cowl_engine::Ipv4Net>) -> Result<network::Claim, StartError> {
    let remembered = store.meta("network")?.and_then(|text| text.parse().ok());
    let claim = match asked.or(remembered) {
        Some(net) => network::take(net),
        None => network::find(),
    }
    .map_err(StartError::Network)?;
    store.set_meta("network", &claim.network.to_string())?;
    Ok(claim)
}

fn place(
    store: &Store,
    options: &Options,
    listen: SocketAddr,
    network: cowl_engine::Ipv4Net,
    hints: Vec<String>,
) -> Result<Place, StartError> {
    let kept = store.meta_or("server_id", || ServerId::generate().to_string())?;
    let server_id = kept.parse().map_err(|_| {
        StartError::State(super::state::Error::Conflict(format!("node.db holds a server id that is none: {kept}")))
    })?;
    let uname = nix::sys::utsname::uname().map_err(|e| StartError::File { path: "uname".into(), source: e.into() })?;
    if let Some(name) = &options.server_name {
        store.set_meta("server_name", name)?;
    }
    let server_name =
        store.meta_or("server_name", || options::default_server_name(&uname.nodename().to_string_lossy()))?;
    Ok(Place {
        server_id,
        server_name,
        domains: options.all_domains(),
        listen,
        network,
        network6: settle_ipv6(store, options.ipv6)?,
        dns: None,
        // Any 24 hex digits; the user's id has no type of its own.
        owner_id: store.meta_or("owner_id", || EventId::generate().to_string())?,
        state_dir: options.state_dir.clone(),
        started_at: clock::now(),
        kernel: uname.release().to_string_lossy().into_owned(),
        hints,
        undelete_hours: options.undelete_hours,
    })
}

fn config(options: &Options, network: cowl_engine::Ipv4Net) -> Result<Config, StartError> {
    let cowl_exe = std::env::current_exe().map_err(at(Path::new("/proc/self/exe")))?;
    Ok(Config {
        state_dir: absolute(&options.state_dir)?,
        run_dir: absolute(&options.run_dir)?,
        network,
        id_base: options.id_base,
        mirror: options.mirror.clone(),
        cache_dir: options.cache_dir.as_deref().map(absolute).transpose()?,
        kit_exe: options.kit_exe_beside(&cowl_exe),
        cowl_exe,
    })
}

fn absolute(path: &Path) -> Result<PathBuf, StartError> {
    std::path::absolute(path).map_err(at(path))
}

/// Binds the API's socket for root and, where there is one, group `cowl`.
fn bind_socket(path: &Path) -> Result<UnixListener, StartError> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(at(path)(source)),
    }
    // Nobody may connect before mode and group are set.
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    nix::sys::stat::umask(before);
    let listener = bound.map_err(at(path))?;
    if let Ok(Some(group)) = nix::unistd::Group::from_name("cowl") {
        nix::unistd::chown(path, None, Some(group.gid)).map_err(|e| at(path)(e.into()))?;
    }
    fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(at(path))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_that_was_asked_for_is_an_error_in_one_line() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let said = bind(Some(address)).unwrap_err().to_string();
        assert!(said.contains(&address.to_string()) && said.contains("--listen") && !said.contains('\n'));
    }

    #[test]
    fn a_second_node_is_told_who_came_first() {
        let dir = tempfile::tempdir().unwrap();
        let _first = lock(dir.path()).unwrap();
        let said = lock(dir.path()).unwrap_err().to_string();
        assert!(said.contains(&format!("pid {}", std::process::id())), "{said}");
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_and_group_only_and_replaces_a_stale_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SOCKET);
        drop(bind_socket(&path).unwrap());
        let _again = bind_socket(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    }

    #[test]
    fn a_box_keeps_its_id_and_its_name() {
        use clap::Parser;
        #[derive(Parser)]
        struct Cli {
            #[command(flatten)]
            options: Options,
        }
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.db")).unwrap();
        let net = "10.201.0.0/16".parse().unwrap();
        let place = |args: &[&str]| {
            let options = Cli::parse_from(args).options;
            place(&store, &options, options::LISTEN, net, Vec::new()).unwrap()
        };
        let first = place(&["node", "--server-name", "alpha"]);
        let second = place(&["node"]);
        assert_eq!((first.server_id, &first.server_name), (second.server_id, &second.server_name));
        assert_eq!((second.server_name.as_str(), second.api_url().as_str()), ("alpha", "https://api.cowl.localhost"));
    }
}
