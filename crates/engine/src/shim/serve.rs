//! The shim's life: one loop over init, kit, console, notify socket and the node's requests
//! ([`clients`](super::clients)).

mod keeper;

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::birth::{self, Machine};
use super::clients::Clients;
use super::console::Console;
use super::figures::Figures;
use super::flood::Budgets;
use super::lease::{self, Lease};
use super::protocol::{Event, Outcome, Reply, Request, Status, VERSION};
use super::{dial, proc_files};
use crate::cgroup::Cgroups;
use crate::error::{Context, Error, Result};
use crate::launch::ShimSpec;
use crate::sys::fds;
use crate::sys::process::{self, Process};
use crate::{net, shares};

/// systemd halts on SIGRTMIN+3 and reboots on SIGRTMIN+5; glibc's SIGRTMIN is 34.
const HALT: i32 = 37;
const REBOOT: i32 = 39;
/// How long a console that nobody has open is left alone.
const CONSOLE_REST: Duration = Duration::from_millis(100);
/// Lines of console kept for the report of a death.
const TAIL_LINES: usize = 20;

/// One running container.
pub struct Shim {
    spec: ShimSpec,
    cgroups: Cgroups,
    lease: Lease,
    /// Only where limits are to be seen.
    figures: Option<Figures>,
    machine: Machine,
    kit_exe: Option<File>,
    kit_listener: UnixListener,
    kit: Option<Process>,
    kit_started: Instant,
    kit_backoff: Duration,
    /// When what the kit started and what ignores its end is killed; set when the machine halts.
    kit_kill: Option<Instant>,
    /// When a dead kit is started again.
    kit_due: Option<Instant>,
    clients: Clients,
    signals: SignalFd,
    console: Console,
    budgets: Budgets,
    started_at_ms: u64,
    ready: bool,
    frozen: bool,
    /// Set once a stop was asked for: when everything is killed.
    deadline: Option<Instant>,
    killed: bool,
    shutting_down: bool,
    /// An overlay's upper directory mounted twice is silent corruption: the disk is ours alone.
    disk_lock: Option<nix::fcntl::Flock<File>>,
}

impl Shim {
    /// Starts the container of `spec`.
    ///
    /// # Errors
    /// The step that failed; nothing is left behind.
    pub fn start(spec: ShimSpec) -> Result<Self> {
        let mut blocked = SigSet::empty();
        blocked.add(Signal::SIGTERM);
        blocked.thread_block().context(|| "block SIGTERM".into())?;
        let signals = SignalFd::with_flags(&blocked, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context(|| "signalfd".into())?;
        let path = spec.root.path();
        let disk = File::open(path).at("open", path)?;
        let disk_lock = nix::fcntl::Flock::lock(disk, nix::fcntl::FlockArg::LockExclusiveNonblock)
            .map_err(|_| Error::Busy(path.to_owned()))?;
        let lease = lease::take(spec.id_base)?;
        let cgroups = Cgroups::find(&spec.tag)?;
        cgroups.enter_shim_group()?;
        let dir = spec.dir();
        let requests = listen(&dir.join("shim.sock"))?;
        requests.set_nonblocking(true).context(|| "shim.sock".into())?;
        let clients = Clients::new(requests);
        let kit_exe = match &spec.container.kit_dir {
            Some(kit_dir) => {
                let path = kit_dir.join("cowl-kit");
                Some(File::open(&path).at("open", &path)?)
            }
            None => None,
        };
        let figures = Figures::start(&spec, lease.base);
        let machine = birth::bear(&spec, &cgroups, lease.base, figures.as_ref().map(Figures::watch).as_ref())?;
        // Root inside can take the kit's socket and ask it about the network it was made in.
        let kit_listener = dial::within(&machine.netns, || listen(&dir.join("kit.sock")))
            .context(|| "enter the container's network namespace".into())
            .flatten()
            .inspect_err(|_| birth::bury(&spec, &cgroups))?;
        let mut shim = Self {
            spec,
            cgroups,
            lease,
            figures,
            machine,
            kit_exe,
            kit_listener,
            kit: None,
            kit_started: Instant::now(),
            kit_backoff: keeper::BACKOFF_MIN,
            kit_kill: None,
            kit_due: None,
            clients,
            signals,
            console: Console::default(),
            budgets: Budgets::default(),
            started_at_ms: now_ms(),
            ready: false,
            frozen: false,
            deadline: None,
            killed: false,
            shutting_down: false,
            disk_lock: Some(disk_lock),
        };
        shim.start_kit();
        Ok(shim)
    }

    /// Who we are and how it is.
    pub fn status(&self) -> Status {
        Status {
            version: VERSION,
            id: self.spec.container.id,
            shim_pid: std::process::id(),
            init_pid: self.machine.init.pid.cast_unsigned(),
            started_at_ms: self.started_at_ms,
            ready: self.ready,
            frozen: self.frozen,
            id_base: self.lease.base,
            veth: self.spec.veth(),
        }
    }

    /// Stays until the container is gone, then removes what is left of it and says how it ended.
    pub fn run(mut self) {
        let outcome = loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(outcome)) => break outcome,
                Err(e) => {
                    // Only polling can fail here; without it we are of no use to anyone.
                    let _ = process::signal(self.machine.init.fd.as_fd(), libc::SIGKILL);
                    break Outcome::Crashed(format!("the shim failed: {e}"));
                }
            }
        };
        self.drain_console();
        birth::bury(&self.spec, &self.cgroups);
        if let Err(e) = shares::close_door(&self.spec.run_dir, &self.spec.container.id) {
            eprintln!("cowl shim {}: {e}", self.spec.container.id);
        }
        let console_tail = self.console.tail(TAIL_LINES);
        let dir = self.spec.dir();
        let _ = fs::remove_dir_all(&dir);
        // Who hears of the end may start the container again at once.
        drop(self.disk_lock.take());
        self.clients.tell(&Event::Exited { outcome, console_tail });
    }

    /// Waits for the next thing to happen and deals with it. `Some` when the container is gone.
    fn turn(&mut self) -> Result<Option<Outcome>> {
        let now = Instant::now();
        let rests = [self.budgets.console.rests_until(now), self.budgets.notify.rests_until(now)];
        let figures_due = self.figures.as_ref().and_then(Figures::due);
        let timeout = [self.deadline, self.kit_due, self.kit_kill, figures_due, rests[0], rests[1]]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.saturating_duration_since(now) + Duration::from_millis(1));
        let ready = self.wait(timeout, rests.map(|r| r.is_none()))?;
        // First, before anything is told: that ends clients which are gone, and the others move up.
        for index in ready.clients.into_iter().rev() {
            self.serve_client(index);
        }
        if ready.request {
            self.clients.accept();
        }
        if ready.signal && matches!(self.signals.read_signal(), Ok(Some(_))) {
            self.ask_to_stop(Duration::from_secs(10));
        }
        if ready.console {
            self.drain_console();
        } else if ready.console_closed {
            // Nobody has it open any more, not even we: somebody inside hung it up.
            if let Ok(again) = fds::pty_peer(self.machine.console.as_fd()) {
                self.machine.console_open = again;
            }
            self.budgets.console.pause(CONSOLE_REST, Instant::now());
        }
        if ready.notify {
            self.drain_notify();
        }
        if ready.kit {
            self.kit_died();
        }
        if let Some(figures) = &mut self.figures {
            if ready.figures_dead {
                figures.died();
            }
            if ready.listener {
                figures.receive();
            }
        }
        if ready.init
            && let Some(outcome) = self.init_died()
        {
            return Ok(Some(outcome));
        }
        self.keep_deadlines();
        Ok(None)
    }

    fn keep_deadlines(&mut self) {
        let now = Instant::now();
        if let Some(figures) = &mut self.figures {
            figures.keep(now);
        }
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            self.killed = true;
            // The kernel ends a pid namespace with its init.
            let _ = process::signal(self.machine.init.fd.as_fd(), libc::SIGKILL);
        }
        if self.kit_kill.is_some_and(|at| at <= now) {
            self.kit_kill = None;
            self.cgroups.kill_kit(&self.spec.container.id);
        }
        if self.kit_due.is_some_and(|at| at <= now) {
            self.start_kit();
            self.clients.tell(&Event::KitRestarted);
        }
    }

    fn wait(&self, timeout: Option<Duration>, [console, notify]: [bool; 2]) -> Result<Ready> {
        // What rests is not looked at. A console would report its hang-up even so; signals stand in.
        let flags = |awake| if awake { PollFlags::IN } else { PollFlags::empty() };
        let console_fd = if console { self.machine.console.as_fd() } else { self.signals.as_fd() };
        let mut polled = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::from_borrowed_fd(console_fd, flags(console)),
            PollFd::new(&self.machine.notify, flags(notify)),
            PollFd::new(self.clients.listener(), PollFlags::IN),
            PollFd::new(&self.machine.init.fd, PollFlags::IN),
        ];
        let fixed = polled.len();
        polled.extend(self.clients.streams().map(|stream| PollFd::new(stream, PollFlags::IN)));
        let after_clients = polled.len();
        let [kit, listener, figures] = [
            self.kit.as_ref().map(|kit| &kit.fd),
            self.figures.as_ref().map(Figures::inbox),
            self.figures.as_ref().and_then(Figures::process),
        ]
        .map(|fd| {
            polled.push(PollFd::new(fd?, PollFlags::IN));
            Some(polled.len() - 1)
        });
        let timeout = timeout.map(|t| Timespec { tv_sec: t.as_secs().cast_signed(), tv_nsec: t.subsec_nanos().into() });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context(|| "poll".into()),
        }
        let hit = |i: usize| !polled[i].revents().is_empty();
        Ok(Ready {
            signal: hit(0),
            console: polled[1].revents().contains(PollFlags::IN),
            // Without any writer it reports hang-up for ever.
            console_closed: polled[1].revents().intersects(PollFlags::HUP | PollFlags::ERR),
            notify: hit(2),
            request: hit(3),
            init: hit(4),
            clients: (fixed..after_clients).filter(|i| hit(*i)).map(|i| i - fixed).collect(),
            kit: kit.is_some_and(hit),
            listener: listener.is_some_and(hit),
            figures_dead: figures.is_some_and(hit),
        })
    }

    // --- init ------------------------------------------------------------------------------

    /// `None` when it was a reboot that worked.
    fn init_died(&mut self) -> Option<Outcome> {
        let status = reap(&self.machine.init);
        if let Some(kit) = self.kit.take() {
            let _ = reap(&kit);
        }
        self.kit_due = None;
        match status {
            // waitid(2) shows reboot(2) inside a pid namespace as these two signals.
            Some(WaitStatus::Signaled(_, Signal::SIGHUP, _)) if !self.killed => match self.reboot() {
                Ok(()) => None,
                Err(e) => Some(Outcome::Crashed(format!("restart after reboot failed: {e}"))),
            },
            Some(WaitStatus::Signaled(_, Signal::SIGINT, _)) => Some(Outcome::Stopped),
            _ if self.killed => Some(Outcome::Killed),
            Some(WaitStatus::Signaled(_, signal, _)) => Some(Outcome::Crashed(format!("init was killed by {signal}"))),
            Some(WaitStatus::Exited(_, code)) => Some(Outcome::Crashed(format!("init exited with code {code}"))),
            _ => Some(Outcome::Crashed("init is gone".into())),
        }
    }

    fn reboot(&mut self) -> Result<()> {
        if !self.budgets.reboots.take(Instant::now()) {
            return Err(Error::Shim("it has rebooted too often in a short time".into()));
        }
        self.clients.tell(&Event::Rebooting);
        self.drain_console();
        birth::bury(&self.spec, &self.cgroups);
        if let Some(figures) = &mut self.figures {
            figures.begin();
        }
        let watch = self.figures.as_ref().map(Figures::watch);
        self.machine = birth::bear(&self.spec, &self.cgroups, self.lease.base, watch.as_ref())?;
        self.started_at_ms = now_ms();
        (self.ready, self.frozen, self.shutting_down) = (false, false, false);
        (self.deadline, self.kit_kill) = (None, None);
        self.start_kit();
        self.clients.tell(&Event::Started(self.status()));
        Ok(())
    }

    fn ask_to_stop(&mut self, grace: Duration) {
        if self.frozen {
            let _ = self.cgroups.freeze(&self.spec.container.id, false);
            self.frozen = false;
        }
        let at = Instant::now() + grace;
        self.deadline = Some(self.deadline.map_or(at, |d| d.min(at)));
        if !grace.is_zero() {
            self.end_kit();
            let _ = process::signal(self.machine.init.fd.as_fd(), HALT);
        }
    }

    fn drain_console(&mut self) {
        let mut buf = [0u8; 8192];
        // Bounded, so that a chatty container cannot keep the loop here.
        for _ in 0..64 {
            match rustix::io::read(&self.machine.console, &mut buf) {
                Ok(n) if n > 0 => {
                    self.budgets.console.spend(n, Instant::now());
                    self.console.push(&buf[..n]);
                }
                _ => return,
            }
        }
    }

    fn drain_notify(&mut self) {
        let mut buf = [0u8; 4096];
        for _ in 0..64 {
            let Ok((n, sender)) = fds::receive_with_credentials(self.machine.notify.as_fd(), &mut buf) else { return };
            self.budgets.notify.spend(1, Instant::now());
            // Anything inside can write to the socket; only PID 1 is believed.
            if sender.is_none_or(|s| s.pid() != self.machine.init.pid) {
                continue;
            }
            let text = String::from_utf8_lossy(&buf[..n]).into_owned();
            text.lines().for_each(|line| self.notified(line));
        }
    }

    fn notified(&mut self, line: &str) {
        match line.split_once('=') {
            Some(("READY", "1")) if !self.ready => {
                self.ready = true;
                self.clients.tell(&Event::Ready);
            }
            Some(("X_SYSTEMD_UNIT_ACTIVE", unit)) => {
                // Reached once all services have stopped, also when the end was asked for inside.
                if unit == "shutdown.target" {
                    self.end_kit();
                    // Nothing inside speaks to anybody any more, and the kernel takes its time to
                    // remove an interface: meanwhile init unmounts.
                    net::remove(&self.spec.veth());
                }
                if !self.budgets.events.take(Instant::now()) {
                    return;
                }
                let unit: String = unit.chars().filter(|c| !c.is_control()).take(256).collect();
                self.clients.tell(&Event::UnitActive(unit));
            }
            _ => {}
        }
    }

    // --- the node --------------------------------------------------------------------------

    fn serve_client(&mut self, index: usize) {
        let Some(request) = self.clients.read(index) else { return };
        let watches = matches!(request, Ok(Request::Watch));
        let (reply, attached) = match request {
            Ok(request) => self.answer(&request),
            Err(e) => (Reply::Error { message: e.to_string(), errno: libc::EINVAL }, None),
        };
        self.clients.reply(index, &reply, attached.as_ref(), watches);
    }

    fn answer(&mut self, request: &Request) -> (Reply, Option<OwnedFd>) {
        let done = |result: Result<()>| match result {
            Ok(()) => Reply::Ok,
            Err(e) => Reply::Error { errno: super::errno(&e), message: e.to_string() },
        };
        match request {
            Request::Status | Request::Watch => (Reply::Status(self.status()), None),
            Request::Dial { port } => match dial::connect(&self.machine.netns, self.spec.container.address, *port) {
                Ok(socket) => (Reply::Ok, Some(socket)),
                Err(e) => (Reply::Error { message: e.to_string(), errno: e.raw_os_error().unwrap_or(0) }, None),
            },
            Request::Stop { grace_ms } => {
                self.ask_to_stop(Duration::from_millis(*grace_ms));
                (Reply::Ok, None)
            }
            Request::Reboot => {
                let asked = process::signal(self.machine.init.fd.as_fd(), REBOOT);
                (done(asked.context(|| "ask init to reboot".into())), None)
            }
            Request::RenewProcFiles => (done(proc_files::renew(&self.spec.run_dir, &self.machine)), None),
            Request::Freeze { frozen } => match self.cgroups.freeze(&self.spec.container.id, *frozen) {
                Ok(()) => {
                    self.frozen = *frozen;
                    (Reply::Status(self.status()), None)
                }
                Err(e) => (done(Err(e)), None),
            },
        }
    }
}

/// A socket that listens from the moment its path exists: who finds a path that refuses may take
/// the shim for dead and clear it away.
fn listen(path: &Path) -> Result<UnixListener> {
    let unready = path.with_extension("new");
    let _ = fs::remove_file(&unready);
    let listener = UnixListener::bind(&unready).at("bind", &unready)?;
    fs::set_permissions(&unready, fs::Permissions::from_mode(0o600)).at("chmod", &unready)?;
    fs::rename(&unready, path).at("rename", path)?;
    Ok(listener)
}

struct Ready {
    signal: bool,
    console: bool,
    console_closed: bool,
    notify: bool,
    request: bool,
    init: bool,
    kit: bool,
    listener: bool,
    figures_dead: bool,
    clients: Vec<usize>,
}

fn reap(child: &Process) -> Option<WaitStatus> {
    waitid(Id::PIDFd(child.fd.as_fd()), WaitPidFlag::WEXITED).ok()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis().try_into().unwrap_or(u64::MAX))
}
