//! Colours and how deep the terminal shows them: from `#rrggbb` down to the 256 and 16 colours.

use ratatui::style::Color;

/// How many colours the terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// None: `NO_COLOR` or a dumb terminal.
    None,
    /// The sixteen of the user's own palette.
    Sixteen,
    /// The xterm palette.
    Indexed,
    /// 24 bit.
    True,
}

impl Depth {
    /// Reads `NO_COLOR`, `COLORTERM` and `TERM` through `var`.
    pub fn detect(var: impl Fn(&str) -> Option<String>) -> Self {
        if var("NO_COLOR").is_some_and(|v| !v.is_empty()) {
            return Self::None;
        }
        let term = var("TERM").unwrap_or_default();
        if term == "dumb" {
            return Self::None;
        }
        if var("COLORTERM").is_some_and(|v| v == "truecolor" || v == "24bit") || term.ends_with("-direct") {
            return Self::True;
        }
        if term.contains("256color") { Self::Indexed } else { Self::Sixteen }
    }

    /// The nearest colour this depth can show.
    pub fn fit(self, color: Color) -> Color {
        match (self, color) {
            (Self::None, _) => Color::Reset,
            (Self::True, c) | (Self::Indexed, c @ Color::Indexed(_)) => c,
            (Self::Indexed, Color::Rgb(r, g, b)) => Color::Indexed(to_256(r, g, b)),
            (Self::Sixteen, Color::Rgb(r, g, b)) => to_16(r, g, b),
            (Self::Sixteen, Color::Indexed(i)) if i >= 16 => {
                let (r, g, b) = from_256(i);
                to_16(r, g, b)
            }
            (_, c) => c,
        }
    }
}

/// The xterm palette's cube levels.
const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

fn nearest_level(v: u8) -> u8 {
    let distance = |i: &u8| LEVELS[usize::from(*i)].abs_diff(v);
    (0u8..6).min_by_key(distance).unwrap_or(0)
}

fn distance(a: (u8, u8, u8), b: (u8, u8, u8)) -> u32 {
    let square = |x: u8, y: u8| u32::from(x.abs_diff(y)).pow(2);
    square(a.0, b.0) + square(a.1, b.1) + square(a.2, b.2)
}

fn to_256(r: u8, g: u8, b: u8) -> u8 {
    let cube = 16 + 36 * nearest_level(r) + 6 * nearest_level(g) + nearest_level(b);
    let average = (u16::from(r) + u16::from(g) + u16::from(b)) / 3;
    let step = (average.saturating_sub(3) / 10).min(23);
    let grey = 232 + u8::try_from(step).unwrap_or(23);
    let wanted = (r, g, b);
    if distance(from_256(grey), wanted) < distance(from_256(cube), wanted) { grey } else { cube }
}

/// RGB of an entry of the xterm palette.
pub fn from_256(i: u8) -> (u8, u8, u8) {
    match i {
        0..=15 => SIXTEEN[usize::from(i)].1,
        16..=231 => {
            let i = usize::from(i - 16);
            (LEVELS[i / 36], LEVELS[i / 6 % 6], LEVELS[i % 6])
        }
        232..=255 => {
            let v = 8 + 10 * (i - 232);
            (v, v, v)
        }
    }
}

/// The sixteen colours with the RGB xterm gives them.
pub const SIXTEEN: [(Color, (u8, u8, u8)); 16] = [
    (Color::Black, (0, 0, 0)),
    (Color::Red, (205, 0, 0)),
    (Color::Green, (0, 205, 0)),
    (Color::Yellow, (205, 205, 0)),
    (Color::Blue, (0, 0, 238)),
    (Color::Magenta, (205, 0, 205)),
    (Color::Cyan, (0, 205, 205)),
    (Color::Gray, (229, 229, 229)),
    (Color::DarkGray, (127, 127, 127)),
    (Color::LightRed, (255, 0, 0)),
    (Color::LightGreen, (0, 255, 0)),
    (Color::LightYellow, (255, 255, 0)),
    (Color::LightBlue, (92, 92, 255)),
    (Color::LightMagenta, (255, 0, 255)),
    (Color::LightCyan, (0, 255, 255)),
    (Color::White, (255, 255, 255)),
];

fn to_16(r: u8, g: u8, b: u8) -> Color {
    SIXTEEN.iter().min_by_key(|(_, rgb)| distance(*rgb, (r, g, b))).map_or(Color::Reset, |(c, _)| *c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        move |k| pairs.iter().find(|(key, _)| *key == k).map(|(_, v)| (*v).to_owned())
    }

    #[test]
    fn depth_follows_the_environment() {
        assert_eq!(Depth::detect(env(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor")])), Depth::None);
        assert_eq!(Depth::detect(env(&[("NO_COLOR", ""), ("COLORTERM", "truecolor")])), Depth::True);
        assert_eq!(Depth::detect(env(&[("TERM", "xterm-256color")])), Depth::Indexed);
        assert_eq!(Depth::detect(env(&[("TERM", "linux")])), Depth::Sixteen);
        assert_eq!(Depth::detect(env(&[("TERM", "dumb")])), Depth::None);
    }

    #[test]
    fn colours_fall_back_to_the_nearest_one_that_can_be_shown() {
        assert_eq!(Depth::Indexed.fit(Color::Rgb(255, 0, 0)), Color::Indexed(196));
        assert_eq!(Depth::Indexed.fit(Color::Rgb(128, 128, 128)), Color::Indexed(244));
        assert_eq!(Depth::Sixteen.fit(Color::Rgb(250, 5, 5)), Color::LightRed);
        assert_eq!(Depth::Sixteen.fit(Color::Indexed(196)), Color::LightRed);
        assert_eq!(Depth::None.fit(Color::Rgb(1, 2, 3)), Color::Reset);
    }
}
