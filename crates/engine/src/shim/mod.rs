//! The shim: one small process per running container, parent of its init. It outlives the node.
//!
//! Read in this order: [`birth`] makes a machine (its file systems in [`mounts`], what it can do
//! without in [`additions`]), [`init`] is the half of it that runs inside, under the [`sandbox`] as
//! the [`kit`] is. [`serve`] stays for its life, [`protocol`] is what the node may ask, and [`flood`]
//! bounds what the container can make its shim do.
//!
//! ```text
//! node ── spawns ──> shim ── clone3 ──> init (systemd)      new user, pid, mount, net, uts, ipc,
//!                     │                                     cgroup namespaces
//!                     ├──── fork ─────> cowl-kit            joins them
//!                     └──── fork ─────> figures             outside; only where limits are to be seen
//! ```
//! It has one thread and no async runtime: it forks, and it must stay small.

mod additions;
mod birth;
mod clients;
mod console;
pub mod devices;
mod dial;
mod figures;
pub mod flood;
mod host_keys;
mod init;
mod kit;
pub mod lease;
mod mounts;
mod proc_files;
pub mod protocol;
mod sandbox;
mod serve;
mod stage;

pub(super) use init::become_root;
use std::io::Write;
use std::path::Path;

use super::error::{Context, Error, Result};
use super::launch::ShimSpec;
use protocol::Reply;

/// `cowl shim SPEC`: starts the container of this spec file, reports one [`Reply`] line on stdout,
/// and stays until the container is gone. Gives the process' exit code.
pub fn main(spec: &Path) -> i32 {
    let report = |reply: &Reply| {
        let mut line = serde_json::to_string(reply).unwrap_or_default();
        line.push('\n');
        let mut stdout = std::io::stdout();
        let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    };
    // A session of its own: no terminal's hang-up and no group's signal reaches it.
    let _ = nix::unistd::setsid();
    match read_spec(spec).and_then(serve::Shim::start) {
        Ok(shim) => {
            report(&Reply::Status(shim.status()));
            // The node waits for the end of our stdout.
            if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
                let _ = super::sys::fds::install(std::os::fd::AsFd::as_fd(&null), 1);
            }
            shim.run();
            0
        }
        Err(e) => {
            report(&Reply::Error { message: e.to_string(), errno: errno(&e) });
            1
        }
    }
}

fn read_spec(path: &Path) -> Result<ShimSpec> {
    let text = std::fs::read(path).at("read", path)?;
    serde_json::from_slice(&text).map_err(|e| Error::Shim(format!("{}: {e}", path.display())))
}

fn errno(e: &Error) -> i32 {
    match e {
        Error::Sys { source, .. } => source.raw_os_error().unwrap_or(0),
        Error::Full(_) => libc::ENOSPC,
        _ => 0,
    }
}
