//! The form for a new share, checked as it is typed.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::create::choice;
use super::{Cursor, key_line, sheet};
use crate::app::{App, ShareField, ShareForm, ShareTarget};
use crate::theme::Role;
use crate::widgets::text;

/// Draws the form; gives the cursor in the line that is typed.
pub fn draw(app: &App, form: &ShareForm, buffer: &mut Buffer, area: Rect) -> Option<Cursor> {
    let inner = sheet(app, &format!("share a directory of {}", form.name), 7, buffer, area);
    let theme = &app.theme;
    let (x, width) = (inner.x + 12, inner.width.saturating_sub(12));
    let mut cursor = None;
    for (y, field) in (inner.y..inner.bottom()).zip(ShareField::ALL) {
        let here = form.field == field;
        let (mark, role) = if here { ("▌", Role::Prompt) } else { (" ", Role::Dim) };
        text::put(buffer, inner.x, y, 1, mark, theme.style(Role::Accent));
        text::put(buffer, inner.x + 2, y, 9, field.word(), theme.style(role));
        let input = match field {
            ShareField::Path => &form.path,
            ShareField::Alias => &form.alias,
            ShareField::Expires => &form.expires,
            ShareField::Target => {
                choice(app, buffer, x, y, width, here, form.target.chosen().map(|c| c.1.as_str()));
                continue;
            }
            ShareField::Mode => {
                choice(app, buffer, x, y, width, here, form.mode.chosen().map(|c| c.1.as_str()));
                continue;
            }
        };
        let column = input.draw(buffer, x, y, width, theme.style(Role::Text));
        if here {
            cursor = Some(Cursor::at(column, y));
        }
    }
    let (line, role) = verdict(form);
    let lines = super::first_run::wrap(&line, usize::from(inner.width.saturating_sub(2)));
    for (y, line) in (inner.y + 5..inner.bottom()).zip(&lines) {
        text::put(buffer, inner.x + 2, y, inner.width.saturating_sub(2), line, theme.style(role));
    }
    let hints =
        [("⏎", "share"), ("Tab", "next field"), ("← →", "choose"), ("Esc", "cancel")].map(|(k, t)| (k.into(), t));
    key_line(app, buffer, inner.x, inner.bottom(), inner.width, &hints);
    cursor
}

fn verdict(form: &ShareForm) -> (String, Role) {
    match (&form.refused, form.body()) {
        (Some(refused), Err(_)) => (refused.clone(), Role::Danger),
        (_, Err((ShareField::Path, _))) if form.path.is_empty() => {
            ("a directory, by its absolute path; name and end may stay empty".into(), Role::Dim)
        }
        (_, Err((field, why))) => (format!("{} {why}", field.word()), Role::Warning),
        (_, Ok(body)) => {
            let place = body.alias.unwrap_or_else(|| "ID".into());
            let whom = form.target.chosen().map_or("", |c| c.1.as_str());
            let accepts = match form.target.chosen() {
                Some((ShareTarget::Container(_), _)) => " once it accepts",
                _ => "",
            };
            (format!("✓ {whom} will see it at /hoody/shares/{place}{accepts}"), Role::Good)
        }
    }
}
