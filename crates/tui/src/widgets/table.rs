//! The one table all lists are drawn with: fixed columns, numbers to the right, `▌` at the selection.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::list::ListState;
use super::text::{self, Piece};
use crate::theme::{Role, Theme};

/// How wide a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// This many cells.
    Fixed(u16),
    /// What is left over, shared equally.
    Rest,
}

/// A column.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its heading.
    pub title: String,
    /// Its width.
    pub width: Width,
    /// Whether it stands to the right.
    pub right: bool,
}

impl Column {
    /// A column whose text stands to the left.
    pub fn left(title: &str, width: Width) -> Self {
        Self { title: title.into(), width, right: false }
    }

    /// A column of numbers.
    pub fn right(title: &str, width: u16) -> Self {
        Self { title: title.into(), width: Width::Fixed(width), right: true }
    }
}

/// A row: the pieces of each cell.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// One list of pieces per column.
    pub cells: Vec<Vec<Piece>>,
    /// Marked for a batch.
    pub marked: bool,
    /// Changed just now.
    pub flash: bool,
}

/// Draws heading and rows. `row` is asked only for the rows that show.
pub fn draw(
    buffer: &mut Buffer,
    area: Rect,
    theme: &Theme,
    columns: &[Column],
    list: &ListState,
    len: usize,
    mut row: impl FnMut(usize) -> Row,
) {
    if area.height == 0 {
        return;
    }
    let widths = widths(columns, area.width.saturating_sub(3));
    let heading = theme.style(Role::Column);
    place(buffer, area.x + 3, area.y, columns, &widths, |i| vec![(columns[i].title.clone(), heading)]);
    let body = Rect { y: area.y + 1, height: area.height - 1, ..area };
    for (line, index) in list.window(len, usize::from(body.height)).enumerate() {
        let y = body.y + u16::try_from(line).unwrap_or(u16::MAX);
        let mut row = row(index);
        let selected = index == list.selected;
        let base = if selected {
            theme.style(Role::Selection)
        } else if row.flash {
            theme.style(Role::Flash)
        } else {
            Style::default()
        };
        if base != Style::default() {
            buffer.set_style(Rect::new(area.x, y, area.width, 1), base);
        }
        if selected {
            text::put(buffer, area.x + 1, y, 1, "▌", theme.style(Role::Accent));
        }
        if row.marked {
            text::put(buffer, area.x + 2, y, 1, "*", theme.style(Role::Marked));
        }
        place(buffer, area.x + 3, y, columns, &widths, |i| {
            row.cells.get_mut(i).map(std::mem::take).unwrap_or_default()
        });
    }
}

fn place(
    buffer: &mut Buffer,
    mut x: u16,
    y: u16,
    columns: &[Column],
    widths: &[u16],
    mut cell: impl FnMut(usize) -> Vec<Piece>,
) {
    for (i, column) in columns.iter().enumerate() {
        let pieces = cell(i);
        let used: u16 = pieces.iter().map(|(t, _)| text::width(t)).sum();
        let start = if column.right { x + widths[i].saturating_sub(used) } else { x };
        text::put_pieces(buffer, start, y, widths[i], &pieces);
        x = x.saturating_add(widths[i]).saturating_add(2);
    }
}

fn widths(columns: &[Column], total: u16) -> Vec<u16> {
    let gaps = 2 * u16::try_from(columns.len().saturating_sub(1)).unwrap_or(0);
    let fixed: u16 = columns.iter().map(|c| if let Width::Fixed(w) = c.width { w } else { 0 }).sum();
    let rests = u16::try_from(columns.iter().filter(|c| c.width == Width::Rest).count()).unwrap_or(1);
    let left = total.saturating_sub(gaps).saturating_sub(fixed);
    columns
        .iter()
        .map(|c| match c.width {
            Width::Fixed(w) => w,
            Width::Rest => left / rests.max(1),
        })
        .collect()
}
