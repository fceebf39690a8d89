//! A few lines to read; any key ends it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::first_run::wrap;
use super::{Cursor, key_line, sheet};
use crate::app::App;
use crate::theme::Role;
use crate::widgets::text;

/// Draws the lines, wrapped so that nothing of a URL is missing.
pub fn draw(app: &App, lines: &[String], buffer: &mut Buffer, area: Rect) -> Option<Cursor> {
    let width = usize::from(area.width.saturating_sub(2));
    let wrapped: Vec<String> = lines.iter().flat_map(|l| wrap(l, width)).collect();
    let inner = sheet(app, "to read", u16::try_from(wrapped.len()).unwrap_or(u16::MAX), buffer, area);
    for (y, line) in (inner.y..inner.bottom()).zip(&wrapped) {
        text::put(buffer, inner.x, y, inner.width, line, app.theme.style(Role::Text));
    }
    key_line(app, buffer, inner.x, inner.bottom(), inner.width, &[("any key".into(), "goes on")]);
    None
}
