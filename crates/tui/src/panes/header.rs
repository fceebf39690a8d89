//! The first two rows: the box, how it is, and where one is.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::{App, Link, Sort, View};
use crate::theme::Role;
use crate::widgets::{figures, text};

/// The box: name, counts, CPU, memory, pool; or that it is out of reach.
pub fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let mut x = text::put(buffer, 1, area.y, 6, "cowl", theme.style(Role::Accent)) + 2;
    if let Some(status) = &app.world.status {
        x = text::put(buffer, x, area.y, area.width / 3, &status.server_name, theme.style(Role::Header)) + 2;
    }
    match &app.link {
        Link::Connecting => {
            text::put(buffer, x, area.y, area.width - x, "asking the node …", theme.style(Role::Busy));
        }
        Link::Lost { retry, reason, .. } => {
            let left = (retry.as_second() - app.now.as_second()).max(0);
            let line = format!("reconnecting {left} s …  {reason}");
            text::put(buffer, x, area.y, area.width.saturating_sub(x), &line, theme.style(Role::Warning));
        }
        Link::Live => figures_of(app, buffer, area, x),
    }
}

fn figures_of(app: &App, buffer: &mut Buffer, area: Rect, x: u16) {
    let theme = &app.theme;
    let Some(status) = &app.world.status else { return };
    // From the right: pool, memory, CPU; then the counts in what is left.
    let host = &status.host;
    let mut right = area.right() - 1;
    let pool = status.pool.used as f64 / (status.pool.total.max(1)) as f64 * 100.0;
    let role = |share: f64| if share >= 90.0 { Role::GraphHigh } else { Role::Text };
    let memory_share = host.memory_used as f64 / host.memory_total.max(1) as f64 * 100.0;
    let mut parts = vec![("pool", format!("{pool:.0}%"), role(pool))];
    if area.width >= 60 {
        let memory = format!("{}/{}", figures::bytes(host.memory_used), figures::bytes(host.memory_total));
        parts.push(("mem", memory, role(memory_share)));
        let graph = figures::sparkline(app.world.cpu_history.iter().copied(), 100.0, 3);
        parts.push(("cpu", format!("{graph} {:.0}%", host.cpu_percent), role(host.cpu_percent)));
    }
    for (name, value, role) in parts {
        right = text::put_right(buffer, right, area.y, 24, &value, theme.style(role));
        right =
            text::put_right(buffer, right.saturating_sub(1), area.y, 8, name, theme.style(Role::Dim)).saturating_sub(3);
    }
    let order = [
        ("running", Role::Running),
        ("creating", Role::Busy),
        ("paused", Role::Paused),
        ("asleep", Role::Asleep),
        ("stopped", Role::Stopped),
        ("failed", Role::Failed),
    ];
    let mut x = x;
    for (word, role) in order {
        let n = app.world.containers.iter().filter(|c| c.status.as_str() == word).count();
        let piece = format!("{n} {word}");
        if n > 0 && x + text::width(&piece) <= right {
            x = text::put(buffer, x, area.y, right - x, &piece, theme.style(role)) + 2;
        }
    }
}

/// Where one is, and how the list is ordered.
pub fn breadcrumb(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let project = app.home.project.and_then(|id| app.world.project(id)).map_or("all projects", |p| p.alias.as_str());
    let (path, right) = match app.view() {
        View::Projects(_) => ("projects".into(), String::new()),
        View::Home => (format!("{project} › containers"), home_notes(app)),
        View::Snapshots(river) => {
            let count = river.points.as_ref().map_or(String::new(), |p| match p.len() {
                1 => "1 point".into(),
                n => format!("{n} points"),
            });
            (format!("{} › snapshots", river.name), count)
        }
        View::Files(files) => {
            let moment = files.moment.as_ref().map(|m| format!(" › {m}")).unwrap_or_default();
            let filter = if files.filter.is_empty() { String::new() } else { format!("filter {}", files.filter) };
            let path = files.preview.as_ref().map_or(&files.path, |p| &p.path);
            (format!("{}{moment} › files › {path}", files.name), filter)
        }
        View::Shares(view) => {
            let known = app.shares.of(view.container).and_then(Result::ok);
            let count = known.map_or(String::new(), |s| format!("{} out, {} in", s.outgoing.len(), s.incoming.len()));
            (format!("{} › shares", view.name), count)
        }
        View::Terminals => return,
    };
    let taken = text::width(&right);
    text::put(buffer, 1, area.y, area.width.saturating_sub(taken + 4), &path, theme.style(Role::Title));
    text::put_right(buffer, area.right() - 1, area.y, area.width / 2, &right, theme.style(Role::Dim));
}

fn home_notes(app: &App) -> String {
    let home = &app.home;
    let mut notes = Vec::new();
    if !home.filter.is_empty() {
        notes.push(format!("filter {}", home.filter));
    }
    if home.sort != Sort::default() || home.reverse {
        let arrow = if home.reverse { "↑" } else { "↓" };
        notes.push(format!("sort {} {arrow}", home.sort.word()));
    }
    if !home.marked.is_empty() {
        notes.push(format!("{} marked", home.marked.len()));
    }
    notes.join("   ")
}
