//! Keeps the kit alive as long as its machine, and ends it before systemd would wait for it.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::super::figures::Figures;
use super::super::kit;
use super::{Shim, reap};
use crate::sys::process;

/// How long the kit and what it started may take to end when the machine halts.
const GRACE: Duration = Duration::from_millis(100);
/// First and longest wait before a dead kit is started again.
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

impl Shim {
    pub(super) fn start_kit(&mut self) {
        let Some(exe) = &self.kit_exe else { return };
        (self.kit_due, self.kit_started) = (None, Instant::now());
        let watch = self.figures.as_ref().map(Figures::watch);
        match kit::start(&self.spec, &self.cgroups, &self.machine, exe, &self.kit_listener, watch.as_ref()) {
            Ok(kit) => self.kit = Some(kit),
            Err(e) => {
                eprintln!("cowl shim {}: {e}", self.spec.container.id);
                self.plan_kit();
            }
        }
    }

    pub(super) fn kit_died(&mut self) {
        if let Some(kit) = self.kit.take() {
            let _ = reap(&kit);
        }
        if self.shutting_down {
            // systemd's last phase sleeps until a child of its own ends, for as long as a minute
            // and a half; the kit is our child. Woken, it looks again who is left.
            let _ = process::signal(self.machine.init.fd.as_fd(), libc::SIGCHLD);
        } else {
            self.plan_kit();
        }
    }

    /// Ends the kit and the terminals it serves: systemd does not know them, and its last phase
    /// would wait long for shells, which ignore SIGTERM.
    pub(super) fn end_kit(&mut self) {
        self.shutting_down = true;
        if let Some(kit) = &self.kit {
            let _ = process::signal(kit.fd.as_fd(), libc::SIGTERM);
        }
        self.kit_kill = Some(Instant::now() + GRACE);
    }

    /// A kit that lived for a while is started again at once; one that keeps dying, ever later.
    fn plan_kit(&mut self) {
        let lived = self.kit_started.elapsed() > Duration::from_secs(10);
        self.kit_backoff = if lived { BACKOFF_MIN } else { (self.kit_backoff * 2).min(BACKOFF_MAX) };
        self.kit_due = Some(Instant::now() + self.kit_backoff);
    }
}
