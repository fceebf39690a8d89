//! What a container lends and is lent: the list, and lines for the detail of the selection.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::{App, ShareLine, Shares, SharesView};
use crate::keymap::Command;
use crate::theme::Role;
use crate::widgets::table::{self, Column, Row, Width};
use crate::widgets::{figures, text};
use cowl_api::share::{Share, ShareMode};
use cowl_api::{Container, ContainerId};

/// Most lines of shares in the detail of the selection.
const DETAIL_MAX: usize = 3;

/// Draws the list.
pub fn draw(app: &App, view: &SharesView, buffer: &mut Buffer, area: Rect) {
    let mut columns = vec![Column::left("WITH", Width::Fixed(if area.width >= 60 { 22 } else { 12 }))];
    columns.push(Column::left("PATH", Width::Rest));
    if area.width >= 60 {
        columns.push(Column::left("MODE", Width::Fixed(10)));
    }
    columns.push(Column::left("STATE", Width::Fixed(9)));
    if area.width >= 60 {
        columns.push(Column::right("ENDS", 8));
    }
    if area.width >= 100 {
        columns.push(Column::left("NAME", Width::Fixed(26)));
    }
    let known = app.shares.of(view.container);
    let nothing = Shares::default();
    let shares = known.and_then(Result::ok).unwrap_or(&nothing);
    let lines: Vec<ShareLine<'_>> = shares.lines().collect();
    let list = Rect { height: area.height.saturating_sub(2), ..area };
    table::draw(buffer, list, &app.theme, &columns, &view.list, lines.len(), |i| {
        lines.get(i).map(|line| row(app, *line, area.width)).unwrap_or_default()
    });
    let key = app.keymap.label(app.mode(), Command::NewShare).unwrap_or_default();
    let message = match known {
        None => Some(("asking for the shares …".into(), Role::Dim)),
        Some(Err(error)) => Some((error.to_owned(), Role::Danger)),
        Some(Ok(shares)) if shares.len() == 0 => {
            Some((format!("nothing is shared with or by {}: {key} shares a directory", view.name), Role::Text))
        }
        Some(Ok(_)) => None,
    };
    let width = area.width.saturating_sub(4);
    if let Some((line, role)) = message {
        let lines = super::first_run::wrap(&line, usize::from(width));
        for (y, line) in (area.y + 2..area.bottom()).zip(&lines) {
            text::put(buffer, area.x + 3, y, width, line, app.theme.style(role));
        }
    } else if let Some(line) = app.share().filter(|_| area.height >= 4) {
        let rule = Rect { x: 1, y: list.bottom(), width: area.width.saturating_sub(2), height: 1 };
        text::rule(buffer, rule, app.theme.style(Role::Rule));
        let (line, role) = explained(line.share());
        text::put(buffer, 1, list.bottom() + 1, area.width.saturating_sub(2), &line, app.theme.style(role));
    }
}

/// Where it is seen, or why it is not.
fn explained(share: &Share) -> (String, Role) {
    if let Some(reason) = &share.status_message {
        return (reason.clone(), Role::Failed);
    }
    let description = share.description.as_ref().and_then(|d| d.lines().next()).map(|d| format!("   {d}"));
    let line = format!("seen at /hoody/shares/{}{}", share.directory(), description.unwrap_or_default());
    (line, Role::Dim)
}

/// Lines about shares that the detail of a container has.
pub fn detail_rows(app: &App, c: &Container) -> u16 {
    let len = app.shares.of(c.id).and_then(Result::ok).map_or(0, Shares::len);
    u16::try_from(len.min(DETAIL_MAX)).unwrap_or(0)
}

/// Draws those lines; the last one tells how many more there are.
pub fn detail(app: &App, c: &Container, buffer: &mut Buffer, area: Rect) {
    let Some(Ok(shares)) = app.shares.of(c.id) else { return };
    let rows = usize::from(area.height);
    let width = area.width.saturating_sub(2);
    for (y, (i, line)) in (area.y..area.bottom()).zip(shares.lines().enumerate()) {
        if i + 1 == rows && shares.len() > rows {
            let key = app.keymap.label(app.mode(), Command::Shares).unwrap_or_default();
            let more = format!("and {} more shares ({key})", shares.len() - i);
            text::put(buffer, 1, y, width, &more, app.theme.style(Role::Dim));
            continue;
        }
        let (state, role) = state(line);
        let end = ends(app, line.share()).map(|left| format!("  ends in {left}")).unwrap_or_default();
        let pieces = [
            (format!("{}  ", whom(app, line)), app.theme.style(Role::Text)),
            (format!("{}  ", line.share().source_path), app.theme.style(Role::Text)),
            (format!("{}  ", mode(line.share())), app.theme.style(Role::Dim)),
            (state.to_owned(), app.theme.style(role)),
            (end, app.theme.style(Role::Dim)),
        ];
        text::put_pieces(buffer, 1, y, width, &pieces);
    }
}

fn row(app: &App, line: ShareLine<'_>, width: u16) -> Row {
    let theme = &app.theme;
    let share = line.share();
    let (state, role) = state(line);
    let mut cells = vec![
        vec![(whom(app, line), theme.style(Role::Text))],
        vec![(share.source_path.clone(), theme.style(Role::Text))],
    ];
    if width >= 60 {
        cells.push(vec![(mode(share).to_owned(), theme.style(Role::Text))]);
    }
    cells.push(vec![(state.to_owned(), theme.style(role))]);
    if width >= 60 {
        cells.push(vec![(ends(app, share).unwrap_or_else(|| "never".into()), theme.style(Role::Dim))]);
    }
    if width >= 100 {
        cells.push(vec![(share.directory().to_owned(), theme.style(Role::Dim))]);
    }
    Row { cells, ..Row::default() }
}

/// `→ web` for what is lent, `← web` for what is borrowed.
fn whom(app: &App, line: ShareLine<'_>) -> String {
    let container = |id: ContainerId| app.name_of(id);
    match line {
        ShareLine::In(incoming) => format!("← {}", container(incoming.share.source_container_id)),
        ShareLine::Out(share) => match (share.target_container_id, share.target_project_id) {
            (Some(id), _) => format!("→ {}", container(id)),
            (None, Some(id)) => {
                let alias = app.world.project(id).map_or_else(|| id.to_string(), |p| p.alias.clone());
                format!("→ project {alias}")
            }
            (None, None) => "→ nobody".into(),
        },
    }
}

fn mode(share: &Share) -> &'static str {
    match share.mode {
        ShareMode::Readonly => "read-only",
        ShareMode::Readwrite => "read-write",
    }
}

fn state(line: ShareLine<'_>) -> (&'static str, Role) {
    let share = line.share();
    match line {
        _ if !share.enabled => ("held back", Role::Stopped),
        ShareLine::In(incoming) if !incoming.mount => ("offered", Role::Warning),
        _ if share.status == "failed" => ("failed", Role::Failed),
        ShareLine::In(_) => ("accepted", Role::Running),
        ShareLine::Out(_) => ("active", Role::Running),
    }
}

/// How long it still lives, if it ends.
fn ends(app: &App, share: &Share) -> Option<String> {
    let left = i64::try_from(share.expires_at?).unwrap_or(i64::MAX).saturating_sub(app.now.as_second());
    Some(figures::span(left))
}
