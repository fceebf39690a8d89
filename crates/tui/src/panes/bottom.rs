//! The last rows: how things went, what is being done, and the keys that matter here.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::key_line;
use crate::app::{App, Overlay, View};
use crate::keymap::{Command, chord_label};
use crate::theme::Role;
use crate::widgets::{figures, text};

/// Most rows a message may take.
const MESSAGE_MAX: usize = 4;

/// Rows taken: the hints, and a message when there is one.
pub fn height(app: &App) -> u16 {
    let rows = message(app).map_or(0, |(line, _)| wrapped(&line, app.size.0).len());
    let asks = usize::from(matches!(app.overlay, Some(Overlay::Ask(_))));
    1 + u16::try_from(rows.max(asks)).unwrap_or(1)
}

fn wrapped(line: &str, width: u16) -> Vec<String> {
    let mut lines = super::first_run::wrap(line, usize::from(width.saturating_sub(2)));
    lines.truncate(MESSAGE_MAX);
    lines
}

fn message(app: &App) -> Option<(String, Role)> {
    if let Some(notice) = app.shown_notice() {
        let role = if notice.failed { Role::Danger } else { Role::Good };
        return Some((notice.text.clone(), role));
    }
    if let Some(job) = app.jobs.shown(app.now) {
        let millis = app.now.as_millisecond() - job.started.as_millisecond();
        let frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
        let frame = frames[usize::try_from(millis / 250).unwrap_or(0) % frames.len()];
        let more = app.jobs.running().count().saturating_sub(1);
        let more = if more > 0 { format!("  and {more} more (J)") } else { String::new() };
        return Some((format!("{frame} {} … {}{more}", job.label, figures::span(millis / 1000)), Role::Busy));
    }
    // With containers on screen the image has no screen of its own; a line tells how it is.
    let image = app.world.unready_image().filter(|_| !app.world.containers.is_empty())?;
    if let Some(error) = &image.error {
        return Some((format!("image {} could not be built: {error}", image.name), Role::Danger));
    }
    let progress = image.progress.as_ref()?;
    Some((format!("building image {}: {} {:.0} %", image.name, progress.step, progress.percent), Role::Busy))
}

/// Draws them.
pub fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let y = area.bottom() - 1;
    text::wipe(buffer, Rect { y, height: 1, ..area });
    if let Some((line, role)) = message(app) {
        for (line, row) in wrapped(&line, area.width).iter().rev().zip((0..y).rev()) {
            text::wipe(buffer, Rect { y: row, height: 1, ..area });
            text::put(buffer, 1, row, area.width.saturating_sub(2), line, app.theme.style(role));
        }
    }
    hints(app, buffer, Rect { y, height: 1, ..area });
}

fn hints(app: &App, buffer: &mut Buffer, area: Rect) {
    let mode = app.mode();
    let mut pairs: Vec<(String, &str)> = Vec::new();
    if app.chord.is_empty() {
        for command in wanted(app) {
            if let Some(label) = app.keymap.label(mode, command) {
                pairs.push((label, command.hint()));
            }
        }
    } else {
        for (keys, command) in app.keymap.trie(mode).continuations(&app.chord) {
            pairs.push((chord_label(&keys), command.hint()));
        }
        let global = app.keymap.trie(crate::keymap::Mode::Global);
        for (keys, command) in global.continuations(&app.chord) {
            pairs.push((chord_label(&keys), command.hint()));
        }
    }
    // The way to all other keys is never the one that is cut off.
    let help = app.keymap.label(mode, Command::Help).map(|label| (label, Command::Help.hint()));
    let reserved = help.as_ref().map_or(0, |(l, h)| text::width(l) + text::width(h) + 4);
    let width = area.width.saturating_sub(2);
    let mut shown = Vec::new();
    let mut used = 0;
    for (key, what) in pairs {
        let needed = text::width(&key) + text::width(what) + 4;
        if used + needed + reserved > width + 3 {
            break;
        }
        used += needed;
        shown.push((key, what));
    }
    shown.extend(help);
    key_line(app, buffer, area.x + 1, area.y, width, &shown);
}

fn wanted(app: &App) -> Vec<Command> {
    match app.view() {
        View::Home if app.world.containers.is_empty() => {
            let failed = app.world.unready_image().is_some_and(|i| i.error.is_some());
            let first = if failed { Command::RetryImage } else { Command::New };
            vec![first, Command::Projects, Command::Palette, Command::Quit]
        }
        View::Home => vec![
            Command::Open,
            Command::Snapshot,
            Command::Restore,
            Command::New,
            Command::Actions,
            Command::Files,
            Command::Filter,
            Command::Palette,
            Command::Quit,
        ],
        View::Projects(_) => vec![Command::Open, Command::NewProject, Command::Back],
        View::Snapshots(_) => vec![
            Command::Snapshot,
            Command::Restore,
            Command::UndoRestore,
            Command::Files,
            Command::Actions,
            Command::Back,
        ],
        View::Files(files) if files.preview.is_some() => vec![Command::Back, Command::PageDown],
        View::Files(_) => vec![Command::Open, Command::Back, Command::Filter],
        View::Shares(_) => vec![
            Command::NewShare,
            Command::ShareMode,
            Command::AcceptShare,
            Command::RefuseShare,
            Command::Actions,
            Command::Back,
        ],
        View::Terminals => Vec::new(),
    }
}
