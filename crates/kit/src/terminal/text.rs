//! Bytes of programs as text for JSON: UTF-8 that survives chunk borders, line ends as `\n`.

/// Turns a byte stream into text, chunk by chunk.
#[derive(Debug, Default)]
pub struct TextStream {
    /// An unfinished character, at most three bytes.
    partial: Vec<u8>,
    /// Whether `\r\n` becomes `\n`.
    newlines: bool,
    carriage_return: bool,
}

impl TextStream {
    /// Keeps line ends as they are.
    pub fn verbatim() -> Self {
        Self::default()
    }

    /// Makes `\r\n`, which a PTY writes for `\n`, one `\n` again.
    pub fn from_pty() -> Self {
        Self { newlines: true, ..Self::default() }
    }

    /// The text of the next chunk; what is not UTF-8 becomes U+FFFD.
    pub fn push(&mut self, chunk: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.partial);
        if std::mem::take(&mut self.carriage_return) {
            bytes.push(b'\r');
        }
        bytes.extend_from_slice(chunk);
        if self.newlines {
            join_line_ends(&mut bytes);
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
                self.carriage_return = true;
            }
        }
        let cut = bytes.len() - unfinished(&bytes);
        self.partial = bytes.split_off(cut);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What was held back, when nothing more will come.
    pub fn finish(&mut self) -> String {
        let mut bytes = std::mem::take(&mut self.partial);
        if std::mem::take(&mut self.carriage_return) {
            bytes.push(b'\r');
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Removes each `\r` that stands before a `\n`.
fn join_line_ends(bytes: &mut Vec<u8>) {
    if !bytes.contains(&b'\r') {
        return;
    }
    let mut kept = Vec::with_capacity(bytes.len());
    for (at, &byte) in bytes.iter().enumerate() {
        if byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            kept.push(byte);
        }
    }
    *bytes = kept;
}

/// How many bytes at the end are the beginning of a character that may still be completed.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    for length in 1..=tail.len() {
        let part = &tail[tail.len() - length..];
        if part[0] >= 0xc0 {
            return match std::str::from_utf8(part) {
                Err(error) if error.error_len().is_none() && error.valid_up_to() == 0 => length,
                _ => 0,
            };
        }
        if part[0] < 0x80 {
            return 0;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_chunks(stream: &[u8], size: usize, mut text: TextStream) -> String {
        let mut all: String = stream.chunks(size).map(|chunk| text.push(chunk)).collect();
        all.push_str(&text.finish());
        all
    }

    #[test]
    fn a_lone_carriage_return_stays() {
        assert_eq!(in_chunks(b"10%\r20%\r\nend\r", 1, TextStream::from_pty()), "10%\r20%\nend\r");
    }

    proptest! {
        #[test]
        fn chunk_borders_change_no_text(
            text in "[a-z\u{e4}\u{20ac}\u{1f600}\r\n]{0,60}", raw in prop::collection::vec(any::<u8>(), 0..60), size in 1usize..9,
        ) {
            prop_assert_eq!(in_chunks(text.as_bytes(), size, TextStream::verbatim()), text.clone());
            let whole = in_chunks(text.as_bytes(), usize::MAX, TextStream::from_pty());
            prop_assert_eq!(in_chunks(text.as_bytes(), size, TextStream::from_pty()), whole);
            prop_assert_eq!(in_chunks(&raw, size, TextStream::verbatim()), String::from_utf8_lossy(&raw).into_owned());
        }
    }
}
