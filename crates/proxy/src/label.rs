//! A DNS label held in place, so that parsing a host name allocates nothing.

use std::fmt;

/// Longest DNS label, in characters.
pub const LABEL_MAX: usize = 63;

/// 1–63 characters out of lowercase letters, digits, `-` and `_`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Label {
    len: u8,
    bytes: [u8; LABEL_MAX],
}

impl Label {
    /// The label `s`, or `None` when it is not one.
    pub fn new(s: &str) -> Option<Self> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if s.is_empty() || s.len() > LABEL_MAX || !s.bytes().all(legal) {
            return None;
        }
        let mut bytes = [0; LABEL_MAX];
        bytes[..s.len()].copy_from_slice(s.as_bytes());
        Some(Self { len: u8::try_from(s.len()).ok()?, bytes })
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever stored, so this cannot fail.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
