//! Running a program with a deadline.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest time any command may take.
const DEADLINE: Duration = Duration::from_secs(180);

/// How a program ended and what it said.
#[derive(Debug, Clone)]
pub struct Ran {
    pub line: String,
    /// Exit code; 128 + n after signal n.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Ran {
    /// Its output; panics unless it succeeded.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{self:#?}");
        &self.stdout
    }

    /// Its output as JSON; panics unless it succeeded.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|e| panic!("not JSON ({e}): {self:#?}"))
    }

    /// The one line on stderr of a failure with this exit code.
    #[track_caller]
    pub fn refused(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{self:#?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "not one line: {self:#?}");
        self.stderr.trim_end()
    }
}

/// A program found also where root's programs are.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    command
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    run_with(command, None)
}

/// Runs a command with something on its stdin.
#[track_caller]
pub fn run_with(command: &mut Command, stdin: Option<Vec<u8>>) -> Ran {
    let line = format!("{command:?}");
    let begun = Instant::now();
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(|e| panic!("{line}: {e}"));
    if let (Some(bytes), Some(mut pipe)) = (stdin, child.stdin.take()) {
        thread::spawn(move || pipe.write_all(&bytes));
    }
    let stdout = gather(child.stdout.take());
    let stderr = gather(child.stderr.take());
    let status = wait(&mut child, DEADLINE).unwrap_or_else(|| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("took longer than {} s: {line}", DEADLINE.as_secs());
    });
    let text = |reader: thread::JoinHandle<Vec<u8>>| String::from_utf8_lossy(&reader.join().unwrap()).into_owned();
    Ran { line, code: code(status), stdout: text(stdout), stderr: text(stderr), took: begun.elapsed() }
}

/// Waits for a child; `None` when it lives on.
pub fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + deadline;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

/// A shell's way to put an end into one number.
pub fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn gather(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut pipe) = pipe {
            // What came before an error is still worth seeing.
            let _ = pipe.read_to_end(&mut all);
        }
        all
    })
}
