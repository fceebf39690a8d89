//! The palette: every action, container and project by a few letters of its name.

use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Cursor, key_line, sheet};
use crate::app::App;
use crate::keymap::Command;
use crate::theme::Role;
use crate::widgets::input::Input;
use crate::widgets::list::ListState;
use crate::widgets::text;
use cowl_api::ContainerId;

/// What an entry does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A command on the selection.
    Command(Command),
    /// A terminal of a container.
    Container(ContainerId),
    /// A container's URL on the clipboard.
    Url(ContainerId),
}

/// A line of the palette.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What Enter does.
    pub what: What,
    /// What is searched and shown.
    pub text: String,
    key: String,
    api: &'static str,
}

/// The entries that match, best first.
pub fn search(app: &App, query: &str) -> Vec<Entry> {
    let mode = app.mode();
    let commands = Command::ALL.iter().filter(|c| c.in_palette()).map(|c| Entry {
        what: What::Command(*c),
        text: format!("{}: {}", c.hint(), c.title()),
        key: app.keymap.label(mode, *c).unwrap_or_default(),
        api: c.api(),
    });
    let containers = app.world.containers.iter().flat_map(|c| {
        [
            Entry {
                what: What::Container(c.id),
                text: format!("{} ({}): terminal", c.name, c.status),
                key: String::new(),
                api: Command::Terminal.api(),
            },
            Entry { what: What::Url(c.id), text: format!("{}: copy its URL", c.name), key: String::new(), api: "" },
        ]
    });
    let mut matcher = Matcher::new(Config::DEFAULT);
    let pattern = Pattern::parse(query, CaseMatching::Ignore, Normalization::Smart);
    let mut buffer = Vec::new();
    let mut found: Vec<(u32, Entry)> = commands
        .chain(containers)
        .filter_map(|e| pattern.score(Utf32Str::new(&e.text, &mut buffer), &mut matcher).map(|score| (score, e)))
        .collect();
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    found.into_iter().map(|(_, e)| e).collect()
}

/// Does what an entry says.
pub fn run(app: &mut App, what: &What) {
    match what {
        What::Command(command) => app.command(*command),
        What::Container(id) => {
            app.home.select(*id);
            app.open_container(*id);
        }
        What::Url(id) => {
            if let Some(url) = app.world.container(*id).map(|c| app.world.url(c, "terminal-1")) {
                app.copy(&url);
            }
        }
    }
}

/// The API call of an entry as a curl line, if it makes one on the API's own host.
pub fn curl(app: &App, what: &What) -> Option<String> {
    let What::Command(command) = what else { return None };
    let (method, path) = command.api().split_once(' ')?;
    if !path.starts_with('/') {
        return None;
    }
    let selected = app.selected();
    let id = if path.contains("/projects/") {
        app.home.project.map(|p| p.to_string()).or_else(|| selected.map(|c| c.project_id.to_string()))
    } else {
        selected.map(|c| c.id.to_string())
    };
    let path = path.replace("{id}", &id.unwrap_or_else(|| "ID".into()));
    Some(format!("curl --unix-socket {} -X {method} 'http://localhost{path}'", app.around.socket))
}

/// Draws the palette.
pub fn draw(app: &App, query: &Input, list: &ListState, buffer: &mut Buffer, area: Rect) -> Option<Cursor> {
    let inner = sheet(app, "command", area.height / 2, buffer, area);
    let x = text::put(buffer, inner.x, inner.y, 2, ":", app.theme.style(Role::Prompt)) + 1;
    let column = query.draw(buffer, x, inner.y, inner.width.saturating_sub(2), app.theme.style(Role::Text));
    let body = Rect { y: inner.y + 1, height: inner.height.saturating_sub(1), ..inner };
    let found = search(app, &query.text());
    if found.is_empty() {
        text::put(buffer, body.x + 2, body.y, body.width, "nothing matches", app.theme.style(Role::Dim));
    }
    let window = list.window(found.len(), usize::from(body.height));
    for (y, (index, entry)) in (body.y..).zip(found.iter().enumerate().skip(window.start).take(window.len())) {
        let selected = index == list.selected;
        if selected {
            buffer.set_style(Rect { y, height: 1, ..body }, app.theme.style(Role::Selection));
            text::put(buffer, body.x, y, 1, "▌", app.theme.style(Role::Accent));
        }
        text::put_right(buffer, body.x + 9, y, 7, &entry.key, app.theme.style(Role::Key));
        let api = if area.width >= 100 { 56 } else { 0 };
        text::put(
            buffer,
            body.x + 11,
            y,
            body.width.saturating_sub(12 + api),
            &entry.text,
            app.theme.style(Role::Text),
        );
        text::put_right(buffer, body.right(), y, api, entry.api, app.theme.style(Role::Dim));
    }
    let hints =
        [("⏎", "run"), ("Ctrl-y", "copy as curl"), ("↑↓", "choose"), ("Esc", "back")].map(|(k, t)| (k.into(), t));
    key_line(app, buffer, inner.x, inner.bottom(), inner.width, &hints);
    Some(Cursor::at(column, inner.y))
}
