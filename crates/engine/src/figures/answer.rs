//! What one call gets.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::caller::{Caller, Found};
use super::present::Present;
use super::scale::{self, Statfs};
use super::server::Subject;
use crate::error::{Context, Result};
use crate::sys::listener::{Answer, Call, Listener};
use crate::sys::{mount, process};

/// Who answers for a container.
pub struct Clerk {
    present: Present,
    /// The host's id of the container's root.
    root: u32,
    /// Device of its disk, as stat(2) gives it.
    device: (u32, u32),
    /// Blocks of the pool, by which an overlay on it is known.
    pool: u64,
    began: Mutex<Instant>,
}

impl Clerk {
    /// For this container.
    ///
    /// # Errors
    /// When its disk cannot be looked at.
    pub fn new(present: Present, subject: &Subject) -> Result<Self> {
        let root_fs = subject.root_fs.as_path();
        let device = std::fs::metadata(root_fs).at("look at", root_fs)?.dev();
        let pool = rustix::fs::statfs(root_fs).at("look at", root_fs)?.f_blocks;
        let device = (rustix::fs::major(device), rustix::fs::minor(device));
        Ok(Self { present, root: subject.root, device, pool, began: Mutex::new(subject.began) })
    }

    /// The container was started again.
    pub fn begin(&self) {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Works out what a call gets. What cannot be worked out is the kernel's.
    pub fn decide(&self, listener: &Listener, call: &Call) -> Answer {
        let Ok(caller) = Caller::open(call.tid) else { return Answer::Continue };
        if !listener.waits(call) {
            return Answer::Continue;
        }
        self.serve(&caller, call).unwrap_or(Answer::Continue)
    }

    fn serve(&self, caller: &Caller, call: &Call) -> io::Result<Answer> {
        match call.number {
            // A descriptor is an int: its upper half may hold anything.
            libc::SYS_fstatfs => self.statfs(caller, caller.descriptor(call.args[0] as i32)?, call.args[1]),
            libc::SYS_statfs => {
                if self.present.disk().is_none() {
                    return Ok(Answer::Continue);
                }
                let path = caller.path(call.args[0])?;
                self.statfs(caller, caller.resolve(&path, self.root)?, call.args[1])
            }
            libc::SYS_sched_getaffinity => self.affinity(caller, call),
            libc::SYS_sysinfo => {
                let began = *self.began.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(put(caller, call.args[0], &scale::sysinfo(&self.present.machine(began)), 0))
            }
            _ => Ok(Answer::Continue),
        }
    }

    fn statfs(&self, caller: &Caller, found: Found, at: u64) -> io::Result<Answer> {
        let ours = found.device == self.device;
        if !ours && caller.mount_type(found.mount).is_none_or(|kind| kind != "overlay") {
            return Ok(Answer::Continue);
        }
        let about = Statfs(mount::statfs(found.file.as_fd())?);
        // An overlay has the sizes of what it writes to: `/usr`, and those of engines inside.
        let Some((limit, used)) = self.present.disk().filter(|_| ours || about.space().blocks == self.pool) else {
            return Ok(Answer::Continue);
        };
        let seen = scale::space(about.space(), about.block(), limit, used);
        Ok(put(caller, at, &about.with(seen), 0))
    }

    fn affinity(&self, caller: &Caller, call: &Call) -> io::Result<Answer> {
        let Some(cpus) = self.present.cpus() else { return Ok(Answer::Continue) };
        let asked = call.args[0] as u32;
        if asked != 0 && asked != caller.rights()?.own_tid {
            return Ok(Answer::Continue);
        }
        let mask = process::affinity(call.tid)?;
        // Shorter buffers are refused or cut by rules of the kernel's own. A length is an unsigned int.
        if (call.args[1] as u32 as usize) < mask.len() || cpus >= scale::count(&mask) {
            return Ok(Answer::Continue);
        }
        Ok(put(caller, call.args[2], &scale::lowest(&mask, cpus), mask.len() as i64))
    }
}

fn put(caller: &Caller, at: u64, bytes: &[u8], value: i64) -> Answer {
    caller.write(at, bytes).map_or(Answer::Errno(libc::EFAULT), |()| Answer::Value(value))
}
