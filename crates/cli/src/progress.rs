//! One moving line on stderr for work that takes long; plain lines where nobody watches.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::print::plain;
use cowl_api::server::BuildProgress;

const WIDTH: usize = 24;
/// Without a terminal, how often a line is written while the step stays the same.
const QUIET: Duration = Duration::from_secs(10);

/// The line. Draws nothing in quiet mode.
#[derive(Debug)]
pub(super) struct Bar {
    mode: Mode,
    drawn: bool,
    last: Option<(String, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Moving,
    Lines,
    Quiet,
}

impl Bar {
    /// Moves on a terminal, writes lines without one, is silent when `quiet`.
    pub(super) fn new(quiet: bool) -> Self {
        let mode = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Moving,
            (false, false) => Mode::Lines,
        };
        Self { mode, drawn: false, last: None }
    }

    /// As `new`, but silent rather than writing lines.
    pub(super) fn only_moving(quiet: bool) -> Self {
        let mut bar = Self::new(quiet);
        if bar.mode == Mode::Lines {
            bar.mode = Mode::Quiet;
        }
        bar
    }

    /// Shows how far a build is.
    pub(super) fn build(&mut self, name: &str, p: &BuildProgress) {
        let left = p.remaining_s.map(|s| format!(", {} left", seconds(s))).unwrap_or_default();
        let gauge = gauge(p.percent);
        let percent = p.percent.clamp(0.0, 100.0);
        let text =
            format!("{name}  {gauge} {percent:3.0}%  {}  {}  ({}{left})", p.step, p.detail, seconds(p.elapsed_s));
        self.draw(&p.step, &text);
    }

    /// Shows a step without measure.
    pub(super) fn step(&mut self, text: &str) {
        self.draw(text, text);
    }

    fn draw(&mut self, step: &str, text: &str) {
        let text = plain(text);
        match self.mode {
            Mode::Quiet => {}
            Mode::Moving => {
                let columns = crossterm::terminal::size().map_or(80, |(w, _)| usize::from(w));
                let cut: String = text.chars().take(columns.saturating_sub(1)).collect();
                eprint!("\r\x1b[2K{cut}");
                let _ = std::io::stderr().flush();
                self.drawn = true;
            }
            Mode::Lines => {
                let due = self.last.as_ref().is_none_or(|(s, at)| s != step || at.elapsed() >= QUIET);
                if due {
                    eprintln!("{text}");
                    self.last = Some((step.to_owned(), Instant::now()));
                }
            }
        }
    }

    /// Takes the moving line away.
    pub(super) fn finish(&mut self) {
        if self.drawn {
            eprint!("\r\x1b[2K");
            let _ = std::io::stderr().flush();
            self.drawn = false;
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}

fn seconds(s: f64) -> String {
    super::print::span(Duration::try_from_secs_f64(s.max(0.0)).unwrap_or_default())
}

fn gauge(percent: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (percent.clamp(0.0, 100.0) / 100.0 * (WIDTH * 8) as f64).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.push_str(EIGHTHS[eighths % 8]);
    let used = eighths.div_ceil(8);
    bar.push_str(&"·".repeat(WIDTH - used));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gauge_always_has_the_same_width_and_moves_in_small_steps() {
        for percent in [-1.0, 0.0, 0.4, 33.3, 50.0, 99.9, 100.0, 140.0, f64::NAN] {
            assert_eq!(gauge(percent).chars().count(), WIDTH, "{percent}");
        }
        assert_ne!(gauge(10.0), gauge(11.0));
    }
}
