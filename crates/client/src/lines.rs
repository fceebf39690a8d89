//! Lines of a body that arrives piece by piece: NDJSON and SSE.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use hyper::body::Incoming;

use super::error::{Error, Result};
use super::reply::piece;

/// Longest line, in bytes. A container may send anything.
const LINE_MAX: usize = 8 << 20;

/// Splits bytes into lines, however they were cut up on the way.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    buffer: BytesMut,
    /// Bytes at the front that are known to hold no newline.
    searched: usize,
}

impl Splitter {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line without its end (`\n` or `\r\n`).
    pub(super) fn line(&mut self) -> Result<Option<String>> {
        let Some(at) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') else {
            self.searched = self.buffer.len();
            if self.searched > LINE_MAX {
                return Err(Error::Broken(format!("a line of the reply is longer than {LINE_MAX} bytes")));
            }
            return Ok(None);
        };
        let end = self.searched + at;
        let mut line = self.buffer.split_to(end);
        self.buffer.advance(1);
        self.searched = 0;
        if line.ends_with(b"\r") {
            line.truncate(end - 1);
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }
}

/// Lines of a reply's body.
#[derive(Debug)]
pub(super) struct Lines {
    body: Incoming,
    splitter: Splitter,
    idle: Duration,
}

impl Lines {
    /// `idle` is the longest silence that is waited through.
    pub(super) fn new(body: Incoming, idle: Duration) -> Self {
        Self { body, splitter: Splitter::default(), idle }
    }

    /// The next line; `None` at the end. An unfinished last line is dropped. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(line) = self.splitter.line()? {
                return Ok(Some(line));
            }
            match piece(&mut self.body, self.idle).await? {
                Some(bytes) => self.splitter.push(&bytes),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_come_out_whole_however_they_were_cut(lines in prop::collection::vec("[a-z{}\" ]{0,12}", 0..8), cut in 1usize..7) {
            let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
            let mut splitter = Splitter::default();
            let mut seen = Vec::new();
            for piece in text.as_bytes().chunks(cut) {
                splitter.push(piece);
                while let Some(line) = splitter.line().unwrap() {
                    seen.push(line);
                }
            }
            prop_assert_eq!(seen, lines);
        }
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let mut splitter = Splitter::default();
        splitter.push(&vec![b'x'; LINE_MAX + 1]);
        assert!(splitter.line().is_err());
    }
}
