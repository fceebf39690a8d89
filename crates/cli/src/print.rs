//! Printing: tables, JSON, sizes and times. The one place that writes to stdout.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

/// Text from elsewhere without control characters, so that it cannot drive the reader's terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Writes bytes as they are.
pub(super) fn raw(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Writes one line.
pub(super) fn line(text: &str) -> io::Result<()> {
    raw(format!("{}\n", plain(text)).as_bytes())
}

/// Writes a value as indented JSON.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    raw(&text)
}

/// Writes a value as one line of JSON.
pub(super) fn json_line<T: Serialize>(value: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    raw(&text)
}

/// A table with columns as wide as their widest cell. Headers that start with `>` are right-aligned.
#[derive(Debug)]
pub(super) struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(headers: &[&'static str]) -> Self {
        Self { headers: headers.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|c| plain(c)).collect());
    }

    fn text(&self) -> String {
        let titles: Vec<String> = self.headers.iter().map(|h| h.trim_start_matches('>').to_owned()).collect();
        let all = || std::iter::once(&titles).chain(&self.rows);
        let width = |i: usize| all().filter_map(|r| r.get(i)).map(|c| c.width()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..titles.len()).map(width).collect();
        let mut out = String::new();
        for row in all() {
            let mut line = String::new();
            for (i, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths.get(i).map_or(0, |w| w - cell.width()));
                let gap = if i == 0 { "" } else { "  " };
                if self.headers.get(i).is_some_and(|h| h.starts_with('>')) {
                    line.push_str(&format!("{gap}{pad}{cell}"));
                } else {
                    line.push_str(&format!("{gap}{cell}{pad}"));
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    pub(super) fn print(&self) -> io::Result<()> {
        raw(self.text().as_bytes())
    }
}

/// `name  value` lines, aligned.
pub(super) fn facts(facts: &[(&str, String)]) -> io::Result<()> {
    let width = facts.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    for (name, value) in facts {
        line(&format!("{name:width$}  {value}"))?;
    }
    Ok(())
}

/// Bytes for people: `412M`, `1.1G`; powers of 1024.
pub(super) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "K", "M", "G", "T"] {
        if value < 1024.0 || unit == "T" {
            return if value < 10.0 && unit != "B" { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") };
        }
        value /= 1024.0;
    }
    String::new()
}

/// A span for people: `3d 4h`, `12m`, `8s`.
pub(super) fn span(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m", s / 60),
        3600..86_400 => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// The word that a value is on the wire; nothing for what is none.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// How long ago an ISO 8601 moment was; `-` when there is none.
pub(super) fn since(moment: Option<&str>) -> String {
    let then = moment.and_then(|m| m.parse::<jiff::Timestamp>().ok());
    let Some(then) = then else { return "-".into() };
    let seconds = jiff::Timestamp::now().as_second() - then.as_second();
    span(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// `since` with `ago`.
pub(super) fn ago(moment: Option<&str>) -> String {
    match since(moment).as_str() {
        "-" => "-".into(),
        span => format!("{span} ago"),
    }
}

/// How far ahead an ISO 8601 moment is: `in 3d 4h`, `now` when it has come; `-` when there is none.
pub(super) fn ahead(moment: Option<&str>) -> String {
    let then = moment.and_then(|m| m.parse::<jiff::Timestamp>().ok());
    let Some(then) = then else { return "-".into() };
    match u64::try_from(then.as_second() - jiff::Timestamp::now().as_second()) {
        Ok(seconds @ 1..) => format!("in {}", span(Duration::from_secs(seconds))),
        _ => "now".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_ahead_are_told_as_spans() {
        let at = |seconds: i64| {
            let moment = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            ahead(Some(&moment.to_string()))
        };
        assert_eq!(at(3 * 86_400 + 1800), "in 3d 0h");
        assert_eq!((at(-5).as_str(), ahead(None).as_str(), ahead(Some("x")).as_str()), ("now", "-", "-"));
    }

    #[test]
    fn a_table_aligns_columns_and_counts_wide_characters() {
        let mut table = Table::new(&["NAME", ">SIZE", "X"]);
        table.row(["日本".into(), "9".into(), String::new()]);
        table.row(["a".into(), "1024".into(), "y".into()]);
        assert_eq!(table.text(), "NAME  SIZE  X\n日本     9\na     1024  y\n");
    }

    #[test]
    fn text_from_a_container_cannot_drive_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\nc\u{9b}d"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
    }

    #[test]
    fn sizes_and_spans_are_short() {
        assert_eq!([bytes(0), bytes(1023), bytes(1536), bytes(40 << 20)].join(" "), "0B 1023B 1.5K 40M");
        let spans = [8, 720, 7260, 273_600].map(|s| span(Duration::from_secs(s)));
        assert_eq!(spans.join(", "), "8s, 12m, 2h 1m, 3d 4h");
    }
}
