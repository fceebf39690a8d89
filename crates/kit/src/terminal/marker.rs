//! Takes our private marks out of a shell's output.
//!
//! A shell with our integration prints `ESC ] 7717 ; NONCE ; body BEL` where something of interest
//! happens. The nonce is random for each session, so that no output can pass for a mark by accident.
//! Whatever is not exactly such a mark passes through untouched, however the stream is cut in chunks.

/// Longest body of a mark, bytes. Longer ones are output.
const BODY_LIMIT: usize = 8 * 1024;

/// What a stretch of output turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// For the screen.
    Output(Vec<u8>),
    /// For us.
    Mark(Mark),
}

/// What a shell told us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// The command with this id begins now.
    Started(String),
    /// The command line is done, with this exit code, in this directory.
    Done {
        /// The shell's `$?`.
        exit_code: i32,
        /// The shell's `$PWD`, where it told it.
        cwd: Option<String>,
    },
    /// The prompt is complete; the shell reads.
    Ready,
}

impl Mark {
    fn parse(body: &[u8]) -> Option<Self> {
        let body = String::from_utf8_lossy(body);
        let (kind, rest) = body.split_once(';').unwrap_or((&body, ""));
        match kind {
            "S" => Some(Self::Started(rest.to_owned())),
            "P" => {
                let (code, cwd) = rest.split_once(';').unwrap_or((rest, ""));
                let cwd = (cwd.starts_with('/') && !cwd.contains(char::is_control)).then(|| cwd.to_owned());
                Some(Self::Done { exit_code: code.parse().ok()?, cwd })
            }
            "B" => Some(Self::Ready),
            _ => None,
        }
    }
}

/// The filter of one session.
#[derive(Debug)]
pub struct MarkFilter {
    opening: Vec<u8>,
    /// What may still become a mark: a beginning of `opening`, or all of it and a body.
    held: Vec<u8>,
}

impl MarkFilter {
    /// A filter for marks with this nonce.
    pub fn new(nonce: &str) -> Self {
        Self { opening: format!("\x1b]7717;{nonce};").into_bytes(), held: Vec::new() }
    }

    /// Sorts the next chunk. Adjacent output comes as one piece; an undecided end is held back.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut output = Vec::with_capacity(chunk.len() + self.held.len());
        for &byte in chunk {
            if self.held.len() < self.opening.len() {
                self.match_opening(byte, &mut output);
            } else if byte == 0x07 {
                let body = &self.held[self.opening.len()..];
                match Mark::parse(body) {
                    Some(mark) => {
                        if !output.is_empty() {
                            pieces.push(Piece::Output(std::mem::take(&mut output)));
                        }
                        pieces.push(Piece::Mark(mark));
                        self.held.clear();
                    }
                    None => {
                        output.append(&mut self.held);
                        output.push(byte);
                    }
                }
            } else if byte == 0x1b || self.held.len() - self.opening.len() >= BODY_LIMIT {
                output.append(&mut self.held);
                self.match_opening(byte, &mut output);
            } else {
                self.held.push(byte);
            }
        }
        if !output.is_empty() {
            pieces.push(Piece::Output(output));
        }
        pieces
    }

    /// What was held back, when nothing more will come.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// ESC occurs only as the first byte of the opening, so a mismatch can restart only at `byte`.
    fn match_opening(&mut self, byte: u8, output: &mut Vec<u8>) {
        if byte == self.opening[self.held.len()] {
            self.held.push(byte);
            return;
        }
        output.append(&mut self.held);
        if byte == self.opening[0] {
            self.held.push(byte);
        } else {
            output.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
        let mut all: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (all.last_mut(), piece) {
                (Some(Piece::Output(before)), Piece::Output(more)) => before.extend(more),
                (_, piece) => all.push(piece),
            }
        }
        all
    }

    #[test]
    fn marks_are_taken_out_and_output_around_them_stays() {
        let mut filter = MarkFilter::new("n");
        let pieces = filter.push(b"a\x1b]7717;n;S;c1\x07b\x1b]7717;n;P;3;/tmp\x07\x1b]7717;n;B\x07\x1b]7717;x;B\x07");
        assert_eq!(
            pieces,
            [
                Piece::Output(b"a".to_vec()),
                Piece::Mark(Mark::Started("c1".into())),
                Piece::Output(b"b".to_vec()),
                Piece::Mark(Mark::Done { exit_code: 3, cwd: Some("/tmp".into()) }),
                Piece::Mark(Mark::Ready),
                Piece::Output(b"\x1b]7717;x;B\x07".to_vec()),
            ]
        );
    }

    #[test]
    fn an_endless_mark_becomes_output() {
        let mut filter = MarkFilter::new("n");
        let mut input = b"\x1b]7717;n;".to_vec();
        input.resize(BODY_LIMIT * 3, b'x');
        let mut out = Vec::new();
        for piece in filter.push(&input) {
            match piece {
                Piece::Output(bytes) => out.extend(bytes),
                Piece::Mark(mark) => panic!("unexpected {mark:?}"),
            }
        }
        out.extend(filter.finish());
        assert_eq!(out, input);
    }

    proptest! {
        #[test]
        fn cutting_the_stream_anywhere_changes_nothing(
            parts in prop::collection::vec(prop_oneof![
                Just(b"\x1b]7717;n;B\x07".to_vec()),
                Just(b"\x1b]7717;n;S;id\x07".to_vec()),
                Just(b"\x1b]7717;n;P;1;/\x07".to_vec()),
                Just(b"\x1b]7717;n;P;zz\x07".to_vec()),
                Just(b"\x1b]7717;n".to_vec()),
                Just(b"\x1b\x1b]77".to_vec()),
                prop::collection::vec(any::<u8>(), 0..8),
            ], 0..12),
            cuts in prop::collection::vec(1usize..7, 1..20),
        ) {
            let stream = parts.concat();
            let mut whole = MarkFilter::new("n");
            let mut expected = whole.push(&stream);
            expected.push(Piece::Output(whole.finish()));
            let mut cut = MarkFilter::new("n");
            let mut got = Vec::new();
            let mut rest = stream.as_slice();
            for size in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, after) = rest.split_at((*size).min(rest.len()));
                got.extend(cut.push(chunk));
                rest = after;
            }
            got.push(Piece::Output(cut.finish()));
            prop_assert_eq!(joined(got), joined(expected));
        }

        #[test]
        fn output_without_marks_is_never_altered(stream in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut filter = MarkFilter::new("0123456789abcdef");
            let mut out = Vec::new();
            for piece in filter.push(&stream) {
                if let Piece::Output(bytes) = piece { out.extend(bytes); }
            }
            out.extend(filter.finish());
            prop_assert_eq!(out, stream);
        }
    }
}
