//! `cowl ca`: the local certificate authority that signs the node's certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, ExitCode};

use serde_json::json;

use super::context::Context;
use super::doors;
use super::fail::{Fail, Outcome};
use super::print;

/// Where Debian keeps a machine's own authorities.
const SYSTEM: &str = "/usr/local/share/ca-certificates";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the path of its certificate, for `curl --cacert`
    Path,
    /// Let all programs of this machine trust it
    Install,
}

pub(super) fn run(context: &Context, command: Command) -> Outcome {
    let certificate = existing(context)?;
    match command {
        Command::Path => {
            let path = certificate.display().to_string();
            context.show(&json!({ "path": path }), |_| print::line(&path))?;
        }
        Command::Install => {
            context.confirm("Let all programs of this machine trust certificates of this node?")?;
            let target = installed_at(&context.state_dir);
            install(&certificate, &target)?;
            let path = target.display().to_string();
            context.show(&json!({ "path": path }), |_| print::line(&format!("installed as {path}")))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn existing(context: &Context) -> Result<PathBuf, Fail> {
    let path = doors::ca_certificate(&context.state_dir);
    match fs::metadata(&path) {
        Ok(_) => Ok(path),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Fail::other(format!("{} does not exist; the node makes it when it starts first", path.display())))
        }
        Err(e) => Err(Fail::io(path.display(), &e)),
    }
}

/// Each state directory has its own place, so that several nodes can be trusted.
pub(super) fn installed_at(state_dir: &Path) -> PathBuf {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(state_dir.as_os_str().as_encoded_bytes());
    Path::new(SYSTEM).join(format!("cowl-{:02x}{:02x}{:02x}{:02x}.crt", hash[0], hash[1], hash[2], hash[3]))
}

fn install(certificate: &Path, target: &Path) -> Result<(), Fail> {
    fs::create_dir_all(SYSTEM).map_err(|e| Fail::io(SYSTEM, &e))?;
    fs::copy(certificate, target).map_err(|e| Fail::io(format!("write {}", target.display()), &e))?;
    let done = Program::new("update-ca-certificates").output();
    let done = done.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Fail::other("update-ca-certificates is not installed; install the Debian package ca-certificates")
        }
        _ => Fail::io("run update-ca-certificates", &e),
    })?;
    if done.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&done.stderr);
        Err(Fail::other(format!("update-ca-certificates failed: {}", said.lines().last().unwrap_or_default())))
    }
}
