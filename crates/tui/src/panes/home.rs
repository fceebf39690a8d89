//! The containers: one row each, as many columns as fit, the selection told in full below.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{detail, first_run, shares};
use crate::app::App;
use crate::theme::{Role, Theme};
use crate::widgets::table::{self, Column, Row, Width};
use crate::widgets::text::Piece;
use crate::widgets::{figures, text};
use cowl_api::{Container, ContainerState};

/// Columns, by what they show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    Name,
    Project,
    State,
    Up,
    Cpu,
    Graph(u16),
    Memory,
    Down,
    Upload,
    Tasks,
    Snapshots,
    Terminals,
    Address,
}

/// Draws the list and the detail.
pub fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    if !app.world.loaded {
        text::put(buffer, 3, area.y + 1, area.width.saturating_sub(4), "asking the node …", app.theme.style(Role::Dim));
        return;
    }
    if app.world.containers.is_empty() && app.world.unready_image().is_some() {
        first_run::draw(app, buffer, area);
        return;
    }
    if app.home.rows.is_empty() {
        empty(app, buffer, area);
        return;
    }
    let detail_rows = match (area.width, area.height) {
        (_, 0..9) => 0,
        (0..60, _) => 2,
        (60..100, _) => 3,
        _ => 4,
    };
    let selected = app.home.selected(&app.world);
    // Of a low screen the list keeps most.
    let share_rows = selected.filter(|_| area.height >= 15).map_or(0, |c| shares::detail_rows(app, c));
    let list = Rect { height: area.height - detail_rows - share_rows, ..area };
    draw_list(app, buffer, list);
    if detail_rows > 0 {
        let below = Rect { y: list.bottom(), height: detail_rows, ..area };
        if let Some(container) = selected {
            detail::draw(app, container, buffer, below);
            shares::detail(app, container, buffer, Rect { y: below.bottom(), height: share_rows, ..area });
        }
    }
}

fn empty(app: &App, buffer: &mut Buffer, area: Rect) {
    let line = if app.home.filter.is_empty() {
        let key = app.keymap.label(app.mode(), crate::keymap::Command::New).unwrap_or_else(|| "n".into());
        format!("no containers here yet: {key} makes the first computer")
    } else {
        format!("no container matches {:?}: Esc shows all", app.home.filter)
    };
    let lines = first_run::wrap(&line, usize::from(area.width.saturating_sub(4)));
    for (y, line) in (area.y + 1..area.bottom()).zip(&lines) {
        text::put(buffer, 3, y, area.width.saturating_sub(4), line, app.theme.style(Role::Text));
    }
}

fn columns(app: &App, width: u16) -> Vec<Show> {
    let mut out = vec![Show::Name];
    if app.home.project.is_none() && width >= 100 && app.world.projects.len() > 1 {
        out.push(Show::Project);
    }
    out.push(Show::State);
    if width >= 100 {
        out.push(Show::Up);
    }
    if width >= 60 {
        out.push(Show::Cpu);
        if width >= 100 {
            out.push(Show::Graph(if width >= 160 { 24 } else { 6 }));
        }
        out.push(Show::Memory);
        if width >= 110 {
            out.extend([Show::Down, Show::Upload]);
        }
        if width >= 160 {
            out.push(Show::Tasks);
        }
        out.push(Show::Snapshots);
    }
    if width >= 100 {
        out.push(Show::Terminals);
    }
    if width >= 160 {
        out.push(Show::Address);
    }
    out
}

fn column(show: Show) -> Column {
    match show {
        Show::Name => Column::left("NAME", Width::Rest),
        Show::Project => Column::left("PROJECT", Width::Fixed(12)),
        Show::State => Column::left("STATE", Width::Fixed(10)),
        Show::Up => Column::right("UP", 7),
        Show::Cpu => Column::right("CPU", 5),
        Show::Graph(w) => Column::left("", Width::Fixed(w)),
        Show::Memory => Column::right("MEM", 6),
        Show::Down => Column::right("NET ↓", 6),
        Show::Upload => Column::right("NET ↑", 6),
        Show::Tasks => Column::right("TASKS", 5),
        Show::Snapshots => Column::right("SNAPSHOTS", 12),
        Show::Terminals => Column::left("TERMINALS", Width::Fixed(9)),
        Show::Address => Column::left("ADDRESS", Width::Fixed(15)),
    }
}

fn draw_list(app: &App, buffer: &mut Buffer, area: Rect) {
    let shows = columns(app, area.width);
    let columns: Vec<Column> = shows.iter().map(|s| column(*s)).collect();
    table::draw(buffer, area, &app.theme, &columns, &app.home.list, app.home.rows.len(), |i| {
        let Some(c) = app.home.rows.get(i).and_then(|id| app.world.container(*id)) else { return Row::default() };
        Row {
            cells: shows.iter().map(|s| cell(app, c, *s)).collect(),
            marked: app.home.marked.contains(&c.id),
            flash: app.world.glows(c.id, app.now),
        }
    });
}

/// The style and the word of a container's state; what is being done to it goes before.
pub fn state(app: &App, c: &Container) -> (Role, String) {
    if let Some(verb) = app.jobs.verb(c.id) {
        return (Role::Busy, verb.into());
    }
    let role = match c.status {
        ContainerState::Running => Role::Running,
        ContainerState::Paused => Role::Paused,
        ContainerState::Asleep => Role::Asleep,
        ContainerState::Failed => Role::Failed,
        ContainerState::Creating | ContainerState::Copying | ContainerState::Deleting => Role::Busy,
        ContainerState::Stopped | ContainerState::Deleted => Role::Stopped,
    };
    (role, c.status.as_str().into())
}

/// Low, middling or high, as a share of one core.
pub fn graph_role(cpu: f64) -> Role {
    match cpu {
        c if c >= 90.0 => Role::GraphHigh,
        c if c >= 50.0 => Role::GraphMid,
        _ => Role::GraphLow,
    }
}

fn one(text: impl Into<String>, theme: &Theme, role: Role) -> Vec<Piece> {
    vec![(text.into(), theme.style(role))]
}

fn cell(app: &App, c: &Container, show: Show) -> Vec<Piece> {
    let theme = &app.theme;
    let live = app.world.live(c.id).filter(|_| c.status == ContainerState::Running);
    let dash = || one("–", theme, Role::Dim);
    match show {
        Show::Name => {
            let mut pieces = one(c.name.clone(), theme, Role::Text);
            if let Some(reason) = c.status_reason.as_ref().filter(|_| c.status == ContainerState::Failed) {
                pieces.push((format!("  {reason}"), theme.style(Role::Failed)));
            }
            pieces
        }
        Show::Project => one(c.project_alias.clone(), theme, Role::Dim),
        Show::State => {
            let (role, word) = state(app, c);
            one(word, theme, role)
        }
        Show::Up => match c.started_at.as_deref().and_then(|at| figures::seconds_since(at, app.now)) {
            Some(seconds) => one(figures::span(seconds), theme, Role::Text),
            None => dash(),
        },
        Show::Cpu => live.map_or_else(dash, |l| one(format!("{:.0}%", l.cpu), theme, Role::Text)),
        Show::Graph(width) => live.map_or_else(Vec::new, |l| {
            let graph = figures::sparkline(l.cpu_history.iter().copied(), 100.0, usize::from(width));
            one(graph, theme, graph_role(l.cpu))
        }),
        Show::Memory => live.map_or_else(dash, |l| one(figures::bytes(l.memory), theme, Role::Text)),
        Show::Down => live.map_or_else(dash, |l| one(figures::bytes(l.rx), theme, Role::Text)),
        Show::Upload => live.map_or_else(dash, |l| one(figures::bytes(l.tx), theme, Role::Text)),
        Show::Tasks => live.map_or_else(dash, |l| one(l.tasks.to_string(), theme, Role::Text)),
        Show::Snapshots if c.snapshot_count == 0 => one("0", theme, Role::Dim),
        Show::Snapshots => {
            let ago = c.last_snapshot_at.as_ref().map(|at| figures::ago(at, app.now)).unwrap_or_default();
            vec![(c.snapshot_count.to_string(), theme.style(Role::Text)), (format!("{ago:>9}"), theme.style(Role::Dim))]
        }
        Show::Terminals => match app.terminals.of(c.id) {
            (0, _) => dash(),
            (n, news) => {
                let mut pieces = one(n.to_string(), theme, Role::Text);
                if news {
                    pieces.push((" ●".into(), theme.style(Role::Accent)));
                }
                pieces
            }
        },
        Show::Address => one(c.address.clone().unwrap_or_default(), theme, Role::Dim),
    }
}
