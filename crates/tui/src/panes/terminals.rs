//! Terminals: full screen for the programs inside, one line of tabs below.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Cursor, key_line};
use crate::app::{App, Link, PaneId, PaneState, STATUS_LINE};
use crate::keymap::{Command, Mode, chord_label};
use crate::term;
use crate::theme::Role;
use crate::widgets::text;

/// Draws the tab and the line below; gives the focused program's cursor.
pub fn draw(app: &App, buffer: &mut Buffer, area: Rect) -> Option<Cursor> {
    let inner = app.terminal_area().intersection(area);
    let tab = app.terminals.tab()?;
    let placed = tab.place(inner);
    let mut cursor = None;
    for (id, rect) in &placed.panes {
        let shown = draw_pane(app, *id, buffer, *rect);
        if *id == tab.focus {
            cursor = shown;
        }
    }
    for rule in &placed.rules {
        let symbol = if rule.width == 1 && rule.height != 1 { "│" } else { "─" };
        for y in rule.top()..rule.bottom() {
            for x in rule.left()..rule.right() {
                text::put(buffer, x, y, 1, symbol, app.theme.style(Role::Rule));
            }
        }
    }
    let line = Rect { y: area.bottom() - STATUS_LINE, height: STATUS_LINE, ..area };
    text::wipe(buffer, line);
    if app.leader {
        leader_line(app, buffer, line);
    } else if let Some(notice) = app.shown_notice() {
        let role = if notice.failed { Role::Danger } else { Role::Good };
        text::put(buffer, 1, line.y, line.width.saturating_sub(2), &notice.text, app.theme.style(role));
    } else {
        status_line(app, buffer, line);
    }
    cursor
}

fn draw_pane(app: &App, id: PaneId, buffer: &mut Buffer, area: Rect) -> Option<Cursor> {
    let pane = app.terminals.panes.get(&id)?;
    if area.is_empty() {
        return None;
    }
    term::draw(&pane.term, area, buffer, app.theme.depth);
    let told = match &pane.state {
        PaneState::Open(_) => None,
        PaneState::Connecting => Some(format!("attaching to {} …", pane.name)),
        PaneState::Lost(reason) => Some(format!("not attached: {reason}; Enter tries again")),
    };
    if let Some(told) = told {
        buffer.set_style(area, app.theme.style(Role::Stale));
        text::wipe(buffer, Rect { height: 1, ..area });
        text::put(buffer, area.x, area.y, area.width, &told, app.theme.style(Role::Warning));
        return None;
    }
    let screen = pane.term.screen();
    if pane.term.scrolled() > 0 {
        let note = format!(" {} lines back ", pane.term.scrolled());
        text::put_right(buffer, area.right(), area.y, area.width, &note, app.theme.style(Role::Match));
        return None;
    }
    let (row, column) = screen.cursor_position();
    let visible = !screen.hide_cursor() && row < area.height && column < area.width;
    visible.then(|| Cursor { x: area.x + column, y: area.y + row, shape: pane.term.cursor_shape() })
}

fn leader_line(app: &App, buffer: &mut Buffer, line: Rect) {
    let mut pairs = Vec::new();
    let mut told = Vec::new();
    for (keys, command) in app.keymap.trie(Mode::Leader).continuations(&app.chord) {
        if !told.contains(&command) {
            told.push(command);
            pairs.push((chord_label(&keys), command.hint()));
        }
    }
    let width = line.width.saturating_sub(2);
    let mut rows: Vec<Vec<(String, &str)>> = vec![Vec::new()];
    let mut used = 0;
    for (key, what) in pairs {
        let needed = text::width(&key) + text::width(what) + 4;
        if used + needed > width + 3 {
            rows.push(Vec::new());
            used = 0;
        }
        used += needed;
        if let Some(row) = rows.last_mut() {
            row.push((key, what));
        }
    }
    for (y, row) in (0..=line.y).rev().zip(rows.iter().rev()) {
        text::wipe(buffer, Rect { y, height: 1, ..line });
        key_line(app, buffer, 1, y, width, row);
    }
}

fn status_line(app: &App, buffer: &mut Buffer, line: Rect) {
    let theme = &app.theme;
    let right = right_side(app);
    let end = line.right().saturating_sub(text::width(&right) + 2);
    let role = if matches!(app.link, Link::Lost { .. }) { Role::Warning } else { Role::Dim };
    text::put_right(buffer, line.right() - 1, line.y, line.width, &right, theme.style(role));
    let mut x = 1;
    for (i, tab) in app.terminals.tabs.iter().enumerate() {
        let current = i == app.terminals.current;
        let Some(pane) = app.terminals.panes.get(&tab.focus) else { continue };
        let panes = tab.layout.panes();
        let news = panes.iter().any(|p| app.terminals.panes.get(p).is_some_and(|p| p.activity));
        let mut label = format!("{}:{}", pane.name, pane.session.session);
        if current && !pane.title.is_empty() {
            label = format!("{label}  {}", text::cut(&pane.title, 24));
        }
        if panes.len() > 1 {
            label = format!("{label} [{}{}]", panes.len(), if tab.zoom { " zoomed" } else { "" });
        }
        if news {
            label.push_str(" ●");
        }
        if x >= end {
            break;
        }
        x = text::put(
            buffer,
            x,
            line.y,
            end - x,
            &label,
            theme.style(if current { Role::TabActive } else { Role::Tab }),
        ) + 3;
    }
}

fn right_side(app: &App) -> String {
    if let Link::Lost { retry, .. } = &app.link {
        return format!("reconnecting {} s …", (retry.as_second() - app.now.as_second()).max(0));
    }
    if app.terminals.scrolling {
        return "scrolled back: PgUp PgDn move, q ends".into();
    }
    let leaders: Vec<String> = app
        .keymap
        .trie(Mode::Terminal)
        .chords()
        .into_iter()
        .filter(|(_, c)| *c == Command::Leader)
        .map(|(keys, _)| chord_label(&keys))
        .collect();
    let first_time = app.terminals.hint_until.is_some_and(|until| until > app.now);
    if first_time {
        let back = app.keymap.label(Mode::Leader, Command::Detach).unwrap_or_default();
        return format!("{} is the leader, then {back} goes back", leaders.join(" or "));
    }
    leaders.first().map(|l| format!("{l} leader")).unwrap_or_default()
}
