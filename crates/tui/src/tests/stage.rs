//! The cockpit on a stage: keys in, the screen out, time standing still.

use std::sync::Arc;

use crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyModifiers};
use jiff::{SignedDuration, Timestamp};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::scripted::{Node, Shell};
use crate::app::{Action, App, Surroundings};
use crate::keymap::{Key, Keymap};
use crate::panes;
use crate::runtime::{Aside, Core};
use crate::theme::{self, Depth};

/// The moment everything happens at.
pub fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

pub struct Stage {
    pub core: Core,
    pub node: Arc<Node>,
    pub asides: Vec<Aside>,
}

impl Stage {
    /// A cockpit of this size that has heard from the node.
    pub async fn open(node: Node, size: (u16, u16)) -> Self {
        let node = Arc::new(node);
        let (theme, _) = theme::load(None, Depth::True, &[]);
        let (keymap, _) = Keymap::load(&[], None);
        let around =
            Surroundings { socket: "/run/cowl/node.sock".into(), login: "me@box".into(), ..Surroundings::default() };
        let app = App::new(theme, keymap, around, size, noon());
        let mut stage = Self { core: Core::new(app, node.clone(), noon), node, asides: Vec::new() };
        stage.core.perform();
        stage.settle().await;
        stage
    }

    /// Lets everything under way come to rest; timers are not waited for.
    pub async fn settle(&mut self) {
        // Every yield lets all tasks that can go on do so; the scripted node answers at once.
        let mut idle = 0;
        while idle < 16 {
            if let Ok(action) = self.core.actions.try_recv() {
                self.asides.extend(self.core.apply(action));
                idle = 0;
            } else {
                tokio::task::yield_now().await;
                idle += 1;
            }
        }
    }

    /// Presses keys, named as in keymap files, with spaces between them.
    pub async fn press(&mut self, keys: &str) {
        for word in keys.split(' ') {
            let key = Key::parse(word).unwrap().event();
            self.asides.extend(self.core.apply(Action::Input(Input::Key(key))));
            self.settle().await;
        }
    }

    /// Types text.
    pub async fn type_text(&mut self, text: &str) {
        for c in text.chars() {
            let key = KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE);
            self.asides.extend(self.core.apply(Action::Input(Input::Key(key))));
        }
        self.settle().await;
    }

    /// The screen as text, one line per row, spaces at the ends cut.
    pub fn screen(&self) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, self.core.app.size.0, self.core.app.size.1));
        panes::draw(&self.core.app, &mut buffer);
        let mut out = String::new();
        for y in 0..buffer.area.height {
            let mut line = String::new();
            let mut x = 0;
            while x < buffer.area.width {
                let symbol = buffer[(x, y)].symbol();
                line.push_str(symbol);
                x += u16::try_from(unicode_width::UnicodeWidthStr::width(symbol).max(1)).unwrap();
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    /// The last row.
    pub fn last_line(&self) -> String {
        self.screen().lines().last().unwrap_or_default().to_owned()
    }

    /// The shell that was opened as number `i`.
    pub fn shell<T>(&self, i: usize, f: impl FnOnce(&mut Shell) -> T) -> T {
        f(&mut self.node.shells.lock().unwrap()[i])
    }

    /// Lets the moment pass in which terminal output counts as replayed.
    pub fn after_replay(&mut self) {
        for pane in self.core.app.terminals.panes.values_mut() {
            pane.attached = noon().checked_sub(SignedDuration::from_secs(5)).ok();
        }
    }
}
