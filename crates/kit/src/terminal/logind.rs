//! Shells as sessions of systemd-logind: what `loginctl` lists, with a user manager behind
//! `systemctl --user` and a `/run/user/<uid>`.
//!
//! A login program would open a PAM session, whose `pam_systemd` asks logind to register the
//! process. We ask logind ourselves: it costs no process, the shell stays the leader of its
//! terminal, and a container that has no logind, or none yet, is the same but for the session.
//! logind moves the shell from the kit's cgroup into a scope of its own, which the delegation
//! allows.
//!
//! Nobody waits for a registration but the first command of a fresh session, and that briefly.
//! Commands on pipes are not registered.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::Pid;
use tokio::sync::watch;

use super::account::Account;
use super::bus::{self, Body, Method};

const BUS: &str = "/run/dbus/system_bus_socket";
/// Exists while and only while the system does not let people log in; systemd removes it at boot.
const NO_LOGIN: &str = "/run/nologin";
/// The user manager's first start is part of the wait.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks whether a booting container takes sessions by now.
const AGAIN: Duration = Duration::from_millis(500);
/// Looks at a container that boots: half a minute.
const LOOKS: u32 = 60;
/// How long a fresh session's first command waits.
pub const FIRST_COMMAND: Duration = Duration::from_secs(2);

/// How far a registration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// logind has been asked.
    Asked,
    /// Registered, refused, or there is nobody to ask yet.
    Settled,
}

/// Whether the container takes sessions now.
fn open_for_logins() -> bool {
    rustix::process::geteuid().is_root() && Path::new(BUS).exists() && !Path::new(NO_LOGIN).exists()
}

/// Whether systemd is init, so that it may take sessions later.
fn has_systemd() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/run/systemd/system").is_dir()
}

/// Variables of a shell of `account`, where its sessions have, or will have, a runtime directory.
/// `interactive` shells get one by their registration; others only see that of a living session.
pub fn variables(account: &Account, interactive: bool) -> Vec<(&'static str, String)> {
    let directory = format!("/run/user/{}", account.uid);
    let exists = Path::new(&directory).is_dir();
    if !exists && (!interactive || !open_for_logins()) {
        return Vec::new();
    }
    let bus = format!("unix:path={directory}/bus");
    vec![("XDG_RUNTIME_DIR", directory), ("DBUS_SESSION_BUS_ADDRESS", bus)]
}

/// Registers the shell `leader` on `terminal` (e.g. `pts/3`) for `account`, in the background. The
/// session lasts until the task is dropped or the shell ends.
pub fn register(account: &Account, leader: Pid, terminal: String) -> (Registration, watch::Receiver<Progress>) {
    let now = open_for_logins();
    let (tell, progress) = watch::channel(if now { Progress::Asked } else { Progress::Settled });
    let uid = account.uid;
    let task = (now || has_systemd()).then(|| {
        tokio::spawn(async move {
            for _ in 0..LOOKS {
                if open_for_logins() {
                    break;
                }
                tokio::time::sleep(AGAIN).await;
            }
            let asked = terminal.clone();
            let session = tokio::task::spawn_blocking(move || create(uid, leader, &asked)).await;
            tell.send_replace(Progress::Settled);
            match session {
                Ok(Ok((name, alive))) => {
                    tracing::debug!(session = name, terminal, "registered");
                    // logind ends the session when this closes.
                    let _alive = alive;
                    std::future::pending::<()>().await;
                }
                Ok(Err(error)) => tracing::debug!(%error, terminal, "not a session of logind"),
                Err(error) => tracing::debug!(%error, terminal, "not a session of logind"),
            }
        })
    });
    (Registration(task), progress)
}

/// A shell's place among the container's sessions; ends with it.
#[derive(Debug)]
pub struct Registration(Option<tokio::task::JoinHandle<()>>);

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Waits until logind has answered, but not for long.
pub async fn settled(mut progress: watch::Receiver<Progress>) {
    let answered = progress.wait_for(|progress| *progress == Progress::Settled);
    // A shell without a session is still a shell.
    let _ = tokio::time::timeout(FIRST_COMMAND, answered).await;
}

/// Asks logind; gives the session's name and the descriptor that keeps it.
fn create(uid: u32, leader: Pid, terminal: &str) -> io::Result<(String, Option<OwnedFd>)> {
    let method = Method {
        destination: "org.freedesktop.login1",
        path: "/org/freedesktop/login1",
        interface: "org.freedesktop.login1.Manager",
        member: "CreateSession",
        signature: "uusssssussbssa(sv)",
    };
    let mut body = Body::default();
    body.number(uid).number(leader.as_raw_nonzero().get().unsigned_abs());
    // Service, type, class, desktop, seat.
    for word in ["cowl", "tty", "user", "", ""] {
        body.text(word);
    }
    // Virtual terminal, terminal, display; remote, by whom, from where; properties.
    body.number(0).text(terminal).text("").flag(false).text("").text("").no_structs();
    let answer = bus::call(Path::new(BUS), method, &body, PATIENCE)?;
    let name = bus::first_text(&answer.body).unwrap_or_default().to_owned();
    Ok((name, answer.fds.into_iter().next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_system_bus_nothing_is_waited_for() {
        if open_for_logins() {
            // On a machine that takes sessions this process must not make any.
            return;
        }
        let account = Account::named("root").unwrap();
        let (_registration, progress) = register(&account, rustix::process::getpid(), "pts/0".into());
        assert_eq!(*progress.borrow(), Progress::Settled);
        settled(progress).await;
    }

    #[test]
    fn a_user_without_a_session_gets_no_runtime_directory() {
        let nobody =
            Account { name: "x".into(), uid: 3_999_999_999, gid: 1, home: "/".into(), shell: "/bin/sh".into() };
        assert!(variables(&nobody, false).is_empty());
    }
}
