//! The container's console as the shim keeps it: the last bytes written to /dev/console.

use std::collections::VecDeque;

/// Bytes kept.
const KEPT: usize = 64 * 1024;

/// A ring of console output. The bytes are the container's and hostile; [`Console::tail`] gives
/// plain text only.
#[derive(Debug, Default)]
pub struct Console {
    bytes: VecDeque<u8>,
}

impl Console {
    /// Adds output; the oldest falls out.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(KEPT)..];
        let excess = (self.bytes.len() + bytes.len()).saturating_sub(KEPT);
        self.bytes.drain(..excess);
        self.bytes.extend(bytes);
    }

    /// The last `lines` non-empty lines, without escape sequences and control characters.
    pub fn tail(&self, lines: usize) -> Vec<String> {
        let raw: Vec<u8> = self.bytes.iter().copied().collect();
        let text = strip_controls(&String::from_utf8_lossy(&raw));
        let mut tail: Vec<String> =
            text.lines().rev().map(|l| l.trim_end().to_owned()).filter(|l| !l.is_empty()).take(lines).collect();
        tail.reverse();
        tail
    }
}

/// Removes ANSI escape sequences and all control characters but newline.
fn strip_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => out.push(c),
            '\x1b' => match chars.next() {
                // CSI ends at its final byte; OSC at BEL or ESC \.
                Some('[') => {
                    for c in chars.by_ref() {
                        if ('@'..='~').contains(&c) {
                            break;
                        }
                    }
                }
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\x07' || (c == '\x1b' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines_without_escapes() {
        let mut console = Console::default();
        console.push(b"one\r\n\x1b[0;32m  OK  \x1b[0m two\r\n\x1b]0;title\x07three\r\n\n");
        assert_eq!(console.tail(2), ["  OK   two", "three"]);
    }

    #[test]
    fn only_the_newest_bytes_are_kept() {
        let mut console = Console::default();
        console.push(&vec![b'a'; KEPT]);
        console.push(b"\nlast\n");
        assert_eq!(console.tail(1), ["last"]);
        assert!(console.bytes.len() <= KEPT);
    }

    proptest::proptest! {
        #[test]
        fn no_output_makes_the_tail_hold_control_characters(chunks: Vec<Vec<u8>>) {
            let mut console = Console::default();
            chunks.iter().for_each(|c| console.push(c));
            proptest::prop_assert!(console.tail(50).iter().all(|l| !l.chars().any(char::is_control)));
        }
    }
}
