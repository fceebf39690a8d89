//! The selection in full: address, image, age, graphs and its URL.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::home::{graph_role, state};
use crate::app::App;
use crate::keymap::Command;
use crate::theme::Role;
use crate::widgets::{figures, text};
use cowl_api::Container;

/// Draws a rule and as many lines as there is room for.
pub fn draw(app: &App, c: &Container, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    text::rule(buffer, Rect { x: 1, width: area.width.saturating_sub(2), ..area }, theme.style(Role::Rule));
    let width = area.width.saturating_sub(2);
    let y = area.y + 1;
    let graphs = if area.width >= 100 { 18 } else { 0 };
    first_line(app, c, buffer, y, width, graphs);
    if area.height >= 3 {
        let url = app.world.url(c, "terminal-1");
        let copy = app.keymap.label(app.mode(), Command::CopyUrl).unwrap_or_default();
        let open = app.keymap.label(app.mode(), Command::OpenUrl).unwrap_or_default();
        let keys = if area.width >= 100 { format!("{copy} copy  {open} open") } else { format!("{copy} copy") };
        let shown = text::width(&keys) + 2;
        let url = shorten(&url, width.saturating_sub(shown));
        text::put(buffer, 1, y + 1, width.saturating_sub(shown), &url, theme.style(Role::Url));
        text::put_right(buffer, area.right() - 1, y + 1, shown, &keys, theme.style(Role::KeyText));
    }
    if area.height >= 4 {
        last_line(app, c, buffer, y + 2, width);
    }
}

/// The URL, its long ids shortened when it does not fit: the end, which tells the service and the
/// box, is worth more than the middle. `y` copies all of it.
fn shorten(url: &str, width: u16) -> String {
    if text::width(url) <= width {
        return url.to_owned();
    }
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let with = |head: usize, tail: usize| {
        let short = |word: &str| {
            let is_id = word.len() == cowl_api::ids::ID_LEN && word.bytes().all(|b| b.is_ascii_hexdigit());
            if is_id { format!("{}…{}", &word[..head], &word[word.len() - tail..]) } else { word.to_owned() }
        };
        let rest: Vec<String> = rest.split('-').map(short).collect();
        format!("{scheme}://{}", rest.join("-"))
    };
    let roomy = with(4, 2);
    if text::width(&roomy) <= width { roomy } else { with(2, 0) }
}

fn first_line(app: &App, c: &Container, buffer: &mut Buffer, y: u16, width: u16, graphs: u16) {
    let theme = &app.theme;
    let (role, word) = state(app, c);
    let mut pieces = vec![(c.name.clone(), theme.style(Role::Header)), (format!("   {word}"), theme.style(role))];
    for part in [c.address.clone(), Some(c.container_image.clone())].into_iter().flatten() {
        pieces.push((format!("   {part}"), theme.style(Role::Dim)));
    }
    pieces.push((format!("   created {}", figures::ago(&c.created_at, app.now)), theme.style(Role::Dim)));
    let taken = if graphs > 0 && app.world.live(c.id).is_some() { 2 * (graphs + 6) } else { 0 };
    text::put_pieces(buffer, 1, y, width.saturating_sub(taken), &pieces);
    let Some(live) = app.world.live(c.id).filter(|_| graphs > 0) else { return };
    let x = 1 + width - taken;
    let cpu = figures::sparkline(live.cpu_history.iter().copied(), 100.0, usize::from(graphs));
    let peak = live.memory_history.iter().copied().fold(1.0, f64::max);
    let memory = figures::sparkline(live.memory_history.iter().copied(), peak * 1.25, usize::from(graphs));
    let pieces = [
        ("  cpu ".to_owned(), theme.style(Role::Dim)),
        (cpu, theme.style(graph_role(live.cpu))),
        ("  mem ".to_owned(), theme.style(Role::Dim)),
        (memory, theme.style(Role::GraphLow)),
    ];
    text::put_pieces(buffer, x, y, taken, &pieces);
}

fn last_line(app: &App, c: &Container, buffer: &mut Buffer, y: u16, width: u16) {
    let theme = &app.theme;
    if let Some(reason) = &c.status_reason {
        text::put(buffer, 1, y, width, reason, theme.style(Role::Failed));
        return;
    }
    let mut parts = vec![format!("id {}", c.id)];
    if let Some(live) = app.world.live(c.id) {
        parts.push(format!("{} tasks", live.tasks));
    }
    if let Some(snapshot) = &c.last_used_snapshot {
        parts.push(format!("went back to {snapshot}"));
    }
    if let Some(comment) = &c.comment {
        parts.push(comment.lines().next().unwrap_or_default().to_owned());
    }
    text::put(buffer, 1, y, width, &parts.join("   "), theme.style(Role::Dim));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_address_is_shortened_in_its_ids_and_keeps_its_port() {
        let url =
            "https://0123456789abcdef01234567-89abcdef0123456789abcdef-terminal-1.node.containers.cowl.localhost:8443";
        assert_eq!(shorten(url, 120), url);
        assert_eq!(shorten(url, 76), "https://0123…67-89ab…ef-terminal-1.node.containers.cowl.localhost:8443");
        assert_eq!(shorten(url, 66), "https://01…-89…-terminal-1.node.containers.cowl.localhost:8443");
    }
}
