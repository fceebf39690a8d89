//! A directory, read only; or the beginning of a file.

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::{App, FilesView, Preview};
use crate::theme::Role;
use crate::widgets::table::{self, Column, Row, Width};
use crate::widgets::{figures, text};
use cowl_api::files::{Entry, PathType};

/// Draws the directory or the file.
pub fn draw(app: &App, files: &FilesView, buffer: &mut Buffer, area: Rect) {
    if let Some(preview) = &files.preview {
        draw_preview(app, preview, buffer, area);
        return;
    }
    let line = match (&files.error, &files.entries) {
        (Some(error), _) => Some((error.clone(), Role::Danger)),
        (None, None) => Some(("asking for the directory …".into(), Role::Dim)),
        (None, Some(entries)) if entries.is_empty() => Some(("this directory is empty".into(), Role::Dim)),
        _ => None,
    };
    if let Some((line, role)) = line {
        text::put(buffer, area.x + 3, area.y + 1, area.width.saturating_sub(4), &line, app.theme.style(role));
        return;
    }
    let mut columns = vec![Column::left("NAME", Width::Rest), Column::right("SIZE", 6)];
    if area.width >= 60 {
        columns.push(Column::right("CHANGED", 9));
        columns.push(Column::right("MODE", 5));
    }
    if area.width >= 80 {
        columns.push(Column::left("OWNER", Width::Fixed(16)));
    }
    let shown = files.shown();
    table::draw(buffer, area, &app.theme, &columns, &files.list, shown.len(), |i| {
        shown.get(i).map_or_else(Row::default, |e| row(app, e))
    });
}

fn row(app: &App, e: &Entry) -> Row {
    let theme = &app.theme;
    let (role, mark) = match e.path_type {
        PathType::Dir => (Role::Directory, "/"),
        PathType::SymlinkDir | PathType::SymlinkFile => (Role::Link, ""),
        PathType::File => (Role::Text, ""),
    };
    let mut name = vec![(format!("{}{mark}", e.name), theme.style(role))];
    if let Some(target) = &e.symlink_target {
        name.push((format!(" → {target}"), theme.style(Role::Dim)));
    }
    let size =
        if matches!(e.path_type, PathType::Dir | PathType::SymlinkDir) { "–".into() } else { figures::bytes(e.size) };
    let changed =
        Timestamp::from_millisecond(e.mtime).map_or_else(|_| "–".into(), |t| figures::ago(&t.to_string(), app.now));
    let owner = match (&e.owner, &e.group) {
        (Some(o), Some(g)) if o != g => format!("{o}:{g}"),
        (Some(o), _) => o.clone(),
        _ => String::new(),
    };
    Row {
        cells: vec![
            name,
            vec![(size, theme.style(Role::Text))],
            vec![(changed, theme.style(Role::Dim))],
            vec![(e.permissions.clone().unwrap_or_default(), theme.style(Role::Dim))],
            vec![(owner, theme.style(Role::Dim))],
        ],
        ..Row::default()
    }
}

fn draw_preview(app: &App, preview: &Preview, buffer: &mut Buffer, area: Rect) {
    let lines = match &preview.lines {
        Ok(lines) => lines,
        Err(reason) => {
            let line = format!("{} is {reason}", preview.path);
            text::put(buffer, area.x + 3, area.y + 1, area.width.saturating_sub(4), &line, app.theme.style(Role::Dim));
            return;
        }
    };
    // The selected line is the top one, so that paging moves by screens.
    let height = usize::from(area.height);
    preview.list.window(lines.len(), height);
    let first = preview.list.selected.min(lines.len().saturating_sub(height));
    for (i, line) in lines.iter().enumerate().skip(first).take(height) {
        let y = area.y + u16::try_from(i - first).unwrap_or(0);
        text::put_right(buffer, 6, y, 5, &(i + 1).to_string(), app.theme.style(Role::Dim));
        text::put(buffer, 8, y, area.width.saturating_sub(9), line, app.theme.style(Role::Text));
    }
}
