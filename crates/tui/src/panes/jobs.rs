//! Work running and done.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Cursor, key_line, sheet};
use crate::app::{App, JobState};
use crate::theme::Role;
use crate::widgets::list::ListState;
use crate::widgets::{figures, text};

/// Draws the list.
pub fn draw(app: &App, list: &ListState, buffer: &mut Buffer, area: Rect) -> Option<Cursor> {
    let rows = u16::try_from(app.jobs.len().clamp(1, 12)).unwrap_or(12);
    let inner = sheet(app, "jobs", rows, buffer, area);
    if app.jobs.len() == 0 {
        text::put(buffer, inner.x + 1, inner.y, inner.width, "nothing was asked for yet", app.theme.style(Role::Dim));
    }
    let window = list.window(app.jobs.len(), usize::from(inner.height));
    for (line, job) in app.jobs.newest_first().skip(window.start).take(window.len()).enumerate() {
        let y = inner.y + u16::try_from(line).unwrap_or(0);
        let seconds = |end: jiff::Timestamp| (end.as_millisecond() - job.started.as_millisecond()) as f64 / 1000.0;
        let (sign, role, more) = match &job.state {
            JobState::Running => ("…", Role::Busy, figures::span(seconds(app.now) as i64)),
            JobState::Done => ("✓", Role::Good, format!("{:.1} s", seconds(job.ended.unwrap_or(app.now)))),
            JobState::Failed(reason) => ("✗", Role::Danger, reason.clone()),
        };
        let selected = window.start + line == list.selected;
        let label = if selected { Role::Header } else { Role::Text };
        let pieces = [
            (format!("{sign} "), app.theme.style(role)),
            (job.label.clone(), app.theme.style(label)),
            (format!("   {more}"), app.theme.style(if role == Role::Danger { role } else { Role::Dim })),
        ];
        text::put_pieces(buffer, inner.x + 1, y, inner.width.saturating_sub(1), &pieces);
    }
    key_line(app, buffer, inner.x, inner.bottom(), inner.width, &[("Esc".into(), "back")]);
    None
}
