//! The peer: systemd-nspawn with a user namespace and a veth of its own, cold from a snapshot.
//!
//! A host without systemd as PID 1 has no machined and no unit for it, so it is started by hand:
//! in a group of its own in every hierarchy, told to tell us when the system inside is ready.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};

use super::cgroup::{Group, pss};
use super::{Error, Result};
use cowl_engine::sys::btrfs;

/// A boot takes a second or two; twenty at once on a busy machine, a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// Joins the groups named by its arguments, waits for a line, becomes nspawn. So the time that
/// moving between groups takes is not the peer's.
const STARTER: &str = r#"
while [ "$1" != -- ]; do echo 0 > "$1"; shift; done
shift
echo waiting
read -r go
exec "$@" < /dev/null
"#;

/// Where machines live: a directory on the pool's file system.
#[derive(Debug, Clone)]
pub struct Place {
    /// Snapshots, sockets and logs.
    pub dir: PathBuf,
    /// First part of all cgroups.
    pub group: String,
}

/// A machine that waits to be started, runs, or has ended.
#[derive(Debug)]
pub struct Machine {
    /// Its cgroups.
    pub group: Group,
    /// Its root file system.
    pub root: PathBuf,
    image: PathBuf,
    child: Child,
    notify: UnixDatagram,
    files: [PathBuf; 2],
    leader: Option<u32>,
    cpu_before: f64,
    begun: Instant,
}

impl Machine {
    /// Prepares a machine of `image`, a subvolume. Nothing of it runs or is copied yet.
    ///
    /// # Errors
    /// The step that failed.
    pub fn prepare(place: &Place, image: &Path) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Host interfaces are named `ve-NAME`, in 15 characters.
        let name = format!("b{}-{}", std::process::id() % 100_000, COUNT.fetch_add(1, Ordering::Relaxed));
        let group = Group::named(Path::new(&place.group).join(&name)).map_err(|e| Error::at("find cgroups", e))?;
        group.make().map_err(|e| Error::at("make cgroups", e))?;
        let root = place.dir.join(&name);
        let (socket, log) = (place.dir.join(format!("{name}.notify")), place.dir.join(format!("{name}.log")));
        let notify = UnixDatagram::bind(&socket).map_err(|e| Error::at("bind a notify socket", e))?;
        let out = std::fs::File::create(&log).map_err(|e| Error::at("write a log", e))?;
        let err = out.try_clone().map_err(|e| Error::at("write a log", e))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", STARTER, "sh"]).args(group.doors()).arg("--");
        command.args(["systemd-nspawn", "--quiet", "-U", "--network-veth", "--boot", "--notify-ready=yes"]);
        command.args(["--register=no", "--keep-unit", "--console=read-only"]);
        command.arg(format!("--machine={name}")).arg(format!("--directory={}", root.display()));
        command.env("NOTIFY_SOCKET", &socket).stdin(Stdio::piped()).stdout(out).stderr(err).kill_on_drop(true);
        let child = command.spawn().map_err(|e| Error::at("run systemd-nspawn", e))?;
        Ok(Self {
            cpu_before: 0.0,
            begun: Instant::now(),
            group,
            root,
            image: image.to_owned(),
            child,
            notify,
            files: [socket, log],
            leader: None,
        })
    }

    /// Waits until the starter sits in its groups, so that [`Machine::start`] measures a start.
    ///
    /// # Errors
    /// When it does not get there.
    pub async fn settle(&mut self) -> Result<()> {
        for _ in 0..2_000 {
            if self.last_words() == "waiting" {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Err(Error::other(format!("the peer's starter does not wait: {}", self.last_words())))
    }

    /// Takes the snapshot and lets nspawn go.
    ///
    /// # Errors
    /// When there is no room, or the starter has died.
    pub async fn start(&mut self) -> Result<()> {
        self.cpu_before = self.group.cpu_seconds();
        self.begun = Instant::now();
        btrfs::snapshot(&self.image, &self.root).map_err(|e| Error::at("snapshot the peer's image", e))?;
        let mut stdin = self.child.stdin.take().ok_or_else(|| Error::other("the peer was started before"))?;
        stdin.write_all(b"go\n").await.map_err(|e| Error::at("let the peer go", e))
    }

    /// Waits for READY. Gives wall time and CPU time since the start, in seconds.
    ///
    /// # Errors
    /// When it ends before, or takes too long; with its last words.
    pub async fn ready(&mut self) -> Result<(f64, f64)> {
        let mut buf = vec![0; 4096];
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            tokio::select! {
                received = self.notify.recv(&mut buf) => {
                    let n = received.map_err(|e| Error::at("hear the peer", e))?;
                    let text = String::from_utf8_lossy(&buf[..n]).into_owned();
                    if let Some(pid) = text.lines().find_map(|l| l.strip_prefix("X_NSPAWN_LEADER_PID=")) {
                        self.leader = pid.parse().ok();
                    }
                    if text.lines().any(|line| line == "READY=1") {
                        return Ok((self.begun.elapsed().as_secs_f64(), self.group.cpu_seconds() - self.cpu_before));
                    }
                }
                status = self.child.wait() => {
                    let status = status.map_err(|e| Error::at("wait for the peer", e))?;
                    return Err(Error::other(format!("systemd-nspawn ended ({status}): {}", self.last_words())));
                }
                () = tokio::time::sleep_until(end) => {
                    return Err(Error::other(format!("the peer is not ready: {}", self.last_words())));
                }
            }
        }
    }

    /// Process id of its systemd.
    pub fn leader(&self) -> Option<u32> {
        self.leader
    }

    /// Asks it to halt and waits until nspawn has ended; seconds.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> Result<f64> {
        let begun = Instant::now();
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| Error::other("the peer has ended on its own"))?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|e| Error::at("stop the peer", e.into()))?;
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(_)) => Ok(begun.elapsed().as_secs_f64()),
            Ok(Err(e)) => Err(Error::at("wait for the peer's end", e)),
            Err(_) => Err(Error::other("the peer does not stop")),
        }
    }

    /// PSS of everything of it, nspawn included, in bytes.
    pub fn pss(&self) -> u64 {
        self.group.pids().into_iter().filter_map(|pid| pss(pid).ok()).sum()
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.files[1]).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }

    /// Ends it by force if it still runs, and removes all of it.
    pub async fn remove(mut self) {
        let _ = self.child.kill().await;
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Also reached when a measurement fails or is interrupted.
        let _ = self.child.start_kill();
        self.group.remove();
        remove(&self.root);
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Removes a root file system with the subvolumes made in it.
fn remove(root: &Path) {
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    if let Err(e) = btrfs::delete(root)
        && !gone(&e)
        && root.exists()
    {
        eprintln!("cowl bench: {} is left behind: {e}", root.display());
    }
}
