//! The end of the node on demand, as `kill -9` would bring it, for the stories that look at what
//! each step of an operation leaves behind. Debug builds only: in others this does nothing.

/// A step that a crash may come before. With `COWL_TEST_CRASH=FILE` in the environment and a number
/// in that file, so many steps pass, and the next one is not reached.
#[cfg(debug_assertions)]
pub fn step(name: &str) {
    use std::path::PathBuf;
    use std::sync::{LazyLock, Mutex, PoisonError};
    static FILE: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os("COWL_TEST_CRASH").map(Into::into));
    static ONE: Mutex<()> = Mutex::new(());
    let Some(file) = FILE.as_ref() else { return };
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(left) = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u32>().ok()) else {
        return;
    };
    let Some(fewer) = left.checked_sub(1) else {
        let _ = std::fs::write(file, format!("ended before: {name}\n"));
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        // Signals are delivered on the way back from the system call; other threads get theirs too.
        loop {
            std::thread::park();
        }
    };
    let _ = std::fs::write(file, fewer.to_string());
}

/// No crash in release builds.
#[cfg(not(debug_assertions))]
pub fn step(_name: &str) {}
