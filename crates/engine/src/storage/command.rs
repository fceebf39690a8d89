//! Running the few programs that storage cannot do without, each with a deadline and an owner.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::error::{Context, Error, Result};

/// How many of a program's last lines an error carries.
const TAIL_LINES: usize = 12;
/// How often a quiet program is told of.
const TICK: Duration = Duration::from_millis(500);
/// What programs say when there is no room.
const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];
/// Longest line kept, in bytes; what is longer is cut into several.
const LINE_LIMIT: u64 = 16 * 1024;

/// Debian package that brings a program.
fn package_of(program: &str) -> &'static str {
    match program {
        "btrfs" | "mkfs.btrfs" => "btrfs-progs",
        "losetup" => "mount",
        "mmdebstrap" => "mmdebstrap",
        _ => "util-linux",
    }
}

/// [`Error::Missing`] when a program is not on the search path.
///
/// # Errors
/// [`Error::Missing`].
pub fn require(program: &str) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|dir| dir.join(program).is_file());
    if found { Ok(()) } else { Err(missing(program)) }
}

fn missing(program: &str) -> Error {
    Error::Missing { program: program.into(), package: package_of(program).into() }
}

/// A command whose search path also holds the system directories, in the C locale.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"));
    command.env("LC_ALL", "C.UTF-8").env_remove("LANGUAGE");
    command
}

/// The same, in pid and mount namespaces of its own that end with it or with us: whatever kills
/// either leaves no process and no mount behind.
pub fn contained(program: &str) -> Command {
    let mut command = command("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "--",
        "unshare",
        "--fork",
        "--kill-child",
        "--pid",
        "--mount",
        "--mount-proc",
        "--",
    ]);
    command.arg(program);
    command
}

/// Runs a command to its end and returns what it printed on stdout.
///
/// # Errors
/// [`Error::Missing`]; [`Error::Program`] with the last lines it printed, also when it took longer
/// than `deadline` and was killed.
pub fn run(command: Command, deadline: Duration) -> Result<String> {
    let mut out = String::new();
    stream(command, None, Patience::Total(deadline), &mut |line| {
        if let Line::Out(line) = line {
            out.push_str(line);
            out.push('\n');
        }
    })?;
    Ok(out)
}

/// A line that a program printed, without its end.
#[derive(Debug, Clone, Copy)]
pub enum Line<'a> {
    /// On stdout.
    Out(&'a str),
    /// On stderr.
    Err(&'a str),
    /// Nothing was printed for half a second.
    Quiet,
}

/// How long to wait for a program before it is killed.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// For its end.
    Total(Duration),
    /// For its next line.
    Silence(Duration),
}

/// Owns a child that leads its own process group; kills the group when dropped before its end.
struct Group {
    child: Child,
    ended: bool,
}

impl Group {
    fn kill(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a command that reads `input` and whose stdout the caller has set.
///
/// # Errors
/// As [`run`].
pub fn run_between(mut command: Command, input: Stdio, deadline: Duration) -> Result<()> {
    command.stdin(input).stderr(Stdio::piped());
    follow(command, None, Patience::Total(deadline), &mut |_| {})
}

/// Runs a command in its own process group, handing on each line as it is printed; all of it also
/// goes to `log`.
///
/// # Errors
/// As [`run`].
pub fn stream(
    mut command: Command,
    log: Option<&mut File>,
    patience: Patience,
    each: &mut dyn FnMut(Line<'_>),
) -> Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    follow(command, log, patience, each)
}

fn follow(
    mut command: Command,
    mut log: Option<&mut File>,
    patience: Patience,
    each: &mut dyn FnMut(Line<'_>),
) -> Result<()> {
    let program = name_of(&command);
    command.process_group(0);
    let child = command.spawn().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => missing(&program),
        _ => Error::Sys { what: format!("start {program}"), source: e },
    })?;
    let mut group = Group { child, ended: false };
    let (tx, rx) = mpsc::sync_channel(256);
    let readers = [
        group.child.stdout.take().map(|pipe| read_lines(pipe, tx.clone(), false)),
        group.child.stderr.take().map(|pipe| read_lines(pipe, tx.clone(), true)),
    ];
    drop(tx);
    let started = Instant::now();
    let mut last_line = started;
    let mut tail = VecDeque::new();
    loop {
        let left = match patience {
            Patience::Total(d) => d.saturating_sub(started.elapsed()),
            Patience::Silence(d) => d.saturating_sub(last_line.elapsed()),
        };
        match rx.recv_timeout(left.min(TICK)) {
            Ok((is_err, line)) => {
                last_line = Instant::now();
                if let Some(log) = log.as_mut() {
                    // A full disk must not hide the program's own complaint about it.
                    let _ = writeln!(log, "{line}");
                }
                if is_err && !line.trim().is_empty() {
                    if tail.len() == TAIL_LINES {
                        tail.pop_front();
                    }
                    tail.push_back(line.clone());
                }
                each(if is_err { Line::Err(&line) } else { Line::Out(&line) });
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) if left > TICK => each(Line::Quiet),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                drop(group);
                let status = format!("no end after {} s, killed", started.elapsed().as_secs());
                return Err(failed(&program, status, &tail));
            }
        }
    }
    let status = wait(&mut group, Duration::from_secs(60)).context(|| format!("wait for {program}"))?;
    for reader in readers.into_iter().flatten() {
        let _ = reader.join();
    }
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(failed(&program, status.to_string(), &tail)),
        None => Err(failed(&program, "closed its output but did not end, killed".into(), &tail)),
    }
}

/// Name of a command's program, looking through [`contained`].
fn name_of(command: &Command) -> String {
    let program = command.get_program();
    let inner = command.get_args().skip_while(|a| *a != "unshare").skip_while(|a| *a != "--").nth(1);
    inner.filter(|_| program == "setpriv").unwrap_or(program).to_string_lossy().into_owned()
}

/// Waits for a child that has closed its output.
fn wait(group: &mut Group, deadline: Duration) -> std::io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = group.child.try_wait()? {
            group.ended = true;
            return Ok(Some(status));
        }
        if started.elapsed() > deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn failed(program: &str, status: String, tail: &VecDeque<String>) -> Error {
    if let Some(line) = tail.iter().find(|l| FULL.iter().any(|full| l.contains(full))) {
        return Error::Full(format!("{program}: {line}"));
    }
    // apt and what calls it: the first error is the cause, the others only say that there was one.
    let cause = tail.iter().find_map(|l| l.strip_prefix("E: "));
    let all = || tail.iter().map(String::as_str).collect::<Vec<_>>().join("; ");
    let tail = cause.map_or_else(all, str::to_owned);
    Error::Program { program: program.into(), status, tail }
}

/// Reads lines on a thread of its own, which ends with the pipe. A carriage return ends a line too.
fn read_lines(
    pipe: impl Read + Send + 'static,
    tx: mpsc::SyncSender<(bool, String)>,
    is_err: bool,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        loop {
            let mut line = Vec::new();
            match pipe.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line);
            for part in text.trim_end_matches(['\n', '\r']).split('\r') {
                if tx.send((is_err, part.to_owned())).is_err() {
                    return;
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut c = command("sh");
        c.args(["-c", script]);
        c
    }

    #[test]
    fn a_failed_program_is_told_with_its_last_lines() {
        let e = run(sh("echo fine; echo first >&2; echo the reason >&2; exit 3"), Duration::from_secs(5)).unwrap_err();
        assert!(
            matches!(&e, Error::Program { tail, status, .. } if tail == "first; the reason" && status.contains('3'))
        );
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("late");
        let started = Instant::now();
        let script = format!("(sleep 2; touch {}) & sleep 60", mark.display());
        assert!(run(sh(&script), Duration::from_millis(300)).is_err());
        assert!(started.elapsed() < Duration::from_secs(2));
        std::thread::sleep(Duration::from_millis(2200));
        assert!(!mark.exists(), "the grandchild lived on");
    }

    #[test]
    fn a_contained_program_takes_along_what_left_its_process_group() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("late");
        let mut c = contained("sh");
        c.args(["-c", &format!("setsid sh -c 'sleep 2; touch {}' & sleep 60", mark.display())]);
        let e = run(c, Duration::from_millis(500)).unwrap_err();
        assert!(matches!(&e, Error::Program { program, .. } if program == "sh"), "{e}");
        std::thread::sleep(Duration::from_millis(2200));
        assert!(!mark.exists(), "the runaway lived on");
    }

    #[test]
    fn a_missing_program_is_told_with_its_package() {
        let e = run(command("mmdebstrap-that-is-not-there"), Duration::from_secs(1)).unwrap_err();
        assert!(matches!(e, Error::Missing { .. }));
    }
}
