//! A terminal session over a WebSocket: the ttyd family's framing, subprotocol `tty`.
//!
//! Each frame's first byte says what it is. To the session: a JSON object first (the size), then
//! `0` input, `1` a new size. From it: `0` output, `1` title, `4` shell; the rest is passed over.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error as WsError, http::Response};

use super::error::{Error, Result};
use super::files::query_value;
use super::kit::Kit;
use super::transport::Stream;

const HANDSHAKE: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<Box<dyn Stream>>;

/// Which session to open.
#[derive(Debug, Clone, Default)]
pub struct TerminalQuery {
    /// 1–65535.
    pub terminal_id: u32,
    /// The user of a new session; the service's default when `None`.
    pub user: Option<String>,
    /// Only watch.
    pub readonly: bool,
}

/// What a session says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromTerminal {
    /// Bytes for the screen. Hostile.
    Output(Bytes),
    /// The window's title. Hostile.
    Title(String),
    /// The session is over or was left: close code (1000 after a clean exit) and reason.
    Closed(u16, String),
}

/// The half that sends to a session.
#[derive(Debug)]
pub struct TerminalInput(SplitSink<Socket, Message>);

/// The half that receives from a session.
#[derive(Debug)]
pub struct TerminalOutput(SplitStream<Socket>);

impl std::fmt::Debug for dyn Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}

fn size_json(columns: u16, rows: u16) -> String {
    format!("{{\"columns\":{columns},\"rows\":{rows}}}")
}

impl Kit {
    /// Opens a session of the terminal service, making it when it does not exist. What it showed
    /// before is replayed first.
    ///
    /// # Errors
    /// [`Error::Kit`] when the service refuses.
    pub async fn terminal(
        &self,
        query: &TerminalQuery,
        columns: u16,
        rows: u16,
    ) -> Result<(TerminalInput, TerminalOutput)> {
        let mut url = format!("ws://{}/api/v1/terminal/ws?terminal_id={}", self.host(), query.terminal_id);
        if let Some(user) = &query.user {
            url.push_str("&user=");
            url.push_str(&query_value(user));
        }
        if query.readonly {
            url.push_str("&readonly=true");
        }
        let mut request = url.into_client_request()?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("tty"));
        let opening = async { tokio_tungstenite::client_async(request, self.connect().await?).await.map_err(refused) };
        let late = |_| Error::Timeout { what: self.host().to_owned(), after: HANDSHAKE };
        let (socket, _) = tokio::time::timeout(HANDSHAKE, opening).await.map_err(late)??;
        let (mut sink, stream) = socket.split();
        sink.send(Message::Binary(size_json(columns, rows).into())).await?;
        Ok((TerminalInput(sink), TerminalOutput(stream)))
    }
}

fn refused(e: WsError) -> Error {
    match e {
        WsError::Http(response) => kit_error(&response),
        other => other.into(),
    }
}

fn kit_error(response: &Response<Option<Vec<u8>>>) -> Error {
    let status = response.status();
    let body = response.body().as_deref().unwrap_or_default();
    let phrase = status.canonical_reason().unwrap_or("Error").to_owned();
    match serde_json::from_slice::<cowl_api::envelope::KitError>(body) {
        Ok(e) => Error::Kit { status: status.as_u16(), error: e.error, message: e.message },
        Err(_) => Error::Kit { status: status.as_u16(), error: phrase, message: format!("answered {status}") },
    }
}

impl TerminalInput {
    /// Types bytes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn input(&mut self, bytes: &[u8]) -> Result<()> {
        let mut frame = BytesMut::with_capacity(bytes.len() + 1);
        frame.put_u8(b'0');
        frame.put_slice(bytes);
        Ok(self.0.send(Message::Binary(frame.freeze())).await?)
    }

    /// Tells the session its new size.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn resize(&mut self, columns: u16, rows: u16) -> Result<()> {
        let frame = format!("1{}", size_json(columns, rows));
        Ok(self.0.send(Message::Binary(frame.into())).await?)
    }

    /// Leaves; the session lives on.
    pub async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        // The other side may be gone already, which is what we want.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.0.send(Message::Close(Some(frame)))).await;
    }
}

impl TerminalOutput {
    /// What the session says next. Cancel safe.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<FromTerminal> {
        loop {
            let bytes = match self.0.next().await {
                None => return Ok(FromTerminal::Closed(1006, String::new())),
                Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => {
                    return Ok(FromTerminal::Closed(1000, String::new()));
                }
                Some(message) => match message? {
                    Message::Binary(bytes) => bytes,
                    Message::Text(text) => text.into(),
                    Message::Close(frame) => {
                        let (code, reason) =
                            frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                        return Ok(FromTerminal::Closed(code, reason));
                    }
                    _ => continue,
                },
            };
            if let Some(event) = parse(bytes) {
                return Ok(event);
            }
        }
    }
}

fn parse(frame: Bytes) -> Option<FromTerminal> {
    match frame.first()? {
        b'0' => Some(FromTerminal::Output(frame.slice(1..))),
        b'1' => Some(FromTerminal::Title(String::from_utf8_lossy(&frame[1..]).into_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_by_their_first_byte_and_unknown_ones_are_passed_over() {
        assert_eq!(parse(Bytes::from_static(b"0abc")), Some(FromTerminal::Output(Bytes::from_static(b"abc"))));
        assert_eq!(parse(Bytes::from_static(b"1top")), Some(FromTerminal::Title("top".into())));
        for other in [&b""[..], b"2{}", b"3s", b"4bash", b"\xff"] {
            assert_eq!(parse(Bytes::copy_from_slice(other)), None);
        }
    }
}
