//! Before the first container: the image being built, or why it could not be.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::App;
use crate::keymap::Command;
use crate::theme::Role;
use crate::widgets::{figures, text};
use cowl_api::server::{Image, ImageState};

/// Draws how the image is.
pub fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let Some(image) = app.world.unready_image() else { return };
    let x = area.x + 3;
    let width = area.width.saturating_sub(6);
    let y = area.y + 1;
    match image.state {
        ImageState::Failed => failed(app, image, buffer, Rect { x, y, width, height: area.height.saturating_sub(1) }),
        ImageState::Building => building(app, image, buffer, x, y, width),
        ImageState::Absent | ImageState::Ready => {
            let line = format!("the image {} is not built yet; its build begins in a moment", image.name);
            text::put(buffer, x, y, width, &line, app.theme.style(Role::Text));
        }
    }
}

fn building(app: &App, image: &Image, buffer: &mut Buffer, x: u16, y: u16, width: u16) {
    let theme = &app.theme;
    let title = format!("building the image {} from Debian's own packages", image.name);
    text::put(buffer, x, y, width, &title, theme.style(Role::Header));
    let Some(progress) = &image.progress else { return };
    let left = progress.remaining_s.map_or_else(String::new, |s| format!("  {} left", figures::span(s.ceil() as i64)));
    let figure = format!(" {:>3.0} %{left}", progress.percent);
    let bar = width.saturating_sub(text::width(&figure)).min(60);
    let drawn = figures::progress(progress.percent, usize::from(bar));
    let at = text::put(buffer, x, y + 2, bar, &drawn, theme.style(Role::Accent));
    text::put(buffer, at, y + 2, width.saturating_sub(bar), &figure, theme.style(Role::Text));
    let step = format!("{}  {}", progress.step, progress.detail);
    text::put(buffer, x, y + 4, width, &step, theme.style(Role::Text));
    let next = "Next: the first container is made from it. This is done once; later ones take a second.";
    for (row, line) in (y + 6..).zip(wrap(next, usize::from(width))) {
        text::put(buffer, x, row, width, &line, theme.style(Role::Dim));
    }
}

/// Rows of the failure that are not its reason: title, log, key, and what sets them apart.
const AROUND: u16 = 6;

fn failed(app: &App, image: &Image, buffer: &mut Buffer, area: Rect) {
    let Rect { x, y, width, height } = area;
    let theme = &app.theme;
    let title = format!("the image {} could not be built", image.name);
    text::put(buffer, x, y, width, &title, theme.style(Role::Danger));
    let reason = image.error.as_deref().unwrap_or("no reason was given");
    let mut row = y + 2;
    let mut lines = wrap(reason, usize::from(width));
    let room = usize::from(height.saturating_sub(AROUND)).max(2);
    if lines.len() > room {
        lines.truncate(room - 1);
        lines.push("…".into());
    }
    for line in lines {
        text::put(buffer, x, row, width, &line, theme.style(Role::Text));
        row += 1;
    }
    if let Some(log) = &image.log {
        text::put(buffer, x, row + 1, width, &format!("log: {log}"), theme.style(Role::Dim));
        row += 1;
    }
    let key = app.keymap.label(app.mode(), Command::RetryImage).unwrap_or_default();
    let at = text::put(buffer, x, row + 2, width, &key, theme.style(Role::Key));
    text::put(buffer, at, row + 2, width, " builds it again", theme.style(Role::KeyText));
}

/// Cuts text into lines of at most `width` characters, at spaces where there are any.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let last = lines.last().map_or(0, |l| l.chars().count());
            let gap = usize::from(last > 0);
            if last + gap + word.len() <= width {
                if let Some(line) = lines.last_mut() {
                    line.push_str(&" ".repeat(gap));
                    line.extend(word.iter());
                }
                break;
            }
            if last > 0 {
                lines.push(String::new());
            } else {
                let rest = word.split_off(width);
                if let Some(line) = lines.last_mut() {
                    line.extend(word.iter());
                }
                lines.push(String::new());
                word = rest;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_broken_and_short_ones_kept_whole() {
        assert_eq!(wrap("a bc defghij", 4), ["a bc", "defg", "hij"]);
        assert_eq!(wrap("https://x", 5), ["https", "://x"]);
        assert!(wrap("any", 0).len() >= 3);
    }
}
