//! The mouse: clicks and the wheel, when it is captured.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

use super::{App, View};
use crate::keymap::Command;
use crate::term;

/// Lines a turn of the wheel moves a scrolled-back view.
const WHEEL: usize = 3;
/// The row of the screen the first row of a list stands at, below header, breadcrumb and heading.
pub const LIST_TOP: u16 = 3;

impl App {
    /// Which mouse events are wanted from the outer terminal: none, buttons, or every motion.
    pub fn mouse_level(&self) -> MouseLevel {
        let inside =
            self.terminals.focused().filter(|_| self.in_terminals()).map(|p| p.term.screen().mouse_protocol_mode());
        match inside {
            Some(vt100::MouseProtocolMode::AnyMotion) => MouseLevel::Motion,
            Some(vt100::MouseProtocolMode::None) | None if !self.mouse => MouseLevel::Off,
            _ => MouseLevel::Buttons,
        }
    }

    pub(super) fn on_mouse(&mut self, event: MouseEvent) {
        if self.overlay.is_some() {
            return;
        }
        if self.in_terminals() {
            self.mouse_in_terminal(event);
            return;
        }
        match event.kind {
            MouseEventKind::ScrollUp => self.command(Command::Up),
            MouseEventKind::ScrollDown => self.command(Command::Down),
            MouseEventKind::Down(MouseButton::Left) => {
                let Some(line) = event.row.checked_sub(LIST_TOP) else { return };
                if matches!(self.view(), View::Home)
                    && let Some(row) = self.home.list.row_at(usize::from(line), self.home.rows.len())
                {
                    self.home.list.selected = row;
                }
            }
            _ => {}
        }
    }

    fn mouse_in_terminal(&mut self, event: MouseEvent) {
        let area = self.terminal_area();
        let Some(placed) = self.terminals.tab().map(|t| t.place(area)) else { return };
        let at = ratatui::layout::Position { x: event.column, y: event.row };
        let Some((id, rect)) = placed.panes.into_iter().find(|(_, r)| r.contains(at)) else { return };
        if matches!(event.kind, MouseEventKind::Down(_))
            && let Some(tab) = self.terminals.tab_mut()
        {
            tab.focus = id;
        }
        if self.terminals.focus() != Some(id) {
            return;
        }
        let Some(pane) = self.terminals.focused_mut() else { return };
        if term::wants_mouse(pane.term.screen()) {
            let bytes = term::encode_mouse(event, event.column - rect.x, event.row - rect.y, pane.term.screen());
            self.type_into_terminal(bytes);
            return;
        }
        let now = pane.term.scrolled();
        match event.kind {
            MouseEventKind::ScrollUp => {
                pane.term.scroll_to(now + WHEEL);
                self.terminals.scrolling = true;
            }
            MouseEventKind::ScrollDown => {
                pane.term.scroll_to(now.saturating_sub(WHEEL));
                if pane.term.scrolled() == 0 {
                    self.terminals.scrolling = false;
                }
            }
            _ => {}
        }
    }
}

/// How much of the mouse is captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MouseLevel {
    /// The terminal keeps it for its own selection.
    #[default]
    Off,
    /// Buttons, wheel and drags.
    Buttons,
    /// Every motion.
    Motion,
}
