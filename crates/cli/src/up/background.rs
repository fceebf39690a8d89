//! Starting `cowl node` so that it outlives us and the login: as a unit where systemd runs, else
//! in a session of its own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::super::context::Context;
use super::super::fail::Fail;
use super::super::progress::Bar;
use super::super::wait;
use cowl_client::Client;

/// The installed unit of a node with default directories.
const UNIT: &str = "cowl-node.service";
/// A node makes its pool at first start, which formats a file.
const START: Duration = Duration::from_secs(90);

/// What runs the node.
enum Runner {
    /// A child of ours, and where it writes.
    Child(Child, PathBuf),
    /// A systemd unit.
    Unit(String),
}

/// Starts the node and waits until it answers.
pub(super) async fn start(context: &Context, client: &Client, words: Vec<OsString>, bar: &mut Bar) -> Result<(), Fail> {
    bar.step("starting the node");
    let mut runner = if Path::new("/run/systemd/system").is_dir() {
        Runner::Unit(by_systemd(context, &words)?)
    } else {
        let log = open_log(context)?;
        Runner::Child(by_setsid(&words, &log)?, log)
    };
    wait::until("the node to answer", START, async || {
        match client.status().await {
            Ok(_) => return Ok(Some(())),
            // Its socket appears before it is let in; the directory may be made just now.
            Err(
                cowl_client::Error::NoNode { .. } | cowl_client::Error::Broken(_) | cowl_client::Error::Timeout { .. },
            ) => {}
            Err(e) => return Err(e.into()),
        }
        match runner.ended() {
            Some(reason) => Err(Fail::other(format!("the node ended at once: {reason}"))),
            None => Ok(None),
        }
    })
    .await
}

impl Runner {
    /// Why the node ended, if it did.
    fn ended(&mut self) -> Option<String> {
        match self {
            Self::Child(child, log) => {
                let status = child.try_wait().ok()??;
                let text = fs::read_to_string(&*log).unwrap_or_default();
                let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing").to_owned();
                Some(format!("{last} ({status}; log: {})", log.display()))
            }
            Self::Unit(unit) => {
                let state = Command::new("systemctl").args(["is-failed", "--quiet", unit]).status();
                state.is_ok_and(|s| s.success()).then(|| format!("see `journalctl -u {unit}`"))
            }
        }
    }
}

fn open_log(context: &Context) -> Result<PathBuf, Fail> {
    let dir = context.state_dir.join("logs");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|e| Fail::io(format!("make {}", dir.display()), &e))?;
    Ok(dir.join("node.log"))
}

/// A session of its own: no terminal, no signals of ours. `setsid` execs the node, so the child
/// we watch is the node itself.
fn by_setsid(words: &[OsString], log: &Path) -> Result<Child, Fail> {
    let failed = |e: &std::io::Error| Fail::io(format!("start the node with its log in {}", log.display()), e);
    let out = fs::OpenOptions::new().create(true).append(true).open(log).map_err(|e| failed(&e))?;
    let err = out.try_clone().map_err(|e| failed(&e))?;
    let exe = std::env::current_exe().map_err(|e| failed(&e))?;
    Command::new("setsid")
        .arg(exe)
        .arg("node")
        .args(words)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|e| failed(&e))
}

/// The installed unit when nothing is asked for that it does not do; else one made for this node.
/// Containers are not the unit's to kill.
fn by_systemd(context: &Context, words: &[OsString]) -> Result<String, Fail> {
    let settings: Vec<(String, String)> = std::env::vars().filter(|(k, _)| k.starts_with("COWL_")).collect();
    let installed =
        Path::new("/etc/systemd/system").join(UNIT).exists() || Path::new("/lib/systemd/system").join(UNIT).exists();
    if installed && words.is_empty() && settings.is_empty() {
        run(Command::new("systemctl").args(["start", UNIT]))?;
        return Ok(UNIT.to_owned());
    }
    let tag = super::super::ca::installed_at(&context.run_dir);
    let tag = tag.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let unit = format!("cowl-node@{tag}.service");
    let exe = std::env::current_exe().map_err(|e| Fail::io("find the path of this program", &e))?;
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--collect", "--same-dir", "--property=KillMode=process", "--property=Delegate=yes"]);
    command.args(["--property=Type=exec", "--property=TasksMax=infinity"]).arg(format!("--unit={unit}"));
    for (key, value) in settings {
        command.arg(format!("--setenv={key}={value}"));
    }
    command.arg("--").arg(exe).arg("node").args(words);
    run(&mut command)?;
    Ok(unit)
}

fn run(command: &mut Command) -> Result<(), Fail> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.output().map_err(|e| Fail::io(format!("run {name}"), &e))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(Fail::other(format!("{name} failed: {}", said.lines().last().unwrap_or_default())))
}
