//! The projects; the first row stands for all of them.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::App;
use crate::theme::Role;
use crate::widgets::figures;
use crate::widgets::list::ListState;
use crate::widgets::table::{self, Column, Row, Width};
use cowl_api::ContainerState;

/// Draws the list.
pub fn draw(app: &App, list: &ListState, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let mut columns = vec![Column::left("PROJECT", Width::Rest), Column::right("CONTAINERS", 10)];
    if area.width >= 60 {
        columns.extend([Column::right("RUNNING", 7), Column::right("CREATED", 9)]);
    }
    table::draw(buffer, area, theme, &columns, list, app.world.projects.len() + 1, |i| {
        let project = i.checked_sub(1).and_then(|i| app.world.projects.get(i));
        let mine = app.world.containers.iter().filter(|c| project.is_none_or(|p| p.id == c.project_id));
        let running = mine.clone().filter(|c| c.status == ContainerState::Running).count();
        let name = project.map_or("all projects", |p| p.alias.as_str());
        let created = project.map_or_else(|| "–".into(), |p| figures::ago(&p.created_at, app.now));
        let text = |s: String, role| vec![(s, theme.style(role))];
        Row {
            cells: vec![
                text(name.into(), Role::Text),
                text(mine.count().to_string(), Role::Text),
                text(running.to_string(), Role::Running),
                text(created, Role::Dim),
            ],
            ..Row::default()
        }
    });
}
