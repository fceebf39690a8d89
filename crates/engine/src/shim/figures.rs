//! The shim's side of [`figures`](crate::figures): it takes the listeners of the filters
//! that init and kit load, keeps them, and keeps a process that serves them.
//!
//! ```text
//! init, kit ── the listener, once ──> shim ── a copy ──> figures process
//!                                      └─ keeps one: another process may take over
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Context, Result};
use crate::figures::server::{self, Subject};
use crate::figures::watched;
use crate::launch::{Root, ShimSpec};
use crate::sys::fds;
use crate::sys::process::{self, Forked, Process};

/// How long a process must have lived to be started again at once.
const TRIED: Duration = Duration::from_secs(10);
/// Else it is started again after this.
const REST: Duration = Duration::from_secs(1);

/// Which calls a filter has wait, and where its listener goes. For the halves of a birth.
pub struct Watch<'a> {
    /// Numbers of the calls.
    pub calls: Vec<libc::c_long>,
    inbox: BorrowedFd<'a>,
}

impl Watch<'_> {
    /// Hands the listener of a filter over.
    ///
    /// # Errors
    /// When the shim is gone.
    pub fn hand_over(&self, listener: &OwnedFd) -> Result<()> {
        fds::send(self.inbox, server::ADOPT, &[listener.as_fd()]).context(|| "hand the listener over".into())
    }
}

/// A container's figures.
pub struct Figures {
    subject: Subject,
    calls: Vec<libc::c_long>,
    /// Where init and kit put listeners in, and where they come out.
    inbox: (OwnedFd, OwnedFd),
    listeners: Vec<OwnedFd>,
    server: Option<Server>,
    started: Instant,
    due: Option<Instant>,
}

struct Server {
    process: Process,
    control: OwnedFd,
}

fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).context(|| "socketpair".into())
}

impl Figures {
    /// For the container of `spec` with host ids from `base` on; `None` when it has no limit that a
    /// call shows. One that cannot be started is told in the log, and the host's figures show.
    pub fn start(spec: &ShimSpec, base: u32) -> Option<Self> {
        let calls = watched(&spec.container.settings.limits);
        let Root::Disk { disk, .. } = &spec.root else { return None };
        if calls.is_empty() {
            return None;
        }
        let subject = Subject {
            id: spec.container.id,
            tag: spec.tag.clone(),
            root_fs: disk.join("rootfs"),
            root: base,
            began: Instant::now(),
        };
        let made = pair().and_then(|inbox| {
            let server = Some(spawn(&subject)?);
            Ok(Self { subject, calls, inbox, listeners: Vec::new(), server, started: Instant::now(), due: None })
        });
        made.inspect_err(|e| eprintln!("cowl shim {}: no figures of its own: {e}", spec.container.id)).ok()
    }

    /// What init and kit need of it.
    pub fn watch(&self) -> Watch<'_> {
        Watch { calls: self.calls.clone(), inbox: self.inbox.0.as_fd() }
    }

    /// Readable when a listener has come.
    pub fn inbox(&self) -> &OwnedFd {
        &self.inbox.1
    }

    /// Readable when the process has died.
    pub fn process(&self) -> Option<&OwnedFd> {
        self.server.as_ref().map(|server| &server.process.fd)
    }

    /// When a dead process is started again.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes a listener in.
    pub fn receive(&mut self) {
        let mut buf = [0; 64];
        let Ok((_, attached)) = fds::receive(self.inbox.1.as_fd(), &mut buf) else { return };
        // Of kits that are gone; a listener without a process says so.
        self.listeners.retain(|listener| {
            let mut polled = [PollFd::new(listener, PollFlags::empty())];
            !poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|n| n > 0)
        });
        for listener in attached {
            self.pass_on(&listener);
            self.listeners.push(listener);
        }
    }

    fn pass_on(&self, listener: &OwnedFd) {
        if let Some(server) = &self.server {
            // A process that is gone is replaced, and gets it then.
            let _ = fds::send(server.control.as_fd(), server::ADOPT, &[listener.as_fd()]);
        }
    }

    /// The container starts again.
    pub fn begin(&mut self) {
        self.subject.began = Instant::now();
        if let Some(server) = &self.server {
            let _ = fds::send(server.control.as_fd(), server::BEGIN, &[]);
        }
    }

    /// The process is dead: another one is due. Calls wait for it.
    pub fn died(&mut self) {
        let Some(server) = self.server.take() else { return };
        let _ = waitid(Id::PIDFd(server.process.fd.as_fd()), WaitPidFlag::WEXITED);
        let rest = if self.started.elapsed() > TRIED { Duration::ZERO } else { REST };
        self.due = Some(Instant::now() + rest);
    }

    /// Starts the process again when it is due.
    pub fn keep(&mut self, now: Instant) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        (self.started, self.due) = (now, None);
        match spawn(&self.subject) {
            Ok(server) => {
                self.server = Some(server);
                self.listeners.iter().for_each(|listener| self.pass_on(listener));
            }
            Err(e) => {
                eprintln!("cowl shim {}: {e}", self.subject.id);
                self.due = Some(now + REST);
            }
        }
    }
}

impl Drop for Figures {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            // Not waited for: a thread of it may hang in the container until that is gone.
            let _ = process::signal(server.process.fd.as_fd(), libc::SIGKILL);
        }
    }
}

fn spawn(subject: &Subject) -> Result<Server> {
    let (ours, theirs) = pair()?;
    match process::fork(0, None).context(|| "fork for the figures".into())? {
        Forked::Child => {
            let code = match serve(&theirs, subject) {
                Ok(()) => 0,
                Err(e) => {
                    eprintln!("cowl figures {}: {e}", subject.id);
                    1
                }
            };
            process::exit_now(code)
        }
        Forked::Parent(process) => Ok(Server { process, control: ours }),
    }
}

/// In the new process: keeps nothing of the shim but its log.
fn serve(control: &OwnedFd, subject: &Subject) -> Result<()> {
    // The node waits for the end of the shim's stdout, and locks end with their last descriptor.
    {
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null").context(|| "open /dev/null".into())?;
        fds::install(null.as_fd(), 1).context(|| "let go of stdout".into())?;
    }
    fds::install(control.as_fd(), 0).context(|| "attach the shim".into())?;
    fds::close_in_child_from(3).context(|| "let go of the shim's descriptors".into())?;
    process::default_signals();
    let _ = std::fs::write("/proc/self/comm", "cowl-figures");
    server::run(std::io::stdin().as_fd(), subject)
}
