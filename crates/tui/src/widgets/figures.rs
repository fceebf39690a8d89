//! Figures for people: bytes, times, shares and their graphs. The one place that formats them.

use jiff::Timestamp;

/// `38M`, `1.1G`, `0`: at most five cells.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "k", "M", "G", "T", "P"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if n == 0 {
        "0".into()
    } else if unit > 0 && value < 9.95 {
        format!("{value:.1}{}", UNITS[unit])
    } else {
        format!("{value:.0}{}", UNITS[unit])
    }
}

/// A length of time in its two largest parts at most: `3d 4h`, `12m`, `45s`.
pub fn span(seconds: i64) -> String {
    let s = seconds.max(0);
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m", s / 60),
        3600..86_400 if s / 60 % 60 == 0 || s >= 36_000 => format!("{}h", s / 3600),
        3600..86_400 => format!("{}h {}m", s / 3600, s / 60 % 60),
        _ if s / 3600 % 24 == 0 || s >= 864_000 => format!("{}d", s / 86_400),
        _ => format!("{}d {}h", s / 86_400, s / 3600 % 24),
    }
}

/// Seconds between an ISO 8601 time and now; `None` when it is not one.
pub fn seconds_since(then: &str, now: Timestamp) -> Option<i64> {
    let then: Timestamp = then.parse().ok()?;
    Some(now.as_second() - then.as_second())
}

/// `12m ago` in one part only, `just now` below five seconds.
pub fn ago(then: &str, now: Timestamp) -> String {
    match seconds_since(then, now) {
        None => "–".into(),
        Some(s) if s < 5 => "just now".into(),
        Some(s) => {
            let text = span(s);
            let first = text.split(' ').next().unwrap_or_default();
            format!("{first} ago")
        }
    }
}

/// One of eight bars for a share of 0–1.
pub fn bar(share: f64) -> char {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let i = (share.clamp(0.0, 1.0) * 8.0).floor() as usize;
    BARS[i.min(7)]
}

/// The last `width` values as bars, scaled to `full`; missing ones are spaces.
pub fn sparkline(values: impl DoubleEndedIterator<Item = f64>, full: f64, width: usize) -> String {
    let mut out: Vec<char> = values.rev().take(width).map(|v| bar(v / full.max(f64::MIN_POSITIVE))).collect();
    out.resize(width, ' ');
    out.iter().rev().collect()
}

/// A progress bar of `width` cells for 0–100.
pub fn progress(percent: f64, width: usize) -> String {
    let filled = ((percent / 100.0).clamp(0.0, 1.0) * width as f64).round() as usize;
    format!("{}{}", "━".repeat(filled), "─".repeat(width.saturating_sub(filled)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_within_five_cells() {
        for (n, want) in [
            (0, "0"),
            (999, "999B"),
            (1024, "1.0k"),
            (40_000_000, "38M"),
            (1_181_116_006, "1.1G"),
            (1_048_000, "1.0M"),
            (u64::MAX, "16384P"),
        ] {
            assert_eq!(bytes(n), want);
        }
    }

    #[test]
    fn spans_tell_at_most_two_parts() {
        for (s, want) in [
            (5, "5s"),
            (720, "12m"),
            (3_600, "1h"),
            (5_400, "1h 30m"),
            (273_600, "3d 4h"),
            (1_000_000, "11d"),
            (-4, "0s"),
        ] {
            assert_eq!(span(s), want);
        }
    }

    #[test]
    fn sparklines_are_as_wide_as_asked_and_end_with_the_newest_value() {
        assert_eq!(sparkline([0.0, 50.0, 100.0].into_iter(), 100.0, 5), "  ▁▅█");
        assert_eq!(sparkline([0.0, 50.0, 100.0].into_iter(), 100.0, 2), "▅█");
        assert_eq!(progress(50.0, 4), "━━──");
    }
}
