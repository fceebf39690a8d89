//! The actions of the selection: one key each, none of which destroys by itself.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Cursor, key_line, sheet};
use crate::app::{App, View};
use crate::keymap::{Command, Mode, chord_label};
use crate::theme::Role;
use crate::widgets::text;
use cowl_api::ContainerState;

/// Draws the menu.
pub fn draw(app: &App, mode: Mode, buffer: &mut Buffer, area: Rect) -> Option<Cursor> {
    let chords = app.keymap.trie(mode).chords();
    let title = match app.view() {
        View::Snapshots(river) => river.point().map_or("now".into(), |p| p.alias.clone().unwrap_or(p.name.clone())),
        View::Shares(view) => app.share().map_or(view.name.clone(), |line| line.share().source_path.clone()),
        View::Home if !app.home.marked.is_empty() => format!("{} marked containers", app.home.marked.len()),
        _ => app.selected().map(|c| c.name.clone()).unwrap_or_default(),
    };
    // None may be missing: what does not fit in one column gets two, of words instead of sentences.
    let fits = chords.len() + 3 <= usize::from(area.height);
    let per_row = if area.width >= 70 || !fits { 2 } else { 1 };
    let rows = chords.len().div_ceil(per_row);
    let inner = sheet(app, &title, u16::try_from(rows).unwrap_or(u16::MAX), buffer, area);
    let state = app.selected().map(|c| c.status).filter(|_| mode == Mode::Actions);
    let column = inner.width / u16::try_from(per_row).unwrap_or(1);
    for (i, (keys, command)) in chords.iter().enumerate() {
        let (row, side) = (i % rows.max(1), i / rows.max(1));
        let y = inner.y + u16::try_from(row).unwrap_or(0);
        if y >= inner.bottom() {
            continue;
        }
        let x = inner.x + column * u16::try_from(side).unwrap_or(0);
        let possible = state.is_none_or(|s| applies(*command, s));
        let role = match (possible, command) {
            (false, _) => Role::Stale,
            (true, Command::Delete | Command::ForceStop) => Role::Danger,
            (true, _) => Role::Text,
        };
        let key = if possible { Role::Key } else { Role::Stale };
        text::put(buffer, x + 1, y, 6, &chord_label(keys), app.theme.style(key));
        let what = if column < 30 { command.hint() } else { command.title() };
        text::put(buffer, x + 8, y, column.saturating_sub(9), what, app.theme.style(role));
    }
    key_line(app, buffer, inner.x, inner.bottom(), inner.width, &[("Esc".into(), "back")]);
    None
}

/// Whether a container in this state can do it; the node has the last word.
fn applies(command: Command, state: ContainerState) -> bool {
    use ContainerState::{Asleep, Failed, Paused, Running, Stopped};
    match command {
        Command::Start => matches!(state, Stopped | Asleep | Failed),
        Command::Pause | Command::Sleep => state == Running,
        Command::Stop | Command::Restart => matches!(state, Running | Asleep),
        Command::Resume => state == Paused,
        Command::ForceStop => matches!(state, Running | Paused | Asleep),
        _ => true,
    }
}
