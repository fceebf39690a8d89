//! The terminal as a picture: what a client that comes now must be sent to see what others see.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use super::pty::Size;

/// Lines kept above the screen.
pub const SCROLLBACK: usize = 2_000;

/// Answers and titles that the emulator collects while it reads.
#[derive(Debug, Default)]
struct Heard {
    title: Option<String>,
    replies: Vec<u8>,
}

impl vt100::Callbacks for Heard {
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        let title: String = String::from_utf8_lossy(title).chars().filter(|c| !c.is_control()).take(512).collect();
        self.title = Some(title);
    }

    fn unhandled_csi(&mut self, screen: &mut vt100::Screen, i1: Option<u8>, _: Option<u8>, params: &[&[u16]], c: char) {
        let first = params.first().and_then(|p| p.first()).copied().unwrap_or(0);
        match (i1, c, first) {
            (None, 'n', 5) => self.replies.extend(b"\x1b[0n"),
            (None, 'n', 6) => {
                let (row, col) = screen.cursor_position();
                self.replies.extend(format!("\x1b[{};{}R", row + 1, col + 1).into_bytes());
            }
            (None, 'c', 0) => self.replies.extend(b"\x1b[?62;22c"),
            _ => {}
        }
    }
}

/// A screen of a fixed size with its scrollback.
pub struct Picture {
    parser: vt100::Parser<Heard>,
    size: Size,
    title: String,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Picture").field("size", &self.size).field("title", &self.title).finish_non_exhaustive()
    }
}

/// A run of cells that look alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// First column, from 0.
    pub start: u16,
    /// Last column + 1.
    pub end: u16,
    /// Its characters.
    pub text: String,
    /// `#rrggbb`, `0`–`255` for a palette colour; absent for the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fg: Option<String>,
    /// As `fg`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bg: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[allow(missing_docs)]
    pub bold: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[allow(missing_docs)]
    pub dim: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[allow(missing_docs)]
    pub italic: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[allow(missing_docs)]
    pub underline: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[allow(missing_docs)]
    pub inverse: bool,
}

impl Picture {
    /// An empty screen.
    pub fn new(size: Size) -> Self {
        let parser = vt100::Parser::new_with_callbacks(size.rows, size.cols, SCROLLBACK, Heard::default());
        Self { parser, size, title: String::new() }
    }

    /// Draws output. Returns what a terminal would answer to questions in it.
    ///
    /// Output is hostile: should the emulator trip over it, the picture starts anew.
    pub fn draw(&mut self, output: &[u8]) -> Vec<u8> {
        if catch_unwind(AssertUnwindSafe(|| self.parser.process(output))).is_err() {
            tracing::warn!("terminal emulator failed on output; screen cleared");
            *self = Self { title: std::mem::take(&mut self.title), ..Self::new(self.size) };
            return Vec::new();
        }
        if let Some(title) = self.parser.callbacks_mut().title.take() {
            self.title = title;
        }
        std::mem::take(&mut self.parser.callbacks_mut().replies)
    }

    /// Changes the size.
    pub fn resize(&mut self, size: Size) {
        self.size = size;
        let resized = catch_unwind(AssertUnwindSafe(|| self.parser.screen_mut().set_size(size.rows, size.cols)));
        if resized.is_err() {
            *self = Self { title: std::mem::take(&mut self.title), ..Self::new(size) };
        }
    }

    /// Its size.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The last title a program set.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Modes and cells, to look at.
    pub fn screen(&self) -> &vt100::Screen {
        self.parser.screen()
    }

    /// How many lines lie above the screen.
    pub fn scrollback(&mut self) -> usize {
        let screen = self.parser.screen_mut();
        screen.set_scrollback(usize::MAX);
        let lines = screen.scrollback();
        screen.set_scrollback(0);
        lines
    }

    /// Visits what lies above the screen, oldest first, a screenful at a time: the first so many rows of
    /// the screen it is given.
    fn each_scrollback_page(&mut self, mut visit: impl FnMut(&vt100::Screen, usize)) {
        let (rows, total) = (usize::from(self.size.rows), self.scrollback());
        let screen = self.parser.screen_mut();
        let mut left = total;
        while left > 0 {
            screen.set_scrollback(left);
            let here = left.min(rows);
            visit(screen, here);
            left -= here;
        }
        screen.set_scrollback(0);
    }

    /// Lines of plain text: above the screen if `above`, then the screen's if `on_screen`.
    pub fn lines(&mut self, above: bool, on_screen: bool) -> Vec<String> {
        let cols = self.size.cols;
        let mut lines = Vec::new();
        if above {
            self.each_scrollback_page(|screen, rows| lines.extend(screen.rows(0, cols).take(rows)));
        }
        if on_screen {
            lines.extend(self.screen().rows(0, cols));
        }
        lines
    }

    /// The window of lines that lies `offset` lines above the screen.
    pub fn lines_at(&mut self, offset: usize) -> Vec<String> {
        self.parser.screen_mut().set_scrollback(offset);
        let lines = self.parser.screen().rows(0, self.size.cols).collect();
        self.parser.screen_mut().set_scrollback(0);
        lines
    }

    /// Bytes that make any terminal of the same size show this picture, scrollback, colours, modes,
    /// cursor and alternate screen included.
    pub fn replay(&mut self) -> Vec<u8> {
        let size = self.size;
        let mut bytes = b"\x1b[!p\x1b[?1049l\x1b[?1000;1002;1003;1005;1006l\x1b[m\x1b[H\x1b[2J\x1b[3J".to_vec();
        let mut count = 0usize;
        self.each_scrollback_page(|screen, rows| {
            for line in screen.rows_formatted(0, size.cols).take(rows) {
                bytes.extend_from_slice(b"\x1b[m");
                bytes.extend(line);
                bytes.extend_from_slice(b"\x1b[m\r\n");
            }
            count += rows;
        });
        if count > 0 {
            // Push what was printed off the screen, and not a line more.
            bytes.extend(format!("\x1b[{};1H", size.rows).into_bytes());
            bytes.extend(std::iter::repeat_n(b'\n', count.min(usize::from(size.rows) - 1)));
        }
        if self.screen().alternate_screen() {
            bytes.extend_from_slice(b"\x1b[?1049h");
        }
        bytes.extend(self.screen().state_formatted());
        bytes
    }

    /// Lines as runs of equal looks.
    pub fn spans(&self) -> Vec<Vec<Span>> {
        (0..self.size.rows).map(|row| self.spans_of(row)).collect()
    }

    fn spans_of(&self, row: u16) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for col in 0..self.size.cols {
            let Some(cell) = self.screen().cell(row, col) else { break };
            if cell.is_wide_continuation() {
                if let Some(last) = spans.last_mut() {
                    last.end = col + 1;
                }
                continue;
            }
            let span = Span {
                start: col,
                end: col + 1,
                text: if cell.has_contents() { cell.contents().to_owned() } else { " ".into() },
                fg: colour(cell.fgcolor()),
                bg: colour(cell.bgcolor()),
                bold: cell.bold(),
                dim: cell.dim(),
                italic: cell.italic(),
                underline: cell.underline(),
                inverse: cell.inverse(),
            };
            match spans.last_mut() {
                Some(last) if alike(last, &span) => {
                    last.end = span.end;
                    last.text.push_str(&span.text);
                }
                _ => spans.push(span),
            }
        }
        if spans.last().is_some_and(|last| last.text.trim().is_empty() && last.bg.is_none() && !last.inverse) {
            spans.pop();
        }
        spans
    }
}

fn alike(a: &Span, b: &Span) -> bool {
    (&a.fg, &a.bg, a.bold, a.dim, a.italic, a.underline, a.inverse)
        == (&b.fg, &b.bg, b.bold, b.dim, b.italic, b.underline, b.inverse)
}

fn colour(colour: vt100::Color) -> Option<String> {
    match colour {
        vt100::Color::Default => None,
        vt100::Color::Idx(index) => Some(index.to_string()),
        vt100::Color::Rgb(r, g, b) => Some(format!("#{r:02x}{g:02x}{b:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(a: &mut Picture, b: &mut Picture) -> bool {
        a.screen().contents_formatted() == b.screen().contents_formatted()
            && a.screen().alternate_screen() == b.screen().alternate_screen()
            && a.screen().input_mode_formatted() == b.screen().input_mode_formatted()
            && a.lines(true, false) == b.lines(true, false)
    }

    #[test]
    fn a_replay_shows_the_same_screen_scrollback_and_modes() {
        let mut original = Picture::new(Size { cols: 20, rows: 5 });
        for n in 0..17 {
            original.draw(format!("\x1b[3{}mline {n}\x1b[m\r\n", n % 8).as_bytes());
        }
        original.draw(b"\x1b[?2004h\x1b[38;2;1;2;3mtrue \xe4\xb8\xad colour\x1b[2;3H");
        let mut copy = Picture::new(Size { cols: 20, rows: 5 });
        copy.draw(b"old rubbish\r\n\x1b[?1049hx");
        let replay = original.replay();
        copy.draw(&replay);
        assert_eq!(copy.lines(false, true), original.lines(false, true));
        let mut fresh = Picture::new(Size { cols: 20, rows: 5 });
        fresh.draw(&replay);
        assert!(same(&mut fresh, &mut original));
    }

    #[test]
    fn a_replay_keeps_the_alternate_screen() {
        let mut original = Picture::new(Size::DEFAULT);
        original.draw(b"shell\r\n\x1b[?1049h\x1b[2J\x1b[Hfull screen");
        let mut copy = Picture::new(Size::DEFAULT);
        copy.draw(&original.replay());
        assert!(copy.screen().alternate_screen());
        assert_eq!(copy.lines(false, true)[0], "full screen");
    }

    #[test]
    fn questions_are_answered() {
        let mut picture = Picture::new(Size::DEFAULT);
        assert_eq!(picture.draw(b"ab\x1b[6n"), b"\x1b[1;3R");
    }

    proptest! {
        #[test]
        fn no_output_breaks_the_picture(
            output in prop::collection::vec(any::<u8>(), 0..600), cols in 0u64..60, rows in 0u64..20,
        ) {
            let mut picture = Picture::new(Size::clamped(30, 8));
            picture.draw(&output);
            picture.resize(Size::clamped(cols, rows));
            picture.draw(&output);
            let replay = picture.replay();
            let mut copy = Picture::new(picture.size());
            copy.draw(&replay);
            prop_assert_eq!(copy.lines(false, true).len(), usize::from(picture.size().rows));
        }
    }
}
