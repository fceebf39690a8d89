//! Our side: a node of the bench's own, measured only through what anybody can reach: the API, the
//! URLs of its containers, and the shim's socket, which says when systemd is ready.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::cgroup::{Group, pss};
use super::{Error, Result};
use cowl_api::container::{Container, CreateContainer, Operation};
use cowl_api::project::{CreateProject, Project};
use cowl_api::terminal::{CommandResult, Execute};
use cowl_api::{ContainerId, ProjectId, Service};
use cowl_client::{Client, ExecuteIn, Kit};
use cowl_engine::launch;
use cowl_engine::shim::protocol::{Reply, Request, Status};
use cowl_engine::{Config, Ipv4Net};

/// First host id of the bench's containers: apart from what a node takes by default.
pub const ID_BASE: u32 = 0x5300_0000;
/// A boot on a busy machine, or the answer to a request.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two tries of a request that nobody answers yet.
const AGAIN: Duration = Duration::from_millis(1);

/// A node that runs.
#[derive(Debug)]
pub struct Node {
    config: Config,
    child: Child,
    /// Where the node itself runs.
    group: Group,
    /// Over it all its containers and shims.
    fleet: Group,
    client: Client,
    remote: Client,
    project: Project,
    server: String,
    made: std::sync::atomic::AtomicU32,
}

/// Wall and CPU time, in seconds, from a create to a moment after it.
#[derive(Debug, Clone, Copy)]
pub struct Birth {
    /// First HTTPS 200 of terminal-1.
    pub first200: f64,
    /// READY.
    pub ready: f64,
    /// CPU of container, kit, shim and node until READY.
    pub cpu: f64,
}

impl Node {
    /// Starts a node on the bench's pool and waits until it serves.
    ///
    /// # Errors
    /// Why it does not, with the end of its log.
    pub async fn start(config: &Config, group: Group) -> Result<Self> {
        group.make().map_err(|e| Error::at("make cgroups", e))?;
        let port = free_port().map_err(|e| Error::at("find a free port", e))?;
        let log = config.state_dir.join("node.log");
        let out = std::fs::File::create(&log).map_err(|e| Error::at("write the node's log", e))?;
        let err = out.try_clone().map_err(|e| Error::at("write the node's log", e))?;
        let mut command = Command::new("/bin/sh");
        // It ends with the bench, however that ends.
        let starter =
            r#"while [ "$1" != -- ]; do echo 0 > "$1"; shift; done; shift; exec setpriv --pdeathsig TERM -- "$@""#;
        command.args(["-c", starter, "sh"]).args(group.doors()).arg("--").arg(&config.cowl_exe).arg("node");
        command.arg("--state-dir").arg(&config.state_dir).arg("--run-dir").arg(&config.run_dir);
        command.arg(format!("--listen=127.0.0.1:{port}")).arg(format!("--id-base={}", config.id_base));
        if !config.network.address.is_unspecified() {
            command.arg(format!("--network={}", config.network));
        }
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COWL_")) {
            command.env_remove(name);
        }
        // Ctrl-C is the bench's: it still needs the node to clean up.
        command.current_dir("/").stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let mut child = command.spawn().map_err(|e| Error::at("start a node", e))?;
        let client = Client::local(&config.run_dir);
        let status = loop {
            match client.status().await {
                Ok(status) => break status,
                Err(_) if child.try_wait().is_ok_and(|ended| ended.is_none()) => tokio::time::sleep(10 * AGAIN).await,
                Err(e) => return Err(Error::other(format!("the node does not serve: {e}; see {}", log.display()))),
            }
        };
        let token = cowl_node::token::read(&config.state_dir.join(cowl_node::token::FILE))
            .map_err(|e| Error::at("read the node's token", e))?;
        let ca = config.state_dir.join("ca").join("ca.crt");
        let remote = Client::remote(&status.api_url, &token, Some(&ca))?;
        let alias = format!("bench-{}", std::process::id());
        let project = client.create_project(&CreateProject { alias, ..CreateProject::default() }).await?;
        Ok(Self {
            fleet: Group::named(format!("cowl-{}", config.tag())).map_err(|e| Error::at("find cgroups", e))?,
            config: config.clone(),
            child,
            group,
            client,
            remote,
            project,
            server: status.server_id.to_string(),
            made: 0.into(),
        })
    }

    /// Its API, by its socket.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks for a container; returns when the node has taken the order.
    ///
    /// # Errors
    /// The node's.
    pub async fn order(&self) -> Result<Container> {
        let n = self.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let body = CreateContainer {
            server_id: Some(self.server.clone()),
            name: Some(format!("bench-{n}")),
            ..CreateContainer::default()
        };
        Ok(self.client.create_container(&self.project.id, &body).await?)
    }

    /// Waits for systemd's READY.
    ///
    /// # Errors
    /// When the container fails, or is not ready in time.
    pub async fn ready(&self, id: ContainerId) -> Result<()> {
        let config = self.config.clone();
        let socket = launch::shim_socket(&config, &id);
        let end = Instant::now() + PATIENCE;
        while !socket.exists() {
            if Instant::now() > end {
                return Err(Error::other(format!("container {id} does not start")));
            }
            tokio::time::sleep(AGAIN).await;
        }
        let waiting = tokio::task::spawn_blocking(move || launch::wait_until_ready(&config, &id, PATIENCE));
        Ok(waiting.await.map_err(Error::other)??)
    }

    /// The terminal service of a container by its URL: TLS, certificate checked.
    pub fn terminal(&self, container: &Container) -> Kit {
        self.remote.kit(container, Service::Terminal, 1)
    }

    /// The same over the node's socket.
    pub fn near_terminal(&self, container: &Container) -> Kit {
        self.client.kit(container, Service::Terminal, 1)
    }

    /// Creates a container and watches it until it is ready.
    ///
    /// # Errors
    /// Those of the steps.
    pub async fn birth(&self) -> Result<(Container, Birth)> {
        let cpu = self.cpu();
        let begun = Instant::now();
        let container = self.order().await?;
        let kit = self.terminal(&container);
        let first = async {
            first200(&kit).await?;
            Ok::<_, Error>(begun.elapsed().as_secs_f64())
        };
        let ready = async {
            self.ready(container.id).await?;
            Ok::<_, Error>((begun.elapsed().as_secs_f64(), self.cpu() - cpu))
        };
        let (first200, (ready, cpu)) = tokio::try_join!(first, ready)?;
        Ok((container, Birth { first200, ready, cpu }))
    }

    /// Creates a container and waits, by a command in its terminal-1, until `multi-user.target` is
    /// active; seconds.
    ///
    /// # Errors
    /// Those of the steps.
    pub async fn multiuser(&self) -> Result<(Container, f64)> {
        const WAIT: &str = "until systemctl --quiet is-active multi-user.target; do sleep 0.01; done";
        let begun = Instant::now();
        let container = self.order().await?;
        let kit = self.terminal(&container);
        first200(&kit).await?;
        let done = run(&kit, WAIT).await?;
        if done.exit_code != Some(0) {
            return Err(Error::other(format!("multi-user.target is not seen: {} {}", done.status, done.stderr)));
        }
        Ok((container, begun.elapsed().as_secs_f64()))
    }

    /// Stops a container gracefully; seconds until the node's answer.
    ///
    /// # Errors
    /// The node's.
    pub async fn stop(&self, id: &ContainerId) -> Result<f64> {
        let begun = Instant::now();
        self.client.operate(id, Operation::Stop).await?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Puts a container to sleep as anybody would.
    ///
    /// # Errors
    /// The node's; 404 where it knows no sleep.
    pub async fn sleep(&self, id: &ContainerId) -> Result<()> {
        self.client.operate(id, Operation::Sleep).await?;
        Ok(())
    }

    /// Removes containers, several at a time; gives each one's failure.
    pub async fn discard(&self, containers: Vec<Container>) -> Vec<Error> {
        discard(&self.client, containers).await
    }

    /// Where a container's disk is.
    pub fn disk(&self, id: &ContainerId) -> PathBuf {
        self.config.state_dir.join("pool/containers").join(id.as_str())
    }

    /// CPU seconds of the node, all shims and all containers so far.
    pub fn cpu(&self) -> f64 {
        self.group.cpu_seconds() + self.fleet.cpu_seconds()
    }

    /// CPU seconds of the node alone.
    pub fn own_cpu(&self) -> f64 {
        self.group.cpu_seconds()
    }

    /// Resident memory of the node, in bytes.
    pub fn own_rss(&self) -> u64 {
        let pid = self.child.id().unwrap_or(0);
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Its container as the shim sees it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn shim(&self, id: &ContainerId) -> Result<Status> {
        match launch::request(&self.config, id, &Request::Status)? {
            Reply::Status(status) => Ok(status),
            other => Err(Error::other(format!("the shim of {id} says {other:?}"))),
        }
    }

    /// PSS of everything of a container: its processes, its kit, its shim; in bytes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pss(&self, id: &ContainerId) -> Result<u64> {
        let shim = self.shim(id)?.shim_pid;
        let inside = self.part(id.as_str())?.pids();
        Ok(inside.into_iter().chain([shim]).filter_map(|pid| pss(pid).ok()).sum())
    }

    /// Memory charged to a part of the fleet: a container's id, or `shim` for all shims; in bytes.
    ///
    /// # Errors
    /// When the host accounts no memory.
    pub fn charged(&self, part: &str) -> Result<u64> {
        self.part(part)?.memory().map_err(|e| Error::at("read what memory is charged", e))
    }

    fn part(&self, part: &str) -> Result<Group> {
        Group::named(format!("cowl-{}/{part}", self.config.tag())).map_err(|e| Error::at("find cgroups", e))
    }

    /// Removes all containers and ends the node; gives what resists.
    pub async fn end(mut self) -> Vec<Error> {
        let mut failures = clear(&self.client, &self.project.id).await;
        // A node that could not remove its containers at least stops them.
        let signal = if failures.is_empty() { Signal::SIGTERM } else { Signal::SIGUSR1 };
        failures.extend(self.terminate(signal).await.err());
        self.group.remove();
        failures
    }

    async fn terminate(&mut self, signal: Signal) -> Result<()> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid {
            kill(Pid::from_raw(pid), signal).map_err(|e| Error::at("end the node", e.into()))?;
        }
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(Error::at("wait for the node's end", e)),
            Err(_) => Err(Error::other("the node does not end")),
        }
    }
}

/// Asks a terminal for its health until it answers 200.
///
/// # Errors
/// The last refusal, when none was followed by an answer.
pub async fn first200(kit: &Kit) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match kit.json::<serde_json::Value>(http::Method::GET, "/api/v1/terminal/health", None::<&()>).await {
            Ok(_) => return Ok(()),
            Err(e) if Instant::now() > end => return Err(e.into()),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Removes a project with its containers; gives what resists.
pub async fn clear(client: &Client, project: &ProjectId) -> Vec<Error> {
    let containers = match client.containers(Some(project)).await {
        Ok(containers) => containers,
        Err(e) => return vec![e.into()],
    };
    let mut failures = discard(client, containers).await;
    if failures.is_empty() {
        failures.extend(client.delete_project(project).await.err().map(Error::from));
    }
    failures
}

async fn discard(client: &Client, containers: Vec<Container>) -> Vec<Error> {
    super::failures(containers, async |container: Container| {
        let done = client.delete_container(&container.id).await;
        done.map(drop).map_err(|e| Error::other(format!("container {} is not removed: {e}", container.name)))
    })
    .await
}

/// Runs a command in a fresh shell.
///
/// # Errors
/// The kit's.
pub async fn run(kit: &Kit, command: &str) -> Result<CommandResult> {
    let order = Execute { command: command.into(), ..Execute::default() };
    Ok(kit.run(order, &ExecuteIn::default(), PATIENCE).await?)
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The network a node chooses itself.
pub const ANY_NETWORK: Ipv4Net = Ipv4Net { address: std::net::Ipv4Addr::UNSPECIFIED, prefix: 0 };
