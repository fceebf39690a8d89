//! Questions: one line above the hints.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::first_run::wrap;
use super::{Cursor, key_line};
use crate::app::{App, Ask};
use crate::theme::Role;
use crate::widgets::{figures, text};

/// Draws the question; gives the cursor where something is typed.
pub fn draw(app: &App, ask: &Ask, buffer: &mut Buffer, area: Rect) -> Option<Cursor> {
    let (question, role) = question(app, ask);
    let width = area.width.saturating_sub(2);
    // Nothing of a question may be missing; what is typed gets at least a third of its line.
    let lines = wrap(&question, usize::from(if ask.input().is_some() { width * 2 / 3 } else { width }));
    let rows = u16::try_from(lines.len()).unwrap_or(1).min(area.height - 1);
    let y = area.bottom() - 2;
    text::wipe(buffer, Rect { y: y + 1 - rows, height: rows + 1, ..area });
    let mut x = 1;
    for (row, line) in (y + 1 - rows..=y).zip(&lines) {
        x = text::put(buffer, 1, row, width, line, app.theme.style(role));
    }
    let hints: Vec<(String, &str)> = match ask {
        Ask::Restore { .. } => vec![("y".into(), "restores"), ("any other key".into(), "does not")],
        Ask::StartFirst(_) => vec![("y ⏎".into(), "starts it"), ("any other key".into(), "does not")],
        Ask::Filter(_) => vec![("⏎".into(), "keep"), ("Esc".into(), "show all"), ("↑↓".into(), "move")],
        _ => vec![("⏎".into(), "ok"), ("Esc".into(), "cancel")],
    };
    key_line(app, buffer, 1, y + 1, width, &hints);
    let input = ask.input()?;
    x += 1;
    if let Some(complaint) = ask.complaint().filter(|_| !input.is_empty()) {
        text::put_right(buffer, area.right() - 1, y + 1, width / 2, &complaint, app.theme.style(Role::Warning));
    }
    let column = input.draw(buffer, x, y, area.right().saturating_sub(x + 1), app.theme.style(Role::Text));
    Some(Cursor::at(column, y))
}

fn question(app: &App, ask: &Ask) -> (String, Role) {
    let name = |id| app.world.container(id).map_or("it", |c| c.name.as_str());
    match ask {
        Ask::Filter(_) => ("/".into(), Role::Prompt),
        Ask::SnapshotName { containers, .. } => {
            let what = match containers.as_slice() {
                [one] => name(*one).to_owned(),
                several => format!("{} containers", several.len()),
            };
            (format!("snapshot of {what}, name (may stay empty):"), Role::Prompt)
        }
        Ask::Restore { container, snapshot } => {
            let label = snapshot.alias.as_deref().unwrap_or(&snapshot.name);
            let ago = figures::ago(&snapshot.created_at, app.now);
            let line = format!(
                "restore {} to {label} ({ago})? What was written since goes; a safety snapshot is kept, u undoes.",
                name(*container)
            );
            (line, Role::Danger)
        }
        Ask::StartFirst(id) => {
            let state = app.world.container(*id).map_or("stopped", |c| c.status.as_str());
            (format!("{} is {state}. Start it?", name(*id)), Role::Prompt)
        }
        Ask::Delete { containers, expected, .. } => match containers.as_slice() {
            [_] => (format!("delete {expected} and its snapshots? Type its name:"), Role::Danger),
            _ => (format!("delete {expected} containers and their snapshots? Type their number:"), Role::Danger),
        },
        Ask::DeleteSnapshot { expected, .. } => (format!("delete snapshot {expected}? Type its name:"), Role::Danger),
        Ask::DeleteShare { expected, .. } => {
            (format!("take {expected} away from all who see it? Type its name:"), Role::Danger)
        }
        Ask::ProjectName(_) => ("new project, name:".into(), Role::Prompt),
    }
}
