//! vt100 behind a small seam: sizes it cannot take are never given to it, and should it panic on
//! hostile output, that terminal is cleared and everything else goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::SCROLLBACK;
use super::queries;
use crate::guard;

/// Smallest size the parser is run at; wide characters need two columns.
const MIN: u16 = 2;
/// Longest title kept, in characters.
const TITLE_MAX: usize = 200;
/// Longest clipboard text accepted from inside, in base64 characters.
const CLIPBOARD_MAX: usize = 1 << 20;

/// What the program wants its cursor to look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CursorShape(
    /// The parameter of DECSCUSR, 0–6; 0 is the terminal's default.
    pub u8,
);

/// What feeding bytes brought to light.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Fed {
    /// Answers to the program's questions, to be sent back as input.
    pub replies: Vec<u8>,
    /// A new title, already cleaned.
    pub title: Option<String>,
    /// The bell rang.
    pub bell: bool,
    /// Text for the user's clipboard, base64.
    pub clipboard: Option<String>,
}

/// Collects what is not cells.
#[derive(Debug, Default)]
pub(super) struct Asides {
    pub fed: Fed,
    pub shape: CursorShape,
}

impl vt100::Callbacks for Asides {
    fn audible_bell(&mut self, _: &mut vt100::Screen) {
        self.fed.bell = true;
    }

    fn visual_bell(&mut self, _: &mut vt100::Screen) {
        self.fed.bell = true;
    }

    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        let text = String::from_utf8_lossy(title);
        self.fed.title = Some(crate::widgets::text::clean(&text).chars().take(TITLE_MAX).collect());
    }

    fn copy_to_clipboard(&mut self, _: &mut vt100::Screen, _ty: &[u8], data: &[u8]) {
        // vt100 lets only base64 characters through, so this can be passed on as it is.
        if data.len() <= CLIPBOARD_MAX {
            self.fed.clipboard = std::str::from_utf8(data).ok().map(str::to_owned);
        }
    }

    fn unhandled_csi(
        &mut self,
        screen: &mut vt100::Screen,
        i1: Option<u8>,
        i2: Option<u8>,
        params: &[&[u16]],
        c: char,
    ) {
        if (i1, i2, c) == (Some(b' '), None, 'q') {
            let shape = params.first().and_then(|p| p.first()).copied().unwrap_or(0);
            self.shape = CursorShape(u8::try_from(shape).ok().filter(|s| *s <= 6).unwrap_or(0));
        } else {
            queries::answer_csi(screen, i1, i2, params, c, &mut self.fed.replies);
        }
    }

    fn unhandled_osc(&mut self, _: &mut vt100::Screen, params: &[&[u8]]) {
        queries::answer_osc(params, &mut self.fed.replies);
    }
}

/// A terminal's screen and scrollback.
pub struct Term {
    parser: vt100::Parser<Asides>,
    rows: u16,
    columns: u16,
}

impl std::fmt::Debug for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Term").field("rows", &self.rows).field("columns", &self.columns).finish_non_exhaustive()
    }
}

fn parser(rows: u16, columns: u16) -> vt100::Parser<Asides> {
    vt100::Parser::new_with_callbacks(rows, columns, SCROLLBACK, Asides::default())
}

impl Term {
    /// An empty terminal; sizes below 2 are taken as 2.
    pub fn new(columns: u16, rows: u16) -> Self {
        let (rows, columns) = (rows.max(MIN), columns.max(MIN));
        Self { parser: parser(rows, columns), rows, columns }
    }

    /// Takes output of the program.
    pub fn feed(&mut self, bytes: &[u8]) -> Fed {
        let parsed = guard::quiet(|| catch_unwind(AssertUnwindSafe(|| self.parser.process(bytes))));
        if parsed.is_err() {
            self.parser = parser(self.rows, self.columns);
            self.parser.process(b"\x1b[7m this terminal was cleared: its output could not be shown \x1b[m\r\n");
        }
        std::mem::take(&mut self.parser.callbacks_mut().fed)
    }

    /// Changes the size; the scrollback stays.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        let (rows, columns) = (rows.max(MIN), columns.max(MIN));
        if (rows, columns) == (self.rows, self.columns) {
            return;
        }
        (self.rows, self.columns) = (rows, columns);
        let resized = guard::quiet(|| {
            catch_unwind(AssertUnwindSafe(|| {
                let screen = self.parser.screen_mut();
                screen.set_scrollback(0);
                screen.set_size(rows, columns);
            }))
        });
        if resized.is_err() {
            self.parser = parser(rows, columns);
        }
    }

    /// The screen, for drawing and for modes.
    pub fn screen(&self) -> &vt100::Screen {
        self.parser.screen()
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        (self.columns, self.rows)
    }

    /// The cursor's shape.
    pub fn cursor_shape(&self) -> CursorShape {
        self.parser.callbacks().shape
    }

    /// How many lines the view is scrolled back.
    pub fn scrolled(&self) -> usize {
        self.screen().scrollback()
    }

    /// Scrolls the view; 0 is the live screen. Clamped to what is kept.
    pub fn scroll_to(&mut self, lines: usize) {
        self.parser.screen_mut().set_scrollback(lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_lands_on_the_screen_and_scrolled_lines_are_kept() {
        let mut t = Term::new(10, 3);
        t.feed(b"1\r\n2\r\n3\r\n4\r\n5");
        assert_eq!(t.screen().contents(), "3\n4\n5");
        t.scroll_to(2);
        assert_eq!(t.screen().cell(0, 0).unwrap().contents(), "1");
        t.scroll_to(usize::MAX);
        assert_eq!(t.scrolled(), 2);
    }

    #[test]
    fn title_bell_clipboard_and_shape_come_out_as_data() {
        let mut t = Term::new(10, 3);
        let fed = t.feed(b"\x1b]2;vi\x1bm\x07\x1b]2;v\xc2\x9bim\x1b\\\x07\x1b]52;c;aGk=\x07\x1b[4 q");
        assert_eq!(fed.title.as_deref(), Some("v·im"));
        assert!(fed.bell);
        assert_eq!(fed.clipboard.as_deref(), Some("aGk="));
        assert_eq!(t.cursor_shape(), CursorShape(4));
    }

    #[test]
    fn questions_about_the_terminal_are_answered() {
        let mut t = Term::new(80, 24);
        assert_eq!(t.feed(b"\x1b[3;5H\x1b[6n").replies, b"\x1b[3;5R");
        assert_eq!(t.feed(b"\x1b[c").replies, b"\x1b[?62;22;52c");
        assert_eq!(t.feed(b"\x1b[5n").replies, b"\x1b[0n");
        assert_eq!(t.feed(b"\x1b[?2004$p").replies, b"\x1b[?2004;2$y");
        assert_eq!(t.feed(b"\x1b[?2004h\x1b[?2004$p").replies, b"\x1b[?2004;1$y");
        assert_eq!(t.feed(b"\x1b[18t").replies, b"\x1b[8;24;80t");
    }

    /// Sequences that move, wrap, scroll and resize, mixed with plain bytes.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..12),
            Just("漢字👩‍👩‍👧e\u{301}".as_bytes().to_vec()),
            (0u16..300, 0u16..300, prop::sample::select(b"ABCDEFGHJKLMPSTXdmrhlt@".to_vec()))
                .prop_map(|(a, b, c)| format!("\x1b[{a};{b}{}", char::from(c)).into_bytes()),
            prop::sample::select(vec![
                "\x1bM",
                "\x1b7",
                "\x1b8",
                "\x1bc",
                "\r\n",
                "\x1b[?1049h",
                "\x1b[?1049l",
                "\x1b[?6h",
                "\x1b[?7l",
                "\x1b[2J"
            ])
            .prop_map(|s| s.as_bytes().to_vec()),
        ];
        prop::collection::vec(pieces, 0..40).prop_map(|v| v.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn any_output_and_any_sizes_are_survived(steps in prop::collection::vec((noise(), 0u16..40, 0u16..20, 0usize..50), 1..8)) {
            let mut t = Term::new(0, 0);
            for (bytes, columns, rows, scroll) in steps {
                t.feed(&bytes);
                t.resize(columns, rows);
                t.scroll_to(scroll);
                let area = ratatui::layout::Rect::new(0, 0, columns, rows);
                let mut buffer = ratatui::buffer::Buffer::empty(area);
                super::super::draw(&t, area, &mut buffer, crate::theme::Depth::True);
                for cell in buffer.content() {
                    prop_assert!(!cell.symbol().chars().any(char::is_control));
                }
            }
        }
    }
}
