//! The process around the services: its socket, its runtime, its signals.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::Context;

/// Where sessions' private files go when the container has a `/run`.
const RUNTIME_DIR: &str = "/run/cowl-kit";

/// Runs the kit until SIGTERM: serves the socket given as stdin, or binds `--listen PATH`.
///
/// # Errors
/// Wrong arguments, stdin that is not a listening unix socket, a path that cannot be bound.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> std::io::Result<()> {
    let listener = match arguments.next() {
        None => inherited()?,
        Some(flag) if flag == "--listen" => {
            let path = arguments.next().map(PathBuf::from).ok_or_else(|| invalid("--listen needs a path"))?;
            UnixListener::bind(path)?
        }
        Some(other) => return Err(invalid(&format!("unknown argument {}", other.display()))),
    };
    // Rust ignores SIGPIPE already, so a reader that leaves is an error of one write only.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(16).build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            served = serve(listener, Context::new(RUNTIME_DIR)) => served,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    })?;
    // Sessions end because their masters close with this process; nothing else is waited for.
    runtime.shutdown_background();
    Ok(())
}

/// Serves all services on `listener` for ever.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(listener: UnixListener, context: std::sync::Arc<Context>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    axum::serve(listener, super::router(context)).await
}

fn inherited() -> std::io::Result<UnixListener> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned()?;
    let listening = rustix::net::sockopt::socket_acceptconn(&fd).unwrap_or(false);
    if !listening {
        return Err(invalid("stdin is not a listening unix socket (use --listen PATH for development)"));
    }
    let listener = UnixListener::from(fd);
    // An address of another family fails here.
    listener.local_addr()?;
    Ok(listener)
}

fn invalid(message: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidInput, message.to_owned())
}
