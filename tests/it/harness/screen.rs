//! A program in a terminal of a given size, and what a person would see there.

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
}

struct Seen {
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

impl Screen {
    /// Runs `cowl WORDS` for this node on a screen of `columns` × `rows`.
    #[track_caller]
    pub fn open(node: &Node, words: &[&str], columns: u16, rows: u16) -> Self {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).expect("open a pty");
        let mut command = CommandBuilder::new(cowl());
        command.args(words);
        for (key, value) in node.variables() {
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
        Self { seen, keys, master: pty.master, child }
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

    /// Panics unless the terminal is as it was: main screen, cursor shown, no mouse, no raw mode.
    #[track_caller]
    pub fn is_restored(&self) {
        let seen = self.seen();
        let screen = seen.screen.screen();
        assert!(!screen.alternate_screen(), "still on the alternate screen");
        assert!(!screen.hide_cursor(), "the cursor is hidden");
        assert!(!screen.bracketed_paste(), "bracketed paste is still on");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None, "the mouse is still captured");
        drop(seen);
        let flags = self.master.get_termios().expect("read the terminal's flags").local_flags.bits();
        let cooked = libc::ECHO | libc::ICANON | libc::ISIG;
        assert_eq!(flags & cooked, cooked, "still raw");
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
