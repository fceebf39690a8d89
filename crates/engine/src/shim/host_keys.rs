//! Keys of an SSH server that has none: a copy's, whose source's were taken away. Debian makes them
//! only when the package is installed. A unit in `/run`, which is gone with the next stop, makes
//! them before the server starts.

use std::fs;
use std::path::Path;

const UNIT: &str = "\
[Unit]
Description=Keys of the SSH server
Before=ssh.service ssh.socket sshd.service

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
";

/// Asks systemd, which is not up yet, to make the keys if there is a server without any. Inside,
/// after `/run` was mounted; what fails leaves the server without keys, as it was.
pub fn make_if_missing() {
    let ssh = Path::new("/etc/ssh");
    if !Path::new("/usr/bin/ssh-keygen").exists() || !ssh.join("sshd_config").exists() {
        return;
    }
    let names = fs::read_dir(ssh).into_iter().flatten().flatten().map(|entry| entry.file_name());
    if names.into_iter().any(|name| is_key(&name.to_string_lossy())) {
        return;
    }
    let units = Path::new("/run/systemd/system");
    let wants = units.join("multi-user.target.wants");
    let written = fs::create_dir_all(&wants)
        .and_then(|()| fs::write(units.join("cowl-host-keys.service"), UNIT))
        .and_then(|()| std::os::unix::fs::symlink("../cowl-host-keys.service", wants.join("cowl-host-keys.service")));
    if let Err(e) = written {
        eprintln!("cowl: the SSH server's keys are not made: {e}");
    }
}

fn is_key(name: &str) -> bool {
    name.starts_with("ssh_host_") && name.ends_with("_key")
}
