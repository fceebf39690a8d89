//! One frame, one write: what changed since the last frame, inside synchronised output.
//!
//! A thread does the writing, so a slow terminal never stops the cockpit: while a frame is on its
//! way no other is made, and the next one holds everything that happened meanwhile.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{SyncSender, sync_channel};

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::sync::mpsc;

use super::app::{App, MouseLevel};
use super::panes::{self, Cursor};
use super::runtime::Aside;

/// Bytes a frame is given room for to begin with.
const FRAME: usize = 256 << 10;

/// Turns the state into bytes for a terminal.
#[derive(Debug)]
pub struct Frames {
    shown: Buffer,
    next: Buffer,
    cursor: Option<Cursor>,
    mouse: MouseLevel,
}

impl Default for Frames {
    fn default() -> Self {
        let nothing = Buffer::empty(Rect::ZERO);
        Self { shown: nothing.clone(), next: nothing, cursor: None, mouse: MouseLevel::Off }
    }
}

impl Frames {
    /// The bytes that bring the terminal from the last frame to the state; empty when it looks the
    /// same already.
    ///
    /// # Errors
    /// Never in practice: it writes to memory.
    pub fn frame(&mut self, app: &App, asides: &[Aside]) -> io::Result<Vec<u8>> {
        let area = Rect::new(0, 0, app.size.0, app.size.1);
        let resized = self.shown.area != area;
        if resized {
            self.shown = Buffer::empty(area);
            self.next = Buffer::empty(area);
        }
        self.next.reset();
        let cursor = panes::draw(app, &mut self.next);
        let mouse = app.mouse_level();
        let changes = self.shown.diff(&self.next);
        let same = !resized && changes.is_empty() && cursor == self.cursor && mouse == self.mouse;
        let mut out = Vec::new();
        if !same {
            out.reserve(FRAME);
            out.extend_from_slice(b"\x1b[?2026h");
            if self.cursor.is_some() {
                out.extend_from_slice(b"\x1b[?25l");
            }
            if resized {
                out.extend_from_slice(b"\x1b[2J");
            }
            if !changes.is_empty() {
                CrosstermBackend::new(&mut out).draw(changes.into_iter())?;
            }
            if mouse != self.mouse {
                out.extend_from_slice(mouse_modes(mouse));
            }
            if let Some(c) = cursor {
                if self.cursor.map(|c| c.shape) != Some(c.shape) {
                    write!(out, "\x1b[{} q", c.shape.0)?;
                }
                write!(out, "\x1b[{};{}H\x1b[?25h", c.y + 1, c.x + 1)?;
            }
            out.extend_from_slice(b"\x1b[?2026l");
            std::mem::swap(&mut self.shown, &mut self.next);
            self.cursor = cursor;
            self.mouse = mouse;
        }
        for aside in asides {
            match aside {
                Aside::Bell => out.push(7),
                Aside::Clipboard(text) => write!(out, "\x1b]52;c;{text}\x07")?,
            }
        }
        Ok(out)
    }

    /// The cells of the last frame.
    pub fn shown(&self) -> &Buffer {
        &self.shown
    }
}

fn mouse_modes(level: MouseLevel) -> &'static [u8] {
    match level {
        MouseLevel::Off => b"\x1b[?1003l\x1b[?1002l\x1b[?1000l\x1b[?1006l",
        MouseLevel::Buttons => b"\x1b[?1003l\x1b[?1000h\x1b[?1002h\x1b[?1006h",
        MouseLevel::Motion => b"\x1b[?1000h\x1b[?1002h\x1b[?1003h\x1b[?1006h",
    }
}

/// The thread that writes frames to standard output.
#[derive(Debug)]
pub struct Writer {
    frames: Option<SyncSender<Vec<u8>>>,
    written: mpsc::Receiver<io::Result<()>>,
    busy: bool,
}

impl Writer {
    /// A writer to standard output.
    ///
    /// # Errors
    /// When standard output is closed or no thread can be had.
    pub fn new() -> io::Result<Self> {
        let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (frames, queue) = sync_channel::<Vec<u8>>(1);
        let (done, written) = mpsc::channel(1);
        std::thread::Builder::new().name("screen".into()).spawn(move || {
            while let Ok(frame) = queue.recv() {
                let result = out.write_all(&frame);
                let failed = result.is_err();
                if done.blocking_send(result).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(Self { frames: Some(frames), written, busy: false })
    }

    /// Whether a frame is on its way.
    pub fn busy(&self) -> bool {
        self.busy
    }

    /// Sends a frame; only when none is on its way.
    pub fn send(&mut self, frame: Vec<u8>) {
        if let Some(frames) = &self.frames
            && !frame.is_empty()
        {
            self.busy = frames.try_send(frame).is_ok();
        }
    }

    /// Waits until the frame is written; for ever when there is none.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub async fn written(&mut self) -> io::Result<()> {
        if !self.busy {
            return std::future::pending().await;
        }
        let result = self.written.recv().await.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()));
        self.busy = false;
        result
    }
}
