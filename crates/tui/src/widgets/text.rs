//! Putting text on the screen: cleaned, cut to fit, never wider than asked.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether a character may be drawn: no control characters and none that turn text around.
pub fn is_drawable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// The text with everything that may not be drawn replaced by a dot.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if is_drawable(c) { c } else { '·' }).collect()
}

/// Width in cells.
pub fn width(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(u16::MAX)
}

/// The text cut to at most `max` cells, with `…` where something is missing.
pub fn cut(text: &str, max: u16) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = u16::try_from(c.width().unwrap_or(0)).unwrap_or(0);
        if used + w + 1 > max {
            break;
        }
        used += w;
        out.push(c);
    }
    if max > 0 {
        out.push('…');
    }
    out
}

/// Writes at most `max` cells; gives the column after the text.
pub fn put(buffer: &mut Buffer, x: u16, y: u16, max: u16, text: &str, style: Style) -> u16 {
    let area = buffer.area;
    if y >= area.bottom() || x >= area.right() {
        return x;
    }
    let max = max.min(area.right() - x);
    let text = cut(&clean(text), max);
    buffer.set_stringn(x, y, text, usize::from(max), style).0
}

/// Writes so that the text ends before column `right`; gives the column it begins at.
pub fn put_right(buffer: &mut Buffer, right: u16, y: u16, max: u16, text: &str, style: Style) -> u16 {
    let text = cut(&clean(text), max);
    let x = right.saturating_sub(width(&text));
    put(buffer, x, y, max, &text, style);
    x
}

/// A piece of text with its style.
pub type Piece = (String, Style);

/// Writes pieces one after the other; gives the column after them.
pub fn put_pieces(buffer: &mut Buffer, x: u16, y: u16, max: u16, pieces: &[Piece]) -> u16 {
    let end = x.saturating_add(max);
    let mut at = x;
    for (text, style) in pieces {
        at = put(buffer, at, y, end.saturating_sub(at), text, *style);
    }
    at
}

/// A rule across the area's first row.
pub fn rule(buffer: &mut Buffer, area: Rect, style: Style) {
    put(buffer, area.x, area.y, area.width, &"─".repeat(usize::from(area.width)), style);
}

/// Empties an area.
pub fn wipe(buffer: &mut Buffer, area: Rect) {
    let area = area.intersection(buffer.area);
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            buffer[(x, y)].reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_never_takes_more_cells_than_asked_for(text in "\\PC{0,40}|.{0,20}", max in 0u16..30, x in 0u16..25) {
            let mut buffer = Buffer::empty(Rect::new(0, 0, 20, 1));
            let end = put(&mut buffer, x, 0, max, &text, Style::default());
            prop_assert!(end <= x.saturating_add(max));
            prop_assert!(width(&cut(&clean(&text), max)) <= max);
        }
    }

    #[test]
    fn what_is_missing_is_shown_by_an_ellipsis() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
        assert_eq!(clean("a\x1b[31m\u{202e}b"), "a·[31m·b");
    }
}
