//! What can go wrong below the node.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of the engine; its text names the step, the object and the cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{what}: {source}")]
    Sys {
        /// The step, in words, with the object.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// A program we ran failed.
    #[error("{program} failed ({status}): {tail}")]
    Program {
        /// Its name.
        program: String,
        /// Exit status in words.
        status: String,
        /// Last lines it printed.
        tail: String,
    },
    /// A program we need is not installed.
    #[error("{program} is not installed; install the Debian package {package}")]
    Missing {
        /// The program.
        program: String,
        /// Package that brings it.
        package: String,
    },
    /// The thing asked for does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The thing to be made exists already.
    #[error("{0} exists already")]
    Exists(String),
    /// The pool or the host's disk is full.
    #[error("the pool is full: {0}")]
    Full(String),
    /// Another node has this pool or directory.
    #[error("{0} is in use by another cowl node")]
    Busy(PathBuf),
    /// The host lacks something that Cowl needs.
    #[error("{0}")]
    Unsupported(String),
    /// It cannot be told what is still needed, so nothing was removed.
    #[error("{0}")]
    InDoubt(String),
    /// A shim said something unexpected, or failed at a step of a start.
    #[error("{0}")]
    Shim(String),
}

/// Result of the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// Adds words to an I/O error.
pub trait Context<T> {
    /// `what` says which step failed, e.g. `"mount overlay"`.
    ///
    /// # Errors
    /// The same error, with `what` in front.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;

    /// For steps about one path: `verb PATH`.
    ///
    /// # Errors
    /// The same error, with `verb` and the path in front.
    fn at(self, verb: &str, path: &Path) -> Result<T>
    where
        Self: Sized,
    {
        self.context(|| format!("{verb} {}", path.display()))
    }
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| {
            let source: io::Error = e.into();
            if matches!(source.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) {
                Error::Full(what())
            } else {
                Error::Sys { what: what(), source }
            }
        })
    }
}
