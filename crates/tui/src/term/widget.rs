//! Draws a terminal's cells. Only printable characters of cells reach the outer screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::Term;
use crate::theme::Depth;
use crate::widgets::text::is_drawable;

/// Draws the screen into `area`, cut or padded to fit.
pub fn draw(term: &Term, area: Rect, buffer: &mut Buffer, depth: Depth) {
    let screen = term.screen();
    let (columns, rows) = term.size();
    let area = area.intersection(buffer.area);
    for row in 0..area.height {
        let mut column = 0;
        while column < area.width {
            let target = &mut buffer[(area.x + column, area.y + row)];
            target.reset();
            let cell = if row < rows && column < columns { screen.cell(row, column) } else { None };
            let Some(cell) = cell else {
                column += 1;
                continue;
            };
            target.set_style(style(cell, depth));
            let wide = cell.is_wide() && column + 1 < area.width;
            if cell.has_contents() && !cell.is_wide_continuation() && (wide || !cell.is_wide()) {
                let text = cell.contents();
                if text.chars().all(is_drawable) && fits(text, wide) {
                    target.set_symbol(text);
                } else {
                    target.set_symbol(if wide { "??" } else { "?" });
                }
            }
            column += 1;
            if wide {
                // The other half belongs to the wide character; the diff skips it.
                let half = &mut buffer[(area.x + column, area.y + row)];
                half.reset();
                half.set_style(style(cell, depth));
                column += 1;
            }
        }
    }
}

/// Whether the outer screen gives the text the same width as the parser did; if they disagree the
/// row would shift.
fn fits(text: &str, wide: bool) -> bool {
    unicode_width::UnicodeWidthStr::width(text) == if wide { 2 } else { 1 }
}

fn style(cell: &vt100::Cell, depth: Depth) -> Style {
    let mut out = Style::reset().fg(color(cell.fgcolor(), depth)).bg(color(cell.bgcolor(), depth));
    for (on, modifier) in [
        (cell.bold(), Modifier::BOLD),
        (cell.dim(), Modifier::DIM),
        (cell.italic(), Modifier::ITALIC),
        (cell.underline(), Modifier::UNDERLINED),
        (cell.inverse(), Modifier::REVERSED),
    ] {
        if on {
            out = out.add_modifier(modifier);
        }
    }
    out
}

fn color(color: vt100::Color, depth: Depth) -> Color {
    let full = match color {
        vt100::Color::Default => return Color::Reset,
        // The sixteen keep their names, so that they stay the user's own colours.
        vt100::Color::Idx(i @ 0..=15) => super::super::theme::sixteen(i),
        vt100::Color::Idx(i) => Color::Indexed(i),
        vt100::Color::Rgb(r, g, b) => Color::Rgb(r, g, b),
    };
    depth.fit(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(bytes: &[u8], depth: Depth) -> Buffer {
        let mut t = Term::new(8, 2);
        t.feed(bytes);
        let area = Rect::new(0, 0, 8, 2);
        let mut buffer = Buffer::empty(area);
        draw(&t, area, &mut buffer, depth);
        buffer
    }

    #[test]
    fn attributes_and_colours_are_kept() {
        let b = drawn(b"\x1b[1;3;4;7;38;2;1;2;3;48;5;200mX", Depth::True);
        let cell = &b[(0, 0)];
        assert_eq!(cell.symbol(), "X");
        assert_eq!((cell.fg, cell.bg), (Color::Rgb(1, 2, 3), Color::Indexed(200)));
        assert_eq!(cell.modifier, Modifier::BOLD | Modifier::ITALIC | Modifier::UNDERLINED | Modifier::REVERSED);
        let few = drawn(b"\x1b[38;2;255;0;0mX", Depth::Sixteen);
        assert_eq!(few[(0, 0)].fg, Color::LightRed);
    }

    #[test]
    fn a_wide_character_takes_two_cells_and_one_that_does_not_fit_is_left_out() {
        let b = drawn("漢a".as_bytes(), Depth::True);
        assert_eq!(b[(0, 0)].symbol(), "漢");
        assert_eq!(b[(2, 0)].symbol(), "a");
        let mut t = Term::new(8, 1);
        t.feed("漢".as_bytes());
        let area = Rect::new(0, 0, 1, 1);
        let mut narrow = Buffer::empty(area);
        draw(&t, area, &mut narrow, Depth::True);
        assert_eq!(narrow[(0, 0)].symbol(), " ");
    }

    #[test]
    fn characters_that_turn_text_around_are_not_passed_on() {
        let b = drawn("a\u{202e}b".as_bytes(), Depth::True);
        assert!(b.content().iter().all(|c| !c.symbol().contains('\u{202e}')));
    }
}
