//! A pseudo-terminal and the shell on it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use rustix::process::{Pid, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};

/// Columns and rows, kept in a range that no emulator chokes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// 2 to 1000.
    pub cols: u16,
    /// 2 to 500.
    pub rows: u16,
}

impl Size {
    /// The usual 80 by 24.
    pub const DEFAULT: Self = Self { cols: 80, rows: 24 };

    /// The nearest size in range.
    pub fn clamped(cols: u64, rows: u64) -> Self {
        let within = |value: u64, most: u16| u16::try_from(value).unwrap_or(most).clamp(2, most);
        Self { cols: within(cols, 1000), rows: within(rows, 500) }
    }
}

impl From<Size> for Winsize {
    fn from(size: Size) -> Self {
        Self { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 }
    }
}

/// The master side, and the shell as leader of the session whose controlling terminal it is.
#[derive(Debug)]
pub struct Pty {
    master: AsyncFd<OwnedFd>,
    /// The shell's process id, also its process group and session.
    pub pid: Pid,
    /// Its terminal's name below `/dev`, e.g. `pts/3`.
    pub name: String,
}

impl Pty {
    /// Starts the program `argv` on a new terminal; `surround` sets its environment and directory.
    ///
    /// `setsid --ctty` makes it the session's leader: the wrapper replaces itself, so the child's id is
    /// the shell's.
    pub fn spawn(argv: &[OsString], surround: impl FnOnce(&mut Command), size: Size) -> io::Result<(Self, Child)> {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        rustix::termios::tcsetwinsize(&master, size.into())?;
        let name = rustix::pty::ptsname(&master, Vec::new())?.to_string_lossy().trim_start_matches("/dev/").to_owned();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg("--").args(argv);
        surround(&mut command);
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(Stdio::from(slave)).kill_on_drop(true);
        let child = command.spawn()?;
        // The slave ends held by `command` must close, or the end of the shell would go unseen.
        drop(command);
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("the shell has no process id"))?;
        rustix::io::ioctl_fionbio(&master, true)?;
        // Its successor is an unsafe function; an owned fd meets what that one asks for.
        #[allow(deprecated)]
        let master = AsyncFd::new(master)?;
        Ok((Self { master, pid, name }, child))
    }

    /// Reads what programs have written. `Ok(0)` and EIO both mean that nobody has the terminal open.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.master.readable().await?;
            let read = ready.try_io(|fd| rustix::io::read(fd.get_ref(), &mut *buffer).map_err(Into::into));
            match read {
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Ok(0),
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Types as much of `bytes` as fits.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.master.writable().await?;
            if let Ok(result) = ready.try_io(|fd| rustix::io::write(fd.get_ref(), bytes).map_err(Into::into)) {
                return result;
            }
        }
    }

    /// Tells the programs that the window has changed.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        Ok(rustix::termios::tcsetwinsize(self.master.get_ref(), size.into())?)
    }

    /// The process group that has the terminal.
    pub fn foreground(&self) -> Option<Pid> {
        rustix::termios::tcgetpgrp(self.master.get_ref().as_fd()).ok()
    }

    /// Whether the shell itself has the terminal.
    pub fn shell_has_it(&self) -> bool {
        self.foreground() == Some(self.pid)
    }

    /// Whether whoever has the terminal edits its line itself, as shells do while they wait for one.
    pub fn edits_lines(&self) -> bool {
        let modes = rustix::termios::tcgetattr(self.master.get_ref().as_fd());
        modes.is_ok_and(|modes| !modes.local_modes.contains(rustix::termios::LocalModes::ICANON))
    }

    /// Signals the process group that has the terminal; says whether there was one.
    pub fn signal_foreground(&self, signal: Signal) -> bool {
        self.foreground().is_some_and(|group| rustix::process::kill_process_group(group, signal).is_ok())
    }

    /// Tells everything on the terminal that it is gone.
    pub fn hang_up(&self) {
        self.signal_foreground(Signal::HUP);
        // The shell may be stopped or gone already; both are fine.
        let _ = rustix::process::kill_process_group(self.pid, Signal::HUP);
        let _ = rustix::process::kill_process_group(self.pid, Signal::CONT);
    }

    /// Whether the shell has children, running or stopped.
    pub fn shell_has_children(&self) -> bool {
        let pid = self.pid.as_raw_nonzero();
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).is_ok_and(|list| !list.trim().is_empty())
    }
}
