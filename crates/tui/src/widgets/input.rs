//! One line of text being typed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::style::Style;

use super::text;

/// Longest line that can be typed, in characters.
const MAX: usize = 256;

/// A line and where in it the cursor is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    chars: Vec<char>,
    cursor: usize,
}

impl Input {
    /// A line with this text and the cursor behind it.
    pub fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        Self { cursor: chars.len(), chars }
    }

    /// What was typed.
    pub fn text(&self) -> String {
        self.chars.iter().collect()
    }

    /// Whether nothing was typed.
    pub fn is_empty(&self) -> bool {
        self.chars.is_empty()
    }

    /// Adds text at the cursor; control characters are left out.
    pub fn insert(&mut self, text: &str) {
        for c in text.chars().filter(|c| !c.is_control()) {
            if self.chars.len() < MAX {
                self.chars.insert(self.cursor, c);
                self.cursor += 1;
            }
        }
    }

    /// Takes a key; tells whether it meant something here.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        match key.code {
            KeyCode::Char('a') if ctrl => self.cursor = 0,
            KeyCode::Char('e') if ctrl => self.cursor = self.chars.len(),
            KeyCode::Char('u') if ctrl => {
                self.chars.drain(..self.cursor);
                self.cursor = 0;
            }
            KeyCode::Char('w') if ctrl => self.delete_word(),
            KeyCode::Char(c) if !ctrl && !alt => self.insert(&c.to_string()),
            KeyCode::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.chars.remove(self.cursor);
            }
            KeyCode::Delete if self.cursor < self.chars.len() => {
                self.chars.remove(self.cursor);
            }
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(self.chars.len()),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.chars.len(),
            _ => return false,
        }
        true
    }

    fn delete_word(&mut self) {
        let before = &self.chars[..self.cursor];
        let trimmed = before.iter().rposition(|c| !c.is_whitespace()).map_or(0, |i| i + 1);
        let start = before[..trimmed].iter().rposition(|c| c.is_whitespace()).map_or(0, |i| i + 1);
        self.chars.drain(start..self.cursor);
        self.cursor = start;
    }

    /// Draws the line, scrolled so that the cursor shows; gives the cursor's column.
    pub fn draw(&self, buffer: &mut Buffer, x: u16, y: u16, max: u16, style: Style) -> u16 {
        let before: String = self.chars[..self.cursor].iter().collect();
        let mut start = 0;
        while start < self.cursor {
            let shown: String = self.chars[start..self.cursor].iter().collect();
            if text::width(&shown) < max {
                break;
            }
            start += 1;
        }
        let shown: String = self.chars[start..].iter().collect();
        text::put(buffer, x, y, max, &shown, style);
        let hidden: String = self.chars[..start].iter().collect();
        x + (text::width(&before) - text::width(&hidden)).min(max.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(input: &mut Input, code: KeyCode, m: KeyModifiers) {
        input.key(KeyEvent::new(code, m));
    }

    #[test]
    fn typing_moving_and_deleting_edit_the_line() {
        let mut i = Input::default();
        i.insert("web server\n");
        press(&mut i, KeyCode::Char('w'), KeyModifiers::CONTROL);
        assert_eq!(i.text(), "web ");
        press(&mut i, KeyCode::Backspace, KeyModifiers::NONE);
        press(&mut i, KeyCode::Home, KeyModifiers::NONE);
        press(&mut i, KeyCode::Char('X'), KeyModifiers::SHIFT);
        assert_eq!(i.text(), "Xweb");
        press(&mut i, KeyCode::Delete, KeyModifiers::NONE);
        assert_eq!(i.text(), "Xeb");
        press(&mut i, KeyCode::End, KeyModifiers::NONE);
        press(&mut i, KeyCode::Char('u'), KeyModifiers::CONTROL);
        assert!(i.is_empty());
    }
}
