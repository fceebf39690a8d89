//! The river of time: now on top, points of the past below, newest first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::home::state;
use crate::app::{App, River};
use crate::theme::Role;
use crate::widgets::table::{self, Column, Row, Width};
use crate::widgets::{figures, text};
use cowl_api::Snapshot;

/// Draws the river.
pub fn draw(app: &App, river: &River, buffer: &mut Buffer, area: Rect) {
    let mut columns = vec![Column::left("WHEN", Width::Fixed(9)), Column::left("POINT", Width::Rest)];
    if area.width >= 60 {
        columns.extend([Column::left("BY", Width::Fixed(14)), Column::right("SIZE", 7)]);
    }
    if area.width >= 100 {
        columns.extend([Column::right("EXPIRES", 12), Column::left("NAME", Width::Fixed(26))]);
    }
    let waiting = river.points.is_none();
    let list = Rect { height: area.height.saturating_sub(2), ..area };
    table::draw(buffer, list, &app.theme, &columns, &river.list, river.len(), |i| {
        let point = i.checked_sub(1).and_then(|i| river.points.as_ref()?.get(i));
        point.map_or_else(|| now(app, river), |p| row(app, p))
    });
    let y = (list.y + 1 + u16::try_from(river.len()).unwrap_or(u16::MAX)).min(list.bottom());
    let line = match (&river.error, waiting, river.len()) {
        (Some(error), _, _) => Some((error.clone(), Role::Danger)),
        (None, true, _) => Some(("asking for the snapshots …".into(), Role::Dim)),
        (None, false, 1) => Some(("no snapshots yet: s takes the first".into(), Role::Text)),
        _ => None,
    };
    if let Some((line, role)) = line {
        text::put(buffer, area.x + 3, y + 1, area.width.saturating_sub(4), &line, app.theme.style(role));
    }
}

fn now(app: &App, river: &River) -> Row {
    let word = app.world.container(river.container).map(|c| state(app, c));
    let (role, word) = word.unwrap_or((Role::Dim, "gone".into()));
    Row {
        cells: vec![
            vec![("now".into(), app.theme.style(Role::Header))],
            vec![(format!("● {word}"), app.theme.style(role))],
        ],
        ..Row::default()
    }
}

fn row(app: &App, s: &Snapshot) -> Row {
    let theme = &app.theme;
    let by = match s.kind.as_str() {
        "safety" => "before restore",
        "user" | "" => "you",
        other => other,
    };
    let expires = s.expires_at.as_ref().and_then(|at| figures::seconds_since(at, app.now));
    let expires = expires.map_or_else(|| "never".into(), |s| format!("in {}", figures::span(-s)));
    let point = match &s.alias {
        Some(alias) => (format!("○ {alias}"), theme.style(Role::Text)),
        None => (format!("○ {}", s.name), theme.style(Role::Dim)),
    };
    // 0 means that it has not been counted yet.
    let size = if s.size == 0 { "–".into() } else { figures::bytes(s.size) };
    Row {
        cells: vec![
            vec![(figures::ago(&s.created_at, app.now), theme.style(Role::Text))],
            vec![point],
            vec![(by.into(), theme.style(Role::Dim))],
            vec![(size, theme.style(Role::Text))],
            vec![(expires, theme.style(Role::Dim))],
            vec![(s.name.clone(), theme.style(Role::Dim))],
        ],
        ..Row::default()
    }
}
