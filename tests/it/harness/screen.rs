//! A program in a terminal of a given size, and what a person would see there.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::{Node, cowl};

/// A program on a screen.
pub struct Screen {
    seen: Arc<Mutex<Seen>>,
    keys: Box<dyn Write + Send>,
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    /// The terminal's settings before the program had it.
    settings: Settings,
}

/// Input, output, control and local flags of a terminal.
type Settings = [libc::tcflag_t; 4];

fn settings(master: &dyn MasterPty) -> Settings {
    let all = master.get_termios().expect("read the terminal's settings");
    [all.input_flags.bits(), all.output_flags.bits(), all.control_flags.bits(), all.local_flags.bits()]
}

struct Seen {
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

impl Screen {
    /// Runs `cowl WORDS` for this node on a screen of `columns` × `rows`.
    #[track_caller]
    pub fn open(node: &Node, words: &[&str], columns: u16, rows: u16) -> Self {
        Self::run(node, &[&[cowl()], words].concat(), &[], columns, rows)
    }

    /// Runs a program for this node, with more variables than those of the node.
    #[track_caller]
    pub fn run(node: &Node, words: &[&str], more: &[(&str, &str)], columns: u16, rows: u16) -> Self {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).expect("open a pty");
        let settings = settings(&*pty.master);
        let mut command = CommandBuilder::from_argv(words.iter().map(Into::into).collect());
        for (key, value) in node.variables() {
            command.env(key, value);
        }
        for (key, value) in more {
            command.env(key, value);
        }
        command.env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8");
        command.env("HOME", node.dir.as_os_str());
        command.env("XDG_CONFIG_HOME", node.dir.join("config"));
        command.cwd("/");
        let child = pty.slave.spawn_command(command).expect("start cowl");
        drop(pty.slave);
        let seen = Arc::new(Mutex::new(Seen { screen: vt100::Parser::new(rows, columns, 0), bytes: Vec::new() }));
        let mut output = pty.master.try_clone_reader().expect("read the pty");
        let watching = Arc::clone(&seen);
        thread::spawn(move || {
            let mut buffer = [0u8; 8192];
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                let mut seen = watching.lock().unwrap_or_else(PoisonError::into_inner);
                seen.screen.process(&buffer[..n]);
                seen.bytes.extend_from_slice(&buffer[..n]);
            }
        });
        let keys = pty.master.take_writer().expect("write to the pty");
        Self { seen, keys, master: pty.master, child, settings }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text on the screen.
    pub fn text(&self) -> String {
        self.seen().screen.screen().contents()
    }

    /// Types.
    pub fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("type");
        self.keys.flush().expect("type");
    }

    /// Waits until the screen shows `text`.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        self.shows_when(&format!("{text:?}"), |screen| screen.contains(text));
    }

    /// Waits until the screen is as `right` wants it.
    #[track_caller]
    pub fn shows_when(&self, what: &str, right: impl Fn(&str) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !right(&self.text()) {
            assert!(Instant::now() < end, "the screen never showed {what}; it shows:\n{}", self.text());
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.master.resize(PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }).expect("resize");
        self.seen().screen.screen_mut().set_size(rows, columns);
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = self.child.process_id().expect("the program runs").cast_signed();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("signal the program");
    }

    /// Waits for the program's end; its exit code.
    #[track_caller]
    pub fn ends(&mut self) -> u32 {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for the program") {
                // The last bytes may still be on their way.
                thread::sleep(Duration::from_millis(100));
                return status.exit_code();
            }
            assert!(Instant::now() < end, "the program does not end; the screen shows:\n{}", self.text());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Panics unless the cockpit holds the terminal: alternate screen, raw, pastes bracketed.
    #[track_caller]
    pub fn is_held(&self) {
        let modes = modes(&self.seen().bytes);
        assert!(modes.get(&1049) == Some(&true) && modes.get(&2004) == Some(&true), "not entered: {modes:?}");
        assert_ne!(settings(&*self.master), self.settings, "not raw");
    }

    /// Panics unless the terminal is as it was: main screen, cursor shown, no mouse, every mode and
    /// setting as it was before.
    #[track_caller]
    pub fn is_restored(&self) {
        let seen = self.seen();
        let screen = seen.screen.screen();
        assert!(!screen.alternate_screen(), "still on the alternate screen");
        assert!(!screen.hide_cursor(), "the cursor is hidden");
        assert!(!screen.bracketed_paste(), "bracketed paste is still on");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None, "the mouse is still captured");
        for (mode, on) in modes(&seen.bytes) {
            // A fresh terminal wraps lines and shows its cursor; all other modes are off.
            assert_eq!(on, matches!(mode, 7 | 25), "mode {mode} is left {}", if on { "on" } else { "off" });
        }
        drop(seen);
        assert_eq!(settings(&*self.master), self.settings, "the terminal's settings are not as before");
    }

    /// The private modes the program has set (true) or reset, each as it was left.
    pub fn modes(&self) -> BTreeMap<u16, bool> {
        modes(&self.seen().bytes)
    }

    /// Rows of the screen.
    pub fn rows(&self) -> usize {
        usize::from(self.seen().screen.screen().size().0)
    }

    /// How many bytes the program has written so far.
    pub fn written(&self) -> usize {
        self.seen().bytes.len()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Finds `ESC [ ? N ; … h` and `l`: private modes by number, each as it was left.
fn modes(bytes: &[u8]) -> BTreeMap<u16, bool> {
    let mut modes = BTreeMap::new();
    for (at, _) in bytes.windows(3).enumerate().filter(|(_, w)| w == b"\x1b[?") {
        let rest = &bytes[at + 3..];
        let end = rest.iter().position(|b| !matches!(b, b'0'..=b'9' | b';')).unwrap_or(rest.len());
        let on = match rest.get(end) {
            Some(b'h') => true,
            Some(b'l') => false,
            _ => continue,
        };
        let numbers = std::str::from_utf8(&rest[..end]).unwrap_or_default().split(';');
        modes.extend(numbers.filter_map(|n| n.parse::<u16>().ok()).map(|n| (n, on)));
    }
    modes
}
