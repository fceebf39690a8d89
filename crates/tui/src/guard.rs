//! The user's terminal, given back as it was: on return, on panic, on SIGTERM and SIGHUP.
//!
//! The guard is made before the first mode is changed; everything that leaves the cockpit drops it.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Alternate screen, bracketed paste, no cursor; synchronised output is set per frame.
const ENTER: &str = "\x1b[?1049h\x1b[?2004h\x1b[?25l\x1b[2J";
/// Ends a frame cut in half, mouse, paste, cursor shape and alternate screen; restores the title.
const LEAVE: &str =
    "\x1b[?2026l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[0 q\x1b[m\x1b[?25h\x1b[?1049l";

static RAW: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Holds the terminal in raw mode and on the alternate screen.
#[derive(Debug)]
pub struct TerminalGuard(());

impl TerminalGuard {
    /// Enters raw mode and the alternate screen.
    ///
    /// # Errors
    /// When standard input or output is not a terminal.
    pub fn enter() -> io::Result<Self> {
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if QUIET.get() {
                    return;
                }
                let held = restore();
                before(info);
                // A task that panics would leave the loop drawing on a terminal already given back.
                if held {
                    std::process::exit(101);
                }
            }));
        });
        let guard = Self(());
        RAW.store(true, Ordering::SeqCst);
        crossterm::terminal::enable_raw_mode()?;
        let mut out = io::stdout().lock();
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(guard)
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, once; tells whether it was held.
fn restore() -> bool {
    let held = RAW.swap(false, Ordering::SeqCst);
    if held {
        let mut out = io::stdout();
        // A terminal that is gone cannot be restored; there is nobody to tell.
        let _ = out.write_all(LEAVE.as_bytes());
        let _ = out.flush();
        let _ = crossterm::terminal::disable_raw_mode();
    }
    held
}

/// Runs `f` without a word from the panic hook: for panics that are caught and told otherwise.
pub fn quiet<T>(f: impl FnOnce() -> T) -> T {
    let before = QUIET.replace(true);
    let out = f();
    QUIET.set(before);
    out
}
