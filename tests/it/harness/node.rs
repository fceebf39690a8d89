//! A node of its own: state, sockets, network, ids and port apart from all others on the machine.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::run::{self, Ran, program, wait};
use super::{Container, Network, cowl, eventually, image, sweep};

/// The primary domain of test nodes.
pub const DOMAIN: &str = "box.test";

/// A share of the machine's addresses and ids that no other test has: held by a listening socket.
pub struct Slot {
    number: u16,
    _lock: TcpListener,
}

impl Slot {
    fn take() -> Self {
        let (number, lock) = (0..40)
            .find_map(|n| TcpListener::bind(("127.0.0.1", 47_000 + n)).ok().map(|lock| (n, lock)))
            .expect("more than 40 test nodes at once");
        Self { number, _lock: lock }
    }

    fn network(&self) -> String {
        format!("10.{}.0.0/16", 210 + self.number)
    }

    fn id_base(&self) -> u32 {
        0x4000_0000 + u32::from(self.number) * 0x0100_0000
    }
}

/// How a node is to be.
pub struct Plan {
    name: &'static str,
    image: bool,
    env: Vec<(String, String)>,
    /// Variables that name a file in the node's directory.
    files: Vec<(&'static str, &'static str)>,
    network: Option<String>,
}

impl Plan {
    /// A node with the test image.
    pub fn new(name: &'static str) -> Self {
        Self { name, image: true, env: Vec::new(), files: Vec::new(), network: None }
    }

    /// It runs in a network of its own, and on the address it chooses there.
    pub fn inside(mut self, network: &Network) -> Self {
        self.network = Some(network.path());
        self
    }

    /// Its pool has no image; it begins to build one.
    pub fn without_image(mut self) -> Self {
        self.image = false;
        self
    }

    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// A variable that names a file in the node's directory.
    pub fn file(mut self, key: &'static str, name: &'static str) -> Self {
        self.files.push((key, name));
        self
    }

    /// Makes its directories and pool without starting it.
    pub fn prepare(self) -> Node {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/tmp/{}-{n}-{}", sweep::own_prefix(), self.name));
        fs::create_dir_all(dir.join("run")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (slot, child) = (Slot::take(), Mutex::new(None));
        let files = self.files.iter().map(|(key, name)| ((*key).to_owned(), dir.join(name).display().to_string()));
        let env = self.env.into_iter().chain(files).collect();
        let node = Node { dir, port, slot, env, network: self.network, child };
        sweep::remember(node.tag());
        if self.image {
            node.cowl(&["images", "build", "--import", image().to_str().unwrap()]).ok();
        }
        node
    }

    /// Starts it and waits until it answers.
    pub fn start(self) -> Node {
        let node = self.prepare();
        node.launch();
        node
    }
}

/// A node of this test. Dropping it ends its containers and removes all it had.
pub struct Node {
    pub dir: PathBuf,
    /// Where its proxy is told to listen; means nothing in a network of its own.
    pub port: u16,
    slot: Slot,
    env: Vec<(String, String)>,
    /// The network namespace `cowl node` runs in, if not this one.
    network: Option<String>,
    child: Mutex<Option<Child>>,
}

impl Node {
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("node.log")
    }

    /// `cowl WORDS` for this node, to be changed before it runs.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = program(cowl());
        self.settings(&mut command);
        command.args(words);
        command
    }

    /// Tells a program where this node is and what is its own.
    pub fn settings(&self, command: &mut Command) {
        for (key, _) in std::env::vars().filter(|(k, _)| k.starts_with("COWL_") && k != "COWL_CACHE_DIR") {
            command.env_remove(key);
        }
        command.envs(self.variables()).current_dir("/");
    }

    /// The variables that say so.
    pub fn variables(&self) -> Vec<(String, String)> {
        let own = [
            ("COWL_STATE_DIR", self.state_dir().display().to_string()),
            ("COWL_RUN_DIR", self.run_dir().display().to_string()),
            ("COWL_LISTEN", format!("127.0.0.1:{}", self.port)),
            ("COWL_DOMAIN", DOMAIN.into()),
            ("COWL_SERVER_NAME", self.server_name()),
            ("COWL_NETWORK", self.slot.network()),
            ("COWL_ID_BASE", self.slot.id_base().to_string()),
        ];
        let own = own.into_iter().filter(|(key, _)| *key != "COWL_LISTEN" || self.network.is_none());
        own.map(|(k, v)| (k.to_owned(), v)).chain(self.env.iter().cloned()).collect()
    }

    /// What its interfaces, cgroups and firewall table are named by.
    pub fn tag(&self) -> String {
        let hash = Sha256::digest(self.run_dir().as_os_str().as_encoded_bytes());
        format!("{:02x}{:02x}", hash[0], hash[1])
    }

    pub fn server_name(&self) -> String {
        format!("cowlt-{}", self.slot.number)
    }

    /// Runs `cowl WORDS` for this node.
    #[track_caller]
    pub fn cowl(&self, words: &[&str]) -> Ran {
        run::run(&mut self.command(words))
    }

    /// Runs `cowl --json WORDS`; panics unless it succeeds.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        self.cowl(&[&["--json"], words].concat()).json()
    }

    /// Starts `cowl node` and waits until it answers.
    #[track_caller]
    pub fn launch(&self) {
        self.spawn();
        eventually("the node to serve", 60, || {
            let ended = self.child().as_mut().and_then(|c| c.try_wait().ok().flatten());
            assert!(ended.is_none(), "the node ended ({ended:?}):\n{}", self.log_tail());
            (self.cowl(&["status"]).code == 0).then_some(())
        });
    }

    /// Starts `cowl node` and does not wait.
    pub fn spawn(&self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = match &self.network {
            None => self.command(&["node"]),
            Some(network) => {
                let mut command = program("nsenter");
                self.settings(&mut command);
                command.arg(format!("--net={network}")).args([cowl(), "node"]);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().expect("start the node");
        *self.child() = Some(child);
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the node a signal and waits for its end; returns its exit code as a shell tells it.
    #[track_caller]
    pub fn signal(&self, signal: Signal) -> i32 {
        let mut child = self.child().take().expect("the node runs");
        kill(Pid::from_raw(child.id().cast_signed()), signal).expect("signal the node");
        let status = wait(&mut child, Duration::from_secs(60));
        run::code(status.unwrap_or_else(|| panic!("{signal} did not end the node:\n{}", self.log_tail())))
    }

    /// Waits until the node ends by itself; its exit code.
    #[track_caller]
    pub fn ends(&self) -> i32 {
        let mut child = self.child().take().expect("the node was started");
        run::code(wait(&mut child, Duration::from_secs(60)).expect("the node should have ended"))
    }

    /// Whether its process is there.
    pub fn lives(&self) -> bool {
        self.child().as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Forgets its process, which ended by itself.
    pub fn reap(&self) {
        self.ends();
    }

    /// Kills it, all shims and so all containers at once, and takes the pool from under them.
    #[track_caller]
    pub fn power_cut(&self) {
        sweep::cut_power(&self.dir);
        self.reap();
    }

    /// Places in its pool that carry a container's id.
    pub fn pool_dirs(&self, id: &str) -> Vec<PathBuf> {
        let pool = self.state_dir().join("pool");
        ["containers", "snapshots"].iter().map(|kind| pool.join(kind).join(id)).filter(|path| path.exists()).collect()
    }

    /// Last lines of its log.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Path of its authority's certificate.
    pub fn ca(&self) -> PathBuf {
        PathBuf::from(self.cowl(&["ca", "path"]).ok().trim())
    }

    pub fn token(&self) -> String {
        self.cowl(&["token"]).ok().trim().to_owned()
    }

    /// Id of a project of this name; made when there is none.
    pub fn project(&self, alias: &str) -> String {
        let made = self.cowl(&["--json", "projects", "create", "--alias", alias]);
        let projects = self.json(&["projects", "list"]);
        let found = projects.as_array().unwrap().iter().find(|p| p["alias"] == alias);
        found.unwrap_or_else(|| panic!("no project {alias}: {made:#?}"))["id"].as_str().unwrap().to_owned()
    }

    /// A running container whose name begins with `name`.
    #[track_caller]
    pub fn container(&self, name: &str) -> Container<'_> {
        Container::create(self, name)
    }

    /// A running container of just this name in a project.
    #[track_caller]
    pub fn container_in(&self, project: &str, name: &str) -> Container<'_> {
        Container::create_in(self, project, name)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.dir.display(), self.log_tail());
        }
        if let Some(mut child) = self.child().take() {
            // Asked kindly first, so that it stops its containers.
            let _ = run_quietly(&mut self.command(&["stop", "--containers"]));
            if wait(&mut child, Duration::from_secs(30)).is_none() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        sweep::remove(&self.dir);
    }
}

fn run_quietly(command: &mut Command) -> std::io::Result<std::process::ExitStatus> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
}

/// Whether a file of this name is in a directory.
pub fn has(dir: &Path, name: &str) -> bool {
    dir.join(name).exists()
}
