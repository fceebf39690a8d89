//! The form for a new container, checked as it is typed.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Cursor, key_line, sheet};
use crate::app::{App, CreateForm, Field};
use crate::theme::Role;
use crate::widgets::text;

/// Draws the form; gives the cursor in the name.
pub fn draw(app: &App, form: &CreateForm, buffer: &mut Buffer, area: Rect) -> Option<Cursor> {
    let inner = sheet(app, "new container", 5, buffer, area);
    let theme = &app.theme;
    let label = |buffer: &mut Buffer, row: u16, field: Field, word: &str| {
        let role = if form.field == field { Role::Prompt } else { Role::Dim };
        let mark = if form.field == field { "▌" } else { " " };
        text::put(buffer, inner.x, inner.y + row, 1, mark, theme.style(Role::Accent));
        text::put(buffer, inner.x + 2, inner.y + row, 9, word, theme.style(role));
    };
    let x = inner.x + 12;
    let width = inner.width.saturating_sub(12);
    label(buffer, 0, Field::Name, "name");
    let column = form.name.draw(buffer, x, inner.y, width, theme.style(Role::Text));
    label(buffer, 1, Field::Tier, "image");
    choice(app, buffer, x, inner.y + 1, width, form.field == Field::Tier, form.tier.chosen().map(|c| c.1.as_str()));
    label(buffer, 2, Field::Project, "project");
    let project = form.project.chosen().map(|c| c.1.as_str());
    choice(app, buffer, x, inner.y + 2, width, form.field == Field::Project, project);

    let typed = !form.name.is_empty();
    let verdict = match (form.refused.clone(), form.complaint(&app.world)) {
        (Some(refused), Some(_)) => Some((refused, Role::Danger)),
        (_, Some(complaint)) if typed => Some((format!("name {complaint}"), Role::Warning)),
        (_, None) => {
            let host = cowl_api::names::hostname(&form.name.text());
            Some((format!("✓ its host name will be {host}"), Role::Good))
        }
        _ => Some(("3 to 100 letters, digits, - and _".into(), Role::Dim)),
    };
    if let Some((line, role)) = verdict {
        text::put(buffer, x, inner.y + 4, width, &line, theme.style(role));
    }
    let hints =
        [("⏎", "create"), ("Tab", "next field"), ("← →", "choose"), ("Esc", "cancel")].map(|(k, t)| (k.into(), t));
    key_line(app, buffer, inner.x, inner.bottom(), inner.width, &hints);
    (form.field == Field::Name).then(|| Cursor::at(column, inner.y))
}

/// Draws a field in which one of several is chosen.
pub(super) fn choice(app: &App, buffer: &mut Buffer, x: u16, y: u16, width: u16, focused: bool, label: Option<&str>) {
    let label = label.unwrap_or("–");
    let shown = if focused { format!("‹ {label} ›") } else { label.to_owned() };
    text::put(buffer, x, y, width, &shown, app.theme.style(Role::Text));
}
