//! A terminal session: WebSocket `tty` frames, first byte tells what each is.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::super::backend::{BackendError, PtySize, Result, TermInput, TermLink, TermOutput};
use super::wire::Wire;

/// Seconds until the session must be attached.
const ATTACH_S: u64 = 20;
/// Seconds a frame may take to leave.
const SEND_S: u64 = 20;
/// Longest frame that is accepted, in bytes.
const FRAME_MAX: usize = 4 << 20;

/// Attaches to session `id` of the kit with this host name.
pub async fn attach(wire: &Wire, host: &str, id: u16, size: PtySize) -> Result<TermLink> {
    let protocol = |e: WsError| match e {
        WsError::Http(reply) => BackendError::Refused {
            status: reply.status().as_u16(),
            message: format!("the terminal answered {}", reply.status()),
        },
        e => BackendError::Protocol(e.to_string()),
    };
    let mut request =
        format!("ws://{host}/api/v1/terminal/ws?terminal_id={id}").into_client_request().map_err(protocol)?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("tty"));
    let config = WebSocketConfig::default().max_message_size(Some(FRAME_MAX)).max_frame_size(Some(FRAME_MAX));
    let work = async {
        let stream = wire.connect().await?;
        let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
        let (mut socket, _) = opened.map_err(protocol)?;
        socket.send(Message::Binary(hello(size).into())).await.map_err(protocol)?;
        Ok(socket)
    };
    let socket = timeout(Duration::from_secs(ATTACH_S), work).await.unwrap_or(Err(BackendError::Timeout(ATTACH_S)))?;

    let (input, mut inputs) = mpsc::channel::<TermInput>(256);
    let (outputs, output) = mpsc::channel(8);
    let (mut sink, mut source) = socket.split();
    tokio::spawn(async move {
        let mut end = None;
        while end.is_none() {
            tokio::select! {
                message = source.next() => {
                    let Some(out) = decode(message) else { continue };
                    if matches!(out, TermOutput::Closed { .. }) {
                        end = Some(out);
                    } else if outputs.send(out).await.is_err() {
                        break;
                    }
                }
                wanted = inputs.recv() => {
                    let Some(wanted) = wanted else { break };
                    let sent = timeout(Duration::from_secs(SEND_S), sink.send(Message::Binary(encode(&wanted).into()))).await;
                    if !matches!(sent, Ok(Ok(()))) {
                        end = Some(TermOutput::Closed { clean: false, reason: "the connection is stuck".into() });
                    }
                }
            }
        }
        if let Some(end) = end {
            let _ = outputs.send(end).await;
        }
        let _ = timeout(Duration::from_secs(1), sink.close()).await;
    });
    Ok(TermLink { input, output })
}

fn hello(size: PtySize) -> Vec<u8> {
    format!("{{\"columns\":{},\"rows\":{}}}", size.columns, size.rows).into_bytes()
}

fn encode(input: &TermInput) -> Vec<u8> {
    match input {
        TermInput::Bytes(bytes) => [b"0", bytes.as_slice()].concat(),
        TermInput::Resize(size) => [b"1".to_vec(), hello(*size)].concat(),
    }
}

/// What a received message means; `None` for what needs no answer.
fn decode(message: Option<std::result::Result<Message, WsError>>) -> Option<TermOutput> {
    let lost = |reason: &str| Some(TermOutput::Closed { clean: false, reason: reason.into() });
    match message {
        None | Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => lost("the connection was cut"),
        Some(Err(e)) => lost(&e.to_string()),
        Some(Ok(Message::Close(frame))) => Some(match frame {
            Some(f) if f.code != CloseCode::Normal => {
                TermOutput::Closed { clean: false, reason: format!("closed with {}: {}", f.code, f.reason) }
            }
            _ => TermOutput::Closed { clean: true, reason: "the shell ended".into() },
        }),
        Some(Ok(Message::Binary(bytes))) => decode_frame(&bytes),
        Some(Ok(Message::Text(text))) => decode_frame(text.as_bytes()),
        Some(Ok(_)) => None,
    }
}

/// Decodes a frame from the kit; unknown prefixes are ignored, as the protocol asks.
pub fn decode_frame(frame: &[u8]) -> Option<TermOutput> {
    let (prefix, rest) = frame.split_first()?;
    match prefix {
        b'0' => Some(TermOutput::Bytes(rest.to_vec())),
        b'1' => Some(TermOutput::Title(String::from_utf8_lossy(rest).into_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_are_told_apart_by_their_first_byte() {
        assert_eq!(decode_frame(b"0hi"), Some(TermOutput::Bytes(b"hi".to_vec())));
        assert_eq!(decode_frame(b"1vim"), Some(TermOutput::Title("vim".into())));
        assert_eq!(decode_frame(b"3one"), None);
        assert_eq!(decode_frame(b""), None);
        assert_eq!(encode(&TermInput::Bytes(b"ls\r".to_vec())), b"0ls\r");
        assert_eq!(encode(&TermInput::Resize(PtySize { columns: 80, rows: 24 })), b"1{\"columns\":80,\"rows\":24}");
    }

    #[test]
    fn only_a_normal_close_means_that_the_shell_ended() {
        use tokio_tungstenite::tungstenite::protocol::CloseFrame;
        let close = |code| decode(Some(Ok(Message::Close(Some(CloseFrame { code, reason: "".into() })))));
        assert!(matches!(close(CloseCode::Normal), Some(TermOutput::Closed { clean: true, .. })));
        assert!(matches!(close(CloseCode::Error), Some(TermOutput::Closed { clean: false, .. })));
        assert!(matches!(decode(None), Some(TermOutput::Closed { clean: false, .. })));
    }

    proptest! {
        #[test]
        fn any_frame_decodes_or_is_ignored(frame in prop::collection::vec(any::<u8>(), 0..64)) {
            match decode_frame(&frame) {
                Some(TermOutput::Bytes(b)) => { prop_assert_eq!(frame[0], b'0'); prop_assert_eq!(b, &frame[1..]); }
                Some(TermOutput::Title(_)) => prop_assert_eq!(frame[0], b'1'),
                Some(TermOutput::Closed { .. }) => prop_assert!(false),
                None => prop_assert!(frame.is_empty() || !matches!(frame[0], b'0' | b'1')),
            }
        }
    }
}
