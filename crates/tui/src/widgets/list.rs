//! Where one is in a list: the selected row and the first one shown.

use std::cell::Cell;

use crate::keymap::Command;

/// Position in a list.
#[derive(Debug, Clone, Default)]
pub struct ListState {
    /// The selected row.
    pub selected: usize,
    offset: Cell<usize>,
    page: Cell<usize>,
}

impl ListState {
    /// Moves as the command says; tells whether it was one that moves.
    pub fn navigate(&mut self, command: Command, len: usize) -> bool {
        let last = len.saturating_sub(1);
        let page = self.page.get().max(1);
        self.selected = match command {
            Command::Up => self.selected.saturating_sub(1),
            Command::Down => self.selected + 1,
            Command::PageUp => self.selected.saturating_sub(page),
            Command::PageDown => self.selected + page,
            Command::Top => 0,
            Command::Bottom => last,
            _ => return false,
        }
        .min(last);
        true
    }

    /// Keeps the selection inside the list.
    pub fn clamp(&mut self, len: usize) {
        self.selected = self.selected.min(len.saturating_sub(1));
    }

    /// The rows to show in a window of this height; remembers it for paging.
    pub fn window(&self, len: usize, height: usize) -> std::ops::Range<usize> {
        self.page.set(height);
        let mut offset = self.offset.get().min(len.saturating_sub(height));
        if self.selected < offset {
            offset = self.selected;
        } else if height > 0 && self.selected >= offset + height {
            offset = self.selected + 1 - height;
        }
        self.offset.set(offset);
        offset..(offset + height).min(len)
    }

    /// The row shown at this line of the window, if any.
    pub fn row_at(&self, line: usize, len: usize) -> Option<usize> {
        let row = self.offset.get() + line;
        (line < self.page.get() && row < len).then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_selected_row_is_always_shown(len in 1usize..50, height in 1usize..20, moves in prop::collection::vec(0usize..6, 0..30)) {
            let commands = [Command::Up, Command::Down, Command::PageUp, Command::PageDown, Command::Top, Command::Bottom];
            let mut list = ListState::default();
            for m in moves {
                list.window(len, height);
                list.navigate(commands[m], len);
                let window = list.window(len, height);
                prop_assert!(window.contains(&list.selected));
                prop_assert!(window.end <= len);
            }
        }
    }
}
