//! The keys, straight from the key map: what is shown is what works.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Cursor, key_line, sheet};
use crate::app::App;
use crate::keymap::{Command, Keymap, Mode, chord_label};
use crate::theme::Role;
use crate::widgets::input::Input;
use crate::widgets::list::ListState;
use crate::widgets::text;

/// A line of help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The heading of a mode.
    Heading(Mode),
    /// Chords, and what they do.
    Keys(String, Command),
}

/// The lines for a mode, those of the mode first; only the ones that match the filter.
pub fn lines(keymap: &Keymap, mode: Mode, filter: &str) -> Vec<Line> {
    let filter = filter.to_lowercase();
    let first: &[Mode] = match mode {
        Mode::Leader | Mode::Terminal | Mode::Copy => &[Mode::Terminal, Mode::Leader, Mode::Copy],
        Mode::Home => &[Mode::Home, Mode::Global, Mode::Actions],
        Mode::Snapshots => &[Mode::Snapshots, Mode::Global, Mode::SnapshotActions],
        Mode::Files => &[Mode::Files, Mode::Global],
        Mode::Shares => &[Mode::Shares, Mode::Global, Mode::ShareActions],
        Mode::Projects => &[Mode::Projects, Mode::Global],
        _ => &[Mode::Global],
    };
    let rest = Mode::ALL.iter().filter(|m| !first.contains(m));
    let mut out = Vec::new();
    for mode in first.iter().chain(rest) {
        let mut keys: Vec<(Command, Vec<String>)> = Vec::new();
        for (chord, command) in keymap.trie(*mode).chords() {
            let label = chord_label(&chord);
            match keys.iter_mut().find(|(c, _)| *c == command) {
                Some((_, labels)) => labels.push(label),
                None => keys.push((command, vec![label])),
            }
        }
        let lines: Vec<Line> = keys
            .into_iter()
            .map(|(command, labels)| (labels.join(" "), command))
            .filter(|(labels, command)| {
                let hay = format!("{labels} {} {} {}", command.title(), command.id(), mode.title()).to_lowercase();
                hay.contains(&filter)
            })
            .map(|(labels, command)| Line::Keys(labels, command))
            .collect();
        if !lines.is_empty() {
            out.push(Line::Heading(*mode));
            out.extend(lines);
        }
    }
    out
}

/// Draws them over nearly the whole screen.
pub fn draw(
    app: &App,
    filter: &Input,
    list: &ListState,
    mode: Mode,
    buffer: &mut Buffer,
    area: Rect,
) -> Option<Cursor> {
    let inner = sheet(app, "keys", area.height, buffer, area);
    let x = text::put(buffer, inner.x, inner.y, 2, "/", app.theme.style(Role::Prompt)) + 1;
    let column = filter.draw(buffer, x, inner.y, inner.width.saturating_sub(2), app.theme.style(Role::Text));
    let lines = lines(&app.keymap, mode, &filter.text());
    let body = Rect { y: inner.y + 1, height: inner.height.saturating_sub(1), ..inner };
    let keys = if area.width >= 60 { 22 } else { 14 };
    let height = usize::from(body.height);
    list.window(lines.len(), height);
    let first = list.selected.min(lines.len().saturating_sub(height));
    for (y, line) in (body.y..body.bottom()).zip(lines.iter().skip(first)) {
        match line {
            Line::Heading(mode) => {
                text::put(buffer, body.x, y, body.width, mode.title(), app.theme.style(Role::Title));
            }
            Line::Keys(labels, command) => {
                text::put(buffer, body.x + 2, y, keys - 3, labels, app.theme.style(Role::Key));
                let width = body.width.saturating_sub(keys);
                text::put(buffer, body.x + keys, y, width, command.title(), app.theme.style(Role::Text));
            }
        }
    }
    let hints = [("type", "filter"), ("↑↓ PgDn", "scroll"), ("Esc", "back")].map(|(k, t)| (k.into(), t));
    key_line(app, buffer, inner.x, inner.bottom(), inner.width, &hints);
    Some(Cursor::at(column, inner.y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_binding_of_the_mode_and_the_filter_narrows_it() {
        let (keymap, _) = Keymap::load(&[], None);
        let all = lines(&keymap, Mode::Home, "");
        for (_, command) in keymap.trie(Mode::Home).chords() {
            assert!(all.iter().any(|l| matches!(l, Line::Keys(_, c) if *c == command)), "{command:?}");
        }
        assert_eq!(all[0], Line::Heading(Mode::Home));
        let few = lines(&keymap, Mode::Home, "split");
        assert!(
            few.len() < all.len() && few.iter().any(|l| matches!(l, Line::Keys(_, Command::SplitRight)))
                || few.is_empty()
        );
    }
}
