//! Frames of the `tty` WebSocket (the ttyd family): the first byte says what the rest is.

use serde::Deserialize;

use super::pty::Size;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// The first frame, a JSON object: how big the client's window is.
    Hello(Option<Size>),
    /// Keys.
    Input(Vec<u8>),
    /// The window has changed.
    Resize(Size),
    /// Send no more output.
    Pause,
    /// Send again.
    Resume,
    /// Not of this protocol, or broken; both sides ignore it.
    Unknown,
}

#[derive(Deserialize)]
struct Dimensions {
    columns: Option<f64>,
    rows: Option<f64>,
}

impl Dimensions {
    fn size(&self) -> Option<Size> {
        // `as` saturates, and NaN is 0: the clamp does the rest.
        Some(Size::clamped(self.columns? as u64, self.rows? as u64))
    }
}

impl ClientFrame {
    /// Reads one frame. Never fails.
    pub fn parse(frame: &[u8]) -> Self {
        match frame.split_first() {
            Some((b'{', _)) => match serde_json::from_slice::<Dimensions>(frame) {
                Ok(dimensions) => Self::Hello(dimensions.size()),
                Err(_) => Self::Unknown,
            },
            Some((b'0', input)) => Self::Input(input.to_vec()),
            Some((b'1', json)) => {
                let size = serde_json::from_slice::<Dimensions>(json).ok().and_then(|dimensions| dimensions.size());
                size.map_or(Self::Unknown, Self::Resize)
            }
            Some((b'2', _)) => Self::Pause,
            Some((b'3', _)) => Self::Resume,
            _ => Self::Unknown,
        }
    }
}

/// What the server sends: the prefix of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFrame {
    /// Bytes for the terminal.
    Output,
    /// The window's title.
    Title,
    /// Preferences, a JSON object.
    Preferences,
    /// The session's id.
    TerminalId,
    /// The shell's name.
    Shell,
}

impl ServerFrame {
    /// A frame of this kind.
    pub fn with(self, payload: &[u8]) -> bytes::Bytes {
        let prefix = match self {
            Self::Output => b'0',
            Self::Title => b'1',
            Self::Preferences => b'2',
            Self::TerminalId => b'3',
            Self::Shell => b'4',
        };
        let mut frame = bytes::BytesMut::with_capacity(payload.len() + 1);
        frame.extend_from_slice(&[prefix]);
        frame.extend_from_slice(payload);
        frame.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_of_frame_is_read() {
        let hello = ClientFrame::parse(br#"{"columns":100,"rows":30,"token":"x"}"#);
        assert_eq!(hello, ClientFrame::Hello(Some(Size { cols: 100, rows: 30 })));
        assert_eq!(ClientFrame::parse(b"{}"), ClientFrame::Hello(None));
        assert_eq!(ClientFrame::parse(b"0ls\r"), ClientFrame::Input(b"ls\r".to_vec()));
        let resize = ClientFrame::parse(br#"1{"columns":1e9,"rows":-4}"#);
        assert_eq!(resize, ClientFrame::Resize(Size { cols: 1000, rows: 2 }));
        assert_eq!(ClientFrame::parse(b"2"), ClientFrame::Pause);
        assert_eq!(ClientFrame::parse(b"3"), ClientFrame::Resume);
        for unknown in [&b""[..], b"1", b"1{", b"{", b"9x", b"\xff"] {
            assert_eq!(ClientFrame::parse(unknown), ClientFrame::Unknown, "{unknown:?}");
        }
    }

    proptest! {
        #[test]
        fn any_frame_is_read_and_sizes_stay_in_range(frame in prop::collection::vec(any::<u8>(), 0..64)) {
            if let ClientFrame::Resize(size) | ClientFrame::Hello(Some(size)) = ClientFrame::parse(&frame) {
                prop_assert!((2..=1000).contains(&size.cols) && (2..=500).contains(&size.rows));
            }
        }

        #[test]
        fn sizes_of_any_number_stay_in_range(columns in any::<f64>(), rows in any::<i64>()) {
            prop_assume!(columns.is_finite());
            let frame = format!("1{{\"columns\":{columns},\"rows\":{rows}}}");
            match ClientFrame::parse(frame.as_bytes()) {
                ClientFrame::Resize(size) => {
                    prop_assert!((2..=1000).contains(&size.cols) && (2..=500).contains(&size.rows));
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
