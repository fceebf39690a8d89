//! The event stream: server-sent events, parsed as they arrive.

use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::super::backend::Result;
use super::wire::{Request, Wire};
use cowl_api::event::Event;

/// Seconds until the stream's head must be there.
const OPEN_S: u64 = 15;
/// Longest line that is kept, in bytes; longer ones are dropped.
const LINE_MAX: usize = 1 << 20;

/// Opens the stream. The channel closes when the connection does.
pub async fn stream(wire: &Wire, request: Request) -> Result<mpsc::Receiver<Event>> {
    let mut body = wire.open(request, OPEN_S).await?.into_body();
    let (tx, rx) = mpsc::channel(256);
    tokio::spawn(async move {
        let mut parser = Parser::default();
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = tx.closed() => return,
            };
            let Some(Ok(frame)) = frame else { return };
            let Some(data) = frame.data_ref() else { continue };
            for payload in parser.feed(data) {
                // An event of a newer node that this one cannot read is skipped, not fatal.
                let Ok(event) = serde_json::from_slice::<Event>(&payload) else { continue };
                if tx.send(event).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(rx)
}

/// Cuts a byte stream into the `data` of its events.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    data: Vec<u8>,
    overlong: bool,
}

impl Parser {
    /// Takes the next bytes; gives the payloads of the events they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for &b in bytes {
            if b != b'\n' {
                self.overlong |= self.line.len() >= LINE_MAX;
                if !self.overlong {
                    self.line.push(b);
                }
                continue;
            }
            let mut line = std::mem::take(&mut self.line);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if std::mem::take(&mut self.overlong) {
                continue;
            }
            if line.is_empty() {
                if !self.data.is_empty() {
                    out.push(std::mem::take(&mut self.data));
                }
            } else if let Some(rest) = line.strip_prefix(b"data:") {
                let rest = rest.strip_prefix(b" ").unwrap_or(rest);
                if self.data.len() + rest.len() <= LINE_MAX {
                    if !self.data.is_empty() {
                        self.data.push(b'\n');
                    }
                    self.data.extend_from_slice(rest);
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_names_and_ids_are_skipped_and_data_lines_are_joined() {
        let mut p = Parser::default();
        let got = p.feed(b": hello\n\nevent: x\nid: 7\ndata: {\"a\":\ndata: 1}\r\n\r\ndata:b\n\n");
        assert_eq!(got, vec![b"{\"a\":\n1}".to_vec(), b"b".to_vec()]);
    }

    proptest! {
        #[test]
        fn the_cut_of_the_stream_does_not_matter(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'd'), any::<u8>()], 0..200), cut in 0usize..200) {
            let whole = Parser::default().feed(&bytes);
            let cut = cut.min(bytes.len());
            let mut p = Parser::default();
            let mut parts = p.feed(&bytes[..cut]);
            parts.extend(p.feed(&bytes[cut..]));
            prop_assert_eq!(whole, parts);
        }
    }
}
