//! A screen as SVG, for the README.

use std::fmt::Write;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

use super::theme::from_256;

/// Size of a cell in pixels.
const CELL: (f32, f32) = (8.4, 18.0);
/// Room around the screen in pixels.
const MARGIN: f32 = 12.0;
const FOREGROUND: &str = "#d5dadd";
const BACKGROUND: &str = "#10161a";
/// The sixteen colours as a picture shows them: readable on [`BACKGROUND`], unlike xterm's own.
const SIXTEEN: [&str; 16] = [
    "#2a3238", "#ef6461", "#7fc97a", "#e0b050", "#6fa8dc", "#b294d0", "#4fb8a8", "#d5dadd", "#6b747b", "#ff8a80",
    "#a5e6a0", "#ffd479", "#9cc7f0", "#d0b8ea", "#7fdccd", "#ffffff",
];

/// Renders a screen; every run of equal style is one text element stretched to its cells.
pub fn render_svg(buffer: &Buffer) -> String {
    let area = buffer.area;
    let width = f32::from(area.width) * CELL.0 + 2.0 * MARGIN;
    let height = f32::from(area.height) * CELL.1 + 2.0 * MARGIN;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.1} {height:.1}\" font-family=\"'DejaVu Sans Mono','Noto Sans Mono',Menlo,Consolas,monospace\" \
         font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    for y in 0..area.height {
        let mut x = 0;
        while x < area.width {
            let first = &buffer[(area.x + x, area.y + y)];
            let mut run = String::new();
            let start = x;
            while x < area.width {
                let cell = &buffer[(area.x + x, area.y + y)];
                if !same_style(first, cell) {
                    break;
                }
                run.push_str(cell.symbol());
                x += u16::try_from(cell.symbol().width().max(1)).unwrap_or(1);
            }
            push_run(&mut out, first, &run, start, y, x - start);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn same_style(a: &Cell, b: &Cell) -> bool {
    (a.fg, a.bg, a.modifier) == (b.fg, b.bg, b.modifier)
}

fn push_run(out: &mut String, cell: &Cell, run: &str, column: u16, row: u16, cells: u16) {
    let (mut fg, mut bg) = (hex(cell.fg), hex(cell.bg));
    if cell.modifier.contains(Modifier::REVERSED) {
        (fg, bg) = (Some(bg.unwrap_or_else(|| BACKGROUND.into())), Some(fg.unwrap_or_else(|| FOREGROUND.into())));
    }
    let (x, y) = (MARGIN + f32::from(column) * CELL.0, MARGIN + f32::from(row) * CELL.1);
    let width = f32::from(cells) * CELL.0;
    if let Some(bg) = bg {
        let _ =
            writeln!(out, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{bg}\"/>", CELL.1);
    }
    // Spaces at the ends are only places; the text between them is what is drawn.
    let text = run.trim_end();
    let skipped = text.chars().take_while(|c| *c == ' ').count();
    let text = text.trim_start();
    if text.is_empty() {
        return;
    }
    let x = x + skipped as f32 * CELL.0;
    let width = text.width() as f32 * CELL.0;
    let mut style = String::new();
    for (modifier, attribute) in [
        (Modifier::BOLD, " font-weight=\"bold\""),
        (Modifier::ITALIC, " font-style=\"italic\""),
        (Modifier::UNDERLINED, " text-decoration=\"underline\""),
        (Modifier::DIM, " opacity=\"0.6\""),
    ] {
        if cell.modifier.contains(modifier) {
            style.push_str(attribute);
        }
    }
    let fill = fg.unwrap_or_else(|| FOREGROUND.into());
    let baseline = y + CELL.1 * 0.74;
    // Browsers fold runs of spaces in SVG text, whatever the root element says.
    let text = text.replace(' ', "\u{a0}").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{baseline:.1}\" textLength=\"{width:.1}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{fill}\"{style}>{text}</text>"
    );
}

fn hex(color: Color) -> Option<String> {
    let index = |i: u8| {
        if let Some(named) = SIXTEEN.get(usize::from(i)) {
            return (*named).to_owned();
        }
        let (r, g, b) = from_256(i);
        format!("#{r:02x}{g:02x}{b:02x}")
    };
    Some(match color {
        Color::Reset => return None,
        Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
        Color::Indexed(i) => index(i),
        named => index((0..16).find(|i| super::theme::sixteen(*i) == named)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    #[test]
    fn text_is_escaped_placed_and_coloured() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 10, 2));
        buffer.set_string(2, 1, "<漢>", Style::default().fg(Color::Rgb(1, 2, 3)).bg(Color::Red));
        let svg = render_svg(&buffer);
        assert!(svg.contains("&lt;漢&gt;"), "{svg}");
        assert!(svg.contains("fill=\"#010203\"") && svg.contains("fill=\"#ef6461\""), "{svg}");
        assert!(svg.contains("textLength=\"33.6\""), "four cells wide: {svg}");
    }

    #[test]
    fn columns_stay_where_they_are() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 10, 1));
        buffer.set_string(0, 0, "a   b", Style::default());
        assert!(render_svg(&buffer).contains("a\u{a0}\u{a0}\u{a0}b"));
    }
}
