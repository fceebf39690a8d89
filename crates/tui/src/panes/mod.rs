//! Drawing: the state in, cells out. Nothing here changes the state.

mod actions;
mod ask;
mod bottom;
mod create;
mod detail;
mod files;
mod first_run;
mod header;
pub mod help;
mod home;
mod jobs;
mod note;
pub mod palette;
mod projects;
mod share_form;
mod shares;
mod snapshots;
mod terminals;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::app::{App, Link, Overlay, SMALLEST, View};
use super::term::CursorShape;
use super::theme::Role;
use super::widgets::text;

/// Where the cursor is shown, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Column from 0.
    pub x: u16,
    /// Row from 0.
    pub y: u16,
    /// Its shape.
    pub shape: CursorShape,
}

impl Cursor {
    fn at(x: u16, y: u16) -> Self {
        Self { x, y, shape: CursorShape::default() }
    }
}

/// Draws everything; gives the cursor, if it is shown.
pub fn draw(app: &App, buffer: &mut Buffer) -> Option<Cursor> {
    let area = buffer.area;
    if app.too_small() {
        let line = format!("cowl needs {}x{} (q leaves)", SMALLEST.0, SMALLEST.1);
        text::put(buffer, 0, 0, area.width, &line, app.theme.style(Role::Text));
        return None;
    }
    let mut cursor = None;
    if app.in_terminals() {
        cursor = terminals::draw(app, buffer, area);
    } else {
        let bottom = bottom::height(app);
        let body = Rect { y: 2, height: area.height.saturating_sub(2 + bottom), ..area };
        header::draw(app, buffer, Rect { height: 1, ..area });
        header::breadcrumb(app, buffer, Rect { y: 1, height: 1, ..area });
        match app.view() {
            View::Projects(list) => projects::draw(app, list, buffer, body),
            View::Home => home::draw(app, buffer, body),
            View::Snapshots(river) => snapshots::draw(app, river, buffer, body),
            View::Files(files) => files::draw(app, files, buffer, body),
            View::Shares(view) => shares::draw(app, view, buffer, body),
            View::Terminals => {}
        }
        if matches!(app.link, Link::Lost { .. }) {
            buffer.set_style(Rect { y: 1, height: area.height - 1, ..area }, app.theme.style(Role::Stale));
        }
        bottom::draw(app, buffer, area);
    }
    match &app.overlay {
        None => cursor,
        Some(overlay) => draw_overlay(app, overlay, buffer, area),
    }
}

fn draw_overlay(app: &App, overlay: &Overlay, buffer: &mut Buffer, area: Rect) -> Option<Cursor> {
    match overlay {
        Overlay::Help { filter, list, mode } => {
            #[cfg(debug_assertions)]
            crate::fault::strike("draw");
            help::draw(app, filter, list, *mode, buffer, area)
        }
        Overlay::Palette { query, list } => palette::draw(app, query, list, buffer, area),
        Overlay::Create(form) => create::draw(app, form, buffer, area),
        Overlay::CreateShare(form) => share_form::draw(app, form, buffer, area),
        Overlay::Actions(mode) => actions::draw(app, *mode, buffer, area),
        Overlay::Ask(question) => ask::draw(app, question, buffer, area),
        Overlay::Jobs(list) => jobs::draw(app, list, buffer, area),
        Overlay::Note(lines) => note::draw(app, lines, buffer, area),
    }
}

/// Clears the lowest rows for a sheet with a titled rule on top; gives what is inside, with the
/// last row left for hints.
fn sheet(app: &App, title: &str, rows: u16, buffer: &mut Buffer, area: Rect) -> Rect {
    let height = (rows + 2).min(area.height.saturating_sub(1));
    let sheet = Rect { y: area.bottom() - height, height, ..area };
    text::wipe(buffer, sheet);
    text::rule(buffer, Rect { height: 1, ..sheet }, app.theme.style(Role::Rule));
    text::put(
        buffer,
        sheet.x + 2,
        sheet.y,
        sheet.width.saturating_sub(4),
        &format!(" {title} "),
        app.theme.style(Role::Title),
    );
    Rect { x: sheet.x + 1, y: sheet.y + 1, width: sheet.width.saturating_sub(2), height: height.saturating_sub(2) }
}

/// Writes `key text   key text …` as far as it fits.
fn key_line(app: &App, buffer: &mut Buffer, x: u16, y: u16, width: u16, pairs: &[(String, &str)]) {
    let end = x + width;
    let mut at = x;
    for (key, what) in pairs {
        let needed = text::width(key) + 1 + text::width(what);
        if at + needed > end {
            break;
        }
        at = text::put(buffer, at, y, end - at, key, app.theme.style(Role::Key));
        at = text::put(buffer, at, y, end - at, &format!(" {what}"), app.theme.style(Role::KeyText));
        at += 3;
    }
}
