//! Keeps lxcfs alive, which gives containers their own view of `/proc`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use cowl_engine::{Config, lxcfs};

/// First and longest wait before lxcfs is started again.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// One that lived longer is started again at once.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// Starts lxcfs again whenever it dies and binds its files anew in all containers, until the node
/// ends. lxcfs itself stays then. Where it is not installed there is nothing to do.
pub async fn keep(config: Config, shutdown: CancellationToken) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let begun = Instant::now();
        match bring_up(config.clone()).await {
            Ok(None) => return,
            Ok(Some(alive)) => {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    waited = ended(alive) => match waited {
                        Ok(()) => tracing::warn!("lxcfs ended; it is started again"),
                        Err(error) => tracing::error!(%error, "lxcfs cannot be watched"),
                    },
                }
            }
            Err(error) => tracing::error!(%error, "containers see the host's memory and CPUs"),
        }
        backoff = if begun.elapsed() > LONG_LIFE { BACKOFF_MIN } else { (backoff * 2).min(BACKOFF_MAX) };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(backoff) => {}
        }
    }
}

/// The living instance, its files bound in every container.
async fn bring_up(config: Config) -> cowl_engine::Result<Option<OwnedFd>> {
    let up = tokio::task::spawn_blocking(move || {
        let alive = lxcfs::ensure(&config)?;
        if alive.is_some() {
            for (id, error) in lxcfs::renew_all(&config) {
                tracing::warn!(container = %id, %error, "keeps its old view of /proc");
            }
        }
        Ok(alive)
    });
    up.await.unwrap_or_else(|e| Err(cowl_engine::Error::Shim(e.to_string())))
}

/// Waits for the process behind a pidfd to end.
async fn ended(process: OwnedFd) -> io::Result<()> {
    // Its successor is an unsafe function; an owned fd meets what that one asks for.
    #[allow(deprecated)]
    let process = AsyncFd::new(process)?;
    process.readable().await.map(drop)
}
