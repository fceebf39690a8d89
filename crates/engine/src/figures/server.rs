//! The process that answers: forked by the shim, with threads of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::answer::Clerk;
use super::present::Present;
use super::workers::Workers;
use crate::error::Result;
use crate::shim::flood::Budget;
use crate::sys::listener::{Answer, Call, Listener};
use crate::sys::{fds, process};
use cowl_api::ContainerId;

/// One message of the shim: a listener comes with it.
pub const ADOPT: &[u8] = b"adopt";
/// One message of the shim: the container was started again.
pub const BEGIN: &[u8] = b"begin";

/// CPU time it may use at once, and the time in which one unit of it comes back: half a second, then
/// a tenth of a processor. Who asks for more waits.
const BURST_US: u32 = 500_000;
const EVERY: Duration = Duration::from_micros(10);

/// For which container.
pub struct Subject {
    /// Its id.
    pub id: ContainerId,
    /// Its node's tag.
    pub tag: String,
    /// Its root file system on the host.
    pub root_fs: PathBuf,
    /// The host's id of its root.
    pub root: u32,
    /// When it was started.
    pub began: Instant,
}

/// Serves the listeners that arrive on `control` until the shim closes it.
///
/// # Errors
/// When the container's disk or groups cannot be looked at.
pub fn run(control: BorrowedFd<'_>, subject: &Subject) -> Result<()> {
    let present = Present::new(subject.id, &subject.tag, &subject.root_fs)?;
    let clerk = Arc::new(Clerk::new(present, subject)?);
    let meter = Arc::new(Mutex::new(Meter { budget: Budget::new(BURST_US, EVERY), seen: Duration::ZERO }));
    let at_work = Arc::clone(&clerk);
    let workers = Arc::new(Workers::new(move |(listener, call): (Arc<Listener>, Call)| {
        listener.answer(&call, at_work.decide(&listener, &call));
    }));
    let mut buf = [0; 64];
    loop {
        match fds::receive(control, &mut buf) {
            Ok((0, _)) => return Ok(()),
            Ok((n, attached)) if &buf[..n] == ADOPT => attached.into_iter().for_each(|fd| adopt(fd, &workers, &meter)),
            Ok((n, _)) if &buf[..n] == BEGIN => clerk.begin(),
            _ => {}
        }
    }
}

type Desk = Workers<(Arc<Listener>, Call)>;

/// A thread a listener: one that waits for a call whose caller has just died holds up no other.
fn adopt(fd: OwnedFd, workers: &Arc<Desk>, meter: &Arc<Mutex<Meter>>) {
    let listener = Arc::new(Listener::new(fd));
    let (workers, meter) = (Arc::clone(workers), Arc::clone(meter));
    let spawned = std::thread::Builder::new().stack_size(64 * 1024).spawn(move || {
        while let Some(call) = next(&listener) {
            if let Some((listener, call)) = workers.take((Arc::clone(&listener), call)) {
                // Nobody is left who may touch what the container chose.
                listener.answer(&call, Answer::Continue);
            }
            let rest = meter.lock().unwrap_or_else(PoisonError::into_inner).spend();
            if let Some(rest) = rest {
                std::thread::sleep(rest);
            }
        }
    });
    if let Err(e) = spawned {
        eprintln!("cowl figures: {e}");
    }
}

/// The next call; `None` when all who could make one are gone.
fn next(listener: &Listener) -> Option<Call> {
    loop {
        let mut polled = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
        match poll(&mut polled, None) {
            Ok(_) if polled[0].revents().contains(PollFlags::IN) => {
                // The caller may be dead by now.
                if let Ok(call) = listener.receive() {
                    return Some(call);
                }
            }
            Ok(_) if !polled[0].revents().is_empty() => return None,
            _ => {}
        }
    }
}

/// What the container has had this process spend.
struct Meter {
    budget: Budget,
    seen: Duration,
}

impl Meter {
    /// Books what was used since the last time; how long to rest.
    fn spend(&mut self) -> Option<Duration> {
        let (used, now) = (process::cpu_time(), Instant::now());
        let units = used.saturating_sub(self.seen).as_micros();
        self.seen = used;
        self.budget.spend(usize::try_from(units).unwrap_or(usize::MAX), now);
        self.budget.rests_until(now).map(|until| until.saturating_duration_since(now))
    }
}
